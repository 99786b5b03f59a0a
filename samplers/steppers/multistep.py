r"""Exponential multistep methods: the probability flow, or a reverse diffusion, with one network call per step.

Each step is exact but for what is followed through the network's outputs at the last times: the estimate of the data,

    u_s = c u_t + integral of R'(tau) u_hat(tau) dtau + noise            (see `exponential`),

or the noise e = (u - alpha u_hat) / sigma that the latent has beside it,

    u_s = alpha_s / alpha_t u_t + alpha_s integral of e(tau) d(sigma / alpha),

extrapolated by a polynomial in time or in each coefficient's log-SNR. The estimate of the data moves most where noise
hides it, the noise where there is hardly any: which of the two is better followed depends on the data and on the
process. For isotropic noise, in the log-SNR and without the corrector, following the data is the multistep form of
DPM-Solver++ (Lu et al., 2022), up to terms of the order of its error, and following the noise is that of Zhang & Chen
(2023), in other variables. In time, the default, nothing needs a coefficient's log-SNR to move.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance, check_number
from ...degradations import Deterministic, Level, posterior_coefficients
from ...degradations.predictions import LARGEST_GAIN, Conversion
from ..exponential import Variable, exponential_step, extrapolation, noise_step
from ..spectral import Spectral, combine
from ..state import SamplerState
from ..stepper import PlannedStep, Problem, Stepper

_ORDERS = (1, 2, 3, 4)


class Follow(Enum):
    """What is extrapolated from step to step."""

    DATA = auto()
    """The estimate of the data: every process allows it."""

    NOISE = auto()
    """The noise: where every coefficient has both signal and noise between t = 0 and t = 1."""

    EITHER = auto()
    """The noise in coefficients whose signal outweighs it at all times of a step, the data in others: every process."""


class MultistepShares(NamedTuple):
    """A step z_s = latent z_t + sum_j data[j] u_hat_j + sum_j noise[j] e_j + stddev epsilon, per coefficient.

    Attributes:
        latent: share of the latent.
        data: shares of the estimates of the data, the newest first; empty where the noise alone is followed.
        noise: shares of the estimates of the noise, likewise.
        stddev: standard deviation of the noise that is added; empty where none is.
        to_data: turns latent and output at t into an estimate of the data; empty where the noise alone is followed.
        to_noise: turns them into the noise; empty where the data alone is followed.
        corrected: the step before once more, with the estimate that it led to: shares of the latent it came from, of
            the data and of the noise, the newest first. Empty where that step is left as it was.
    """

    latent: Float[Tensor, "steps ..."]
    data: tuple[Float[Tensor, "steps ..."], ...]
    noise: tuple[Float[Tensor, "steps ..."], ...]
    stddev: tuple[Float[Tensor, "steps ..."], ...]
    to_data: tuple[Conversion, ...]
    to_noise: tuple[Conversion, ...]
    corrected: tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]] | tuple[()]


@dataclass(frozen=True)
class Multistep(Stepper):
    """An exponential multistep method: one network call per step.

    The first steps are of lower order, until there are estimates enough. Following the data, the step to t = 0 returns
    the estimate, extrapolated to t = 0 through the same times as the others are. Following the noise, it takes away
    what noise z_0 has, (z_0 - sigma_0 e) / alpha_0, with e extrapolated in time through the last two times; a step from
    a time without signal, such as t = 1 of rectified flow, is one of `Posterior(coupling=Deterministic())`.

    With the corrector a step is taken once more when the network has seen the latent it led to, interpolating where it
    had extrapolated (Zhao et al., 2023, UniPC, for isotropic noise); this takes no further call. Following the data
    every step is corrected, which leaves errors several times smaller; following the noise the first steps are, whose
    error would keep the order from being the one asked for. The states of a trajectory are those that the network saw.

    For smooth processes the orders are what they say up to 3 with the corrector, and up to 2 without, as the first step
    is of first order; 4 has smaller errors, which its first step leaves of
    third order in the end. In the log-SNR the order is the one asked for only where that is finite: infinite at t = 1
    it leaves the second at most, and at t = 0 a uniform grid may leave the first.

    Attributes:
        order: 1 to 4; 1 following the data is `Posterior(coupling=ReverseSDE(eta))`.
        follow: what is extrapolated.
        variable: the variable of the polynomial; None is time for the data and the log-SNR for the noise.
        corrector: whether steps are corrected; with noise (eta > 0) they are not.
        eta: share of the forward noise: 0 is the probability flow, 1 the time reversal. The data alone is followed
            then. Errors of the *distribution* are of second order from order 2 on (weakly: what extrapolation misses of
            a step's noise it has of the step before), and smaller than Heun's; single paths are off by more.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: the order is another, eta is negative or not finite, or noise is added while noise is followed.
    """

    order: int = 2
    follow: Follow = Follow.DATA
    variable: Variable | None = None
    corrector: bool = True
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.order not in _ORDERS:
            msg = f"order must be 1, 2, 3 or 4, got {self.order}"
            raise ValueError(msg)
        check_instance("follow", self.follow, Follow, "Follow.DATA for example")
        if self.variable is not None:
            check_instance("variable", self.variable, Variable, "Variable.TIME or Variable.LOG_SNR")
        check_number("eta", self.eta, "[0, inf)", "0 is the probability flow, 1 the time reversal")
        if self.eta and self.follow is not Follow.DATA:
            msg = f"with noise (eta={self.eta}) the data is followed: take Follow.DATA, or eta=0"
            raise ValueError(msg)

    @property
    @override
    def history(self) -> int:
        return self.order - 1

    @override
    def draws_noise(self, problem: Problem) -> bool:
        return self.eta > 0

    @override
    def check(self, problem: Problem) -> None:
        if self.eta:
            problem.require_noise(f"eta={self.eta}")
        if self.follow is not Follow.NOISE:
            return
        process = problem.process
        at = process.at(problem.times[:-1])
        signal = at.alpha.expand(len(problem.times) - 1, *process.shape).flatten(1).amin(1)
        # At t = 1 the step is another if no signal is left; with less than is safe, but some, it would be lost.
        weak = (signal < 1 / LARGEST_GAIN) & ~((signal == 0) & (torch.arange(len(signal)).to(signal.device) == 0))
        if bool(weak.any()) or bool((at.log_sigma == -torch.inf).any()):
            what = "so little signal" if bool(weak.any()) else "no noise"
            msg = (
                f"{type(process).__name__} has {what} in some coefficient on this grid, by which following the noise"
                " divides: take Follow.DATA, or Follow.EITHER"
            )
            raise ValueError(msg)

    @override
    def first_remembered(self, problem: Problem, grid: Float[Tensor, " times"]) -> int:
        if self.follow is not Follow.NOISE:
            return 0
        # Of a latent without signal the network's output tells no noise beside the latent itself.
        return int(bool((problem.process.at(grid[0]).log_alpha == -torch.inf).any()))

    @override
    def coefficients(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> MultistepShares:
        if self.follow is Follow.DATA:
            return self._following_data(problem, at_t, at_s, *older)
        if self.follow is Follow.NOISE:
            empty = not older and bool((at_t.log_alpha == -torch.inf).any())
            return (
                self._from_nothing(problem, at_t, at_s) if empty else self._following_noise(problem, at_t, at_s, *older)
            )
        return self._following_either(problem, at_t, at_s, *older)

    @override
    def advance(self, state: SamplerState, step: PlannedStep) -> None:
        shares: MultistepShares = step.coefficients
        latent, output = state.latent, state.output(state.latent, step.t)
        now = (
            *(state.as_data(latent, output, conversion) for conversion in shares.to_data),
            *(combine((latent, to_noise.latent), (output, to_noise.output)) for to_noise in shares.to_noise),
        )
        known = [now, *state.past]
        if shares.corrected and state.origin is not None:
            origin, *parts = shares.corrected
            latent = combine((state.origin, origin), *_terms(known, parts))
        state.origin = latent
        # Past t = 0 there is the data's estimate alone, unless the noise is taken away from the latent.
        alone = step.denoises and not shares.noise
        noise = (shares.stddev[0], state.draw) if shares.stddev and not step.denoises else None
        terms = _terms(known, (shares.data, shares.noise))
        state.latent = combine(*([] if alone else [(latent, shares.latent)]), *terms, noise=noise)
        if now:
            state.past = known[: self.history]

    # ---- coefficients -------------------------------------------------------------------------------------

    def _following_data(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> MultistepShares:
        stencil = (at_t, *older)
        step = exponential_step(stencil, at_t, at_s, eta=self.eta, variable=self.variable or Variable.TIME)
        last = problem.ends(at_s)
        at_data = extrapolation(stencil, at_s)
        corrects = self.corrector and bool(older) and not self.eta
        return MultistepShares(
            latent=torch.where(last, 0.0, step.latent),
            data=tuple(torch.where(last, a, w) for a, w in zip(at_data, step.estimates, strict=True)),
            noise=(),
            stddev=(torch.where(last, 0.0, step.stddev),) if self.eta else (),
            to_data=(problem.prediction.conversion(at_t),),
            to_noise=(),
            corrected=self._corrected_data(at_t, *older) if corrects else (),
        )

    def _following_noise(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> MultistepShares:
        step = noise_step((at_t, *older), at_t, at_s, variable=self.variable or Variable.LOG_SNR)
        last = problem.ends(at_s)
        known = (at_t, *older)[:2]
        left = [*extrapolation(known, at_s), *[torch.zeros_like(at_t.sigma)] * len(older[1:])]
        corrects = self.corrector and 0 < len(older) < self.history
        return MultistepShares(
            latent=torch.where(last, step.latent / at_s.alpha, step.latent),
            data=(),
            noise=tuple(
                torch.where(last, (w - at_s.sigma * a) / at_s.alpha, w)
                for w, a in zip(step.estimates, left, strict=True)
            ),
            stddev=(),
            to_data=(),
            to_noise=(_to_noise(problem, at_t),),
            corrected=self._corrected_noise(at_t, *older) if corrects else (),
        )

    def _from_nothing(self, problem: Problem, at_t: Level, at_s: Level) -> MultistepShares:
        """Return the coefficients of steps from times without signal, where the data's estimate is all there is."""
        posterior = posterior_coefficients(at_s, at_t, Deterministic())
        last = problem.ends(at_s)
        return MultistepShares(
            latent=torch.where(last, 0.0, posterior.latent),
            data=(torch.where(last, 1.0, at_s.alpha * posterior.signal),),
            noise=(),
            stddev=(),
            to_data=(problem.prediction.conversion(at_t),),
            to_noise=(),
            corrected=(),
        )

    def _following_either(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> MultistepShares:
        data = self._following_data(problem, at_t, at_s, *older)
        noise = self._following_noise(problem, at_t, at_s, *older)
        # To the data, the data is followed.
        noisy = _outweighed((at_t, at_s, *older)) & ~problem.ends(at_s)
        corrected: tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]] | tuple[()] = ()
        if data.corrected:
            with_data, with_noise = self._corrected_data(at_t, *older), self._corrected_noise(at_t, *older)
            # As the step before was taken.
            corrected = _either(_outweighed((at_t, *older)), with_data, with_noise)
        latent, shares, noises = _either(noisy, (data.latent, data.data, ()), (noise.latent, (), noise.noise))
        return MultistepShares(
            latent=latent,
            data=shares,
            noise=noises,
            stddev=(),
            to_data=data.to_data,
            to_noise=(Conversion(*(torch.where(_outweighed((at_t,)), c, 0.0) for c in noise.to_noise[0])),),
            corrected=corrected,
        )

    def _corrected_data(self, at_s: Level, at_t: Level, *older: Level) -> tuple[Tensor, tuple[Tensor, ...], tuple[()]]:
        """Return shares that correct a step from `at_t` to `at_s`: latent at t; estimates at s, t and before."""
        step = exponential_step((at_t, at_s, *older), at_t, at_s, variable=self.variable or Variable.TIME)
        known_t, known_s, *before = step.estimates
        return step.latent, (known_s, known_t, *before), ()

    def _corrected_noise(self, at_s: Level, at_t: Level, *older: Level) -> tuple[Tensor, tuple[()], tuple[Tensor, ...]]:
        step = noise_step((at_t, at_s, *older), at_t, at_s, variable=self.variable or Variable.LOG_SNR)
        known_t, known_s, *before = step.estimates
        return step.latent, (), (known_s, known_t, *before)


def _to_noise(problem: Problem, at: Level) -> Conversion:
    """Return the conversion to the noise e = (u - alpha u_hat) / sigma."""
    latent, output = problem.prediction.conversion(at, at.log_alpha)
    return Conversion((1 - latent) / at.sigma, -output / at.sigma)


def _terms(
    known: list[tuple[Spectral, ...]], shares: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | list[tuple[Tensor, ...]]
) -> list[tuple[Spectral, Tensor]]:
    """Return estimates with their shares: the data's first where both are followed, then the noise's."""
    data, noise = shares
    terms = list(zip([each[0] for each in known], data, strict=False)) if data else []
    return terms + (list(zip([each[-1] for each in known], noise, strict=False)) if noise else [])


def _either(
    noisy: Tensor,
    data: tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]],
    noise: tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]],
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the shares of the noise's formula where it is followed, of the data's elsewhere."""
    return (
        torch.where(noisy, noise[0], data[0]),
        tuple(torch.where(noisy, 0.0, share) for share in data[1]),
        tuple(torch.where(noisy, share, 0.0) for share in noise[2]),
    )


def _outweighed(levels: tuple[Level, ...]) -> Tensor:
    """Tell in which coefficients the noise is followed: some, and no more than signal, at all of these levels.

    What is divided by is then no smaller than the noise. On Gaussian data with the spectrum of photographs and balanced
    grids of 20 to 40 steps, errors of isotropic noise and of variance-preserving and diffusing blurs are up to three
    times smaller than those of following the data alone; where all coefficients vary alike they may be several times
    larger.
    """
    outweighed = [(at.log_snr >= 0) & (at.log_sigma > -torch.inf) for at in levels]
    return functools.reduce(torch.logical_and, outweighed)
