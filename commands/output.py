"""Files that commands write: whole or not at all, never over others; that they can be is known before all else."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ..core.files import check_free_file


@contextmanager
def written(path: Path, *, force: bool) -> Generator[Path, None, None]:
    """Give a place beside `path` to write a file to, and rename it to that when all went well.

    Args:
        path: the file to be.
        force: let it take the place of one that is there.

    Raises:
        FileExistsError: there is one.
        OSError: nothing can be written there.
    """
    check_free_file(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same ending: it is what tells writers the format.
    half = path.with_name(f".half.{path.name}")
    try:
        half.touch()
        yield half
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
