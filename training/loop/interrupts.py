"""Stopping a run between two steps, so that a checkpoint can be written first."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# Ctrl-C, a scheduler's or system's notice, a closed terminal, and what Slurm is told to send; where there are such.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
# EX_TEMPFAIL of sysexits.h: "the user is invited to retry".
STOPPED = 75
# Seconds within which a second Ctrl-C is the first.
_SAME = 1.0


class StoppedError(KeyboardInterrupt):
    """A run was stopped by a signal, and can be gone on with."""


class StopRequest:
    """While entered, a signal that ends programs is noted instead; a second Ctrl-C, a second later, stops at once.

    One of several processes never does: a Ctrl-C reaches it from the terminal and from its launcher too. A process that
    torchrun has started stops too when that is no longer there to tell it.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._previous: dict[int, Any] = {}
        self._since = 0.0
        self._launcher = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None

    @property
    def received(self) -> signal.Signals | None:
        """The signal that asked to stop, or None."""
        if self._received is None and self._launcher not in {None, os.getppid()}:
            self._received = signal.SIGTERM
        return self._received

    def __enter__(self) -> StopRequest:  # noqa: PYI034 (beartype checks methods one by one, where Self means nothing)
        """Take over the signals; only the main thread can, elsewhere this does nothing."""
        self._previous = _take_over(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the signals back."""
        _give_back(self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._received == signal.SIGINT == number and self._is_impatience():
            msg = "stopped at once by a second Ctrl-C, without a checkpoint of this step"
            raise StoppedError(msg)
        if self._received is None:
            self._since = time.monotonic()
        self._received = signal.Signals(number)

    def _is_impatience(self) -> bool:
        """Tell a second Ctrl-C from the same one, handed on by whatever has started this process."""
        return os.environ.get("WORLD_SIZE", "1") == "1" and time.monotonic() - self._since > _SAME


@contextmanager
def stopping_at_once(where: str) -> Generator[None, None, None]:
    """Let a signal stop at once what has nothing to save.

    Args:
        where: what the message says of it, such as "before the first step".

    Raises:
        StoppedError: there was one.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        msg = f"stopped by {signal.Signals(number).name} {where}"
        raise StoppedError(msg)

    previous = _take_over(stop)
    try:
        yield
    finally:
        _give_back(previous)


def _take_over(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Let signals go to a handler, and return the handlers they had."""
    previous = dict[int, Any]()
    if threading.current_thread() is not threading.main_thread():
        return previous
    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        before = signal.getsignal(number)
        # A closed terminal that is to be ignored stays so: that is what nohup asks for.
        if number != getattr(signal, "SIGHUP", None) or before != signal.SIG_IGN:
            previous[number] = before
            signal.signal(number, handler)
    return previous


def _give_back(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)
