r"""What every sampler shares: the run from t = 1 to t = 0, in batches, with its randomness, checks and records.

A sampler says what one step from t to s does. It is given tables of the step's coefficients, made for many steps at
once before the network is called, and adds up latents, estimates and noise per coefficient:

    u_s = sum of coefficients times (u_t, network outputs, noise).

The step that ends at t = 0 is special. What is wanted there is data, not a latent that still has the process's noise;
so, unless the latent is asked for, this step returns the estimate of the data itself, the mean of the decoder p(x | z).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from enum import Enum, auto
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..core.checks import check_instance, check_signal, values_are_readable
from ..core.evaluation_mode import evaluating
from ..core.precision import to_compute_dtype
from ..degradations.agreement import check_same_process, check_same_range
from ..degradations.process import Time
from ..models import AbstractDenoiser, Prior, StandardNormalPrior
from .grids import checked_grid, uniform_times
from .noise import GeneratorNoise, Noise
from .running import Run, RunSettings
from .runs import Callback, SamplingStats, Trajectory
from .signals import Dual
from .walk import PlannedStep, Walk

_DEFAULT_STEPS = 50
# Numbers in one table of coefficients: 16 MiB in float32.
_TABLE_NUMBERS = 2**22


class End(Enum):
    """What a run that ends at t = 0 returns."""

    ESTIMATE = auto()
    """The last estimate of the data, without the process's noise at t = 0: the mean of the decoder p(x | z)."""

    LATENT = auto()
    """The latent z_0, which has whatever noise and degradation the process has at t = 0."""


class Sampler(ABC):
    """Draws samples by stepping from the prior at t = 1 to data at t = 0.

    A subclass writes `coefficients` and `advance`, and says in `draws_noise` whether its steps add noise.

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,); see `unmelt.samplers.grids`.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Attributes:
        report: what the latest run did: samples, calls of the network.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: the grid does not fall from 1 to 0, steps < 1, the prior is one of another process or data
            range, or the process needs another prior than a standard normal.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        check_instance("end", end, End, "End.ESTIMATE or End.LATENT")
        self.denoiser = denoiser
        self.process = denoiser.process
        self.times = _grid(steps, times, self.process.levels)
        if prior is not None:
            check_instance("prior", prior, Prior, "DegradedDataPrior(process, images) for example")
            check_same_process(self.process, prior.process, whose="the prior", where="the denoiser")
            check_same_range(denoiser.data_range, prior.data_range, whose="the prior", where="the denoiser")
        self.prior = prior or StandardNormalPrior(self.process)
        self.end = end
        self.report = SamplingStats()

    def __repr__(self) -> str:
        """Show the process, the number of steps and the prior."""
        parts = (type(self.process).__name__, f"steps={len(self.times) - 1}", type(self.prior).__name__, self.end)
        return f"{type(self).__name__}({', '.join(map(str, parts))})"

    @property
    def draws_noise(self) -> bool:
        """Whether steps add noise; where they do not, a sample is a function of its initial latent."""
        return False

    # ---- what a subclass writes ---------------------------------------------------------------------------

    @abstractmethod
    def coefficients(self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"]) -> Any:
        """Return what steps from `t` to `s` are made of: a NamedTuple of tables, broadcastable to (steps, *shape).

        Args:
            t: checked times of the latents in the schedule's precision, () or (steps,).
            s: the times to go to, likewise.
        """

    @abstractmethod
    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """Take a step: call the denoiser through `walk`, and set its `latent` and `prediction`."""

    def plan(self, grid: Float[Tensor, " times"], dtype: torch.dtype) -> Iterator[PlannedStep]:
        """Yield the steps of a grid with their coefficients, in the dtype of the latents."""
        return self.tabulated(self.coefficients, grid[:-1], grid[1:], dtype=dtype)

    def tabulated(
        self,
        coefficients: Callable[..., Any],
        t: Float[Tensor, " steps"],
        s: Float[Tensor, " steps"],
        *older: Float[Tensor, " steps"],
        dtype: torch.dtype,
    ) -> Iterator[PlannedStep]:
        """Yield steps from `t` to `s`, (n,) each, their coefficients made for as many as fit a bounded table.

        Args:
            coefficients: called with times (n,), first `t` and `s`, then `older`.
            t: times of the latents, (n,).
            s: the times to go to, (n,).
            older: further times that the coefficients depend on, (n,) each.
            dtype: dtype of the latents.
        """
        chunk = max(1, _TABLE_NUMBERS // math.prod(self.process.shape))
        for times in zip(*(column.split(chunk) for column in (t, s, *older)), strict=True):
            # Reading values whether a step is one number for all coefficients: once per table, before its steps.
            tables = mapped(lambda table: _collapsed(table.to(dtype)), coefficients(*times))
            yield from map(PlannedStep, times[0], times[1], rows_of(tables, len(times[0])))

    # ---- what users call ----------------------------------------------------------------------------------

    def sample(  # noqa: PLR0913  # each is a choice of its own
        self,
        count: int,
        *,
        generator: torch.Generator | Sequence[int] | None = None,
        noise: Noise | None = None,
        initial: Float[Tensor, "count ..."] | None = None,
        start: float = 1.0,
        stop: float = 0.0,
        batch_size: int | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        keep_on: torch.device | str | None = None,
    ) -> Float[Tensor, "count ..."]:
        """Draw samples.

        Args:
            count: how many.
            generator: source of randomness, torch's default if None; or one seed for each sample, which then is the
                same whatever the batch it is drawn in (up to the rounding of the network's own sums).
            noise: source of the steps' noise, where it is to be another than the initial latents' (shared, say).
            initial: latents at `start` to go on from, (count, *shape); drawn from the prior if None.
            start: their time; the grid's later times are left out. Below 1 `initial` must be given.
            stop: time to stop at; above 0 the latents of that time are returned.
            batch_size: most samples at a time; all at once if None.
            callback: called with a `StepInfo` after every step.
            progress: show a progress bar (needs tqdm).
            keep_on: device that finished samples are kept on; the process's own if None.

        Returns:
            Samples in the data's range, not clipped, (count, *shape), float64 if `initial` is and float32 otherwise.

        Raises:
            TypeError: an argument is of the wrong kind.
            ValueError: a number is out of range, or `initial` has another shape, or there are fewer seeds than samples.
            NonFiniteStateError: a latent became infinite or NaN; `.kept` has what was done before.
            SamplingInterrupted: the run was interrupted; `.kept` has what was done before.
        """
        settings = RunSettings(count, generator, noise, initial, start, stop, batch_size, callback, progress, keep_on)
        return Run(self, settings).sample()

    def trajectory(  # noqa: PLR0913  # as `sample`
        self,
        count: int,
        *,
        generator: torch.Generator | Sequence[int] | None = None,
        noise: Noise | None = None,
        initial: Float[Tensor, "count ..."] | None = None,
        start: float = 1.0,
        stop: float = 0.0,
        batch_size: int | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        keep_on: torch.device | str | None = None,
    ) -> Trajectory:
        """Draw samples and keep every state and prediction; arguments and errors as in `sample`."""
        settings = RunSettings(count, generator, noise, initial, start, stop, batch_size, callback, progress, keep_on)
        return Run(self, settings).trajectory()

    @torch.no_grad()
    def step(
        self, z_t: Float[Tensor, "batch ..."], t: Time, s: Time, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Take one step from latents at `t` to the earlier time `s`, as the first step of a run is taken.

        Args:
            z_t: latents, (batch, *shape).
            t: their time, a number, () or (batch,).
            s: the time to go to, s <= t; at s = 0 what `end` says is returned.
            generator: source of randomness; torch's default if None.

        Raises:
            TypeError: `z_t` is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], or s > t.
        """
        check_signal("z_t", z_t, self.process.shape)
        times_s, times_t = self.process.as_ordered_times(s, t, len(z_t))
        times_s, times_t = torch.broadcast_tensors(times_s, times_t)
        z_t = to_compute_dtype(z_t)
        draw = GeneratorNoise(generator).stream(slice(None))
        walk = Walk(self.denoiser, Dual(self.process.basis, signal=z_t), draw)
        coefficients = mapped(lambda table: table.to(z_t.dtype), self.coefficients(times_t, times_s))
        to_data = values_are_readable(times_s) and bool((times_s == 0).all())
        # Switching modes would break a compiled graph, whose network is in the mode it is to be compiled in.
        with nullcontext() if torch.compiler.is_compiling() else evaluating(self.denoiser):
            self.advance(walk, PlannedStep(times_t, times_s, coefficients, to_data))
        return walk.latent.signal

    # ---- helpers for subclasses ---------------------------------------------------------------------------

    def has_noise(self) -> bool:
        """Tell whether the process has noise at some time of the grid, in some coefficient."""
        inner = self.process.to_schedule_dtype(self.times[:-1])
        return bool((self.process.log_coefficients(inner).log_sigma > -torch.inf).any())

    def require_noise(self, what: str) -> None:
        """Check that the process has noise at some time of the grid, in some coefficient.

        Args:
            what: what needs it, for the message.

        Raises:
            ValueError: it has none, as cold diffusion has.
        """
        if not self.has_noise():
            msg = (
                f"{what} needs noise, but {type(self.process).__name__} is deterministic, sigma = 0: take"
                " MultistepSampler, or PosteriorSampler(coupling=Deterministic()), or give the process noise"
            )
            raise ValueError(msg)

    def ends(self, s: Float[Tensor, "*steps"]) -> Bool[Tensor, "..."]:
        """Tell which steps to `s` return an estimate of the data, broadcastable to (n, *shape)."""
        return (self.process.expand_times(s) == 0) & (self.end is End.ESTIMATE)


def mapped(function: Callable[[Tensor], Tensor], coefficients: Any) -> Any:
    """Return the tuple of tables, which may hold further tuples, with `function` applied to each of them."""
    if isinstance(coefficients, Tensor):
        return function(coefficients)
    parts = [mapped(function, part) for part in coefficients]
    return type(coefficients)(*parts) if hasattr(coefficients, "_fields") else tuple(parts)


def rows_of(coefficients: Any, steps: int) -> list[Any]:
    """Return the coefficients of each of so many steps, from a tuple of tables that may hold further tuples."""
    if isinstance(coefficients, Tensor):
        return [coefficients] * steps if len(coefficients) == 1 else list(coefficients.split(1))
    parts = [rows_of(part, steps) for part in coefficients]
    kind: Any = type(coefficients)
    named = hasattr(coefficients, "_fields")
    return [kind(*row) if named else row for row in zip(*parts, strict=True)] if parts else [()] * steps


def _collapsed(table: Tensor) -> Tensor:
    """Return a table of (steps, ...) with one number per step where all of a step's numbers are equal.

    Such a step commutes with the basis and needs no transform.
    """
    first = table.flatten(1)[:, :1].reshape(-1, *(1,) * (table.ndim - 1))
    return first if bool((table == first).all()) else table


def _grid(steps: int | None, times: Tensor | None, levels: int | None) -> Tensor:
    """Return the falling grid of times in float64, on the CPU."""
    if times is None:
        return uniform_times(levels or _DEFAULT_STEPS if steps is None else steps)
    if steps is not None:
        msg = f"give steps or times, not both: got steps={steps} and a grid of {len(times)} times"
        raise ValueError(msg)
    return checked_grid(times)
