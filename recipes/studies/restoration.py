"""Writes picture and tables of docs/how_to/restoration.md: `make restoration`, or this script.

With `restorations` or `guidances` behind it, the picture and its table, or the table of guidances alone. The page's own
code restores the held-out photographs. What it should find is computed beside it from dense matrices: the mean
and covariance of a Gaussian given an observation, luminance and differences of colours one by one, since the page's
model takes them to be independent. Half an hour on one core.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from pages import DOCS, asked, write_table
from torch import Tensor

from unmelt.core.pictures import to_pixels
from unmelt.degradations import CosineBasis, DataSpectrum, opponent_colours
from unmelt.models import AbstractDenoiser
from unmelt.samplers import Posterior, Sampler, UniformGrid
from unmelt.samplers.guidance import (
    CovarianceGuidance,
    DiffusionPosteriorSampling,
    LinearObservation,
    PseudoInverseGuidance,
)

PAGE = DOCS / "how_to" / "restoration.md"
COUNT = 16
TITLES = {"deblur": "blurred by 2 pixels", "inpaint": "a hole of 14 x 20 pixels", "enlarge": "12 x 12 pixels"}
COLUMNS = ("original", "observed", "one sample", f"mean of {COUNT}", "closed form's mean")
# Photographs of the picture, by their numbers among the held-out ones.
SHOWN = (1, 7)
STRENGTHS = (1, 100, 400)

Guidance = Callable[[LinearObservation], AbstractDenoiser]


class Restoration(NamedTuple):
    """Photographs, what was observed of them, what the page made of it, and the closed form; (photographs, ...)."""

    original: Tensor
    observed: Tensor
    samples: Tensor
    mean: Tensor
    variance: Tensor

    def errors(self) -> list[float]:
        """Return root mean square errors: of the input, a sample, the samples' mean, and the closed form's two."""
        x, of_the_mean = self.original, (self.mean - self.original).square().mean()
        squares = (
            (self.observed - x).square().mean(),
            (self.samples - x[:, None]).square().mean(),
            (self.samples.mean(1) - x).square().mean(),
            # What is expected of a draw from the exact posterior.
            of_the_mean + self.variance.mean(),
            of_the_mean,
        )
        return [square.sqrt().item() for square in squares]


def page() -> dict[str, Any]:
    """Return the names that the page's code defines."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[:1]:
        exec(compile(block, PAGE.name, "exec"), names)  # noqa: S102
    return names


def posterior(spectrum: DataSpectrum, observation: LinearObservation, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return a Gaussian's mean and variance of each pixel given y, (count, *shape), from dense matrices."""
    colours, plane = opponent_colours(), (1, *y.shape[2:])
    pixels = math.prod(plane)
    impulses = torch.eye(pixels, dtype=torch.float64).reshape(pixels, *plane)
    v = CosineBasis(plane).forward(impulses).flatten(1)
    # What happens to one colour happens to every other, and so to their sums and differences.
    h = observation(impulses.expand(pixels, *y.shape[1:]))[:, 0].flatten(1)
    x = torch.einsum("ck,chw->khw", colours, spectrum.basis.inverse(spectrum.mean[None])[0])
    rotated = torch.einsum("ck,nchw->nkhw", colours, y.double())
    means, variances = [], []
    for m, variance, seen in zip(x.flatten(1), spectrum.variance, rotated.flatten(2).unbind(1), strict=True):
        prior = v @ torch.diag(variance.flatten()) @ v.T
        noisy = h @ prior @ h.T + observation.noise_std**2 * torch.eye(pixels, dtype=torch.float64)
        gain = torch.linalg.solve(noisy, h @ prior).T
        means.append(m + (seen - h @ m) @ gain.T)
        variances.append((prior - gain @ h @ prior).diagonal())
    mean = torch.einsum("ck,nkp->ncp", colours, torch.stack(means, 1)).reshape(y.shape)
    return mean, (colours.square() @ torch.stack(variances)).reshape(y.shape[1:]).expand(y.shape)


def seen(spectrum: DataSpectrum, observation: LinearObservation, y: Tensor) -> Tensor:
    """Return y with what was not observed filled from the mean of the training photographs."""
    basis, mean = observation.basis, spectrum.basis.inverse(spectrum.mean[None])
    hidden = torch.where(observation.gain == 0, basis.forward(mean), 0.0)
    return basis.inverse(observation.coefficients(y.double()) + hidden)


def restorations() -> dict[str, Restoration]:
    """Return what becomes of all held-out photographs, by the task."""
    names = page()
    x, spectrum = names["photographs"], names["spectrum"]
    found = {}
    for task, observation in names["observations"].items():
        y = observation.observe(x, generator=torch.Generator().manual_seed(1))
        samples = names["restored"](observation, y, COUNT)
        found[task] = Restoration(
            x.double(), seen(spectrum, observation, y), samples.double(), *posterior(spectrum, observation, y)
        )
        print(task, " ".join(f"{error:.4f}" for error in found[task].errors()), flush=True)
    return found


def table(found: dict[str, Restoration]) -> str:
    """Return the table of errors."""
    lines = [
        f"| | input | one sample | mean of {COUNT} | closed form: one sample | closed form: mean |",
        "|---|---|---|---|---|---|",
    ]
    for task, each in found.items():
        lines.append(f"| {TITLES[task]} | " + " | ".join(f"{error:.4f}" for error in each.errors()) + " |")
    return "\n".join(lines)


def strengths() -> str:
    """Return the table of guidances: the error of a sample of 100 ancestral steps, one for each photograph."""
    names = page()
    denoiser, spectrum, x = names["denoiser"], names["spectrum"], names["photographs"]
    methods: Mapping[str, Guidance] = {
        "`CovarianceGuidance`": partial(CovarianceGuidance, denoiser, variance=spectrum),
        "`PseudoInverseGuidance`": partial(PseudoInverseGuidance, denoiser, variance=spectrum),
    } | {
        f"`DiffusionPosteriorSampling`, strength {strength}": partial(
            DiffusionPosteriorSampling, denoiser, strength=strength, variance=spectrum
        )
        for strength in STRENGTHS
    }
    lines = [f"| | {' | '.join(TITLES.values())} |", "|---|" + "---|" * len(TITLES)]
    for method, make in methods.items():
        cells = []
        for observation in names["observations"].values():
            y = observation.observe(x, generator=torch.Generator().manual_seed(1))
            sampler = Sampler(make(observation), Posterior(), UniformGrid(100))
            samples = sampler.sample(len(y), given=y, generator=torch.Generator().manual_seed(0))
            cells.append(f"{(samples - x).square().mean().sqrt().item():.4f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def draw(found: dict[str, Restoration]) -> None:
    """Draw the photographs of the picture, a row for each task and photograph."""
    rows = [(TITLES[task], each, index) for task, each in found.items() for index in SHOWN]
    figure = Figure(figsize=(7.5, 1.5 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(COLUMNS))
    for row, (title, each, index) in zip(axes, rows, strict=True):
        images = (each.original, each.observed, each.samples[:, 0], each.samples.mean(1), each.mean)
        for axis, image in zip(row, images, strict=True):
            axis.imshow(to_pixels(image[index, None], (0.0, 1.0))[0].numpy(), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(title, fontsize=8)
    for axis, title in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(title, fontsize=9)
    figure.savefig(DOCS / "images" / "restoration.png", dpi=110)


if __name__ == "__main__":
    wanted = asked(["restorations", "guidances"])
    if "restorations" in wanted:
        everything = restorations()
        draw(everything)
        write_table(PAGE, "restorations", table(everything))
    if "guidances" in wanted:
        write_table(PAGE, "guidances", strengths())
