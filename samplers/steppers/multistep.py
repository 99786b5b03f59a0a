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

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...degradations import Deterministic, Level, posterior_coefficients
from ...degradations.predictions import Conversion
from ..exponential import ExponentialStep, Interval, data_interval, extrapolation, noise_interval, with_step_before
from ..following import Follow, Variable, check_following, outweighed, require_both
from ..spectral import Spectral, combine
from ..state import SamplerState
from ..stepper import PlannedStep, Problem, Stepper

_ORDERS = (1, 2, 3, 4)


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
        check_following(self.follow, self.variable, self.eta)

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
        if self.follow is Follow.NOISE:
            require_both(problem)

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
        step, corrected = self._data_steps(at_t, at_s, *older)
        at_data = extrapolation((at_t, *older), at_s)
        return MultistepShares(
            latent=problem.at_end(at_s, 0.0, step.latent),
            data=tuple(problem.at_end(at_s, a, w) for a, w in zip(at_data, step.estimates, strict=True)),
            noise=(),
            stddev=(problem.at_end(at_s, 0.0, step.stddev),) if self.eta else (),
            to_data=(problem.prediction.conversion(at_t),),
            to_noise=(),
            corrected=() if corrected is None else (corrected.latent, corrected.estimates, ()),
        )

    def _following_noise(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> MultistepShares:
        step, corrected = self._noise_steps(at_t, at_s, *older, corrects=len(older) < self.history)
        known = (at_t, *older)[:2]
        left = [*extrapolation(known, at_s), *[torch.zeros_like(at_t.sigma)] * len(older[1:])]
        return MultistepShares(
            latent=problem.at_end(at_s, step.latent / at_s.alpha, step.latent),
            data=(),
            noise=tuple(
                problem.at_end(at_s, (w - at_s.sigma * a) / at_s.alpha, w)
                for w, a in zip(step.estimates, left, strict=True)
            ),
            stddev=(),
            to_data=(),
            to_noise=(problem.to_noise(at_t),),
            corrected=() if corrected is None else (corrected.latent, (), corrected.estimates),
        )

    def _from_nothing(self, problem: Problem, at_t: Level, at_s: Level) -> MultistepShares:
        """Return the coefficients of steps from times without signal, where the data's estimate is all there is."""
        posterior = posterior_coefficients(at_s, at_t, Deterministic())
        return MultistepShares(
            latent=problem.at_end(at_s, 0.0, posterior.latent),
            data=(problem.at_end(at_s, 1.0, at_s.alpha * posterior.signal),),
            noise=(),
            stddev=(),
            to_data=(problem.prediction.conversion(at_t),),
            to_noise=(),
            corrected=(),
        )

    def _following_either(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> MultistepShares:
        data = self._following_data(problem, at_t, at_s, *older)
        step, corrected = self._noise_steps(at_t, at_s, *older, corrects=True)
        # To the data, the data is followed.
        noisy = outweighed(at_t, at_s, *older) & ~problem.ends(at_s)
        latent, shares, noises = _either(noisy, (data.latent, data.data, ()), (step.latent, (), step.estimates))
        before: tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]] | tuple[()] = ()
        if data.corrected and corrected is not None:
            # As the step before was taken.
            before = _either(outweighed(at_t, *older), data.corrected, (corrected.latent, (), corrected.estimates))
        seen = outweighed(at_t)
        to_noise = Conversion(*(torch.where(seen, c, 0.0) for c in problem.to_noise(at_t)))
        return data._replace(latent=latent, data=shares, noise=noises, to_noise=(to_noise,), corrected=before)

    def _data_steps(self, at_t: Level, at_s: Level, *older: Level) -> tuple[ExponentialStep, ExponentialStep | None]:
        """Return steps from `at_t` to `at_s`, and what corrects each one's step before, from the time before `at_t`."""
        variable = self.variable or Variable.TIME

        def interval(at_t: Level, at_s: Level) -> Interval:
            return data_interval(at_t, at_s, len(older) + 1, eta=self.eta, variable=variable)

        return _steps(interval, at_t, at_s, *older, corrects=self.corrector and not self.eta)

    def _noise_steps(
        self, at_t: Level, at_s: Level, *older: Level, corrects: bool
    ) -> tuple[ExponentialStep, ExponentialStep | None]:
        variable = self.variable or Variable.LOG_SNR

        def interval(at_t: Level, at_s: Level) -> Interval:
            return noise_interval(at_t, at_s, len(older) + 1, variable=variable)

        return _steps(interval, at_t, at_s, *older, corrects=self.corrector and corrects)


def _steps(
    interval: Callable[[Level, Level], Interval], at_t: Level, at_s: Level, *older: Level, corrects: bool
) -> tuple[ExponentialStep, ExponentialStep | None]:
    """Return steps through estimates at `at_t` and `older`, and their steps before, through `at_t` as well."""
    if not (corrects and older):
        return interval(at_t, at_s).step(at_t, *older), None
    here, before = with_step_before(interval, older[0], at_t, at_s)
    corrected = before.step(older[0], at_t, *older[1:])
    first, newest, *rest = corrected.estimates
    return here.step(at_t, *older), corrected._replace(estimates=(newest, first, *rest))


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
