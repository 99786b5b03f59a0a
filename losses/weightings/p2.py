"""Less weight on times at which hardly anything is left to restore."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...degradations import Level
from .base import Weighting


@dataclass(frozen=True)
class P2Weighting(Weighting):
    """w = (k + SNR)^-gamma, perception prioritised weighting (Choi et al., 2022).

    Attributes:
        gamma: how strongly clear signals are discounted; 0 is the simple loss of epsilon.
        k: what the weight of pure noise is made of, k^-gamma.

    Raises:
        ValueError: gamma is negative or infinite, or k is not positive and finite.
    """

    gamma: float = 1.0
    k: float = 1.0

    def __post_init__(self) -> None:
        """Refuse weights that grow with the signal-to-noise ratio, or are infinite without signal."""
        if not 0 <= self.gamma < math.inf:
            msg = f"gamma must be finite and at least 0 (the paper's are 0.5 and 1), got {self.gamma}"
            raise ValueError(msg)
        if not 0 < self.k < math.inf:
            msg = f"k must be positive and finite (the paper's is 1), got {self.k}"
            raise ValueError(msg)

    @override
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        log_snr = at.log_snr
        return (-self.gamma * torch.logaddexp(log_snr, torch.full_like(log_snr, math.log(self.k)))).exp()
