r"""Multistep samplers: the probability flow to second or third order with one network call per step.

Each step is exact but for the estimate of the data, which is extrapolated through its values at the last two or three
times (Adams and Bashforth's idea; Lu et al., 2022, for isotropic diffusion), per coefficient; see `exponential`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations.predictions import Conversion
from ..losses import Prior
from ..models import AbstractDenoiser
from .base import End, Sampler
from .exponential import Variable, exponential_step, extrapolation
from .signals import mix
from .walk import PlannedStep, Walk


class MultistepCoefficients(NamedTuple):
    """A step z_s = latent z_t + sum_j weights[j] u_hat_j, newest estimate first, and how that is made."""

    latent: Float[Tensor, "steps ..."]
    weights: tuple[Float[Tensor, "steps ..."], ...]
    conversion: Conversion


class MultistepSampler(Sampler):
    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        order: int = 2,
        variable: Variable = Variable.TIME,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        if order not in (1, 2, 3):
            msg = f"order must be 1, 2 or 3, got {order}"
            raise ValueError(msg)
        self.order, self.variable = order, variable
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)

    def coefficients(
        self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"], *older: Float[Tensor, "*steps"]
    ) -> MultistepCoefficients:
        process = self.process
        stencil = (t, *older)
        step = exponential_step(process, stencil, t, s, variable=self.variable)
        last = self.ends(s)
        final = [process.expand_times(w) for w in extrapolation(stencil, s)]
        weights = tuple(torch.where(last, f, w) for f, w in zip(final, step.estimates, strict=True))
        return MultistepCoefficients(
            torch.where(last, 0.0, step.latent), weights, self.denoiser.prediction.conversion(process, t)
        )

    def plan(self, grid: Float[Tensor, " times"], dtype: torch.dtype) -> Iterator[PlannedStep]:
        steps = len(grid) - 1
        for k in range(min(self.order - 1, steps)):
            older = [grid[k - j : k - j + 1] for j in range(1, k + 1)]
            yield from self.tabulated(self.coefficients, grid[k : k + 1], grid[k + 1 : k + 2], *older, dtype=dtype)
        first = self.order - 1
        if steps > first:
            older = [grid[first - j : steps - j] for j in range(1, self.order)]
            yield from self.tabulated(
                self.coefficients, grid[first:-1], grid[first + 1 :], *older, dtype=dtype
            )

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        latent, weights, conversion = step.coefficients
        estimate = walk.estimate(walk.latent, step.t, conversion)
        estimates = [estimate, *walk.past]
        walk.latent = mix((walk.latent, latent), *zip(estimates, weights, strict=False))
        walk.past = estimates[: self.order - 1]
        walk.prediction = lambda: estimate
