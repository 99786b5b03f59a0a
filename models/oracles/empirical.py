r"""The exact denoiser of a finite data set: what a network that has memorised its training images would say.

For x uniform on x_1 .. x_N, p(z_t) is a mixture of N Gaussians of one width, and

    E[x | z_t] = sum_i w_i x_i,    w_i = softmax_i( -sum_k (u_{t,k} - alpha_k u_{i,k})^2 / (2 sigma_k^2) ).

Squares are expanded around the data's mean, so that all N distances are two matrix products.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_not_empty, check_signal
from ...core.randomness import random_integers
from ...degradations import Level, LinearGaussianProcess
from .base import Oracle, blocks


class EmpiricalOracle(Oracle):
    """Exact denoiser for data that is uniform on the rows of `data`.

    Args:
        process: the forward process.
        data: the data set, (count, *shape), floating-point; kept in float64 where the device has it.

    Raises:
        TypeError: `data` is not floating-point.
        ValueError: `data` has another shape or is empty.
    """

    mean: Tensor
    residuals: Tensor

    def __init__(self, process: LinearGaussianProcess, data: Float[Tensor, "count ..."]) -> None:
        super().__init__(process)
        check_signal("data", data, process.shape)
        check_not_empty("data", data, "an empirical distribution")
        u = process.basis.forward(process.to_schedule_dtype(data.detach()))
        self.register_buffer("mean", u.mean(0), persistent=False)
        self.register_buffer("residuals", (u - u.mean(0)).flatten(1), persistent=False)

    @override
    def spectral_mean(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, "batch ..."]:
        shares = torch.softmax(self._joint(u_t, at), dim=1)
        return self.mean + (shares @ self.residuals).reshape(u_t.shape)

    @override
    def spectral_variance(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, "batch ..."]:
        shares = torch.softmax(self._joint(u_t, at), dim=1)
        mean = (shares @ self.residuals)[:, None]
        variance = torch.zeros_like(u_t.flatten(1))
        # Centred before they are squared: where one example is all but certain, a difference of squares would be noise.
        for block in blocks(len(self.residuals), u_t.numel()):
            spread = (self.residuals[block] - mean).square()
            variance += torch.einsum("bi,bik->bk", shares[:, block], spread)
        return variance.reshape(u_t.shape)

    @override
    def spectral_log_prob(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, " batch"]:
        # `_joint` refuses a coefficient without noise.
        volume = (at.log_sigma + math.log(2 * math.pi) / 2).expand_as(u_t).flatten(1).sum(1)
        return torch.logsumexp(self._joint(u_t, at), dim=1) - volume - math.log(len(self.residuals))

    @override
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        chosen = random_integers(0, len(self.residuals), (count,), device=self.mean.device, generator=generator)
        u = self.mean + self.residuals[chosen].reshape(count, *self.process.shape)
        return self.process.basis.inverse(u)

    def _joint(self, u_t: Tensor, at: Level) -> Tensor:
        """Return -sum_k (u_t - alpha u_i)^2 / (2 sigma^2), (batch, count)."""
        self._require_noise(at, "a finite data set has no density")
        alpha, precision = at.log_alpha.exp(), (-2 * at.log_sigma).exp()
        residual = u_t - alpha * self.mean
        constant = (residual.square() * precision).flatten(1).sum(1, keepdim=True)
        cross = (residual * alpha * precision).flatten(1) @ self.residuals.mT
        square = (alpha.square() * precision).expand_as(u_t).flatten(1) @ self.residuals.square().mT
        return cross - (constant + square) / 2
