"""The recipe without chance: fixed times, noise that is told by the images, no dropout; one process or two.

    python fixed_noise.py NAME STEPS BATCH [--resume]

Writes the numbers of the examples of each batch, process by process, to NAME_RANK.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from recipe import RECIPE
from torch import Tensor
from typing_extensions import override

from unmelt.core import later
from unmelt.losses import UniformTimes, denoising
from unmelt.models import UNet
from unmelt.training import Trainer


@dataclass(frozen=True)
class Half(UniformTimes):
    """t = 1/2 for every example."""

    @override
    def sample(self, batch: int, *, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
        return torch.full((batch,), 0.5, device=device, dtype=torch.float64)


def told_noise(
    shape: Sequence[int], *, like: Tensor, dtype: torch.dtype | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Return noise that an image itself determines, whichever process it is in."""
    del shape, dtype, generator
    return torch.sin(1000 * like)


def main(name: str, steps: int, batch: int, *, resume: bool) -> None:
    """Train, and write down which examples were seen."""
    setattr(denoising, "white_noise", told_noise)  # noqa: B010  # no public name of that module
    config = replace(
        RECIPE,
        name=name,
        times=Half(),
        network=later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(), dropout=0.0),
        training=replace(RECIPE.training, steps=steps, batch_size=batch, flip=False),
    )
    trainer = Trainer(config, config.data.load(), resume=resume)
    seen: list[Any] = []

    def note(*_: object) -> None:
        seen.append(trainer.passes.indices())

    trainer.loss.register_forward_pre_hook(note)
    trainer.train()
    Path(f"{name}_{trainer.processes.rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), resume="--resume" in sys.argv)
