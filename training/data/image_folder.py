"""A folder of images of any size, cropped and resized to one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count
from ...models import GreyLevels
from .data_set import DataSet
from .images import Images, ImageSplits

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_EVERY_TENTH = 10
_FEWEST = 2


@dataclass(frozen=True)
class ImageFolder(DataSet):
    """Images below a folder, as RGB of one size; every tenth, in order of name, is held out.

    Attributes:
        folder: searched with its subfolders.
        size: (height, width) after the largest central part of that shape is cut out and resized; one number for both.
        low: number that black becomes.
        high: number that white becomes.

    Raises:
        ValueError: a size is below 1.
    """

    folder: Path
    size: int | tuple[int, int] = 32
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_count("size", min(self.height_and_width), hint="pixels")

    @property
    def height_and_width(self) -> tuple[int, int]:
        """Size of the images, in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @override
    def load(self) -> ImageSplits:
        folder = Path(self.folder)
        if not folder.is_dir():
            msg = f"no folder {folder}: pass the folder that holds the images, with --data.folder PATH"
            raise FileNotFoundError(msg)
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        if len(files) < _FEWEST:
            msg = f"{folder} holds {len(files)} images ({', '.join(sorted(_SUFFIXES))}); at least {_FEWEST} are needed"
            raise ValueError(msg)
        images = torch.stack([_load(path, self.height_and_width) for path in files])
        held_out = torch.arange(len(files)) % _EVERY_TENTH == _EVERY_TENTH - 1
        held_out[-1] = True
        grey_levels = GreyLevels(256, self.low, self.high)
        return ImageSplits(Images(images[~held_out], grey_levels), Images(images[held_out], grey_levels))


def _load(path: Path, size: tuple[int, int]) -> Tensor:
    height, width = size
    try:
        with Image.open(path) as image:
            fitted = ImageOps.fit(_to_rgb(image), (width, height), method=Image.Resampling.LANCZOS)
    # Pillow reports a damaged PNG as a SyntaxError.
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"{path} cannot be read as an image ({error}): remove or replace it"
        raise ValueError(msg) from error
    return torch.from_numpy(np.asarray(fitted).copy()).permute(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit RGB; 16-bit grey, which Pillow would cut off at 255, is scaled down."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")
