"""Weights in a checkpoint: how they are called, loaded, and handed on to a new run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ...core.console import say
from ...models import Denoiser
from .checkpoints import Checkpoint, newest_whole
from .run_folder import RunFolder


def average_name(decay: float) -> str:
    """Return the name of a moving average's part of a checkpoint."""
    return f"average_{decay}"


def load_weights(module: nn.Module, state: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Load weights that a checkpoint holds.

    Raises:
        ValueError: they are another network's.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        # The first line is torch's heading.
        first, *others = str(error).splitlines()[1:] or [str(error)]
        more = f" and {len(others)} more" if others else ""
        msg = (
            f"{checkpoint.path} holds the weights of another network than this one ({' '.join(first.split())[:300]}"
            f"{more}): restore its source, or give the settings it was trained with"
        )
        raise ValueError(msg) from error


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
    load_weights(denoiser, checkpoint.parts[name], checkpoint)
    return {"run": str(folder), "checkpoint": checkpoint.path.name, "part": name}
