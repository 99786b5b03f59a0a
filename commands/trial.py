"""A process for the shape of what it is drawn on, found out by making it and degrading something."""

from __future__ import annotations

import traceback
from typing import Any

from torch import Tensor

from ..core import Shape, resolve
from ..degradations import LinearGaussianProcess
from ..degradations.patterns import pattern
from .signal_files import Signal

SHAPES = "1,256 for a signal, 3,64,96 for an image, 1,16,24,32 for a volume"
# Sizes differ, lest a table of one axis pass for one of another.
_TRIED = ((3, 64, 96), (1, 256), (1, 16, 24, 32))
_KINDS = {1: "signal", 2: "signal", 3: "image", 4: "volume"}


def process_for(make: Any, values: Tensor, name: str) -> LinearGaussianProcess:
    """Return the process for the shape of a signal.

    Args:
        make: makes it of a shape.
        values: the signal, (channels, ...).
        name: what the process is called in messages.

    Raises:
        ValueError: it does not take that shape, or that shape cannot be drawn.
    """
    try:
        return _made(make, values)
    except ValueError as error:
        remedy = f"--shape cuts a file to another, or gives that of a built-in example without a file: {SHAPES}"
        msg = f"{_refusal(name, tuple(values.shape), error)}; {remedy}"
        raise ValueError(msg) from error


def process_and_example(make: Any, shape: Shape | None, name: str) -> tuple[LinearGaussianProcess, Signal, list[str]]:
    """Return the process, a built-in example that it takes, and what it did not take before, in words.

    Args:
        make: makes it of a shape.
        shape: the example's; None tries an image, a signal and a volume.
        name: what the process is called in messages.

    Raises:
        ValueError: it takes none.
    """
    refused: dict[Shape, str] = {}
    for sizes in _TRIED if shape is None else (shape,):
        values, kind = pattern(sizes), _KINDS[len(sizes)]
        try:
            process = _made(make, values)
        except ValueError as error:
            refused[sizes] = str(error)
            continue
        given = Signal(values, from_black_to_white=kind != "signal", told=f"a built-in {kind}, {sizes}")
        return process, given, [_refusal(name, *one) for one in refused.items()]
    if shape is None and len(set(refused.values())) == 1:
        # It has nothing to do with shapes.
        raise ValueError(*set(refused.values()))
    reasons = "; ".join(f"{sizes}: {why}" for sizes, why in refused.items())
    msg = f"{name} cannot be drawn on {reasons}; --shape gives another shape, such as {SHAPES}"
    raise ValueError(msg)


def _made(make: Any, values: Tensor) -> LinearGaussianProcess:
    """Return the process for the shape of a signal, which it has degraded once.

    Raises:
        ValueError: it does not take that shape; why, in one line.
    """
    try:
        process, _ = resolve(make, sizes := tuple(values.shape))
        made = process(sizes)
        # What is wrong with its tables may show only now.
        made.corrupt(values[None], values[None], 0.5, given=values[None] if made.known_end else None)
    except Exception as error:
        # A class of the user's may fail in any way.
        raise ValueError(why(error)) from error
    return made


def _refusal(name: str, sizes: Shape, why: object) -> str:
    return f"{name} takes no {_KINDS.get(len(sizes), 'signal')} of shape {sizes} ({why})"


def why(error: Exception) -> str:
    """Return what an error says, in one line, and where it was in the user's code if it was there."""
    what = " ".join(str(error).split())
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] not in {__name__.partition(".")[0], "torch"}
    ]
    own = [place for place in frames if "site-packages" not in place[0]]
    return f"{type(error).__name__}: {what}, {own[-1][0]} line {own[-1][1]}" if own else what
