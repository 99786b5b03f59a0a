"""Writes the tables of docs/concepts/priors.md: `make priors`, or this script, with one of them by name.

The digits' models are those of likelihood.py, trained first where they are missing (runs/likelihood_NAME).
"""

import math
from collections.abc import Callable

import torch
from likelihood import DDPM, HEAT, mean
from pages import DOCS, asked, trained, write_table
from torch import Tensor

from unmelt.degradations import HeatDissipation, LinearGaussianProcess
from unmelt.evaluation import Recogniser, assess_memorisation
from unmelt.models import DegradedDataPrior, GaussianPrior, LowRankGaussianPrior, Prior, StandardNormalPrior
from unmelt.samplers import Sampler
from unmelt.training import LoadedRun, PhotoCrops, load_run

PAGE = DOCS / "concepts" / "priors.md"
SAMPLES = 1024
PHOTOGRAPHS = 300


def fitted(process: LinearGaussianProcess, images: Tensor) -> dict[str, Prior]:
    """Return the priors that are fitted to images."""
    return {
        "`DegradedDataPrior`": DegradedDataPrior.fit(process, images),
        "`GaussianPrior`": GaussianPrior.fit(process, images),
        "`LowRankGaussianPrior`": LowRankGaussianPrior.fit(process, images),
    }


def digits() -> str:
    """Return the table of samples from each prior, in Markdown."""
    lines = [
        "| model | images | recognised | median distance to nearest digit | nearer than 95 % of new | copies |",
        "|---|---|---|---|---|---|",
    ]
    heat, ddpm = load_run(trained(HEAT)), load_run(trained(DDPM))
    lines.append(row("", "held-out digits", heat.data().test.read(), heat))
    for run, name in ((heat, "heat dissipation"), (ddpm, "DDPM")):
        train = run.data().train.read()
        process = run.denoiser.process
        priors = fitted(process, train) if run is heat else {"`StandardNormalPrior`": StandardNormalPrior(process)}
        for label, prior in priors.items():
            sampler = Sampler(run.denoiser, run.config.sampler, grid=run.config.grid, prior=prior)
            samples = sampler.sample(SAMPLES, generator=torch.Generator().manual_seed(1))
            lines.append(row(name, f"samples from {label}", samples, run))
            print(lines[-1], flush=True)
    return "\n".join(lines)


def row(model: str, name: str, images: Tensor, run: LoadedRun) -> str:
    """Return a line of the table."""
    data = run.data()
    labels = data.train.labels
    if labels is None:
        msg = "the digits have labels"
        raise ValueError(msg)
    low, high = data.train.range
    train, test = data.train.read(), data.test.read()
    images = images.clamp(low, high)
    recognised = Recogniser(train, labels).assess(images).recognised
    found = assess_memorisation(images, train, test)
    # Distances in units of the data's range, so that models of different ranges can be compared.
    return (
        f"| {model} | {name} | {recognised:.1%} | {found.median / (high - low):.3f} |"
        f" {found.share:.1%} ± {found.share_error:.1%} | {found.copies:.1%} |"
    )


def photographs() -> str:
    """Return the table of divergences from each prior for colour photographs, in Markdown."""
    data = PhotoCrops().load()
    train, test = data.train.read(), data.test.read()
    process = HeatDissipation((3, 32, 32), blur_sigma_max=24.0, levels=200, sigma=0.01)
    lines = [
        "| prior | KL, held-out | KL, training | correlation of its draws (of the data's) |",
        "|---|---|---|---|",
    ]
    generator = torch.Generator().manual_seed(0)
    chosen = [images[torch.randperm(len(images), generator=generator)[:PHOTOGRAPHS]] for images in (test, train)]
    own = correlation(process.marginal(train, 1.0).mean)
    for label, prior in fitted(process, train).items():
        costs = [mean(prior.divergence(process.marginal(images, 1.0), generator=generator)) for images in chosen]
        cells = [f"{cost.mean:.3g} ± {cost.stderr:.2g}" for cost in costs]
        drawn = correlation(prior.sample(4096, generator=generator))
        lines.append(f"| {label} | {cells[0]} | {cells[1]} | {drawn:.2f} ({own:.2f}) |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def correlation(images: Tensor) -> float:
    """Return the correlation of the mean red with the mean green."""
    red, green, _ = images.double().mean((2, 3)).T
    centred = [colour - colour.mean() for colour in (red, green)]
    return float((centred[0] * centred[1]).mean() / math.sqrt(centred[0].square().mean() * centred[1].square().mean()))


if __name__ == "__main__":
    tables: dict[str, Callable[[], str]] = {"digits": digits, "photographs": photographs}
    for wanted in asked([*tables]):
        write_table(PAGE, wanted, tables[wanted]())
