"""Weights in a checkpoint: how they are called, loaded, and handed on to a new run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ...core.console import say
from ...models import Denoiser
from .checkpoints import find_checkpoint, newest_whole, read_checkpoint
from .exported import MODEL, read_exported
from .run_folder import RunFolder


class Average(NamedTuple):
    """A moving average, as it was read.

    Attributes:
        path: the checkpoint, or the file of an exported model, that it is of.
        step: training steps done.
        decay: its decay.
        weights: the `state_dict` of its denoiser.
    """

    path: Path
    step: int
    decay: float
    weights: dict[str, Any]


def average_name(decay: float) -> str:
    """Return the name of a moving average's part of a checkpoint."""
    return f"average_{decay}"


def read_average(
    run: RunFolder, *, decay: float | None = None, checkpoint: str | int | None = None, tell: Callable[[str], object]
) -> Average:
    """Return a moving average of a run, from its newest whole checkpoint or a chosen one, or that of an exported model.

    Args:
        run: the folder of either.
        decay: which average; the first one, that samples are drawn from, if None.
        checkpoint: name or step of the checkpoint.
        tell: called with a line for each damaged checkpoint that is passed over.

    Raises:
        FileNotFoundError: there is no such checkpoint, or none.
        ValueError: there is no such average, or a file is damaged.
    """
    exported = run.load_manifest().exported
    if exported is not None:
        decays, path, step = [exported.ema_decay], run.path / MODEL, exported.step
        if checkpoint is not None and str(checkpoint) not in {str(step), f"step_{step:08d}"}:
            msg = f"{run.path} is an exported model, of step {step} alone: leave checkpoint={checkpoint} out"
            raise ValueError(msg)
        found = {average_name(exported.ema_decay): read_exported(run.path, exported)}
    else:
        asked = "average_" if decay is None else average_name(decay)

        def wanted(name: str) -> bool:
            return name.startswith(asked) if decay is None else name == asked

        read = (
            newest_whole(run.checkpoints, tell, wanted)
            if checkpoint is None
            else read_checkpoint(find_checkpoint(run.checkpoints, checkpoint), wanted)
        )
        decays, path, step, found = read.facts["averages"], read.path, read.step, read.parts
    chosen = decays[0] if decay is None else decay
    if average_name(chosen) not in found:
        msg = f"ema_decay={decay}: {run.path} keeps averages of decay {', '.join(map(str, decays))}"
        raise ValueError(msg)
    return Average(path, step, chosen, found[average_name(chosen)])


def load_weights(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load weights that were read.

    Args:
        module: what they are loaded into.
        state: its `state_dict`.
        path: where they were read, for messages.

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
            f"{path} holds the weights of another network than this one ({' '.join(first.split())[:300]}"
            f"{more}): restore its source, or give the settings it was trained with"
        )
        raise ValueError(msg) from error


def load_initial_weights(denoiser: Denoiser, folder: Path) -> dict[str, Any]:
    """Give a denoiser the averaged weights of a run's newest whole checkpoint, or of an exported model.

    Args:
        denoiser: of a network that has the same weights; all else may differ.
        folder: the run's folder, or the model's.

    Returns:
        Where they come from, for the manifest.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint.
        ValueError: the weights are another network's, or the files of another version of unmelt.
    """
    run = RunFolder(folder)
    run.load_manifest().check_format()
    average = read_average(run, tell=say)
    load_weights(denoiser, average.weights, average.path)
    return {"run": str(folder), "checkpoint": average.path.name, "part": average_name(average.decay)}
