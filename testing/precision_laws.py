"""The law that log_alpha and log_sigma are computed in float64, and not in float32 inside."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import require_equal
from .law import Violation, law_at_once
from .plain import as_time, widen

PROBES = (0.0, 0.31, 0.5, 1.0)
# Odd times, which float32 tells from each other by steps of 3e-8 or more.
TIMES = tuple(0.3137 + 0.0217 * k for k in range(31))
# Slopes are taken over this much time, seen again over less, and followed over less than float32 can see.
STEP, LESS, UNSEEN = 1e-4, 1e-5, 4e-9
# Shares of a slope: what a curve's own bending may hide, and what float32 would.
BENT, LOST = 0.01, 0.05


@law_at_once(
    "the coefficients are computed in double precision",
    "Make tables with dtype=torch.float64, leave out .float() and .to(torch.float32), and give torch.tensor(...), "
    "torch.arange(...) and torch.linspace(...) a dtype. torch.where(c, -torch.inf, 0.0) makes float32 of two numbers: "
    "write torch.where(c, -torch.inf, torch.zeros_like(t)). Seven digits of a logarithm near -100 are five digits of "
    "alpha, and .double() does not bring them back.",
)
def precision(process: LinearGaussianProcess) -> None:
    """Times in float64 give logarithms in float64, of the same value whatever torch's default dtype is."""
    for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
        for times in (*((time,) for time in PROBES), PROBES):
            require_double(process, name, method, times)
        require_following(process, name, method)


def require_double(
    process: LinearGaussianProcess, name: str, method: Callable[[Tensor], Tensor], times: tuple[float, ...]
) -> None:
    """Require the dtype of t, under either default."""
    t = as_time(process, *times)
    value = method(t)
    if value.dtype != t.dtype:
        msg = f"{name}(t) is {value.dtype} for t in {t.dtype}"
        raise Violation(msg, times=times[:1])
    default = torch.get_default_dtype()
    other = torch.float32 if default == torch.float64 else torch.float64
    try:
        torch.set_default_dtype(other)
        again = method(t)
    finally:
        torch.set_default_dtype(default)
    what = f"{name}(t), with torch's default dtype set to {other},"
    rank = len(process.shape)
    require_equal(what, widen(process, again, t), widen(process, value, t), rank=rank, times=times[:1])


def require_following(process: LinearGaussianProcess, name: str, method: Callable[[Tensor], Tensor]) -> None:
    """Require a logarithm that moves evenly over 1e-4 of time to move over 4e-9 as well, which float32 cannot see."""
    t = as_time(process, *TIMES)
    if t.dtype != torch.float64:
        return

    def at(shift: float) -> Tensor:
        return widen(process, method(t + shift), t)

    here, left, right = at(0.0), at(-STEP), at(STEP)
    slope = (right - left) / (2 * STEP)
    even = (right - 2 * here + left).abs() <= BENT * (right - left).abs() / 2
    even &= ((at(LESS) - here) / LESS - slope).abs() <= 0.25 * slope.abs()
    rounding = 100 * torch.finfo(t.dtype).eps * (1 + here.abs()) / UNSEEN
    seen = (at(UNSEEN) - here) / UNSEEN
    lost = even & ((seen - slope).abs() > LOST * slope.abs() + rounding)
    # A place where it moves oddly is a place; float32 is everywhere.
    broken = (lost.sum(0) >= 5) & (2 * lost.sum(0) > even.sum(0))
    if bool(broken.any()):
        index = tuple(int(i) for i in broken.nonzero()[0])
        first = int(lost[(slice(None), *index)].nonzero()[0])
        time, a, b = TIMES[first], seen[(first, *index)].item(), slope[(first, *index)].item()
        msg = (
            f"{name}(t) is float64, but does not follow t as closely: over {UNSEEN:g} of time, "
            f"less than float32 can see, its slope is {a:.4g}, over {STEP:g} it is {b:.4g}"
        )
        raise Violation(msg, times=(time,), coefficient=index)


LAWS = (precision,)
