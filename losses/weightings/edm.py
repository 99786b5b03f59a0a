"""Errors in units of what a preconditioned network has to put out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...degradations import Level, Prediction
from .base import Weighting, limits


@dataclass(frozen=True)
class EDMWeighting(Weighting):
    """(s^2 + d^2) / (s d)^2 on the squared x-error, s = sigma / alpha (Karras et al., 2022).

    On the epsilon-error it is 1 + 1 / (d^2 SNR), infinite without signal; on the x-error it then is 1 / d^2, so that
    heat, say, takes it with `PredictX`.

    Attributes:
        data_stddev: d, standard deviation of the data, in its units.

    Raises:
        ValueError: data_stddev is not positive and finite.
    """

    data_stddev: float = 0.5

    def __post_init__(self) -> None:
        """Refuse data that does not vary."""
        if not 0 < self.data_stddev < math.inf:
            msg = (
                "data_stddev must be positive and finite, in the data's units (the paper's is 0.5), got"
                f" {self.data_stddev}"
            )
            raise ValueError(msg)

    @override
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        return 1 + (-at.log_snr).exp() / self.data_stddev**2

    @override
    def error_scale(self, prediction: Prediction, at: Level) -> Float[Tensor, "..."]:

        def factor(at: Level) -> Tensor:
            # From the x-error: there the weight stays in range without signal, which on the epsilon-error it does not.
            log_ratio, log_stddev = at.log_snr / 2, math.log(self.data_stddev)
            root = torch.logaddexp(2 * log_ratio, torch.full_like(log_ratio, -2 * log_stddev)) / 2
            return root.exp() * prediction.error_factor(at)

        return limits(factor, at)
