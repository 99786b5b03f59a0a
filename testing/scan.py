"""The coefficients on a fine grid of times, the process's own levels among them, in a few batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .plain import as_time, minus

# The grid has so many intervals, whose ends are short decimals: a dip of a thousandth of time is met.
UNIFORM = 1000
# Small signals' grids are finer, up to so many intervals for one of these and up to so many numbers in all.
FINEST, NUMBERS = 8, 2**19
# A batch holds about so many numbers, and at least so many times.
BATCH, FEWEST = 2**20, 8
# Of more levels than that, so many are looked at.
MOST_LEVELS = 2**14


class Scan(NamedTuple):
    """The coefficients at some of the grid's times, rising.

    Attributes:
        times: the times.
        log_alpha: log alpha at each of them, (times, ...), with axes of size 1 where it is the same along an axis.
        log_sigma: likewise.
    """

    times: list[float]
    log_alpha: Float[Tensor, "times ..."]
    log_sigma: Float[Tensor, "times ..."]


def scan(process: LinearGaussianProcess) -> Iterator[Scan]:
    """Go through the grid in batches, each of which begins with the time that the one before ended with."""
    times, numbers = grid(process), math.prod(process.shape)
    most = max(FEWEST, BATCH // numbers)
    for first in range(0, len(times) - 1, most - 1):
        part = times[first : first + most]
        t = as_time(process, *part)
        yield Scan(part, *(unexpanded(process, method(t), t) for method in (process.log_alpha, process.log_sigma)))


def grid(process: LinearGaussianProcess) -> list[float]:
    """Return the times to look at: all levels k / K, and k / n for an n that suits the signal's size."""
    intervals = UNIFORM * min(FINEST, max(1, NUMBERS // UNIFORM // math.prod(process.shape)))
    times = {k / intervals for k in range(intervals + 1)}
    if process.levels is not None:
        every = -(-process.levels // MOST_LEVELS)
        times |= {k / process.levels for k in range(0, process.levels + 1, every)}
    return sorted(times)


def unexpanded(process: LinearGaussianProcess, value: Tensor, t: Tensor) -> Float[Tensor, "times ..."]:
    """Return what a coefficient gave for times (times,) with all axes of a signal, of size 1 where nothing changes."""
    if value.shape == t.shape:
        value = value.reshape(-1, *(1,) * len(process.shape))
    value = value.reshape(*(1,) * (len(process.shape) + 1 - value.ndim), *value.shape).to(t.dtype)
    return value.expand(len(t), *value.shape[1:])


def log_snr_changes(log_alpha: Float[Tensor, "times ..."], log_sigma: Float[Tensor, "times ..."]) -> Tensor:
    """Return the changes of the log-SNR from time to time, as the library takes them, one fewer than there are times.

    Once no signal is left there is none to come back, and noise may shrink. NaN, another law's business, changes
    nothing.
    """
    early, late = log_alpha[:-1], log_alpha[1:]
    growth = minus(log_sigma[1:], log_sigma[:-1])
    fade = torch.where((early == -torch.inf) & (late == -torch.inf), growth.clamp(max=0.0), minus(late, early))
    vanishes = (fade == -torch.inf) & (early > -torch.inf)
    return torch.where(vanishes, fade, 2 * minus(fade, growth)).nan_to_num(0.0, torch.inf, -torch.inf)


def course(process: LinearGaussianProcess, index: tuple[int, ...]) -> Scan:
    """Return the whole course of one coefficient, each part (times,)."""
    times: list[float] = []
    courses: tuple[list[Tensor], list[Tensor]] = ([], [])
    for part in scan(process):
        new = 1 if times else 0
        times += part.times[new:]
        for values, found in zip(part[1:], courses, strict=True):
            place = tuple(min(i, size - 1) for i, size in zip(index, values.shape[1:], strict=True))
            found.append(values[(slice(new, None), *place)])
    return Scan(times, *(torch.cat(found) for found in courses))


def levels_in_words(process: LinearGaussianProcess, times: tuple[float, ...]) -> str:
    """Return which of the process's own levels the times are, as an aside, empty if one of them is none."""
    if process.levels is None:
        return ""
    levels = [round(time * process.levels) for time in times]
    if any(level / process.levels != time for level, time in zip(levels, times, strict=True)):
        return ""
    return f", {' to '.join(f'level {level}' for level in levels)} of {process.levels}"
