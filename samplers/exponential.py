r"""Exponential steps of any order: the linear part of the reverse equation solved exactly, estimates interpolated.

The reverse process with a share eta of the forward noise (Song et al., 2021; Zhang & Chen, 2023) is, per coefficient,

    du = [f u - (1 + eta^2)/2 g^2 score] dt + eta g dw,        score = (alpha u_hat - u) / sigma^2,

eta = 0 the probability flow, eta = 1 the time reversal. With kappa = 1 + eta^2 and l the log-SNR its solution is

    u_s = c u_t + integral of R'(tau) u_hat(tau) dtau + sigma_s sqrt(1 - rho^2) epsilon,
    R(tau) = alpha_s exp(kappa (l_tau - l_s) / 2),     rho = exp(eta^2 (l_t - l_s) / 2),     c = rho sigma_s / sigma_t,

tau going from t to s. Of the probability flow the same holds with the noise e = (u - alpha u_hat) / sigma for the data
u_hat,

    u_s = alpha_s / alpha_t u_t + integral of Q'(tau) e(tau) dtau,     Q(tau) = alpha_s sigma_tau / alpha_tau.

With the estimate held at its value in t the integral is R(s) - R(t) times it, (1 - c alpha_{t|s}) alpha_s u_hat: the
posterior sampler's step. Where instead u_hat(tau) = sum_j L_j(phi(tau)) u_hat_j runs through the estimates at several
times, L_j Lagrange's polynomials in some variable phi, the step is a sum of those estimates with weights that are made
of the moments integral of R' phi^p (see `step_moments.py`), phi being 0 at t. In phi = time all is finite and well
conditioned for every process, whether or not a coefficient's log-SNR moves, on grids whose neighbouring steps are of
like length. In the log-SNR the two-point formulas differ from those of DPM-Solver++ (Lu et al., 2022) by terms of the
order of their error. A coefficient that stands still (l_s = l_t) has no such formula, and neither has one whose l is
infinite at one of the times: there the estimate at t alone is used, and that step is of first order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import values_are_readable
from ..degradations import Level, ReverseSDE, log_snr_change, log_transition, posterior_coefficients
from ..degradations.level import log_ratio, rows_of
from .following import Variable
from .step_moments import data_moments, noise_moments


class ExponentialStep(NamedTuple):
    """A step u_s = latent u_t + sum_j estimates[j] y_j + stddev epsilon, coefficients for each of several steps.

    Attributes:
        latent: c, (steps or 1, ...), broadcastable to (steps, *shape).
        estimates: weights of the estimates y_j, of data or noise, for each time of the stencil, likewise.
        stddev: standard deviation of the noise in the data's units, likewise.
    """

    latent: Float[Tensor, "..."]
    estimates: tuple[Float[Tensor, "..."], ...]
    stddev: Float[Tensor, "..."]


@dataclass(frozen=True, eq=False)
class Interval:
    """All that steps from t to s have in common, whatever estimates they are taken with.

    Attributes:
        at_t: level of the latents, at times () or (steps,).
        at_s: the level to go to, s < t.
        variable: what estimates are interpolated in.
        latent: c.
        moments: integrals of R' phi^p or Q' phi^p from t to s for p = 0, 1, ...
        stddev: standard deviation of the noise.
        unit: what phi is measured in along the way, where not in shares of it.
    """

    at_t: Level
    at_s: Level
    variable: Variable
    latent: Float[Tensor, "..."]
    moments: tuple[Float[Tensor, "..."], ...]
    stddev: Float[Tensor, "..."]
    unit: Float[Tensor, "..."] | None = None

    def __getitem__(self, rows: slice) -> Interval:
        """Return some of the steps."""
        return Interval(
            self.at_t[rows],
            self.at_s[rows],
            self.variable,
            rows_of(self.latent, rows),
            tuple(rows_of(moment, rows) for moment in self.moments),
            rows_of(self.stddev, rows),
            None if self.unit is None else rows_of(self.unit, rows),
        )

    def step(self, *stencil: Level) -> ExponentialStep:
        """Return the step that interpolates estimates.

        Args:
            stencil: levels that there are estimates for, at times () or (steps,), all different and no more than there
                are moments; usually `at_t` itself first. That alone holds the estimate at its value.
        """
        whole = self.moments[0]
        if len(stencil) == 1:
            return ExponentialStep(self.latent, (whole,), self.stddev)
        places = [self._place(at) for at in stencil]
        weights = [_dot(_powers(places, j), self.moments) for j in range(len(places))]
        if self.variable is not Variable.TIME:
            weights = _where_sound(weights, whole)
        return ExponentialStep(self.latent, tuple(weights), self.stddev)

    def _place(self, at: Level) -> Tensor:
        """Return phi at a level."""
        if self.variable is Variable.TIME:
            return self.at_t.process.expand_times((at.t - self.at_t.t) / (self.at_s.t - self.at_t.t))
        if self.variable is Variable.LOG_SNR:
            y = log_ratio(at.log_snr, self.at_t.log_snr) / 2
            return y if self.unit is None else y / self.unit
        ratio, start, end = ((each.log_sigma - each.log_alpha).exp() for each in (at, self.at_t, self.at_s))
        return (ratio - start) / (end - start)


def data_interval(
    at_t: Level, at_s: Level, points: int, *, eta: float = 0.0, variable: Variable = Variable.TIME
) -> Interval:
    """Return steps from `t` to `s` that follow the estimate of the data through so many points.

    Args:
        at_t: level of the latents, at times () or (steps,).
        at_s: the level to go to, s < t.
        points: most estimates that a step is taken with.
        eta: share of the forward noise, >= 0.
        variable: what the estimates are interpolated in, time or the log-SNR.
    """
    posterior = posterior_coefficients(at_s, at_t, ReverseSDE(eta))
    whole = at_s.alpha * posterior.signal
    higher = data_moments(at_t, at_s, points - 1, kappa=1 + eta**2, variable=variable)
    unit = -log_snr_change(at_s, at_t) / 2 if variable is Variable.LOG_SNR else None
    return Interval(at_t, at_s, variable, posterior.latent, (whole, *higher), posterior.stddev, unit)


def noise_interval(at_t: Level, at_s: Level, points: int, *, variable: Variable = Variable.LOG_SNR) -> Interval:
    """Return steps from `t` to `s` of the probability flow that follow the estimate of the *noise*.

    Arguments as in `data_interval`; there must be signal at `t`, where it is divided by.
    """
    moments = noise_moments(at_t, at_s, points - 1, variable=variable)
    latent = (-log_transition(at_s, at_t).log_alpha).exp()
    return Interval(at_t, at_s, variable, latent, moments, torch.zeros_like(moments[0]))


def with_step_before(
    interval: Callable[[Level, Level], Interval], before: Level, at_t: Level, at_s: Level
) -> tuple[Interval, Interval]:
    """Return the steps of a grid from `t` to `s`, and each one's step before, from `before` to `t`.

    What is most of the work is done once: but for the first, a step before is the step of the row before.

    Args:
        interval: makes steps from one level to another.
        before: levels before `at_t` on the grid, at times (steps,).
        at_t: levels on the grid.
        at_s: levels after `at_t` on the grid.
    """
    all_steps = interval(_put_before(before, at_t), _put_before(at_t, at_s))
    return all_steps[1:], all_steps[:-1]


def extrapolation(stencil: Sequence[Level], at_s: Level) -> tuple[Float[Tensor, "..."], ...]:
    """Return the weights of estimates at the levels of `stencil` in a polynomial in time, taken at `at_s`."""
    expand = at_s.process.expand_times
    places = [expand(at.t - at_s.t) for at in stencil]
    return tuple(_powers(places, j)[0] for j in range(len(stencil)))


def _put_before(first: Level, rest: Level) -> Level:
    """Return a grid's levels at the first time of `first` and the times of `rest`."""

    def joined(a: Tensor, b: Tensor) -> Tensor:
        steps = len(rest.t)
        if steps > 1 and len(a) == len(b) == 1:
            return b
        return torch.cat([a[:1], b.expand(steps, *b.shape[1:])])

    alpha, sigma = joined(first.log_alpha, rest.log_alpha), joined(first.log_sigma, rest.log_sigma)
    return Level(rest.process, torch.cat([first.t[:1], rest.t]), alpha, sigma)


def _powers(places: Sequence[Tensor], j: int) -> list[Tensor]:
    """Return the coefficients, of power 0 first, of Lagrange's polynomial that is 1 at place j and 0 at the others."""
    powers = [torch.ones_like(places[j])]
    for m, other in enumerate(places):
        if m != j:
            gap = places[j] - other
            # Multiplied by (phi - other) / (place - other).
            lower = [-other * c for c in powers]
            inner = [a + b for a, b in zip(powers[:-1], lower[1:], strict=True)]
            powers = [c / gap for c in (lower[0], *inner, powers[-1])]
    return powers


def _dot(powers: Sequence[Tensor], moments: Sequence[Tensor]) -> Tensor:
    parts = [c * moment for c, moment in zip(powers, moments, strict=False)]
    return sum(parts[1:], parts[0])


def _where_sound(weights: Sequence[Tensor], whole: Tensor) -> list[Tensor]:
    """Return the weights; where they are not finite, as places coincide or lie at infinity, the first's alone."""
    # A sum with an infinite or NaN part is neither finite.
    sound = sum(weights[1:], weights[0]).isfinite()
    if values_are_readable(sound) and bool(sound.all()):
        return [*weights]
    alone = [whole, *[torch.zeros_like(whole)] * (len(weights) - 1)]
    return [torch.where(sound, weight, other) for weight, other in zip(weights, alone, strict=True)]
