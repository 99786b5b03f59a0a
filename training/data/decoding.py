"""From the bytes of a picture's file to an array, rightly or not at all.

What files say of themselves is followed: orientation, palettes, transparency, the first of several frames. What they do
not say, such as how many of 16 bits are used, has to be declared; then the file is read, else refused by a message.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from PIL import Image, ImageColor, ImageOps

from ...core.checks import Shape

# Read by Pillow as colour: modes that say so, and modes of one channel.
_COLOUR = frozenset({"RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "P", "PA"})
_GREY = frozenset({"1", "L", "LA", "La"})
_SIXTEEN = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
# Of a PNG's header: bits of a channel, and the kinds of pixel with several channels.
_PNG, _PNG_SEVERAL = b"\x89PNG", (2, 4, 6)
# A JPEG is decoded at an eighth, a quarter or half of its size where that is twice the one wanted or more.
_DRAFT = 2.0
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OPAQUE = 255


class PictureError(ValueError):
    """A picture that is not read; the message says why and what to do."""


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
    """

    shape: Shape
    to_grey: bool = False
    background: str | None = None
    black: float = 0.0
    white: float | None = None
    levels: int | None = 256


def header(data: bytes | str) -> Header:
    """Return what a file, its first bytes or its path, says of itself.

    Raises:
        PictureError: it is no picture, is too large, or of a kind that is not read.
    """
    if (tiff := _deep_tiff(data)) is not None:
        height, width, channels = tiff.shape
        fractions = tiff.dtype.kind == "f"
        return Header((height, width), channels > 2, channels in {2, 4}, deep=True, fractions=fractions, frames=1)
    with _opened(data) as image:
        mode, deep = image.mode, _is_deep(image, data)
        turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
        size = (image.width, image.height) if turned else (image.height, image.width)
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
    if (tiff := _deep_tiff(data)) is not None:
        return _deep(tiff, target)
    with _opened(data) as image:
        try:
            if _is_deep(image, data):
                _require("transparency" not in image.info, "has a transparent shade among more than 256: convert it")
                # Netpbm's integers say their largest value, and Pillow scales them to 16 bits by it.
                told = 65535.0 if image.format == "PPM" and image.mode == "I" else None
                return _deep(np.asarray(ImageOps.exif_transpose(image))[..., None], target, told)
            return _of_eight_bits(image, target)
        except PictureError:
            raise
        # Pillow reports a damaged PNG as a SyntaxError, and other damage in many ways.
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
            msg = f"cannot be read as a picture ({error}): remove or replace it"
            raise PictureError(msg) from error


def _opened(data: bytes | str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Large, but not too large: a photograph of 100 megapixels is one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
    except Image.DecompressionBombError as error:
        msg = f"has more pixels than are read ({error}): make it smaller, or remove it"
        raise PictureError(msg) from error
    except (OSError, SyntaxError, ValueError) as error:
        # Pillow names the stream that it read from.
        what = "no picture that Pillow knows" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        msg = f"cannot be read as a picture ({what}): remove or replace it"
        raise PictureError(msg) from error


def _is_deep(image: Image.Image, data: bytes | str) -> bool:
    """Tell whether a picture has values of more than 8 bits.

    Raises:
        PictureError: it is of a kind that Pillow reads less of than there is.
    """
    mode = image.mode
    if image.format == "PNG" and mode not in _SIXTEEN and mode != "I":
        start = data[:26] if isinstance(data, bytes) else _first_bytes(data)
        if start[:4] == _PNG and start[24] == 16 and start[25] in _PNG_SEVERAL:
            msg = (
                "is a PNG with 16 bits in each of several channels, of which only 8 would be read: convert it to TIFF,"
                " or to 8 bits"
            )
            raise PictureError(msg)
    if mode in _GREY or mode in _COLOUR:
        return False
    if mode in _SIXTEEN or mode in {"I", "F"}:
        return True
    msg = f"holds pixels of the kind {mode}: convert it to grey, RGB or RGBA"
    raise PictureError(msg)


def _first_bytes(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123  # a text, as Pillow takes it
        return file.read(26)


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
    _draft(image, (height, width))
    image = ImageOps.exif_transpose(image)
    alpha = image.mode in _ALPHA or "transparency" in image.info
    if alpha or channels == 4:
        image = image.convert("RGBA")
        if channels < 4:
            image = _on_background(image, target.background)
    if channels < 4:
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.LANCZOS)
    array = np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    if target.levels == 256 and target.white in (None, 255) and target.black == 0:
        return array.copy()
    return _levels(array.astype(np.float64) / 255, target)


def _draft(image: Image.Image, size: tuple[int, int]) -> None:
    """Let a JPEG much larger than `size` be decoded at a fraction of it."""
    tall, wide = size if image.getexif().get(_EXIF_ORIENTATION) not in _TURNED else size[::-1]
    least = min(image.height / tall, image.width / wide)
    if image.format in {"JPEG", "MPO"} and least > 2 * _DRAFT:
        image.draft(None, (math.ceil(image.width * _DRAFT / least), math.ceil(image.height * _DRAFT / least)))


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
    values = picture.astype(np.float64)
    if not np.isfinite(values).all():
        msg = "holds NaN or infinity: repair or remove it"
        raise PictureError(msg)
    black, white = target.black, target.white or told or white_of(picture)
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
            behind = np.array(ImageColor.getcolor(target.background, "RGB")) / 255
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


def _deep_tiff(data: bytes | str) -> np.ndarray | None:
    """Return the first picture of a TIFF with several channels of more than 8 bits, which Pillow does not read."""
    start = data[:4] if isinstance(data, bytes) else _first_bytes(data)[:4]
    if start not in _TIFF:
        return None
    import tifffile  # noqa: PLC0415

    try:
        with tifffile.TiffFile(io.BytesIO(data) if isinstance(data, bytes) else data) as file:
            page = file.pages.first
            bits, axes = page.bitspersample, page.axes
            if page.samplesperpixel == 1 or bits <= 8:
                return None
            orientation = page.tags.get(_EXIF_ORIENTATION)
            plain = axes in {"YXS", "SYX"} and (orientation is None or orientation.value == 1)
            _require(plain, f"is a TIFF of {bits} bits with axes {axes}, turned or in parts: convert it to a plain one")
            array = page.asarray()
    except PictureError:
        raise
    except Exception as error:
        msg = f"cannot be read as a picture ({error}): remove or replace it"
        raise PictureError(msg) from error
    return array.transpose(1, 2, 0) if axes == "SYX" else array


def _levels(fractions: np.ndarray, target: Target) -> np.ndarray:
    """Return fractions as they are, or rounded to levels."""
    if target.levels is None:
        return fractions.astype(np.float32)
    # Lanczos overshoots at edges.
    levels = (fractions * (target.levels - 1)).round().clip(0, target.levels - 1)
    return levels.astype(np.uint8 if target.levels <= 256 else np.uint16 if target.levels <= 2**16 else np.int32)


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    if not condition:
        raise PictureError(otherwise)
