"""A look at all of a data set before it is trained on: every example read, and none in both of its parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .examples import Examples, Splits
from .unreadable import described

# Examples of each fault that are named.
_NAMED = 20


@dataclass(frozen=True)
class Finding:
    """What was found in one part of a data set.

    Attributes:
        count: examples in it.
        unreadable: reasons, by number, of those that cannot be read.
        low: smallest number in it.
        high: largest number.
        mean: mean of all numbers.
        stddev: their standard deviation.
        repeated: examples that are equal to an earlier one.
    """

    count: int
    unreadable: dict[int, str]
    low: float
    high: float
    mean: float
    stddev: float
    repeated: int
    digests: frozenset[bytes] = field(repr=False)


@dataclass(frozen=True)
class DataReport:
    """What was found in a data set.

    Attributes:
        train: in the examples to train on.
        test: in those held out.
        shared: how many different held-out examples are trained on as well.
    """

    train: Finding
    test: Finding

    @property
    def shared(self) -> int:
        """How many different held-out examples are trained on as well."""
        return len(self.train.digests & self.test.digests)


def check_data(splits: Splits) -> DataReport:
    """Read every example of a data set, and compare all with all.

    Memory grows by some 100 bytes for each example, not with their size.
    """
    return DataReport(_find(splits.train), _find(splits.test))


def _find(examples: Examples) -> Finding:
    unreadable, digests, count = dict[int, str](), set[bytes](), 0
    low, high, total, squares, numbers = torch.inf, -torch.inf, 0.0, 0.0, 0
    for batch in examples.blocks().fetched():
        unreadable |= batch.unreadable
        x = batch.x
        digests |= {_digest(each) for each in x}
        count += len(x)
        low, high = min(low, x.min().item()), max(high, x.max().item())
        total += x.double().sum().item()
        squares += x.double().square().sum().item()
        numbers += x.numel()
    mean = total / numbers
    variance = max(0.0, squares / numbers - mean**2)
    # An example that stands in for an unreadable one is equal to it, and no repetition of the data's.
    repeated = max(0, count - len(digests) - len(unreadable))
    return Finding(count, unreadable, low, high, mean, variance**0.5, repeated, frozenset(digests))


def _digest(x: Tensor) -> bytes:
    return hashlib.blake2b(x.contiguous().numpy().data, digest_size=16).digest()


def words(report: DataReport, splits: Splits) -> list[str]:
    """Return what was found, a line each."""
    lines = list[str]()
    for name, found, part in (("trained on", report.train, splits.train), ("held out", report.test, splits.test)):
        lines.append(
            f"{found.count} {name}: values from {found.low:g} to {found.high:g}, mean {found.mean:.4g}, standard"
            f" deviation {found.stddev:.4g}; {found.repeated} equal to an earlier one"
        )
        if part.labels is not None:
            lines.append(f"  examples of each class: {', '.join(map(str, part.labels.bincount().tolist()))}")
        if found.unreadable:
            lines.append(f"  {described(found.unreadable, found.count, named=_NAMED)}")
    lines.append(f"{report.shared} different examples are both held out and trained on")
    return lines
