r"""Heun's method: two network calls per step, second order, for the probability flow and for reverse diffusions.

A first step is made with the estimate at t; at the latent that it leads to a second estimate is made; then the step is
taken once more with the estimate running on a straight line from one to the other:

    u_s = c u_t + w_t u_hat(u_t, t) + w_s u_hat(u_s', s) + stddev epsilon,

weights per coefficient from `exponential`, where the linear part and the noise are exact. (Karras et al., 2022,
algorithm 1, average the two slopes of du/dsigma instead, for isotropic noise. Both are of second order.) With a share
eta of the forward noise the first guess is made *with the noise that the step adds*: the distribution of samples is
and so off by second order in the step, as an estimate that moves with the noise would be missed otherwise (weak second
order; a single path is off by more).

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
from typing_extensions import override

from ...core.checks import check_instance, check_number
from ...core.root_finding import invert_distribution
from ...degradations import Level, LinearGaussianProcess, log_transition
from ...degradations.level import log_ratio
from ...degradations.predictions import Conversion
from ..exponential import Variable, exponential_step
from ..spectral import Spectral, combine, white
from ..state import SamplerState
from ..stepper import PlannedStep, Problem, Stepper

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
        check_number("amount", self.amount, "[0, inf)")
        check_number("noise", self.noise, "(0, inf)")
        if not 0 <= self.earliest < self.latest <= 1:
            msg = f"0 <= earliest < latest <= 1, got earliest={self.earliest}, latest={self.latest}"
            raise ValueError(msg)

    def factor(self, steps: int) -> float:
        """Return by how much the noise-to-signal ratio is raised in each of so many steps."""
        return 1 + min(self.amount / steps, _LARGEST_CHURN)

    def later_times(
        self, process: LinearGaussianProcess, t: Float[Tensor, "*steps"], *, steps: int
    ) -> Float[Tensor, "*steps"]:
        """Return the later times that churn goes back to from checked times `t`, in a run of so many steps."""
        times = t.reshape(-1)
        # Coefficients that are all signal or all noise can hardly be raised: the mean is over the others.
        raisable = _half_noise(process, times).abs() < _BAND / 2
        count = raisable.sum(1)

        def level(at: Tensor) -> Tensor:
            kept = torch.where(raisable, _half_noise(process, at), 0.0)
            return kept.sum(1) / count.clamp(min=1)

        bottom, top = level(torch.zeros_like(times)), level(torch.ones_like(times))
        target = (level(times) + math.log(self.factor(steps)) - bottom) / (top - bottom)
        below_one = 1 - torch.finfo(target.dtype).eps
        found = invert_distribution(
            lambda at: (level(at) - bottom) / (top - bottom), target.nan_to_num(0.0).clamp(0.0, below_one)
        )
        found = torch.where(target > below_one, 1.0, found)
        churned = (times >= self.earliest) & (times <= self.latest) & (top - bottom > 0)
        return torch.where(churned, torch.maximum(found, times), times).reshape(t.shape)


class HeunShares(NamedTuple):
    """What a step is made of.

    Attributes:
        fade: factor of the latent on its way back to the churned time t'; empty without churn.
        spread: standard deviation of the noise added on that way; likewise.
        churned: t' itself; likewise.
        latent: share of the latent at t' in that at s.
        first_order: share of the estimate at t', where it is the only one.
        estimates: shares of the estimates at t' and at s.
        stddev: standard deviation of the noise that the step adds; empty where none is.
        at_t: turns latent and output at t' into an estimate.
        at_s: the same at s.
    """

    fade: tuple[Float[Tensor, "steps ..."], ...]
    spread: tuple[Float[Tensor, "steps ..."], ...]
    churned: tuple[Float[Tensor, "steps ..."], ...]
    latent: Float[Tensor, "steps ..."]
    first_order: Float[Tensor, "steps ..."]
    estimates: tuple[Float[Tensor, "steps ..."], ...]
    stddev: tuple[Float[Tensor, "steps ..."], ...]
    at_t: Conversion
    at_s: Conversion


@dataclass(frozen=True)
class Heun(Stepper):
    """Heun's method: second order, two network calls per step, one for the last.

    The step to t = 0 takes the estimate at the time before it, as Karras et al. (2022) do: where the noise at t = 0 is
    not zero, or falls to zero like the root of t, this step is of first order in its own length. In the second case the
    log-SNR changes much in the few steps before it too: on a uniform grid they leave an error of first order as well.

    Attributes:
        eta: share of the forward noise: 0 is the probability flow, 1 the time reversal.
        variable: what estimates are interpolated in.
        churn: noise that is added before steps and taken away by them; none if None.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: eta is negative or not finite.
    """

    eta: float = 0.0
    variable: Variable = Variable.TIME
    churn: Churn | None = None

    def __post_init__(self) -> None:
        check_number("eta", self.eta, "[0, inf)", "0 is the probability flow, 1 the time reversal")
        check_instance("variable", self.variable, Variable, "Variable.TIME or Variable.LOG_SNR")
        if self.churn is not None:
            check_instance("churn", self.churn, Churn, "Churn(amount=10.0) for example")

    @override
    def check(self, problem: Problem) -> None:
        if self.churn is not None or self.eta:
            problem.require_noise("churn" if self.churn is not None else f"eta={self.eta}")

    @override
    def draws_noise(self, problem: Problem) -> bool:
        return self.churn is not None or self.eta > 0

    @override
    def coefficients(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> HeunShares:
        process, prediction = problem.process, problem.prediction
        fade: tuple[Tensor, ...] = ()
        spread: tuple[Tensor, ...] = ()
        churned: tuple[Tensor, ...] = ()
        if self.churn is not None:
            back = process.at(self.churn.later_times(process, at_t.t, steps=len(problem.times) - 1))
            log_alpha, change = log_transition(at_t, back)
            fade = (log_alpha.exp(),)
            spread = (self.churn.noise * back.sigma * (-torch.expm1(change)).sqrt(),)
            churned = (process.expand_times(back.t),)
            at_t = back
        first_order = exponential_step((at_t,), at_t, at_s, eta=self.eta)
        line = exponential_step((at_t, at_s), at_t, at_s, eta=self.eta, variable=self.variable)
        last = problem.ends(at_s)
        one, nothing = (torch.full_like(first_order.estimates[0], value) for value in (1.0, 0.0))
        return HeunShares(
            fade=fade,
            spread=spread,
            churned=churned,
            latent=torch.where(last, nothing, first_order.latent),
            first_order=torch.where(last, one, first_order.estimates[0]),
            estimates=tuple(torch.where(last, w, e) for w, e in zip((one, nothing), line.estimates, strict=True)),
            stddev=(torch.where(last, nothing, first_order.stddev),) if self.eta else (),
            at_t=prediction.conversion(at_t),
            at_s=prediction.conversion(at_s),
        )

    @override
    def advance(self, state: SamplerState, step: PlannedStep) -> None:
        shares: HeunShares = step.coefficients
        t = step.t
        if shares.churned:
            state.latent = combine((state.latent, shares.fade[0]), noise=(shares.spread[0], state.draw))
            # Times are kept in double precision where latents may be in single: the table's is close enough.
            t = shares.churned[0].flatten() if t.ndim else shares.churned[0].reshape(())
        before = state.latent
        estimate = state.estimate(before, t, shares.at_t)
        noise: list[tuple[Spectral, Tensor]] = []
        if shares.stddev and not step.denoises:
            one = shares.latent.new_ones((1,) * shares.latent.ndim)
            noise = [(white(before, shares.stddev[0], state.draw), one)]
        start = [] if step.denoises else [(before, shares.latent)]
        guess = combine(*start, (estimate, shares.first_order), *noise)
        if step.denoises:
            state.latent = guess
            return
        later = state.estimate(guess, step.s, shares.at_s)
        state.latent = combine(
            (before, shares.latent), (estimate, shares.estimates[0]), (later, shares.estimates[1]), *noise
        )


def _half_noise(process: LinearGaussianProcess, times: Tensor) -> Tensor:
    """Return log(sigma / alpha) per coefficient, cut to the band, (times, coefficients)."""
    at = process.at(times)
    half = log_ratio(at.log_sigma, at.log_alpha).clamp(-_BAND / 2, _BAND / 2)
    return half.expand(len(times), *process.shape).flatten(1)
