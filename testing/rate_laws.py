"""Laws of the rates in continuous time, against finite differences and against automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.rates import rate
from ..degradations import LinearGaussianProcess
from .compare import (
    FORMULA,
    digits,
    require_equal,
    require_within,
    tell_apart,
)
from .law import Example, law
from .plain import (
    Plain,
    as_time,
    plain,
    widen,
)

# Logarithms of size 1 are differences of 1e-16 / 1e-4 apart from their slopes, curvature is felt on 1e-4 of the time.
STEP = 1e-4
# Of a slope, what the curvature's own change within two steps may hide.
CURVATURE = 1e-3


@law(
    "log_alpha and log_sigma can be differentiated in t",
    "drift, diffusion and all that follows from them differentiate the two by t. Write them with torch operations from "
    "t to the result: no .item(), .detach(), torch.tensor(t), numpy, or torch.no_grad().",
)
def differentiable(process: LinearGaussianProcess, example: Example) -> None:
    """The automatic slope lies between the differences to the left and to the right, at kinks too."""
    if not STEP <= example.t <= 1 - STEP:
        return
    around = [plain(process, example.t + shift) for shift in (-STEP, 0.0, STEP)]
    for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
        slope = automatic(process, method, example.t)
        left, right, room = differences([getattr(at, name) for at in around])
        low, high = torch.minimum(left, right) - room, torch.maximum(left, right) + room
        error = torch.maximum(low - slope, slope - high).clamp(min=0.0)
        require_within(
            torch.where(slope.isnan(), torch.inf, error),
            torch.zeros_like(error),
            lambda index, name=name, slope=slope, left=left: (
                f"the automatic derivative of {name} is "
                + f" where differences over {STEP:g} give ".join(tell_apart(slope[index], left[index]))
            ),
            rank=len(process.shape),
            where=left.isfinite() & right.isfinite(),
        )


def closed_form(name: str, formula: str, power: int) -> Callable[[LinearGaussianProcess, Example], None]:
    """Return the check that a method which may be overridden gives what `LinearGaussianProcess` derives."""

    def check(process: LinearGaussianProcess, example: Example) -> None:
        if not STEP <= example.t <= 1 - STEP:
            return
        actual = getattr(process, name)(example.t)
        expected = getattr(LinearGaussianProcess, name)(process, example.t)
        smooth = away_from_kinks(process, example.t)
        require_equal(
            f"{name}(t)",
            actual,
            expected,
            rank=len(process.shape),
            relative=FORMULA,
            absolute=1e-9 * (1 + slopes(process, example.t)) * units(process, example.t) ** power,
            where=smooth & expected.isfinite(),
        )

    check.__doc__ = f"{name}(t) is {formula}."
    return check


def units(process: LinearGaussianProcess, t: float) -> Float[Tensor, "..."]:
    """Return sigma_t, in whose square diffusion rates are measured, (*shape)."""
    return plain(process, t).sigma


def slopes(process: LinearGaussianProcess, t: float) -> Float[Tensor, "..."]:
    """Return the size of the slopes of both logarithms, (*shape), which cancel in that of the log-SNR."""
    both = (automatic(process, method, t) for method in (process.log_alpha, process.log_sigma))
    return sum((slope.abs().nan_to_num(0.0, 0.0) for slope in both), torch.zeros(()))


def automatic(process: LinearGaussianProcess, method: Callable[[Tensor], Tensor], t: float) -> Float[Tensor, "..."]:
    """Return the slope of `log_alpha` or `log_sigma` at t, (*shape)."""
    return rate(lambda time: widen(process, method(time), time), as_time(process, t))[0]


def differences(values: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slopes to the left and to the right of three values STEP apart, and what they may be off by."""
    before, here, after = values
    left, right = (here - before) / STEP, (after - here) / STEP
    rounding = 1e4 * torch.finfo(here.dtype).eps * (1 + here.abs() / 1e3) / STEP
    room = CURVATURE * torch.maximum(left.abs(), right.abs()) + rounding * digits(here.dtype)
    # Infinity minus infinity is not a slope; callers mask it.
    return left, right, room.nan_to_num(0.0, 0.0)


def away_from_kinks(process: LinearGaussianProcess, t: float) -> Tensor:
    """Tell where both logarithms are smooth at t: at a kink either side's slope is right."""
    around = [plain(process, t + shift) for shift in (-STEP, 0.0, STEP)]

    def straight(name: str) -> Tensor:
        values = [getattr(at, name) for at in around]
        left, right, room = differences(values)
        still = (values[0] == values[1]) & (values[1] == values[2])
        return still | ((left - right).abs() <= 10 * room)

    return straight(Plain._fields[0]) & straight(Plain._fields[1])


CLOSED = "Override it with the derivative's closed form or not at all: the usual causes are a factor 2 and a sign."
DRIFT, LOG_SNR_RATE = "d log alpha_t / dt", "2 (d log alpha_t / dt - d log sigma_t / dt)"
DIFFUSION = "g_t^2 = -sigma_t^2 dl_t / dt"

LAWS = (
    differentiable,
    law(f"drift is {DRIFT}", CLOSED)(closed_form("drift", DRIFT, 0)),
    law("log_snr_rate is the slope of the log-SNR", CLOSED)(closed_form("log_snr_rate", LOG_SNR_RATE, 0)),
    law(
        f"diffusion is {DIFFUSION}",
        f"{CLOSED} It is the square g^2, in squared units of the data.",
    )(closed_form("diffusion", DIFFUSION, 2)),
)
