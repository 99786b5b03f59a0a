r"""What a stepper is: a frozen value that says how one step from t to s is taken. The run around it is the sampler's.

A stepper makes tables of coefficients, for many steps at once and before the network is called, and adds up latents,
network outputs and noise per coefficient with them:

    u_s = sum of coefficients times (u_t, network outputs, noise).

The step that ends at t = 0 is special. What is wanted there is data, not a latent that still has the process's noise;
so, unless the latent is asked for, this step returns the estimate of the data itself, the mean of the decoder p(x | z).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..core.checks import values_are_readable
from ..degradations import Level, LinearGaussianProcess, Prediction
from ..degradations.predictions import Conversion
from .grids import Grid, UniformGrid
from .state import SamplerState


@dataclass(frozen=True, eq=False)
class Problem:
    """What a stepper steps through.

    Attributes:
        process: the forward process.
        prediction: what the network's output stands for.
        times: the grid, falling from 1 to 0, (steps + 1,), float64 on the CPU.
        denoise_last: whether the step to t = 0 returns the estimate of the data instead of the latent z_0.
    """

    process: LinearGaussianProcess
    prediction: Prediction
    times: Float[Tensor, " times"]
    denoise_last: bool

    def ends(self, at_s: Level) -> Bool[Tensor, "..."]:
        """Tell which steps to `at_s` return an estimate of the data, broadcastable to (n, *shape)."""
        return (self.process.expand_times(at_s.t) == 0) & self.denoise_last

    def at_end(
        self, at_s: Level, estimate: Float[Tensor, "..."] | float, otherwise: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """Return `estimate` for the steps to `at_s` that return an estimate of the data, `otherwise` for the others."""
        ends = self.ends(at_s)
        if values_are_readable(ends) and not bool(ends.any()):
            return otherwise
        return torch.where(ends, estimate, otherwise)

    def to_noise(self, at: Level) -> Conversion:
        """Return the conversion of latent and network output to the noise e = (u - alpha u_hat) / sigma."""
        latent, output = self.prediction.conversion(at, at.log_alpha)
        return Conversion((1 - latent) / at.sigma, -output / at.sigma)

    @cached_property
    def has_noise(self) -> bool:
        """Whether the process has noise at some time of the grid, in some coefficient."""
        return bool((self.process.at(self.times[:-1]).log_sigma > -torch.inf).any())

    def require_noise(self, what: str) -> None:
        """Check that the process has noise at some time of the grid, in some coefficient.

        Raises:
            ValueError: it has none, as cold diffusion has; the message names `what` needs it.
        """
        if not self.has_noise:
            msg = (
                f"{what} needs noise, but {self.process.called} is deterministic, sigma = 0: take Multistep(),"
                " or Posterior(coupling=Deterministic()), or give the process noise"
            )
            raise ValueError(msg)


class PlannedStep(NamedTuple):
    """A step from `t` to `s`, with a stepper's own coefficients.

    Attributes:
        t: time of the latents, () or (batch,), in the schedule dtype.
        s: the time to go to, likewise.
        coefficients: tables of the stepper's, each broadcastable to (batch, *shape), in the latents' dtype.
        to_zero: whether s is known to be 0 for the whole batch.
        denoises: whether it is, and the estimate is to be returned there, so that what an ordinary step needs may be
            left out.
        stepper: takes the step, where that is not the run's own stepper.
    """

    t: Float[Tensor, "*batch"]
    s: Float[Tensor, "*batch"]
    coefficients: Any
    to_zero: bool = False
    denoises: bool = False
    stepper: Stepper | None = None


class Stepper(ABC):
    """How one step from t to s is taken. A subclass is a frozen dataclass and writes `coefficients` and `advance`.

    One that looks back at the estimates of earlier steps says in `history` at how many.
    """

    @property
    def history(self) -> int:
        """How many earlier times the coefficients of a step depend on, once there are as many."""
        return 0

    @abstractmethod
    def coefficients(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> Any:
        """Return what steps are made of: a NamedTuple of tables that broadcast to (steps, *shape).

        Args:
            problem: what is stepped through.
            at_t: level of the latents, at times () or (steps,): of a single step, or of consecutive ones along a grid.
            at_s: the level to go to, likewise.
            older: levels of the steps before, the latest first, `history` of them at most.
        """

    @abstractmethod
    def advance(self, state: SamplerState, step: PlannedStep) -> None:
        """Take a step: call the denoiser through `state`, and set its `latent`."""

    def check(self, problem: Problem) -> None:  # noqa: B027  # most steppers take every problem
        """Check that this stepper can step through `problem`.

        Raises:
            ValueError: it cannot; the message says why and what to take instead.
        """

    def draws_noise(self, problem: Problem) -> bool:
        """Tell whether steps add noise; where they do not, a sample is a function of its initial latent."""
        del problem
        return False

    def default_grid(self) -> Grid:
        """Return the default grid of a sampler."""
        return UniformGrid()

    def first_remembered(self, problem: Problem, grid: Float[Tensor, " times"]) -> int:
        """Return the index of the first time of a grid whose estimates later steps may look back at."""
        del problem, grid
        return 0
