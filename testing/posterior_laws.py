"""Laws of the posteriors q(z_s | z_t, x) = N(c u_t + k u, stddev^2), for every coupling.

c and k are read off what `posterior` makes of a signal whose coefficients are all 1, one argument at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess, Markov
from .compare import (
    ROUNDING,
    largest,
    require_equal,
    require_stddev,
)
from .law import Example, law
from .plain import plain, plain_level, signals, spread


class Shares(NamedTuple):
    """The posterior's mean per unit of z_t and of x, and its width, each (*shape)."""

    latent: Float[Tensor, "..."]
    data: Float[Tensor, "..."]
    stddev: Float[Tensor, "..."]


def shares(process: LinearGaussianProcess, example: Example) -> Shares:
    """Return what `posterior` is made of."""
    ones, zero = spread(process)
    s, t = example.pair
    of_latent = process.posterior(ones, zero, s, t, coupling=example.coupling)
    of_data = process.posterior(zero, ones, s, t, coupling=example.coupling)
    stddev = of_latent.spectral_stddev.expand_as(of_latent.spectral_mean)
    return Shares(of_latent.spectral_mean[0], of_data.spectral_mean[0], stddev[0])


@law(
    "every coupling keeps the marginals",
    "Averaged over z_t, the posterior is q(z_s | x): c alpha_t + k = alpha_s and c^2 sigma_t^2 + stddev^2 = sigma_s^2. "
    "Do not override posterior, or compare it with LinearGaussianProcess.posterior.",
    times=2,
)
def keeping(process: LinearGaussianProcess, example: Example) -> None:
    """Integrating z_t out leaves q(z_s | x)."""
    s, t = example.pair
    early, late, rank = plain(process, s), plain(process, t), len(process.shape)
    latent, data, stddev = shares(process, example)
    # `shares` are what becomes of coefficients 1.
    room = ROUNDING * (1 + (latent * late.alpha).abs() + data.abs())
    what = f"alpha at s, averaged over {example.coupling}'s posterior,"
    require_equal(what, latent * late.alpha + data, early.alpha, rank=rank, absolute=room)
    # What noise there was at s cannot be told from a latent without noise.
    told = (late.sigma > 0) | (early.sigma == 0)
    what = f"sigma at s, averaged over {example.coupling}'s posterior,"
    require_stddev(what, torch.hypot(latent * late.sigma, stddev), early.sigma, early.sigma, rank=rank, where=told)


@law(
    "the posterior has the correlation of its coupling",
    "The noises at s and t have the correlation rho that coupling.log_correlation gives, so that c = rho sigma_s / "
    "sigma_t; with Markov() that is Bayes' rule. Do not override posterior, or pass its coupling on.",
    times=2,
)
def correlating(process: LinearGaussianProcess, example: Example) -> None:
    """C sigma_t = rho sigma_s."""
    s, t = example.pair
    early, late, rank = plain(process, s), plain(process, t), len(process.shape)
    rho = example.coupling.log_correlation(plain_level(process, s), plain_level(process, t)).exp()
    rho = rho.expand(1, *process.shape)[0]
    what = f"{example.coupling}'s posterior: the noise at s that is told by z_t"
    latent = shares(process, example).latent
    room = ROUNDING * (early.sigma + late.sigma)
    require_equal(what, latent * late.sigma, rho * early.sigma, rank=rank, absolute=room, where=late.sigma > 0)
    if example.coupling == Markov():
        ones, zero = spread(process)
        default = process.posterior(ones, zero, s, t).spectral_mean[0]
        what = "the share of z_t in the posterior without a coupling, which is Markov()'s,"
        require_equal(what, default, latent, rank=rank, relative=ROUNDING, absolute=ROUNDING)


@law(
    "the posterior is made of posterior_coefficients",
    "posterior(z, x, s, t, coupling) has the mean V (latent V^T z + signal alpha_s V^T x) and the width stddev of "
    "posterior_coefficients(s, t, coupling), linearly, with no clamping: override both or none.",
    times=2,
)
def made_of_coefficients(process: LinearGaussianProcess, example: Example) -> None:
    """Mean and width follow from three numbers per coefficient."""
    s, t = example.pair
    rank, alpha = len(process.shape), plain(process, s).alpha
    latent, signal, stddev = process.posterior_coefficients(s, t, example.coupling)
    # Large ones, so that a clamp is met.
    x, z = (10 * signals(process, example, number) for number in (0, 1))
    terms = latent * process.basis.forward(z), signal * alpha * process.basis.forward(x)
    q = process.posterior(z, x, s, t, coupling=example.coupling)
    size = max(largest(term) for term in (*terms, x, z))
    what = f"the mean of {example.coupling}'s posterior"
    require_equal(what, q.spectral_mean, terms[0] + terms[1], rank=rank, absolute=ROUNDING * size)
    what = f"the width of {example.coupling}'s posterior"
    require_stddev(what, q.spectral_stddev, stddev, plain(process, s).sigma, rank=rank)


LAWS = (keeping, correlating, made_of_coefficients)
