"""The numbers of a run: means over some steps, and their writers, as JSON lines and for TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from ..core.files import write_atomically
from .run_folder import RunFolder

Metrics = dict[str, int | float]


class Window:
    """Losses and gradient norms since the last line of metrics, summed on the device."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, device=device)
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

    def check(self, check_finite: Callable[[float, float], None]) -> None:
        """Pass loss and gradient norm summed so far to `check_finite`."""
        if self._count:
            check_finite(*self._sums.tolist())

    def close(self, images_per_step: int) -> dict[str, float]:
        """Return the means and the rate, and start over."""
        loss, norm = (self._sums / self._count).tolist()
        elapsed = time.perf_counter() - self._started
        rate = self._timed * images_per_step / elapsed
        self._sums.zero_()
        self._count = 0
        self.restart_clock()
        return {"loss": loss, "gradient_norm": norm, "images_per_second": rate}


class Records:
    """Writers of a run's metrics. A context manager: leaving it closes the files.

    Args:
        run: the run's folder.
        from_step: number of steps already done; later records, of a stretch that a resumed run repeats, are dropped.
    """

    def __init__(self, run: RunFolder, *, from_step: int = 0) -> None:
        if run.metrics.exists():
            kept = [line for line in read_metrics(run.metrics) if line["step"] <= from_step]
            write_atomically(run.metrics, "".join(json.dumps(line) + "\n" for line in kept))
        self._lines = run.metrics.open("a")
        self._writer = SummaryWriter(str(run.tensorboard), purge_step=from_step + 1 if from_step else None)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record numbers measured at `step`."""
        self._lines.write(json.dumps({"step": step, **metrics}) + "\n")
        self._lines.flush()
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, grid: torch.Tensor) -> None:
        """Record a picture, uint8, (height, width, 3)."""
        self._writer.add_image(name, grid, step, dataformats="HWC")

    def __enter__(self) -> Records:  # noqa: PYI034 (beartype checks methods one by one, where Self means nothing)
        """Return the records themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the files."""
        self._lines.close()
        self._writer.close()


def read_metrics(path: Path) -> list[Metrics]:
    """Return the lines of a metrics.jsonl; a last line cut off by a crash is left out."""
    lines: list[Metrics] = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines
