"""The signal-to-noise ratio up to a bound, on the error of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...degradations import Level
from .base import Weighting


@dataclass(frozen=True)
class MinSNRWeighting(Weighting):
    """w = min(1, gamma / SNR), which is min(SNR, gamma) on the squared x-error (Hang et al., 2023).

    Attributes:
        gamma: the largest weight on the x-error.

    Raises:
        ValueError: gamma is not positive.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        """Refuse a bound that leaves nothing."""
        if not self.gamma > 0:
            msg = f"gamma must be positive (the paper's is 5), got {self.gamma}"
            raise ValueError(msg)

    @override
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        return (math.log(self.gamma) - at.log_snr).clamp(max=0.0).exp()
