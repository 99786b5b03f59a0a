"""Examples in pictures' files: decoded when they are asked for, by several processes, and once where they fit."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from typing_extensions import override

from ...models import GreyLevels
from .decoding import Target, decode
from .examples import Examples
from .picture_error import PictureError
from .sources import Source
from .unreadable import Reason, UnreadableError

# Pictures below this (32 MB) are decoded by the process that needs them; more are worth others.
_WORTH_WORKERS, _MOST_WORKERS = 2**25, 8
# Bytes that tell the contents of two files apart.
_DIGEST = 16
# Decoded pictures up to this (1 GB) are kept, in memory that all processes of a loader share.
_KEPT = 2**30


class PictureExamples(Examples):
    """Pictures, decoded when they are asked for.

    Memory does not grow with the set beyond a gigabyte: up to that, decoded pictures are kept and each is decoded
    once; those of larger sets are decoded anew in every pass.

    Args:
        source: the pictures.
        target: what they become.
        value_range: numbers that the lowest and the highest level become.
        labels: class of each, (count,).
        most_unreadable: share of them that may be unreadable.
    """

    def __init__(
        self,
        source: Source,
        target: Target,
        value_range: tuple[float, float],
        labels: Tensor | None = None,
        *,
        most_unreadable: float = 0.01,
    ) -> None:
        self.source, self.target, self._low, self._high = source, target, *value_range
        levels = None if target.levels is None else GreyLevels(target.levels, *value_range)
        super().__init__(target.shape, levels, labels)
        self.most_unreadable = most_unreadable
        if source.size() > _WORTH_WORKERS:
            self.workers = min(_MOST_WORKERS, processors())
        self._make_store()

    @override
    def __len__(self) -> int:
        return len(self.source)

    @override
    def read(self, indices: Sequence[int] | slice = slice(None)) -> Float[Tensor, "count ..."]:
        return self.scaled(self.read_stored(indices))

    @override
    def read_stored(self, indices: Sequence[int] | slice) -> Shaped[Tensor, "count ..."]:
        chosen = range(len(self))[indices] if isinstance(indices, slice) else indices
        return torch.from_numpy(np.stack([self._decoded(index) for index in chosen]))

    @override
    def scaled(self, stored: Shaped[Tensor, "count ..."]) -> Float[Tensor, "count ..."]:
        width = self._high - self._low if self.grey_levels is None else self.grey_levels.width
        return stored.to(torch.float32) * width + self._low

    @override
    def fingerprint(self) -> str:
        """Return the SHA-256 of what pictures become, and of what their source tells them apart by."""
        return hashlib.sha256(f"{self.target} {self.source.fingerprint()}".encode()).hexdigest()

    def unseen(self) -> list[int]:
        """Return the numbers of pictures whose contents `content_hash` still waits for."""
        return np.flatnonzero(~self._digests.any(1)).tolist()

    def content_hash(self) -> str | None:
        """Return the SHA-256 of all contents, once every picture has been read; None before."""
        return None if self.unseen() else hashlib.sha256(self._digests.tobytes()).hexdigest()

    def merge(self, digests: np.ndarray) -> None:
        """Take over digests of contents that another process has seen, those of `digests` that are not 0."""
        np.maximum(self._digests, digests, out=self._digests)

    @property
    def digests(self) -> np.ndarray:
        """Digests of the contents that have been read, (count, 16) bytes, 0 of the others."""
        return self._digests

    def __getstate__(self) -> dict[str, Any]:
        """Leave the kept pictures behind where a worker is not a fork of this process."""
        return {
            name: value for name, value in vars(self).items() if name not in {"_memory", "_store", "_kept", "_digests"}
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Keep pictures of its own."""
        vars(self).update(state)
        self._make_store()

    def _decoded(self, index: int) -> np.ndarray:
        if self._kept is not None and self._kept[index]:
            return self._store[index]
        try:
            # Of what cannot be read as well, so that all are known after a pass.
            self._digests[index] = _digest(b"not read")
            contents = self.source.contents(index)
            self._digests[index] = _digest(contents)
            array = decode(contents, self.target)
        except (PictureError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UnreadableError(index, Reason(reason, self.source.name(index))) from error
        if self._kept is not None:
            self._store[index] = array
            self._kept[index] = 1
        return array

    def _make_store(self) -> None:
        """Reserve memory for digests and decoded pictures, of which none is taken before something is written."""
        levels, count = self.target.levels, len(self)
        dtype = np.dtype(np.float32 if levels is None else np.uint8 if levels <= 256 else np.uint16)
        size = count * int(np.prod(self.target.shape)) * dtype.itemsize
        kept = size <= _KEPT and (levels is None or levels <= 2**16)
        # Anonymous and shared: seen by forks, and not taken from /dev/shm, which containers keep small.
        self._memory = mmap.mmap(-1, count * (_DIGEST + 1) + 8 + (size if kept else 0))

        def part(dtype: np.dtype[Any], start: int, *shape: int) -> np.ndarray:
            return np.frombuffer(self._memory, dtype, int(np.prod(shape)), start).reshape(shape)

        one = np.dtype(np.uint8)
        self._digests = part(one, 0, count, _DIGEST)
        self._kept = part(one, count * _DIGEST, count) if kept else None
        # At a whole number of the widest numbers.
        start = -(-count * (_DIGEST + 1) // 8) * 8
        self._store = part(dtype, start, count, *self.target.shape) if kept else np.empty(0)


def _digest(contents: bytes) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(contents, digest_size=_DIGEST).digest(), np.uint8)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
