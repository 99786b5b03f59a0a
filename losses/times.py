"""How training times are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations.tables import schedule_dtype


class TimeSampling(ABC):
    """A law for the times at which a denoiser is trained."""

    @abstractmethod
    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """Draw independent times.

        Args:
            batch: how many.
            device: where the result lives; a generator of another device is used where it lives.
            generator: source of randomness; torch's default if None.

        Returns:
            Times in [0, 1], (batch,), in the precision that schedules are computed in: a level is met exactly.
        """


@dataclass(frozen=True)
class UniformTimes(TimeSampling):
    """t uniform in (0, 1], for processes in continuous time."""

    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """See `TimeSampling.sample`."""
        source = generator.device if generator is not None else device
        # torch.rand draws from [0, 1): turned around it never gives t = 0, where there is nothing to learn.
        return (1 - torch.rand(batch, generator=generator, device=source)).to(device, schedule_dtype(device))


@dataclass(frozen=True)
class LevelTimes(TimeSampling):
    """t = k / K with k uniform over *all* of 1..K, the last one included: sampling starts from it.

    Attributes:
        levels: number K of levels.

    Raises:
        ValueError: levels < 1.
    """

    levels: int

    def __post_init__(self) -> None:
        """Refuse a grid without levels."""
        if self.levels < 1:
            msg = f"levels must be at least 1, got {self.levels}"
            raise ValueError(msg)

    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """See `TimeSampling.sample`."""
        source = generator.device if generator is not None else device
        levels = torch.randint(1, self.levels + 1, (batch,), generator=generator, device=source)
        return levels.to(device, schedule_dtype(device)) / self.levels
