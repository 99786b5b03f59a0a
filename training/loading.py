"""From a run's folder back to its model, for everything that is done with a trained model."""

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
from ..models import EMA, Condition, Denoiser, Prior
from ..samplers import Grid, Sampler, Stepper, UniformGrid
from .building import build_denoiser, build_process, build_sampler
from .data import Splits
from .folder.checkpoints import newest_whole
from .folder.manifest import Manifest
from .folder.prior_file import read_prior
from .folder.run_folder import RunFolder
from .folder.weights import average_name, load_weights
from .run_config import RunConfig


@dataclass(frozen=True)
class LoadedRun:
    """A trained model.

    Attributes:
        folder: its folder.
        config: how it was trained.
        parts: the same, with what was fitted to data in the place of what said how.
        manifest: versions, data and size of the network.
        denoiser: the moving average of its weights, in evaluation mode, on the CPU.
        checkpoint: the checkpoint that was read.
    """

    folder: RunFolder
    config: RunConfig
    parts: RunConfig
    manifest: Manifest
    denoiser: Denoiser
    checkpoint: Path

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
    ) -> Sampler:
        """Return a sampler of this model; what is not given is as in the run's own pictures.

        Args:
            stepper: how steps are taken.
            steps: number of steps on a uniform grid; or give `grid`.
            grid: where the steps lie; another stepper has its own grid.
            guidance: scale of classifier-free guidance.

        Raises:
            ValueError: both steps and a grid are given, or the process allows no such sampler.
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
        return build_sampler(parts, self.denoiser, self.prior)

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


def load_run(folder: Path | str, *, trust_code: bool = False, ema_decay: float | None = None) -> LoadedRun:
    """Return the model that a run's newest whole checkpoint holds. Neither data nor files beside the folder are needed.

    Nothing is run from a folder unless you say so. With `trust_code` classes of the user's are imported: from the
    copies that the run keeps in `code/`, whatever has become of the originals, and what it has no copy of from the
    current directory or where it is installed.

    Args:
        folder: the run's folder.
        trust_code: let the run's settings name classes of the user's, and run their code. A folder that came from
            elsewhere can do anything then: look at its `config.json` and `code/` before.
        ema_decay: which of several moving averages; the one that the run draws samples from if None.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint yet.
        ValueError: its files are of another format, its settings name code that is not trusted or cannot be imported,
            or its process gives other coefficients than it was trained with.
    """
    run = RunFolder(Path(folder))
    config = run.load_config(trust_code=trust_code)
    manifest = run.load_manifest()
    parts, _ = resolve(config, manifest.shape, stored=run.load_fitted())
    process = build_process(parts, manifest.shape)
    manifest.check_process(process)
    average = EMA(build_denoiser(parts, process, manifest.grey_levels))
    name = average_name(_chosen(ema_decay, config.training.ema_decays))
    checkpoint = newest_whole(run.checkpoints, warnings.warn, lambda part: part == name)
    load_weights(average.model, checkpoint.parts[name], checkpoint)
    return LoadedRun(run, config, parts, manifest, average.model, checkpoint.path)


def _chosen(decay: float | None, decays: tuple[float, ...]) -> float:
    if decay is not None and decay not in decays:
        msg = f"ema_decay={decay}: the run keeps averages of decay {', '.join(map(str, decays))}"
        raise ValueError(msg)
    return decays[0] if decay is None else decay
