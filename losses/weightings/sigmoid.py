"""The bound's weights, faded out where the signal is clear."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...degradations import Level
from .base import Weighting
from .variational_bound import BoundWeighting


@dataclass(frozen=True)
class SigmoidWeighting(Weighting):
    """w = 1/2 (-dl/dt) sigmoid(bias - l): the bound's weight below a log-SNR of `bias`, fading above it.

    Where all coefficients share one log-SNR it is a bound on noisy data, being the bound's term times a ratio that
    falls with the log-SNR (Kingma & Gao, 2023); with one log-SNR for each coefficient it is a weighting like any other.
    Hoogeboom et al. (2024, SiD2) train images with it. On the x-error the ratio is e^bias sigmoid(l - bias).

    Attributes:
        bias: log-SNR at which the ratio to the bound is 1/2, in nats.

    Raises:
        ValueError: bias is not finite.
    """

    bias: float

    def __post_init__(self) -> None:
        """Refuse a ratio that is 0 or 1 throughout."""
        if not math.isfinite(self.bias):
            msg = f"bias must be a finite log-SNR, got {self.bias}: without fading it is BoundWeighting()"
            raise ValueError(msg)

    @override
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        return BoundWeighting().weight(at) * (self.bias - at.log_snr).sigmoid()
