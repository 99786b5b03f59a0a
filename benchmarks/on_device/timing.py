"""Seconds and bytes of calls on a device that works while the host goes on."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

_WINDOWS = 5
_WARM_UP = 3
_MOST = 10_000


class Timed(NamedTuple):
    """What a call takes.

    Attributes:
        seconds: the median of five windows of many calls, from an idle device to an idle device.
        first: the first call, compilation included.
        peak_memory_gib: the most memory taken since before the first call; on a CPU, by this program so far.
    """

    seconds: float
    first: float
    peak_memory_gib: float


def timed(call: Callable[[], object], device: torch.device, seconds: float) -> Timed:
    """Time a call, for about so many seconds after it was warmed up."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first = window(call, 1, device)
    once = window(call, _WARM_UP, device) / _WARM_UP
    repeats = max(1, min(_MOST, round(seconds / _WINDOWS / once)))
    median = statistics.median(window(call, repeats, device) for _ in range(_WINDOWS)) / repeats
    return Timed(median, first, peak_memory(device) / 2**30)


def window(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the seconds that `repeats` calls take, from an idle device to an idle device."""
    wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    wait(device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use since they were last reset; on a CPU, by this program so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def release(device: torch.device) -> None:
    """Give compiled code and cached memory back, so that what comes next is measured from the same start."""
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
