"""A run's folder: everything that is later needed of a training run, and nothing that overwrites another.

config.json      the whole configuration
manifest.json    versions, commit, data fingerprint and range, number of parameters
checkpoints/     the latest training states, one folder each
prior.pt         a Gaussian that samples can start from without the images, if the process does not end in noise
metrics.jsonl    one line of JSON every so many steps
tensorboard/     the same for TensorBoard
samples/         sample grids during training
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from .. import __version__
from ..core.files import write_atomically
from ..degradations import LinearGaussianProcess
from .config import RunConfig, config_from_json, config_to_json
from .data import ImageSplits

Leaf = tuple[str, object, object]

_VERSIONS = ("torch", "numpy", "accelerate")


class RunFolder:
    """Paths of a run, and the files written once.

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
        """
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
        write_atomically(self.config, config_to_json(config))

    def check_resumable(self, config: RunConfig, data: ImageSplits, process: LinearGaussianProcess) -> None:
        """Check that this run can go on under `config`, which may only train longer or report differently.

        Raises:
            FileNotFoundError: there is no such run.
            ValueError: a setting, the data or the process differs, which would make it another run; the message names
                it. (A process of one's own may have been edited since.)
        """
        if not self.config.is_file():
            msg = f"{self.folder} holds no run to resume (no {self.config.name}): leave out --resume to start one"
            raise FileNotFoundError(msg)
        stored = dataclasses.asdict(_comparable(self.load_config(), config))
        wanted = dataclasses.asdict(config)
        different = [
            f"{path}: {old!r} stored, {new!r} given" for path, old, new in _differences(stored, wanted) if old != new
        ]
        if different:
            msg = f"{self.folder} was trained under other settings ({'; '.join(different)}): give the stored ones"
            raise ValueError(msg)
        self.check_process(process)
        self.check_data(data)

    def check_process(self, process: LinearGaussianProcess) -> None:
        """Check that `process` has the coefficients that the run was trained with.

        Raises:
            ValueError: it has others. (A process of one's own may have been edited since.)
        """
        stored = json.loads(self.manifest.read_text()).get("process", {}).get("coefficients", [])
        if not _agree(stored, _coefficients(process)):
            msg = (
                f"{self.folder} was trained with other coefficients than {type(process).__name__} gives now: its source"
                " has changed since; restore it, or start a new run"
            )
            raise ValueError(msg)

    def check_data(self, data: ImageSplits) -> None:
        """Check that `data` holds the training images of the run, and for a conditional network their labels.

        Raises:
            ValueError: it holds others.
        """
        stored = json.loads(self.manifest.read_text())["data"]
        trained_on = stored["train"]["sha256"]
        if data.train.fingerprint() != trained_on:
            msg = (
                f"{self.folder} was trained on other images than these (SHA-256 {trained_on[:12]}... stored,"
                f" {data.train.fingerprint()[:12]}... given): restore the data, or start a new run"
            )
            raise ValueError(msg)
        if self.load_config().network.conditional and data.label_fingerprint() != stored["labels"]:
            msg = (
                f"{self.folder} was trained with other labels of these images ({stored['classes']} classes stored,"
                f" {data.classes} given): restore the labels, or start a new run"
            )
            raise ValueError(msg)

    def train_fingerprint(self) -> str:
        """Return the SHA-256 of the images that the run was trained on."""
        return json.loads(self.manifest.read_text())["data"]["train"]["sha256"]

    def store_config(self, config: RunConfig) -> None:
        """Write the configuration under which a resumed run goes on."""
        write_atomically(self.config, config_to_json(config))

    def load_config(self) -> RunConfig:
        """Return the stored configuration.

        Raises:
            ValueError: the file is not a configuration of this version.
        """
        return config_from_json(self.config.read_text())

    def write_manifest(self, data: ImageSplits, process: LinearGaussianProcess, parameters: int) -> None:
        """Write what a result's reader must know: versions, commit, machine, process, data and size of the network."""
        train = data.train
        manifest = {
            "unmelt": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _VERSIONS},
            "commit": _commit(),
            "command": sys.argv,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
            "parameters": parameters,
            "process": {"class": type(process).__name__, "coefficients": _coefficients(process)},
            "data": {
                "train": {"images": len(train), "sha256": train.fingerprint()},
                "test": {"images": len(data.test), "sha256": data.test.fingerprint()},
                "shape": train.shape,
                "levels": train.levels,
                "range": train.data_range,
                **({} if data.classes is None else {"classes": data.classes, "labels": data.label_fingerprint()}),
            },
        }
        write_atomically(self.manifest, json.dumps(manifest, indent=2) + "\n")


def _coefficients(process: LinearGaussianProcess) -> list[float]:
    """Return log alpha and log sigma at five times, of sixteen coefficients spread over the spectrum."""
    found: list[float] = []
    for t in torch.linspace(0, 1, 5, dtype=torch.float64):
        at = process.at(t)
        for value in (at.log_alpha, at.log_sigma):
            # JSON knows no infinity.
            flat = value[0].expand(process.shape).flatten().clamp(min=-1e300)
            found += flat[torch.linspace(0, len(flat) - 1, 16).round().long()].tolist()
    return found


def _agree(stored: list[float], found: list[float]) -> bool:
    """Tell whether coefficients are equal but for the rounding of another machine."""
    return len(stored) == len(found) and all(
        a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in zip(stored, found, strict=True)
    )


def _comparable(stored: RunConfig, config: RunConfig) -> RunConfig:
    """Return the stored configuration with those settings taken from `config` that may change on the way."""
    # A constant learning rate can go on for longer; a decay is laid out for its number of steps.
    longer = config.training.steps > stored.training.steps and not stored.optimizer.cosine_decay
    training = dataclasses.replace(
        stored.training,
        steps=config.training.steps if longer else stored.training.steps,
        log_every=config.training.log_every,
        checkpoint_every=config.training.checkpoint_every,
        keep_checkpoints=config.training.keep_checkpoints,
        sample_every=config.training.sample_every,
        workers=config.training.workers,
    )
    return dataclasses.replace(stored, root=config.root, name=config.name, training=training, sampling=config.sampling)


def _differences(stored: Mapping[str, object], wanted: Mapping[str, object], path: str = "") -> list[Leaf]:
    """Return (path, stored, wanted) of every leaf of two nested dictionaries."""
    leaves: list[Leaf] = []
    for key in stored.keys() | wanted.keys():
        old, new = stored.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            leaves += _differences(old, new, f"{path}{key}.")
        else:
            leaves.append((path + key, old, new))
    return sorted(leaves, key=lambda leaf: leaf[0])


def _commit() -> str | None:
    """Return the commit of the checkout that unmelt is imported from, with a + if it has changes; None outside one."""
    folder = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # Installed into an environment inside someone's repository, that repository's commit says nothing of this code.
        if Path(git("rev-parse", "--show-toplevel")) != folder.resolve():
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
