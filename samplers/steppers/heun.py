r"""Heun's method: two network calls per step, second order, for the probability flow and for reverse diffusions.

A first step is made with the network's output at t; at the latent that it leads to a second output is made; then the
step is taken once more with what is followed, the estimate of the data or the noise, on a straight line from the one to
the other (see `exponential.py`, where the linear part and the noise are exact):

    u_s = c u_t + w_t u_hat(u_t, t) + w_s u_hat(u_s', s) + stddev epsilon.

Following the noise on a straight line of sigma / alpha is the method of Karras et al. (2022, algorithm 1), coefficient
by coefficient: the mean of the two slopes of u / alpha by sigma / alpha. With a share eta of the forward noise the
first guess is made *with the noise that the step adds*: the distribution of samples is then off by second order in the
step, as an estimate that moves with the noise would be missed otherwise (weak second order; a single path is off by
more).

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
from ...core.rates import root
from ...core.root_finding import invert_distribution
from ...degradations import Level, LinearGaussianProcess, log_transition
from ...degradations.level import log_ratio
from ...degradations.predictions import Conversion
from ..exponential import Interval, data_interval, noise_interval
from ..following import Follow, Variable, check_following, outweighed, require_both
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


class ChurnShares(NamedTuple):
    """The way back to a later time t': a factor of the latent, the added noise's standard deviation, and t' itself."""

    fade: Float[Tensor, "steps ..."]
    spread: Float[Tensor, "steps ..."]
    later: Float[Tensor, "steps ..."]


class HeunShares(NamedTuple):
    """What a step is made of: shares of latents and network outputs, per coefficient.

    Attributes:
        churn: what is done before the step, after which t is t'; empty without churn.
        guess: the first step's shares of the latent and of the output at t.
        step: the second one's, of these two, and of the guess and the output at s.
        stddev: standard deviation of the noise that both steps add; empty where none is.
    """

    churn: ChurnShares | tuple[()]
    guess: tuple[Float[Tensor, "steps ..."], ...]
    step: tuple[Float[Tensor, "steps ..."], ...]
    stddev: tuple[Float[Tensor, "steps ..."], ...]


@dataclass(frozen=True)
class Heun(Stepper):
    """Heun's method: second order, two network calls per step, one for the last.

    The step to t = 0 takes the estimate at the time before it, as Karras et al. (2022) do: where the noise at t = 0 is
    not zero, or falls to zero like the root of t, this step is of first order in its own length. In the second case the
    log-SNR changes much in the few steps before it too: on a uniform grid they leave an error of first order as well.

    Attributes:
        eta: share of the forward noise: 0 is the probability flow, 1 the time reversal. The data alone is followed
            then.
        follow: what is interpolated. Following the noise is the method of Karras et al. (2022). A coefficient without
            signal at t follows the data.
        variable: what it is interpolated in; None is time for the data and sigma / alpha for the noise.
        churn: noise that is added before steps and taken away by them; none if None.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: eta is negative or not finite, or what is followed does not go with it or with the variable.
    """

    eta: float = 0.0
    follow: Follow = Follow.DATA
    variable: Variable | None = None
    churn: Churn | None = None

    def __post_init__(self) -> None:
        check_following(self.follow, self.variable, self.eta)
        if self.churn is not None:
            check_instance("churn", self.churn, Churn, "Churn(amount=10.0) for example")

    @override
    def check(self, problem: Problem) -> None:
        if self.churn is not None or self.eta:
            problem.require_noise("churn" if self.churn is not None else f"eta={self.eta}")
        if self.follow is Follow.NOISE:
            require_both(problem)

    @override
    def draws_noise(self, problem: Problem) -> bool:
        return self.churn is not None or self.eta > 0

    @override
    def coefficients(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> HeunShares:
        churn: ChurnShares | tuple[()] = ()
        if self.churn is not None:
            at_t, churn = self._churned(problem, at_t)
        # The data's estimate, which stands in where the noise's cannot be made, is none of sigma / alpha.
        variable = Variable.LOG_SNR if self.variable is Variable.LOG_SNR else Variable.TIME
        data = data_interval(at_t, at_s, 2, eta=self.eta, variable=variable)
        to_data = problem.prediction.conversion(at_t)
        guess, step = _shares(data, to_data, problem.prediction.conversion(at_s))
        if self.follow is not Follow.DATA:
            noisy = outweighed(at_t, at_s) if self.follow is Follow.EITHER else at_t.log_alpha > -torch.inf
            pairs = zip((guess, step), self._following_noise(problem, at_t, at_s), strict=True)
            guess, step = (tuple(torch.where(noisy, n, d) for d, n in zip(*pair, strict=True)) for pair in pairs)
        nothing = torch.zeros_like(step[2])
        return HeunShares(
            churn=churn,
            guess=tuple(problem.at_end(at_s, e, g) for e, g in zip(to_data, guess, strict=True)),
            # Where it is not known in advance whether a step ends at 0, both of its parts lead to the estimate.
            step=tuple(problem.at_end(at_s, e, w) for e, w in zip((*to_data, nothing, nothing), step, strict=True)),
            stddev=(problem.at_end(at_s, 0.0, data.stddev),) if self.eta else (),
        )

    @override
    def advance(self, state: SamplerState, step: PlannedStep) -> None:
        shares: HeunShares = step.coefficients
        t = step.t
        if shares.churn:
            fade, spread, later = shares.churn
            state.latent = combine((state.latent, fade), noise=(spread, state.draw))
            # Times are kept in double precision where latents may be in single: the table's is close enough.
            t = later.flatten() if t.ndim else later.reshape(())
        before = state.latent
        output = state.output(before, t)
        noise: list[tuple[Spectral, Tensor]] = []
        if shares.stddev and not step.denoises:
            one = shares.stddev[0].new_ones((1,) * shares.stddev[0].ndim)
            noise = [(white(before, shares.stddev[0], state.draw), one)]
        state.latent = combine((before, shares.guess[0]), (output, shares.guess[1]), *noise)
        if step.denoises:
            return
        outputs = (before, output, state.latent, state.output(state.latent, step.s))
        state.latent = combine(*zip(outputs, shares.step, strict=True), *noise)

    def _following_noise(
        self, problem: Problem, at_t: Level, at_s: Level
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        interval = noise_interval(at_t, at_s, 2, variable=self.variable or Variable.NOISE_RATIO)
        guess, step = _shares(interval, problem.to_noise(at_t), problem.to_noise(at_s))
        # A latent without noise tells none: the first step is all there is.
        told, nothing = at_s.log_sigma > -torch.inf, torch.zeros_like(step[2])
        return guess, tuple(torch.where(told, w, g) for w, g in zip(step, (*guess, nothing, nothing), strict=True))

    def _churned(self, problem: Problem, at_t: Level) -> tuple[Level, ChurnShares]:
        """Return the level that churn goes back to, and the way there."""
        assert self.churn is not None
        process = problem.process
        back = process.at(self.churn.later_times(process, at_t.t, steps=len(problem.times) - 1))
        log_alpha, change = log_transition(at_t, back)
        spread = self.churn.noise * back.sigma * root(-torch.expm1(change))
        return back, ChurnShares(log_alpha.exp(), spread, process.expand_times(back.t))


def _shares(interval: Interval, at_t: Conversion, at_s: Conversion) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return shares of latents and outputs in the first step and in the second, from those of what is followed."""
    held, line = interval.step(interval.at_t), interval.step(interval.at_t, interval.at_s)
    guess, first, second = (
        # An estimate that counts for nothing may be one that cannot be made.
        [torch.where(weight == 0, 0.0, weight * c) for c in conversion]
        for weight, conversion in ((held.estimates[0], at_t), (line.estimates[0], at_t), (line.estimates[1], at_s))
    )
    c = interval.latent
    return (c + guess[0], guess[1]), (c + first[0], first[1], *second)


def _half_noise(process: LinearGaussianProcess, times: Tensor) -> Tensor:
    """Return log(sigma / alpha) per coefficient, cut to the band, (times, coefficients)."""
    at = process.at(times)
    half = log_ratio(at.log_sigma, at.log_alpha).clamp(-_BAND / 2, _BAND / 2)
    return half.expand(len(times), *process.shape).flatten(1)
