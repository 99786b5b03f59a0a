"""From a run's folder back to its denoiser, for everything that is done with a trained model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from ..models import EMA, Denoiser
from .build import build_denoiser, load_data
from .checkpoints import latest_checkpoint
from .config import RunConfig
from .data import ImageSplits
from .run import RunFolder

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
    average = EMA(build_denoiser(config, tuple(data["shape"]), data.get("classes")))
    run.check_process(average.model.process)
    checkpoint = latest_checkpoint(run.checkpoints)
    average.load_state_dict(torch.load(checkpoint / _AVERAGE, map_location="cpu", weights_only=True))
    return LoadedRun(run, config, average.model, checkpoint)
