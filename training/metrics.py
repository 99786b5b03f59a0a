"""The numbers of a run: means over some steps, and their writers, as JSON lines and for TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from ..core.files import write_atomically
from .run_folder import RunFolder

Metrics = dict[str, int | float]


class Window:
    """Losses and gradient norms since the last line of metrics, summed on the device, and over all processes.

    Args:
        accelerator: knows of the processes, which close and check their windows together.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
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
        """Return mean loss and gradient norm; of no step at all, none."""
        if not self._count:
            return {}
        sums = cast("Tensor", self._accelerator.reduce(self._sums.clone(), "mean"))
        loss, norm = (sums / self._count).tolist()
        return {"loss": loss, "gradient_norm": norm}

    def close(self, batch_size: int) -> dict[str, float]:
        """Return the means and the rate, for batches of so many images in each process, and start over."""
        means = self.means()
        elapsed = time.perf_counter() - self._started
        rate = self._timed * batch_size * self._accelerator.num_processes / elapsed
        self._sums.zero_()
        self._count = 0
        self.restart_clock()
        return {**means, "images_per_second": rate}


class Records:
    """Writers of a run's metrics. A context manager: leaving it closes the files.

    Args:
        run: the run's folder; None writes nothing, as all processes but one do.
        from_step: number of steps already done; later records, of a stretch that a resumed run repeats, are dropped.
    """

    def __init__(self, run: RunFolder | None, *, from_step: int = 0) -> None:
        self._files: tuple[TextIO, SummaryWriter] | None = None
        if run is None:
            return
        if run.metrics.exists():
            kept = [line for line in read_metrics(run.metrics) if line["step"] <= from_step]
            write_atomically(run.metrics, "".join(json.dumps(line) + "\n" for line in kept))
        purge = from_step + 1 if from_step else None
        self._files = run.metrics.open("a"), SummaryWriter(str(run.tensorboard), purge_step=purge)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record numbers measured at `step`."""
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
    """Return the lines of a metrics.jsonl; a last line cut off by a crash is left out."""
    lines: list[Metrics] = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines
