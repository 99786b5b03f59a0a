"""Laws of the rates in continuous time, against automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.rates import rate
from ..degradations import LinearGaussianProcess
from .compare import (
    FORMULA,
    largest,
    require_equal,
)
from .gradient_laws import STEP, differences
from .law import Law, Violation, law_at_once
from .plain import (
    Plain,
    as_time,
    widen,
)

# Where closed forms are compared, and both ends.
TIMES = (*(k / 100 for k in range(1, 100, 7)), 0.3137, 0.6183, 0.9371)
RATES = ("drift", "log_snr_rate", "diffusion")


def closed_form(name: str, formula: str, power: int) -> Callable[[LinearGaussianProcess], None]:
    """Return the check that a method which may be overridden gives what `LinearGaussianProcess` derives."""

    def check(process: LinearGaussianProcess) -> None:
        derive, rank = getattr(LinearGaussianProcess, name), len(process.shape)
        expected = derive(process, as_time(process, *TIMES))
        expected = expected.expand(len(TIMES), *process.shape)
        where = away_from_kinks(process, TIMES) & expected.isfinite()
        room = 1e-9 * (1 + slopes(process, TIMES)) * units(process, TIMES) ** power
        for i, t in enumerate(TIMES):
            given = one_rate(process, name, t)
            require_equal(
                f"{name}(t)",
                given,
                expected[i],
                rank=rank,
                relative=FORMULA,
                absolute=room[i],
                where=where[i],
                times=(t,),
            )
        # The limits at the ends are read off next to them, up to a share of what there is inside.
        inside = torch.where(where, expected, 0.0).abs().amax(0)
        for t in (0.0, 1.0):
            given, limit = one_rate(process, name, t), derive(process, t).expand(1, *process.shape)[0]
            unbounded = ~(limit.abs() < 1e6 * (1 + inside))
            # Where it grows without bound, infinity is as good as any large number of its own.
            given = torch.where(unbounded & ~given.isnan(), limit, given)
            room_at_end = FORMULA * (inside + units(process, TIMES).amax(0) ** power)
            require_equal(f"{name}(t)", given, limit, rank=rank, relative=FORMULA, absolute=room_at_end, times=(t,))

    check.__doc__ = f"{name}(t) is {formula}."
    return check


def one_rate(process: LinearGaussianProcess, name: str, t: float) -> Float[Tensor, "..."]:
    """Return a rate at one time, (*shape), or tell what the method gives instead."""
    value: Any = getattr(process, name)(t)
    return shaped(process, f"{name}(t)", value, 1).expand(1, *process.shape)[0]


def shaped(process: LinearGaussianProcess, what: str, value: Any, count: int) -> Tensor:
    """Return a rate for `count` times, checked to broadcast to (count, *shape)."""
    if not isinstance(value, Tensor):
        msg = f"{what} is a {type(value).__name__} instead of a tensor"
        raise Violation(msg)
    if value.dtype != as_time(process, 0.0).dtype:
        msg = f"{what} is {value.dtype} instead of {as_time(process, 0.0).dtype}"
        raise Violation(msg, advice="Rates are computed in the precision of self.as_times(t), as log_alpha(t) is.")
    allowed = (count, *process.shape)
    rank = len(allowed)
    trailing = (1,) * (rank - value.ndim) + tuple(value.shape)
    if value.ndim > rank or any(size not in (1, most) for size, most in zip(trailing, allowed, strict=True)):
        msg = f"{what} has shape {tuple(value.shape)}, which does not broadcast to {allowed}"
        raise Violation(msg)
    return value


@law_at_once(
    "rates take a time for each example",
    "t is one number, or (batch,) with a time for each example: begin with t = self.as_times(t), multiply tables with "
    "self.expand_times(t), and read nothing that is one number only (t[0], float(t), t.max()).",
)
def times_each(process: LinearGaussianProcess) -> None:
    """Each example of a batch has the rate that it has alone, whatever axis has the batch's size."""
    for name in RATES:
        for count in sorted({2, process.shape[-1]} - {1}):
            times = [0.11 + 0.73 * k / count for k in range(count)]
            rates = getattr(process, name)(as_time(process, *times))
            together = shaped(process, f"{name}(t), for {count} times,", rates, count)
            together = together.expand(count, *process.shape)
            for i in (0, count - 1):
                require_equal(
                    f"{name}(t), in a batch of {count} times,",
                    together[i],
                    one_rate(process, name, times[i]),
                    rank=len(process.shape),
                    relative=FORMULA,
                    absolute=FORMULA * largest(together[i]),
                    times=(times[i],),
                )


def at_times(process: LinearGaussianProcess, times: tuple[float, ...], shift: float = 0.0) -> Plain:
    """Return both logarithms at several times, each (times, *shape)."""
    t = as_time(process, *times) + shift
    log_alpha, log_sigma = (
        widen(process, method(t), t).expand(len(times), *process.shape)
        for method in (process.log_alpha, process.log_sigma)
    )
    return Plain(log_alpha, log_sigma)


def units(process: LinearGaussianProcess, times: tuple[float, ...]) -> Float[Tensor, "times ..."]:
    """Return sigma_t, in whose square diffusion rates are measured, (times, *shape)."""
    return at_times(process, times).sigma


def slopes(process: LinearGaussianProcess, times: tuple[float, ...]) -> Float[Tensor, "times ..."]:
    """Return the size of the slopes of both logarithms, (times, *shape), which cancel in that of the log-SNR."""
    t = as_time(process, *times)
    both = (rate(lambda t, m=method: widen(process, m(t), t), t) for method in (process.log_alpha, process.log_sigma))
    return sum((slope.abs().nan_to_num(0.0, 0.0) for slope in both), torch.zeros(()))


def away_from_kinks(process: LinearGaussianProcess, times: tuple[float, ...]) -> Tensor:
    """Tell where both logarithms are smooth at each time: at a kink either side's slope is right."""
    around = [at_times(process, times, shift) for shift in (-STEP, 0.0, STEP)]

    def straight(name: str) -> Tensor:
        values = [getattr(at, name) for at in around]
        left, right, room = differences(values)
        still = (values[0] == values[1]) & (values[1] == values[2])
        return still | ((left - right).abs() <= 10 * room)

    return straight(Plain._fields[0]) & straight(Plain._fields[1])


CLOSED = (
    "Override it with the derivative's closed form or not at all: the usual causes are a factor 2 and a sign, and at "
    "t = 0 and t = 1 a division of 0 by 0, whose limit from within is the rate there."
)
DRIFT, LOG_SNR_RATE = "d log alpha_t / dt", "2 (d log alpha_t / dt - d log sigma_t / dt)"
DIFFUSION = "g_t^2 = -sigma_t^2 dl_t / dt"


def closed_form_law(name: str, title: str, formula: str, power: int, advice: str = CLOSED) -> Law:
    """Return the law that a rate is what `LinearGaussianProcess` derives."""
    return law_at_once(title, advice)(closed_form(name, formula, power))


LAWS = (
    times_each,
    closed_form_law("drift", f"drift is {DRIFT}", DRIFT, 0),
    closed_form_law("log_snr_rate", "log_snr_rate is the slope of the log-SNR", LOG_SNR_RATE, 0),
    closed_form_law(
        "diffusion",
        f"diffusion is {DIFFUSION}",
        DIFFUSION,
        2,
        f"{CLOSED} It is the square g^2, in squared units of the data.",
    ),
)
