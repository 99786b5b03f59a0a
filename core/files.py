"""Files that are whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to a temporary file beside `path` and rename it, so that `path` is whole or not there."""
    _replaced(path, lambda temporary: temporary.write_text(text))


def write_tensors_atomically(path: Path, values: Mapping[str, object]) -> None:
    """Write tensors, strings and dictionaries of them with `torch.save`, as `write_atomically` does text."""
    _replaced(path, lambda temporary: torch.save(dict(values), temporary))


def _replaced(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
