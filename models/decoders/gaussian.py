r"""A Gaussian density around the denoiser's estimate, diagonal in the process's basis.

    p(x | z_t) = N(x | x_hat, V diag(s^2) V^T),
    -log p     = sum ( (u - u_hat)^2 / (2 s^2) + log s ) + n/2 log(2 pi).

It is a density of continuous data. Of integer data it bounds the probability, once that is dequantised: see
`unmelt.models.grey_levels`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.precision import to_compute_dtype
from ...degradations import LinearGaussianProcess
from ...degradations.process import Time
from ..grey_levels import GreyLevels
from .base import Decoder


class GaussianDecoder(Decoder):
    """N(x | x_hat, V diag(stddev^2) V^T), as in inverse heat dissipation (Rissanen et al., 2023, section 2).

    With grey levels, `prepare` dequantises the data and -n log width is part of the negative log-likelihood, whose
    mean over the dequantising noise bounds -log P of the integers. Without, it is that of a density.

    Args:
        process: the forward process.
        stddev: standard deviation in the data's units: a number, or one per coefficient of the process's basis,
            broadcastable to one signal's shape. None takes sigma_t / alpha_t, what the first latent's own noise leaves
            open. It is kept in float64 where the device has it, and saved: a fitted table is loaded into a decoder
            made with a table of its shape.
        grey_levels: levels of the data where it is quantised; None for continuous data.

    Raises:
        TypeError: an argument is something else.
        ValueError: stddev is not positive and finite, or not broadcastable to one signal's shape.
    """

    def __init__(
        self,
        process: LinearGaussianProcess,
        stddev: float | Float[Tensor, "..."] | None = None,
        *,
        grey_levels: GreyLevels | None = None,
    ) -> None:
        super().__init__(process, grey_levels)
        self._register_stddev(stddev)

    @override
    def negative_log_likelihood(
        self, x: Float[Tensor, "batch ..."], x_hat: Float[Tensor, "batch ..."], t: Time
    ) -> Float[Tensor, " batch"]:
        # Without a stddev there is no density where alpha_t = 0 or sigma_t = 0.
        self._check_pair(x, x_hat)
        times = self.process.as_times(t, batch=len(x))
        log_stddev = self._require_width(self._log_open(times), times) if self.stddev is None else self.stddev.log()
        error = self.process.basis.forward(to_compute_dtype(x) - to_compute_dtype(x_hat))
        error = error.to(log_stddev.dtype)
        # 1 / s from the log of s: where almost no signal is left s overflows, and the term is 0.
        terms = (error * (-log_stddev).exp()).square() / 2 + log_stddev
        constant = math.log(2 * math.pi) / 2 - (math.log(self.grey_levels.width) if self.grey_levels else 0.0)
        return terms.flatten(1).sum(1) + constant * math.prod(self.process.shape)

    @override
    def fitted(self, x: Float[Tensor, "batch ..."], x_hat: Float[Tensor, "batch ..."]) -> Decoder:
        """Return this decoder with the root mean square error of each coefficient."""
        self._check_pair(x, x_hat)
        error = self.process.basis.forward(self.process.to_schedule_dtype(x) - self.process.to_schedule_dtype(x_hat))
        return self.with_stddev(error.square().mean(0).sqrt())

    @override
    def from_levels(self, x: Tensor, grey_levels: GreyLevels, generator: torch.Generator | None) -> Tensor:
        return grey_levels.dequantise(x, generator=generator)
