"""In which order examples are seen: each pass shuffled in its own way, and shared alike by any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler


class PassOrder(Sampler[list[int]]):
    """Batches of example numbers, of which each process gets its part: a batch is the same whoever shares it.

    What is left over at the end of a pass, less than a batch, is not seen in it.

    Args:
        count: number of examples.
        batch_size: examples in a batch of all processes.
        seed: of the shuffling.
        rank: number of this process.
        processes: how many share a batch; a divisor of `batch_size`.

    Attributes:
        epoch: number of the pass, from 0.
        batch: batch of the pass to begin with.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, rank: int = 0, processes: int = 1) -> None:
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._rank, self._share = rank, batch_size // processes
        self.epoch, self.batch = 0, 0

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this process's part of every batch from `batch` on."""
        for batch in range(self.batch, len(self)):
            yield self.part(self.epoch, batch)

    def __len__(self) -> int:
        """Return the number of batches in a whole pass."""
        return self._count // self._batch_size

    def part(self, epoch: int, batch: int) -> list[int]:
        """Return this process's part of a batch."""
        start = batch * self._batch_size + self._rank * self._share
        return _shuffled(self._count, self._seed, epoch)[start : start + self._share].tolist()


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)
