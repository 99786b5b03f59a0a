"""Checkpoints: whole or absent, verified when they are read, and never executed.

    checkpoints/step_00010000/
        state.json            step, settings of the state, and the SHA-256 of every file beside it and of itself
        model.safetensors     what is trained, by the names of its state_dict
        average_0.999.safetensors, optimizer.safetensors, process_0.safetensors, ...

One is written under a hidden name, flushed to disk, and then renamed. One that turns out damaged is set aside.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...core.files import flush_folder, write_durably
from ...core.tensor_files import encode
from .verified import DamagedError, check_finite, content_of, read_sealed, seal

_PREFIX, _ASIDE, _HALF = "step_", "damaged_", "."
_NAME = re.compile(rf"{_PREFIX}\d{{8,}}")
_STATE, _ENDING = "state.json", ".safetensors"
_FILES, _SUM = "files", "sha256"


class Checkpoint(NamedTuple):
    """A whole checkpoint, as it was read.

    Attributes:
        path: its folder.
        facts: what `write_checkpoint` was given as facts, and the step.
        parts: states by name, such as "model".
    """

    path: Path
    facts: dict[str, Any]
    parts: dict[str, Any]

    @property
    def step(self) -> int:
        """Training steps done."""
        return self.facts["step"]


def write_checkpoint(
    folder: Path, step: int, parts: Mapping[str, object], facts: Mapping[str, object], *, keep: int
) -> Path:
    """Write a checkpoint and delete all but the newest `keep`.

    Args:
        folder: folder of checkpoints.
        step: number of training steps done.
        parts: states, a file each, by name.
        facts: what else is to be known, as JSON can say it.
        keep: how many checkpoints stay, at least 1.

    Raises:
        OSError: it cannot be written; its half-written part is removed, and the message names the last whole one.
    """
    final = folder / f"{_PREFIX}{step:08d}"
    half = folder / f"{_HALF}{final.name}"
    try:
        _remove(half)
        half.mkdir(parents=True)
        files = dict[str, dict[str, object]]()
        for name, part in parts.items():
            content = encode(part)
            write_durably(half / f"{name}{_ENDING}", content)
            files[f"{name}{_ENDING}"] = seal(content)
        state = {"step": step, **facts, _FILES: files}
        write_durably(half / _STATE, json.dumps({**state, _SUM: _sum(state)}, indent=1) + "\n")
        flush_folder(half)
        _remove(final)
        half.rename(final)
        flush_folder(folder)
    except BaseException as error:
        _remove(half)
        if isinstance(error, OSError):
            raise cannot_write(error, f"the checkpoint of step {step}", folder) from error
        raise
    for old in list_checkpoints(folder)[: -max(keep, 1)]:
        _remove(old)
    return final


def cannot_write(error: OSError, what: str, folder: Path) -> OSError:
    """Return an error that says what could not be written, and what is kept in a folder of checkpoints."""
    whole = list_checkpoints(folder)
    last = f"the last whole checkpoint is {whole[-1]}" if whole else f"there is no checkpoint yet in {folder}"
    msg = (
        f"{what} cannot be written ({error.strerror or error}); nothing half-written is kept, and {last}: make room or"
        " mend the folder, then --resume"
    )
    return OSError(msg)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints under `folder`, oldest first, without having looked into them."""
    # Only names that `write_checkpoint` gives: a copy that someone set aside is neither resumed from nor deleted.
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir() and _NAME.fullmatch(path.name))


def read_checkpoint(path: Path, only: Callable[[str], bool] | None = None) -> Checkpoint:
    """Return a checkpoint, verified by its checksums, with finite weights.

    Args:
        path: its folder.
        only: says of a part's name whether it is wanted; all are if None. Files of others are not read.

    Raises:
        DamagedError: a file is missing, or not what was written, or weights are NaN or infinite; the message names it.
    """
    facts = _read_facts(path / _STATE)
    parts = dict[str, Any]()
    for file, expected in facts.pop(_FILES).items():
        name = file.removesuffix(_ENDING)
        if only is not None and not only(name):
            continue
        parts[name] = read_sealed(path / file, expected)
        if name == "model" or name.startswith("average"):
            check_finite(path / file, parts[name])
    return Checkpoint(path, facts, parts)


def is_whole(path: Path) -> bool:
    """Tell whether `read_checkpoint` would return a checkpoint."""
    try:
        read_checkpoint(path)
    except DamagedError:
        return False
    return True


def newest_whole(folder: Path, tell: Callable[[str], object], only: Callable[[str], bool] | None = None) -> Checkpoint:
    """Return the newest checkpoint that is whole, as `read_checkpoint` does.

    Args:
        folder: folder of checkpoints.
        tell: called with a line for each damaged one that is passed over.
        only: as for `read_checkpoint`.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: there are some, and none is whole.
    """
    found = list_checkpoints(folder)
    if not found and (aside := sorted(folder.glob(f"{_ASIDE}*"))):
        msg = f"no whole checkpoint under {folder}, only {aside[-1].name}: restore one, or start another run"
        raise DamagedError(msg)
    if not found:
        msg = f"no checkpoint under {folder}: the run stopped before its first; start it again"
        raise FileNotFoundError(msg)
    faults = list[str]()
    for path in reversed(found):
        try:
            checkpoint = read_checkpoint(path, only)
        except DamagedError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            tell(f"{fault}; going on from {path.name}, the one before")
        return checkpoint
    msg = f"no whole checkpoint under {folder} ({'; '.join(faults)}): restore one, or start another run"
    raise DamagedError(msg)


def find_checkpoint(folder: Path, wanted: str | int) -> Path:
    """Return the checkpoint of a name or step, without having looked into it.

    Args:
        folder: folder of checkpoints.
        wanted: its name, `step_00010000`, or its step, as a number or a text.

    Raises:
        FileNotFoundError: it is not there; the message lists those that are.
    """
    name = f"{_PREFIX}{int(wanted):08d}" if str(wanted).isdecimal() else str(wanted)
    found = list_checkpoints(folder)
    if name not in (path.name for path in found):
        there = ", ".join(path.name for path in found) or "none"
        msg = f"no checkpoint {wanted} under {folder}: there is {there}"
        raise FileNotFoundError(msg)
    return folder / name


def clear_up(folder: Path, newest: Path) -> None:
    """Remove what killed processes left half-written, and set aside what is newer than the newest whole checkpoint."""
    for path in folder.glob(f"{_HALF}*"):
        _remove(path)
    for path in list_checkpoints(folder):
        if path.name > newest.name:
            aside = path.with_name(f"{_ASIDE}{path.name}")
            _remove(aside)
            path.rename(aside)


def _read_facts(path: Path) -> dict[str, Any]:
    content = content_of(path)
    try:
        facts = json.loads(content)
        expected = facts.pop(_SUM)
        whole = expected == _sum(facts) and isinstance(facts["step"], int)
    except (AttributeError, KeyError, TypeError, ValueError):
        whole, facts = False, {}
    if not whole:
        msg = f"{path} is damaged: its content is not what was written"
        raise DamagedError(msg)
    return facts


def _sum(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _remove(path: Path) -> None:
    """Remove a folder; a kill on the way leaves something that is no longer called a checkpoint."""
    if not path.exists():
        return
    if not path.name.startswith(_HALF):
        hidden = path.with_name(f"{_HALF}removed_{path.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        path = path.rename(hidden)
    shutil.rmtree(path, ignore_errors=True)
