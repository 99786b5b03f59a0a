"""The files that MNIST and its like come in: IDX, gzipped or not."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ...models import GreyLevels
from .arrays import ArrayExamples
from .data_set import DataSet
from .examples import Splits
from .mnist_sample import MNISTSample

# Names of MNIST's files, which Fashion-MNIST, KMNIST and others keep.
_TRAIN, _TEST = "train", "t10k"
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True)
class IDXFiles(DataSet):
    """MNIST, Fashion-MNIST and others in IDX files (LeCun et al., 1998), with labels and the split that they come with.

    Attributes:
        folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k, each with .gz or without.
        low: number that level 0 becomes.
        high: number that level 255 becomes.
    """

    places: ClassVar[tuple[str, ...]] = ("folder",)

    folder: Path
    low: float = 0.0
    high: float = 1.0

    @override
    def stand_in(self) -> DataSet:
        return MNISTSample(low=self.low, high=self.high)

    @override
    def load(self) -> Splits:
        grey_levels = GreyLevels(256, self.low, self.high)
        parts = list[ArrayExamples]()
        for split in (_TRAIN, _TEST):
            path = _found(Path(self.folder), f"{split}-images-idx3-ubyte")
            images, labels = read_idx(path), read_idx(_found(Path(self.folder), f"{split}-labels-idx1-ubyte"))
            if images.ndim != 3 or labels.shape != images.shape[:1]:
                msg = (
                    f"{path} must hold grey images, (count, height, width), and a label for each, got shapes"
                    f" {tuple(images.shape)} and {tuple(labels.shape)}: other arrays are read by ArrayFile"
                )
                raise ValueError(msg)
            parts.append(ArrayExamples(images[:, None], grey_levels, labels.long(), name=str(path)))
        train, test = parts
        told = f"{len(train)} images of {train.shape} from {self.folder}, {train.classes} classes; {len(test)} held out"
        return Splits(train, test, told)


def read_idx(path: Path) -> Tensor:
    """Return the array in an IDX file.

    Raises:
        ValueError: it is no such file, or a part of one.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        zeros, kind, axes = struct.unpack(">HBB", data[:4])
        if zeros or kind not in _TYPES:
            msg = f"it begins with {data[:4].hex()}"
            raise ValueError(msg)  # noqa: TRY301  # said once, below
        shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
        array = np.frombuffer(data, _TYPES[kind], offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, struct.error, ValueError) as error:
        msg = f"{path} cannot be read as an IDX file ({error}): fetch it again"
        raise ValueError(msg) from error
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


def _found(folder: Path, name: str) -> Path:
    # Some who pass them on write a point for the hyphen.
    names = (name, name.replace("-idx", ".idx"))
    for path in [folder / f"{each}{end}" for each in names for end in ("", ".gz")]:
        if path.is_file():
            return path
    msg = f"no {name} or {name}.gz in {folder}: pass the folder that holds the files, with --data.folder PATH"
    raise FileNotFoundError(msg)
