"""Seeds from a generator, for samples that are to be the same whatever the batches they are drawn in."""

from __future__ import annotations

import torch

_SEEDS = 2**62


def draw_seeds(count: int, generator: torch.Generator | None) -> list[int]:
    """Return `count` seeds drawn from `generator`, torch's default one if None."""
    device = "cpu" if generator is None else generator.device
    return torch.randint(_SEEDS, (count,), generator=generator, device=device).tolist()
