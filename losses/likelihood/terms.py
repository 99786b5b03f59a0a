r"""One term of the bound: the divergence between a posterior and the reverse step that stands for it.

Both are Gaussians diagonal in the basis, and their means differ by the posterior's share of the data alone,
m - m_hat = (1 - c alpha_{t|s}) alpha_s (u - u_hat). With s_q and s_p their standard deviations, per coefficient,

    KL(q(z_s | z_t, x) || p(z_s | z_t)) = sum ( gain (alpha_s u - alpha_s u_hat) )^2 + excess,
    gain = (1 - c alpha_{t|s}) / (sqrt(2) s_p),    excess = (expm1(2 r) - 2 r) / 2,    r = log s_q - log s_p.

For a Markov coupling and s_p = s_q the gain squared is (SNR_s - SNR_t) / (2 alpha_s^2) and the excess is 0 (Kingma et
al., 2021, eq. 13, per coefficient). In the limit of ever finer grids the sum over levels becomes the integral over t of

    1/2 sum (-dl_t/dt) ( (alpha_t u - alpha_t u_hat) / sigma_t )^2      (Kingma et al., 2021, eq. 17, per coefficient).

The estimate always comes multiplied by the signal's share alpha: that product is what a network's output gives stably
where alpha itself underflows. A coefficient that a step leaves alone costs nothing (0 / 0 is 0 here).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...degradations import Coupling, LinearGaussianProcess
from ...degradations.level import LogCoefficients, log_ratio, posterior_coefficients
from ...models.reverse_std import ReverseStd, Step


class Term(NamedTuple):
    """sum (gain (alpha u - alpha u_hat))^2 + excess, coefficients broadcastable to (batch, *shape).

    Attributes:
        end: the process's log coefficients at the time t of the latent.
        log_alpha: log of the alpha that data and estimate are multiplied by.
        gain: factor of their difference, in one over the data's units.
        excess: what the standard deviations' mismatch costs, in nats.
    """

    end: LogCoefficients
    log_alpha: Float[Tensor, "..."]
    gain: Float[Tensor, "..."]
    excess: Float[Tensor, "..."]


def step_between(
    process: LinearGaussianProcess, s: Float[Tensor, "*batch"], t: Float[Tensor, "*batch"], coupling: Coupling
) -> Step:
    """Return the reverse step from checked times t to checked times s <= t, () or (batch,)."""
    start, end = process.log_coefficients(s), process.log_coefficients(t)
    return Step(s, t, start, end, posterior_coefficients(start, end, coupling))


def step_term(step: Step, reverse_std: ReverseStd) -> Term:
    """Return the term of one step: a Kullback-Leibler divergence in nats."""
    stddev = reverse_std.stddev(step)
    signal = step.posterior.signal
    ratio = log_ratio(step.posterior.stddev.log(), stddev.log())
    return Term(
        end=step.end,
        log_alpha=step.start.log_alpha,
        gain=torch.where(signal == 0, 0.0, signal / (math.sqrt(2) * stddev)),
        excess=(torch.expm1(2 * ratio) - 2 * ratio) / 2,
    )


def rate_term(process: LinearGaussianProcess, t: Float[Tensor, "*batch"]) -> Term:
    """Return the bound's integrand at checked times t, () or (batch,): nats per unit of time."""
    end = process.log_coefficients(t)
    speed = (-process.log_snr_rate(t) / 2).sqrt()
    # Without signal there is nothing left to lose, however fast the log-SNR falls.
    gain = torch.where(end.log_alpha == -torch.inf, 0.0, speed * (-end.log_sigma).exp())
    return Term(end=end, log_alpha=end.log_alpha, gain=gain, excess=torch.zeros_like(gain))
