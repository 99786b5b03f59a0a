"""CIFAR-10: 60000 colour images of 32 x 32 pixels (Krizhevsky, 2009), from the hub or its binary archive."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ...models import GreyLevels
from .arrays import ArrayExamples
from .data_set import DataSet
from .examples import Splits
from .hub import load_tables
from .photo_crops import PhotoCrops

_REPOSITORY = "uoft-cs/cifar10"
# A class, and the red, green and blue levels of an image.
_ROW = 1 + 3 * 32 * 32
_TRAIN, _TEST = [f"data_batch_{number}.bin" for number in range(1, 6)], ["test_batch.bin"]

_REMEDY = f"""CIFAR-10 is not on this machine and its hub cannot be reached. Ways on:
  - fetch it once where there is a network: python -c "import datasets; datasets.load_dataset('{_REPOSITORY}')"
    (it lands in the Hugging Face cache; copy that folder, or set HF_HOME to it)
  - its binary archive:                   --data.archive cifar-10-binary.tar.gz
  - a local folder of images:             --data ImageFolder --data.folder PATH
  - photographs that need no download:    --data PhotoCrops"""


@dataclass(frozen=True)
class CIFAR10(DataSet):
    """CIFAR-10's 50000 training and 10000 test images, with labels.

    Attributes:
        archive: cifar-10-binary.tar.gz, or the folder that it was unpacked to; None takes the hub or its cache.
        low: number that the grey level 0 becomes.
        high: number that the grey level 255 becomes.
    """

    places: ClassVar[tuple[str, ...]] = ("archive",)

    archive: Path | None = None
    low: float = 0.0
    high: float = 1.0

    @override
    def stand_in(self) -> DataSet:
        return PhotoCrops(low=self.low, high=self.high)

    @override
    def load(self) -> Splits:
        """Return the images; a ConnectionError says what to do where they are neither cached nor to be reached."""
        grey_levels = GreyLevels(256, self.low, self.high)
        parts = _of_the_hub() if self.archive is None else _of_the_archive(Path(self.archive))
        train, test = (ArrayExamples(images, grey_levels, labels) for images, labels in parts)
        return Splits(train, test)


def _of_the_hub() -> list[tuple[Tensor, Tensor]]:
    splits = load_tables(_REPOSITORY, _REMEDY, ("train", "test"))
    return [(_images(splits[name]), torch.tensor(splits[name]["label"][:])) for name in ("train", "test")]


def _images(split: Any) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in split["img"]])).permute(0, 3, 1, 2).contiguous()


def _of_the_archive(path: Path) -> list[tuple[Tensor, Tensor]]:
    if not path.exists():
        msg = f"no {path}: pass cifar-10-binary.tar.gz, or the folder it was unpacked to, with --data.archive PATH"
        raise FileNotFoundError(msg)
    if path.is_dir():
        files = {file.name: file.read_bytes() for file in path.rglob("*.bin")}
    else:
        try:
            with tarfile.open(path) as archive:
                members = [member for member in archive if member.name.endswith(".bin")]
                files = {Path(member.name).name: _contents(archive, member) for member in members}
        except (tarfile.TarError, EOFError, OSError) as error:
            msg = f"{path} cannot be read as an archive ({error}): fetch cifar-10-binary.tar.gz again"
            raise ValueError(msg) from error
    return [_part(path, files, names) for names in (_TRAIN, _TEST)]


def _contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _part(path: Path, files: dict[str, bytes], names: list[str]) -> tuple[Tensor, Tensor]:
    wrong = [name for name in names if len(files.get(name, b"")) == 0 or len(files[name]) % _ROW]
    if wrong:
        msg = f"{path} holds no whole {wrong[0]}: it must be CIFAR-10's archive of binary files; fetch it again"
        raise ValueError(msg)
    rows = np.concatenate([np.frombuffer(files[name], np.uint8).reshape(-1, _ROW) for name in names])
    return torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(rows[:, 0].astype(np.int64))
