r"""The sampler: from the prior at t = 1 to data at t = 0, by the steps of a stepper along a grid.

    Sampler(denoiser, Multistep(order=3), grid=KarrasGrid(20), prior=prior).sample(16, condition=labels)

Stepper and grid are values; the sampler brings them together with a denoiser and a prior, runs them, and returns what
it found. `loop.py` holds the run itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_count, check_instance, check_number, check_signal, values_are_readable
from ..core.evaluation_mode import evaluating
from ..core.precision import to_compute_dtype
from ..degradations import Independent, LinearGaussianProcess
from ..degradations.process import Time
from ..models import AbstractDenoiser, ClippedDenoiser, Condition, Prior
from ..models.centred_denoiser import centred, moved_from_end
from ..models.conditions import check_rows
from ..models.denoiser import check_end
from ..models.off_levels import warn_off_levels
from .first_step import first_stepper
from .grids import Grid
from .initial import InitialLatents
from .loop import SamplingLoop, cut, seed_noise
from .noise import GeneratorNoise, Noise
from .plan import mapped
from .results import Callback, SamplingResult
from .spectral import Spectral
from .state import SamplerState
from .stepper import PlannedStep, Problem, Stepper
from .steppers import Posterior


class Sampler:
    """Draws samples by stepping from the prior at t = 1 to data at t = 0.

    Args:
        denoiser: estimates the data from latents of its process.
        stepper: how each step is taken; `Posterior()` if None, ancestral sampling.
        grid: where the steps lie; the stepper's own if None, mostly `UniformGrid()`.
        prior: distribution of the first latent; if None standard normal, where the process ends in it, or what a known
            end says. A denoiser guided by an observation draws it itself, and takes no prior.
        denoise_last: whether a run that ends at t = 0 returns the last estimate of the data, without the process's
            noise at t = 0 (the mean of the decoder p(x | z)); else it returns the latent z_0.
        clip: True clips the estimate of the data to the range of the denoiser's grey levels at each step; a number in
            (0, 1), such as 0.995, does it by dynamic thresholding with that percentile. For another range, and for what
            it means, see `ClippedDenoiser`, which the sampler's denoiser then is.

    Attributes:
        prior: the prior; None where the denoiser draws the first latents.
        times: the grid's times, (steps + 1,), float64, falling from 1 to 0.

    A network that predicts the previous level is made for independent steps through all of its levels; the constructor
    warns where it is asked for others (`OffLevelsWarning`).

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: the process does not allow grid or stepper, the prior is one of another process or data range, the
            process needs another prior than a standard normal, or the denoiser takes none; or what is to be clipped has
            no known range, or none at all.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        stepper: Stepper | None = None,
        grid: Grid | None = None,
        prior: Prior | None = None,
        *,
        denoise_last: bool = True,
        clip: bool | int | float = False,  # noqa: PYI041  # checked at run time, where an int is no float
    ) -> None:
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        if not isinstance(clip, bool):
            check_number("clip", clip, "(0, 1)", "a percentile, 0.995 is usual; True clips each number by itself")
        if clip is not False:
            denoiser = ClippedDenoiser(denoiser, percentile=None if clip is True else clip)
        self.denoiser, self.stepper = denoiser, stepper or Posterior()
        check_instance("stepper", self.stepper, Stepper, "Multistep(order=2) for example")
        self.grid = grid or self.stepper.default_grid()
        check_instance("grid", self.grid, Grid, "UniformGrid(steps=50) for example")
        self._start = InitialLatents(denoiser, prior)
        self.denoise_last = denoise_last
        self.times = self.grid.times(self.process)
        # Latents are moved without the share of a known end, which is added again where they are seen.
        self._centred = centred(denoiser)
        self._problem = Problem(self._centred.process, denoiser.prediction, self.times, denoise_last)
        self.stepper.check(self._problem)
        self._leaves_end = self._problem.process.at(1.0).pinned
        warn_off_levels(
            denoiser,
            self.times,
            steps=_other_than_independent(self.stepper),
            expect="worse samples (of digits 70 to 88 % were recognised instead of 94 %). Step through all of its"
            " levels, Posterior(Independent()) on UniformGrid({levels}), or"
            " train a network that predicts x, PredictX()",
        )

    def __repr__(self) -> str:
        """Show the process, stepper, grid and prior, or the denoiser that takes none, and what is between."""
        last = "" if self.denoise_last else ", denoise_last=False"
        start = type(self._start.denoiser if self.prior is None else self.prior).__name__
        parts = [self.process.called, self.stepper, self.grid, start]
        # Guidance and clipping, from the outside to the network's own denoiser.
        around = self.denoiser
        while isinstance(inner := getattr(around, "denoiser", None), AbstractDenoiser):
            if settings := around.extra_repr():
                parts.append(f"{type(around).__name__}({settings})")
            around = inner
        return f"Sampler({', '.join(map(str, parts))}{last})"

    @property
    def process(self) -> LinearGaussianProcess:
        """The denoiser's process."""
        return self.denoiser.process

    @property
    def prior(self) -> Prior | None:
        """The distribution of first latents; None where the denoiser draws them."""
        return self._start.prior

    @property
    def draws_noise(self) -> bool:
        """Whether steps add noise; where they do not, a sample is a function of its initial latent."""
        return self.draws_noise_from(1.0)

    def draws_noise_from(self, start: float) -> bool:
        """Return whether steps of a run from a time add noise; the one that leaves a known end does in any case."""
        first = first_stepper(self.stepper, self._problem.process.at(start))
        return first.draws_noise(self._problem) or self.stepper.draws_noise(self._problem)

    def sample(  # noqa: PLR0913  # each is a choice of its own
        self,
        count: int,
        *,
        condition: Condition | None = None,
        given: Condition | None = None,
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
        """Draw samples; `run` returns what they have cost, and the way to them, too.

        Args:
            count: how many.
            condition: the network's condition, such as labels, (count, ...); None if it takes none.
            given: what the denoiser is given of each sample, (count, ...), if it needs any: an observation, or the
                known end of its process.
            generator: source of randomness, torch's default if None; or one seed for each sample, which then is the
                same whatever the batch it is drawn in (up to the rounding of the network's own sums).
            noise: source of the steps' noise, where it is to be another than the initial latents' (shared, say).
            initial: latents at `start` to go on from, (count, *shape); as `initial_latents` draws them if None.
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
            ValueError: a number is out of range, or what belongs to samples has another number of rows or shape.
            NonFiniteStateError: a latent became infinite or NaN; `.partial` has what was done before.
            SamplingInterrupted: sampling was interrupted; `.partial` has what was done before.
        """
        return self.run(
            count,
            condition=condition,
            given=given,
            generator=generator,
            noise=noise,
            initial=initial,
            start=start,
            stop=stop,
            batch_size=batch_size,
            callback=callback,
            progress=progress,
            keep_on=keep_on,
            keep_path=False,
        ).samples

    def run(  # noqa: PLR0913  # as `sample`
        self,
        count: int,
        *,
        condition: Condition | None = None,
        given: Condition | None = None,
        generator: torch.Generator | Sequence[int] | None = None,
        noise: Noise | None = None,
        initial: Float[Tensor, "count ..."] | None = None,
        start: float = 1.0,
        stop: float = 0.0,
        batch_size: int | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        keep_on: torch.device | str | None = None,
        keep_path: bool = True,
    ) -> SamplingResult:
        """Draw samples and return them with what they have cost; arguments and errors as in `sample`.

        With `keep_path` every state and prediction is kept and returned too.
        """
        self._check_counts(count, batch_size)
        check_rows("condition", condition, count)
        self._check_given(given, count)
        if noise is not None:
            check_instance("noise", noise, Noise, "SharedNoise(seed=0) for example")
            noise.require_count(count)
        seeds = None if generator is None or isinstance(generator, torch.Generator) else seed_noise(generator, count)
        loop = SamplingLoop(
            self._centred,
            self.stepper,
            self._problem,
            self._start,
            count=count,
            grid=cut(self.times, start, stop),
            initial=self._checked_initial(initial, count, start, given),
            condition=condition,
            given=given,
            generator=generator if isinstance(generator, torch.Generator) else None,
            # Seeds give each sample a generator, for its first latent and for its steps.
            seeds=seeds,
            noise=noise,
            batch_size=batch_size or count,
            callback=callback,
            keep_on=self.process.device if keep_on is None else torch.device(keep_on),
        )
        return loop.run(progress=progress, keep_path=keep_path)

    @torch.no_grad()
    def initial_latents(
        self,
        count: int,
        *,
        given: Condition | None = None,
        generator: torch.Generator | Sequence[int] | None = None,
    ) -> Float[Tensor, "count ..."]:
        """Draw latents that runs start from at t = 1, (count, *shape), float32: from the prior, or given observations.

        Args:
            count: how many.
            given: what the denoiser is given of each sample, such as observations, (count, ...), if it needs any.
            generator: as in `sample`: those of a run with the same one.

        Raises:
            TypeError: an argument is of the wrong kind.
            ValueError: a number is out of range, what belongs to samples has another number of rows or shape, or the
                denoiser knows too little of the data to draw them.
        """
        check_count("count", count)
        self._check_given(given, count)
        source = generator
        if not (source is None or isinstance(source, torch.Generator)):
            source = seed_noise(source, count)
        latents = self._start.sample(count, given=given, source=source)
        return moved_from_end(self._centred, latents, 1.0, given, back=True)

    @torch.no_grad()
    def step(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        s: Time,
        *,
        condition: Condition | None = None,
        given: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Take one step from latents at `t` to the earlier time `s`, as the first step of a run from there is taken.

        Args:
            z_t: latents, (batch, *shape).
            t: their time, a number, () or (batch,).
            s: the time to go to, s <= t; at s = 0 what `denoise_last` says is returned.
            condition: the network's condition, one row per latent; None if it takes none.
            given: what the denoiser is given of each row, if it needs any.
            generator: source of randomness; torch's default if None.

        Raises:
            TypeError: `z_t` is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], or s > t.
        """
        check_signal("z_t", z_t, self.process.shape)
        at_s, at_t = self._problem.process.ordered_levels(s, t, z_t.shape[0])
        self._check_given(given, z_t.shape[0])
        z_t = moved_from_end(self._centred, to_compute_dtype(z_t), at_t.t, given)
        draw = GeneratorNoise(generator).stream(slice(None))
        state = SamplerState(self._centred, Spectral(self.process.basis, signal=z_t), draw, condition, given)
        # Reading whether this is such a level would make a device wait, where none is.
        stepper = first_stepper(self.stepper, at_t) if self._leaves_end else self.stepper
        tables = mapped(lambda table: table.to(z_t.dtype), stepper.coefficients(self._problem, at_t, at_s))
        to_zero = values_are_readable(at_s.t) and bool((at_s.t == 0).all())
        # Switching modes would break a compiled graph, whose network is in the mode it is to be compiled in.
        with nullcontext() if torch.compiler.is_compiling() else evaluating(self.denoiser):
            stepper.advance(state, PlannedStep(at_t.t, at_s.t, tables, to_zero, to_zero and self.denoise_last))
        if to_zero and self.denoise_last:
            return state.latent.signal
        return moved_from_end(self._centred, state.latent.signal, at_s.t, given, back=True)

    def _check_counts(self, count: int, batch_size: int | None) -> None:
        for name, number in (("count", count), ("batch_size", batch_size)):
            if number is not None:
                check_count(name, number)

    def _check_given(self, given: Condition | None, count: int) -> None:
        if self.process.known_end:
            check_end(self.denoiser, given, count)
            return
        check_rows("given", given, count)
        if self.denoiser.needs_given == (given is not None):
            return
        name = type(self.denoiser).__name__
        msg = (
            f"{name} needs to be given what was observed, one row for each sample: pass given=y"
            if given is None
            else f"{name} depends on nothing that is given: leave given out, or pass condition= to its network"
        )
        raise ValueError(msg)

    def _checked_initial(
        self, initial: Tensor | None, count: int, start: float, given: Condition | None
    ) -> Tensor | None:
        if initial is None:
            if start < 1:
                example = (
                    "conditional_latents(...)" if self.denoiser.needs_given else "process.marginal(x, start).sample()"
                )
                msg = f"a run that starts at t = {start} needs its latents there: give initial=, for example {example}"
                raise ValueError(msg)
            return None
        check_signal("initial", initial, self.process.shape)
        if len(initial) != count:
            msg = (
                f"initial holds {len(initial)} latents, but {count} samples were asked for: make both equal"
                " (one latent for all: initial.expand(count, ...))"
            )
            raise ValueError(msg)
        if isinstance(given, Tensor) and self.process.known_end and self.process.at(start).pinned:
            self._check_pinned(initial, start, given)
        return initial

    def _check_pinned(self, initial: Tensor, start: float, given: Tensor) -> None:
        """Check that latents at a time where the process is nothing but its known end are that."""
        device, at = self.process.device, self.process.at(start)
        share = self.process.end_share(given.to(device), start)
        empty = (at.log_alpha == -torch.inf) & (at.log_sigma == -torch.inf)
        off = (self.process.basis.forward(initial.to(device) - share) * empty).abs().max().item()
        # Basis changes of a million numbers round by some twenty units of the last place.
        unit = max(torch.finfo(initial.dtype).eps, torch.finfo(given.dtype).eps)
        if not off <= 64 * unit * max(1.0, given.abs().max().item()):
            msg = (
                f"at t = {start:g} a latent of {self.process.called} is its known end, whatever the data are, and"
                f" initial is off it by up to {off:.3g}: leave initial out, given=y says where to start"
            )
            raise ValueError(msg)


def _other_than_independent(stepper: Stepper) -> tuple[str, ...]:
    """Return what the steps are, in words, unless they are independent ones."""
    coupling = stepper.coupling if isinstance(stepper, Posterior) else None
    if isinstance(coupling, Independent):
        return ()
    of = type(stepper).__name__ if coupling is None else f"Posterior({coupling})"
    return (f"steps of {of} instead of independent ones",)
