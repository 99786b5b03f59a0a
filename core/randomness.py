"""Random numbers from an explicit generator, wherever that generator lives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_SEEDS = 2**62


def white_noise(
    shape: Sequence[int], *, like: Tensor, dtype: torch.dtype | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Draw independent standard normal numbers.

    Args:
        shape: shape of the result.
        like: tensor whose device (and dtype, unless given) the result has.
        dtype: dtype of the result.
        generator: source of randomness; torch's default one for `like`'s device if None. A generator of
            another device is used where it lives and its numbers are moved, so one CPU seed gives the
            same picture on every machine.
    """
    noise = torch.randn(tuple(shape), dtype=dtype or like.dtype, **_source(generator, like.device))
    return noise.to(like.device)


def uniform_noise(
    shape: Sequence[int],
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw independent numbers uniform in [0, 1) onto `device`; the generator is as in `white_noise`."""
    return torch.rand(tuple(shape), dtype=dtype, **_source(generator, device)).to(device)


def random_integers(
    low: int, high: int, shape: Sequence[int], *, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """Draw independent integers uniform in [low, high) onto `device`; the generator is as in `white_noise`."""
    return torch.randint(low, high, tuple(shape), **_source(generator, device)).to(device)


def draw_seeds(count: int, generator: torch.Generator | None) -> list[int]:
    """Return `count` seeds drawn from `generator`, torch's default one if None."""
    return random_integers(0, _SEEDS, (count,), device=torch.device("cpu"), generator=generator).tolist()


def _source(generator: torch.Generator | None, device: torch.device) -> dict[str, Any]:
    """Return where torch's functions are to draw numbers, and from what."""
    # generator=None is torch's own default, but handed on it breaks graphs compiled for any batch size (torch 2.13).
    return {"device": device} if generator is None else {"device": generator.device, "generator": generator}
