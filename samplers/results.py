"""What a sampler returns, tells on its way, and rescues when it stops early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from ..core.notebook import shown
from ..core.pictures import grid
from .spectral import Spectral

# Samples, and rows and columns of a grid of them, that a notebook shows.
_SHOWN = 8


class Trajectory(NamedTuple):
    """The way of samples, time by time.

    Attributes:
        times: the grid, (steps + 1,), falling.
        states: latents at each time, (steps + 1, count, *shape); the last is the sample.
        predictions: the denoiser's estimates of the data at each time but the last, (steps, count, *shape).
    """

    times: Float[Tensor, " times"]
    states: Float[Tensor, "times count ..."]
    predictions: Float[Tensor, "steps count ..."]

    def _repr_html_(self) -> str | None:
        """Show a strip of some samples in a notebook."""
        low, high = _range(self.states[-1])
        # Imported here: pictures are made of trajectories.
        from .trajectory_pictures import trajectory_strip  # noqa: PLC0415

        few = Trajectory(self.times, self.states[:, :_SHOWN], self.predictions[:, :_SHOWN])
        words = f"{_counted(self.states.shape[1], _SHOWN)} from t = {self.times[0]:.3g} to {self.times[-1]:.3g}, in"
        return shown(trajectory_strip(few, (low, high)), f"{words} {len(self.times) - 1} steps, {_told(low, high)}")

    def __repr__(self) -> str:
        """Show shapes, not numbers."""
        predictions = _shape(self.predictions)
        return f"Trajectory(times {_shape(self.times)}, states {_shape(self.states)}, predictions {predictions})"


class SamplingStats(NamedTuple):
    """What samples have cost.

    Attributes:
        samples: samples finished.
        calls: calls of the network, each on one batch.
        evaluations: evaluations of the network, each on one sample, those of an unfinished batch included.
    """

    samples: int = 0
    calls: int = 0
    evaluations: int = 0


class SamplingResult(NamedTuple):
    """What `Sampler.run` returns.

    Attributes:
        samples: in the data's range, not clipped, (count, *shape).
        stats: what they have cost.
        trajectory: the way to them, where it was asked for.
    """

    samples: Float[Tensor, "count ..."]
    stats: SamplingStats
    trajectory: Trajectory | None

    def _repr_html_(self) -> str | None:
        """Show a grid of some samples in a notebook."""
        low, high = _range(self.samples)
        words = f"{_counted(len(self.samples), _SHOWN * _SHOWN)}, {self.stats.evaluations} evaluations of the network"
        return shown(grid(self.samples[: _SHOWN * _SHOWN], (low, high)), f"{words}, {_told(low, high)}")

    def __repr__(self) -> str:
        """Show shapes, not numbers."""
        return f"SamplingResult(samples {_shape(self.samples)}, {self.stats}, {self.trajectory})"


@dataclass(frozen=True)
class StepInfo:
    """What a callback receives after every step.

    Attributes:
        step: number of the step, from 0.
        steps: how many there are.
        t: time the step came from.
        s: time it went to.
        rows: which samples the batch holds.
        calls: calls of the network so far, in this batch.
    """

    step: int
    steps: int
    t: float
    s: float
    rows: slice
    calls: int
    _latent: Callable[[], Tensor] = field(repr=False)
    _prediction: Callable[[], Spectral] = field(repr=False)

    def latent(self) -> Float[Tensor, "batch ..."]:
        """Return the latents at `s`, (batch, *shape)."""
        return self._latent()

    def prediction(self) -> Float[Tensor, "batch ..."]:
        """Return the estimate of the data that the step was made with, (batch, *shape)."""
        return self._prediction().signal


Callback = Callable[[StepInfo], None]


@dataclass(frozen=True)
class Partial:
    """What had been done when sampling stopped early.

    Attributes:
        samples: the samples of the batches that were finished, (finished, *shape).
        states: of the batch that was not, the finite latents it had been through (the last one or two, unless a
            trajectory was asked for), (states, batch, *shape).
        times: their times, (states,).
        rows: which samples that batch holds.
        stats: what all of it has cost.
    """

    samples: Float[Tensor, "finished ..."]
    states: Float[Tensor, "states batch ..."]
    times: Float[Tensor, " states"]
    rows: slice
    stats: SamplingStats

    def __repr__(self) -> str:
        """Show shapes, not numbers."""
        rows = f"rows {self.rows.start} to {self.rows.stop}"
        return f"Partial(samples {_shape(self.samples)}, states {_shape(self.states)} of {rows}, {self.stats})"


class NonFiniteStateError(FloatingPointError):
    """A latent became infinite or NaN.

    Attributes:
        partial: what had been done until then.
    """

    def __init__(self, message: str, partial: Partial) -> None:
        super().__init__(message)
        self.partial = partial


class SamplingInterrupted(KeyboardInterrupt):  # like KeyboardInterrupt, not a failure
    """Sampling was interrupted from the keyboard, or by a signal that raises KeyboardInterrupt.

    Attributes:
        partial: what had been done until then.
    """

    def __init__(self, message: str, partial: Partial) -> None:
        super().__init__(message)
        self.partial = partial


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _range(samples: Tensor) -> tuple[float, float]:
    """Return what is shown black and white: samples do not know the data's range, so all share their own."""
    low, high = samples.min().item(), samples.max().item()
    return (low, high) if low < high else (low, low + 1)


def _counted(count: int, shown: int) -> str:
    """Return how many samples there are, and of too many ones how many are shown."""
    return f"{count} samples" if count <= shown else f"the first {shown} of {count} samples"


def _told(low: float, high: float) -> str:
    return f"shown from {low:.3g} (black) to {high:.3g} (white)"
