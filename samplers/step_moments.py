r"""Moments of a step: the integrals that an exponential step with interpolated estimates is made of.

    integral from t to s of R'(tau) phi(tau)^p dtau = R(s) phi_s^p - p integral of R phi^(p-1) dphi,    p >= 1,

and the same for Q (see `exponential.py`), phi being 0 at t. In time, R is known as numbers along the way: the integral
is done by Gauss and Legendre's rule, of a monotone function. In a coefficient's log-SNR R and Q are exponentials, and
in its sigma / alpha Q is a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_falling
from ..degradations import Level, log_snr_change, log_transition
from .following import Variable

_RULE = np.polynomial.legendre.leggauss(16)
# Gauss and Legendre's rule on the unit interval, along which t is 0 and s is 1.
_NODES: list[float] = ((1 + _RULE[0]) / 2).tolist()
_SHARES: list[float] = (_RULE[1] / 2).tolist()

Moments = tuple[Float[Tensor, "..."], ...]


def data_moments(at_t: Level, at_s: Level, count: int, *, kappa: float, variable: Variable) -> Moments:
    """Return the integrals of R' phi^p for p = 1 to `count`, phi being 0 at t and 1 at s."""
    if not count:
        return ()
    # R / alpha_s at the rule's nodes, from changes l_tau - l_s of the log-SNR.
    if variable is Variable.TIME:
        changes = (_change(at_s, at_t, node) for node in _NODES)
    else:
        whole = log_snr_change(at_s, at_t)
        changes = ((1 - node) * whole for node in _NODES)
    alpha = at_s.alpha
    integrals = _integrals(((kappa / 2 * change).exp() for change in changes), count)
    return tuple(alpha * (1 - p * integral) for p, integral in enumerate(integrals, start=1))


def noise_moments(at_t: Level, at_s: Level, count: int, *, variable: Variable) -> Moments:
    """Return the integrals of Q' phi^p for p = 0 to `count`.

    phi is 0 at t, and 1 at s but for the log-SNR: there it grows by half of that, to infinity where there is no noise
    at s.
    """
    log_alpha, change = log_transition(at_s, at_t)
    first = (at_t.log_sigma - log_alpha).exp()
    whole = first * torch.expm1(change / 2)
    if not count:
        return (whole,)
    if variable is Variable.LOG_SNR:
        return (whole, *_to_infinity(first, -change / 2, count))
    if variable is Variable.NOISE_RATIO:
        # A straight line of phi.
        return tuple(whole / (p + 1) for p in range(count + 1))
    last = at_s.sigma
    process = at_t.process
    inner = (
        (at_s.log_alpha + process.batched_log_sigma(t) - process.batched_log_alpha(t)).exp()
        for t in (torch.lerp(at_t.t, at_s.t, node) for node in _NODES)
    )
    return (whole, *(last - p * integral for p, integral in enumerate(_integrals(inner, count), start=1)))


def _integrals(values: Iterable[Tensor], count: int) -> list[Tensor]:
    """Return the integrals of a function times phi^p over [0, 1], p = 0 to count - 1, from its values at the nodes."""
    totals: list[Tensor] = []
    for node, share, value in zip(_NODES, _SHARES, values, strict=True):
        parts = [share * node**p for p in range(count)]
        if not totals:
            totals = [part * value for part in parts]
            continue
        totals = [torch.add(total, value, alpha=part) for total, part in zip(totals, parts, strict=True)]
    return totals


def _change(at_s: Level, at_t: Level, node: float) -> Tensor:
    """Return l_tau - l_s <= 0 at a share of the way from t to s; raises what `log_transition` does."""
    process = at_t.process
    t = torch.lerp(at_t.t, at_s.t, node)
    lowest = torch.finfo(at_s.log_alpha.dtype).min
    # Numbers for infinities: a difference of two is 0 for the noise, and whatever the noise does below 0 for a signal
    # that is gone at s already, where R is 0; and a signal that goes outweighs noise that does.
    fade = process.batched_log_alpha(t).clamp(min=lowest) - at_s.log_alpha.clamp(min=lowest / 2)
    least = -math.sqrt(-lowest)
    growth = process.batched_log_sigma(t).clamp(min=least) - at_s.log_sigma.clamp(min=least)
    return check_falling(2 * (fade - growth))


def _to_infinity(first: Tensor, span: Tensor, count: int) -> Moments:
    """Return the integrals of Q' y^p dy, p = 1 to `count`, over y from 0 to a span, which may be infinite.

    For Q = first exp(-y) they are -first p! P(p + 1, span), P being the regularised incomplete gamma function.
    """
    top = torch.special.gammainc(torch.full_like(span, count + 1.0), span)
    found = [-math.factorial(count) * first * top]
    # Downwards, P(p, y) = P(p + 1, y) + y^p e^-y / p!, nothing cancels.
    for p in range(count, 1, -1):
        fading = torch.where(span == torch.inf, 0.0, span**p * (-span).exp())
        found.insert(0, (found[0] - first * fading) / p)
    return tuple(found)
