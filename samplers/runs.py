"""What a sampling run returns, reports and leaves behind when it stops early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from .signals import Dual


class Trajectory(NamedTuple):
    """A sampling run, time by time.

    Attributes:
        times: the grid that was walked, (steps + 1,), falling.
        states: latents at each time, (steps + 1, count, *shape); the last is the sample.
        predictions: the denoiser's estimates of the data at each time but the last, (steps, count, *shape).
    """

    times: Float[Tensor, " times"]
    states: Float[Tensor, "times count ..."]
    predictions: Float[Tensor, "steps count ..."]


@dataclass(frozen=True)
class SamplingStats:
    """What the latest run of a sampler did, finished or not.

    Attributes:
        samples: samples finished.
        calls: calls of the network, each on one batch.
        evaluations: evaluations of the network, each on one sample, those of an unfinished batch included.
    """

    samples: int = 0
    calls: int = 0
    evaluations: int = 0


@dataclass(frozen=True)
class StepInfo:
    """What a callback is told after every step.

    Attributes:
        step: number of the step, from 0.
        steps: how many there are.
        t: time the step came from.
        s: time it went to.
        rows: which samples of the run the batch holds.
        calls: calls of the network so far, in this batch.
    """

    step: int
    steps: int
    t: float
    s: float
    rows: slice
    calls: int
    _latent: Dual
    _prediction: Callable[[], Dual]

    def latent(self) -> Float[Tensor, "batch ..."]:
        """Return the latents at `s`, (batch, *shape)."""
        return self._latent.signal

    def prediction(self) -> Float[Tensor, "batch ..."]:
        """Return the estimate of the data that the step was made with, (batch, *shape)."""
        return self._prediction().signal


Callback = Callable[[StepInfo], None]


@dataclass(frozen=True)
class Partial:
    """What a run that stopped early had done.

    Attributes:
        samples: the samples of the batches that were finished, (finished, *shape).
        states: of the batch that was not, the finite latents it had been through (the last one or two, unless a
            trajectory was asked for), (states, batch, *shape).
        times: their times, (states,).
        rows: which samples of the run that batch holds.
    """

    samples: Float[Tensor, "finished ..."]
    states: Float[Tensor, "states batch ..."]
    times: Float[Tensor, " states"]
    rows: slice


class NonFiniteStateError(FloatingPointError):
    """A latent became infinite or NaN.

    Attributes:
        kept: what had been done until then.
    """

    def __init__(self, message: str, kept: Partial) -> None:
        super().__init__(message)
        self.kept = kept


class SamplingInterrupted(KeyboardInterrupt):  # like KeyboardInterrupt, not a failure
    """A run was interrupted from the keyboard, or by a signal that raises KeyboardInterrupt.

    Attributes:
        kept: what had been done until then.
    """

    def __init__(self, message: str, kept: Partial) -> None:
        super().__init__(message)
        self.kept = kept
