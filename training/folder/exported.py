"""An exported model: one moving average of a run, to be handed on, and loaded as the run is.

    model.safetensors   the average's weights, by the names of its state_dict, for any reader of such files
    manifest.json       that of the run; under "exported" the step, the decay, and the SHA-256 of the files of tensors
    config.json         as the run's, and so prior.safetensors, fitted.safetensors, spectrum.safetensors and code/
    README.md           a model card
    samples.png         samples, where the run has drawn any

It has no checkpoints: nothing goes on from it, and another run can begin with its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .verified import DamagedError, check_finite, checked_seal, read_sealed, seal

MODEL, CARD, PICTURE = "model.safetensors", "README.md", "samples.png"
_EXPORTED, _FILES = "exported", "files"


class Exported(NamedTuple):
    """What an exported model is of.

    Attributes:
        step: training steps done.
        ema_decay: decay of the moving average.
        seals: what its files of tensors are told by, by name.
    """

    step: int
    ema_decay: float
    seals: Mapping[str, Mapping[str, object]]

    def record(self) -> dict[str, object]:
        """Return what its manifest says of it."""
        return {_EXPORTED: {"step": self.step, "ema_decay": self.ema_decay, _FILES: dict(self.seals)}}


def sealed(step: int, ema_decay: float, contents: Mapping[str, bytes]) -> Exported:
    """Return what a manifest is to say of files of tensors with these contents."""
    return Exported(step, ema_decay, {name: seal(content) for name, content in contents.items()})


def exported_in(manifest: Mapping[str, Any]) -> Exported | None:
    """Return what a manifest says of an exported model; None where it is that of a run.

    Raises:
        DamagedError: it says something that cannot be.
    """
    record = manifest.get(_EXPORTED)
    if record is None:
        return None
    try:
        files = record[_FILES]
        seals = {name: checked_seal(files[name]) for name in {MODEL: None, **files}}
        return Exported(int(record["step"]), float(record["ema_decay"]), seals)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"manifest.json is damaged: what it says of the exported files is not whole ({error!r}): export again"
        raise DamagedError(msg) from error


def read_exported(folder: Path, exported: Exported) -> dict[str, Any]:
    """Return the weights in an exported model, all of whose files of tensors are what was written.

    Raises:
        DamagedError: a file is missing or damaged, or weights are NaN or infinite; the message names it.
    """
    try:
        # Only files in the folder, whatever a manifest names.
        states = {name: read_sealed(folder / Path(name).name, told) for name, told in exported.seals.items()}
    except DamagedError as error:
        msg = f"{error}: get it from where the model came from, or export the run again"
        raise DamagedError(msg) from error
    check_finite(folder / MODEL, states[MODEL])
    return states[MODEL]
