"""The probability flow with steps chosen by a solver: as many network calls as a tolerance takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count, check_number
from ...degradations import Level
from ...degradations.predictions import Conversion
from ..exponential import data_interval
from ..grids import EndGrid, Grid
from ..probability_flow import FlowField, solve
from ..spectral import Spectral, combine
from ..state import SamplerState
from ..stepper import PlannedStep, Problem, Stepper


class LastShares(NamedTuple):
    """A step of first order, for where the flow ends: shares of latent and estimate, and what makes the estimate.

    Attributes:
        latent: share of the latent.
        estimate: share of the estimate.
        conversion: turns latent and output at t into the estimate.
        vanishes: one number, 1 where noise is gone at s that there was at t.
    """

    latent: Float[Tensor, "steps ..."]
    estimate: Float[Tensor, "steps ..."]
    conversion: Conversion
    vanishes: Float[Tensor, "steps ..."]


@dataclass(frozen=True)
class Adaptive(Stepper):
    """Solves the probability flow with adaptive steps (Dormand & Prince, 1980, fifth order, by torchdiffeq).

    Between the times of the grid the solver chooses its own steps, such that every sample of a batch stays within the
    tolerances; a run's statistics tell how many calls that took. So a sample depends on the others in its batch, within
    these errors: with `batch_size=1` it does not. Only the last step, to t = 0, is one of first order where it returns
    the estimate of the data, or where there is no noise at t = 0, where the flow's slope is infinite or 0 / 0.

    No tolerance makes that step's error smaller; a grid whose last step is shorter does. Its own grid is `EndGrid()`:
    1, the first level or 0.001, and 0. A process of few levels wants `EndGrid(first=0.001)`: the network is then asked
    about times within the first level.

    Attributes:
        rtol: relative tolerance per step, > 0.
        atol: absolute tolerance per step in the data's units, > 0; small against the noise at the end.
        most_calls: the solver gives up after so many calls between two times of the grid.

    Raises:
        ValueError: a tolerance or `most_calls` is not positive.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    most_calls: int = 10_000

    def __post_init__(self) -> None:
        for name, tolerance in (("rtol", self.rtol), ("atol", self.atol)):
            check_number(name, tolerance, "(0, inf)", "such as 1e-4")
        check_count("most_calls", self.most_calls)

    @override
    def default_grid(self) -> Grid:
        return EndGrid()

    @override
    def coefficients(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> LastShares:
        """Return the coefficients of the steps that the solver does not take."""
        step = data_interval(at_t, at_s, 1).step(at_t)
        gone = (at_s.log_sigma == -torch.inf) & (at_t.log_sigma > -torch.inf)
        vanishes = gone.flatten(1).any(1).reshape(-1, *(1,) * len(problem.process.shape))
        return LastShares(
            latent=problem.at_end(at_s, 0.0, step.latent),
            estimate=problem.at_end(at_s, 1.0, step.estimates[0]),
            conversion=problem.prediction.conversion(at_t),
            vanishes=vanishes.to(at_t.log_alpha.dtype),
        )

    @override
    def advance(self, state: SamplerState, step: PlannedStep) -> None:
        shares: LastShares = step.coefficients
        before, t = state.latent, step.t
        # Where noise vanishes the flow gets there in infinite slopes.
        if step.denoises or bool(shares.vanishes.any()):
            estimate = state.estimate(before, t, shares.conversion)
            start = [] if step.denoises else [(before, shares.latent)]
            state.latent = combine(*start, (estimate, shares.estimate))
            return
        # Made by a call more, for those who ask.
        state.show(lambda: state.estimate(before, t, shares.conversion))
        start, stop = (_one_time(time) for time in (t, step.s))
        state.latent = self.solved(state, start, stop)

    def solved(self, state: SamplerState, start: float, stop: float) -> Spectral:
        """Return the latents at time `stop` to which the flow carries those of `state`, at `start`, counting calls."""
        field = FlowField(state.denoiser, self.most_calls, state.condition, state.given)
        try:
            (u,) = solve(field, (state.latent.spectrum,), start, stop, rtol=self.rtol, atol=self.atol, each=True)
        finally:
            state.calls += field.network_calls
        return Spectral(state.latent.basis, spectrum=u)


def _one_time(times: Tensor) -> float:
    """Return the time that a whole batch is at."""
    distinct: Any = times.unique()
    if len(distinct) != 1:
        msg = f"the solver takes a whole batch from one time to another, got times {times.tolist()}"
        raise ValueError(msg)
    return float(distinct[0])
