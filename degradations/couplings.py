"""Couplings: the correlation of the noises of two levels of one process.

The marginals q(z_t | x) leave open how z_s and z_t share noise. Write rho for the correlation of their
noises, per coefficient, with s < t, and l for the log-SNR. Then

    q(z_s | z_t, x) = N( alpha_s u + c (u_t - alpha_t u),  sigma_s^2 (1 - rho^2) ),   c = rho sigma_s / sigma_t,

and integrating z_t out leaves the marginal of z_s whatever rho is. A coupling is a choice of rho, given as its
logarithm. (In flow matching "coupling" names the joint distribution of data and noise; here it is the noises of two
levels that are coupled. Song, Meng & Ermon, 2021, call the joint distribution that results the inference process.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_number, values_are_readable
from .level import Level, log_snr_change


class Coupling(ABC):
    """The correlation of the noises of two levels, per coefficient."""

    @property
    def deterministic(self) -> bool:
        """Whether rho = 1 whatever the levels, so that posteriors have no variance."""
        return False

    @abstractmethod
    def log_correlation(self, at_s: Level, at_t: Level) -> Float[Tensor, "..."]:
        """Return log rho <= 0 for levels s <= t.

        Args:
            at_s: the earlier level.
            at_t: the later level. `log_snr_change(at_s, at_t)` is l_t - l_s <= 0, minus infinity where level t keeps
                no signal or level s has no noise.

        Returns:
            log rho, broadcastable to the levels' coefficients; minus infinity for independent noises.
        """


@dataclass(frozen=True)
class Markov(Coupling):
    """rho = exp((l_t - l_s) / 2): the chain x -> z_s -> z_t is Markov.

    The posterior of Ho et al. (2020) for isotropic noise, and of Hoogeboom & Salimans (2023,
    section 4) per frequency.
    """

    @override
    def log_correlation(self, at_s: Level, at_t: Level) -> Float[Tensor, "..."]:
        return log_snr_change(at_s, at_t) / 2


@dataclass(frozen=True)
class Deterministic(Coupling):
    """rho = 1: both levels carry the same noise.

    DDIM with eta = 0 (Song, Meng & Ermon, 2021); where sigma is constant it is the improved sampler
    of cold diffusion, z_s = z_t - A_t x + A_s x (Bansal et al., 2023, algorithm 2). Its posterior has no
    variance, hence no density.
    """

    @property
    @override
    def deterministic(self) -> bool:
        return True

    @override
    def log_correlation(self, at_s: Level, at_t: Level) -> Float[Tensor, "..."]:
        return at_t.log_alpha.new_zeros(())


@dataclass(frozen=True)
class Independent(Coupling):
    """rho = 0: every level has fresh noise, z_s does not depend on z_t given x.

    The inference process of inverse heat dissipation (Rissanen et al., 2023, eq. 3).
    """

    @override
    def log_correlation(self, at_s: Level, at_t: Level) -> Float[Tensor, "..."]:
        return at_t.log_alpha.new_full((), -torch.inf)


@dataclass(frozen=True)
class RandomWalk(Coupling):
    """rho = sigma_s / sigma_t: the noise is a random walk, each level's being the one before and fresh noise.

    The posterior of residual shifting (Yue, Wang & Loy, 2023). Where alpha is constant it is `Markov`, and elsewhere
    not: there the chain z_s -> z_t shifts towards x itself. Noise that shrinks cannot be a random walk.
    """

    @override
    def log_correlation(self, at_s: Level, at_t: Level) -> Float[Tensor, "..."]:
        shrinking = at_s.log_sigma - at_t.log_sigma
        if values_are_readable(shrinking) and bool((shrinking > 0).any()):
            msg = (
                f"RandomWalk needs noise that never shrinks, and {at_s.process.called}'s does, by a factor of"
                f" {shrinking.max().exp().item():.4g}: take Markov() or Independent()"
            )
            raise ValueError(msg)
        return torch.where(at_s.log_sigma == at_t.log_sigma, 0.0, shrinking)


@dataclass(frozen=True)
class Eta(Coupling):
    """rho = sqrt(1 - eta^2 (1 - exp(l_t - l_s))): the DDIM family (Song, Meng & Ermon, 2021).

    Attributes:
        eta: 0 gives `Deterministic`, 1 gives `Markov`.

    Raises:
        ValueError: eta lies outside [0, 1].
    """

    eta: float

    def __post_init__(self) -> None:
        check_number("eta", self.eta, "[0, 1]", "0 is Deterministic, 1 is Markov")

    @property
    @override
    def deterministic(self) -> bool:
        # A square may underflow, and counts as what it has become.
        return self.eta**2 == 0

    @override
    def log_correlation(self, at_s: Level, at_t: Level) -> Float[Tensor, "..."]:
        return torch.log1p(self.eta**2 * torch.expm1(log_snr_change(at_s, at_t))) / 2


@dataclass(frozen=True)
class ReverseSDE(Coupling):
    """rho = exp(eta^2 (l_t - l_s) / 2): the reverse diffusion with a share eta of the forward noise.

    Correlations multiply from step to step, rho_{s,t} = rho_{s,r} rho_{r,t}, so that the joint distribution of two
    levels does not depend on the levels between them, unlike with `Eta`: it is what a stochastic differential equation
    does, with eta its noise (Zhang & Chen, 2023; the SDE form of DPM-Solver++, Lu et al., 2022).

    Attributes:
        eta: 0 gives `Deterministic`, 1 gives `Markov`; larger values forget faster than the forward chain.

    Raises:
        ValueError: eta is negative or not finite.
    """

    eta: float

    def __post_init__(self) -> None:
        check_number("eta", self.eta, "[0, inf)", "0 is Deterministic, 1 is Markov")

    @property
    @override
    def deterministic(self) -> bool:
        # A square may underflow, and counts as what it has become.
        return self.eta**2 == 0

    @override
    def log_correlation(self, at_s: Level, at_t: Level) -> Float[Tensor, "..."]:
        change = log_snr_change(at_s, at_t)
        rate = self.eta**2
        # Without noise in the coupling even an infinite change leaves the noise alone; a square may underflow.
        return rate * change / 2 if rate else torch.zeros_like(change)
