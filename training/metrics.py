"""The numbers of a run: means over some steps, and their writers, as JSON lines, for TensorBoard and other trackers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from ..core.files import write_atomically
from .run_folder import RunFolder

Metrics = dict[str, int | float]
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
        return {"sums": self._sums.clone(), "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self._sums.copy_(state["sums"])
        self._count = state["count"]


class Records:
    """Writers of a run's metrics. A context manager: leaving it closes the files.

    Args:
        run: the run's folder; None writes nothing, as all processes but one do.
        from_step: number of steps already done; later records, of a stretch that a resumed run repeats, are dropped.
        tracker: an accelerator whose trackers are told the same numbers.

    Attributes:
        path: the file of JSON lines.
    """

    def __init__(self, run: RunFolder | None, *, from_step: int = 0, tracker: Accelerator | None = None) -> None:
        self._files: tuple[TextIO, SummaryWriter] | None = None
        self._tracker = tracker
        self.path = Path() if run is None else run.metrics
        if run is None:
            return
        if run.metrics.exists():
            write_atomically(run.metrics, _kept(run.metrics, from_step))
        purge = from_step + 1 if from_step else None
        self._files = run.metrics.open("a"), SummaryWriter(str(run.tensorboard), purge_step=purge)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record numbers measured at `step`."""
        if self._tracker is not None:
            self._tracker.log(dict(metrics), step=step)
        if self._files is None:
            return
        lines, writer = self._files
        lines.write(json.dumps({"step": step, **metrics}) + "\n")
        lines.flush()
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, grid: Tensor) -> None:
        """Record a picture, uint8, (height, width, 3)."""
        if self._files is not None:
            self._files[1].add_image(name, grid, step, dataformats="HWC")

    def flush(self) -> None:
        """Wait until all lines are on disk."""
        if self._files is not None:
            os.fsync(self._files[0].fileno())

    def __enter__(self) -> Records:  # noqa: PYI034 (beartype checks methods one by one, where Self means nothing)
        """Return the records themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the files."""
        for file in self._files or ():
            file.close()


def read_metrics(path: Path) -> list[Metrics]:
    """Return the lines of a metrics.jsonl; one that is damaged, or cut off by a crash, is left out."""
    return [line for line in map(_line, path.read_bytes().splitlines()) if line is not None]


def _kept(path: Path, step: int) -> bytes:
    """Return the lines up to a step as they stand; damaged ones too, but for a last one that was cut off."""
    lines = path.read_bytes().splitlines(keepends=True)
    return b"".join(
        text for text in lines if text.endswith(b"\n") and ((line := _line(text)) is None or line["step"] <= step)
    )


def _line(text: bytes) -> Metrics | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


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
