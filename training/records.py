"""Records of a run: metrics as JSON lines and for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch
from torch.utils.tensorboard.writer import SummaryWriter

from ..core.files import write_atomically
from .run import RunFolder

Metrics = dict[str, int | float]


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
