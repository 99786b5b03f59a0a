r"""The exact denoiser of a Gaussian mixture whose components are diagonal in the process's basis.

With weights pi_j, means m_j, variances v_j, u_t is a mixture of N(alpha m_j, alpha^2 v_j + sigma^2), and E[u | u_t] is
the mean of the components' Wiener filters, weighted by what u_t says of each component.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_not_negative, values_are_readable
from ...core.randomness import uniform_noise, white_noise
from ...degradations import Level, LinearGaussianProcess
from .base import Oracle, blocks


class MixtureOracle(Oracle):
    """Exact denoiser for u ~ sum_j weights_j N(means_j, diag(variances_j)) in the process's basis.

    Args:
        process: the forward process.
        weights: of the components, positive, (components,); they are divided by their sum.
        means: of the components, (components, *shape).
        variances: of the components, >= 0, broadcastable to (components, *shape).

    Raises:
        ValueError: a weight is not positive, a variance negative, or a shape does not fit.
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor

    def __init__(
        self,
        process: LinearGaussianProcess,
        weights: Float[Tensor, " components"],
        means: Float[Tensor, "components ..."],
        variances: Float[Tensor, "..."],
    ) -> None:
        super().__init__(process)
        if means.shape != (len(weights), *process.shape):
            msg = f"means must have shape {(len(weights), *process.shape)}, got {tuple(means.shape)}"
            raise ValueError(msg)
        if not bool((weights > 0).all()):
            msg = f"weights must be positive, got {weights.tolist()}: leave components of no weight out"
            raise ValueError(msg)
        check_not_negative("variances", variances)
        wide = [process.to_schedule_dtype(value.detach()) for value in (weights, means, variances)]
        self.register_buffer("log_weights", (wide[0] / wide[0].sum()).log(), persistent=False)
        self.register_buffer("means", wide[1].clone(), persistent=False)
        self.register_buffer("variances", wide[2].expand(means.shape).clone(), persistent=False)

    @override
    def spectral_mean(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, "batch ..."]:
        return self._mean(u_t, at, torch.softmax(self._joint(u_t, at), dim=1))

    @override
    def spectral_variance(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, "batch ..."]:
        # The components' mean variance, and the variance of their means around `mean`.
        shares = torch.softmax(self._joint(u_t, at), dim=1)
        mean = self._mean(u_t, at, shares)
        variance = torch.zeros_like(u_t)
        for block in self._blocks(u_t):
            component, log_variance = self._component_mean(u_t, at, block)
            within = (self.variances[block].log() + 2 * at.log_sigma[:, None] - log_variance).exp()
            spread = within + (component - mean[:, None]).square()
            variance += torch.einsum("bj,bj...->b...", shares[:, block], spread)
        return variance

    @override
    def spectral_log_prob(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, " batch"]:
        # `_joint` refuses a coefficient with neither variance nor noise.
        return torch.logsumexp(self._joint(u_t, at), dim=1)

    @override
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        ends, device = self.log_weights.exp().cumsum(0), self.means.device
        place = uniform_noise((count,), device=device, dtype=ends.dtype, generator=generator)
        # The sum of all weights is 1 but for rounding.
        chosen = torch.searchsorted(ends[:-1], place, right=True)
        noise = white_noise((count, *self.process.shape), like=self.means, generator=generator)
        return self.process.basis.inverse(self.means[chosen] + self.variances[chosen].sqrt() * noise)

    def _blocks(self, u_t: Tensor) -> list[slice]:
        return blocks(len(self.means), u_t.numel())

    def _mean(self, u_t: Tensor, at: Level, shares: Tensor) -> Tensor:
        """Return the components' Wiener filters averaged with their `shares`, (batch, components)."""
        mean = torch.zeros_like(u_t)
        for block in self._blocks(u_t):
            mean += torch.einsum("bj,bj...->b...", shares[:, block], self._component_mean(u_t, at, block)[0])
        return mean

    def _component_mean(self, u_t: Tensor, at: Level, block: slice) -> tuple[Tensor, Tensor]:
        """Return E[u | u_t, j], (batch, block, *shape), and log(alpha^2 v_j + sigma^2)."""
        residual, log_variance = self._residual(u_t, at, block)
        gain = (at.log_alpha[:, None] + self.variances[block].log() - log_variance).exp()
        return self.means[block] + gain * residual, log_variance

    def _residual(self, u_t: Tensor, at: Level, block: slice) -> tuple[Tensor, Tensor]:
        """Return u_t - alpha m_j and log(alpha^2 v_j + sigma^2), (batch or 1, block, *shape)."""
        log_alpha, log_sigma = at.log_alpha[:, None], at.log_sigma[:, None]
        log_variance = torch.logaddexp(2 * log_alpha + self.variances[block].log(), 2 * log_sigma)
        if values_are_readable(log_variance) and bool((log_variance == -torch.inf).any()):
            msg = (
                f"a component has neither variance nor noise of {self.process.called} in a coefficient at this"
                " time, where it has no density: ask at a time with sigma > 0, or give every component a variance"
            )
            raise ValueError(msg)
        return u_t[:, None] - log_alpha.exp() * self.means[block], log_variance

    def _joint(self, u_t: Tensor, at: Level) -> Tensor:
        """Return log pi_j + log p(u_t | j), (batch, components)."""
        parts: list[Tensor] = []
        for block in self._blocks(u_t):
            residual, log_variance = self._residual(u_t, at, block)
            square = residual.square() * (-log_variance).exp()
            parts.append(-(square + log_variance + math.log(2 * math.pi)).flatten(2).sum(2) / 2)
        return torch.cat(parts, dim=1) + self.log_weights
