"""The data of a run as it is trained on: pass after pass, this process's share of it, watched as it is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ...core.console import say
from ..data import Examples
from ..data.examples import Fetched
from ..data.picture_examples import PictureExamples
from ..data.stream import StreamExamples
from ..data.unreadable import DataError, described
from ..data.workers import loader
from ..folder.manifest import check_contents
from ..run_config import Training
from .order import PassOrder
from .processes import Processes


class Progress:
    """How far a run is; part of its checkpoints.

    Attributes:
        step: training steps done.
        epoch: passes over the data begun, from 0.
        batch: batches of the present pass done.
        skipped: batches left out for a gradient that was not finite: all of them, and those since the last step.
    """

    def __init__(self) -> None:
        self.step, self.epoch, self.batch = 0, 0, 0
        self.skipped, self.skipped_in_a_row = 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return all of it."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take over what `state_dict` returned."""
        vars(self).update({name: state[name] for name in vars(self)})


class Passes:
    """Batches of the training examples, pass after pass, each in an order given by seed and pass.

    Args:
        train: the examples.
        settings: the training loop's.
        processes: those that share a batch.
        device: where batches are wanted.
        progress: where the run is; passes and batches are counted in it.
        manifest: file that the hash of all contents is written to, once they have been read; None checks nothing.
    """

    def __init__(
        self,
        train: Examples,
        settings: Training,
        processes: Processes,
        device: torch.device,
        progress: Progress,
        manifest: Path | None,
    ) -> None:
        self._train, self._settings, self._processes, self._device = train, settings, processes, device
        self._progress, self._manifest = progress, manifest
        self._unreadable, self._told, self._hashed = dict[int, str](), False, False
        self._share = settings.batch_size // processes.count
        self._order: PassOrder | None = None
        self._loader: DataLoader[Fetched] | None = None
        if not isinstance(train, StreamExamples):
            self._order = PassOrder(
                len(train), settings.batch_size, seed=settings.seed, rank=processes.rank, processes=processes.count
            )
            self._loader = _loader(train, settings, self._order, pin=device.type == "cuda")
        # Where this process is in a stream.
        self.stream_state: Any = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield examples and their labels, if they have any, from wherever the run is, without end.

        Raises:
            DataError: more examples are unreadable than may be, contents have changed since the run began, or a stream
                holds less than a batch.
        """
        progress = self._progress
        while True:
            began = progress.batch
            for batch in self._stream(self._train) if isinstance(self._train, StreamExamples) else self._pass():
                self._note(batch.unreadable)
                progress.batch += 1
                yield batch.x, batch.labels
            if progress.batch == began == 0:
                size = self._settings.batch_size
                msg = f"the data hold less than one batch of {size}: lower it, --training.batch-size"
                raise DataError(msg)
            if progress.epoch == 0:
                self.tell()
            self._check_contents()
            progress.epoch, progress.batch = progress.epoch + 1, 0

    def indices(self) -> list[int] | None:
        """Return the numbers of the examples in this process's part of the present batch; None in a stream."""
        return None if self._order is None else self._order.part(self._progress.epoch, self._progress.batch - 1)

    def tell(self) -> None:
        """Name the examples that others stood in for, together and once; all processes do so at the same step."""
        if self._told:
            return
        self._told, found = True, self._unreadable
        for theirs in self._processes.gathered(found):
            found = found | theirs
        if found and self._processes.main:
            say(f"{described(found, self._train.met)}; others stood in for them", stream=sys.stderr)

    def _pass(self) -> Iterator[Fetched]:
        """Yield what is left of the present pass."""
        assert self._order is not None
        assert self._loader is not None
        self._order.epoch, self._order.batch = self._progress.epoch, self._progress.batch
        for batch in self._loader:
            moved = self._on_device(batch)
            # On the device, where that costs least; as it was stored it was a quarter of the size.
            yield moved._replace(x=self._train.scaled(moved.x))

    def _stream(self, train: StreamExamples) -> Iterator[Fetched]:
        """Yield what is left of the present pass of a stream, until one of the processes has no more."""
        batches = train.batches(
            self._share,
            epoch=self._progress.epoch,
            seed=self._settings.seed,
            rank=self._processes.rank,
            processes=self._processes.count,
            state=self.stream_state if self._progress.batch else None,
        )
        while True:
            batch, after = next(batches, (None, None))
            # Files are not all of one length, and a process alone would wait for the others for ever.
            if self._processes.largest(int(batch is None)) or batch is None:
                return
            self.stream_state = after
            yield self._on_device(batch)

    def _on_device(self, batch: Fetched) -> Fetched:
        labels = None if batch.labels is None else batch.labels.to(self._device, non_blocking=True)
        return batch._replace(x=batch.x.to(self._device, non_blocking=True), labels=labels)

    def _note(self, found: dict[int, str]) -> None:
        if found.keys() - self._unreadable.keys():
            self._unreadable |= found
            self._train.check_readable(self._unreadable)

    def _check_contents(self) -> None:
        """Once all files have been read, hash what was in them, for the manifest; in one process of several."""
        train, manifest = self._train, self._manifest
        if self._hashed or manifest is None or not isinstance(train, PictureExamples):
            return
        if self._processes.count > 1:
            for theirs in self._processes.gathered(train.digests.copy()):
                train.merge(theirs)
        # What a pass leaves over, less than a batch; more, and the next pass sees it.
        left = train.unseen()
        if len(left) > self._settings.batch_size:
            return
        self._hashed = True
        if left:
            self._note(train.fetch(left).unreadable)
        if self._processes.main and (found := train.content_hash()) is not None:
            check_contents(manifest, found)


def _loader(train: Examples, settings: Training, order: PassOrder, *, pin: bool) -> DataLoader[Fetched]:
    workers = train.workers if settings.workers is None else settings.workers
    return loader(
        train,
        workers=workers,
        batch_sampler=order,
        persistent_workers=workers > 0,
        pin_memory=pin,
        # A generator of its own: starting a pass must not take a number from the one that noise is drawn from, or a
        # run resumed in the middle of a pass would go on with other noise.
        generator=torch.Generator(),
    )
