r"""Heun's method for the probability flow, second order with two network calls per step, and Karras' churn.

A first step is made with the estimate at t; at the latent that it leads to a second estimate is made; then the step is
made anew with the estimate running on a straight line from one to the other:

    u_s = c u_t + w_t u_hat(u_t, t) + w_s u_hat(u_s', s),

weights per coefficient from `exponential`, where the linear part is exact. (Karras et al., 2022, algorithm 1, average
the two slopes of du/dsigma instead, for isotropic noise. Both are of second order.)

Churn (Karras et al., 2022, algorithm 2) first adds noise and goes back by as much, so that errors made on the way are
partly forgotten. Here "by as much" is the process's own transition to the later time at which the mean noise-to-signal
ratio (the geometric mean over the coefficients that are neither all signal nor all noise at t) is 1 + gamma times as
large, or t = 1 where there is none. Each coefficient then has the noise, and the signal, that it has there: with an
exact denoiser marginals are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from ..core.root_finding import invert_distribution
from ..degradations.level import log_ratio, log_transition
from ..degradations.predictions import Conversion
from ..models import AbstractDenoiser, Prior
from .base import End, Sampler
from .exponential import Variable, exponential_step
from .signals import mix
from .walk import PlannedStep, Walk

_LARGEST_CHURN = math.sqrt(2) - 1
# Log-SNRs beyond +-20 are taken as all signal or all noise.
_BAND = 20.0


@dataclass(frozen=True)
class Churn:
    """Noise added before a step and taken away again by it (Karras et al., 2022, algorithm 2).

    Attributes:
        amount: S_churn; before each of N steps the noise-to-signal ratio is raised by the factor 1 + min(amount / N,
            sqrt(2) - 1), or to what it is at t = 1.
        earliest: only steps from times t >= earliest are churned (in place of S_tmin).
        latest: only steps from times t <= latest (S_tmax). At t = 1 there is no later time to go back to.
        noise: S_noise, by which the added noise's standard deviation is multiplied.

    Raises:
        ValueError: a number is out of range.
    """

    amount: float
    earliest: float = 0.0
    latest: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no amount of noise."""
        if not (0 <= self.amount < math.inf and 0 < self.noise < math.inf):
            msg = f"amount must be at least 0 and noise positive, got amount={self.amount}, noise={self.noise}"
            raise ValueError(msg)
        if not 0 <= self.earliest < self.latest <= 1:
            msg = f"0 <= earliest < latest <= 1, got earliest={self.earliest}, latest={self.latest}"
            raise ValueError(msg)

    def factor(self, steps: int) -> float:
        """Return by how much the noise-to-signal ratio is raised in each of so many steps."""
        return 1 + min(self.amount / steps, _LARGEST_CHURN)


class HeunCoefficients(NamedTuple):
    """What a step is made of.

    Attributes:
        fade: factor of the latent on its way back to the raised time t'.
        spread: standard deviation of the noise added on that way.
        latent: share of the latent at t' in that at s.
        held: share of the estimate at t', where it is the only one.
        estimates: shares of the estimates at t' and at s.
        at_t: turns latent and output at t' into an estimate.
        at_s: the same at s.
        raised: t' itself.
    """

    fade: Float[Tensor, "steps ..."]
    spread: Float[Tensor, "steps ..."]
    latent: Float[Tensor, "steps ..."]
    held: Float[Tensor, "steps ..."]
    estimates: tuple[Float[Tensor, "steps ..."], ...]
    at_t: Conversion
    at_s: Conversion
    raised: Float[Tensor, "steps ..."]


class HeunSampler(Sampler):
    """Solves the probability flow by Heun's method: second order, two network calls per step, one for the last.

    The step to t = 0 takes the estimate at the time before it, as Karras et al. (2022) do: where the noise at t = 0 is
    not zero, or falls to zero like the root of t, this step is of first order in its own length. In the second case the
    log-SNR changes much in the few steps before it too: on a uniform grid they leave an error of first order as well.

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,).
        variable: what estimates are interpolated in.
        churn: noise to be added on the way; none if None.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `Sampler`, or churn is asked for and the process is deterministic.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        variable: Variable = Variable.TIME,
        churn: Churn | None = None,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        check_instance("variable", variable, Variable, "Variable.TIME or Variable.LOG_SNR")
        if churn is not None:
            check_instance("churn", churn, Churn, "Churn(amount=10.0) for example")
        self.variable, self.churn = variable, churn
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)
        if churn is not None:
            self.require_noise("churn")

    @property
    def draws_noise(self) -> bool:
        """See `Sampler.draws_noise`."""
        return self.churn is not None

    def coefficients(self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"]) -> HeunCoefficients:
        """See `Sampler.coefficients`."""
        process, prediction = self.process, self.denoiser.prediction
        raised = t if self.churn is None else self._raised(t, self.churn)
        start, end = process.log_coefficients(t), process.log_coefficients(raised)
        fade, change = log_transition(start, end)
        factor = 1.0 if self.churn is None else self.churn.noise
        held = exponential_step(process, (raised,), raised, s)
        line = exponential_step(process, (raised, s), raised, s, variable=self.variable)
        last = self.ends(s)
        one, nothing = (torch.full_like(held.estimates[0], value) for value in (1.0, 0.0))
        return HeunCoefficients(
            fade=fade.exp(),
            spread=factor * end.log_sigma.exp() * (-torch.expm1(change)).sqrt(),
            latent=torch.where(last, nothing, held.latent),
            held=torch.where(last, one, held.estimates[0]),
            estimates=tuple(torch.where(last, w, e) for w, e in zip((one, nothing), line.estimates, strict=True)),
            at_t=prediction.conversion(process, raised),
            at_s=prediction.conversion(process, s),
            raised=process.expand_times(raised),
        )

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """See `Sampler.advance`."""
        c: HeunCoefficients = step.coefficients
        t = step.t
        if self.churn is not None:
            walk.latent = mix((walk.latent, c.fade), noise=(c.spread, walk.draw))
            t = c.raised.flatten() if t.ndim else c.raised.reshape(())
        before = walk.latent
        estimate = walk.estimate(before, t, c.at_t)
        walk.prediction = lambda: estimate
        guess = mix((before, c.latent), (estimate, c.held))
        if step.to_data and self.end is End.ESTIMATE:
            walk.latent = guess
            return
        later = walk.estimate(guess, step.s, c.at_s)
        walk.latent = mix((before, c.latent), (estimate, c.estimates[0]), (later, c.estimates[1]))

    def _raised(self, t: Tensor, churn: Churn) -> Tensor:
        """Return the later times that churn goes back to."""
        times = t.reshape(-1)
        # Coefficients that are all signal or all noise can hardly be raised: the mean is over the others.
        raisable = self._half_noise(times).abs() < _BAND / 2
        count = raisable.sum(1)

        def level(at: Tensor) -> Tensor:
            kept = torch.where(raisable, self._half_noise(at), 0.0)
            return kept.sum(1) / count.clamp(min=1)

        bottom, top = level(torch.zeros_like(times)), level(torch.ones_like(times))
        target = (level(times) + math.log(churn.factor(len(self.times) - 1)) - bottom) / (top - bottom)
        below_one = 1 - torch.finfo(target.dtype).eps
        found = invert_distribution(
            lambda at: (level(at) - bottom) / (top - bottom), target.nan_to_num(0.0).clamp(0.0, below_one)
        )
        found = torch.where(target > below_one, 1.0, found)
        churned = (times >= churn.earliest) & (times <= churn.latest) & (top - bottom > 0)
        return torch.where(churned, torch.maximum(found, times), times).reshape(t.shape)

    def _half_noise(self, times: Tensor) -> Tensor:
        """Return log(sigma / alpha) per coefficient, cut to the band, (times, coefficients)."""
        at = self.process.log_coefficients(times)
        half = log_ratio(at.log_sigma, at.log_alpha).clamp(-_BAND / 2, _BAND / 2)
        return half.expand(len(times), *self.process.shape).flatten(1)
