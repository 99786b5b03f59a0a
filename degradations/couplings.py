"""Couplings: how the noises of two levels of one process hang together.

The marginals q(z_t | x) leave open how z_s and z_t share noise. Write rho for the correlation of their
noises, per coefficient, with s < t, and l for the log-SNR. Then

    q(z_s | z_t, x) = N( alpha_s u + c (u_t - alpha_t u),  sigma_s^2 (1 - rho^2) ),   c = rho sigma_s / sigma_t,

and integrating z_t out leaves the marginal of z_s whatever rho is. A coupling is a choice of rho. It is
given as log rho in terms of the change l_t - l_s <= 0 of the log-SNR, which keeps every derived quantity a
single `expm1`, without cancellation:

    1 - rho^2          = -expm1(2 log rho)
    1 - c alpha_{t|s}  = -expm1(log rho + (l_t - l_s) / 2)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


class Coupling(ABC):
    """The correlation of the noises of two levels, per coefficient."""

    @abstractmethod
    def log_correlation(self, change: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return log rho <= 0.

        Args:
            change: l_t - l_s <= 0, the change of the log-SNR from level s to the later level t; any shape,
                and minus infinity where level t keeps no signal or level s has no noise.

        Returns:
            log rho, broadcastable to `change`; minus infinity for independent noises.
        """


@dataclass(frozen=True)
class Markov(Coupling):
    """rho = exp((l_t - l_s) / 2): the chain x -> z_s -> z_t is Markov.

    The posterior of Ho et al. (2020, eq. 6-7) for isotropic noise, and of Hoogeboom & Salimans (2023,
    section 4) per frequency.
    """

    def log_correlation(self, change: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Coupling.log_correlation`."""
        return change / 2


@dataclass(frozen=True)
class Deterministic(Coupling):
    """rho = 1: both levels carry the same noise.

    DDIM with eta = 0 (Song, Meng & Ermon, 2021, eq. 12); where sigma is constant it is the improved sampler
    of cold diffusion, z_s = z_t - A_t x + A_s x (Bansal et al., 2023, algorithm 2). Its posterior has no
    variance, hence no density.
    """

    def log_correlation(self, change: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Coupling.log_correlation`."""
        return change.new_zeros(())


@dataclass(frozen=True)
class Independent(Coupling):
    """rho = 0: every level has fresh noise, z_s does not depend on z_t given x.

    The inference process of inverse heat dissipation (Rissanen et al., 2023, eq. 3).
    """

    def log_correlation(self, change: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Coupling.log_correlation`."""
        return change.new_full((), -torch.inf)


@dataclass(frozen=True)
class Eta(Coupling):
    """rho = sqrt(1 - eta^2 (1 - exp(l_t - l_s))): the DDIM family (Song, Meng & Ermon, 2021, eq. 16).

    Attributes:
        eta: 0 gives `Deterministic`, 1 gives `Markov`.

    Raises:
        ValueError: eta lies outside [0, 1].
    """

    eta: float

    def __post_init__(self) -> None:
        """Refuse an eta that is no interpolation."""
        if not 0.0 <= self.eta <= 1.0:
            msg = f"eta must lie in [0, 1] (0 is Deterministic, 1 is Markov), got {self.eta}"
            raise ValueError(msg)

    def log_correlation(self, change: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Coupling.log_correlation`."""
        return torch.log1p(self.eta**2 * torch.expm1(change)) / 2


@dataclass(frozen=True)
class ReverseSDE(Coupling):
    """rho = exp(eta^2 (l_t - l_s) / 2): the reverse diffusion with a share eta of the forward noise.

    Correlations multiply from step to step, rho_{s,t} = rho_{s,r} rho_{r,t}, so that the joint law of two levels does
    not depend on the levels between them, unlike with `Eta`: it is what a stochastic differential equation does, with
    eta its noise (Zhang & Chen, 2023; the SDE form of DPM-Solver++, Lu et al., 2022).

    Attributes:
        eta: 0 gives `Deterministic`, 1 gives `Markov`; larger values forget faster than the forward chain.

    Raises:
        ValueError: eta is negative or not finite.
    """

    eta: float

    def __post_init__(self) -> None:
        """Refuse an eta that is no amount of noise."""
        if not 0.0 <= self.eta < float("inf"):
            msg = f"eta must be at least 0 (0 is Deterministic, 1 is Markov), got {self.eta}"
            raise ValueError(msg)

    def log_correlation(self, change: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Coupling.log_correlation`."""
        # Without noise in the coupling even an infinite change leaves the noise alone.
        return self.eta**2 * change / 2 if self.eta else change.new_zeros(())
