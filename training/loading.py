"""From a run's folder, or an exported model, back to the model, for everything that is done with a trained model."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..core import resolve
from ..core.checks import check_signal
from ..core.configuration import write
from ..core.notebook import embedded
from ..degradations import DataSpectrum
from ..models import EMA, AbstractDenoiser, Condition, Denoiser, Prior
from ..models.denoiser import check_units
from ..samplers import Grid, Sampler, Stepper, UniformGrid
from ..samplers.guidance import CovarianceGuidance, Observation, Restoration, restore
from .building import build_denoiser, build_process, build_sampler
from .data import Splits
from .folder.manifest import Manifest
from .folder.prior_file import read_prior
from .folder.run_folder import RunFolder
from .folder.spectrum_file import read_spectrum
from .folder.weights import load_weights, read_average
from .known import Known, Seen
from .run_config import RunConfig

# Characters of a line that a run is shown in.
_WIDEST = 110


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """A trained model.

    Attributes:
        folder: its folder.
        config: how it was trained.
        parts: the same, with what was fitted to data in the place of what said how.
        manifest: versions, data and size of the network.
        denoiser: the moving average of its weights, in evaluation mode, on the CPU.
        checkpoint: the checkpoint that was read, or the file of an exported model.
        step: training steps that it has seen.
        ema_decay: decay of the moving average.
    """

    folder: RunFolder
    config: RunConfig
    parts: RunConfig
    manifest: Manifest
    denoiser: Denoiser
    checkpoint: Path
    step: int
    ema_decay: float

    def __repr__(self) -> str:
        """Show what it is, a line each."""
        data, config = self.manifest.content["data"], self.config
        lines = {
            "process": write(config.process),
            "network": f"{self.manifest.content['parameters']:,} parameters, {write(config.network)}",
            "prediction": write(config.prediction),
            "weights": f"step {self.step}, average of decay {self.ema_decay:g}",
            "data": f"{data['train']['images']} examples of shape {self.manifest.shape}, {write(config.data)}",
            "sampler": write(config.sampler)
            + ("" if config.grid is None else f", {write(config.grid)}")
            + ("" if self.denoiser.classes is None else f", guidance {config.pictures.guidance:g}"),
        }
        whole = [f"  {name}: {text}" for name, text in lines.items()]
        shown = (line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}..." for line in whole)
        return "\n".join([f"LoadedRun({str(self.folder.path)!r})", *shown])

    def _repr_html_(self) -> str:
        """Show in a notebook what it is, and the run's own samples where they are there."""
        picture = self.folder.path / "samples.png"
        lines = f"<pre>{html.escape(repr(self))}</pre>"
        if not picture.is_file():
            return lines
        return lines + embedded(picture.read_bytes(), "samples of the run, drawn when it ended")

    @cached_property
    def prior(self) -> Prior:
        """What samples start from, read from the run's folder.

        Raises:
            FileNotFoundError, ValueError: there is none, or it was fitted to other images, or for another process.
        """
        prior = read_prior(self.folder.prior, self.config, self.denoiser.process, self.manifest.train_fingerprint)
        prior.grey_levels = self.denoiser.grey_levels
        return prior

    @cached_property
    def spectrum(self) -> DataSpectrum:
        """Mean and variance of the training images' coefficients in the process's basis, read from the run's folder.

        Raises:
            FileNotFoundError, ValueError: there is none, or it is one of other images.
        """
        return read_spectrum(self.folder.spectrum, self.denoiser.process.basis, self.manifest.train_fingerprint)

    def data(self, place: Path | str | None = None) -> Splits:
        """Return the images it was trained on, and those held out.

        Args:
            place: the folder or file where they lie now; None looks where they were, in the current folder and in the
                one that the run was begun in.

        Raises:
            ConnectionError, FileNotFoundError: as `DataSet.load`.
            ValueError: they are not the ones it was trained on.
        """
        source = self.config.data
        source = source.seen_from(self.folder.began_in(self.config)) if place is None else source.at(place)
        data = source.load()
        self.manifest.check_data(data, labels=self.denoiser.classes is not None)
        return data

    def sampler(
        self,
        stepper: Stepper | None = None,
        *,
        steps: int | None = None,
        grid: Grid | None = None,
        guidance: float | None = None,
        prior: Prior | None = None,
        clip: bool | float = False,
    ) -> Sampler:
        """Return a sampler of this model; what is not given is as in the run's own pictures.

        Args:
            stepper: how steps are taken.
            steps: number of steps on a uniform grid; or give `grid`.
            grid: where the steps lie; another stepper has its own grid.
            guidance: scale of classifier-free guidance.
            prior: what samples start from.
            clip: True clips the estimate of the data to their range at each step; a number in (0, 1), such as 0.995,
                does it by dynamic thresholding with that percentile; see `ClippedDenoiser`.

        Raises:
            ValueError: both steps and a grid are given, the process allows no such sampler, or nothing can be clipped.
        """
        parts = self._stepping(stepper, steps, grid)
        if guidance is not None:
            parts = replace(parts, pictures=replace(parts.pictures, guidance=guidance))
        return build_sampler(
            parts,
            self.denoiser,
            prior or self.prior,
            clip_to=None if clip is False else self.manifest.data_range,
            percentile=None if isinstance(clip, bool) else clip,
        )

    def _stepping(self, stepper: Stepper | None, steps: int | None, grid: Grid | None) -> RunConfig:
        """Return the parts with another stepper or grid where one is given."""
        if steps is not None and grid is not None:
            msg = f"give steps or a grid, not both: got steps={steps} and {grid}"
            raise ValueError(msg)
        parts = self.parts if stepper is None else replace(self.parts, sampler=stepper, grid=None)
        if steps is None and grid is None:
            return parts
        return replace(parts, grid=grid if steps is None else UniformGrid(steps))

    def sample(
        self,
        count: int,
        *,
        condition: Condition | None = None,
        observed: Float[Tensor, "count ..."] | None = None,
        generator: torch.Generator | Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> Float[Tensor, "count ..."]:
        """Draw samples as the run's own pictures do; arguments and errors as in `Sampler.sample`.

        Args:
            count: how many.
            condition: the network's condition, such as labels.
            observed: what is known of each, (count, *shape), of a run that was trained to start from it
                (`run.known.observe(images)` makes it of images).
            generator: source of randomness.
            batch_size: most samples at a time.

        Raises:
            ValueError: nothing is observed, and the run needs it, or the other way round.
        """
        condition, given = self.seen(condition, observed)
        return self.sampler().sample(
            count, condition=condition, given=given, generator=generator, batch_size=batch_size
        )

    @cached_property
    def known(self) -> Known:
        """What the run knows of each image beside its class, and how it is observed; nothing for most runs."""
        return Known(self.parts, self.denoiser)

    def require_nothing_known(self, what: str) -> LoadedRun:
        """Return this run, if it draws samples from nothing but a prior, for `what` cannot be done otherwise.

        Raises:
            ValueError: it starts from observations.
        """
        if self.known:
            msg = (
                f"{what} draws from a prior alone, and {self.folder.path} was trained to start from observations,"
                f" {write(self.config.given)}: unmelt restore draws what one may have come from"
            )
            raise ValueError(msg)
        return self

    def seen(self, condition: Condition | None, observed: Float[Tensor, "count ..."] | None) -> Seen:
        """Return what a sampler of this model is given: condition and known end, of a condition and what is observed.

        Raises:
            ValueError: nothing is observed, and the run needs it, or the other way round.
        """
        if bool(self.known) != (observed is not None):
            msg = (
                f"this run draws what an observation may have come from, {write(self.config.given)}: give what was"
                " observed (unmelt restore; observed= in Python)"
                if self.known
                else "this run knows nothing of what it draws: leave out what was observed, or guide it by run.restore"
            )
            raise ValueError(msg)
        if observed is not None:
            check_signal("observed", observed, self.denoiser.process.shape)
            check_units("observed", observed, self.denoiser.grey_levels)
        return self.known.seen(condition, observed)

    def restore(  # noqa: PLR0913  # each is a choice of its own
        self,
        observed: Float[Tensor, "..."],
        observation: Observation | None = None,
        count: int = 8,
        *,
        guidance: Callable[..., AbstractDenoiser] = CovarianceGuidance,
        stepper: Stepper | None = None,
        steps: int | None = None,
        grid: Grid | None = None,
        condition: int | None = None,
        generator: torch.Generator | Sequence[int] | None = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> Restoration:
        """Draw images that an observation may have come from; `run.restore(y, observation).mean` is the best guess.

        Args:
            observed: the observation y of one image, in the data's units.
            observation: how it was made of the image, such as `LinearObservation.blur(shape, 2.0, noise_std=0.02)`. A
                run that was trained to start from observations knows that, and takes its own kind alone, None.
            count: how many.
            guidance: makes the guided denoiser, called as `guidance(denoiser, observation, variance=spectrum)`.
            stepper: how steps are taken; as in the run's own pictures if None.
            steps: number of steps on a uniform grid; or give `grid`.
            grid: where the steps lie.
            condition: class of the image, for a network that knows classes.
            generator: source of randomness, torch's default if None; or a seed for each sample.
            batch_size: most samples at a time; all at once if None.
            progress: show a progress bar.

        Raises:
            FileNotFoundError: the run keeps no spectrum of its images.
            TypeError: `observed` is not floating-point.
            ValueError: a shape or number is wrong, or the process allows no such sampler.
            RuntimeError: the guidance's equations were not solved in the iterations allowed.
        """
        labels = None if condition is None else torch.full((count,), condition)
        if self.known and observed.ndim != len(self.denoiser.process.shape):
            msg = (
                f"observed must be the observation of one image, {self.denoiser.process.shape}, got"
                f" {tuple(observed.shape)}: of several draw run.sample(len(observed), observed=observed)"
            )
            raise ValueError(msg)
        if self.known or observation is None:
            if observation is not None:
                msg = f"this run was trained on observations {write(self.config.given)}: leave another one out"
                raise ValueError(msg)
            check_signal("observed", observed[None], self.denoiser.process.shape)
            seen = self.seen(labels, observed.expand(count, *observed.shape))
            sampler = self.sampler(stepper, steps=steps, grid=grid)
            drawn = sampler.sample(
                count, **seen._asdict(), generator=generator, batch_size=batch_size, progress=progress
            )
            assert self.known.observation is not None
            return Restoration(self.known.observation, observed, drawn)
        guided = guidance(self.denoiser, observation, variance=self.spectrum)
        parts = self._stepping(stepper, steps, grid)
        return restore(
            Sampler(guided, parts.sampler, grid=parts.grid),
            observed,
            count,
            condition=condition,
            generator=generator,
            batch_size=batch_size,
            progress=progress,
        )


def load_run(
    folder: Path | str,
    *,
    trust_code: bool = False,
    ema_decay: float | None = None,
    checkpoint: str | int | None = None,
) -> LoadedRun:
    """Return the model that a run's newest whole checkpoint holds, or an exported one; no data are needed.

    Nothing is run from a folder unless you say so. With `trust_code` classes of the user's are imported: from the
    copies that the run keeps in `code/`, whatever has become of the originals, and what it has no copy of from the
    current directory or where it is installed.

    Args:
        folder: the run's folder, or that of an exported model.
        trust_code: let the run's settings name classes of the user's, and run their code. A folder that came from
            elsewhere can do anything then: look at its `config.json` and `code/` before.
        ema_decay: which of several moving averages; the one that the run draws samples from if None.
        checkpoint: another checkpoint than the newest, by its name, `"step_00010000"`, or its step.

    Raises:
        FileNotFoundError: there is no run, or it has no such checkpoint, or none yet.
        ValueError: its files are damaged or of another format, its settings name code that is not trusted or cannot be
            imported, or its process gives other coefficients than it was trained with.
    """
    run = RunFolder(Path(folder))
    config = run.load_config(trust_code=trust_code)
    manifest = run.load_manifest()
    if ema_decay is None and manifest.exported is None:
        # Its file alone is read then.
        ema_decay = config.training.ema_decays[0]
    average = read_average(run, decay=ema_decay, checkpoint=checkpoint, tell=warnings.warn)
    parts, _ = resolve(config, manifest.shape, stored=run.load_fitted())
    process = build_process(parts, manifest.shape)
    manifest.check_process(process)
    # As training averages it: in float32, however the network makes itself.
    denoiser = EMA(build_denoiser(parts, process, manifest.grey_levels)).model
    load_weights(denoiser, average.weights, average.path)
    return LoadedRun(run, config, parts, manifest, denoiser, average.path, average.step, average.decay)
