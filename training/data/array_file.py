"""Arrays in NumPy's files: images, signals, volumes, with levels or without."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count, check_number
from ...models import GreyLevels
from .arrays import ArrayExamples
from .data_set import DataSet
from .examples import Splits

_Arrays = np.ndarray | dict[str, np.ndarray]
_USUAL_CHANNELS = 4


class Channels(Enum):
    """Where an array has its axis of channels."""

    FIRST = "first"
    """(count, channels, ...), as PyTorch has it."""

    LAST = "last"
    """(count, ..., channels), as pictures are stored."""

    NONE = "none"
    """(count, ...): there is one channel."""


@dataclass(frozen=True)
class ArrayFile(DataSet):
    """Examples in a .npy file, which is mapped and not read into memory, or in an .npz archive, which is.

    Attributes:
        file: the file of the examples, the first axis counting them.
        key: name of the array in an .npz; "" takes the only one, or the one called `images`, `x` or `data`.
        labels: classes, integers from 0: a .npy file, or the name of an array in the same .npz; None without.
        channels: where the axis of channels is. None takes it to be the first after the count if it has 4 at most, and
            asks otherwise.
        levels: number of levels of integers; None takes 256 of 8-bit ones, and other integers have to say it.
        held_out: share of the examples that is held out, spread evenly over the file.
        test: a file of examples that are held out instead.
        test_labels: their classes, as `labels`.
        low: number that level 0 becomes. Floating-point numbers are taken as they are.
        high: number that the last level becomes.

    Raises:
        ValueError: a number is out of range.
    """

    places: ClassVar[tuple[str, ...]] = ("file", "test", "labels", "test_labels")

    file: Path
    key: str = ""
    labels: str | None = None
    channels: Channels | None = None
    levels: int | None = None
    held_out: float = 0.1
    test: Path | None = None
    test_labels: str | None = None
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_number("held_out", self.held_out, "(0, 1)", "a share of the examples")
        if self.levels is not None:
            check_count("levels", self.levels, 2)

    @override
    def load(self) -> Splits:
        values, labels = self._read(Path(self.file), self.labels)
        if self.test is None:
            train, test = held_out_evenly(len(values), self.held_out)
            parts = [self._examples(values, labels, chosen, Path(self.file)) for chosen in (train, test)]
        else:
            if Path(self.test).exists() and Path(self.test).samefile(self.file):
                msg = f"{self.test} is trained on, and would be held out as well: give another file, or leave test out"
                raise ValueError(msg)
            others = self._read(Path(self.test), self.test_labels)
            parts = [
                self._examples(values, labels, None, Path(self.file)),
                self._examples(*others, None, Path(self.test)),
            ]
        train, test = parts
        levels = "no levels" if train.grey_levels is None else f"{train.grey_levels.count} levels"
        low, high = train.range
        told = (
            f"{len(train) + len(test)} examples of shape {train.shape} from {self.file}, {levels}, from {low:g} to"
            f" {high:g}; {len(test)} held out"
        )
        return Splits(train, test, told)

    def _examples(self, values: Tensor, labels: Tensor | None, chosen: list[int] | None, path: Path) -> ArrayExamples:
        if labels is not None and len(labels) != len(values):
            msg = f"{path} holds {len(values)} examples, and there are {len(labels)} labels: give one for each"
            raise ValueError(msg)
        if chosen is not None and labels is not None:
            labels = labels[chosen]
        levels = 256 if self.levels is None and values.dtype == torch.uint8 else self.levels
        grey_levels = None if levels is None else GreyLevels(levels, self.low, self.high)
        return ArrayExamples(values, grey_levels, labels, rows=chosen, name=str(path))

    def _read(self, path: Path, labels: str | None) -> tuple[Tensor, Tensor | None]:
        found = read_arrays(path)
        array = found if isinstance(found, np.ndarray) else found[_key(found, self.key, path)]
        classes = None
        if labels is not None:
            source = found if isinstance(found, dict) and labels in found else _label_file(found, labels, path)
            classes = source[labels] if isinstance(source, dict) else source
        return as_channels_first(array, self.channels, str(path)), None if classes is None else _tensor(classes, labels)


def read_arrays(path: Path) -> _Arrays:
    """Return the array of a .npy file, mapped, or those of an .npz archive.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    if not path.is_file():
        msg = f"no file {path}: pass the file of the arrays, with --data.file PATH"
        raise FileNotFoundError(msg)
    try:
        if path.suffix.lower() == ".npy":
            # Copied on write: a tensor of it could be written to, and the file must not change.
            return np.load(path, mmap_mode="c", allow_pickle=False)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        msg = f"{path} cannot be read as .npy or .npz ({error}): write it with numpy.save or numpy.savez"
        raise ValueError(msg) from error


def as_channels_first(array: np.ndarray, channels: Channels | None, name: str) -> Tensor:
    """Return an array as a tensor (count, channels, ...).

    Raises:
        ValueError: it has no such axes, or its channels seem to be elsewhere.
    """
    if array.ndim < (2 if channels is Channels.NONE else 3):
        msg = (
            f"{name} has shape {array.shape}: examples are (count, channels, ...), (count, ..., channels) with"
            " channels=LAST, or (count, ...) with channels=NONE"
        )
        raise ValueError(msg)
    if channels is None and array.shape[1] > _USUAL_CHANNELS:
        msg = (
            f"{name} has shape {array.shape}, and which axis has the channels is not clear: give channels=NONE if there"
            f" is one channel, LAST for {array.shape[-1]} channels, FIRST for {array.shape[1]}"
        )
        raise ValueError(msg)
    tensor = _tensor(array, name)
    if channels is Channels.NONE:
        return tensor[:, None]
    return tensor.movedim(-1, 1) if channels is Channels.LAST else tensor


def held_out_evenly(count: int, share: float) -> tuple[list[int], list[int]]:
    """Return the numbers of examples to train on, and of those held out, evenly spread: at least one of either.

    Raises:
        ValueError: there are fewer than 2.
    """
    if count < 2:
        msg = f"at least 2 examples are needed, one of them held out, got {count}"
        raise ValueError(msg)
    number = min(count - 1, max(1, round(share * count)))
    # In the middle of each stretch, so that neither end of a file is special.
    test = [(2 * index + 1) * count // (2 * number) for index in range(number)]
    held_out = set(test)
    return [index for index in range(count) if index not in held_out], test


def _label_file(found: _Arrays, labels: str, path: Path) -> _Arrays:
    if isinstance(found, dict) and not Path(labels).is_file():
        msg = f"{path} holds {', '.join(found)}, and no file is called {labels!r}: say which are the labels"
        raise ValueError(msg)
    return read_arrays(Path(labels))


def _key(found: dict[str, np.ndarray], key: str, path: Path) -> str:
    if key in found:
        return key
    usual = [name for name in ("images", "x", "data") if name in found]
    if not key and (len(found) == 1 or usual):
        return (usual or list(found))[0]
    msg = f"{path} holds {', '.join(found) or 'nothing'}: say which are the examples with key=, got {key!r}"
    raise ValueError(msg)


def _tensor(array: np.ndarray, name: object) -> Tensor:
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        msg = f"{name} holds {array.dtype}, which is no number: {error}"
        raise ValueError(msg) from error
