"""The loop of a sampler: batch by batch and step by step, watched, counted, and rescued if it stops early."""

from __future__ import annotations

import functools
import operator
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..core.evaluation_mode import evaluating
from ..core.precision import to_compute_dtype
from ..models import AbstractDenoiser
from ..models.centred_denoiser import moved_from_end
from ..models.conditions import Condition, select_rows
from .grids import check_ends
from .initial import InitialLatents
from .nan_watch import NaNWatch
from .noise import GeneratorNoise, Noise, SeedNoise
from .plan import Plan
from .probability_flow import NonFiniteRatesError
from .results import (
    Callback,
    NonFiniteStateError,
    Partial,
    SamplingInterrupted,
    SamplingResult,
    SamplingStats,
    StepInfo,
    Trajectory,
)
from .spectral import Spectral
from .state import SamplerState
from .stepper import Problem, Stepper

# Times of a grid that differ by less are one: they are computed in more than one way (level / levels).
_SAME_TIME = 1e-9
# A first step is at least this share of the next.
_SHORTEST = 1e-3


class SamplingLoop:
    """A run of a sampler that is about to begin; arguments are those of `Sampler.run`, checked.

    Of a process with a known end it moves centred latents, those of the denoiser and the problem that it is given, and
    adds what the end has of them wherever somebody sees them.
    """

    def __init__(  # noqa: PLR0913  # as `Sampler.run`
        self,
        denoiser: AbstractDenoiser,
        stepper: Stepper,
        problem: Problem,
        start: InitialLatents,
        *,
        count: int,
        grid: Tensor,
        initial: Tensor | None,
        condition: Condition | None,
        given: Condition | None,
        generator: torch.Generator | None,
        seeds: SeedNoise | None,
        noise: Noise | None,
        batch_size: int,
        callback: Callback | None,
        keep_on: torch.device,
    ) -> None:
        self.denoiser, self.stepper, self.problem, self.start = denoiser, stepper, problem, start
        self.plan = Plan(stepper, problem, problem.process.to_schedule_dtype(grid))
        self.count, self.grid, self.initial, self.batch_size = count, grid, initial, batch_size
        self.condition, self.given = condition, given
        self.generator, self.seeds = generator, seeds
        self.noise = noise or seeds or GeneratorNoise(generator)
        self.callback, self.keep_on = callback, keep_on
        self.finished: list[Tensor] = []
        self.calls = self.evaluations = 0
        self._begin(slice(0, 0))

    def run(self, *, progress: bool, keep_path: bool) -> SamplingResult:
        """Return the samples, what they have cost and, if `keep_path`, all that led to them."""
        paths: list[Tensor] = []
        guesses: list[Tensor] = []
        with self._running(progress=progress) as bar:
            for rows in self._batches():
                predictions: list[Tensor] = []
                for state in self._steps(rows, bar):
                    if keep_path:
                        predictions.append(state.prediction().signal.to(self.keep_on))
                        self.states[-1] = Spectral(state.latent.basis, signal=state.latent.signal.to(self.keep_on))
                    else:
                        # Of earlier states nothing is kept.
                        del self.states[:-1], self.times[:-1]
                if keep_path:
                    paths.append(torch.stack(self._seen()))
                    guesses.append(torch.stack(predictions))
                self._finish()
        path = Trajectory(self.grid.clone(), torch.cat(paths, 1), torch.cat(guesses, 1)) if keep_path else None
        return SamplingResult(torch.cat(self.finished), self.stats(), path)

    def stats(self) -> SamplingStats:
        """Return what has been done so far."""
        return SamplingStats(sum(len(batch) for batch in self.finished), self.calls, self.evaluations)

    # ---- the loop -----------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[slice]:
        for first in range(0, self.count, self.batch_size):
            yield slice(first, min(first + self.batch_size, self.count))

    def _steps(self, rows: slice, bar: Any) -> Iterator[SamplerState]:
        """Yield the state of a batch after every step."""
        process, stepper = self.problem.process, self.stepper
        self._begin(rows)
        z = self._first(rows)
        state = SamplerState(
            self.denoiser,
            Spectral(process.basis, signal=z),
            self.noise.stream(rows),
            select_rows(self.condition, rows),
            select_rows(self.given, rows),
        )
        self.states, self.times = [state.latent], [self.grid[0].item()]
        watch = NaNWatch(self._stop)
        watch.look(z, f"the initial latents at t = {self.times[0]:.6g}")
        steps, times = len(self.grid) - 1, self.grid.tolist()
        planned = self.plan.steps(z.dtype)
        for number, step in enumerate(planned):
            t, s = times[number], times[number + 1]
            where = f"step {number + 1} of {steps}, from t = {t:.6g} to {s:.6g}"
            state.begin_step()
            try:
                last = s == 0
                taken = step._replace(to_zero=last, denoises=last and self.problem.denoise_last)
                (step.stepper or stepper).advance(state, taken)
            except NonFiniteRatesError as error:
                self._stop(where, str(error))
            finally:
                # Calls of a step that was interrupted, or that a solver gave up, were made all the same.
                self._count(state)
            watch.look(state.latent.either, where)
            self.states.append(state.latent)
            self.times.append(s)
            bar.update()
            if self.callback is not None:
                latent = functools.partial(self._uncentred, state.latent, s)
                self.callback(StepInfo(number, steps, t, s, rows, state.calls, latent, state.prediction))
            yield state
            # Some steppers make predictions for callbacks and trajectories by a further call.
            self._count(state)
        watch.close()

    def _count(self, state: SamplerState) -> None:
        """Take note of the calls that a batch has made since it was last asked."""
        new = state.calls - self.counted
        self.counted = state.calls
        self.calls += new
        self.evaluations += new * len(state.latent.either)

    def _first(self, rows: slice) -> Tensor:
        """Return the latents that a batch starts from."""
        if self.initial is not None:
            initial = to_compute_dtype(self.initial[rows]).to(self.problem.process.device)
            return moved_from_end(self.denoiser, initial, self.grid[0], select_rows(self.given, rows))
        source = self.generator if self.seeds is None else SeedNoise(self.seeds.generators[rows])
        given = select_rows(self.given, rows)
        return self.start.sample(rows.stop - rows.start, given=given, source=source)

    def _uncentred(self, latent: Spectral, t: float) -> Tensor:
        """Return a state of the batch as others see it, a latent z_t of the process."""
        if t == 0 and self.problem.denoise_last:
            # An estimate of the data, which has no share of the end.
            return latent.signal
        given = select_rows(self.given, self.rows)
        return moved_from_end(self.denoiser, latent.signal, t, given, back=True)

    def _seen(self) -> list[Tensor]:
        """Return all states that were kept, as others see them, where they are kept."""
        return [self._uncentred(*each).to(self.keep_on) for each in zip(self.states, self.times, strict=True)]

    # ---- what is rescued ----------------------------------------------------------------------------------

    def _begin(self, rows: slice) -> None:
        self.rows = rows
        self.counted = 0
        self.states: list[Spectral] = []
        self.times: list[float] = []

    def _finish(self) -> None:
        self.finished.append(self._uncentred(self.states[-1], self.times[-1]).to(self.keep_on))
        self._begin(slice(self.rows.stop, self.rows.stop))

    def _partial(self) -> Partial:
        none = torch.empty(0, *self.problem.process.shape, device=self.keep_on)
        states = self._seen()
        # An accelerator goes on for a step or two before the news of a state that is not finite arrives.
        states = [state for state in states if bool(state.isfinite().all())]
        return Partial(
            samples=torch.cat(self.finished) if self.finished else none,
            states=torch.stack(states) if states else none[None][:0],
            times=torch.tensor(self.times[: len(states)], dtype=torch.float64),
            rows=self.rows,
            stats=self.stats(),
        )

    def _stop(self, where: str, told: str = "") -> None:
        """Stop because of what was found at `where`; `told` is what is known of it already, and what to do."""
        remedy = told or (
            "look at what the network returns there (its precision, its training, times it has never seen) and at the"
            " grid"
            if self.states and where.startswith("step")
            else "look at `initial`, or at the prior and the images it was made of, or at what was `given`"
        )
        msg = (
            f"a latent of samples {self.rows.start} to {self.rows.stop - 1} became infinite or NaN in {where}:"
            f" {remedy}; {self.stats().samples} finished samples and the last finite latents are in this error's"
            " .partial"
        )
        raise NonFiniteStateError(msg, self._partial())

    @contextmanager
    def _running(self, *, progress: bool) -> Generator[Any]:
        """Hold the denoiser in evaluation mode, gradients off, and rescue what is done if sampling is interrupted."""
        steps = (len(self.grid) - 1) * -(-self.count // self.batch_size)
        rescued = "finished samples and the unfinished batch's latents are in this error's .partial"
        try:
            with torch.no_grad(), evaluating(self.denoiser), _bar(steps, shown=progress) as bar:
                yield bar
        except KeyboardInterrupt as error:
            msg = f"interrupted: {self.stats().samples} {rescued}"
            raise SamplingInterrupted(msg, self._partial()) from error
        except NonFiniteStateError:
            raise
        except Exception as error:
            # Whatever else stops sampling, a callback or a full memory, what was finished is not lost with it.
            if self.finished or self.states:
                error.partial = self._partial()  # pyright: ignore[reportAttributeAccessIssue]
                error.add_note(f"{self.stats().samples} {rescued}")
            raise


def cut(grid: Tensor, start: float, stop: float) -> Tensor:
    """Return the part of a falling grid between `start` and `stop`, both of which become its ends.

    Raises:
        ValueError: they do not satisfy 1 >= start > stop >= 0.
    """
    check_ends(start, stop)
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
        TypeError: the seeds are not integers.
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
