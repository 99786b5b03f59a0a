"""Laws of random draws: paths through the marginals, correlated as their coupling says, from the given generator."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import largest, require_equal
from .distribution_laws import ERRORS, draws, require_white
from .law import Example, Violation, law, law_at_once
from .memory_laws import SEED
from .plain import plain, plain_level, signals
from .search import COUPLINGS

# Times close to each other, whose noises hardly differ under most couplings, and times that are far apart.
TRIPLES = ((0.3, 0.31, 0.32), (0.2, 0.5, 0.9))


def paths(process: LinearGaussianProcess, example: Example) -> tuple[Tensor, Float[Tensor, "times draws ..."]]:
    """Return a signal, (1, *shape), and many paths from it through the example's times."""
    generator = torch.Generator().manual_seed(example.seed)
    x = signals(process, example)[:1]
    many = x.expand(draws(process), *process.shape)
    path = process.sample_path(many, list(example.times), coupling=example.coupling, generator=generator)
    expected = (len(example.times), *many.shape)
    if path.shape != expected:
        msg = f"sample_path(x, times), for {expected[0]} times, has shape {tuple(path.shape)} instead of {expected}"
        raise Violation(msg)
    return x, path


@law(
    "paths pass through the marginals",
    "sample_path(x, times) has shape (times, batch, *shape), and each of its latents is distributed as the marginal of "
    "its time. Do not override it, or draw from the posteriors, last time first.",
    times=2,
)
def passing(process: LinearGaussianProcess, example: Example) -> None:
    """Standardised, the coefficients of a path's latents have mean 0 and variance 1."""
    x, path = paths(process, example)
    for time, z in zip(example.times, path, strict=True):
        require_white(process, x, z, time)


@law_at_once(
    "paths are correlated as their coupling says",
    "The noises of neighbouring times have the correlation rho that coupling.log_correlation gives, and a time "
    "depends on those before it through its neighbour alone. Do not override sample_path, or draw from the "
    "posteriors, last time first, and pass the coupling on.",
)
def correlated(process: LinearGaussianProcess) -> None:
    """The correlation of two noises is rho, and the product of both from the first to the last."""
    for seed, coupling in enumerate(COUPLINGS):
        for times in TRIPLES:
            require_correlated(process, Example(times, seed, coupling=coupling))


def require_correlated(process: LinearGaussianProcess, example: Example) -> None:
    """Require the correlations of the example's three times."""
    x, path = paths(process, example)
    noises, known = zip(*(noise_of(process, x, z, t) for z, t in zip(path, example.times, strict=True)), strict=True)
    first, second = (correlation(process, example, s, t) for s, t in itertools.pairwise(example.times))
    for (i, j), rho in (((0, 1), first), ((1, 2), second), ((0, 2), first * second)):
        where = known[i] & known[j] & rho.isfinite()
        if not bool(where.any()):
            continue
        # Of a product of two standard normal numbers the variance is 1 + rho^2.
        found, count = (noises[i] * noises[j])[:, where], len(path[0])
        error = ERRORS * ((1 + rho[where] ** 2).mean() / (count * where.sum())).sqrt().item()
        what = f"{example.coupling}'s path: the correlation of the noises"
        times = (example.times[i], example.times[j])
        require_equal(what, found.mean(), rho[where].mean(), rank=0, absolute=error, times=times)


def noise_of(process: LinearGaussianProcess, x: Tensor, z: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """Return the noise of latents, (draws, *shape), and where there is enough of it to be read off, (*shape)."""
    at = plain(process, t)
    known = (at.sigma > 1e-9 * max(largest(x), largest(at.sigma))) & (at.sigma < torch.inf)
    residual = process.basis.forward(z) - at.alpha * process.basis.forward(x)
    return residual / torch.where(known, at.sigma, 1.0), known


def correlation(process: LinearGaussianProcess, example: Example, s: float, t: float) -> Float[Tensor, "..."]:
    """Return the coupling's rho between two times, (*shape)."""
    rho = example.coupling.log_correlation(plain_level(process, s), plain_level(process, t)).exp()
    return rho.expand(1, *process.shape)[0]


@law_at_once(
    "random numbers come from the generator",
    "A method that is given a generator draws from it alone: torch.randn(..., generator=generator). Samples with a "
    "seed are to come out the same again.",
)
def seeded(process: LinearGaussianProcess) -> None:
    """The same seed gives the same draws, and torch's own random numbers are left alone."""
    x = signals(process, Example())
    draw: dict[str, Callable[[torch.Generator], Tensor]] = {
        "marginal(x, t).sample": lambda generator: process.marginal(x, 0.3).sample(generator=generator),
        "marginal(x, t).rsample": lambda generator: process.marginal(x, 0.3).rsample((2,), generator=generator),
        "sample_path": lambda generator: process.sample_path(x, [0.3, 0.6], generator=generator),
    }
    for name, method in draw.items():
        outside = torch.get_rng_state()
        try:
            before = torch.default_generator.manual_seed(SEED).get_state()
            one, other = (method(torch.Generator().manual_seed(1)) for _ in range(2))
            if not torch.equal(one, other):
                msg = f"{name}(..., generator=generator) is not the same with the same seed"
                raise Violation(msg)
            if not torch.equal(torch.get_rng_state(), before):
                msg = f"{name}(..., generator=generator) draws from torch's own random numbers, or sets their seed"
                raise Violation(msg)
        finally:
            torch.set_rng_state(outside)


LAWS = (passing, correlated, seeded)
