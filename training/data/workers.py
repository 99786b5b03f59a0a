"""The processes that a loader reads data in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from torch.utils.data import DataLoader

from ...core.memory import always_give_back
from .examples import Examples, Fetched


def loader(examples: Examples, *, workers: int, **settings: Any) -> DataLoader[Fetched]:
    """Return a loader of batches as `Examples.fetch_stored` makes them.

    Args:
        examples: what is read.
        workers: processes that read it; 0 is this one.
        settings: others of the loader's.
    """
    # Forks share what is kept and hashed; processes that start anew would not.
    context = "fork" if workers and sys.platform == "linux" else None
    return DataLoader(
        examples,
        num_workers=workers,
        collate_fn=_as_it_is,
        multiprocessing_context=context,
        worker_init_fn=_begin,
        **settings,
    )


def read_in_parts(examples: Examples, parts: Sequence[Sequence[int]]) -> DataLoader[Fetched]:
    """Return a loader of these batches, in as many processes as the examples ask for."""
    return loader(examples, workers=examples.workers, batch_sampler=parts)


def _begin(_: int) -> None:
    # A process that hands on one batch after the other grew by each of some megabytes.
    always_give_back()


def _as_it_is(batch: Any) -> Any:
    """Return what was fetched at once, as it is; a module's own function, so that workers can be sent it."""
    return batch
