"""What a process is asked: marginal, transition, posterior, training pair, beside the transforms in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from measuring import print_rows, print_table, summary, take_turns

from unmelt.degradations import (
    ChangedBasis,
    CosineBasis,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
)
from unmelt.degradations.bases import FourierBasis, HaarBasis, HartleyBasis, SineBasis

from .part import Bound, Found, Plan, counted_transforms, measured, seeded

BASES = {"cosine": CosineBasis, "sine": SineBasis, "Fourier": FourierBasis, "Hartley": HartleyBasis, "Haar": HaarBasis}
SHAPES = ((128, (3, 32, 32)), (8, (3, 128, 128)), (128, (1, 256)), (16, (1, 16, 16, 16)))
MOST_TRANSFORMS = 2
# Of the cost of twice as many examples, or of a hundred times as many levels.
LINEAR, LEVELS = 1.1, 1.1


def process_calls(plan: Plan) -> Found:
    """Time all questions in each basis, count transforms, and see what batch and levels cost."""
    seeded()
    found = Found()
    for batch, shape in SHAPES[:1] if plan.smoke else SHAPES:
        for name, basis in BASES.items():
            if len(shape) != 3 and name in ("Hartley", "Haar"):
                continue
            process = ChangedBasis(IsotropicDiffusion(shape), basis(shape))
            numbers = measured(_questions(process, batch), seconds=plan.seconds / 4)
            found.cases[f"{name}, {(batch, *shape)}"] = numbers
    print_table("what a process is asked, a time per example: ms, MiB at most", found.cases, scale=1e3, ratios=False)
    found.cases["transforms"] = transforms = _transforms()
    for prediction, count in transforms.items():
        found.bounds.append(Bound(f"transforms of a training pair, {prediction}", count, MOST_TRANSFORMS))
    growth = {"batch": _doubled(plan), "levels": _levels(plan)}
    found.cases |= growth
    print_rows([["ratio of medians", ""], *([name, f"{ratio:.3f}"] for name, ratio in growth.items())])
    found.bounds.append(Bound("pair of 256 images to twice that of 128", growth["batch"], LINEAR))
    found.bounds.append(Bound("pair with 10,000 levels to that with 100", growth["levels"], LEVELS))
    return found


def _questions(process: LinearGaussianProcess, batch: int) -> dict[str, Callable[[], object]]:
    x, z = torch.rand(batch, *process.shape), torch.randn(batch, *process.shape)
    t = 0.1 + 0.8 * torch.rand(batch, dtype=torch.float64)
    s = t / 2
    basis = process.basis
    return {
        "transform and inverse": lambda: basis.inverse(basis.forward(x)),
        "marginal": lambda: process.marginal(x, t).sample(),
        "transition": lambda: process.transition(z, s, t).sample(),
        "posterior": lambda: process.posterior(z, x, s, t).sample(),
        "training pair": lambda: PredictX().training_pair(process.at(t), x, z),
    }


def _transforms() -> dict[str, int]:
    """Return how many transforms of a batch, there and back, a latent and the target of each prediction take."""
    process = HeatDissipation((3, 32, 32))
    x, t = torch.rand(8, 3, 32, 32), torch.rand(8, dtype=torch.float64)
    counts: dict[str, int] = {}
    for prediction in (PredictX(), PredictEpsilon(), PredictV(), PredictPreviousLevel()):
        with counted_transforms(process.basis, len(x)) as done:
            prediction.training_pair(process.at(t), x, torch.randn_like(x))
        counts[str(prediction)] = len(done)
    return counts


def _doubled(plan: Plan) -> float:
    process = HeatDissipation((3, 32, 32))
    calls = {batch: _pair(process, batch) for batch in (128, 256)}
    return _ratio(calls, plan.seconds) / 2


def _levels(plan: Plan) -> float:
    calls = {levels: _pair(HeatDissipation((3, 32, 32), levels=levels), 128) for levels in (100, 10_000)}
    return _ratio(calls, plan.seconds)


def _pair(process: LinearGaussianProcess, batch: int) -> Callable[[], object]:
    x, t = torch.rand(batch, *process.shape), torch.rand(batch, dtype=torch.float64)
    return partial(process.degrade, x, t, t / 2)


def _ratio(calls: dict[int, Callable[[], object]], seconds: float) -> float:
    """Return the ratio of the second's median to the first's."""
    first, second = summary(take_turns({str(key): call for key, call in calls.items()}, seconds=seconds)).values()
    return second["median_s"] / first["median_s"]
