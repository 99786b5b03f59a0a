"""Times the losses of every family by how errors are weighted, around a network that does nothing.

    python benchmarks/weightings.py                           # a minute on one core
    python benchmarks/weightings.py --size 64 --batch 128     # tables of numbers, not calls of torch, take the time

The bound's weighting and the sigmoid's differentiate the log-SNR in each step; minimal SNR weighs coefficients too, and
differentiates nothing. A family's losses take turns in this one process, on one thread unless `--threads`
says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from measuring import machine, print_machine, print_rows, summary, take_turns, write_json
from timed.part import DoNothing

from unmelt.core.configuration import cli
from unmelt.degradations import (
    BlurringDiffusion,
    BrownianBridge,
    CosineSchedule,
    DirectionalBlur,
    HeatBridge,
    HeatDissipation,
    HeatFlow,
    IsotropicDiffusion,
    LinearGaussianProcess,
    Pixelation,
    PixelMask,
    PredictX,
    ResidualShift,
    SoftDiffusion,
    SpectralDiffusion,
    VariancePreservingBlur,
    WithNoise,
)
from unmelt.losses import BoundWeighting, DenoisingLoss, MinSNRWeighting, SigmoidWeighting, SimpleWeighting, Weighting
from unmelt.models import Denoiser

WEIGHTINGS: dict[str, Weighting] = {
    "simple": SimpleWeighting(),
    "minimal SNR": MinSNRWeighting(),
    "bound": BoundWeighting(),
    "sigmoid": SigmoidWeighting(0.0),
}


@dataclass(frozen=True)
class Settings:
    """The command line.

    Attributes:
        size: height and width of the images, of three channels.
        batch: number of images.
        seconds: time spent on each family; more of it makes medians steadier.
        threads: threads that torch computes with.
        json: write all numbers to this file.
    """

    size: int = 32
    batch: int = 32
    seconds: float = 4.0
    threads: int = 1
    json: Path | None = None


def families(shape: tuple[int, ...]) -> list[LinearGaussianProcess]:
    """Return a process of every family whose weightings are defined."""
    return [
        IsotropicDiffusion(shape),
        HeatDissipation(shape),
        BlurringDiffusion(shape),
        SoftDiffusion(shape),
        VariancePreservingBlur(shape),
        DirectionalBlur(shape),
        SpectralDiffusion(shape),
        HeatFlow(shape),
        Pixelation(shape),
        PixelMask(shape),
        WithNoise(HeatDissipation(shape), CosineSchedule()),
        ResidualShift(shape),
        BrownianBridge(shape),
        HeatBridge(shape),
    ]


def main(settings: Settings) -> None:
    """Measure and print every family's losses."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    facts = machine(torch.device("cpu"))
    print_machine(facts)
    shape = (3, settings.size, settings.size)
    x = torch.rand(settings.batch, *shape)
    cases: dict[str, dict[str, dict[str, float]]] = {}
    rows = [["", *WEIGHTINGS, "bound / minimal SNR"]]
    for process in families(shape):
        denoiser = Denoiser(DoNothing(), process, prediction=PredictX())
        known = {"given": x.flip(-1)} if process.known_end else {}
        losses = {name: DenoisingLoss(denoiser, weighting=weighting) for name, weighting in WEIGHTINGS.items()}
        contenders = {name: partial(loss, x, **known) for name, loss in losses.items()}
        case = cases[process.called] = summary(take_turns(contenders, seconds=settings.seconds))
        medians = {name: numbers["median_s"] for name, numbers in case.items()}
        ratio = medians["bound"] / medians["minimal SNR"]
        rows.append([process.called, *(f"{median * 1e3:.3g}" for median in medians.values()), f"{ratio:.2f}"])
    print(f"\nloss of ({settings.batch}, 3, {settings.size}, {settings.size}) by weighting, forward pass: ms")
    print_rows(rows)
    if settings.json is not None:
        write_json(settings.json, {"machine": facts, "cases": cases})


if __name__ == "__main__":
    main(cli(Settings(), __doc__))
