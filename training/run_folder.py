"""A run's folder: everything that is later needed of a training run, and nothing that overwrites another.

config.json      the whole configuration, as the calls that it is made of
manifest.json    versions, commit, data fingerprint and range, number of parameters
prior.pt         what samples start from, so that they can be drawn without the images
checkpoints/     the latest training states, one folder each
metrics.jsonl    one line of JSON every so many steps
tensorboard/     the same for TensorBoard
samples/         sample grids during training
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core.files import write_atomically
from ..core.recording import from_record, to_record
from .manifest import Manifest
from .run_config import RunConfig

# Raised whenever files of a run change their meaning, so that none is read wrongly.
FORMAT = 2
_FORMAT = "format"
# What may differ when a run goes on: where it is kept, how it reports, and what its pictures show.
_FREE = frozenset({"name", "root", "sampler", "grid", "pictures"})
_FREE_OF_TRAINING = frozenset({"log_every", "checkpoint_every", "keep_checkpoints", "sample_every", "workers"})


class RunFolder:
    """Paths of a run, and its configuration.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.json"
        self.manifest = folder / "manifest.json"
        self.checkpoints = folder / "checkpoints"
        self.prior = folder / "prior.pt"
        self.metrics = folder / "metrics.jsonl"
        self.tensorboard = folder / "tensorboard"
        self.samples = folder / "samples"

    def start(self, config: RunConfig) -> None:
        """Make the folder for a new run and write its configuration.

        Raises:
            FileExistsError: the folder is there already.
            TypeError: a part of the configuration does not know its settings and cannot be written.
        """
        text = _text(config)
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError as error:
            msg = (
                f"{self.folder} exists and is not overwritten: continue it with --resume, or choose another --name or"
                " --root"
            )
            raise FileExistsError(msg) from error
        for folder in (self.checkpoints, self.tensorboard, self.samples):
            folder.mkdir()
        write_atomically(self.config, text)

    def store_config(self, config: RunConfig) -> None:
        """Write the configuration under which a resumed run goes on."""
        write_atomically(self.config, _text(config))

    def read_record(self) -> dict[str, Any]:
        """Return the stored configuration as text, which nothing is made of yet.

        Raises:
            FileNotFoundError: there is no run.
            ValueError: the file is of another format.
        """
        if not self.config.is_file():
            msg = (
                f"{self.folder} holds no run (no {self.config.name}): give the folder of one, such as runs/digits_heat"
            )
            raise FileNotFoundError(msg)
        record: dict[str, Any] = json.loads(self.config.read_text())
        if record.pop(_FORMAT, None) != FORMAT:
            msg = (
                f"{self.config} is not of format {FORMAT}, the one that this version of unmelt writes: read it with the"
                " version named in its manifest.json, or train anew"
            )
            raise ValueError(msg)
        return record

    def load_config(self, trusted: Iterable[str] = ()) -> RunConfig:
        """Return the stored configuration.

        Args:
            trusted: modules of the user's that its calls may name; of others nothing is imported.

        Raises:
            FileNotFoundError: there is no run.
            ValueError: the file is of another format, or names something else than unmelt's public names and those of
                `trusted` modules.
        """
        return from_record(RunConfig, self.read_record(), trusted)

    def load_manifest(self) -> Manifest:
        """Return the manifest."""
        return Manifest(self.manifest)

    def check_resumable(self, config: RunConfig) -> None:
        """Check that this run can go on under `config`, which may only train longer or report differently.

        Raises:
            FileNotFoundError: there is no such run.
            ValueError: a setting differs, which would make it another run; the message names it.
        """
        stored, wanted = self.read_record(), to_record(config)
        decays = stored["training"]["cosine_decay"] == "True"
        # A constant learning rate can go on for longer; a decay is laid out for its number of steps.
        longer = int(wanted["training"]["steps"]) > int(stored["training"]["steps"]) and not decays
        free = _FREE_OF_TRAINING | ({"steps"} if longer else set())
        different = [
            f"{path}: {old} stored, {new} given"
            for path, old, new in _leaves(stored, wanted)
            if old != new and path.split(".")[0] not in _FREE and path not in {f"training.{name}" for name in free}
        ]
        if different:
            msg = f"{self.folder} was trained under other settings ({'; '.join(different)}): give the stored ones"
            raise ValueError(msg)


def _text(config: RunConfig) -> str:
    return json.dumps({_FORMAT: FORMAT, **to_record(config)}, indent=2) + "\n"


def _leaves(
    stored: Mapping[str, object], wanted: Mapping[str, object], path: str = ""
) -> list[tuple[str, object, object]]:
    """Return (path, stored, wanted) of every leaf of two nested dictionaries."""
    leaves: list[tuple[str, object, object]] = []
    for key in sorted(stored.keys() | wanted.keys()):
        old, new = stored.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            leaves += _leaves(old, new, f"{path}{key}.")
        else:
            leaves.append((path + key, old, new))
    return leaves
