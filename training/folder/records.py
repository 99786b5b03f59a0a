"""The numbers of a run in its folder: JSON lines, TensorBoard's events, and whatever other tracker is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from ...core.files import write_atomically
from .run_folder import RunFolder

Metrics = dict[str, int | float]


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
    return parse_metrics(path.read_bytes())


def parse_metrics(text: bytes) -> list[Metrics]:
    """Return the lines of a metrics.jsonl's content, as `read_metrics`."""
    return [line for line in map(_line, text.splitlines()) if line is not None]


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
