"""What all parts are told: the device, how much to do on it, and until when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from unmelt.core import later
from unmelt.models import UNet
from unmelt.training import RunConfig


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        seconds: for everything.
        processes: names of those whose numbers are compared; None compares all.
        compared_steps: sampler steps of predictions and couplings that are compared; 0 leaves these out.
        channels: width of the network; None for the recipe's own network.
        batches: images of a training step, small and large.
        window: seconds that a timed call is repeated for.
        samples: images drawn at a time.
        calls: sampler steps that are timed, of the recipe's 200.
        transforms: shapes of the batches that are transformed.
        training: seconds of real training.
    """

    seconds: float
    processes: tuple[str, ...] | None
    compared_steps: int
    channels: int | None
    batches: tuple[int, int]
    window: float
    samples: int
    calls: int
    transforms: tuple[tuple[int, ...], ...]
    training: float


ON_CUDA = Size(480, None, 5, None, (128, 512), 3.0, 256, 20, ((512, 3, 32, 32), (64, 3, 256, 256)), 120)
# Of the CPU's numbers it is known that they are the CPU's; a few show that they can be compared.
_SOME = ("heat", "blurring", "heat bridge")
# As small as it gets: what takes long on a CPU is compiling, kernel by kernel.
ON_CPU = Size(120, _SOME, 0, 32, (8, 16), 1.0, 8, 5, ((64, 3, 32, 32), (4, 3, 256, 256)), 15)
# Never left out: what is short here is what is done.
SMOKE = Size(300, _SOME, 0, 8, (2, 4), 0.02, 2, 2, ((4, 3, 32, 32),), 1)


@dataclass
class Bench:
    """What a part works with.

    Attributes:
        device: where.
        size: how much.
        recipe: the CIFAR-10 recipe.
        compile: whether torch.compile is tried.
        picture: where a picture of samples is written.
        deadline: clock, `time.perf_counter()`, at which the part should be done.
        failures: what was checked and does not hold.
    """

    device: torch.device
    size: Size
    recipe: RunConfig
    compile: bool
    picture: Path | None
    deadline: float = 0.0
    failures: list[str] = field(default_factory=list[str])

    @property
    def left(self) -> float:
        """Seconds until the part should be done."""
        return self.deadline - time.perf_counter()

    def fail_if(self, wrong: Sequence[str], what: str) -> None:
        """Note that something does not hold."""
        if wrong:
            self.failures.append(f"{what}: {'; '.join(wrong[:5])}{' ...' if len(wrong) > 5 else ''}")

    def config(self, batch: int) -> RunConfig:
        """Return the recipe for steps of so many images, with a network that the device can train."""
        training = replace(self.recipe.training, batch_size=batch)
        network = self.recipe.network
        if self.size.channels is not None:
            network = later(UNet, channels=self.size.channels, multipliers=(1,), blocks=1, attention_levels=())
        return replace(self.recipe, network=network, training=training)
