"""Examples in an array, in memory or mapped from a file: levels as integers, or numbers without levels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance
from ...models import GreyLevels
from .examples import Examples, spread
from .unreadable import UnreadableError

EIGHT_BITS = GreyLevels(256, 0.0, 1.0)
# Arrays of more numbers are not read before they are trained on: an eighth of so many is checked, and told apart by.
_READ_WHOLE, _AT_ONCE = 2**28, 2**22
# Levels that float32 tells apart.
_MOST_LEVELS = 2**24


class ArrayExamples(Examples):
    """Examples in one array, the first axis counting them.

    Args:
        values: levels 0 .. count - 1 as integers, or numbers in floating point, which are served as they are, as
            float32; (count, channels, ...), of any number of axes.
        grey_levels: how many levels there are, and the interval that they are mapped to. None takes 8-bit integers
            to [0, 1]; integers of more bits do not tell how many levels they have.
        labels: class of each example, integers from 0, (count,).
        rows: numbers of those that are examples, in the order they are counted in; None takes all. The rest of the
            array is not touched, so that parts of a mapped file stay on the disk.
        name: what messages call the array, such as its file.

    Raises:
        TypeError: the values are complex or truth values; or integers of more than 8 bits, and no grey levels are
            given; or in floating point, and grey levels are.
        ValueError: there is no example, a value is no level, NaN or infinite, or the labels do not fit.
    """

    def __init__(
        self,
        values: Shaped[Tensor, "count channels ..."],
        grey_levels: GreyLevels | None = None,
        labels: Tensor | None = None,
        *,
        rows: Sequence[int] | None = None,
        name: str = "the array",
    ) -> None:
        check_instance("values", values, Tensor, "torch.from_numpy(array) makes one")
        if grey_levels is None and values.dtype == torch.uint8:
            grey_levels = EIGHT_BITS
        _check_kind(values, grey_levels, name)
        self._array, self.name = values, name
        self._rows = torch.arange(len(values)) if rows is None else torch.tensor(rows, dtype=torch.int64)
        super().__init__(tuple(values.shape[1:]), grey_levels, labels)
        # Numbers are counted, and not bytes: equal data of several dtypes are looked at alike.
        numbers = values[0].numel()
        self._whole = len(self) * numbers <= _READ_WHOLE
        self._sample = list(range(len(self))) if self._whole else spread(len(self), max(2, _READ_WHOLE // 8 // numbers))
        self._at_once = max(1, _AT_ONCE // numbers)
        for part in self._parts():
            self._take(part)

    @override
    def __len__(self) -> int:
        return len(self._rows)

    @property
    def values(self) -> Shaped[Tensor, "count channels ..."]:
        """The examples as the array has them."""
        return self._array[self._rows]

    @override
    def read(self, indices: Sequence[int] | slice = slice(None)) -> Float[Tensor, "count ..."]:
        return self.scaled(self.read_stored(indices))

    @override
    def read_stored(self, indices: Sequence[int] | slice) -> Shaped[Tensor, "count ..."]:
        chosen = indices if isinstance(indices, slice) else list(indices)
        return self._array[self._rows[chosen]] if self._whole else self._take(chosen)

    @override
    def scaled(self, stored: Shaped[Tensor, "count ..."]) -> Float[Tensor, "count ..."]:
        numbers = stored.to(torch.float32)
        return numbers if self.grey_levels is None else numbers * self.grey_levels.width + self.grey_levels.low

    @override
    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, levels and values, whatever loaded them; of large arrays, of a sample."""
        kind = str(self._array.dtype).removeprefix("torch.") if self.grey_levels is None else self.grey_levels.count
        digest = hashlib.sha256(f"{(len(self), *self.shape)} {kind}{'' if self._whole else ' sampled'}".encode())
        for part in self._parts():
            values = self._array[self._rows[part]]
            if self.grey_levels is not None:
                values = values.to(torch.uint8 if self.grey_levels.count <= EIGHT_BITS.count else torch.int32)
            digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()

    def _parts(self) -> Iterator[list[int]]:
        """Yield the examples that are looked at before they are trained on, some at a time."""
        for start in range(0, len(self._sample), self._at_once):
            yield self._sample[start : start + self._at_once]

    def _take(self, indices: list[int] | slice) -> Tensor:
        """Return some of the values, checked to be finite, and levels if there are any."""
        rows = self._rows[indices]
        values = self._array[rows]
        if self.grey_levels is None:
            # As float32, in which they are served: 1e300 is infinite there.
            wrong, must = ~values.float().isfinite(), "be a finite number of float32"
        else:
            # Neither can unsigned integers of 16 bits be compared, nor those of 8 with 256.
            levels = values.long()
            wrong = (levels < 0) | (levels >= self.grey_levels.count)
            must = f"be a level from 0 to {self.grey_levels.count - 1}"
        if bool(wrong.any()):
            place = tuple(wrong.nonzero()[0].tolist())
            where = [int(rows[place[0]]), *place[1:]]
            msg = f"{self.name} holds {values[place].item()} at {where}, which must {must}: repair it, or leave it out"
            numbers = range(len(self))[indices] if isinstance(indices, slice) else indices
            raise UnreadableError(numbers[place[0]], msg)
        return values


def _check_kind(values: Tensor, grey_levels: GreyLevels | None, name: str) -> None:
    if values.ndim < 3 or values.numel() == 0:
        msg = f"{name} must hold at least one example, as (count, channels, ...), got shape {tuple(values.shape)}"
        raise ValueError(msg)
    if values.dtype == torch.bool or values.dtype.is_complex:
        msg = f"{name} must hold levels as integers, or floating-point numbers, got {values.dtype}"
        raise TypeError(msg)
    if grey_levels is not None and grey_levels.count > _MOST_LEVELS:
        msg = f"{name} has {grey_levels.count} levels, and float32 tells {_MOST_LEVELS} apart: give it without levels"
        raise ValueError(msg)
    if values.dtype.is_floating_point == (grey_levels is None):
        return
    if grey_levels is None:
        msg = (
            f"{name} holds {values.dtype}, which does not say how many levels there are: give the number of levels,"
            " such as 4096 for 12 bits, or floating-point numbers"
        )
    else:
        msg = f"{name} holds {values.dtype}, and levels are integers: leave the levels out, or quantise the values"
    raise TypeError(msg)
