r"""A reverse step: from a level t to an earlier level s under a coupling, and the posterior that it is made of.

    q(z_s | z_t, x) = N( c u_t + (1 - c alpha_{t|s}) alpha_s u,  sigma_s^2 (1 - rho^2) ),    c = rho sigma_s / sigma_t.

With log rho and the change l_t - l_s of the log-SNR every quantity is a single `expm1`, without cancellation:

    1 - c alpha_{t|s} = -expm1(log rho + (l_t - l_s) / 2),        1 - rho^2 = -expm1(2 log rho).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from ..core.rates import root
from .couplings import Coupling
from .level import Level, log_ratio, log_snr_change


class PosteriorCoefficients(NamedTuple):
    """What q(z_s | z_t, x) is made of, per coefficient: N(latent u_t + signal (alpha_s u), stddev^2).

    Attributes:
        latent: c = rho sigma_s / sigma_t, the share of the latent z_t.
        signal: 1 - c alpha_{t|s}, the share of the degraded signal A_s x.
        stddev: sigma_s sqrt(1 - rho^2), in the data's units.
    """

    latent: Float[Tensor, "..."]
    signal: Float[Tensor, "..."]
    stddev: Float[Tensor, "..."]


class Step(NamedTuple):
    """A reverse step from a level to an earlier one: what samplers take and the bound pays for.

    Attributes:
        at_s: the level that the step goes to.
        at_t: the later level that it comes from.
        coupling: correlation of the noises of the two.
        posterior: coefficients of q(z_s | z_t, x).
    """

    at_s: Level
    at_t: Level
    coupling: Coupling
    posterior: PosteriorCoefficients

    @classmethod
    def between(cls, at_s: Level, at_t: Level, coupling: Coupling) -> Step:
        """Return the step from `at_t` to the earlier level `at_s`."""
        return cls(at_s, at_t, coupling, posterior_coefficients(at_s, at_t, coupling))


def posterior_coefficients(at_s: Level, at_t: Level, coupling: Coupling) -> PosteriorCoefficients:
    """Return the coefficients of q(z_s | z_t, x) for levels s <= t.

    Raises:
        TypeError: `coupling` is not a coupling, but its class, say.
        ValueError: the log-SNR rises, so that no Markov chain with these marginals exists.
    """
    check_instance("coupling", coupling, Coupling, "Markov() for example")
    change = log_snr_change(at_s, at_t)
    ratio = log_ratio(at_s.log_sigma, at_t.log_sigma)
    # A latent without noise, after one with noise, has nothing to tell of that noise, whatever the coupling.
    log_rho = torch.where(ratio == torch.inf, -torch.inf, coupling.log_correlation(at_s, at_t))
    return PosteriorCoefficients(
        latent=torch.where(ratio == torch.inf, 0.0, (log_rho + ratio).exp()),
        signal=-torch.expm1(log_rho + change / 2),
        stddev=at_s.sigma * root(-torch.expm1(2 * log_rho)),
    )
