"""The scalar noise schedule: alpha(t) and sigma(t), for isotropic diffusion and wherever noise is white."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor


class Schedule(ABC):
    """A scalar schedule. Times and results have one shape.

    Attributes:
        levels: number K of levels the schedule is defined on (level k is time k / K), or None where it is continuous.
    """

    levels: int | None = None

    @abstractmethod
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return log alpha(t), of t's shape; minus infinity where no signal is left."""

    @abstractmethod
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return log sigma(t), of t's shape; minus infinity where there is no noise."""
