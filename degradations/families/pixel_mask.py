r"""Masks: pixels vanish one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import as_shape
from ...core.configuration import FromData
from ..bases import PixelBasis
from ..schedules import Schedule
from .sequential_masking import SequentialMasking

_DURATION = 0.25


class PixelMask(SequentialMasking):
    """Pixels fade in a given order: a hole that grows, a curtain that falls, any map of times.

    Cold diffusion's inpainting (Bansal et al., 2023, section 4) is of this kind, with a hole that grows from the
    middle; there the mask is a product of Gaussians, here each pixel fades along a cosine during its stretch of time.

    Args:
        shape: shape of one signal, such as (3, 32, 32).
        onset: the time at which each pixel starts to fade, >= 0, broadcastable to `shape`: a map (height, width), say.
            A pixel of onset 1 or later is never touched. `radial_onset(shape)` if None.
        duration: how long a pixel's fading takes, in (0, 1].
        noise: a(t) and sigma(t); `ConstantNoise(0.01)` if None.

    Raises:
        ValueError: an onset is negative, its shape does not fit, or duration lies outside (0, 1].
    """

    def __init__(
        self,
        shape: Sequence[int],
        onset: Float[Tensor, "..."] | FromData | None = None,
        *,
        duration: float = _DURATION,
        noise: Schedule | None = None,
    ) -> None:
        onset = radial_onset(shape, last=1 - duration) if onset is None else onset
        super().__init__(PixelBasis(shape), onset, duration=duration, noise=noise)


def radial_onset(shape: Sequence[int], *, last: float = 1 - _DURATION) -> Float[Tensor, "..."]:
    """Return times for a hole that grows from the middle of all axes but the first: 0 there, `last` in the corners.

    Args:
        shape: shape of one signal, such as (3, 32, 32).
        last: the time at which the corners start to fade.

    Returns:
        Times, of the shape of all axes but the first, proportional to the distance from the middle.
    """
    shape = as_shape(shape)
    sizes = shape[1:] or shape
    distance = torch.zeros((), dtype=torch.float64)
    for size in sizes:
        offset = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1
        distance = distance[..., None] + offset.square()
    distance = distance.sqrt()
    return last * distance / distance.max().clamp(min=torch.finfo(torch.float64).tiny)
