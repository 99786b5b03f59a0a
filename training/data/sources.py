"""Where the bytes of pictures come from: files below a folder, or rows of a table."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from .examples import spread

# Pictures whose whole contents tell data apart.
_SAMPLE = 64
_NOTHING = b"not read"


class Source(ABC):
    """Pictures as files have them, by their numbers."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many there are."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what messages call one."""

    @abstractmethod
    def contents(self, index: int) -> bytes:
        """Return the bytes of one; raises OSError where there are none."""

    def unread(self, index: int) -> bytes | str:
        """Return the path of one, or its bytes where it is no file, for what needs only the beginning."""
        return self.contents(index)

    @abstractmethod
    def size(self) -> int:
        """Return how many bytes there are in all, roughly."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of all that is known without reading, and of 64 of the contents."""
        digest = hashlib.sha256()
        for known in self._known():
            digest.update(known + b"\n")
        for index in spread(len(self), _SAMPLE):
            try:
                digest.update(self.contents(index))
            except OSError:
                # It counts as unreadable where it is trained on.
                digest.update(_NOTHING)
        return digest.hexdigest()

    @abstractmethod
    def _known(self) -> Iterable[bytes]:
        """Yield what is known of each without reading it, equal wherever the data lie."""


class FileSource(Source):
    """Files below a folder.

    Args:
        folder: the folder.
        names: the files, relative to it.
        sizes: their lengths in bytes.
    """

    def __init__(self, folder: Path, names: Sequence[str], sizes: Sequence[int]) -> None:
        self.folder = folder
        # Arrays, which worker processes share as they are; lists of objects would be copied page by page.
        self._names, self._sizes = np.array(names), np.array(sizes, dtype=np.int64)

    @override
    def __len__(self) -> int:
        return len(self._names)

    @override
    def name(self, index: int) -> str:
        return str(self.folder / str(self._names[index]))

    @override
    def contents(self, index: int) -> bytes:
        return Path(self.name(index)).read_bytes()

    @override
    def unread(self, index: int) -> str:
        return self.name(index)

    @override
    def size(self) -> int:
        return int(self._sizes.sum())

    @override
    def _known(self) -> Iterable[bytes]:
        # Names are relative: the same files elsewhere are the same data.
        pairs = zip(self._names.tolist(), self._sizes.tolist(), strict=True)
        return (f"{size} ".encode() + os.fsencode(name) for name, size in pairs)


class TableSource(Source):
    """A column of encoded pictures in a table of `datasets`.

    Args:
        table: the table, whose pictures are not decoded.
        column: the column.
        label: what messages call the table.
    """

    def __init__(self, table: Any, column: str, label: str) -> None:
        self._table, self._column, self._label = table, column, label

    @override
    def __len__(self) -> int:
        return len(self._table)

    @override
    def name(self, index: int) -> str:
        return f"{self._label}, row {index},"

    @override
    def contents(self, index: int) -> bytes:
        return contents_of(self._table[index][self._column])

    @override
    def size(self) -> int:
        return int(self._table.data.nbytes)

    @override
    def _known(self) -> Iterable[bytes]:
        return (str(len(self)).encode(),)


def contents_of(picture: Any) -> bytes:
    """Return the bytes of a picture in a table of `datasets`; raises OSError where there are none."""
    if picture is None:
        msg = "there is no picture in it"
        raise OSError(msg)
    return Path(picture["path"]).read_bytes() if picture["bytes"] is None else picture["bytes"]
