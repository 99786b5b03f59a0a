"""How far a device's numbers may be off, told by how far the CPU's are.

The CPU's float32 numbers are off those of float64 by what rounding does. The device may be four times as far off, in
root mean square over a batch, and four units of the last place more: both are sums of the same rounding errors in
another order, of the same deviation, averaged over 48 numbers or more, so that twice as far would be rare.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

_MARGIN = 4.0
# Of float32, relative to the size of numbers.
UNIT = 2.0**-23


class Found(NamedTuple):
    """A comparison: errors are relative to the size of what was computed.

    Attributes:
        what: process and quantity.
        error: the device's.
        allowed: what it may be.
        passed: whether it is, and what is infinite or NaN is so on both sides.
    """

    what: str
    error: float
    allowed: float
    passed: bool


def judge(what: str, truth: Tensor, ours: Tensor, theirs: Tensor, *, unit: float = UNIT) -> Found:
    """Compare the device's numbers (theirs) with the truth, as the CPU's in the same precision (ours) are.

    Args:
        what: their name.
        truth: float64.
        ours: the CPU's.
        theirs: the device's.
        unit: what counts as one unit of the last place, relative to their size.
    """
    truth, ours, theirs = truth.double(), ours.double(), theirs.double()
    usable = truth.isfinite() & ours.isfinite()
    alike = bool((theirs.isfinite() == ours.isfinite())[~usable].all()) and bool(theirs[usable].isfinite().all())
    if not bool(usable.any()):
        return Found(what, 0.0, 1.0, alike)
    size = _root_mean_square(truth[usable]) or 1.0
    own, error = (_root_mean_square((side - truth)[usable]) / size for side in (ours, theirs))
    allowed = _MARGIN * (own + unit)
    return Found(what, error, allowed, alike and error <= allowed)


def _root_mean_square(numbers: Tensor) -> float:
    return numbers.square().mean().sqrt().item()
