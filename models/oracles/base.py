r"""What every exact denoiser offers: E[x | z_t], its derivative, and the density of z_t.

Differentiating Tweedie's formula once more ties the posterior mean's derivative to the posterior variance: per
coefficient, with the others held,

    d E[u_k | u_t] / d u_{t,k} = alpha_k / sigma_k^2 Var(u_k | u_t).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_signal, values_are_readable
from ...core.precision import to_compute_dtype
from ...degradations import Level
from ...degradations.process import Time
from ..conditions import Condition
from ..denoiser import AbstractDenoiser, known_end

# Components or rows of data are taken a few at a time, so that no tensor holds more numbers than this
# (128 MB in float64).
_LARGEST = 2**24


class Oracle(AbstractDenoiser, ABC):
    """The posterior mean E[x | z_t] of data whose distribution is known, hence the best denoiser there is.

    A subclass writes mean, variance and density per coefficient, in the spectrum.

    Of a process with a known end y the latents are centred first, z_t - beta_t y, and the distribution of the data is
    that given y, whatever y is.

    Args:
        process: the forward process.
    """

    @abstractmethod
    def spectral_mean(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, "batch ..."]:
        """Return E[u | u_t], (batch, *shape), for spectra of latents and the process's coefficients at their times."""

    @abstractmethod
    def spectral_variance(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, "batch ..."]:
        """Return Var(u_k | u_t) of every coefficient, in squared data units, (batch, *shape); see `spectral_mean`."""

    @abstractmethod
    def spectral_log_prob(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, " batch"]:
        """Return the log-density of u_t in nats, (batch,)."""

    @abstractmethod
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """Draw `count` independent examples of the data, (count, *shape), float64 where the device has it."""

    @override
    def forward(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return E[x | z_t], (batch, *shape), in z_t's dtype (float32 for half precision).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
            condition: ignored: the data's distribution is one.
            given: the known end of a process that has one, (batch, *shape).

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, or a time outside [0, 1].
        """
        u_t, at = self._spectrum(z_t, t, given)
        return self.process.basis.inverse(self.spectral_mean(u_t, at).to(to_compute_dtype(z_t).dtype))

    def jacobian_diagonal(
        self, z_t: Float[Tensor, "batch ..."], t: Time, condition: Condition | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Return d E[u_k | u_t] / d u_{t,k}, (batch, *shape), float64 where the device has it.

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
            condition: ignored: the data's distribution is one.

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, a time outside [0, 1], or a coefficient has no noise, where the formula is
                infinity times 0 (where values are readable; elsewhere the result is NaN).
        """
        u_t, at = self._spectrum(z_t, t)
        self._require_noise(at, "the derivative of the posterior mean does not follow from its variance")
        return (at.log_alpha - 2 * at.log_sigma).exp() * self.spectral_variance(u_t, at)

    def log_prob(
        self, z_t: Float[Tensor, "batch ..."], t: Time, given: Condition | None = None
    ) -> Float[Tensor, " batch"]:
        """Return the exact log-density of the marginal p(z_t) at latents, in nats, (batch,).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
            given: the known end of a process that has one, (batch, *shape).

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, a time outside [0, 1], or z_t has no density (where values are readable).
        """
        return self.spectral_log_prob(*self._spectrum(z_t, t, given))

    def _require_noise(self, at: Level, otherwise: str) -> None:
        if values_are_readable(at.log_sigma) and bool((at.log_sigma == -torch.inf).any()):
            msg = (
                f"{self.process.called} has no noise in some coefficient at this time, where {otherwise}: ask"
                " at a time with sigma > 0, or of a process with noise"
            )
            raise ValueError(msg)

    def _spectrum(self, z_t: Tensor, t: Time, given: Condition | None = None) -> tuple[Tensor, Level]:
        """Return the latents' spectrum in the schedule dtype, centred, and the coefficients at their times."""
        check_signal("z_t", z_t, self.process.shape)
        at = self.process.at(t, batch=len(z_t))
        wide, basis = self.process.to_schedule_dtype, self.process.basis
        # What is given without a known end is for denoisers around this one.
        end = known_end(self.process, given, len(z_t)) if self.process.known_end else None
        spectrum = basis.forward(wide(z_t))
        return (spectrum if end is None else spectrum - at.beta * basis.forward(wide(end))), at


def blocks(count: int, numbers: int) -> list[slice]:
    """Return slices over `count` rows of `numbers` numbers each, as many rows at a time as a bounded tensor holds."""
    size = max(1, _LARGEST // max(1, numbers))
    return [slice(start, start + size) for start in range(0, count, size)]
