"""From a run's folder, or an exported model, back to the model, for everything that is done with a trained model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..core import resolve
from ..core.configuration import write
from ..models import EMA, Condition, Denoiser, Prior
from ..samplers import Grid, Sampler, Stepper, UniformGrid
from .building import build_denoiser, build_process, build_sampler
from .data import Splits
from .folder.manifest import Manifest
from .folder.prior_file import read_prior
from .folder.run_folder import RunFolder
from .folder.weights import load_weights, read_average
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
            "sampler": write(config.sampler) + ("" if config.grid is None else f", {write(config.grid)}"),
        }
        whole = [f"  {name}: {text}" for name, text in lines.items()]
        shown = (line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}..." for line in whole)
        return "\n".join([f"LoadedRun({str(self.folder.path)!r})", *shown])

    @cached_property
    def prior(self) -> Prior:
        """What samples start from, read from the run's folder.

        Raises:
            FileNotFoundError, ValueError: there is none, or it was fitted to other images, or for another process.
        """
        prior = read_prior(self.folder.prior, self.config, self.denoiser.process, self.manifest.train_fingerprint)
        prior.grey_levels = self.denoiser.grey_levels
        return prior

    def data(self, place: Path | str | None = None) -> Splits:
        """Return the images it was trained on, and those held out.

        Args:
            place: the folder or file where they lie now; None looks where they were.

        Raises:
            ConnectionError, FileNotFoundError: as `DataSet.load`.
            ValueError: they are not the ones it was trained on.
        """
        data = (self.config.data if place is None else self.config.data.at(place)).load()
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
        clip: bool = False,
    ) -> Sampler:
        """Return a sampler of this model; what is not given is as in the run's own pictures.

        Args:
            stepper: how steps are taken.
            steps: number of steps on a uniform grid; or give `grid`.
            grid: where the steps lie; another stepper has its own grid.
            guidance: scale of classifier-free guidance.
            prior: what samples start from.
            clip: clip the estimate of the data to their range at each step; see `ClippedDenoiser`.

        Raises:
            ValueError: both steps and a grid are given, the process allows no such sampler, or nothing can be clipped.
        """
        if steps is not None and grid is not None:
            msg = f"give steps or a grid, not both: got steps={steps} and {grid}"
            raise ValueError(msg)
        parts = self.parts
        if guidance is not None:
            parts = replace(parts, pictures=replace(parts.pictures, guidance=guidance))
        if stepper is not None:
            parts = replace(parts, sampler=stepper, grid=None)
        if steps is not None or grid is not None:
            parts = replace(parts, grid=grid if steps is None else UniformGrid(steps))
        data_range = self.manifest.data_range if clip else None
        return build_sampler(parts, self.denoiser, prior or self.prior, clip_to=data_range)

    def sample(
        self,
        count: int,
        *,
        condition: Condition | None = None,
        generator: torch.Generator | Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> Float[Tensor, "count ..."]:
        """Draw samples as the run's own pictures do; arguments and errors as in `Sampler.sample`."""
        return self.sampler().sample(count, condition=condition, generator=generator, batch_size=batch_size)


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
