"""A new run that begins with the weights of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.console import say
from ..models import Denoiser
from .checkpoints import newest_whole
from .run_folder import RunFolder
from .training_state import average_name, load


def load_initial_weights(denoiser: Denoiser, folder: Path) -> dict[str, Any]:
    """Give a denoiser the averaged weights of a run's newest whole checkpoint.

    Args:
        denoiser: of a network that has the same weights; all else may differ.
        folder: the run's folder.

    Returns:
        Where they come from, for the manifest.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint.
        ValueError: the weights are another network's, or the files of another version of unmelt.
    """
    run = RunFolder(folder)
    run.load_manifest().check_format()
    checkpoint = newest_whole(run.checkpoints, say, lambda name: name.startswith("average"))
    name = average_name(checkpoint.facts["averages"][0])
    load(denoiser, checkpoint.parts[name], checkpoint)
    return {"run": str(folder), "checkpoint": checkpoint.path.name, "part": name}
