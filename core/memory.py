"""Memory that the C library keeps after it was freed: pieces of some megabytes, which it would hold on to for ever."""

from __future__ import annotations

import ctypes

# glibc's setting: larger pieces than this are taken from the system and go back to it when they are freed.
_MMAP_THRESHOLD, _PIECE = -3, 2**20


def give_back() -> None:
    """Give what is free back to the system, where the C library is glibc."""
    _call("malloc_trim", 0)


def always_give_back() -> None:
    """Let this process give back each larger piece as it is freed, which costs time where there are many."""
    _call("mallopt", _MMAP_THRESHOLD, _PIECE)


def _call(name: str, *arguments: int) -> None:
    try:
        getattr(ctypes.CDLL(None), name)(*arguments)
    except (AttributeError, OSError, TypeError):
        # Not glibc, which alone has it and needs it.
        return
