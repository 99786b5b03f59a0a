"""Batches of images that are looked at once: by which process, where the looks are kept, and the real ones' halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from .. import __version__
from ..core.checks import check_count, check_number
from ..training.data.examples import Splits
from .image_set import PIXELS, Gauge, Look
from .look_store import LookStore
from .sample_report import RealImages

# Precision and recall take five neighbours of each, and subsets of a kernel distance two images.
LEAST = 8
# Held-out images that tell how much of real ones a classifier recognises.
_HELD_OUT = 2_000


@dataclass(frozen=True)
class Share:
    """Which part of the batches a process looks at.

    Attributes:
        index: its number, from 0.
        count: how many processes there are.

    Raises:
        ValueError: the number is not one of theirs.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        check_count("count", self.count)
        check_number("index", self.index, f"[0, {self.count})", "the number of a process")


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of one kind.

    Attributes:
        rows: the images of each, by their numbers.
        make: returns the images of one.
        store: keeps the looks.
    """

    rows: Sequence[range]
    make: Callable[[range], Tensor]
    store: LookStore

    def missing(self, share: Share) -> list[range]:
        """Return the batches of a share that nobody has looked at."""
        return [rows for rows in self.rows[share.index :: share.count] if not self.store.has(rows)]

    def looks(self) -> Iterator[tuple[range, Look]]:
        """Yield all looks, in order."""
        return ((rows, self.store.get(rows)) for rows in self.rows)


def look_at(kinds: Sequence[Batches], gauge: Gauge, share: Share, *, progress: bool) -> bool:
    """Look at a share of batches of some kinds; tell whether all of all shares are there now.

    Raises:
        OSError: a look cannot be kept.
    """
    missing = [(kind, rows) for kind in kinds for rows in kind.missing(share)]
    with tqdm(total=sum(len(rows) for _, rows in missing), disable=not progress, unit="image", leave=False) as bar:
        for kind, rows in missing:
            look = gauge.look(kind.make(rows))
            kind.store.put(rows, look if rows.start < PIXELS else replace(look, images=None))
            bar.update(len(rows))
    return not any(kind.missing(Share()) for kind in kinds)


def ranges(count: int, size: int) -> list[range]:
    """Return the numbers 0 .. count - 1 in batches of a size."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


@dataclass(frozen=True, eq=False)
class Reference:
    """Training images that samples are compared with, and as many others for the floor.

    Attributes:
        data: the images; those held out are what a classifier is tried on.
        gauge: what they are looked at with.
        count: number of samples.
        keep: folder that looks are kept in.
        batch_size: images at a time.
        seed: of the choice of training images.

    Raises:
        ValueError: there are too few training images for such figures.
    """

    data: Splits
    gauge: Gauge
    count: int
    keep: Path
    batch_size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.count, len(self.data.train)) < LEAST:
            msg = (
                f"the data have {len(self.data.train)} images to train on: such figures need at least {LEAST}"
                if len(self.data.train) < LEAST
                else f"such figures need at least {LEAST} samples, got {self.count}"
            )
            raise ValueError(msg)

    @property
    def _half(self) -> int:
        return min(self.count, len(self.data.train) // 2)

    @cached_property
    def facts(self) -> dict[str, object]:
        """What looks depend on beside the images; data and weights are hashed for it, once."""
        network = self.gauge.network
        return {
            "unmelt": __version__,
            "data": self.data.train.fingerprint(),
            "data_range": list(self.gauge.data_range),
            "network": None if network is None else network.name,
            "weights": None if network is None else network.digest(),
            "resize": None if network is None else network.resize,
            "batch_size": self.batch_size,
        }

    @cached_property
    def real(self) -> Batches:
        """Training images, shuffled, so that any part of them stands for all."""
        train = self.data.train
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed)).tolist()
        return Batches(
            ranges(max(min(self.count, len(train)), 2 * self._half), self.batch_size),
            lambda rows: train.read(order[rows.start : rows.stop]),
            LookStore(self.keep, {**self.facts, "split": "train", "seed": self.seed}),
        )

    @cached_property
    def held_out(self) -> Batches:
        """Held-out images, where there is a classifier."""
        test = self.data.test
        return Batches(
            ranges(min(_HELD_OUT, len(test)) if self.gauge.recogniser else 0, self.batch_size),
            lambda rows: test.read(list(rows)),
            LookStore(self.keep, {**self.facts, "split": "test"}),
        )

    def gather(self) -> RealImages:
        """Return what there is to compare with, once all were looked at."""
        new_set, half = self.gauge.new_set, self._half
        compared, one, other = new_set(min(self.count, len(self.data.train))), new_set(half), new_set(half)
        for number, (_, look) in enumerate(self.real.looks()):
            compared.add(look)
            # Half of each batch; of an odd number the one more goes to either in turn.
            middle = (len(look) + 1 - number % 2) // 2
            one.add(look.rows(slice(middle)))
            other.add(look.rows(slice(middle, None)))
        known = new_set(_HELD_OUT)
        for _, look in self.held_out.looks():
            known.add(look)
        return RealImages(compared, (one, other), known)
