"""What a run's folder, or an exported model, tells of itself, read as text: no code is run, and none need be whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.configuration import from_record
from ..core.configuration.expressions import names_in
from ..core.configuration.public_names import Names
from .folder.checkpoints import list_checkpoints, read_checkpoint
from .folder.exported import MODEL, read_exported
from .folder.manifest import read_json
from .folder.records import parse_metrics
from .folder.run_folder import RunFolder
from .folder.verified import DamagedError
from .run_config import RunConfig

# Of the manifest, as it stands there.
_TOLD = ("started", "unmelt", "format", "python", "torch", "commit", "device", "begun_with")
_PARTS = ("process", "network", "prediction", "sampler", "grid")
_NUMBERS = ("loss", "loss_per_dim", "held_out_loss", "held_out_loss_per_dim", "images_per_second", "skipped")


def describe_run(folder: Path | str) -> dict[str, Any]:
    """Return what can be told of a run or an exported model, as JSON can say it.

    No code of the user's is run, so it need not be trusted. What is damaged or missing is left out
    and told under "faults", a line each.

    Args:
        folder: the folder.

    Raises:
        FileNotFoundError: it holds neither: there is no `config.json` and no `manifest.json`.
    """
    run = RunFolder(Path(folder))
    if not run.config.is_file() and not run.manifest.is_file():
        msg = f"{run.path} holds no run (no {run.config.name}): give the folder of one, or of an exported model"
        raise FileNotFoundError(msg)
    faults = list[str]()
    config, manifest = (_record(path, faults) for path in (run.config, run.manifest))
    told: dict[str, Any] = {"folder": str(run.path), "name": config.get("name")}
    told |= {name: config.get(name) for name in _PARTS} | {"parameters": manifest.get("parameters")}
    told["guidance"] = _mapping(config.get("pictures")).get("guidance")
    told["data"] = {"source": config.get("data"), **_data(manifest)}
    training = _mapping(config.get("training"))
    told["steps"] = {"planned": _number(training.get("steps"))}
    told["batch_size"], told["ema_decay"] = _number(training.get("batch_size")), training.get("ema_decay")
    told |= _weights(run, faults)
    told["steps"]["done"] = told.pop("step", None)
    told["metrics"] = _metrics(run.metrics, faults)
    told |= {name: manifest[name] for name in _TOLD if name in manifest}
    # A run may be called like a class.
    told["own_code"] = sorted({*_names_of_the_user({**config, "name": "", "root": ""})})
    if run.config.is_file() and not any(str(run.config) in fault for fault in faults) and not told["own_code"]:
        _check_settings(run.config, config, faults)
    told["files"] = _sizes(run.path)
    return {**told, "faults": faults}


def _record(path: Path, faults: list[str]) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        faults.append(str(error))
        return {}


def _check_settings(path: Path, record: Mapping[str, Any], faults: list[str]) -> None:
    """Tell whether a run could be made from its settings; nothing but unmelt's and torch's own is called for that."""
    try:
        from_record(RunConfig, record)
    except ValueError as error:
        faults.append(f"{path}: {error}")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(text: object) -> int | None:
    return int(str(text)) if str(text).isdecimal() else None


def _data(manifest: Mapping[str, Any]) -> dict[str, Any]:
    data = _mapping(manifest.get("data"))
    counts = {name: _mapping(data.get(part)).get("images") for name, part in (("train", "train"), ("held_out", "test"))}
    return counts | {name: data.get(name) for name in ("shape", "grey_levels", "range", "classes")}


def _weights(run: RunFolder, faults: list[str]) -> dict[str, Any]:
    """Return what there is of weights, and whether what would be loaded is whole."""
    try:
        exported = None if not run.manifest.is_file() else run.load_manifest().exported
    except ValueError as error:
        # Said already where the whole file is damaged.
        if isinstance(error, DamagedError):
            faults.append(str(error))
        exported = None
    if exported is not None:
        try:
            read_exported(run.path, exported)
        except DamagedError as error:
            faults.append(str(error))
        return {"kind": "exported model", "step": exported.step, "exported": exported.ema_decay, "weights": MODEL}
    found = list_checkpoints(run.checkpoints)
    told: dict[str, Any] = {"kind": "run", "checkpoints": [path.name for path in found]}
    if not found:
        faults.append(f"no checkpoint under {run.checkpoints}")
        return told
    for path in reversed(found):
        try:
            newest = read_checkpoint(path)
        except DamagedError as error:
            faults.append(str(error))
            continue
        if not run.prior.is_file():
            faults.append(f"no {run.prior}, which samples start from")
        return told | {"whole": path.name, "step": newest.step, "averages": newest.facts.get("averages")}
    return told


def _metrics(path: Path, faults: list[str]) -> dict[str, Any]:
    try:
        text = path.read_bytes() if path.is_file() else b""
        lines = parse_metrics(text)
    except OSError as error:
        faults.append(str(error))
        text, lines = b"", []
    # One that a crash cut off is no fault.
    if damaged := len(text.splitlines()) - len(lines) - (not text.endswith(b"\n") and bool(text)):
        faults.append(f"{path}: {damaged} lines are damaged")
    last: dict[str, Any] = {}
    for line in lines:
        last |= {name: line[name] for name in ("step", *_NUMBERS) if isinstance(line.get(name), int | float)}
    return last


def _names_of_the_user(config: object) -> Iterator[str]:
    """Yield the names in a record of what is neither unmelt's nor torch's."""
    if isinstance(config, Mapping):
        for value in config.values():
            yield from _names_of_the_user(value)
    names = Names()
    for name in names_in(config) if isinstance(config, str) else ():
        try:
            names.find(name)
        except ValueError:
            yield name


def _sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each file and folder in a folder, by name."""
    there = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return {path.name: sum(file.stat().st_size for file in _files(path)) for path in there}


def _files(path: Path) -> list[Path]:
    return [file for file in (path, *path.rglob("*")) if file.is_file()]
