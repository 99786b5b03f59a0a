r"""Multistep samplers that follow the noise instead of the data.

The probability flow can be solved for either of the two that a latent is made of. With the noise
e = (u - alpha u_hat) / sigma instead of the data u_hat,

    u_s = alpha_s / alpha_t u_t + alpha_s integral of e(tau) d(sigma / alpha),

again exact but for what is followed; e is extrapolated through its values at the last times, per coefficient, in the
log-SNR (Zhang & Chen, 2023, for isotropic diffusion, in other variables). The estimate of the data moves most where
noise hides it, the noise where there is hardly any: which of the two is better followed depends on the data and on the
process. Following the noise divides by alpha, so that blurs which leave nothing are out of its reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from ..degradations import Deterministic
from ..degradations.level import posterior_coefficients
from ..degradations.predictions import LARGEST_GAIN, Conversion
from ..models import AbstractDenoiser, Prior
from .base import End, Sampler
from .exponential import Variable, extrapolation, noise_step
from .signals import Dual, mix
from .walk import PlannedStep, Walk

_ORDERS = (2, 3, 4)


class NoiseSteps(NamedTuple):
    """A step z_s = latent z_t + outputs y + sum_j noises[j] e_j, per coefficient, y the network's output.

    Attributes:
        latent: share of the latent.
        outputs: share of the network's output, for a step from a time without signal; else empty.
        noises: shares of the estimates of the noise, the newest first; empty for such a step.
        conversion: turns latent and output at t into the noise.
        mended: the step before once more, with the estimate that it led to: shares of the latent it came from, and of
            the estimates, the newest first. Empty where that step is left as it was.
    """

    latent: Float[Tensor, "steps ..."]
    outputs: tuple[Float[Tensor, "steps ..."], ...]
    noises: tuple[Float[Tensor, "steps ..."], ...]
    conversion: Conversion
    mended: tuple[Float[Tensor, "steps ..."], ...]


class NoiseMultistepSampler(Sampler):
    """Solves the probability flow by an exponential multistep method for the noise: one network call per step.

    The first steps are of lower order, until there are estimates enough, and are made anew once the network has seen
    where they led, without a further call; `step` is such a first step. For smooth processes orders 2 and 3 are what
    they say; 4 has smaller errors, which its first step leaves of third order in the end. A step from a time without
    signal, such as t = 1 of rectified flow, is one of `PosteriorSampler(coupling=Deterministic())`. The step to t = 0
    takes away what noise z_0 has, (z_0 - sigma_0 e) / alpha_0, with e extrapolated in time to t = 0 through the last
    two times.

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,).
        order: 2, 3 or 4.
        variable: what the noise is extrapolated in.
        corrector: whether first steps are made anew; without it the order is 2 in the end, whatever `order` says.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `Sampler`; the order is another; or at some time of the grid between 0 and 1 a coefficient has no
            noise, or so little signal that dividing by it would drown it in rounding errors.
    """

    def __init__(  # each is a choice of its own
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        order: int = 3,
        variable: Variable = Variable.LOG_SNR,
        corrector: bool = True,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        if order not in _ORDERS:
            msg = f"order must be 2, 3 or 4, got {order}"
            raise ValueError(msg)
        check_instance("variable", variable, Variable, "Variable.LOG_SNR or Variable.TIME")
        self.order, self.variable, self.corrector = order, variable, corrector
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)
        process = self.process
        at = process.log_coefficients(process.to_schedule_dtype(self.times[:-1]))
        signal = at.log_alpha.exp().expand(len(self.times) - 1, *process.shape).flatten(1).amin(1)
        # At t = 1 the step is another if no signal is left; with less than is safe, but some, it would be lost.
        weak = (signal < 1 / LARGEST_GAIN) & ~((signal == 0) & (torch.arange(len(signal)).to(signal.device) == 0))
        if bool(weak.any()) or bool((at.log_sigma == -torch.inf).any()):
            what = "so little signal" if bool(weak.any()) else "no noise"
            msg = (
                f"{type(process).__name__} has {what} in some coefficient on this grid, by which following the noise"
                " divides: take MultistepSampler, which follows the data"
            )
            raise ValueError(msg)

    def coefficients(
        self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"], *older: Float[Tensor, "*steps"]
    ) -> NoiseSteps:
        """See `Sampler.coefficients`; `older` are the times of the steps before, the latest first."""
        process = self.process
        start, end = process.log_coefficients(s), process.log_coefficients(t)
        sigma = end.log_sigma.exp()
        latent, output = self.denoiser.prediction.conversion(process, t, end.log_alpha, at=end)
        conversion = Conversion((1 - latent) / sigma, -output / sigma)
        last = self.ends(s)
        step = noise_step(process, (t, *older), t, s, variable=self.variable)
        known = (t, *older)[:2]
        left = [process.expand_times(w) for w in extrapolation(known, s)] + [torch.zeros_like(sigma)] * len(older[1:])
        sigma_s, alpha_s = start.log_sigma.exp(), start.log_alpha.exp()
        return NoiseSteps(
            latent=torch.where(last, step.latent / alpha_s, step.latent),
            outputs=(),
            noises=tuple(
                torch.where(last, (w - sigma_s * a) / alpha_s, w) for w, a in zip(step.estimates, left, strict=True)
            ),
            conversion=conversion,
            mended=self._mended(t, *older) if self.corrector and 0 < len(older) < self.order - 1 else (),
        )

    def from_nothing(self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"]) -> NoiseSteps:
        """Return the coefficients of steps from times without signal, where the data's estimate is all there is."""
        process, prediction = self.process, self.denoiser.prediction
        start, end = process.log_coefficients(s), process.log_coefficients(t)
        posterior = posterior_coefficients(start, end, Deterministic())
        last = self.ends(s)
        conversion = prediction.conversion(process, t, torch.where(last, 0.0, start.log_alpha), at=end)
        share = torch.where(last, 1.0, posterior.signal)
        return NoiseSteps(
            latent=torch.where(last, 0.0, posterior.latent) + share * conversion.latent,
            outputs=(share * conversion.output,),
            noises=(),
            conversion=conversion,
            mended=(),
        )

    def plan(self, grid: Float[Tensor, " times"], dtype: torch.dtype) -> Iterator[PlannedStep]:
        """See `Sampler.plan`."""
        steps = len(grid) - 1
        empty = bool((self.process.log_coefficients(grid[0]).log_alpha == -torch.inf).any())
        if empty:
            yield from self.tabulated(self.from_nothing, grid[:1], grid[1:2], dtype=dtype)
        first = int(empty)
        # The next steps one by one, as each has more estimates than the one before; then all others alike.
        full = min(first + self.order - 1, steps)
        for start, end in [*((k, k + 1) for k in range(first, full)), (full, steps)]:
            older = [grid[start - j : end - j] for j in range(1, min(start - first, self.order - 1) + 1)]
            if start < end:
                yield from self.tabulated(
                    self.coefficients, grid[start:end], grid[start + 1 : end + 1], *older, dtype=dtype
                )

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """See `Sampler.advance`."""
        c: NoiseSteps = step.coefficients
        before, y = walk.latent, walk.output(walk.latent, step.t)
        if c.outputs:
            walk.latent = mix((before, c.latent), (y, c.outputs[0]))
        else:
            noise = mix((before, c.conversion.latent), (y, c.conversion.output))
            known = [noise, *walk.past]
            here = before
            if c.mended and walk.origin is not None:
                here = mix((walk.origin, c.mended[0]), *zip(known, c.mended[1:], strict=True))
            walk.origin = here
            walk.latent = mix((here, c.latent), *zip(known, c.noises, strict=False))
            walk.past = known[: self.order - 1]

        def prediction() -> Dual:
            share, factor = self.denoiser.prediction.conversion(self.process, step.t)
            dtype = before.at_hand.dtype
            return mix((before, share.to(dtype)), (y, factor.to(dtype)))

        walk.prediction = prediction

    def _mended(self, s: Tensor, t: Tensor, *older: Tensor) -> tuple[Tensor, ...]:
        """Return shares with which a step from `t` to `s` is made anew: latent at t, noises at s, t and before."""
        step = noise_step(self.process, (t, s, *older), t, s, variable=self.variable)
        at_t, at_s, *before = step.estimates
        return step.latent, at_s, at_t, *before
