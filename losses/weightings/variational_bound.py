"""The variational bound's own weights in continuous time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...degradations import Level
from .base import Weighting


@dataclass(frozen=True)
class BoundWeighting(Weighting):
    """w = 1/2 (-dl/dt): with t uniform in [0, 1], the diffusion term of the bound in nats (Kingma et al., 2021).

    It holds for the Markov coupling, with `SumOverDimensions`; per coefficient as 1/2 (-dSNR/dt) (u - u_hat)^2. A
    coefficient whose log-SNR rests, such as the constant of the heat equation, counts nothing.
    """

    @override
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        """Infinite where the log-SNR falls infinitely fast, NaN where it rises."""
        rate = at.process.log_snr_rate(at.t)
        # A rate that is positive only by rounding, as in `check_falling`, is one of a log-SNR that rests.
        rests = (rate > 0) & (rate <= 1e4 * torch.finfo(rate.dtype).eps)
        return torch.where(rate > 0, torch.where(rests, 0.0, torch.nan), 0.0 - rate / 2)
