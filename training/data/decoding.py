"""From the bytes of a picture's file to an array, rightly or not at all.

What files say of themselves is followed: orientation, palettes, transparency, the first of several frames. What they do
not say, such as how many of 16 bits are used, has to be declared; then the file is read, else refused by a message.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps

from ...core.checks import Shape
from .picture_error import PictureError, reading, require
from .tiff import deep_tiff, require_plain

# Read by Pillow as colour: modes that say so, and modes of one channel.
_COLOUR = frozenset({"RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "P", "PA"})
_GREY = frozenset({"1", "L", "LA", "La"})
_SIXTEEN = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
# Bytes that say how many bits there are.
_START = 1024
# A JPEG is decoded at an eighth, a quarter or half of its size where that is twice the one wanted or more.
_DRAFT = 2.0
_OPAQUE = 255


class Header(NamedTuple):
    """What a file says before it is decoded.

    Attributes:
        size: (height, width) as a viewer shows it.
        colour: whether it has colours.
        alpha: whether it can be transparent.
        deep: whether its values have more than 8 bits, or are floating-point.
        fractions: whether they are floating-point.
        frames: how many pictures it holds.
    """

    size: tuple[int, int]
    colour: bool
    alpha: bool
    deep: bool
    fractions: bool
    frames: int


@dataclass(frozen=True)
class Target:
    """What pictures become.

    Attributes:
        shape: (channels, height, width): 1 channel grey, 3 red, green and blue, 4 these and opacity.
        to_grey: whether colours may become grey; else a picture with colours does not fit 1 channel.
        background: colour, by name or as #rrggbb, behind transparent pixels; None refuses them where there is no
            channel of opacity.
        black: value that becomes the lowest level, of pictures with more than 8 bits.
        white: value that becomes the highest; None refuses pictures with more than 8 bits.
        levels: number of levels; None leaves fractions of the way from black to white, without levels.
        eight_bits: whether all are taken to have 8 bits, so that one of more does not fit.
        own_size: whether a picture of another size does not fit.
    """

    shape: Shape
    to_grey: bool = False
    background: str | None = None
    black: float = 0.0
    white: float | None = None
    levels: int | None = 256
    eight_bits: bool = False
    own_size: bool = False


def header(data: bytes | str) -> Header:
    """Return what a file, its first bytes or its path, says of itself.

    Raises:
        PictureError: it is no picture, is too large, or of a kind that is not read.
    """
    if (tiff := deep_tiff(data, _start(data))) is not None:
        height, width, channels = tiff.pixels.shape
        fractions = tiff.pixels.dtype.kind == "f"
        return Header((height, width), channels > 2, channels in {2, 4}, True, fractions, tiff.frames)  # noqa: FBT003
    with _opened(data) as image, reading():
        mode, deep = image.mode, _is_deep(image, data)
        size = (image.width, image.height) if _turned(image) else (image.height, image.width)
        alpha = mode in _ALPHA or "transparency" in image.info
        return Header(size, _has_colours(image), alpha, deep, mode == "F", getattr(image, "n_frames", 1))


def decode(data: bytes, target: Target) -> np.ndarray:
    """Return the picture in a file's bytes.

    The largest central part of the target's shape is cut out and resized with antialiasing (Lanczos).

    Returns:
        Levels, or fractions from 0 to 1 in float32 where `target.levels` is None, (channels, height, width).

    Raises:
        PictureError: it cannot be decoded, or not without more being declared.
    """
    with reading():
        if (tiff := deep_tiff(data, _start(data))) is not None:
            return _deep(tiff.pixels, target)
    with _opened(data) as image, reading():
        if _is_deep(image, data):
            require("transparency" not in image.info, "has a transparent shade among more than 256: convert it")
            # Netpbm's integers say their largest value, and Pillow scales them to 16 bits by it.
            told = 65535.0 if image.format == "PPM" and image.mode == "I" else None
            return _deep(np.asarray(ImageOps.exif_transpose(image))[..., None], target, told)
        return _of_eight_bits(image, target)


def _opened(data: bytes | str) -> Image.Image:
    with reading():
        return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)


def _turned(image: Image.Image) -> bool:
    """Tell whether a viewer shows height for width."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        # Pillow has turned the size of the one already, and would decode the other to look for what comes last.
        return False
    return image.getexif().get(_EXIF_ORIENTATION) in _TURNED


def _is_deep(image: Image.Image, data: bytes | str) -> bool:
    """Tell whether a picture has values of more than 8 bits.

    Raises:
        PictureError: it is of a kind that Pillow reads less of than there is.
    """
    mode = image.mode
    if mode in _GREY or mode in _COLOUR:
        bits = _bits(image, _start(data))
        fewer = f"is a {image.format} of {bits} bits in each of several channels, of which only 8 would be read"
        require(bits <= 8, f"{fewer}: convert it to TIFF, or to 8 bits")
        return False
    if mode in _SIXTEEN or mode in {"I", "F"}:
        return True
    msg = f"holds pixels of the kind {mode}: convert it to grey, RGB or RGBA"
    raise PictureError(msg)


def _bits(image: Image.Image, start: bytes) -> int:
    """Return how many bits a channel has of a picture that Pillow reads 8 of, as its first bytes say."""
    bits = 8
    match image.format:
        case "PNG":
            bits = start[24]
        case "PPM":
            # Magic number, width, height and the largest value, in text that may hold comments.
            words = re.sub(rb"#[^\n]*\n", b" ", start).split()
            bits = int(words[3]).bit_length() if words[0] in {b"P3", b"P6"} else bits
        case "SGI":
            bits = 8 * start[3]
        case "JPEG2000":
            bits = (start[start.index(b"ihdr") + 14] & 127) + 1 if b"ihdr" in start else bits
        case "AVIF":
            bits = start[start.index(b"pixi") + 9] if b"pixi" in start else bits
        case "TIFF":
            require_plain(image)
        case _:
            pass
    return bits


def _start(data: bytes | str) -> bytes:
    """Return the first bytes of a file."""
    if isinstance(data, bytes):
        return data[:_START]
    with open(data, "rb") as file:  # noqa: PTH123  # a text, as Pillow takes it
        return file.read(_START)


def _has_colours(image: Image.Image) -> bool:
    palette = image.getpalette() if image.mode in {"P", "PA"} else None
    if palette:
        return palette[::3] != palette[1::3] or palette[::3] != palette[2::3]
    return image.mode in _COLOUR


def _of_eight_bits(image: Image.Image, target: Target) -> np.ndarray:
    channels, height, width = target.shape
    if channels == 1 and not target.to_grey and _has_colours(image):
        msg = "has colours, and the others are grey: give channels=3 for colour, or channels=1 to make all grey"
        raise PictureError(msg)
    _require_size((image.height, image.width) if _turned(image) else image.size, target)
    profile = image.info.get("icc_profile")
    _draft(image, (height, width))
    image = ImageOps.exif_transpose(image)
    if image.mode == "CMYK" and profile:
        image, profile = _in_srgb(image, profile), None
    alpha = image.mode in _ALPHA or "transparency" in image.info
    if alpha or channels == 4:
        image = image.convert("RGBA")
        if channels < 4:
            image = _on_background(image, target.background)
    if channels < 4:
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.LANCZOS)
    if profile and image.mode == "RGB":
        # Small as it is by now, that takes no time.
        image = _in_srgb(image, profile)
    array = np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    if target.levels == 256 and target.white in (None, 255) and target.black == 0:
        return array.copy()
    return _levels(array.astype(np.float64) / 255, target)


def _draft(image: Image.Image, size: tuple[int, int]) -> None:
    """Let a JPEG much larger than `size` be decoded at a fraction of it."""
    if image.format not in {"JPEG", "MPO"}:
        return
    tall, wide = size[::-1] if _turned(image) else size
    least = min(image.height / tall, image.width / wide)
    if least > 2 * _DRAFT:
        image.draft(None, (math.ceil(image.width * _DRAFT / least), math.ceil(image.height * _DRAFT / least)))


def _require_size(size: tuple[int, int], target: Target) -> None:
    """Refuse a picture, (width, height), that is not of the one size that all have to be of."""
    _, height, width = target.shape
    fits = not target.own_size or size == (width, height)
    require(fits, f"is of {size[1]} x {size[0]} pixels, and the others of {height} x {width}: give size=")


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return a picture whose colours are those of a profile in sRGB, as screens and other files have them."""
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(own).lower():
            return image
        converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        # A broken profile, or one of other colours, is passed over, as viewers do.
        return image.convert("RGB")
    return image if converted is None else converted


def _on_background(image: Image.Image, colour: str | None) -> Image.Image:
    lowest, _ = cast("tuple[int, int]", image.getchannel("A").getextrema())
    if lowest == _OPAQUE:
        return image
    if colour is None:
        msg = (
            "has transparent pixels, and nothing says what is behind them: give a background, such as white, or"
            " channels=4"
        )
        raise PictureError(msg)
    behind = Image.new("RGBA", image.size, ImageColor.getcolor(colour, "RGBA"))
    return Image.alpha_composite(behind, image)


def _deep(picture: np.ndarray, target: Target, told: float | None = None) -> np.ndarray:
    """Return a picture of more than 8 bits, or of floating-point numbers, (height, width, channels)."""
    channels, height, width = target.shape
    require(not target.eight_bits, "has more than 8 bits, and the others have 8: give white=, such as 65535")
    _require_size((picture.shape[1], picture.shape[0]), target)
    values = picture.astype(np.float64)
    if not np.isfinite(values).all():
        msg = "holds NaN or infinity: repair or remove it"
        raise PictureError(msg)
    black, white = target.black, told or target.white or white_of(picture)
    if values.min() < black or values.max() > white:
        msg = f"holds values from {values.min():g} to {values.max():g}, outside the declared {black:g} to {white:g}"
        raise PictureError(msg)
    fractions = _in_channels((values - black) / (white - black), target)
    if fractions.shape[1:] != (height, width):
        planes = [Image.fromarray(plane.astype(np.float32)) for plane in fractions]
        fitted = [ImageOps.fit(plane, (width, height), method=Image.Resampling.LANCZOS) for plane in planes]
        fractions = np.stack([np.asarray(plane, dtype=np.float64) for plane in fitted])
    return _levels(np.broadcast_to(fractions, (channels, height, width)), target)


def _in_channels(fractions: np.ndarray, target: Target) -> np.ndarray:
    """Return fractions, (height, width, channels), as (channels, height, width) of the target, or of one for all."""
    channels = target.shape[0]
    if fractions.shape[2] in {2, 4} and channels < 4:
        opacity = fractions[..., -1:]
        fractions = fractions[..., :-1]
        if opacity.min() < 1:
            if target.background is None:
                msg = "has transparent pixels, and nothing says what is behind them: give a background, or channels=4"
                raise PictureError(msg)
            behind = np.array(ImageColor.getcolor(target.background, "RGB" if fractions.shape[2] == 3 else "L")) / 255
            fractions = opacity * fractions + (1 - opacity) * behind
    if channels == 1 and fractions.shape[2] > 1:
        if not target.to_grey:
            msg = "has colours, and the others are grey: give channels=3 for colour, or channels=1 to make all grey"
            raise PictureError(msg)
        # As Pillow's own conversion, by the luma of ITU-R BT.601.
        fractions = fractions @ np.array([0.299, 0.587, 0.114])[:, None]
    if channels == 4 and fractions.shape[2] in {1, 3}:
        fractions = np.concatenate(
            [np.broadcast_to(fractions, (*fractions.shape[:2], 3)), np.ones_like(fractions[..., :1])], 2
        )
    return fractions.transpose(2, 0, 1)


def white_of(picture: np.ndarray) -> float:
    """Return the value that is white in a picture which does not declare it: 65535 where 16 bits are used to the full.

    Raises:
        PictureError: they are not, or are not 16 bits.
    """
    most = picture.max()
    if picture.dtype.kind == "u" and picture.dtype.itemsize == 2 and most > 2**15:
        return 65535.0
    kind = "floating-point numbers" if picture.dtype.kind == "f" else f"{8 * picture.dtype.itemsize} bits"
    msg = (
        f"holds {kind}, values from {picture.min():g} to {most:g}, and does not say which is white: declare it, such as"
        " white=4095 for 12 bits, 65535 for 16, or 1.0"
    )
    raise PictureError(msg)


def _levels(fractions: np.ndarray, target: Target) -> np.ndarray:
    """Return fractions as they are, or rounded to levels."""
    if target.levels is None:
        return fractions.astype(np.float32)
    # Lanczos overshoots at edges.
    levels = (fractions * (target.levels - 1)).round().clip(0, target.levels - 1)
    return levels.astype(np.uint8 if target.levels <= 256 else np.uint16 if target.levels <= 2**16 else np.int32)
