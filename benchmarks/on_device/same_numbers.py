"""The same numbers on a device as on the CPU: every process, loss, bound and stepper.

What is asked for is computed three times from the same random numbers: on the CPU in float64, on the CPU in float32,
and on the device in float32; `judging.py` says how far the third may be off.

Where the device is the CPU, the third is the second again, and the comparison shows no more than that it can be made.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from on_device.arithmetic import products
from on_device.judging import UNIT, Found, judge
from on_device.setting import Bench

# The tests' own lists.
_TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(_TESTS), str(_TESTS / "device")]
from every_part import COUPLINGS, LOSSES, STEPPERS  # noqa: E402
from parity import SingleNoise, compare  # noqa: E402
from zoo import EVERY_PROCESS, KNOWN_ENDS  # noqa: E402

from unmelt.degradations import (  # noqa: E402
    Independent,
    LinearGaussianProcess,
    Markov,
    PredictEpsilon,
    Prediction,
    PredictScore,
    PredictV,
    PredictX,
)
from unmelt.losses import ELBO, DenoisingLoss  # noqa: E402
from unmelt.models import DegradedDataPrior, Denoiser, KnownEndPrior, OffLevelsWarning  # noqa: E402
from unmelt.samplers import Adaptive, Sampler, Stepper, UniformGrid  # noqa: E402

_BATCH = 48
# An adaptive run may take another step where rounding decides: it is off by as much as it lets itself be.
_ADAPTIVE = Adaptive(rtol=1e-3, atol=1e-3)
# Where all losses and predictions, and where all steppers are tried; elsewhere one of each.
_ALL_LOSSES, _ALL_STEPPERS = ("cosine", "blurring"), ("cosine", "heat bridge")
Numbers = Iterator[tuple[str, Tensor]]


class Side(NamedTuple):
    """Where, and in what, numbers are computed."""

    device: torch.device
    dtype: torch.dtype


def measure(bench: Bench) -> dict[str, object]:
    """Compare everything that there is time for, and report what is off and what was left out."""
    # Rougher arithmetic is a part of its own.
    with products("highest"):
        with warnings.catch_warnings(action="ignore", category=OffLevelsWarning):
            steps = bench.size.compared_steps
            predictions = compare(bench.device, size=16, batch=2, steps=steps) if steps else []
        found, left_out = _compared(bench)
    worst = max(found, key=lambda one: one.error / one.allowed)
    wrong = [f"{one.what}: off by {one.error:.2e}, allowed {one.allowed:.2e}" for one in found if not one.passed]
    wrong += [str(check) for check in predictions if not check.passed]
    processes = {one.what.partition(":")[0] for one in found}
    print(f"  {len(found)} quantities of {len(processes)} processes: {len(wrong)} off")
    print(f"  nearest to what is allowed: {worst.what}, {worst.error:.1e} of {worst.allowed:.1e}")
    print(f"  {len(predictions)} of predictions, losses and couplings, with the tolerances of tests/device/parity.py")
    for line in wrong:
        print(f"  OFF: {line}")
    if left_out:
        print(f"  left out, for time: {', '.join(left_out)}")
    bench.fail_if(wrong, "numbers differ from the CPU's")
    return {
        "compared": len(found) + len(predictions),
        "off": wrong,
        "worst": worst._asdict(),
        "left_out": left_out,
    }


def _compared(bench: Bench) -> tuple[list[Found], list[str]]:
    """Return comparisons, and the processes that there was no time for."""
    sides = [Side(torch.device("cpu"), torch.float64), Side(torch.device("cpu"), torch.float32)]
    sides.append(Side(bench.device, torch.float32))
    zoo: dict[str, LinearGaussianProcess] = {**EVERY_PROCESS, **KNOWN_ENDS}
    found = list[Found]()
    names = bench.size.processes or tuple(dict.fromkeys((*_ALL_LOSSES, *_ALL_STEPPERS, *zoo)))
    for number, name in enumerate(names):
        if bench.left < 0 and found:
            return found, list(names[number:])
        with SingleNoise():
            truth, ours, theirs = (dict(_asked(name, zoo[name], side)) for side in sides)
        for what, true in truth.items():
            unit = _ADAPTIVE.rtol if "Adaptive" in what else UNIT
            found.append(judge(f"{name}: {what}", true.cpu(), ours[what].cpu(), theirs[what].cpu(), unit=unit))
    return found, []


@torch.no_grad()
def _asked(name: str, process: LinearGaussianProcess, side: Side) -> Numbers:
    """Yield all that is compared of a process, by name."""
    process = copy.deepcopy(process).to(side.device)
    yield from _distributions(process, side)
    yield from _losses(process, side, in_full=name in _ALL_LOSSES)
    yield from _bounds(process, side, in_full=name in _ALL_LOSSES)
    yield from _samples(process, side, in_full=name in _ALL_STEPPERS)


def _distributions(process: LinearGaussianProcess, side: Side) -> Numbers:
    x, z = _images(process, side, 0), _images(process, side, 1)
    known: dict[str, Any] = {"given": x.flip(-1)} if process.known_end else {}
    t, s = torch.linspace(0.3, 1.0, _BATCH, dtype=torch.float64, device=side.device), 0.25
    yield "marginal", process.marginal(x, t, **known).sample(generator=_seeded(2))
    yield "transition", process.transition(z, s, t, **known).sample(generator=_seeded(2))
    for coupling in COUPLINGS:
        posterior = process.posterior(z, x, s, t, coupling, **known)
        yield f"posterior by {coupling}", posterior.sample(generator=_seeded(2))
    yield "path", process.sample_path(x, [0.0, 0.4, 1.0], generator=_seeded(2), **known)
    yield "degraded", process.degrade(x, t, s, **known)[0]
    yield "corrupted", process.corrupt(x, z, t, **known)
    if bool((process.at(0.5).log_sigma > -torch.inf).all()):
        yield "density", process.marginal(x, 0.5, **known).log_prob(z)
        yield "divergence", process.marginal(x, 0.5, **known).kl_divergence(process.marginal(z, 0.5, **known))
        yield "score", process.score(z, x, 0.5, **known)


def _losses(process: LinearGaussianProcess, side: Side, *, in_full: bool) -> Numbers:
    x = _images(process, side, 0)
    known: dict[str, Any] = {"given": x.flip(-1)} if process.known_end else {}
    settings: dict[str, Callable[[], dict[str, Any]]] = {"simple": dict}
    predictions: list[Prediction] = [PredictX()]
    if in_full:
        settings = dict[str, Callable[[], dict[str, Any]]](LOSSES)
        predictions += [PredictEpsilon(), PredictV(), PredictScore()]
    tried = [(name, predictions[0]) for name in settings] + [("simple", other) for other in predictions[1:]]
    for name, prediction in tried:
        denoiser = _if_defined(lambda p=prediction: Denoiser(Soft(), process, prediction=p))
        loss = denoiser and _if_defined(lambda n=name, d=denoiser: DenoisingLoss(d, **settings[n]()))
        if loss is not None:
            yield f"{name} loss, {prediction}", loss.to(side.device)(x, generator=_seeded(3), **known)


def _bounds(process: LinearGaussianProcess, side: Side, *, in_full: bool) -> Numbers:
    x = _images(process, side, 0)
    known: dict[str, Any] = {"given": x.flip(-1)} if process.known_end else {}
    prior = KnownEndPrior(process) if known else DegradedDataPrior.fit(process, x)
    denoiser = Denoiser(Soft(), process, prediction=PredictX())
    for coupling in (Markov(), Independent()) if in_full else (Markov(),):
        bound = _if_defined(
            lambda c=coupling: ELBO(denoiser, prior=prior, coupling=c, steps=8, first=1 / 8)(
                x, generator=_seeded(3), **known
            )
        )
        if bound is not None:
            yield f"bound by {coupling}", bound.total


def _samples(process: LinearGaussianProcess, side: Side, *, in_full: bool) -> Numbers:
    x = _images(process, side, 0)
    known: dict[str, Any] = {"given": x.flip(-1)} if process.known_end else {}
    prior = KnownEndPrior(process) if known else DegradedDataPrior.fit(process, x)
    denoiser = Denoiser(Soft(), process, prediction=PredictX())
    steppers: Iterable[Stepper] = (*STEPPERS, _ADAPTIVE) if in_full else STEPPERS[:1]
    pinned = bool(known) and process.at(1.0).pinned
    for stepper in steppers:
        grid = None if isinstance(stepper, Adaptive) else UniformGrid(6)
        sampler = _if_defined(lambda s=stepper, g=grid: Sampler(denoiser, s, grid=g, prior=prior))
        if sampler is not None:
            # Drawn in float32 on all sides, but where the first latent is the known end.
            initial = sampler.initial_latents(_BATCH, generator=_seeded(4), **known).to(side.dtype)
            initial = process.end_share(known["given"], 1.0) if pinned else initial
            yield f"samples by {stepper}", sampler.sample(_BATCH, generator=_seeded(5), initial=initial, **known)


class Soft(nn.Module):
    """A bounded function in the place of a network: without sums, whose order another device may choose."""

    def forward(self, z: Tensor, t: Tensor, condition: object = None) -> Tensor:
        """Return half a hyperbolic tangent of signals (batch, *shape), less of it at late times (batch,)."""
        return 0.5 * torch.tanh(z) * (1 - 0.3 * t.to(z.dtype).reshape(-1, *(1,) * (z.ndim - 1)))


def _if_defined(make: Callable[[], Any]) -> Any:
    """Return what is made, or None where a process does not allow it."""
    try:
        return make()
    except (TypeError, ValueError):
        return None


def _images(process: LinearGaussianProcess, side: Side, seed: int) -> Tensor:
    return torch.rand(_BATCH, *process.shape, generator=_seeded(seed)).to(*side)


def _seeded(seed: int) -> torch.Generator:
    """Return a generator on the CPU, whose numbers are the same on every machine."""
    return torch.Generator().manual_seed(seed)
