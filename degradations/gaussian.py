r"""Gaussians whose covariance is diagonal in an orthonormal basis.

    N(z | V m, V diag(s^2) V^T)

V being orthonormal, densities, entropies and divergences are sums over coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_signal, values_are_readable
from ..core.randomness import white_noise
from .bases import Basis


class SpectralGaussian:
    """A batch of Gaussians, diagonal in a basis, with the verbs of `torch.distributions`.

    Args:
        basis: the orthonormal basis V, on signals of shape `shape`.
        spectral_mean: coefficients m of the mean, (batch, *shape).
        spectral_stddev: standard deviations s >= 0 per coefficient, broadcastable to (batch, *shape), in the data's
            units. Zero is allowed (a deterministic coefficient), but such a distribution has no density.
    """

    def __init__(
        self, basis: Basis, spectral_mean: Float[Tensor, "batch ..."], spectral_stddev: Float[Tensor, "..."]
    ) -> None:
        check_signal("spectral_mean", spectral_mean, basis.shape)
        self.basis = basis
        self.spectral_mean = spectral_mean
        self.spectral_stddev = spectral_stddev.to(spectral_mean.dtype)

    @property
    def batch_shape(self) -> torch.Size:
        """The batch's size, (batch,), named as in torch.distributions."""
        return self.spectral_mean.shape[:1]

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one signal."""
        return self.spectral_mean.shape[1:]

    @property
    def mean(self) -> Float[Tensor, "batch ..."]:
        """The mean V m in the data's own axes, (batch, *shape)."""
        return self.basis.inverse(self.spectral_mean)

    def rsample(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "..."]:
        """Draw samples through which gradients flow to the mean and standard deviation.

        Args:
            sample_shape: leading shape of independent draws, as in `torch.distributions`.
            generator: source of randomness; torch's default if None.

        Returns:
            Samples, (*sample_shape, batch, *shape).
        """
        shape = (*sample_shape, *self.spectral_mean.shape)
        spectrum = self.spectral_mean + self.spectral_stddev * white_noise(
            shape, like=self.spectral_mean, generator=generator
        )
        return self.basis.inverse(spectrum.reshape(-1, *self.event_shape)).reshape(shape)

    def sample(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "..."]:
        """Draw samples, without gradients; the arguments are those of `rsample`."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """Return the log-density at `z` in nats, (batch,).

        Args:
            z: signals, (batch, *shape).

        Raises:
            ValueError: a standard deviation is zero (where values are readable; elsewhere the result
                is infinite or NaN).
        """
        self._require_density("log_prob")
        residual = (self.basis.forward(z) - self.spectral_mean) / self.spectral_stddev
        return -residual.square().flatten(1).sum(1) / 2 - self._log_volume()

    def score(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return the gradient of `log_prob`, -V diag(1 / s^2) (V^T z - m), (batch, *shape); raises what that does."""
        self._require_density("score")
        residual = (self.basis.forward(z) - self.spectral_mean) / self.spectral_stddev
        return self.basis.inverse(-residual / self.spectral_stddev)

    def entropy(self) -> Float[Tensor, " batch"]:
        """Return the differential entropy in nats, (batch,); raises what `log_prob` raises."""
        self._require_density("entropy")
        return self._log_volume() + self.event_shape.numel() / 2

    def kl_divergence(self, other: SpectralGaussian) -> Float[Tensor, " batch"]:
        """Return KL(self || other) in nats, (batch,).

        Args:
            other: a Gaussian in the same basis.

        Raises:
            ValueError: the bases differ, or a standard deviation is zero.
        """
        if not self.basis.agrees_with(other.basis):
            msg = (
                f"kl_divergence needs two Gaussians in one basis, got {type(self.basis).__name__} of shape"
                f" {self.basis.shape} and {type(other.basis).__name__} of shape {other.basis.shape}"
            )
            raise ValueError(msg)
        self._require_density("kl_divergence")
        other._require_density("kl_divergence")
        # With r = log(s/s'): (s/s')^2 - 1 - 2r = expm1(2r) - 2r, without cancellation when s is close to s'.
        log_ratio = self.spectral_stddev.log() - other.spectral_stddev.log()
        spread = torch.expm1(2 * log_ratio) - 2 * log_ratio
        shift = ((self.spectral_mean - other.spectral_mean) / other.spectral_stddev).square()
        return (shift + spread).flatten(1).sum(1) / 2

    def _log_volume(self) -> Float[Tensor, " batch"]:
        """Return sum log(s) + n/2 log(2 pi), (batch,)."""
        log_std = self.spectral_stddev.log().expand_as(self.spectral_mean)
        return log_std.flatten(1).sum(1) + self.event_shape.numel() / 2 * math.log(2 * math.pi)

    def _require_density(self, verb: str) -> None:
        if values_are_readable(self.spectral_stddev) and not bool((self.spectral_stddev > 0).all()):
            msg = (
                f"{verb} needs a density, but the smallest standard deviation here is "
                f"{abs(self.spectral_stddev.min().item()):g}: a Deterministic coupling, or a level without noise, has "
                "none; use a stochastic coupling (Markov, Independent, Eta > 0) or a level with sigma > 0"
            )
            raise ValueError(msg)

    def __repr__(self) -> str:
        return (
            f"SpectralGaussian(basis: {type(self.basis).__name__}, spectral_mean: {tuple(self.spectral_mean.shape)}, "
            f"spectral_stddev: {tuple(self.spectral_stddev.shape)})"
        )
