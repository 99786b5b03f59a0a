"""A run's folder: everything that is later needed of a training run, and nothing that overwrites another.

config.json      the whole configuration, as the calls that it is made of
manifest.json    format, versions, commit, data fingerprint and range, number of parameters
prior.pt         what samples start from, so that they can be drawn without the images
fitted.pt        what else was fitted to images or read from files, where there is any
checkpoints/     the latest training states, one folder each
metrics.jsonl    one line of JSON every so many steps
tensorboard/     the same for TensorBoard
samples/         sample grids during training
code/            the user's files that the configuration names classes of, where there are any
"""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.configuration import expression, from_record, to_record
from ..core.files import write_atomically, write_tensors_atomically
from .manifest import FORMAT, Manifest
from .run_config import RunConfig

# What may differ when a run goes on: where it is kept, how it reports, and what its pictures show.
# The prior and all that was fitted are kept: of how many examples no longer matters.
_FREE = ("name", "root", "sampler", "grid", "pictures", "fitted_to")
_FREE_OF_TRAINING = ("log_every", "checkpoint_every", "keep_checkpoints", "sample_every", "workers")
_CALLED = "()"


class RunFolder:
    """Paths of a run, and its configuration.

    Args:
        path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.manifest = path / "manifest.json"
        self.checkpoints = path / "checkpoints"
        self.prior = path / "prior.pt"
        self.fitted = path / "fitted.pt"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.samples = path / "samples"
        self.code = path / "code"

    @contextmanager
    def made(self) -> Generator[RunFolder, None, None]:
        """Yield a folder beside this one to write a new run into, which becomes this one if that succeeds.

        Raises:
            FileExistsError: this folder is there already.
        """
        self.check_new()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = RunFolder(self.path.with_name(f".{self.path.name}.{os.getpid()}"))
        try:
            for folder in (aside.checkpoints, aside.tensorboard, aside.samples):
                folder.mkdir(parents=True)
            yield aside
            self.check_new()
            aside.path.rename(self.path)
        finally:
            shutil.rmtree(aside.path, ignore_errors=True)

    def check_new(self) -> None:
        """Check that there is no such folder yet.

        Raises:
            FileExistsError: there is.
        """
        if self.path.exists():
            msg = (
                f"{self.path} exists and is not overwritten: continue it with --resume, or choose another --name or"
                " --root"
            )
            raise FileExistsError(msg)

    def store_config(self, config: RunConfig) -> None:
        """Write a configuration, whole or not at all.

        Raises:
            TypeError: a part of it does not know its settings and cannot be written.
        """
        write_atomically(self.config, json.dumps(to_record(config), indent=2) + "\n")

    def store_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the tensors that `resolve` returned for the configuration, whole or not at all."""
        if tensors:
            write_tensors_atomically(self.fitted, {name: tensor.cpu().clone() for name, tensor in tensors.items()})

    def load_fitted(self) -> dict[str, Tensor]:
        """Return what `store_fitted` wrote."""
        if not self.fitted.is_file():
            return {}
        return torch.load(self.fitted, map_location="cpu", weights_only=True)

    def load_config(self, *, trust_code: bool = False) -> RunConfig:
        """Return the stored configuration.

        Args:
            trust_code: let it name classes of the user's, and run their code: the run's own copy, where it has one.

        Raises:
            FileNotFoundError: there is no run.
            ValueError: the run is of another format, or names something else than unmelt's public names while code of
                the user's is not trusted.
        """
        try:
            return from_record(RunConfig, self._record(), trust_code=trust_code, copies=self.code)
        except (RecursionError, ValueError) as error:
            msg = f"{self.config}: {error}"
            raise ValueError(msg) from error

    def load_manifest(self) -> Manifest:
        """Return the manifest."""
        return Manifest(self.manifest)

    def check_resumable(self, config: RunConfig) -> None:
        """Check that this run can go on under `config`, which may only train longer or report differently.

        Raises:
            FileNotFoundError: there is no such run.
            ValueError: a setting differs, which would make it another run; the message names it.
        """
        stored, wanted = self._record(), to_record(config)
        decays = stored["training"]["cosine_decay"] == "True"
        # A constant learning rate can go on for longer; a decay is laid out for its number of steps.
        longer = int(wanted["training"]["steps"]) > int(stored["training"]["steps"]) and not decays
        free = {*_FREE, *(f"training.{name}" for name in (*_FREE_OF_TRAINING, *(["steps"] if longer else [])))}
        for path in free:
            for record in (stored, wanted):
                _remove(record, path)
        # The same data elsewhere are told by their fingerprint.
        elsewhere = {f"data.{name}" for name in config.data.places}
        different = [
            f"{path}: {old} stored, {new} given"
            for path, old, new in _differences(stored, wanted)
            if path not in elsewhere
        ]
        if different:
            msg = f"{self.path} was trained under other settings ({'; '.join(different)}): give the stored ones"
            raise ValueError(msg)

    def _record(self) -> dict[str, Any]:
        """Return the stored configuration as text, which nothing is made of yet."""
        if not self.config.is_file():
            name = self.config.name
            msg = f"{self.path} holds no run (no {name}): give the folder of one, or start one without --resume"
            raise FileNotFoundError(msg)
        if (found := self.load_manifest().format) != FORMAT:
            msg = (
                f"{self.path} is a run of format {found}, and this version of unmelt reads {FORMAT}: read it with the"
                f" version named in its {self.manifest.name}, or train again"
            )
            raise ValueError(msg)
        return json.loads(self.config.read_text())


def _remove(record: dict[str, Any], path: str) -> None:
    *groups, name = path.split(".")
    for group in groups:
        record = record[group]
    record.pop(name, None)


def _differences(stored: object, wanted: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield path, stored and wanted text of every setting that differs, in nested records and the calls in them."""
    ours, theirs = _settings(stored), _settings(wanted)
    if ours is not None and theirs is not None and ours.get(_CALLED) == theirs.get(_CALLED):
        for name in {**ours, **theirs}:
            yield from _differences(ours.get(name), theirs.get(name), f"{path}.{name}".lstrip("."))
    elif _value(stored) != _value(wanted):
        yield path, stored, wanted


def _settings(value: object) -> Mapping[str, object] | None:
    """Return the entries of a record, or the settings in a call's text beside what it calls; None for other values."""
    if isinstance(value, Mapping):
        return value
    try:
        call = expression(str(value))
    except ValueError:
        return None
    if not isinstance(call, ast.Call) or call.args:
        return None
    return {_CALLED: ast.unparse(call.func), **{str(k.arg): ast.unparse(k.value) for k in call.keywords}}


def _value(text: object) -> object:
    """Return the number, tuple or truth value that a text is, since 0 and 0.0 are the same setting; else the text."""
    try:
        return ast.literal_eval(str(text))
    except (SyntaxError, ValueError):
        return text
