"""Whether two parts that work together were made for one process, and for data in one range."""

from __future__ import annotations

from .process import LinearGaussianProcess


def check_same_process(ours: LinearGaussianProcess, theirs: LinearGaussianProcess, *, whose: str, where: str) -> None:
    """Check that `theirs` is the process `ours`: `ours.require_same`, under its former name."""
    ours.require_same(theirs, whose=whose, where=where)
