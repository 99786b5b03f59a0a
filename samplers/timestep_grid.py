r"""The timesteps of diffusers' DDIM: a grid of a process's levels, and where each of its steps ends.

Of K timesteps, 0 to K - 1, few steps take (Lin, Liu, Li & Yang, 2024, table 2)

| spacing | timesteps, i = 0 to steps - 1 |
|---|---|
| leading | i floor(K / steps) + offset |
| linspace | round(i (K - 1) / (steps - 1)) |
| trailing | round(K - i K / steps) - 1 |

and timestep k is time (k + 1) / K here. A step of theirs goes floor(K / steps) timesteps down, wherever the next one
is, and to the end if that is below 0: data, or level 1 where `set_alpha_to_one=False`. For leading timesteps, and
trailing ones where steps divide K, that is the next timestep, and a run along this grid is theirs. Elsewhere they take
what they have for a latent of the next timestep, a few levels away: their own steps are `pairs`, one by one, and the
grid is the timesteps without that mistake. One more step is in `pairs` alone: leading timesteps without offset that end
at level 1 have a last step from there to itself, which moves a latent only where its estimate is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_count, check_instance
from ..degradations import LinearGaussianProcess
from ..models import SchedulerSettings, TimestepSpacing
from .grids import Grid, check_ends


@dataclass(frozen=True)
class TimestepGrid(Grid):
    """The levels that diffusers' DDIM steps through.

    Its runs begin at `first`, with white noise, and end at `last`:

        sampler.sample(4, initial=noise, start=grid.first(process), stop=grid.last(process))

    Without those the grid goes from 1 to 0 as others do, with a step more where the timesteps do not.

    Attributes:
        steps: number of steps.
        spacing: which timesteps they are.
        offset: number added to leading timesteps, `steps_offset`.
        ends_in_data: whether the last step ends in the data; else at level 1, `set_alpha_to_one=False`.

    Raises:
        TypeError: spacing is not a `TimestepSpacing`.
        ValueError: steps < 1 or offset < 0. When asked for times: the process has no levels, or too few.
    """

    steps: int = 50
    spacing: TimestepSpacing = TimestepSpacing.LEADING
    offset: int = 0
    ends_in_data: bool = True

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_count("offset", self.offset, 0)
        check_instance("spacing", self.spacing, TimestepSpacing, "TimestepSpacing.LEADING for example")

    @classmethod
    def of(cls, settings: SchedulerSettings, steps: int) -> TimestepGrid:
        """Return the grid of a scheduler's settings, `SchedulerSettings.load(folder)`, for so many steps."""
        check_instance("settings", settings, SchedulerSettings, "SchedulerSettings.load(folder) makes them")
        return cls(steps, settings.spacing, settings.offset, settings.ends_in_data)

    def timesteps(self, process: LinearGaussianProcess) -> Int[Tensor, " steps"]:
        """Return the timesteps, 0 to K - 1, falling, (steps,), int64 on the CPU.

        Raises:
            ValueError: the process has no levels, or too few for so many steps.
        """
        levels, steps = process.levels, self.steps
        if levels is None:
            msg = (
                f"timesteps are levels, and {process.called} is continuous: take UniformGrid({steps}), or a"
                " process of DiscreteSchedule(betas)"
            )
            raise ValueError(msg)
        numbers = np.arange(steps)
        match self.spacing:
            case TimestepSpacing.LEADING:
                found = numbers[::-1] * (levels // steps) + self.offset
            case TimestepSpacing.LINSPACE:
                found = np.linspace(0, levels - 1, steps).round()[::-1].astype(np.int64)
            case TimestepSpacing.TRAILING:
                # As they count, whose halves are rounded to even.
                found = np.round(np.arange(levels, 0, -levels / steps)).astype(np.int64) - 1
        if steps > levels or found[0] >= levels:
            offset = f" with an offset of {self.offset}" if found[0] >= levels else ""
            msg = f"{steps} steps{offset} do not fit into {levels} levels: take fewer"
            raise ValueError(msg)
        return torch.from_numpy(found.copy())

    def first(self, process: LinearGaussianProcess) -> float:
        """Return the time of the first timestep, where their runs begin with white noise; errors as in `timesteps`."""
        return self.pairs(process)[0][0]

    def last(self, process: LinearGaussianProcess) -> float:
        """Return the time that their runs end at: 0, or level 1."""
        return 0.0 if self.ends_in_data else 1 / (process.levels or 1)

    def pairs(self, process: LinearGaussianProcess) -> list[tuple[float, float]]:
        """Return the times (t, s) of each of their steps, for `Sampler.step`; errors as in `timesteps`.

        Where timesteps are not evenly spaced s is not the next t; the last s may be the last t.
        """
        timesteps, levels = self.timesteps(process).tolist(), process.levels or 1
        ends = [k - levels // self.steps for k in timesteps]
        return [
            ((k + 1) / levels, (end + 1) / levels if end >= 0 else self.last(process))
            for k, end in zip(timesteps, ends, strict=True)
        ]

    @override
    def times(
        self, process: LinearGaussianProcess, *, start: float = 1.0, stop: float = 0.0
    ) -> Float[Tensor, " times"]:
        check_ends(start, stop)
        found = [t for t, _ in self.pairs(process)]
        # A grid has no step from level 1 to itself.
        found += [self.last(process)] if found[-1] > self.last(process) else []
        return torch.tensor([start, *(t for t in found if stop < t < start), stop], dtype=torch.float64)
