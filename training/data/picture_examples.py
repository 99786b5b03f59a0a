"""Examples in pictures' files: decoded when they are asked for, by several processes, and once where they fit."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...models import GreyLevels
from .decoding import PictureError, Target, decode
from .examples import Examples, UnreadableError
from .sources import Source

# Pictures below this (32 MB) are decoded by the process that needs them; more are worth others.
_WORTH_WORKERS, _MOST_WORKERS = 2**25, 8
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
            self.workers = min(_MOST_WORKERS, _processors())
        self._make_store()

    @override
    def __len__(self) -> int:
        return len(self.source)

    @override
    def read(self, indices: Sequence[int] | slice = slice(None)) -> Float[Tensor, "count ..."]:
        chosen = range(len(self))[indices] if isinstance(indices, slice) else indices
        values = np.stack([self._decoded(index) for index in chosen])
        x = torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.float32))
        if self.grey_levels is None:
            return x * (self._high - self._low) + self._low
        return x.float() * self.grey_levels.width + self.grey_levels.low

    @override
    def fingerprint(self) -> str:
        """Return the SHA-256 of what pictures become, and of what their source tells them apart by."""
        return hashlib.sha256(f"{self.target} {self.source.fingerprint()}".encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the kept pictures behind where a worker is not a fork of this process."""
        return {name: value for name, value in vars(self).items() if name not in {"_memory", "_store", "_kept"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Keep pictures of its own."""
        vars(self).update(state)
        self._make_store()

    def _decoded(self, index: int) -> np.ndarray:
        if self._kept is not None and self._kept[index]:
            return self._store[index]
        try:
            array = decode(self.source.contents(index), self.target)
        except (PictureError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UnreadableError(index, f"{self.source.name(index)} {reason}") from error
        if self._kept is not None:
            self._store[index] = array
            self._kept[index] = 1
        return array

    def _make_store(self) -> None:
        """Reserve memory for decoded pictures, of which none is taken before something is written."""
        levels = self.target.levels
        dtype = np.dtype(np.float32 if levels is None else np.uint8 if levels <= 256 else np.uint16)
        size = len(self) * int(np.prod(self.target.shape)) * dtype.itemsize
        self._kept: np.ndarray | None = None
        if size + len(self) <= _KEPT and (levels is None or levels <= 2**16):
            # Anonymous and shared: seen by forks, and not taken from /dev/shm, which containers keep small.
            self._memory = mmap.mmap(-1, size + len(self))
            self._kept = np.frombuffer(self._memory, np.uint8, len(self))
            self._store = np.frombuffer(self._memory, dtype, offset=len(self), count=size // dtype.itemsize).reshape(
                len(self), *self.target.shape
            )


def _processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
