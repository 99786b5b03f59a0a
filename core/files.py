"""Files that are whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to a temporary file beside `path` and rename it, so that `path` is whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def write_tensors_atomically(path: Path, values: Mapping[str, object]) -> None:
    """Write tensors, strings and dictionaries of them with `torch.save`, as `write_atomically` does text."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(dict(values), temporary)
    temporary.replace(path)
