"""One signal from a file, to draw: a picture, a sound, or an array of any of their shapes."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core import Shape

# The longer side of a picture, in pixels: it is printed at about 150. Samples of a sound: more look like a band.
_LARGEST, _LONGEST = 256, 1024
_ARRAY, _SOUND = ".npy", ".wav"


class Signal(NamedTuple):
    """What is drawn.

    Attributes:
        values: float32, (channels, ...).
        from_black_to_white: whether they are levels from 0 to 1, to be put into the range that a process expects; else
            numbers to be taken as they are.
        told: what it is, in words.
    """

    values: Tensor
    from_black_to_white: bool
    told: str


def read_image(path: Path, shape: Shape | None) -> Signal:
    """Return a picture, or an image in a .npy file.

    Args:
        path: the file.
        shape: (1 or 3, height, width) that a picture is cut and resized to; None for its own, at most 256 pixels.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no image, or not of that shape.
    """
    if path.suffix.lower() == _ARRAY:
        array = _array(path)
        image = array[None] if array.ndim == 2 else array
        if image.ndim != 3:
            msg = f"{path} has shape {array.shape}, and an image is (channels, height, width): give others by --signal"
            raise ValueError(msg)
        return _of_array(path, image, shape)
    if shape is not None and (len(shape) != 3 or shape[0] not in {1, 3}):
        msg = f"--shape {_sizes(shape)}: a picture is drawn as 1,HEIGHT,WIDTH in grey or 3,HEIGHT,WIDTH in colour"
        raise ValueError(msg)
    # Imported here: it takes Pillow.
    from ..training.data.decoding import Target, decode, header  # noqa: PLC0415

    contents = path.read_bytes()
    try:
        found = header(contents)
        scale = min(1.0, _LARGEST / max(found.size))
        height, width = (max(1, round(size * scale)) for size in found.size)
        target = shape or (3 if found.colour else 1, height, width)
        fractions = decode(contents, Target(target, to_grey=True, background="white", levels=None))
    except ValueError as error:
        msg = f"{path} {error}"
        raise ValueError(msg) from error
    values = torch.from_numpy(np.array(fractions, np.float32))
    return Signal(values, from_black_to_white=True, told=f"{path.name}, {tuple(target)}")


def read_signal(path: Path, shape: Shape | None) -> Signal:
    """Return a sound in a .wav file, or an array (channels, ...) of any number of axes in a .npy file.

    Args:
        path: the file.
        shape: (channels, length) whose middle part a sound is cut to; None for its own, at most 1024 samples.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, or not of that shape.
    """
    if path.suffix.lower() == _ARRAY:
        array = _array(path)
        return _of_array(path, array[None] if array.ndim == 1 else array, shape)
    if path.suffix.lower() != _SOUND:
        msg = f"--signal {path}: a signal is read from {_ARRAY} or {_SOUND}; a picture is given by --image"
        raise ValueError(msg)
    sound = _sound(path)
    channels, length = sound.shape
    wanted = shape or (channels, min(length, _LONGEST))
    if len(wanted) != 2 or wanted[0] != channels or wanted[1] > length:
        msg = f"--shape {_sizes(wanted)}: {path} has {channels} channels of {length} samples, write {channels},LENGTH"
        raise ValueError(msg)
    start = (length - wanted[1]) // 2
    part = f", samples {start} to {start + wanted[1] - 1} of {length}" if wanted[1] < length else ""
    cut = torch.from_numpy(sound[:, start : start + wanted[1]].copy())
    return _as_it_is(path, cut, f"{path.name}, {tuple(wanted)}{part}")


def _of_array(path: Path, array: np.ndarray, shape: Shape | None) -> Signal:
    if shape not in (None, array.shape):
        msg = f"--shape {_sizes(shape)}: {path} has shape {array.shape}, and is drawn as it is; leave --shape out"
        raise ValueError(msg)
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        msg = f"{path} holds {array.dtype}: save floating-point numbers, taken as they are, or 8-bit levels (uint8)"
        raise ValueError(msg)
    values, told = torch.from_numpy(array.astype(np.float32)), f"{path.name}, {array.shape}"
    if array.dtype == np.uint8:
        return Signal(values / 255, from_black_to_white=True, told=told)
    return _as_it_is(path, values, told)


def _as_it_is(path: Path, values: Tensor, told: str) -> Signal:
    if values.numel() == 0 or not bool(values.isfinite().all()):
        msg = f"{path} holds {'NaN or infinity' if values.numel() else 'no numbers'}: draw something else"
        raise ValueError(msg)
    if values.min() == values.max():
        msg = f"{told}, is {values.min():g} everywhere: there is nothing to see in it"
        raise ValueError(msg)
    return Signal(values, from_black_to_white=False, told=told)


def _array(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        try:
            return np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            msg = f"{path} cannot be read as {_ARRAY} ({error}): write it with numpy.save"
            raise ValueError(msg) from error


def _sound(path: Path) -> np.ndarray:
    """Return the channels of a sound of whole numbers (PCM), in [-1, 1), (channels, length)."""
    try:
        with path.open("rb") as file, wave.open(file) as sound:
            width, channels = sound.getsampwidth(), sound.getnchannels()
            contents = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError) as error:
        msg = f"{path} cannot be read ({error}): save it as .wav of 16 bits (PCM), or its numbers with numpy.save"
        raise ValueError(msg) from error
    # Little-endian, put into the highest bytes of 32 bits; one byte alone is unsigned.
    filled = np.zeros((len(contents) // width, 4), np.uint8)
    filled[:, 4 - width :] = np.frombuffer(contents, np.uint8).reshape(-1, width)
    if width == 1:
        filled[:, 3] ^= 0x80
    return (filled.view("<i4").reshape(-1, channels).T / 2.0**31).astype(np.float32)


def _sizes(shape: Shape) -> str:
    return ",".join(map(str, shape))
