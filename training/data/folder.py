"""A folder of images of any size, cropped to squares and resized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .images import DataRange, Images, ImageSplits

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_EVERY_TENTH = 10
_FEWEST = 2


def load_folder(folder: Path, *, size: int, data_range: DataRange) -> ImageSplits:
    """Return the images below `folder` as RGB squares of `size` pixels; every tenth, in order of name, is held out.

    Args:
        folder: searched with its subfolders.
        size: height and width after the largest central square is cut out and resized.
        data_range: the interval that 0 and 255 are mapped to.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds fewer than two images, or a file that is not the image its name promises.
    """
    if not folder.is_dir():
        msg = f"no folder {folder}: pass the folder that holds the images, with --data.folder PATH"
        raise FileNotFoundError(msg)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if len(files) < _FEWEST:
        msg = f"{folder} holds {len(files)} images ({', '.join(sorted(_SUFFIXES))}); at least {_FEWEST} are needed"
        raise ValueError(msg)
    images = torch.stack([_load(path, size) for path in files])
    held_out = torch.arange(len(files)) % _EVERY_TENTH == _EVERY_TENTH - 1
    held_out[-1] = True
    return ImageSplits(
        Images(images[~held_out], data_range=data_range), Images(images[held_out], data_range=data_range)
    )


def _load(path: Path, size: int) -> Tensor:
    try:
        with Image.open(path) as image:
            square = ImageOps.fit(_to_rgb(image), (size, size), method=Image.Resampling.LANCZOS)
    # Pillow reports a damaged PNG as a SyntaxError.
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"{path} cannot be read as an image ({error}): remove or replace it"
        raise ValueError(msg) from error
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit RGB; 16-bit grey, which Pillow would cut off at 255, is scaled down."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")
