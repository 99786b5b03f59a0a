"""Built-in examples to draw a process on: every frequency is in them, low ones and high ones in places of their own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..core import Shape

# Radians per pixel are about 1.4 at a ring's rim, of 3.14 that pixels can hold.
_RISE = 2.3


def pattern(shape: Shape) -> Float[Tensor, "..."]:
    """Return an example of a shape: a signal in [-1, 1], an image or a volume in [0, 1].

    Args:
        shape: (channels, length) or (length,): a sine of rising frequency, and a step; (channels, height, width) or
            (channels, depth, height, width): rings that grow finer outwards, on a ground that grows lighter, and bars.

    Raises:
        ValueError: it is of none of these kinds.
    """
    if not 1 <= len(shape) <= 4:
        msg = (
            "what can be drawn is a signal, CHANNELS,LENGTH, an image, CHANNELS,HEIGHT,WIDTH, or a volume,"
            f" CHANNELS,DEPTH,HEIGHT,WIDTH, got {len(shape)} sizes: {','.join(map(str, shape))}"
        )
        raise ValueError(msg)
    return _wave(shape) if len(shape) <= 2 else _rings(shape)


def _wave(shape: Shape) -> Tensor:
    """Return sines that rise to almost half the highest frequency, one later than the other, and a step at the end."""
    size = shape[-1]
    x = (torch.arange(size) + 0.5) / size
    channel = torch.arange(shape[0] if len(shape) > 1 else 1)[:, None]
    sines = torch.sin(2 * torch.pi * (2 * x + 0.12 * size * x**3) + channel)
    steps = torch.where((x > 0.84) & (x < 0.94), 0.8 / (1 + channel), torch.zeros(()))
    return torch.where(x < 0.78, 0.8 * sines, steps).reshape(shape)


def _rings(shape: Shape) -> Tensor:
    channels, *sizes = shape
    smallest = min(sizes[-2:])
    axes = torch.meshgrid(*((torch.arange(size) + 0.5) / size for size in sizes), indexing="ij")
    y, x = axes[-2:]
    # Round in pixels, whatever the sizes.
    places = zip(axes, (*(0.5,) * (len(axes) - 2), 0.4, 0.35), sizes, strict=True)
    radius = sum((((axis - centre) * size / smallest) ** 2 for axis, centre, size in places), torch.zeros(())).sqrt()
    rings = torch.where(radius < 0.3, 0.5 + 0.5 * torch.cos(_RISE * smallest * radius**2), 0.15 + 0.6 * x)
    bars = torch.where((y > 0.76) & (y < 0.94), (torch.sin(60 * x**2) > 0).float(), rings)
    if channels != 3:
        return bars.expand(shape).clone()
    return (bars * torch.stack([1 - 0.3 * y, 0.75 + 0.2 * x, 0.6 + 0.4 * y * x])).clamp(0, 1)
