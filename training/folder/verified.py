"""Files of tensors that are told by their length and SHA-256: what is read is what was written, or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.tensor_files import decode

_BYTES, _SUM = "bytes", "sha256"


class DamagedError(ValueError):
    """A file that is missing, or not what was written."""


def seal(content: bytes) -> dict[str, object]:
    """Return what a content is told by, as JSON can say it."""
    return {_BYTES: len(content), _SUM: hashlib.sha256(content).hexdigest()}


def checked_seal(record: Mapping[str, object]) -> dict[str, object]:
    """Return what `seal` returned, out of a record.

    Raises:
        KeyError, TypeError: it is not whole.
    """
    return {_BYTES: record[_BYTES], _SUM: record[_SUM]}


def content_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DamagedError: it is missing, or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} is missing or cannot be read ({error.strerror})"
        raise DamagedError(msg) from error


def read_sealed(path: Path, expected: Mapping[str, object]) -> Any:
    """Return the state in a file, which must be what `seal` was made of.

    Raises:
        DamagedError: the file is missing, or not what was written; the message names it.
    """
    content = content_of(path)
    if len(content) != expected[_BYTES]:
        msg = f"{path} is damaged: {len(content)} bytes instead of {expected[_BYTES]}"
        raise DamagedError(msg)
    if hashlib.sha256(content).hexdigest() != expected[_SUM]:
        msg = f"{path} is damaged: its content is not what was written (SHA-256 differs)"
        raise DamagedError(msg)
    try:
        return decode(content)
    except ValueError as error:
        msg = f"{path} is damaged: {error}"
        raise DamagedError(msg) from error


def check_finite(path: Path, state: Mapping[str, object]) -> None:
    """Check that the weights that a file holds, or is to hold, are finite.

    Raises:
        DamagedError: some are not; the message names the first.
    """
    for name, value in state.items():
        if isinstance(value, Tensor) and value.is_floating_point() and not torch.isfinite(value).all():
            msg = f"{path} holds weights that are NaN or infinite ({name})"
            raise DamagedError(msg)
