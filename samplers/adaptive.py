"""The probability flow with steps chosen by a solver: as many network calls as a tolerance takes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_signal
from ..core.evaluation_mode import evaluating
from ..core.precision import to_compute_dtype
from ..degradations.predictions import Conversion
from ..models import AbstractDenoiser, Prior
from .base import End, Sampler
from .exponential import exponential_step
from .probability_flow import FlowField, solve
from .signals import Dual, mix
from .walk import PlannedStep, Walk

_FIRST = 1e-3


class LastStep(NamedTuple):
    """A step of first order, for where the flow ends: shares of latent and estimate, and what makes the estimate."""

    latent: Float[Tensor, "steps ..."]
    estimate: Float[Tensor, "steps ..."]
    conversion: Conversion


class AdaptiveSampler(Sampler):
    """Solves the probability flow with adaptive steps (Dormand & Prince, 1980, fifth order, by torchdiffeq).

    Between the times of the grid the solver chooses its own steps, such that every sample of a batch stays within the
    tolerances; `report` tells how many calls that took. So a sample depends on the others in its batch, within these
    errors: with `batch_size=1` it does not. Only the
    last step, to t = 0, is one of first order where it returns the estimate of the data, or where there is no noise at
    t = 0, where the flow's slope is infinite or 0 / 0.

    Args:
        denoiser: estimates the data from latents of its process.
        times: times to stop at on the way, falling from 1 to 0, of which the last but one is where the solver ends;
            1, `first`, 0 if None, where `first` is the process's first level, or 0.001 where it has none.
        rtol: relative tolerance per step, > 0.
        atol: absolute tolerance per step in the data's units, > 0; small against the noise at the end.
        most_calls: the solver gives up after so many calls between two times of the grid.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `Sampler`, or a tolerance or `most_calls` is not positive.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        times: Float[Tensor, " times"] | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        most_calls: int = 10_000,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        for name, tolerance in (("rtol", rtol), ("atol", atol)):
            if not 0 < tolerance < math.inf:
                msg = f"{name} must be a finite number > 0, such as 1e-4, got {tolerance}"
                raise ValueError(msg)
        if most_calls < 1:
            msg = f"most_calls must be at least 1, got {most_calls}"
            raise ValueError(msg)
        self.rtol, self.atol, self.most_calls = rtol, atol, most_calls
        if times is None:
            levels = denoiser.process.levels
            times = torch.tensor([1.0, 1 / levels if levels else _FIRST, 0.0], dtype=torch.float64)
            times = times if times[1] < 1 else times[[0, 2]]
        super().__init__(denoiser, times=times, prior=prior, end=end)

    def coefficients(self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"]) -> LastStep:
        """See `Sampler.coefficients`; of the steps that the solver does not take."""
        process = self.process
        step = exponential_step(process, (t,), t, s)
        last = self.ends(s)
        return LastStep(
            latent=torch.where(last, 0.0, step.latent),
            estimate=torch.where(last, 1.0, step.estimates[0]),
            conversion=self.denoiser.prediction.conversion(process, t),
        )

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """See `Sampler.advance`."""
        c: LastStep = step.coefficients
        before, t = walk.latent, step.t
        sigma_t, sigma_s = (self.process.log_coefficients(time).log_sigma for time in (t, step.s))
        # Where noise is gone at s that there was at t, the flow gets there in infinite slopes.
        vanishes = bool(((sigma_s == -torch.inf) & (sigma_t > -torch.inf)).any())
        if vanishes or (step.to_data and self.end is End.ESTIMATE):
            estimate = walk.estimate(before, t, c.conversion)
            walk.latent = mix((before, c.latent), (estimate, c.estimate))
            walk.prediction = lambda: estimate
            return
        start, stop = (self._one_time(time) for time in (t, step.s))
        walk.latent = self._solved(walk.denoiser, before, start, stop, walk)

        def prediction() -> Dual:
            return walk.estimate(before, t, c.conversion)

        walk.prediction = prediction

    @torch.no_grad()
    def encode(self, z: Float[Tensor, "batch ..."], *, t: float | None = None) -> Float[Tensor, "batch ..."]:
        """Return the latents at t = 1, (batch, *shape), to which the flow carries latents at `t`, up instead of down.

        `sample(len(z), initial=latents, stop=t)` carries them back, nearer the smaller the tolerances are: the flow
        magnifies errors on its way, that of heat most, where all but a few coefficients are below the noise.

        Args:
            z: latents, (batch, *shape). Data may stand for latents at a time with hardly any noise.
            t: their time in (0, 1); the grid's last but one if None.

        Raises:
            TypeError: `z` is not floating-point.
            ValueError: a shape is wrong, `t` lies outside [0, 1), or has no noise in some coefficient.
            RuntimeError: the tolerances cannot be met, or not within `most_calls`.
        """
        check_signal("z", z, self.process.shape)
        start = self.times[-2].item() if t is None else float(t)
        if not 0 <= start < 1:
            msg = f"t must lie in [0, 1), from where the flow is to go to 1, got {start}"
            raise ValueError(msg)
        if bool((self.process.log_coefficients(self.process.as_times(start)).log_sigma == -torch.inf).any()):
            at_end = self.process.log_coefficients(self.process.as_times(1.0)).log_sigma
            noisy = bool((at_end > -torch.inf).all())
            remedy = "encode at a later time, such as t=1e-3" if noisy else "take a process with noise at t = 1"
            msg = (
                f"{type(self.process).__name__} has no noise in some coefficient at t = {start}, where the flow is not"
                f" defined: {remedy}"
            )
            raise ValueError(msg)
        latent = Dual(self.process.basis, signal=to_compute_dtype(z).to(self.process.device))
        with evaluating(self.denoiser):
            return self._solved(self.denoiser, latent, start, 1.0, None).signal

    def _solved(self, denoiser: AbstractDenoiser, latent: Dual, start: float, stop: float, walk: Walk | None) -> Dual:
        field = FlowField(denoiser, self.most_calls)
        try:
            (u,) = solve(field, (latent.spectrum,), start, stop, rtol=self.rtol, atol=self.atol, each=True)
        finally:
            if walk is not None:
                walk.calls += field.calls * denoiser.network_calls
        return Dual(latent.basis, spectrum=u)

    def _one_time(self, times: Tensor) -> float:
        """Return the time that a whole batch is at."""
        distinct: Any = times.unique()
        if len(distinct) != 1:
            msg = f"the solver takes a whole batch from one time to another, got times {times.tolist()}"
            raise ValueError(msg)
        return float(distinct[0])
