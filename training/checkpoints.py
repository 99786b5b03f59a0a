"""Checkpoints: whole or absent, never half-written, and complete enough to go on as if nothing had happened."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from accelerate import Accelerator

_PREFIX = "step_"
_NAME = re.compile(rf"{_PREFIX}\d{{8,}}")


def save_checkpoint(accelerator: Accelerator, folder: Path, step: int, *, keep: int) -> Path:
    """Write the training state under `folder`/step_N and delete all but the newest `keep`.

    The state (model, moving average, optimizer, schedule, progress, random generators) is written to a temporary
    folder, flushed to disk and then renamed; an older checkpoint is deleted only after that.

    Args:
        accelerator: holds what `prepare` and `register_for_checkpointing` were given.
        folder: folder of checkpoints.
        step: number of steps done.
        keep: how many checkpoints stay, at least 1.
    """
    final = folder / f"{_PREFIX}{step:08d}"
    temporary = folder / f".{final.name}"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _flush(temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        for old in list_checkpoints(folder)[: -max(keep, 1)]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints under `folder`, oldest first."""
    # Only names that `save_checkpoint` gives: a copy that someone set aside is neither resumed from nor deleted.
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir() and _NAME.fullmatch(path.name))


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest complete checkpoint under `folder`.

    Raises:
        FileNotFoundError: there is none.
    """
    found = list_checkpoints(folder)
    if not found:
        msg = f"no checkpoint under {folder}: the run stopped before its first; start again under another --name"
        raise FileNotFoundError(msg)
    return found[-1]


def _flush(folder: Path) -> None:
    """Wait until every file below `folder` is on disk, before a rename makes it count."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
