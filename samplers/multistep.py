r"""Multistep samplers: the probability flow to second or third order with one network call per step.

Each step is exact but for the estimate of the data, which is extrapolated through its values at the last two or three
times, per coefficient; see `exponential`. For isotropic noise, in the log-SNR and without the corrector, this is the
multistep form of DPM-Solver++ (Lu et al., 2022), up to terms of the order of its error. In time, the default, it needs
no coefficient's log-SNR to move, and is the more accurate of the two at few steps of most processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from ..degradations.predictions import Conversion
from ..models import AbstractDenoiser, Prior
from .base import End, Sampler
from .exponential import Variable, exponential_step, extrapolation
from .signals import mix
from .walk import PlannedStep, Walk


class MultistepCoefficients(NamedTuple):
    """A step z_s = latent z_t + sum_j estimates[j] u_hat_j, per coefficient.

    Attributes:
        latent: share of the latent.
        estimates: shares of the estimates, the newest first.
        conversion: turns latent and output at t into an estimate.
        mended: the step before once more, with the estimate that it led to: shares of the latent it came from, and of
            the estimates, the newest first. Empty where that step is left as it was.
    """

    latent: Float[Tensor, "steps ..."]
    estimates: tuple[Float[Tensor, "steps ..."], ...]
    conversion: Conversion
    mended: tuple[Float[Tensor, "steps ..."], ...]


class MultistepSampler(Sampler):
    """Solves the probability flow by an exponential multistep method: one network call per step.

    The first steps are of lower order, until there are estimates enough; `step` is such a first step. The step to t = 0
    returns the estimate, extrapolated to t = 0 through the same times as the others are.

    With the corrector, a step is made anew once the network has seen the latent it led to, interpolating where it had
    extrapolated (Zhao et al., 2023, UniPC, for isotropic noise); this takes no further call. It leaves errors several
    times smaller, and mends the first step, whose error would keep the third order from being one. The states of a
    trajectory are those that the network saw.

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,).
        order: 2 or 3; 1 is `PosteriorSampler(coupling=Deterministic())`.
        variable: what estimates are extrapolated in. In the log-SNR the order is the one asked for only where that is
            finite: infinite at t = 1 it leaves the second at most, and at t = 0 a uniform grid may leave the first.
        corrector: whether steps are made anew; without it the third order is one from the third step on only.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `Sampler`, or the order is neither 2 nor 3.
    """

    def __init__(  # each is a choice of its own
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        order: int = 2,
        variable: Variable = Variable.TIME,
        corrector: bool = True,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        if order not in (2, 3):
            msg = f"order must be 2 or 3, got {order} (the first order is PosteriorSampler with Deterministic())"
            raise ValueError(msg)
        check_instance("variable", variable, Variable, "Variable.TIME or Variable.LOG_SNR")
        self.order, self.variable, self.corrector = order, variable, corrector
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)

    def coefficients(
        self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"], *older: Float[Tensor, "*steps"]
    ) -> MultistepCoefficients:
        """See `Sampler.coefficients`; `older` are the times of the steps before, the latest first."""
        process = self.process
        stencil = (t, *older)
        step = exponential_step(process, stencil, t, s, variable=self.variable)
        last = self.ends(s)
        at_data = [process.expand_times(weight) for weight in extrapolation(stencil, s)]
        return MultistepCoefficients(
            latent=torch.where(last, 0.0, step.latent),
            estimates=tuple(torch.where(last, a, w) for a, w in zip(at_data, step.estimates, strict=True)),
            conversion=self.denoiser.prediction.conversion(process, t),
            mended=self._mended(t, *older) if self.corrector and older else (),
        )

    def plan(self, grid: Float[Tensor, " times"], dtype: torch.dtype) -> Iterator[PlannedStep]:
        """See `Sampler.plan`."""
        steps = len(grid) - 1
        # The first steps one by one, as each has more estimates than the one before; then all others alike.
        blocks = [(k, k + 1) for k in range(min(self.order - 1, steps))]
        if steps >= self.order:
            blocks.append((self.order - 1, steps))
        for first, end in blocks:
            older = [grid[first - j : end - j] for j in range(1, min(first, self.order - 1) + 1)]
            yield from self.tabulated(
                self.coefficients, grid[first:end], grid[first + 1 : end + 1], *older, dtype=dtype
            )

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """See `Sampler.advance`."""
        c: MultistepCoefficients = step.coefficients
        estimate = walk.estimate(walk.latent, step.t, c.conversion)
        known = [estimate, *walk.past]
        if c.mended and walk.origin is not None:
            walk.latent = mix((walk.origin, c.mended[0]), *zip(known, c.mended[1:], strict=True))
        walk.origin = walk.latent
        terms = list(zip(known, c.estimates, strict=False))
        # What is past t = 0 is the data's estimate alone.
        latent = [] if step.to_data and self.end is End.ESTIMATE else [(walk.latent, c.latent)]
        walk.latent = mix(*latent, *terms)
        walk.past = known[: self.order - 1]
        walk.prediction = lambda: estimate

    def _mended(self, s: Tensor, t: Tensor, *older: Tensor) -> tuple[Tensor, ...]:
        """Return shares with which a step from `t` to `s` is made anew: latent at t, estimates at s, t and before."""
        step = exponential_step(self.process, (t, s, *older), t, s, variable=self.variable)
        at_t, at_s, *before = step.estimates
        return step.latent, at_s, at_t, *before
