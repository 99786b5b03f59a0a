r"""One term of the bound: the divergence between a posterior and the reverse step that stands for it.

Both are Gaussians diagonal in the basis, and their means differ by the posterior's share of the data alone,
m - m_hat = (1 - c alpha_{t|s}) alpha_s (u - u_hat). With s_q and s_p their standard deviations, per coefficient,

    KL(q(z_s | z_t, x) || p(z_s | z_t)) = sum ( scale (alpha_s u - alpha_s u_hat) )^2 + excess,
    scale = (1 - c alpha_{t|s}) / (sqrt(2) s_p),    excess = (expm1(2 r) - 2 r) / 2,    r = log s_q - log s_p.

For a Markov coupling and s_p = s_q the scale squared is (SNR_s - SNR_t) / (2 alpha_s^2) and the excess is 0 (Kingma et
al., 2021, per coefficient). In the limit of ever finer grids the sum over levels becomes the integral over t of

    1/2 sum (-dl_t/dt) ( (alpha_t u - alpha_t u_hat) / sigma_t )^2      (Kingma et al., 2021, per coefficient).

The estimate always comes multiplied by the signal's share alpha: that product is what a network's output gives stably
where alpha itself underflows. A coefficient that a step leaves alone costs nothing (0 / 0 is 0 here).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.rates import root_times, without_gradient_at_zero
from ...degradations import Level, Step
from ...degradations.level import log_ratio
from ...models import ReverseStd
from ..weightings import BoundWeighting


class Term(NamedTuple):
    """sum (scale (alpha u - alpha u_hat))^2 + excess, coefficients broadcastable to (batch, *shape).

    Attributes:
        at_t: the level of the latent.
        log_alpha: log of the alpha that data and estimate are multiplied by.
        scale: factor of their difference, in one over the data's units.
        excess: what the standard deviations' mismatch costs, in nats.
    """

    at_t: Level
    log_alpha: Float[Tensor, "..."]
    scale: Float[Tensor, "..."]
    excess: Float[Tensor, "..."]


def step_term(step: Step, reverse_std: ReverseStd) -> Term:
    """Return the term of one step: a Kullback-Leibler divergence in nats."""
    # Of a coefficient that the step leaves alone all are 0, and stay 0 as a learned process changes.
    signal, posterior, stddev = map(
        without_gradient_at_zero, (step.posterior.signal, step.posterior.stddev, reverse_std.stddev(step))
    )
    ratio = log_ratio(posterior.log(), stddev.log())
    return Term(
        at_t=step.at_t,
        log_alpha=step.at_s.log_alpha,
        scale=torch.where(signal == 0, 0.0, signal / (math.sqrt(2) * stddev)),
        excess=(torch.expm1(2 * ratio) - 2 * ratio) / 2,
    )


def rate_term(at: Level) -> Term:
    """Return the bound's integrand at a level: nats per unit of time."""
    # Without signal there is nothing left to lose, however fast the log-SNR falls.
    scale = torch.where(at.log_alpha == -torch.inf, 0.0, root_times(BoundWeighting().weight(at), (-at.log_sigma).exp()))
    return Term(at_t=at, log_alpha=at.log_alpha, scale=scale, excess=torch.zeros_like(scale))
