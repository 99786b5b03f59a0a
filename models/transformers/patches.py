"""Signals as rows of patches, and where in the signal each patch lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ...core.checks import as_shape, check_whole

_LONGEST_PERIOD = 10_000.0


class Patches:
    """Cuts signals (batch, channels, ...) into patches, one row each, and puts such rows together again.

    Args:
        shape: (channels, ...) of signals, of one axis or more.
        patch: side of a patch along every axis, or one side for each.

    Raises:
        ValueError: `shape` has no axis beside the channels, a side is not positive, there is another number of sides
            than axes, or an axis is no multiple of its side.
    """

    def __init__(self, shape: Sequence[int], patch: int | Sequence[int]) -> None:
        self.shape = as_shape(shape)
        sizes = self.shape[1:]
        for side in (patch,) if not isinstance(patch, Sequence) else patch:
            check_whole("patch", side)
        self.sides = (patch,) * len(sizes) if isinstance(patch, int) else tuple(patch)
        if not sizes or len(self.sides) != len(sizes) or min(self.sides) < 1:
            msg = (
                f"shape must be (channels, ...) with an axis or more, and patch a positive side for each of them, got"
                f" shape={self.shape} and patch={patch}"
            )
            raise ValueError(msg)
        if any(size % side for size, side in zip(sizes, self.sides, strict=True)):
            near = [-(-size // side) * side for size, side in zip(sizes, self.sides, strict=True)]
            msg = (
                f"sizes must be multiples of the patch's sides {self.sides}, got {sizes}: pad to {tuple(near)}, or take"
                " another patch"
            )
            raise ValueError(msg)
        self.grid = tuple(size // side for size, side in zip(sizes, self.sides, strict=True))
        axes = range(len(sizes))
        whole, rows = (" ".join(f"(n{k} p{k})" for k in axes), " ".join(f"n{k}" for k in axes))
        numbers = " ".join(f"p{k}" for k in axes)
        self._apart = f"b c {whole} -> b ({rows}) (c {numbers})"
        self._together = f"b ({rows}) (c {numbers}) -> b c {whole}"
        self._lengths = {f"p{k}": side for k, side in enumerate(self.sides)}
        self._counts = {f"n{k}": count for k, count in enumerate(self.grid)}

    @property
    def places(self) -> int:
        """How many patches a signal has."""
        return math.prod(self.grid)

    def numbers(self, channels: int) -> int:
        """Return how many numbers a patch of so many channels has."""
        return channels * math.prod(self.sides)

    def apart(self, z: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch places numbers"]:
        """Return the patches of signals of any number of channels, the last axis of the grid running fastest."""
        return rearrange(z, self._apart, **self._lengths)

    def together(self, rows: Float[Tensor, "batch places numbers"]) -> Float[Tensor, "batch channels ..."]:
        """Return the signals that patches were cut from."""
        return rearrange(rows, self._together, **self._lengths, **self._counts)

    def coordinates(self) -> Float[Tensor, "places axes"]:
        """Return each patch's place along every axis, counted from 0."""
        axes = [torch.arange(count, dtype=torch.float32) for count in self.grid]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def sinusoids(coordinates: Float[Tensor, "places axes"], width: int) -> Float[Tensor, "places width"]:
    """Return sines and cosines of places, an equal share of `width` for each axis (Vaswani et al., 2017); zeros after.

    Args:
        coordinates: places along every axis.
        width: length of the result.
    """
    angles = _angles(coordinates, width // (2 * coordinates.shape[1]))
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return torch.nn.functional.pad(waves, (0, width - waves.shape[1]))


def rotations(coordinates: Float[Tensor, "places axes"], size: int) -> Float[Tensor, "two places half"]:
    """Return cosine and sine of the angles by which pairs of numbers are turned at each place (Su et al., 2021).

    Of the size / 2 pairs each axis has an equal share; what is left over is not turned.

    Args:
        coordinates: places along every axis.
        size: numbers of one attention head, even.
    """
    angles = _angles(coordinates, size // (2 * coordinates.shape[1])).flatten(1)
    angles = torch.nn.functional.pad(angles, (0, size // 2 - angles.shape[1]))
    return torch.stack([angles.cos(), angles.sin()])


def _angles(coordinates: Tensor, count: int) -> Tensor:
    """Return places times geometrically spaced frequencies, (places, axes, count)."""
    frequencies = torch.exp(-math.log(_LONGEST_PERIOD) / max(1, count) * torch.arange(count))
    return coordinates[..., None] * frequencies
