"""The data of a run as it is trained on: pass after pass, this process's share of it, watched as it is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from .data import Examples
from .data.examples import DataError, Fetched, described
from .data.picture_examples import PictureExamples
from .data.stream import StreamExamples
from .data.workers import loader
from .manifest import check_contents
from .run_config import Training


class Progress:
    """How far a run is; part of its checkpoints.

    Attributes:
        step: training steps done.
        epoch: passes over the data begun, from 0.
        batch: batches of the present pass done.
        streams: where each process is in data that are streamed.
    """

    def __init__(self) -> None:
        self.step, self.epoch, self.batch = 0, 0, 0
        self.streams = list[Any]()

    def state_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        vars(self).update(state)


class Passes:
    """Batches of the training examples, pass after pass, each in an order given by seed and pass.

    Args:
        train: the examples.
        settings: the training loop's.
        accelerator: knows of the device and of other processes.
        progress: where the run is; passes and batches are counted in it.
        manifest: file that the hash of all contents is written to, once they have been read.
    """

    def __init__(
        self, train: Examples, settings: Training, accelerator: Accelerator, progress: Progress, manifest: Path
    ) -> None:
        self._train, self._settings, self._accelerator = train, settings, accelerator
        self._progress, self._manifest = progress, manifest
        self._unreadable, self._told, self._hashed = dict[int, str](), False, False
        self._stream_state: Any = None
        self._loader: Any = None
        if not isinstance(train, StreamExamples):
            self._loader = accelerator.prepare(_loader(train, settings, pin=accelerator.device.type == "cuda"))

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
                msg = f"the data hold less than one batch of {self._settings.batch_size}: lower it"
                raise DataError(msg)
            if progress.epoch == 0:
                self.tell()
            self._check_contents()
            progress.epoch, progress.batch = progress.epoch + 1, 0

    def note_place(self) -> None:
        """Write down where each process is in a stream, for a checkpoint; all of them do so at the same step."""
        if self._stream_state is not None:
            self._progress.streams = cast("list[Any]", gather_object([self._stream_state]))

    def tell(self) -> None:
        """Name the examples that others stood in for, together and once; all processes do so at the same step."""
        if self._told:
            return
        self._told, found = True, self._unreadable
        if self._accelerator.num_processes > 1:
            for theirs in cast("list[dict[int, str]]", gather_object([found])):
                found = found | theirs
        if found and self._accelerator.is_main_process:
            tqdm.write(f"{described(found, self._train.met)}; others stood in for them", file=sys.stderr)

    def _pass(self) -> Iterator[Fetched]:
        """Yield what is left of the present pass."""
        self._loader.set_epoch(self._progress.epoch)
        batches: Any = self._loader
        if self._progress.batch:
            batches = self._accelerator.skip_first_batches(batches, self._progress.batch)
        for batch in cast("Iterator[Fetched]", batches):
            # On the device, where that costs least; as it was stored it was a quarter of the size.
            yield batch._replace(x=self._train.scaled(batch.x))

    def _stream(self, train: StreamExamples) -> Iterator[Fetched]:
        """Yield what is left of the present pass of a stream, until one of the processes has no more."""
        accelerator, rank, state = self._accelerator, self._accelerator.process_index, self._progress.streams
        batches = train.batches(
            self._settings.batch_size,
            epoch=self._progress.epoch,
            seed=self._settings.seed,
            rank=rank,
            processes=accelerator.num_processes,
            state=state[rank] if state and self._progress.batch else None,
        )
        while True:
            batch, after = next(batches, (None, None))
            # Files are not all of one length, and a process alone would wait for the others for ever.
            if not self._all_have(batch is not None):
                return
            self._stream_state = after
            yield cast("Fetched", send_to_device(batch, accelerator.device))

    def _all_have(self, one: bool) -> bool:  # noqa: FBT001
        if self._accelerator.num_processes == 1:
            return one
        found = cast("Tensor", self._accelerator.gather(torch.tensor([int(one)], device=self._accelerator.device)))
        return bool(found.all())

    def _note(self, found: dict[int, str]) -> None:
        if found.keys() - self._unreadable.keys():
            self._unreadable |= found
            self._train.check_readable(self._unreadable)

    def _check_contents(self) -> None:
        """Once all files have been read, hash what was in them, for the manifest; in one process of several."""
        train, processes = self._train, self._accelerator.num_processes
        if self._hashed or not isinstance(train, PictureExamples):
            return
        if processes > 1:
            for theirs in cast("list[Any]", gather_object([train.digests.copy()])):
                train.merge(theirs)
        # What a pass leaves over, less than a batch in each process; more, and the next pass sees it.
        left = train.unseen()
        if len(left) > self._settings.batch_size * processes:
            return
        self._hashed = True
        if left:
            self._note(train.fetch(left).unreadable)
        if self._accelerator.is_main_process and (found := train.content_hash()) is not None:
            check_contents(self._manifest, found)


def _loader(train: Examples, settings: Training, *, pin: bool) -> DataLoader[Fetched]:
    workers = train.workers if settings.workers is None else settings.workers
    return loader(
        train,
        workers=workers,
        batch_size=settings.batch_size,
        shuffle=True,
        drop_last=True,
        persistent_workers=workers > 0,
        pin_memory=pin,
        # A generator of its own: starting a pass must not take a number from the one that noise is drawn from, or a
        # run resumed in the middle of a pass would go on with other noise.
        generator=torch.Generator(),
    )
