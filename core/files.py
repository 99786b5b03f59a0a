"""Files that are whole or not there at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
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


def check_free(folder: Path, *, force: bool = False) -> None:
    """Check that a folder can be written: that there is none, or an empty one, or that `force` allows to write into it.

    Raises:
        FileExistsError: there is something.
        OSError: it cannot be written to.
    """
    if (folder.exists() and not folder.is_dir()) or (not force and folder.is_dir() and any(folder.iterdir())):
        hint = "choose another --out, or add --force to write into it" if folder.is_dir() else "choose another --out"
        msg = f"{folder} is there already: {hint}"
        raise FileExistsError(msg)
    check_writable(folder)


@contextmanager
def whole_folder(folder: Path, *, replaced: Sequence[str] = ()) -> Generator[Path, None, None]:
    """Yield a folder to write to, whose files become those of `folder` at the end: all of them, or none on an error.

    Args:
        folder: the folder, which may be there: what is in it stays, but for files of the same names.
        replaced: names of files in it that are removed first, where they are there.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir()
    try:
        yield temporary
        folder.mkdir(exist_ok=True)
        for name in replaced:
            (folder / name).unlink(missing_ok=True)
        for file in sorted(temporary.iterdir()):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
