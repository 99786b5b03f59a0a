"""Means over some steps, summed on the device, and how fast and large they were."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

_GIB = 2**30


class Window:
    """Losses and gradient norms since the last line of metrics, summed on the device.

    Args:
        accelerator: knows of the processes, which close and check their windows together.
        dimensions: coefficients that a loss is a sum over; 1 where it is their mean.
    """

    def __init__(self, accelerator: Accelerator, *, dimensions: float = 1) -> None:
        self._accelerator, self._dimensions = accelerator, dimensions
        self._sums = torch.zeros(2, device=accelerator.device)
        self._count = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time since the last line out of the rate."""
        self._started, self._timed = time.perf_counter(), 0

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Add one step's numbers without waiting for them."""
        self._sums += torch.stack([loss, norm.to(loss)])
        self._count += 1
        self._timed += 1

    def means(self) -> dict[str, float]:
        """Return mean loss, also per dimension, and mean gradient norm, over all processes; of no step at all, none."""
        if not self._count:
            return {}
        sums = cast("Tensor", self._accelerator.reduce(self._sums.clone(), "mean"))
        loss, norm = (sums / self._count).tolist()
        return {"loss": loss, "loss_per_dim": loss / self._dimensions, "gradient_norm": norm}

    def close(self, batch_size: int) -> dict[str, float]:
        """Return the means, the rate for steps of so many images, and the memory taken, and start over."""
        means = self.means()
        rate = self._timed * batch_size / (time.perf_counter() - self._started)
        self._sums.zero_()
        self._count = 0
        self.restart_clock()
        return {**means, "images_per_second": rate, "memory_gib": _memory(self._accelerator.device) / _GIB}

    def state(self) -> dict[str, Any]:
        """Return what has been added in this process, for a checkpoint."""
        return {"sums": self._sums.to("cpu", copy=True), "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self._sums.copy_(state["sums"])
        self._count = state["count"]


def _memory(device: torch.device) -> int:
    """Return the most bytes taken so far: on the device, or by this process where that is the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In kilobytes, but for macOS.
    return peak if sys.platform == "darwin" else peak * 1024
