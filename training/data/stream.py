"""Tables that are streamed: sets larger than a disk, of which nothing is kept."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count
from .decoding import decode
from .examples import Blocks, Examples, Fetched, Splits
from .hub import TablePictures, labels_of, undecoded
from .picture_error import PictureError
from .picture_examples import PictureExamples, processors
from .sources import Source, contents_of

# Pictures at the start of a stream that are looked at, and stand for it until it is read.
_HEAD = 512


@dataclass(frozen=True)
class HubStream(TablePictures):
    """Pictures in a table of `datasets` that is streamed, from the hub or a local folder of parquet files.

    Nothing is stored but a buffer of encoded pictures, out of which they are drawn at random. Several processes share
    the table's files among themselves. A resumed run goes on where the stream was, but for the buffer, which is filled
    anew from there: most pictures that were in it are met again in the next pass, and a few others come twice.

    What pictures become is said by the settings that all data sets of pictures share; see `PictureDataSet`.

    Attributes:
        held_out: how many pictures are held out, the first of `train` where no split is, and kept in memory.
        buffer: pictures in the buffer.

    Raises:
        ValueError: a number is out of range, or a colour is none.
    """

    held_out: int = 1000
    buffer: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("held_out", self.held_out)
        check_count("buffer", self.buffer)

    @override
    def load(self) -> Splits:
        train, held_out, image, label = self.tables(streaming=True)
        train = undecoded(train, image)
        held_out = train if held_out is None else undecoded(held_out, image)
        test = _Head(held_out.take(self.held_out), image, label, self.path)
        if not self.test:
            train = train.skip(self.held_out)
        head = _Head(train.take(_HEAD), image, label, self.path)
        (some, tested), described = self.examples((head, test), (head.labels, test.labels))
        stream = StreamExamples(train, image, label, some, self.buffer)
        told = f"a stream of images from {self.path}, {described}; {len(test)} held out"
        return Splits(stream, tested, told)


class _Head(Source):
    """Pictures at the start of a stream, read at once.

    Args:
        table: the start of the table.
        image: its column of pictures.
        label: its column of classes.
        path: what messages call it.
    """

    def __init__(self, table: Any, image: str, label: str | None, path: str) -> None:
        rows = list(table)
        if not rows:
            msg = f"{path} holds too few pictures: hold out fewer, held_out=, or give a split of its own, test="
            raise ValueError(msg)
        self._contents = [_contents_or_nothing(row[image]) for row in rows]
        self.labels = None if label is None else labels_of([row[label] for row in rows], path, label)
        self._path = path

    @override
    def __len__(self) -> int:
        return len(self._contents)

    @override
    def name(self, index: int) -> str:
        return f"{self._path}, row {index},"

    @override
    def contents(self, index: int) -> bytes:
        return self._contents[index]

    @override
    def size(self) -> int:
        # In memory: no other process is of use.
        return 0

    @override
    def _known(self) -> Iterable[bytes]:
        return ()


def _contents_or_nothing(picture: Any) -> bytes:
    try:
        return contents_of(picture)
    except OSError:
        return b""


class StreamExamples(Examples):
    """Pictures of a stream, in the order in which they come; of its start alone by their numbers.

    Args:
        table: the streamed table.
        image: its column of pictures.
        label: its column of classes, or None.
        head: its first pictures, which stand for it until it is read.
        buffer: pictures out of which they are drawn at random.
    """

    def __init__(self, table: Any, image: str, label: str | None, head: PictureExamples, buffer: int) -> None:
        self._table, self._image, self._label, self._buffer = table, image, label, buffer
        self.head, self._read = head, 0
        self.most_unreadable = head.most_unreadable
        super().__init__(head.shape, head.grey_levels, head.labels)

    @override
    def __len__(self) -> int:
        return len(self.head)

    @override
    def read(self, indices: Sequence[int] | slice = slice(None)) -> Float[Tensor, "count ..."]:
        return self.head.read(indices)

    @override
    def fingerprint(self) -> str:
        """Return the SHA-256 of what pictures become, and of the first of them: more is not known before it is read."""
        return hashlib.sha256(f"{self.head.fingerprint()} stream".encode()).hexdigest()

    @property
    @override
    def met(self) -> int:
        return max(self._read, len(self.head))

    @override
    def blocks(self, most: int | None = None) -> Blocks:
        """Return the first `most` pictures, some at a time, to be gone through repeatedly."""
        return _StreamBlocks(self, most)

    def batches(
        self,
        size: int,
        *,
        epoch: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        state: Any = None,
    ) -> Iterator[tuple[Fetched, Any]]:
        """Yield batches of one pass, each with the state of the stream after it.

        Args:
            size: pictures in a batch; what is left over at the end is not served.
            epoch: number of the pass, from 0; each has an order of its own.
            seed: of the order.
            rank: number of this process.
            processes: how many share the stream.
            state: where to go on, as yielded before; None begins.
        """
        import datasets.distributed  # noqa: PLC0415

        table = self._table.shuffle(seed=seed, buffer_size=self._buffer)
        if processes > 1:
            table = datasets.distributed.split_dataset_by_node(table, rank=rank, world_size=processes)
        table.set_epoch(epoch)
        if state is not None:
            table.load_state_dict(state)
        for batch in self._batches(table, size):
            if len(batch.x) == size:
                yield batch, table.state_dict()

    def beginning(self, most: int | None) -> Iterator[Fetched]:
        """Yield the first `most` pictures, or all, in the order of the table."""
        return self._batches(self._table if most is None else self._table.take(most), _HEAD)

    def _batches(self, table: Any, size: int) -> Iterator[Fetched]:
        rows = iter(table)
        with ThreadPoolExecutor(processors()) as pool:
            while batch := self._batch(rows, size, pool):
                yield batch

    def _batch(self, rows: Iterator[Any], size: int, pool: ThreadPoolExecutor) -> Fetched | None:
        """Return a batch of the next rows, in which others take the place of what is unreadable; None at the end."""
        arrays, labels, unreadable = list[np.ndarray](), list[int](), dict[int, str]()
        while len(arrays) < size:
            wanted = list(itertools.islice(rows, size - len(arrays)))
            if not wanted:
                break
            for row, found in zip(wanted, pool.map(self._decoded, wanted), strict=True):
                if isinstance(found, str):
                    # Rows of a stream have no numbers in it, but an order.
                    unreadable[self._read + len(arrays) + len(unreadable)] = found
                else:
                    arrays.append(found)
                    labels.append(0 if self._label is None else row[self._label])
        if not arrays:
            return None
        self._read += len(arrays) + len(unreadable)
        x = self.head.scaled(torch.from_numpy(np.stack(arrays)))
        return Fetched(x, None if self._label is None else torch.tensor(labels), unreadable)

    def _decoded(self, row: Any) -> np.ndarray | str:
        try:
            return decode(contents_of(row[self._image]), self.head.target)
        except (PictureError, OSError) as error:
            return f"a picture of the stream {error}"


class _StreamBlocks(Blocks):
    """The first pictures of a stream.

    Args:
        stream: the stream.
        most: how many; all of them if None.
    """

    def __init__(self, stream: StreamExamples, most: int | None) -> None:
        super().__init__(stream, range(len(stream)))
        self._stream, self._most = stream, most

    @override
    def fetched(self) -> Iterator[Fetched]:
        return self._stream.beginning(self._most)
