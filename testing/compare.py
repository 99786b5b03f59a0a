"""Comparisons that say where two tensors differ most, and by how much.

Coefficients are compared with a relative tolerance that lets closed forms pass which cancel a few digits
(sqrt(1 - alpha^2)); what is computed from the same coefficients twice is compared up to rounding, amplified by the
sizes of the numbers in between. Rounding is relative to what goes in, a signal or numbers of size 1, and not to what
comes out, which may have vanished.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .law import Violation

# Closed forms with some cancellation pass, a wrong constant does not; in float64.
FORMULA = 1e-6
# Differences of logarithms of size 1e4, as the library allows them (`check_falling`), and a margin.
ROUNDING = 1e-9


def digits(dtype: torch.dtype) -> float:
    """Return how much coarser than float64's the rounding of `dtype` is (devices without float64)."""
    return torch.finfo(dtype).eps / torch.finfo(torch.float64).eps


def tell_apart(a: Tensor, b: Tensor) -> tuple[str, str]:
    """Return two numbers in words, with six digits or as many as it takes to tell them apart."""
    one, other = a.item(), b.item()
    for digits_shown in range(6, 17):
        words = f"{one:.{digits_shown}g}", f"{other:.{digits_shown}g}"
        if words[0] != words[1]:
            return words
    return repr(one), repr(other)


def largest(x: Tensor) -> float:
    """Return the largest finite magnitude, which rounding is relative to."""
    return x.abs().nan_to_num(0.0, 0.0).max().item()


def require_equal(
    what: str,
    actual: Float[Tensor, "..."],
    expected: Float[Tensor, "..."],
    *,
    rank: int,
    relative: float = 0.0,
    absolute: float | Tensor = 0.0,
    where: Tensor | None = None,
    times: tuple[float, ...] | None = None,
) -> None:
    """Require |actual - expected| <= absolute + relative |expected|; equal infinities and two NaNs are equal.

    Args:
        what: what is compared, the subject of the sentence "... is 2 instead of 3".
        actual: a tensor.
        expected: a tensor that broadcasts with it.
        rank: how many trailing axes index a coefficient.
        relative: tolerance at float64, a coarser one being taken for coarser dtypes.
        absolute: tolerance likewise.
        where: mask of coefficients that count; all if None.
        times: the example's times, if the law knows better than the example.

    Raises:
        Violation: somewhere it is not; it names the worst coefficient.
    """
    actual, expected = torch.broadcast_tensors(actual, expected)
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    error = torch.where(same, 0.0, (actual - expected).abs().nan_to_num(torch.inf, torch.inf))
    allowed = (absolute + relative * expected.abs()).nan_to_num(0.0, 0.0) * digits(actual.dtype)
    require_within(
        error,
        allowed,
        lambda index: "{} is {} instead of {}".format(what, *tell_apart(actual[index], expected[index])),
        rank=rank,
        where=where,
        times=times,
    )


def require_stddev(
    what: str,
    actual: Float[Tensor, "..."],
    expected: Float[Tensor, "..."],
    unit: Float[Tensor, "..."],
    *,
    rank: int,
    where: Tensor | None = None,
) -> None:
    """Require two standard deviations to have equal squares up to rounding, in shares of unit^2.

    Variances are sigma^2 times (1 - rho^2), whose rounding is relative to 1: a standard deviation that ought to be 0
    may be sigma times the root of that rounding.
    """
    actual, expected, unit = torch.broadcast_tensors(actual, expected, unit)
    scale = torch.where(unit > 0, unit, 1.0)
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    error = torch.where(same, 0.0, ((actual / scale) ** 2 - (expected / scale) ** 2).abs().nan_to_num(torch.inf))
    require_within(
        error,
        torch.full_like(error, ROUNDING * digits(error.dtype)),
        lambda index: "{} is {} instead of {}".format(what, *tell_apart(actual[index], expected[index])),
        rank=rank,
        where=where,
        amounts=(actual - expected).abs(),
    )


def require_within(
    error: Tensor,
    allowed: Tensor,
    sentence: Callable[[tuple[int, ...]], str],
    *,
    rank: int,
    where: Tensor | None = None,
    times: tuple[float, ...] | None = None,
    amounts: Tensor | None = None,
) -> None:
    """Require error <= allowed wherever `where`; `sentence` says of an index what is wrong there."""
    broken = error > allowed
    if where is not None:
        broken = broken & where
    if not bool(broken.any()):
        return
    worst = torch.where(broken, error, -1.0).argmax()
    index = tuple(int(i) for i in torch.unravel_index(worst, error.shape))
    amount = (error if amounts is None else amounts)[index].item()
    what = f"{sentence(index)}, off by {amount:.3g}"
    raise Violation(
        what,
        coefficient=index[len(index) - rank :] if rank else None,
        amount=amount,
        times=times,
    )
