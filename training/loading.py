"""From a run's folder back to its denoiser, for everything that is done with a trained model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from ..models import EMA, Denoiser, Prior, StandardNormalPrior
from .build import build_denoiser, load_data
from .checkpoints import latest_checkpoint
from .config import RunConfig
from .data import ImageSplits
from .run import RunFolder
from .stored_prior import (
    ends_in_standard_normal,
    fit_prior,
    read_prior,
    write_prior,
)

# Where accelerate puts what was first registered for checkpointing: the moving average.
_AVERAGE = "custom_checkpoint_0.pkl"


@dataclass(frozen=True)
class LoadedRun:
    """A trained model.

    Attributes:
        run: its folder.
        config: how it was trained.
        denoiser: the moving average of its weights, in evaluation mode, on the CPU.
        checkpoint: the checkpoint that was read.
    """

    run: RunFolder
    config: RunConfig
    denoiser: Denoiser
    checkpoint: Path

    def data(self) -> ImageSplits:
        """Return the images it was trained on, and those held out.

        Raises:
            ConnectionError, FileNotFoundError: as `load_data`.
            ValueError: they are not the ones it was trained on.
        """
        data = load_data(self.config.data)
        self.run.check_data(data)
        return data

    def prior(self) -> Prior:
        """Return a prior to start sampling from that needs no images, only the run's folder.

        It is the Gaussian that the run stored, and the standard normal where the process ends in that. (Likelihoods of
        the run, and its own pictures unless told otherwise, have another where it stored one: degraded training images,
        `build_prior`.)

        Raises:
            FileNotFoundError: the run stored none and its process needs one.
            ValueError: the stored one was fitted to other images, or for another process.
        """
        process = self.denoiser.process
        if self.run.prior.is_file():
            prior = read_prior(self.run.prior, process, self.run.train_fingerprint())
            prior.data_range = self.denoiser.data_range
            return prior
        if ends_in_standard_normal(process):
            return StandardNormalPrior(process)
        msg = (
            f"{self.run.folder} holds no prior (no {self.run.prior.name}), having been trained before runs stored one,"
            f" and {type(process).__name__} does not end in noise: call store_prior() once where the images are"
        )
        raise FileNotFoundError(msg)

    def store_prior(self) -> Prior:
        """Fit the prior that `prior` returns to the run's images and store it, for a run that has none.

        Raises:
            ConnectionError, FileNotFoundError: as `data`.
            FileExistsError: the run has one, which is not overwritten.
            ValueError: as `data`.
        """
        if self.run.prior.is_file():
            msg = f"{self.run.prior} is there already and is not overwritten: prior() reads it"
            raise FileExistsError(msg)
        train = self.data().train
        fitted = fit_prior(self.denoiser.process, train)
        write_prior(self.run.prior, fitted, train.fingerprint())
        return fitted


def load_run(folder: Path | str) -> LoadedRun:
    """Return the model that a run's newest checkpoint holds.

    Args:
        folder: the run's folder.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint yet.
        ValueError: its files are of another version, or its process gives other coefficients than it was trained with.
    """
    run = RunFolder(Path(folder))
    if not run.config.is_file():
        msg = f"{run.folder} holds no run (no {run.config.name}): give the folder of one, such as runs/digits_heat"
        raise FileNotFoundError(msg)
    config = run.load_config()
    data = json.loads(run.manifest.read_text())["data"]
    average = EMA(build_denoiser(config, tuple(data["shape"]), data.get("classes"), data_range=tuple(data["range"])))
    run.check_process(average.model.process)
    checkpoint = latest_checkpoint(run.checkpoints)
    average.load_state_dict(torch.load(checkpoint / _AVERAGE, map_location="cpu", weights_only=True))
    return LoadedRun(run, config, average.model, checkpoint)
