"""What a program says on the way: a terminal that is gone, or a pipe that nobody reads any more, never stops it."""

from __future__ import annotations

import os
import sys
from typing import Any


def say(text: str, *, stream: Any = None) -> None:
    """Print a line and flush it; where it cannot be written, go on in silence.

    Args:
        text: the line.
        stream: what has `write` and `flush`; stdout if None.
    """
    Unbreakable(stream or sys.stdout).write(f"{text}\n")


class Unbreakable:
    """A text stream whose failures are silence, from the first one on.

    Args:
        stream: what has `write` and `flush`, and of which all else is taken over.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write and flush a text."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            _silence(self._stream)
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        self.write("")

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the stream has."""
        return getattr(self._stream, name)


def _silence(stream: Any) -> None:
    """Let what is written to a stream go nowhere, so that Python can end without an error of its own about it."""
    try:
        handle = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, handle)
        os.close(nowhere)
    except (AttributeError, OSError, ValueError):
        # A stream of somebody's own, without a file behind it.
        return
