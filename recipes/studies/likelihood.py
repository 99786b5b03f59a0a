"""Writes the tables of docs/concepts/likelihood.md, in about twenty minutes: python recipes/studies/likelihood.py.

`make likelihood` does the same. With `models` or `oracles` behind it, one of the two alone.

Three models of scikit-learn's digits, equal but for the process and what the network predicts, are trained for the same
number of steps (runs/likelihood_NAME, kept and found again) and evaluated on held-out digits, as
`unmelt evaluate` does.
The second table needs no training: Gaussian data whose exact denoiser and exact negative log-likelihood are known.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from pages import DOCS, ROOT, asked, trained, write_table
from torch import Tensor

from unmelt.core import later
from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Coupling,
    EDMSchedule,
    GeometricNoise,
    HeatDissipation,
    HeatFlow,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    Markov,
    Pixelation,
    PixelMask,
    PredictEpsilon,
    PredictPreviousLevel,
    RectifiedFlowSchedule,
    SoftDiffusion,
    SpectralDiffusion,
    VariancePreservingBlur,
)
from unmelt.evaluation import Figure
from unmelt.evaluation.run_bounds import evaluate_run
from unmelt.losses import ELBO, MeanOverDimensions, MonteCarlo, SumOverDimensions
from unmelt.models import (
    DegradedDataPrior,
    GaussianDecoder,
    GaussianOracle,
    KernelDivergence,
    MarginalStd,
    OraclePrior,
    StandardNormalPrior,
    UNet,
)
from unmelt.samplers import Posterior, UniformGrid
from unmelt.training import Digits, RunConfig, Training

PAGE = DOCS / "concepts" / "likelihood.md"
STEPS = 1400
DRAWS = 256

HEAT = RunConfig(
    name="likelihood_heat",
    data=Digits(),
    process=later(HeatDissipation, levels=50, blur_sigma_min=0.3, blur_sigma_max=6.0, sigma=0.03),
    network=later(UNet, channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,)),
    prediction=PredictPreviousLevel(),
    reduction=SumOverDimensions(),
    # The closed-form bound on the kernel density's divergence, as the paper reports it.
    prior=later(DegradedDataPrior.fit, divergence=KernelDivergence.VARIATIONAL),
    sampler=Posterior(coupling=Independent(), reverse_std=MarginalStd(times_sigma=1.25)),
    optimizer=later(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
    training=Training(
        steps=STEPS, warmup=100, cosine_decay=True, log_every=20, checkpoint_every=STEPS, sample_every=STEPS, cpu=True
    ),
    root=ROOT / "runs",
)
DDPM = replace(
    HEAT,
    name="likelihood_ddpm",
    data=Digits(low=-1.0, high=1.0),
    process=later(IsotropicDiffusion),
    prediction=PredictEpsilon(),
    reduction=MeanOverDimensions(),
    prior=later(StandardNormalPrior.fit),
    sampler=Posterior(coupling=Markov()),
    grid=UniformGrid(steps=50),
)
BLURRING = replace(DDPM, name="likelihood_blurring", process=later(BlurringDiffusion, blur_sigma_max=5.0))
MODELS = {"heat dissipation": HEAT, "isotropic diffusion (DDPM)": DDPM, "blurring diffusion": BLURRING}


def cell(figure: Figure) -> str:
    """Return a figure with its standard error, or that it is next to nothing."""
    return "< 0.0001" if abs(figure.mean) < 1e-4 else str(figure)


class Row(NamedTuple):
    """A process of the second table."""

    name: str
    process: LinearGaussianProcess
    coupling: Coupling


def models() -> str:
    """Return the table of trained models, in Markdown."""
    lines = [
        "| model | reverse standard deviation | steps | total | prior | levels | reconstruction |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, config in MODELS.items():
        folder = trained(config)
        for width, report in evaluate_run(folder, progress=False).items():
            bits = report.bits_per_dim()
            parts = [cell(part) for part in (bits.total, bits.prior, bits.diffusion, bits.reconstruction)]
            steps = "continuous" if report.steps is None else report.steps
            lines.append(f"| {name} | {width} | {steps} | **{parts[0]}** | " + " | ".join(parts[1:]) + " |")
    return "\n".join(lines)


def rows(shape: tuple[int, ...]) -> list[Row]:
    """Return the processes of the second table."""
    heat = HeatDissipation(shape, blur_sigma_max=6.0, levels=50, sigma=0.03)
    markov: dict[str, LinearGaussianProcess] = {
        "heat dissipation": heat,
        "isotropic diffusion, cosine": IsotropicDiffusion(shape, CosineSchedule()),
        "isotropic diffusion, linear": IsotropicDiffusion(shape, LinearSchedule()),
        "variance exploding": IsotropicDiffusion(shape, GeometricNoise(0.01, 50.0)),
        "EDM": IsotropicDiffusion(shape, EDMSchedule()),
        "rectified flow": IsotropicDiffusion(shape, RectifiedFlowSchedule()),
        "blurring diffusion": BlurringDiffusion(shape, blur_sigma_max=5.0),
        "soft diffusion": SoftDiffusion(shape),
        "variance-preserving blur": VariancePreservingBlur(shape),
        "heat flow": HeatFlow(shape),
        "power-law noise": SpectralDiffusion.power_law(shape),
        "pixelation": Pixelation(shape),
        "pixel mask": PixelMask(shape),
    }
    return [
        Row("heat dissipation, independent levels", heat, Independent()),
        *(Row(name, process, Markov()) for name, process in markov.items()),
    ]


def oracles() -> str:
    """Return the table of Gaussian data with exact denoisers, in Markdown."""
    lines = [
        "| process | exact -log p(x) | T = 10 | T = 100 | T = 1000 | continuous time |",
        "|---|---|---|---|---|---|",
    ]
    shape = (1, 8, 8)
    digits = HEAT.data.load().train.read().double()
    for name, process, coupling in rows(shape):
        u = process.basis.forward(digits)
        # A floor for pixels that never vary: the width of a level, as dequantisation would fill it.
        variance = u.var(0) + (1 / 16) ** 2 / 12
        oracle = GaussianOracle(process, u.mean(0), variance)
        x = oracle.sample(1000, generator=torch.Generator().manual_seed(0))
        first = 0.0 if bool(process.sigma(0.0).min() > 0) else 0.01
        exact = negative_log_likelihood(oracle, x)
        cells = [str(mean(exact))]
        for steps in (10, 100, 1000, math.inf):
            if steps == math.inf and coupling != Markov():
                cells.append("none: grows with T")
                continue
            bound = ELBO(
                oracle,
                prior=OraclePrior(oracle),
                decoder=GaussianDecoder(process, left(oracle, first).sqrt()),
                coupling=coupling,
                steps=steps,
                first=first,
                summation=MonteCarlo(draws=DRAWS, replicates=1) if steps == math.inf else None,
            )
            generator = torch.Generator().manual_seed(1)
            total = torch.cat([bound(batch, generator=generator).total for batch in x.split(250)])
            # Of the same draws: what they have in common with the exact value cancels.
            cells.append(f"+ {mean(total - exact)}".replace("+ -", "- "))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def mean(values: Tensor) -> Figure:
    """Return the mean of a figure over examples with its standard error."""
    return Figure(values.mean().item(), values.std().item() / math.sqrt(len(values)))


def left(oracle: GaussianOracle, t: float) -> Tensor:
    """Return the variance of each coefficient of the data given the latent at t."""
    alpha2, sigma2 = oracle.process.alpha(t).square(), oracle.process.sigma(t).square()
    return (oracle.variance * sigma2 / (alpha2 * oracle.variance + sigma2))[0]


def negative_log_likelihood(oracle: GaussianOracle, x: Tensor) -> Tensor:
    """Return -log p(x) of Gaussian data in nats."""
    residual = oracle.process.basis.forward(x) - oracle.mean
    return (residual.square() / oracle.variance + (2 * math.pi * oracle.variance).log()).flatten(1).sum(1) / 2


if __name__ == "__main__":
    tables = {"oracles": oracles, "models": models}
    for wanted in asked([*tables]):
        write_table(PAGE, wanted, tables[wanted]())
