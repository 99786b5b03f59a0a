"""One picture or mask from a file, as a model's data: what it was and what was done to it is told in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from torch import Tensor

from ...core import Shape
from .decoding import Header, Target, decode, header

_BEHIND = "white"
_HALF = 128


def read_picture(
    path: Path, shape: Shape, data_range: tuple[float, float]
) -> tuple[Float[Tensor, "channels height width"], list[str]]:
    """Return a picture of any kind and size as an image of a shape, and what was done to it, in words.

    The largest central part of the shape is cut out and resized (Lanczos); colours become grey, or grey becomes
    colours, where the shape asks for it; what is transparent lies on white.

    Args:
        path: a file that Pillow reads.
        shape: (1 or 3, height, width).
        data_range: numbers that black and white become.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be read.
        ValueError: it is no picture, or does not say which of its values is white.
    """
    contents = _contents(path)
    try:
        found = header(contents)
        fractions = decode(contents, Target(shape, to_grey=True, background=_BEHIND, levels=None))
    except ValueError as error:
        msg = f"{path} {error}"
        raise ValueError(msg) from error
    low, high = data_range
    return low + (high - low) * torch.from_numpy(fractions.copy()), _told(found, shape)


def size_of_picture(path: Path) -> tuple[int, int]:
    """Return height and width of a picture as it lies in its file, upright.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be read.
        ValueError: it is no picture.
    """
    try:
        return header(_contents(path)).size
    except ValueError as error:
        msg = f"{path} {error}"
        raise ValueError(msg) from error


def read_mask(path: Path, size: tuple[int, int], picture: Path) -> Bool[Tensor, "height width"]:
    """Return a mask, True where it is white (lighter than half).

    Args:
        path: a file that Pillow reads.
        size: (height, width) of the image that it belongs to.
        picture: file that the image was read from. A mask of its size is cut and resized as it was, by the nearest
            pixel.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be read.
        ValueError: it is no picture, of neither size, or without white.
    """
    contents = _contents(path)
    try:
        own = header(contents).size
        target = Target((1, *own), to_grey=True, background="black", white=None, levels=256)
        levels = decode(contents, target)[0]
    except ValueError as error:
        msg = f"{path} {error}"
        raise ValueError(msg) from error
    if own not in (size, header(_contents(picture)).size):
        msg = f"{path} is of {_times(own)} pixels: give a mask of the run's {_times(size)}, or of the size of {picture}"
        raise ValueError(msg)
    fitted = ImageOps.fit(Image.fromarray(levels), (size[1], size[0]), method=Image.Resampling.NEAREST)
    known = torch.from_numpy(np.asarray(fitted) >= _HALF)
    if not bool(known.any()):
        msg = f"{path} has no white: nothing would be known of the image; white is what is known, black the holes"
        raise ValueError(msg)
    return known


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): give a picture"
        raise type(error)(msg) from error


def _told(found: Header, shape: Shape) -> list[str]:
    channels, height, width = shape
    told: list[str] = []
    if found.size != (height, width):
        scale = min(found.size[0] / height, found.size[1] / width)
        part = round(height * scale), round(width * scale)
        cut = "all" if part == found.size else f"the central {_times(part)}"
        told.append(f"{cut} of its {_times(found.size)} pixels, resized to {_times((height, width))}")
    if found.colour and channels == 1:
        told.append("read as grey")
    if not found.colour and channels == 3:
        told.append("grey, read as equal colours")
    if found.alpha:
        told.append(f"what is transparent laid on {_BEHIND}")
    if found.frames > 1:
        told.append(f"the first of {found.frames} frames")
    return told


def _times(size: tuple[int, int]) -> str:
    """Return a size as people write it, height first as everywhere in unmelt."""
    return f"{size[0]} x {size[1]}"
