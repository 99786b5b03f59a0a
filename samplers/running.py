"""One run of a sampler: batch by batch and step by step, watched, counted, and kept if it stops early."""

from __future__ import annotations

import operator
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.checks import check_instance, check_signal, check_whole
from ..core.evaluation_mode import evaluating
from ..core.precision import to_compute_dtype
from .nan_watch import NaNWatch
from .noise import GeneratorNoise, Noise, SeedNoise
from .probability_flow import NonFiniteRatesError
from .runs import (
    Callback,
    NonFiniteStateError,
    Partial,
    SamplingInterrupted,
    SamplingStats,
    StepInfo,
    Trajectory,
)
from .signals import Dual
from .walk import Walk

if TYPE_CHECKING:
    from .base import Sampler


@dataclass(frozen=True)
class RunSettings:
    """What `Sampler.sample` was asked for; see there."""

    count: int
    generator: torch.Generator | Sequence[int] | None
    noise: Noise | None
    initial: Tensor | None
    start: float
    stop: float
    batch_size: int | None
    callback: Callback | None
    progress: bool
    keep_on: torch.device | str | None


class Run:
    """A run that is about to begin.

    Raises:
        TypeError, ValueError: as `Sampler.sample`.
    """

    def __init__(self, sampler: Sampler, settings: RunSettings) -> None:
        process, count = sampler.process, settings.count
        for name, number in (("count", count), ("batch_size", settings.batch_size)):
            if number is not None:
                check_whole(name, number)
            if number is not None and number < 1:
                msg = f"{name} must be at least 1, got {number}"
                raise ValueError(msg)
        rows = sampler.denoiser.rows
        if rows is not None and rows != count:
            msg = (
                f"this {type(sampler.denoiser).__name__} was made for a batch of {rows} (labels, observations), but"
                f" {count} samples were asked for: make both equal"
            )
            raise ValueError(msg)
        if settings.noise is not None:
            check_instance("noise", settings.noise, Noise, "SharedNoise(seed=0) for example")
        self.sampler, self.settings = sampler, settings
        self.grid = cut(sampler.times, settings.start, settings.stop)
        self.initial = self._checked_initial()
        # Seeds give each sample a generator, for its first latent and for its steps.
        seeds = settings.generator
        self.seeded = None if seeds is None or isinstance(seeds, torch.Generator) else seed_noise(seeds, count)
        self.generator = seeds if isinstance(seeds, torch.Generator) else None
        self.noise = settings.noise or self.seeded or GeneratorNoise(self.generator)
        self.keep_on = process.device if settings.keep_on is None else torch.device(settings.keep_on)
        self.size = settings.batch_size or count
        self.finished: list[Tensor] = []
        self.calls = self.evaluations = 0
        self._begin(slice(0, 0))

    def sample(self) -> Tensor:
        """Return the samples; see `Sampler.sample`."""
        with self._running() as bar:
            for rows in self._batches():
                for _ in self._steps(rows, bar):
                    # Of earlier states nothing is kept.
                    del self.states[:-1], self.times[:-1]
                self._finish()
        return torch.cat(self.finished)

    def trajectory(self) -> Trajectory:
        """Return samples and all that led to them; see `Sampler.trajectory`."""
        paths: list[Tensor] = []
        guesses: list[Tensor] = []
        with self._running() as bar:
            for rows in self._batches():
                predictions: list[Tensor] = []
                for walk in self._steps(rows, bar):
                    predictions.append(walk.prediction().signal.to(self.keep_on))
                    self.states[-1] = Dual(walk.latent.basis, signal=walk.latent.signal.to(self.keep_on))
                paths.append(torch.stack([state.signal.to(self.keep_on) for state in self.states]))
                guesses.append(torch.stack(predictions))
                self._finish()
        return Trajectory(self.grid.clone(), torch.cat(paths, dim=1), torch.cat(guesses, dim=1))

    # ---- the loop -----------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[slice]:
        for first in range(0, self.settings.count, self.size):
            yield slice(first, min(first + self.size, self.settings.count))

    def _steps(self, rows: slice, bar: Any) -> Iterator[Walk]:
        """Yield the walk of a batch after every step."""
        sampler, settings = self.sampler, self.settings
        self._begin(rows)
        z = self._first(rows)
        basis = sampler.process.basis
        walk = Walk(sampler.denoiser.select(rows), Dual(basis, signal=z), self.noise.stream(rows))
        self.states, self.times = [walk.latent], [self.grid[0].item()]
        watch = NaNWatch(self._stop)
        watch.look(z, f"the initial latents at t = {self.times[0]:.6g}")
        steps = len(self.grid) - 1
        times = self.grid.tolist()
        for number, step in enumerate(sampler.plan(sampler.process.to_schedule_dtype(self.grid), z.dtype)):
            t, s = times[number], times[number + 1]
            where = f"step {number + 1} of {steps}, from t = {t:.6g} to {s:.6g}"
            try:
                sampler.advance(walk, step._replace(to_data=s == 0))
            except NonFiniteRatesError as error:
                self._stop(f"{where}: {error}")
            finally:
                # Calls of a step that was interrupted, or that a solver gave up, were made all the same.
                self._count(walk)
            watch.look(walk.latent.at_hand, where)
            self.states.append(walk.latent)
            self.times.append(s)
            bar.update()
            if settings.callback is not None:
                settings.callback(StepInfo(number, steps, t, s, rows, walk.calls, walk.latent, walk.prediction))
            yield walk
            # Some samplers make predictions for callbacks and trajectories by a call of their own.
            self._count(walk)
        watch.close()

    def _count(self, walk: Walk) -> None:
        """Take note of the calls that a batch has made since it was last asked."""
        new = walk.calls - self.counted
        self.counted = walk.calls
        self.calls += new
        self.evaluations += new * len(walk.latent.at_hand)
        self._report()

    def _first(self, rows: slice) -> Tensor:
        """Return the latents that a batch starts from."""
        sampler = self.sampler
        if self.initial is not None:
            return to_compute_dtype(self.initial[rows]).to(sampler.process.device)
        if self.seeded is None:
            return sampler.prior.sample(rows.stop - rows.start, generator=self.generator)
        return torch.cat([sampler.prior.sample(1, generator=g) for g in self.seeded.generators[rows]])

    # ---- what is kept -------------------------------------------------------------------------------------

    def _begin(self, rows: slice) -> None:
        self.rows = rows
        self.counted = 0
        self.states: list[Dual] = []
        self.times: list[float] = []

    def _finish(self) -> None:
        self.finished.append(self.states[-1].signal.to(self.keep_on))
        self._begin(slice(self.rows.stop, self.rows.stop))
        self._report()

    def _report(self) -> None:
        samples = sum(len(batch) for batch in self.finished)
        self.sampler.report = SamplingStats(samples, self.calls, self.evaluations)

    def _kept(self) -> Partial:
        process = self.sampler.process
        none = torch.empty(0, *process.shape, device=self.keep_on)
        states = [state.signal.to(self.keep_on) for state in self.states]
        # An accelerator goes on for a step or two before the news of a state that is not finite arrives.
        states = [state for state in states if bool(state.isfinite().all())]
        return Partial(
            samples=torch.cat(self.finished) if self.finished else none,
            states=torch.stack(states) if states else none[None][:0],
            times=torch.tensor(self.times[: len(states)], dtype=torch.float64),
            rows=self.rows,
        )

    def _stop(self, where: str) -> None:
        """Stop because of what was found at `where`."""
        remedy = (
            "look at what the network returns there (its precision, its training, times it has never seen) and at the"
            " grid"
            if self.states and where.startswith("step")
            else "look at `initial`, or at the prior and the images it was made of"
        )
        done = sum(len(batch) for batch in self.finished)
        msg = (
            f"a latent of samples {self.rows.start} to {self.rows.stop - 1} became infinite or NaN in {where}:"
            f" {remedy};"
            f" {done} finished samples and the last finite latents are in this error's .kept"
        )
        raise NonFiniteStateError(msg, self._kept())

    @contextmanager
    def _running(self) -> Generator[Any]:
        """Hold the denoiser in evaluation mode, gradients off, and keep what is done if the run is interrupted."""
        batches = -(-self.settings.count // self.size)
        self._report()
        try:
            with (
                torch.no_grad(),
                evaluating(self.sampler.denoiser),
                _bar((len(self.grid) - 1) * batches, shown=self.settings.progress) as bar,
            ):
                yield bar
        except KeyboardInterrupt as error:
            done = sum(len(batch) for batch in self.finished)
            msg = f"interrupted: {done} finished samples and the unfinished batch's latents are in this error's .kept"
            raise SamplingInterrupted(msg, self._kept()) from error
        except NonFiniteStateError:
            raise
        except Exception as error:
            # Whatever else stops a run, a callback or a full memory, what was finished is not lost with it.
            if self.finished or self.states:
                error.kept = self._kept()  # pyright: ignore[reportAttributeAccessIssue]
                done = sum(len(batch) for batch in self.finished)
                error.add_note(f"{done} finished samples and the unfinished batch's latents are in this error's .kept")
            raise

    def _checked_initial(self) -> Tensor | None:
        settings, process = self.settings, self.sampler.process
        initial = settings.initial
        if initial is None:
            if settings.start < 1:
                msg = (
                    f"a run that starts at t = {settings.start} needs its latents there: give initial=, for example"
                    " process.marginal(x, start).sample()"
                )
                raise ValueError(msg)
            return None
        check_signal("initial", initial, process.shape)
        if len(initial) != settings.count:
            msg = (
                f"initial holds {len(initial)} latents, but {settings.count} samples were asked for: make both equal"
                " (one latent for all: initial.expand(count, ...))"
            )
            raise ValueError(msg)
        return initial


def cut(grid: Tensor, start: float, stop: float) -> Tensor:
    """Return the part of a falling grid between `start` and `stop`, both of which become its ends.

    Raises:
        ValueError: they do not satisfy 1 >= start > stop >= 0.
    """
    if not 0 <= stop < start <= 1:
        msg = f"a run goes from start down to stop, 1 >= start > stop >= 0, got start={start} and stop={stop}"
        raise ValueError(msg)
    # A grid's own time, computed in another way (level / levels), is not another time.
    inner = grid[(grid < start - _SAME_TIME) & (grid > stop + _SAME_TIME)]
    # Times that all but coincide make polynomials through them steep: a start just above a time replaces it.
    if len(inner) > 1 and start - inner[0] < _SHORTEST * (inner[0] - inner[1]):
        inner = inner[1:]
    ends = [grid.new_tensor([end]) for end in (start, stop)]
    return torch.cat([ends[0], inner, ends[1]])


def seed_noise(seeds: Sequence[int], count: int) -> SeedNoise:
    """Return a generator for each of `count` samples.

    Raises:
        TypeError: the seeds are no integers.
        ValueError: there are more or fewer than samples.
    """
    # Integers of numpy and of torch as well; a set has no order that would tell whose seed is whose.
    if not hasattr(seeds, "__iter__") or isinstance(seeds, (set, frozenset)):
        msg = f"generator must be a torch.Generator or one integer seed for each sample, in order, got {seeds!r:.60}"
        raise TypeError(msg)
    try:
        whole = [operator.index(seed) for seed in seeds]
    except TypeError:
        msg = f"generator must be a torch.Generator or one integer seed for each sample, got {[*seeds]!r:.60}"
        raise TypeError(msg) from None
    if len(whole) != count:
        msg = f"{len(whole)} seeds for {count} samples: give one seed for each, such as range({count})"
        raise ValueError(msg)
    return SeedNoise.of_seeds(whole)


@contextmanager
def _bar(total: int, *, shown: bool) -> Generator[Any]:
    """Show a progress bar over `total` steps, or stand in for one."""
    if not shown:
        yield _Silent()
        return
    try:
        from tqdm.auto import tqdm  # noqa: PLC0415  # wanted only where a bar is
    except ImportError:
        msg = "progress=True shows a bar with tqdm, which is not installed: pip install tqdm, or leave progress out"
        raise ImportError(msg) from None
    with tqdm(total=total, unit="step") as bar:
        yield bar


class _Silent:
    def update(self) -> None:
        """Show nothing."""


_SAME_TIME = 1e-9
# A first step is at least this share of the next.
_SHORTEST = 1e-3
