r"""Exponential steps of any order: the linear part of the reverse equation solved exactly, the estimate interpolated.

The reverse process with a share eta of the forward noise (Song et al., 2021; Zhang & Chen, 2023) is, per coefficient,

    du = [f u - (1 + eta^2)/2 g^2 score] dt + eta g dw,        score = (alpha u_hat - u) / sigma^2,

eta = 0 the probability flow, eta = 1 the time reversal. With kappa = 1 + eta^2 and l the log-SNR its solution is

    u_s = c u_t + integral of R'(tau) u_hat(tau) dtau + sigma_s sqrt(1 - rho^2) epsilon,
    R(tau) = alpha_s exp(kappa (l_tau - l_s) / 2),     rho = exp(eta^2 (l_t - l_s) / 2),     c = rho sigma_s / sigma_t,

tau going from t to s. R rises to alpha_s, never falling, so that u_s is c u_t plus estimates with weights >= 0.
With the estimate held at its value in t the integral is (1 - c alpha_{t|s}) alpha_s u_hat: the posterior sampler's
step. Where instead u_hat(tau) = sum_j L_j(phi(tau)) u_hat_j runs through the estimates at several times, L_j Lagrange's
polynomials in some variable phi, the step is sum_j w_j u_hat_j with

    w_j = R(s) L_j(phi_s) - R(t) L_j(phi_t) - integral of R L_j'(phi) dphi,

an integral of a monotone function, done by Gauss and Legendre's rule. In phi = t it is finite and well conditioned for
every process, whether or not a coefficient's log-SNR moves, on grids whose neighbouring steps are of like length. In
phi = l_t / 2 the two-point formulas differ from those of DPM-Solver++ (Lu et al., 2022) by terms of the order of their
error. A coefficient that stands still (l_s = l_t) has no such formula, and neither has one whose l is infinite at one
of the times: there the estimate at t alone is used, and that step is of first order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import Level, ReverseSDE, log_snr_change, log_transition, posterior_coefficients
from ..degradations.level import log_ratio

_RULE = np.polynomial.legendre.leggauss(16)
# Gauss and Legendre's rule on the unit interval, along which t is 0 and s is 1.
_NODES: list[float] = ((1 + _RULE[0]) / 2).tolist()
_SHARES: list[float] = (_RULE[1] / 2).tolist()


class Variable(Enum):
    """The variable in which estimates at several times are interpolated, or extrapolated, by a polynomial."""

    TIME = auto()
    """Time itself, the same for all coefficients."""

    LOG_SNR = auto()
    """Half of each coefficient's own log-SNR, as DPM-Solver++ does for isotropic noise (Lu et al., 2022)."""


class ExponentialStep(NamedTuple):
    """A step u_s = latent u_t + sum_j estimates[j] u_hat_j + stddev epsilon, coefficients for each of several steps.

    Attributes:
        latent: c, (steps or 1, ...), broadcastable to (steps, *shape).
        estimates: w_j for each time of the stencil, likewise.
        stddev: standard deviation of the noise in the data's units, likewise.
    """

    latent: Float[Tensor, "..."]
    estimates: tuple[Float[Tensor, "..."], ...]
    stddev: Float[Tensor, "..."]


def exponential_step(
    stencil: Sequence[Level],
    at_t: Level,
    at_s: Level,
    *,
    eta: float = 0.0,
    variable: Variable = Variable.TIME,
) -> ExponentialStep:
    """Return the coefficients of steps from `t` to `s` that follow the estimate of the data.

    Args:
        stencil: levels that there are estimates for, at times () or (steps,), all different; usually `at_t` itself
            first. That alone holds the estimate at its value.
        at_t: level of the latents, at times () or (steps,).
        at_s: the level to go to, s < t.
        eta: share of the forward noise, >= 0.
        variable: what the estimates are interpolated in.
    """
    posterior = posterior_coefficients(at_s, at_t, ReverseSDE(eta))
    alpha = at_s.alpha
    whole = alpha * posterior.signal
    if len(stencil) == 1:
        return ExponentialStep(posterior.latent, (whole,), posterior.stddev)
    kappa = 1 + eta**2
    change = log_snr_change(at_s, at_t)
    if variable is Variable.TIME:
        places = _places_in_time(stencil, at_t, at_s)
        falls = [log_snr_change(at_s, at) for at in _between(at_t, at_s)]
    else:
        places = _places_in_log_snr(stencil, at_t, span=-change / 2)
        falls = [(1 - node) * change for node in _NODES]
    rises = [alpha * (kappa * fall / 2).exp() for fall in falls]
    weights = _integrated(places, alpha * (kappa * change / 2).exp(), alpha, rises)
    return ExponentialStep(posterior.latent, _where_sound(weights, whole), posterior.stddev)


def noise_step(
    stencil: Sequence[Level],
    at_t: Level,
    at_s: Level,
    *,
    variable: Variable = Variable.LOG_SNR,
) -> ExponentialStep:
    """Return the coefficients of steps from `t` to `s` of the probability flow that follow the estimate of the *noise*.

    Arguments as in `exponential_step`; what the weights are for are the noises (u - alpha u_hat) / sigma. There must be
    signal at `t`, where it is divided by.
    """
    log_alpha, change = log_transition(at_s, at_t)
    first = (at_t.log_sigma - log_alpha).exp()
    last = at_s.sigma
    whole = first * torch.expm1(change / 2)
    latent, nothing = (-log_alpha).exp(), torch.zeros_like(whole)
    if len(stencil) == 1:
        return ExponentialStep(latent, (whole,), nothing)
    if variable is Variable.TIME:
        places = _places_in_time(stencil, at_t, at_s)
        inner = [(at_s.log_alpha + at.log_sigma - at.log_alpha).exp() for at in _between(at_t, at_s)]
        weights = _integrated(places, first, last, inner)
    else:
        # Without noise at s the way is infinite, but what lies on it fades like exp(-y).
        here = [log_ratio(at.log_snr, at_t.log_snr) / 2 for at in stencil]
        weights = _integrated_to_infinity(here, first, -change / 2)
    return ExponentialStep(latent, _where_sound(weights, whole), nothing)


def _between(at_t: Level, at_s: Level) -> list[Level]:
    """Return the levels at the rule's nodes between two."""
    return [at_t.process.at(at_t.t + (at_s.t - at_t.t) * node) for node in _NODES]


def _places_in_time(stencil: Sequence[Level], at_t: Level, at_s: Level) -> list[Tensor]:
    """Return where the times of a stencil lie on a way along which t is 0 and s is 1."""
    return [at_t.process.expand_times((at.t - at_t.t) / (at_s.t - at_t.t)) for at in stencil]


def _places_in_log_snr(stencil: Sequence[Level], at_t: Level, span: Tensor) -> list[Tensor]:
    """Return where a stencil lies in each log-SNR, on a way along which t is 0 and s is 1."""
    return [log_ratio(at.log_snr, at_t.log_snr) / 2 / span for at in stencil]


def _integrated(places: Sequence[Tensor], first: Tensor, last: Tensor, values: Sequence[Tensor]) -> list[Tensor]:
    """Return the integrals of R' L_j for each place, R given at both ends and at the rule's nodes in between."""
    weights: list[Tensor] = []
    for j in range(len(places)):
        inner = sum(
            share * value * _lagrange_slope(places, j, node)
            for node, share, value in zip(_NODES, _SHARES, values, strict=True)
        )
        weights.append(last * _lagrange(places, j, 1.0) - first * _lagrange(places, j, 0.0) - inner)
    return weights


def _integrated_to_infinity(places: Sequence[Tensor], first: Tensor, span: Tensor) -> list[Tensor]:
    """Return the integrals of Q' L_j dy over y from 0 to `span`, which may be infinite, for Q = first exp(-y).

    With L_j = sum_p c_p y^p they are -first sum_p c_p p! P(p + 1, span), P being the regularised incomplete gamma
    function.
    """
    weights: list[Tensor] = []
    for j, place in enumerate(places):
        powers = [torch.ones_like(place)]
        for m, other in enumerate(places):
            if m != j:
                # Multiplied by (y - other) / (place - other).
                raised = [torch.zeros_like(place), *powers]
                powers = [
                    (raised[p] - (other * powers[p] if p < len(powers) else 0.0)) / (place - other)
                    for p in range(len(raised))
                ]
        parts = [
            c * math.factorial(p) * torch.special.gammainc(torch.full_like(span, p + 1.0), span)
            for p, c in enumerate(powers)
        ]
        weights.append(-first * sum(parts[1:], parts[0]))
    return weights


def _where_sound(weights: Sequence[Tensor], whole: Tensor) -> tuple[Tensor, ...]:
    """Return the weights; where they are not finite, as places coincide or lie at infinity, the first's alone."""
    sound = torch.stack([weight.isfinite().expand(whole.shape) for weight in weights]).all(0)
    alone = [whole, *[torch.zeros_like(whole)] * (len(weights) - 1)]
    return tuple(torch.where(sound, weight, other) for weight, other in zip(weights, alone, strict=True))


def extrapolation(stencil: Sequence[Level], at_s: Level) -> tuple[Float[Tensor, "..."], ...]:
    """Return the weights of estimates at the levels of `stencil` in a polynomial in time, taken at `at_s`."""
    expand = at_s.process.expand_times
    times = [expand(at.t) for at in stencil]
    return tuple(_lagrange(times, j, expand(at_s.t)) for j in range(len(stencil)))


def _lagrange(places: Sequence[Tensor], j: int, x: Tensor | float) -> Tensor:
    """Return Lagrange's polynomial that is 1 at place j and 0 at the others, at x."""
    value = torch.ones_like(places[j])
    for m, place in enumerate(places):
        if m != j:
            value = value * (x - place) / (places[j] - place)
    return value


def _lagrange_slope(places: Sequence[Tensor], j: int, x: float) -> Tensor:
    """Return that polynomial's derivative at x."""
    total = torch.zeros_like(places[j])
    others = [m for m in range(len(places)) if m != j]
    for left_out in others:
        value = 1 / (places[j] - places[left_out])
        for m in others:
            if m != left_out:
                value = value * (x - places[m]) / (places[j] - places[m])
        total = total + value
    return total
