"""Steps of every stepper around a network that does nothing, beside other libraries' and beside a bare loop."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from measuring import print_rows, summary, take_turns
from torch import Tensor

from unmelt.degradations import (
    BlurringDiffusion,
    Deterministic,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.models import DegradedDataPrior, Denoiser, MarginalStd, Prior
from unmelt.samplers import (
    Churn,
    Follow,
    Heun,
    Multistep,
    Posterior,
    PredictorCorrector,
    Sampler,
    Stepper,
    UniformGrid,
)

from . import other_samplers
from .other_samplers import Draws, Other
from .part import Bound, DoNothing, Found, Plan, counted_transforms, seeded

SHAPE, COUNT = (3, 32, 32), 8
# Of a run of samples; what it makes once counts for a share of each.
BATCHES = 4
# In microseconds for each call of the network, where steps are per frequency.
LARGEST_STEP = 250.0
# Of the time that the 4 M network takes.
LARGEST_SHARE = 0.02
STEPPERS: dict[str, Stepper] = {
    "Markov": Posterior(Markov()),
    "Deterministic": Posterior(Deterministic()),
    "multistep 2": Multistep(),
    "multistep 3": Multistep(order=3),
    "multistep 4": Multistep(order=4),
    "multistep 2, uncorrected": Multistep(corrector=False),
    "noise multistep 2": Multistep(follow=Follow.NOISE),
    "either multistep 2": Multistep(follow=Follow.EITHER),
    "stochastic multistep 2": Multistep(eta=1.0),
    "Heun": Heun(),
    "noise Heun": Heun(follow=Follow.NOISE),
    "stochastic Heun": Heun(eta=1.0),
    "churned Heun": Heun(churn=Churn(10.0)),
    "predictor-corrector": PredictorCorrector(),
}
# Those that most samples are drawn by: process, prediction, and one of these.
USUAL = (["Markov"], ["Deterministic"], ["multistep 2"])


def sampling(plan: Plan) -> Found:
    """Time runs of each sampler, count their transforms, and set them beside a network of 4 M parameters."""
    seeded()
    steps = 10 if plan.smoke else 100
    contenders: dict[str, Callable[[], object]] = {}
    calls: dict[str, int] = {}
    transforms: dict[str, float] = {}
    for name, (denoiser, stepper, prior) in _samplers(steps).items():
        sampler = Sampler(denoiser, stepper, UniformGrid(steps), prior)
        transforms[name], calls[name] = _counted(sampler)
        contenders[name] = partial(sampler.sample, BATCHES * COUNT, batch_size=COUNT)
    ours = list(contenders)
    others = _others(plan, steps)
    for name, other in others.items():
        contenders[name], calls[name] = other.run, steps * other.calls
    contenders["bare loop"], calls["bare loop"] = partial(_bare_loop, steps), steps
    times = take_turns(contenders, seconds=4 * plan.seconds)
    each = {name: statistics.median(values) * 1e6 / calls[name] / BATCHES for name, values in times.items()}
    rows = [["", "us per call", "transforms per call"]]
    rows += [
        [name, f"{value:.0f}", f"{transforms[name]:.2f}" if name in transforms else ""] for name, value in each.items()
    ]
    print(f"\nsampler around a network that does nothing, {BATCHES} batches of {COUNT} of {SHAPE}, {steps} steps")
    print_rows(rows)
    print("  The coefficients of steps, made once for a run's batches, are timed with them.")
    found = Found({"runs": summary(times), "calls": calls, "transforms per call": transforms})
    found.bounds = bounds_of(each, ours, {name: other.ours for name, other in others.items()})
    network = _network_alone(plan)
    found.cases["4 M network, us"] = network
    slowest = max((name for name in ours), key=lambda name: each[name])
    found.bounds.append(
        Bound(f"slowest step ({slowest}), share of the 4 M network", each[slowest] / network, LARGEST_SHARE)
    )
    return found


def bounds_of(each: dict[str, float], ours: list[str], others: dict[str, str]) -> list[Bound]:
    """Return the bounds on microseconds per call: our samplers', and theirs beside others', by our names for them."""
    per_frequency = [name for name in ours if not name.startswith("isotropic")]
    slowest = max(per_frequency, key=lambda name: each[name])
    bounds = [Bound(f"slowest per frequency ({slowest}), us per call", each[slowest], LARGEST_STEP)]
    usual = max(
        (name for name in per_frequency if name.split(", ")[2:] in USUAL),
        key=lambda name: each[name],
    )
    bounds.append(Bound(f"slowest of the usual per frequency ({usual}), us per call", each[usual], LARGEST_STEP))
    for other, name in others.items():
        ratio = each[f"isotropic, epsilon, {name}"] / each[other]
        bounds.append(Bound(f"isotropic, {name}: time to {other}", ratio, 1.0))
    return bounds


def _samplers(steps: int) -> dict[str, tuple[Denoiser, Stepper, Prior | None]]:
    """Return what to sample with: every stepper of fixed steps on three processes, and two papers' own samplers."""
    heat, isotropic, blurring = (
        HeatDissipation(SHAPE, levels=steps),
        IsotropicDiffusion(SHAPE),
        BlurringDiffusion(SHAPE),
    )
    prior = DegradedDataPrior.fit(heat, torch.rand(64, *SHAPE))
    denoisers = {
        "heat, x": (Denoiser(DoNothing(), heat, prediction=PredictX()), prior),
        "blurring, epsilon": (Denoiser(DoNothing(), blurring, prediction=PredictEpsilon()), None),
        "isotropic, epsilon": (Denoiser(DoNothing(), isotropic, prediction=PredictEpsilon()), None),
    }
    found: dict[str, tuple[Denoiser, Stepper, Prior | None]] = {
        f"{process}, {name}": (denoiser, stepper, prior)
        for process, (denoiser, prior) in denoisers.items()
        for name, stepper in STEPPERS.items()
        if not (denoiser.process is heat and getattr(stepper, "follow", None) is Follow.NOISE)
    }
    previous = Denoiser(DoNothing(), heat, prediction=PredictPreviousLevel())
    return found | {"IHDM's own": (previous, Posterior(Independent(), MarginalStd(times_sigma=1.25)), prior)}


def _others(plan: Plan, steps: int) -> dict[str, Other]:
    """Return the runs of those libraries that were named."""
    draws = Draws((COUNT, *SHAPE), BATCHES, steps)
    found: dict[str, Other] = {}
    if plan.azula is not None:
        found |= other_samplers.azula(plan.azula, draws)
    if plan.k_diffusion is not None:
        found |= other_samplers.k_diffusion(plan.k_diffusion, draws)
    if plan.diffusers:
        found |= other_samplers.diffusers(draws)
    return found


def _bare_loop(steps: int) -> Tensor:
    z = torch.randn(COUNT, *SHAPE)
    for _ in range(BATCHES * steps):
        z = (0.9 * z).add_(torch.randn_like(z), alpha=0.1)
    return z


def _counted(sampler: Sampler) -> tuple[float, int]:
    """Return how many transforms, there and back, a run takes per call of the network, and how many calls it has."""
    with counted_transforms(sampler.process.basis, COUNT) as done:
        calls = sampler.run(COUNT, keep_path=False).stats.calls
    return len(done) / calls, calls


def _network_alone(plan: Plan) -> float:
    """Return the microseconds of a call of the 4 M network on a batch, without gradients."""
    network = plan.small_network().eval()
    z, t = torch.randn(COUNT, *SHAPE), torch.rand(COUNT)

    @torch.no_grad()
    def call() -> object:
        return network(z, t, None)

    return statistics.median(take_turns({"network": call}, seconds=plan.seconds / 2)["network"]) * 1e6
