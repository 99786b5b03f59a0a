"""A run's folder: everything that is later needed of a training run, and nothing that overwrites another.

config.json           the whole configuration, as the calls that it is made of
manifest.json         format, versions, commit, data fingerprint and range, number of parameters
prior.safetensors     what samples start from, so that they can be drawn without the images
spectrum.safetensors  mean and variance of the images' coefficients, by which images are restored
fitted.safetensors    what else was fitted to images or read from files, where there is any
checkpoints/          the latest training states, one folder each
metrics.jsonl         one line of JSON every so many steps
tensorboard/          the same for TensorBoard
samples/              sample grids during training
code/                 the user's files that the configuration names classes of, where there are any
not_finite.jsonl      batches whose gradient was not finite, where there were any
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from ...core.configuration import expression, from_record, to_record
from ...core.files import check_writable, write_atomically
from ...core.tensor_files import read_state, write_state
from ..run_config import RunConfig
from .manifest import Manifest, read_json

# What may differ when a run goes on: where it is kept, how it reports, and what its pictures show.
# The prior and all that was fitted are kept: of how many examples no longer matters.
_FREE = (
    "name",
    "root",
    "sampler",
    "grid",
    "pictures",
    "fitted_to",
    "optimizer.lr",
    "optimizer.fused",
    "network.dropout",
    "network.recompute",
    "optimizer.foreach",
)
_FREE_OF_TRAINING = (
    *("steps", "clip", "label_dropout", "accumulate", "cpu", "compile", "channels_last", "workers", "trackers"),
    *("shard_optimizer", "shard_model"),
    *("log_every", "checkpoint_every", "keep_checkpoints", "sample_every", "most_skips", "agree_every"),
)
_CALLED, _LOCK = "()", ".lock"
# What a killed process leaves of a file that it was writing.
_TEMPORARY = re.compile(r"\..+\.\d+")


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
        self.prior = path / "prior.safetensors"
        self.spectrum = path / "spectrum.safetensors"
        self.fitted = path / "fitted.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.not_finite = path / "not_finite.jsonl"
        self.tensorboard = path / "tensorboard"
        self.samples = path / "samples"
        self.code = path / "code"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def is_begun(self) -> bool:
        """Whether it holds a run that has made a checkpoint, be it one that is damaged or set aside by now."""
        return self.checkpoints.is_dir() and any(not path.name.startswith(".") for path in self.checkpoints.iterdir())

    @contextmanager
    def locked(self) -> Generator[None, None, None]:
        """Let no other process write here meanwhile. The folder is made if there is none.

        Raises:
            BlockingIOError: another process writes here.
            OSError: the folder cannot be made or written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            msg = f"{self.path} is being trained by another process: wait for it, stop it, or choose another --name"
            raise BlockingIOError(msg) from error
        try:
            yield
        finally:
            lock.release()

    def check_new(self) -> None:
        """Check that a new run can be written here: no folder, an empty one, or a run that made no checkpoint.

        Raises:
            FileExistsError: there is more.
        """
        if self.is_begun or self._foreign():
            msg = (
                f"{self.path} exists and is not overwritten: continue it with --resume, or choose another --name or"
                " --root"
            )
            raise FileExistsError(msg)

    def check_writable(self) -> None:
        """Check that files can be made here.

        Raises:
            OSError: they cannot.
        """
        check_writable(self.path)

    def clear(self) -> None:
        """Remove what a run left that made no checkpoint."""
        self.check_new()
        for path in self._own():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()

    def remove(self) -> None:
        """Remove a run that could not be begun, and the folder if nothing else is in it."""
        self.clear()
        # Windows removes no file that is open, as the lock is.
        with suppress(PermissionError):
            (self.path / _LOCK).unlink(missing_ok=True)
            self.path.rmdir()

    def clear_temporary(self) -> None:
        """Remove what killed processes left half-written."""
        for path in self.path.glob(".*"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink()

    def make_folders(self) -> None:
        """Make the folders in it."""
        for folder in (self.checkpoints, self.tensorboard, self.samples):
            folder.mkdir(parents=True, exist_ok=True)

    def _own(self) -> list[Path]:
        """Return what is there of what a run writes before its first checkpoint."""
        own = {path for path in vars(self).values() if path != self.path} | {self.path / _LOCK}
        there = self.path.iterdir() if self.path.is_dir() else ()
        return [path for path in there if path in own or _TEMPORARY.fullmatch(path.name)]

    def _foreign(self) -> bool:
        """Tell whether something else is there, be it a file of that name."""
        if not self.path.is_dir():
            return self.path.exists()
        there = list(self.path.iterdir())
        # Where no run has ever been locked a folder called `code` or `samples` is somebody else's.
        return bool(there) and (len(self._own()) < len(there) or not (self.path / _LOCK).exists())

    def store_config(self, config: RunConfig) -> None:
        """Write a configuration, whole or not at all.

        Raises:
            TypeError: a part of it does not know its settings and cannot be written.
        """
        write_atomically(self.config, json.dumps(to_record(config), indent=2) + "\n")

    def store_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the tensors that `resolve` returned for the configuration, whole or not at all."""
        if tensors:
            write_state(self.fitted, dict(tensors))

    def load_fitted(self) -> dict[str, Tensor]:
        """Return what `store_fitted` wrote."""
        if not self.fitted.is_file():
            return {}
        return read_state(self.fitted)

    def load_config(self, *, trust_code: bool = False, known: Iterable[str] = ()) -> RunConfig:
        """Return the stored configuration.

        Args:
            trust_code: let it name classes of the user's, and run their code: the run's own copy, where it has one.
            known: names of the user's that it may use all the same; the modules themselves, not copies, are meant.

        Raises:
            FileNotFoundError: there is no run.
            ValueError: the run is of another format, or names something else than unmelt's public names while code of
                the user's is not trusted.
        """
        record = self._record()
        try:
            return from_record(RunConfig, record, trust_code=trust_code, known=known, copies=self.code)
        except ValueError as error:
            msg = f"{self.config}: {error}"
            raise ValueError(msg) from error

    def began_in(self, config: RunConfig) -> Path | None:
        """Return the folder that the run was begun in, which relative paths of its settings are seen from.

        None where that cannot be told: its root was absolute, or it lies elsewhere now.
        """
        own, here = config.folder.parts, self.path.resolve()
        known = not config.folder.is_absolute() and ".." not in own and here.parts[-len(own) :] == own
        return here.parents[len(own) - 1] if known else None

    def load_manifest(self) -> Manifest:
        """Return the manifest."""
        return Manifest(self.manifest)

    def check_resumable(self, config: RunConfig) -> None:
        """Check that this run can go on under `config`: it may end later, learn at another rate, report differently.

        Raises:
            FileNotFoundError: there is no such run.
            ValueError: a setting differs, which would make it another run; the message names it.
        """
        stored, wanted = self._record(), to_record(config)
        # The same data elsewhere are told by their fingerprint.
        free = {*_FREE, *(f"training.{name}" for name in _FREE_OF_TRAINING), *(f"data.{p}" for p in config.data.places)}
        different = [
            f"{path}: {old} stored, {new} given"
            for path, old, new in _differences(stored, wanted)
            if not any(path == name or path.startswith(f"{name}.") for name in free)
        ]
        if different:
            msg = (
                f"{self.path} was trained under other settings ({'; '.join(different)}): leave them out, or start"
                f" another run from its weights with --init-from {self.path} --name OTHER"
            )
            raise ValueError(msg)

    def _record(self) -> dict[str, Any]:
        """Return the stored configuration as text, which nothing is made of yet."""
        if not self.config.is_file():
            msg = f"{self.path} holds no run (no {self.config.name}): give the folder of one"
            raise FileNotFoundError(msg)
        self.load_manifest().check_format()
        return read_json(self.config)


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
