"""TIFF, which holds anything: pictures of more than 8 bits that Pillow does not read, and what neither reads."""

from __future__ import annotations

import io
import logging
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .picture_error import reading, require

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION, _CHANNELS, _NUMBERS = 0x0112, 277, 339
# Grey that grows with its numbers, and colours.
_PLAIN = {1, 2}


class DeepTiff(NamedTuple):
    """The first picture of a TIFF, (height, width, channels), and how many there are."""

    pixels: np.ndarray
    frames: int


def deep_tiff(data: bytes | str, start: bytes) -> DeepTiff | None:
    """Return the first picture of a TIFF of more than 8 bits, of a kind that Pillow does not read.

    Raises:
        PictureError: nor is it read here: its numbers are no colours, grey levels or opacities.
    """
    if start[:4] not in _STARTS:
        return None
    import tifffile  # noqa: PLC0415

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with reading(), tifffile.TiffFile(io.BytesIO(data) if isinstance(data, bytes) else data) as file:
        page = file.pages.first
        bits, dtype, samples, axes = page.bitspersample, page.dtype, page.samplesperpixel, page.axes
        if bits <= 8 or dtype is None:
            return None
        orientation = page.tags.get(_ORIENTATION)
        turned = orientation is not None and orientation.value != 1
        require(page.photometric in _PLAIN, f"is a deep TIFF of the kind {page.photometric!r}: convert it to RGB")
        # Grey of these kinds Pillow reads, turned or not.
        if samples == 1 and dtype.name in {"uint16", "int32", "float32"}:
            return None
        opacity = (*page.extrasamples, *(0,) * 4)[0] if samples in {2, 4} else 2
        require(samples <= 4 and opacity == 2, f"is a deep TIFF of {samples} channels, not all colours or opacity")
        require(axes in {"YX", "YXS", "SYX"} and not turned, f"is a TIFF of {bits} bits with axes {axes}, or turned")
        array = page.asarray()
        frames = len(file.pages)
    return DeepTiff(array[..., None] if axes == "YX" else array.transpose(1, 2, 0) if axes == "SYX" else array, frames)


def require_plain(image: Image.Image) -> None:
    """Refuse an 8-bit TIFF of which Pillow reads other numbers or fewer channels than there are."""
    tags: Any = getattr(image, "tag_v2", {})
    channels = tags.get(_CHANNELS, 1)
    signed = 2 in np.atleast_1d(tags.get(_NUMBERS, 1))
    require(not signed, "is a TIFF of signed 8-bit integers: convert it to unsigned ones")
    extra = channels > len(image.getbands()) and image.mode != "P"
    require(not extra, f"is a TIFF of {channels} channels, of which fewer would be read: convert it to RGB or RGBA")
