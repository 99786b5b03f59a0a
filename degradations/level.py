"""Coefficients at two times, and what transitions and posteriors are made of, from logarithms without cancellation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_falling, check_instance
from .couplings import Coupling


class LogCoefficients(NamedTuple):
    """log alpha and log sigma at some times, each (batch or 1, ...), broadcastable to (batch, *shape)."""

    log_alpha: Float[Tensor, "..."]
    log_sigma: Float[Tensor, "..."]


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


def log_ratio(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return a - b for logarithms, where a difference of equal infinities is 0."""
    return torch.where(a == b, 0.0, a - b)


def log_transition(start: LogCoefficients, end: LogCoefficients) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Return log alpha_{t|s} and l_t - l_s <= 0 per coefficient, from the coefficients at times s <= t.

    Raises:
        ValueError: the log-SNR rises, so that no Markov chain with these marginals exists.
    """
    fade = log_ratio(end.log_alpha, start.log_alpha)
    growth = log_ratio(end.log_sigma, start.log_sigma)
    # Once no signal is left, any factor carries it on; where the noise shrinks, it has to shrink with the noise.
    fade = torch.where(start.log_alpha == -torch.inf, growth.clamp(max=0.0), fade)
    # Where the signal vanishes between s and t nothing of it is left to know, whatever the noise does.
    vanishes = (fade == -torch.inf) & (start.log_alpha > -torch.inf)
    return fade, check_falling(torch.where(vanishes, fade, 2 * log_ratio(fade, growth)))


def posterior_coefficients(start: LogCoefficients, end: LogCoefficients, coupling: Coupling) -> PosteriorCoefficients:
    """Return the coefficients of q(z_s | z_t, x) from the coefficients at the earlier time s and the later time t."""
    check_instance("coupling", coupling, Coupling, "Markov() for example")
    _, change = log_transition(start, end)
    ratio = log_ratio(start.log_sigma, end.log_sigma)
    # A latent without noise, after one with noise, has nothing to tell of that noise, whatever the coupling.
    log_rho = torch.where(ratio == torch.inf, -torch.inf, coupling.log_correlation(change))
    return PosteriorCoefficients(
        latent=torch.where(ratio == torch.inf, 0.0, (log_rho + ratio).exp()),
        signal=-torch.expm1(log_rho + change / 2),
        stddev=start.log_sigma.exp() * (-torch.expm1(2 * log_rho)).sqrt(),
    )
