"""Files that are whole or not there at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to a temporary file beside `path`, wait until it is on disk, and rename it: `path` is whole or not there.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_durably(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_durably(path: Path, content: str | bytes) -> None:
    """Write a file and wait until it is on disk."""
    with path.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the names in a folder are on disk, where the system can tell."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def check_writable(path: Path) -> None:
    """Check that a file or folder can be made at `path`, whose parents need not be there.

    Raises:
        OSError: it cannot.
    """
    there = path if path.is_dir() else next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        msg = f"{there} is a file, so nothing can be in it: choose another path than {path}"
        raise NotADirectoryError(msg)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        msg = f"{there} cannot be written to ({error.strerror}): make room or change its permissions, or use another"
        raise OSError(msg) from error


def check_free_file(path: Path, *, force: bool = False) -> None:
    """Check that a file can be written: that there is none, or that `force` allows to overwrite it.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be written.
    """
    if path.is_dir():
        msg = f"{path} is a folder: name a file in --out"
        raise IsADirectoryError(msg)
    if path.exists() and not force:
        msg = f"{path} is there already: choose another --out, or add --force to overwrite it"
        raise FileExistsError(msg)
    check_writable(path)
