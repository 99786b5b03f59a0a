"""Laws of the distributions: marginals and transitions, against the plain arithmetic of their coefficients."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess, SpectralGaussian
from .compare import (
    FORMULA,
    ROUNDING,
    largest,
    require_equal,
    require_stddev,
)
from .law import Example, Violation, law
from .plain import plain, signals, spread

# A law of large numbers: draws enough for three digits' certainty, and six standard errors of room.
DRAWS = 4096
ERRORS = 6.0


@law(
    "alpha, sigma and log_snr follow from log_alpha and log_sigma",
    "alpha = exp(log_alpha), sigma = exp(log_sigma) and log_snr = 2 (log_alpha - log_sigma). Do not override these "
    "three, or compare sigma with sigma^2 and look for a factor 2.",
)
def named_coefficients(process: LinearGaussianProcess, example: Example) -> None:
    """Three methods, three formulas."""
    at = plain(process, example.t)
    # Logarithms of equal size cancel.
    logs = (at.log_alpha.abs() + at.log_sigma.abs()).nan_to_num(0.0, 0.0)
    for name, expected, room in (
        ("alpha", at.alpha, 1e-300 + 0 * logs),
        ("sigma", at.sigma, 1e-300 + 0 * logs),
        ("log_snr", at.log_snr, FORMULA * logs),
    ):
        actual = getattr(process, name)(example.t)
        require_equal(f"{name}(t)", actual, expected, rank=len(process.shape), relative=FORMULA, absolute=room)


@law(
    "the marginal is N(alpha_t u, sigma_t^2)",
    "Its mean is basis.inverse(alpha_t * basis.forward(x)) and its standard deviation per coefficient sigma_t, not "
    "sigma_t^2. Do not override marginal, or compare it with LinearGaussianProcess.marginal.",
)
def marginal(process: LinearGaussianProcess, example: Example) -> None:
    """Mean and width, per coefficient."""
    at, x, rank = plain(process, example.t), signals(process, example), len(process.shape)
    u, q = process.basis.forward(x), process.marginal(x, example.t)
    if not isinstance(q, SpectralGaussian):  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"marginal returns a {type(q).__name__} instead of a SpectralGaussian"
        raise Violation(msg)
    room = ROUNDING * max(1.0, largest(at.alpha)) * largest(u)
    require_equal("the mean of marginal(x, t)", process.basis.forward(q.mean), at.alpha * u, rank=rank, absolute=room)
    width = q.spectral_stddev
    require_equal("the width of marginal(x, t)", width, at.sigma, rank=rank, relative=FORMULA, absolute=1e-300)


@law(
    "samples of the marginal scatter as it says",
    "sample and rsample return mean + V (stddev * white noise), fresh noise for every coefficient and every draw: "
    "return a plain SpectralGaussian of mean and standard deviation (not variance).",
)
def samples(process: LinearGaussianProcess, example: Example) -> None:
    """Standardised, the coefficients of samples have mean 0 and variance 1, and two draws nothing in common."""
    x, generator = signals(process, example)[:1], torch.Generator().manual_seed(example.seed)
    z = process.marginal(x, example.t).rsample((draws(process),), generator=generator)
    require_white(process, x, z[:, 0], example.t)


def draws(process: LinearGaussianProcess) -> int:
    """Return an even number of signals that hold DRAWS coefficients or more."""
    return 2 * math.ceil(DRAWS / 2 / math.prod(process.shape))


def require_white(process: LinearGaussianProcess, x: Tensor, z: Float[Tensor, "draws ..."], t: float) -> None:
    """Require (V^T z - alpha_t u) / sigma_t to look white: mean 0, variance 1, and draws unlike each other."""
    at = plain(process, t)
    known = ((at.sigma > 1e-9 * max(largest(x), largest(at.sigma))) & (at.sigma < torch.inf)).flatten()
    if not bool(known.any()):
        return
    residual = process.basis.forward(z) - at.alpha * process.basis.forward(x)
    w = residual.flatten(1)[:, known] / at.sigma.flatten()[known]
    first, second = w.chunk(2)
    error = ERRORS / math.sqrt(w.numel())
    for what, actual, expected, allowed in (
        ("mean, in standard deviations,", w.mean(), 0.0, error),
        ("variance, as a share of sigma^2,", w.square().mean(), 1.0, error * math.sqrt(2)),
        ("correlation between two draws", (first * second).mean(), 0.0, error * math.sqrt(2)),
    ):
        target = torch.full_like(actual, expected)
        require_equal(f"the samples' {what}", actual, target, rank=0, absolute=allowed, times=(t,))


@law(
    "log_prob and score are those of N(alpha_t u, sigma_t^2)",
    "With r = (V^T z - alpha_t u) / sigma_t they are -|r|^2 / 2 - sum log sigma_t - n/2 log(2 pi) and -V (r / "
    "sigma_t); the entropy is sum log sigma_t + n/2 log(2 pi e), the divergence |alpha_t (u - v) / sigma_t|^2 / 2. "
    "Do not override score or the marginal's methods.",
)
def density(process: LinearGaussianProcess, example: Example) -> None:
    """Where there is noise, the density and its gradient are the formulas'."""
    at, x, rank = plain(process, example.t), signals(process, example), len(process.shape)
    if not bool(((at.sigma > 1e-9) & (at.sigma < torch.inf)).all()):
        return
    z = signals(process, example, 1)
    r = (process.basis.forward(z) - at.alpha * process.basis.forward(x)) / at.sigma
    constants = -at.log_sigma - math.log(2 * math.pi) / 2
    terms = (-(r**2) / 2 + constants).flatten(1)
    room = ROUNDING * ((r**2).sum() + (1 + at.log_sigma.abs()).sum() * len(r)).item()
    q = process.marginal(x, example.t)
    require_equal("marginal(x, t).log_prob(z)", q.log_prob(z), terms.sum(1), rank=0, absolute=room)
    entropy = (0.5 - constants).expand(1, *process.shape).flatten(1).sum(1)
    require_equal("marginal(x, t).entropy()", q.entropy(), entropy, rank=0, absolute=room)
    shift = (at.alpha * (process.basis.forward(z) - process.basis.forward(x)) / at.sigma).square().flatten(1).sum(1) / 2
    divergence = q.kl_divergence(process.marginal(z, example.t))
    what = "the divergence marginal(x, t).kl_divergence(marginal(y, t))"
    require_equal(what, divergence, shift, rank=0, absolute=room + ROUNDING * largest(shift))
    score, expected = process.basis.forward(process.score(z, x, example.t)), -r / at.sigma
    room = ROUNDING * ((largest(z) + largest(x)) / at.sigma.min().square()).item()
    require_equal("score(z, x, t)", score, expected, rank=rank, absolute=room)


@law(
    "transitions carry marginals to marginals",
    "q(z_t | z_s) has the mean V (alpha_t / alpha_s) V^T z_s and the variance sigma_t^2 - (alpha_t / alpha_s)^2 "
    "sigma_s^2. Do not override transition, or compare it with LinearGaussianProcess.transition.",
    times=2,
)
def carrying(process: LinearGaussianProcess, example: Example) -> None:
    """(alpha_{t|s}) alpha_s = alpha_t, and alpha_{t|s}^2 sigma_s^2 + sigma_{t|s}^2 = sigma_t^2."""
    s, t = example.pair
    early, late, rank = plain(process, s), plain(process, t), len(process.shape)
    scale, width = step(process, s, t)
    # `step` is what becomes of coefficients 1.
    room = ROUNDING * max(1.0, largest(scale)) * largest(early.alpha)
    what = "alpha at t, reached through transition(z, s, t),"
    require_equal(what, scale * early.alpha, late.alpha, rank=rank, relative=ROUNDING, absolute=room)
    reached = torch.hypot(scale * early.sigma, width)
    unit = unit_of(late.sigma, early.sigma)
    require_stddev("sigma at t, reached through transition(z, s, t),", reached, late.sigma, unit, rank=rank)


@law(
    "transitions compose",
    "Going from r to t is going from r to s and then, from whatever is there, to t: the mean of transition is linear "
    "in z and depends on z, s and t only.",
    times=3,
)
def composing(process: LinearGaussianProcess, example: Example) -> None:
    """q(z_t | z_r) is the integral of q(z_t | z_s) q(z_s | z_r) over z_s."""
    r, s, t = example.times
    z, rank = signals(process, example), len(process.shape)
    (_, first), (scale, second), (_, width) = (step(process, *pair) for pair in ((r, s), (s, t), (r, t)))
    halfway = process.transition(z, r, s).mean
    through = process.transition(halfway, s, t).spectral_mean
    direct = process.transition(z, r, t).spectral_mean
    what = "the mean at t, through s and not directly,"
    room = ROUNDING * max(1.0, largest(scale)) * max(largest(z), largest(halfway), largest(direct))
    require_equal(what, through, direct, rank=rank, absolute=room)
    early, middle, late = (plain(process, time).sigma for time in (r, s, t))
    what = "the width at t, through s and not directly,"
    unit = unit_of(late, torch.maximum(early, middle))
    require_stddev(what, torch.hypot(scale * first, second), width, unit, rank=rank)


def step(process: LinearGaussianProcess, s: float, t: float) -> tuple[Tensor, Tensor]:
    """Return alpha_{t|s} and sigma_{t|s} as `transition` has them, each (*shape): what it makes of coefficients 1."""
    ones, _ = spread(process)
    q = process.transition(ones, s, t)
    return q.spectral_mean[0], q.spectral_stddev.expand_as(q.spectral_mean)[0]


def unit_of(late: Tensor, early: Tensor) -> Tensor:
    """Return the unit of variances at the later time: noise that all but vanished there is rounding of the earlier."""
    return torch.maximum(late, torch.full_like(late, 1e-5 * largest(early)))


LAWS = (named_coefficients, marginal, samples, density, carrying, composing)
