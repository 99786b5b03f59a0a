"""What training reads: examples of one shape by their numbers, and a split of them into trained on and held out."""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, int64
from torch.utils.data import Dataset
from tqdm import tqdm

from ...core.checks import Shape
from ...core.memory import give_back
from ...models import GreyLevels
from .unreadable import UnreadableError, described

# Numbers read at a time where all examples are gone through (16 MB in float32).
_LARGEST = 2**22
# Examples that tell the range of data without grey levels.
_SAMPLE = 256
# Examples that are tried in the place of an unreadable one.
_TRIED = 100
# A bar that would be gone at once is not shown.
_BAR_AFTER = 3.0


class Fetched(NamedTuple):
    """A batch as a loader fetches it.

    Attributes:
        x: examples, float32, or as they are stored, (batch, *shape).
        labels: their classes, (batch,); None where they have none.
        unreadable: reasons, by number, of examples that others took the place of.
    """

    x: Shaped[Tensor, "batch ..."]
    labels: Int64[Tensor, " batch"] | None
    unreadable: dict[int, str]


class Examples(Dataset[Any], ABC):
    """Examples of one shape. A subclass writes `__len__`, `read` and `fingerprint`.

    Args:
        shape: shape of one example, channels first.
        grey_levels: levels of quantised data and their range; None for data without.
        labels: class of each example, integers from 0, (count,); None where they are not known.

    Attributes:
        workers: processes that a loader reads them in, 0 where they lie in memory.
        most_unreadable: share of the examples that may be unreadable; others take their place.

    Raises:
        ValueError: there are no examples, not one label for each, or a label is negative or no integer.
    """

    workers: int = 0
    most_unreadable: float = 0.0

    def __init__(self, shape: Shape, grey_levels: GreyLevels | None, labels: Tensor | None) -> None:
        super().__init__()
        self.shape, self.grey_levels = tuple(shape), grey_levels
        self.labels = None if labels is None else _checked_labels(labels, len(self))

    def __repr__(self) -> str:
        levels = "numbers" if self.grey_levels is None else f"{self.grey_levels.count} levels"
        classes = "" if self.classes is None else f", {self.classes} classes"
        return f"{type(self).__name__}({len(self)} examples of shape {self.shape}, {levels}{classes})"

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of examples."""

    @abstractmethod
    def read(self, indices: Sequence[int] | slice = slice(None)) -> Float[Tensor, "count ..."]:
        """Return examples as float32 numbers in the data's range, (count, *shape).

        Raises:
            UnreadableError: one of them cannot be read.
        """

    def read_stored(self, indices: Sequence[int] | slice) -> Shaped[Tensor, "count ..."]:
        """Return examples as they are stored, (count, *shape): what workers send, and `scaled` turns into numbers.

        Raises:
            UnreadableError: one of them cannot be read.
        """
        return self.read(indices)

    def scaled(self, stored: Shaped[Tensor, "count ..."]) -> Float[Tensor, "count ..."]:
        """Return stored examples as float32 numbers in the data's range, on whatever device they are."""
        return stored

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a SHA-256 that is equal for equal data, wherever it lies."""

    @cached_property
    def range(self) -> tuple[float, float]:
        """The numbers that are shown black and white: the ends of the levels, or the extremes of a few examples."""
        if self.grey_levels is not None:
            return self.grey_levels.range
        x = self.fetch(spread(len(self), _SAMPLE)).x
        low, high = x.min().item(), x.max().item()
        return (low, high) if low < high else (low, low + 1.0)

    @property
    def met(self) -> int:
        """How many examples shares are shares of: all, or of a stream those that have come by."""
        return len(self)

    @property
    def classes(self) -> int | None:
        """Number of classes, one more than the largest label; None where labels are not known."""
        return None if self.labels is None else int(self.labels.max()) + 1

    def label_fingerprint(self) -> str | None:
        """Return the SHA-256 of the labels, whatever their dtype was; None where they are not known."""
        return None if self.labels is None else hashlib.sha256(self.labels.numpy().tobytes()).hexdigest()

    def fetch(self, indices: Sequence[int]) -> Fetched:
        """Return a batch, in which the next readable example takes the place of one that is not.

        Whether so many may be unreadable is for `check_readable` to say.

        Raises:
            UnreadableError: none of the hundred examples after an unreadable one is readable.
        """
        fetched = self.fetch_stored(indices)
        return fetched._replace(x=self.scaled(fetched.x))

    def fetch_stored(self, indices: Sequence[int]) -> Fetched:
        """Return the same with examples as they are stored, which are smaller."""
        unreadable = dict[int, str]()
        chosen = list(indices)
        try:
            x = self.read_stored(chosen)
        except UnreadableError:
            singles = list[Tensor]()
            for place, index in enumerate(chosen):
                chosen[place], single = self._readable(index, unreadable)
                singles.append(single)
            x = torch.cat(singles)
        return Fetched(x, None if self.labels is None else self.labels[chosen], unreadable)

    def check_readable(self, unreadable: Mapping[int, str]) -> None:
        """Check that no more examples are unreadable than may be.

        Args:
            unreadable: reasons by number, of all that were found.

        Raises:
            UnreadableError: there are more; they are named together.
        """
        if len(unreadable) > self.most_unreadable * self.met:
            share = (
                f"a share of {self.most_unreadable:g} may be unreadable: --data.unreadable"
                if self.most_unreadable
                else "none may be unreadable"
            )
            msg = f"{described(unreadable, self.met)} ({share})"
            raise UnreadableError(min(unreadable), msg)

    def first(self, most: int | None = None) -> Float[Tensor, "count ..."]:
        """Return the first `most` examples, or all, without those that cannot be read, which are named on stderr.

        Raises:
            UnreadableError: there are more of these than may be.
        """
        indices = range(len(self))[:most]
        fetched = self.fetch(indices)
        if not fetched.unreadable:
            return fetched.x
        self.check_readable(fetched.unreadable)
        tqdm.write(f"{described(fetched.unreadable, self.met)}; left out", file=sys.stderr)
        return fetched.x[[place for place, index in enumerate(indices) if index not in fetched.unreadable]]

    def blocks(self, most: int | None = None) -> Blocks:
        """Return all examples, or `most` of them spread evenly, some at a time, to be gone through repeatedly."""
        return Blocks(self, range(len(self)) if most is None else spread(len(self), most))

    def __getitem__(self, index: int) -> Tensor:
        """Return one example."""
        return self.read([index])[0]

    def __getitems__(self, indices: list[int]) -> Fetched:
        """Return a batch at once, which a loader asks for instead of single examples."""
        return self.fetch_stored(indices)

    def _readable(self, index: int, unreadable: dict[int, str]) -> tuple[int, Tensor]:
        """Return the first readable example from `index` on, and its number."""
        for step in range(_TRIED + 1):
            number = (index + step) % len(self)
            if number not in unreadable:
                try:
                    return number, self.read_stored([number])
                except UnreadableError as error:
                    unreadable[number] = error.reason
        raise UnreadableError(index, f"{unreadable[index]}; nor can any of the {_TRIED} examples after it be read")


class Blocks:
    """Examples as float32 numbers in their range, some at a time; a bar is shown where that takes seconds.

    Args:
        examples: the examples.
        indices: those that are read.
    """

    def __init__(self, examples: Examples, indices: Sequence[int]) -> None:
        self.examples, self.indices = examples, indices

    def __repr__(self) -> str:
        return f"Blocks({len(self.indices)} of {self.examples!r})"

    def __iter__(self) -> Iterator[Tensor]:
        """Yield blocks, (rows, *shape).

        Raises:
            UnreadableError: more of all examples are unreadable than may be.
        """
        unreadable = dict[int, str]()
        for batch in self.fetched():
            unreadable |= batch.unreadable
            self.examples.check_readable(unreadable)
            yield batch.x

    def fetched(self) -> Iterator[Fetched]:
        """Yield blocks with what was unreadable in them, however much that is."""
        rows = max(1, _LARGEST // torch.Size(self.examples.shape).numel())
        parts = [list(self.indices[start : start + rows]) for start in range(0, len(self.indices), rows)]
        # Imported here: it is made of examples itself.
        from .workers import read_in_parts  # noqa: PLC0415

        in_workers = self.examples.workers > 0
        batches = read_in_parts(self.examples, parts) if in_workers else map(self.examples.fetch_stored, parts)
        # Only where somebody looks.
        with tqdm(total=len(self.indices), desc="reading", unit="", delay=_BAR_AFTER, disable=None, leave=False) as bar:
            for batch in batches:
                yield batch._replace(x=self.examples.scaled(batch.x))
                bar.update(len(batch.x))
                # Blocks of some megabytes, one after the other, would each be kept when they are freed.
                give_back()


@dataclass(frozen=True)
class Splits:
    """Examples of one source: those to train on, and those held out.

    Attributes:
        train: examples to train on.
        test: examples never trained on.
        told: what was found and what of it is used, in a line for whoever starts a run; sizes alone if not given.

    Raises:
        TypeError: one of the two is no `Examples`.
        ValueError: they differ in shape, grey levels, or in whether labels are known.
    """

    train: Examples
    test: Examples
    told: str = ""

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            if not isinstance(getattr(self, name), Examples):
                msg = (
                    f"{name} must be Examples, such as ArrayExamples(values), got {type(getattr(self, name)).__name__}"
                )
                raise TypeError(msg)
        for name in ("shape", "grey_levels"):
            ours, theirs = getattr(self.train, name), getattr(self.test, name)
            if ours != theirs:
                msg = f"training and held-out examples must have the same {name}, got {ours} and {theirs}"
                raise ValueError(msg)
        if not self.told:
            text = f"{len(self.train)} examples of shape {self.train.shape} to train on, {len(self.test)} held out"
            object.__setattr__(self, "told", text)
        if (self.train.labels is None) != (self.test.labels is None):
            which = "held-out" if self.test.labels is None else "training"
            msg = f"the {which} examples have no labels, and the others have: give both, or none"
            raise ValueError(msg)


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers 0 .. count - 1, evenly spread, all of them if there are no more."""
    return [index * count // most for index in range(most)] if most < count else list(range(count))


def _checked_labels(labels: Tensor, count: int) -> Tensor:
    labels = labels.cpu().to(int64) if not (labels.dtype.is_floating_point or labels.dtype.is_complex) else labels
    if labels.shape != (count,):
        msg = f"labels must have shape ({count},), one for each example, got {tuple(labels.shape)}"
        raise ValueError(msg)
    if labels.dtype.is_floating_point or labels.dtype.is_complex or int(labels.min()) < 0:
        msg = f"labels must be integers from 0, got {labels.dtype} with values from {labels.min().item()}"
        raise ValueError(msg)
    return labels
