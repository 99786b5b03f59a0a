"""How far a run is, for whoever watches: a bar in a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any, cast

from tqdm import tqdm

from ...core.console import Unbreakable

# Seconds between two lines of a log: 3000 lines a day.
_BETWEEN_LINES = 30.0


class ProgressDisplay:
    """Shows steps and numbers on stderr. A stream that cannot be written to costs nothing but the display.

    Args:
        done: steps done.
        steps: steps in all.
        shown: False shows nothing, as in all processes but one.
    """

    def __init__(self, done: int, steps: int, *, shown: bool = True) -> None:
        self._steps, self._shown, self._last_line = steps, shown, float("-inf")
        self._stream = Unbreakable(sys.stderr)
        bar = shown and sys.stderr.isatty()
        self._bar = tqdm(
            total=steps, initial=done, unit="step", disable=not bar, file=cast("Any", self._stream), dynamic_ncols=True
        )

    def advance(self, step: int) -> None:
        """Show that so many steps are done."""
        self._bar.update(step - self._bar.n)

    def numbers(self, step: int, metrics: dict[str, float]) -> None:
        """Show the numbers of a line of metrics."""
        texts = {"loss": f"{metrics['loss']:.4g}", "images/s": f"{metrics['images_per_second']:.0f}"}
        self._bar.set_postfix(texts)
        now = time.monotonic()
        if not self._shown or not self._bar.disable or (now - self._last_line < _BETWEEN_LINES and step < self._steps):
            return
        self._last_line = now
        numbers = "  ".join(f"{name} {text}" for name, text in texts.items())
        self._stream.write(f"step {step}/{self._steps}  {numbers}  {duration(metrics['hours_left'])} left\n")

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def duration(hours: float) -> str:
    """Return a time as people say it: 12 s, 40 min, 5 h 3 min."""
    minutes = round(hours * 60)
    if hours * 3600 < 90:
        return f"{hours * 3600:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
