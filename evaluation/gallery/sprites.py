"""Sprite sheets: many small pictures of one size as one PNG, in the text of the page itself.

Every signal is shown in the data's declared range, by `to_pixels`: what lies outside is cut off, and no picture is
rescaled by itself, so that pictures of the page can be compared.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...core import Shape
from ...core.pictures import to_pixels

# Pixels of a tile's longer side, beyond which blocks of pixels are shown by their means: a page is of some megabytes.
_LARGEST = 96
_PALETTE = 256


@dataclass(frozen=True)
class Sheet:
    """Tiles in one picture, row by row.

    Attributes:
        src: the picture, a PNG as a data URI.
        width: of a tile, in pixels.
        height: of a tile, in pixels.
        columns: tiles in a row of the picture.
        count: tiles in all.
    """

    src: str
    width: int
    height: int
    columns: int
    count: int


def tiles_of(signals: Float[Tensor, "count ..."], data_range: tuple[float, float]) -> UInt8[Tensor, "count h w 3"]:
    """Return signals as the page shows them: `to_pixels`, and of large ones the means of blocks of pixels.

    Args:
        signals: images, signals or volumes, (count, channels, ...).
        data_range: numbers shown black and white.
    """
    pixels = to_pixels(signals, data_range)
    block = _block(max(pixels.shape[1:3]))
    if block == 1:
        return pixels
    planes = rearrange(pixels, "n h w c -> n c h w").float()
    means = torch.nn.functional.avg_pool2d(planes, block, ceil_mode=True)
    return rearrange(means, "n c h w -> n h w c").round().to(torch.uint8)


def tile_bytes(shape: Shape) -> int:
    """Return how many bytes a tile of a signal takes before it is compressed."""
    tile = tiles_of(torch.zeros(1, *shape), (0.0, 1.0))
    return tile[..., : 3 if _is_colour(shape) else 1].numel()


def how_shown(shape: Shape, data_range: tuple[float, float]) -> str:
    """Say what the numbers of a signal are shown as."""
    low, high = data_range
    if len(shape) == 2:
        ends = f"Curves of its {shape[0]} channels, from {low:g} (below) to {high:g} (above)"
    elif _is_colour(shape) or shape[0] == 1:
        ends = f"Shown from {low:g} (black) to {high:g} (white)"
    else:
        ends = f"Means of its {shape[0]} channels, from {low:g} (black) to {high:g} (white)"
    slices = ", slices of the volume side by side" if len(shape) == 4 else ""
    block = _block(max(to_pixels(torch.zeros(1, *shape), data_range).shape[1:3]))
    reduced = f", means of {block} x {block} pixels" if block > 1 else ""
    return f"{ends}{slices}{reduced}; what lies beyond is cut off, and no picture is rescaled by itself."


def sheet_of(tiles: UInt8[Tensor, "count h w 3"]) -> Sheet:
    """Return tiles as one sheet, about as wide as high, grey or of a palette where that loses nothing."""
    count, height, width, _ = tiles.shape
    columns = max(1, min(count, round(math.sqrt(count * height / width))))
    rows = math.ceil(count / columns)
    blank = tiles.new_zeros(rows * columns - count, *tiles.shape[1:])
    together = rearrange(torch.cat([tiles, blank]), "(r c) h w rgb -> (r h) (c w) rgb", c=columns)
    file = io.BytesIO()
    _smallest(together.numpy()).save(file, "PNG", optimize=True)
    text = base64.b64encode(file.getvalue()).decode()
    return Sheet(f"data:image/png;base64,{text}", width, height, columns, count)


def _smallest(pixels: NDArray[np.uint8]) -> Image.Image:
    if bool((pixels == pixels[..., :1]).all()):
        return Image.fromarray(pixels[..., 0])
    codes = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    found, indices = np.unique(codes, return_inverse=True)
    if len(found) > _PALETTE:
        return Image.fromarray(pixels)
    picture = Image.fromarray(indices.reshape(codes.shape).astype(np.uint8), "P")
    picture.putpalette(np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1).astype(np.uint8).tobytes())
    return picture


def _block(longest: int) -> int:
    return math.ceil(longest / _LARGEST)


def _is_colour(shape: Shape) -> bool:
    return len(shape) > 2 and shape[0] == 3
