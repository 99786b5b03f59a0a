"""A trained model as a folder to hand on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from ..core.configuration import to_record
from ..core.files import flush_folder, write_durably
from ..core.tensor_files import encode
from .folder.exported import CARD, MODEL, PICTURE, sealed
from .folder.manifest import read_json
from .folder.run_folder import RunFolder
from .folder.verified import check_finite
from .loading import LoadedRun
from .model_card import model_card
from .run_config import RunConfig

# Of the machine, which whoever gets the model need not know.
LEFT_OUT = ("command", "platform", "begun_with")
_FIGURES = "likelihood*.json"


def export_run(run: LoadedRun, folder: Path | str, *, force: bool = False) -> Path:
    """Write a model to a folder that `load_run` reads as it reads the run, and that can be handed on.

    It holds the weights, `model.safetensors`, which any reader of such files reads; settings, manifest, prior and what
    else was fitted; the user's code that the run keeps; a model card, `README.md`; and a picture of samples if there is
    one. Paths of this machine are left out. The folder is written whole or not at all.

    Args:
        run: the model, of the average and checkpoint that it was loaded with.
        folder: the folder to be written.
        force: write it anew where an exported model is.

    Returns:
        The folder.

    Raises:
        FileExistsError: it exists, and is not to be written anew or holds something else.
        OSError: it cannot be written.
        ValueError: weights are NaN or infinite, or the run's prior is damaged.
    """
    out = Path(folder)
    check_exportable(out, force=force)
    half, before = (out.absolute().with_name(f".{out.absolute().name}.{end}.{os.getpid()}") for end in ("new", "old"))
    half.parent.mkdir(parents=True, exist_ok=True)
    try:
        half.mkdir()
        for name, content in _contents(run):
            write_durably(half / name, content)
        if run.folder.code.is_dir():
            shutil.copytree(run.folder.code, half / run.folder.code.name, ignore=shutil.ignore_patterns("__pycache__"))
        flush_folder(half)
        if out.is_dir():
            out.rename(before)
        half.rename(out)
    finally:
        if before.is_dir() and not out.is_dir():
            before.rename(out)
        for aside in (half, before):
            shutil.rmtree(aside, ignore_errors=True)
    return out


def check_exportable(folder: Path, *, force: bool = False) -> None:
    """Check that a model can be exported to a folder.

    Args:
        folder: the folder.
        force: whether an exported model may be there, which is then written anew.

    Raises:
        FileExistsError: it exists, and is not to be written anew or holds something else.
        OSError: nothing can be written there.
    """
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if there or (folder.exists() and not folder.is_dir()):
        if not force:
            msg = f"{folder} exists and is not overwritten: choose another folder, or force it (--force)"
            raise FileExistsError(msg)
        run = RunFolder(folder)
        ours = {
            MODEL,
            CARD,
            PICTURE,
            run.config.name,
            run.manifest.name,
            run.prior.name,
            run.fitted.name,
            run.spectrum.name,
            run.code.name,
        }
        foreign = [name for name in there if name not in ours]
        if foreign or not there or not run.manifest.is_file() or run.load_manifest().exported is None:
            what = f"holds {', '.join(foreign[:5])}, which no export writes" if foreign else "is no exported model"
            msg = f"{folder} {what}, and is not overwritten: choose another folder"
            raise FileExistsError(msg)
    RunFolder(folder).check_writable()


def _contents(run: LoadedRun) -> Iterator[tuple[str, bytes | str]]:
    """Yield the files of an exported model by name, all but the code."""
    weights = run.denoiser.state_dict()
    check_finite(run.checkpoint, weights)
    # Read once: a prior that cannot be is not handed on.
    _ = run.prior
    tensors = {MODEL: encode(weights), run.folder.prior.name: run.folder.prior.read_bytes()}
    for file in (run.folder.fitted, run.folder.spectrum):
        if file.is_file():
            tensors[file.name] = file.read_bytes()
    yield from tensors.items()
    manifest = {name: told for name, told in run.manifest.content.items() if name not in LEFT_OUT}
    manifest |= sealed(run.step, run.ema_decay, tensors).record()
    yield run.folder.manifest.name, json.dumps(manifest, indent=2) + "\n"
    config = without_places(run.config)
    yield run.folder.config.name, json.dumps(to_record(config), indent=2) + "\n"
    picture = _picture(run)
    if picture is not None:
        yield PICTURE, picture.read_bytes()
    yield CARD, model_card(run, config, figures=_figures(run), picture=picture is not None)


def without_places(config: RunConfig) -> RunConfig:
    """Return a configuration that names no folder of this machine.

    Args:
        config: the configuration.
    """
    data = config.data
    places = {name: getattr(data, name) for name in data.places}
    moved = {
        name: type(place)(PurePath(place).name)
        for name, place in places.items()
        if place is not None and PurePath(place).is_absolute()
    }
    if moved:
        data = dataclasses.replace(data, **moved)  # pyright: ignore[reportArgumentType]
    return dataclasses.replace(config, data=data, root=Path("runs"))


def _picture(run: LoadedRun) -> Path | None:
    """Return the run's picture of samples at this very step, if it has drawn one."""
    # The run's own is drawn after the last step.
    last = run.folder.load_manifest().exported is not None or run.step == run.config.training.steps
    drawn = [run.folder.path / PICTURE] * last + [run.folder.samples / f"step_{run.step:08d}.png"]
    return next((path for path in drawn if path.is_file()), None)


def _figures(run: LoadedRun) -> list[dict[str, Any]]:
    """Return the evaluation of this very checkpoint that took the most images, if there is any."""
    found = [read_json(path) for path in sorted(run.folder.path.glob(_FIGURES))]
    own = [told for told in found if told.get("checkpoint") == run.checkpoint.name and told.get("bounds")]
    return sorted(own, key=lambda told: max(bound.get("count", 0) for bound in told["bounds"].values()))[-1:]
