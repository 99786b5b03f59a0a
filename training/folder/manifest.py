"""What a result's reader must know of a run: versions, commit, machine, process, data and size of the network."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from ... import __version__
from ...core import Shape
from ...core.files import write_atomically
from ...degradations import LinearGaussianProcess
from ...models import Denoiser, GreyLevels
from ..data import Splits
from ..data.unreadable import DataError
from .exported import Exported, exported_in
from .verified import DamagedError

# Raised whenever files of a run change their meaning, so that none is read wrongly.
FORMAT = 4
_VERSIONS = ("torch", "numpy", "accelerate")


class Manifest:
    """The manifest of a run.

    Args:
        path: its file, written by `write_manifest`.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.content = read_json(path)
        self._has_code = (self.folder / "code").is_dir()

    def __repr__(self) -> str:
        return f"Manifest({str(self.folder)!r})"

    def check_format(self) -> None:
        """Check that this version of unmelt reads the run's files.

        Raises:
            ValueError: they are of another version.
        """
        found, version = self.content.get("format", 1), self.content.get("unmelt", "an unknown version")
        if found == FORMAT:
            return
        older = not isinstance(found, int) or found < FORMAT
        what = "read it with the version that wrote it, or train again" if older else "update unmelt"
        whose = "" if version == __version__ else f" ({version})"
        msg = (
            f"{self.folder} is a run of format {found}, written by {'an older' if older else 'a newer'} unmelt{whose},"
            f" and this one ({__version__}) reads {FORMAT}: {what}"
        )
        raise ValueError(msg)

    @property
    def exported(self) -> Exported | None:
        """What the model is that was exported here; None where this is a run.

        Raises:
            DamagedError: it is not said whole.
        """
        try:
            return exported_in(self.content)
        except DamagedError as error:
            msg = f"{self.folder}: {error}"
            raise DamagedError(msg) from error

    @property
    def shape(self) -> Shape:
        """Shape of one image."""
        return tuple(self.content["data"]["shape"])

    @property
    def grey_levels(self) -> GreyLevels | None:
        """Grey levels of the data, and their range; None where it has none."""
        data = self.content["data"]
        return None if data["grey_levels"] is None else GreyLevels(data["grey_levels"], *data["range"])

    @property
    def data_range(self) -> tuple[float, float]:
        """Numbers that are shown black and white."""
        low, high = self.content["data"]["range"]
        return low, high

    @property
    def train_fingerprint(self) -> str:
        """SHA-256 of the training images."""
        return self.content["data"]["train"]["sha256"]

    def check_process(self, process: LinearGaussianProcess) -> None:
        """Check that `process` has the coefficients that the run was trained with.

        Raises:
            ValueError: it has others. (The source of a user's process may have been edited since.)
        """
        if not _agree(self.content["process"]["coefficients"], _coefficients(process)):
            copy = "or go on with the run's copy, --resume and --trust-code without other flags, " * self._has_code
            msg = (
                f"{self.folder} was trained with other coefficients than {type(process).__name__} gives now: its source"
                f" has changed since; restore it, {copy}or start a new run"
            )
            raise ValueError(msg)

    def check_data(self, data: Splits, *, labels: bool) -> None:
        """Check that `data` holds the training and held-out images of the run, and if asked for their labels.

        Raises:
            ValueError: it holds others.
        """
        stored = self.content["data"]
        if data.train.fingerprint() != self.train_fingerprint:
            msg = (
                f"{self.folder} was trained on other images than these (SHA-256 {self.train_fingerprint[:12]}..."
                f" stored, {data.train.fingerprint()[:12]}... given): restore the data, or start a new run"
            )
            raise ValueError(msg)
        if data.test.fingerprint() != stored["test"]["sha256"]:
            msg = (
                f"{self.folder} began with other held-out images than these: restore them, so that no figure is one of"
                " other data, or start a new run"
            )
            raise ValueError(msg)
        if labels and data.train.label_fingerprint() != stored.get("labels"):
            msg = (
                f"{self.folder} was trained with other labels of these images ({stored.get('classes')} classes stored,"
                f" {data.train.classes} given): restore the labels, or start a new run"
            )
            raise ValueError(msg)


def read_json(path: Path) -> dict[str, Any]:
    """Return the record in a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged; the message names it.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        msg = f"no {path}: restore the file, or start another run"
        raise FileNotFoundError(msg) from error
    except (RecursionError, ValueError) as error:
        msg = f"{path} is damaged ({' '.join(str(error).split())}): restore the file, or start another run"
        raise ValueError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} is damaged (no record in it): restore the file, or start another run"
        raise ValueError(msg)  # noqa: TRY004
    return cast("dict[str, Any]", content)


def check_contents(path: Path, found: str) -> None:
    """Write the hash of the training data's contents into a manifest, or compare it with the one that is there.

    Raises:
        DataError: they differ.
    """
    content = Manifest(path).content
    stored = content["data"]["train"].setdefault("contents", found)
    if stored != found:
        msg = (
            f"{path.parent} was trained on other contents of these files (hash {stored[:12]}... stored, {found[:12]}..."
            " found): some have changed since; restore them, or start a new run"
        )
        raise DataError(msg)
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def write_manifest(path: Path, data: Splits, denoiser: Denoiser, begun_with: Mapping[str, Any] | None = None) -> None:
    """Write a manifest, whole or not at all.

    Args:
        path: its file.
        data: what the run is trained on.
        denoiser: what it trains.
        begun_with: where its first weights come from; None where they are random.
    """
    process, train = denoiser.process, data.train
    manifest = {
        "format": FORMAT,
        "unmelt": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONS},
        "commit": _commit(),
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "parameters": sum(parameter.numel() for parameter in denoiser.parameters()),
        **({} if begun_with is None else {"begun_with": begun_with}),
        "process": {"class": type(process).__name__, "coefficients": _coefficients(process)},
        "data": {
            "train": {"images": len(train), "sha256": train.fingerprint()},
            "test": {"images": len(data.test), "sha256": data.test.fingerprint()},
            "shape": train.shape,
            "grey_levels": None if train.grey_levels is None else train.grey_levels.count,
            "range": train.range,
            **({} if train.classes is None else {"classes": train.classes, "labels": train.label_fingerprint()}),
        },
    }
    write_atomically(path, json.dumps(manifest, indent=2) + "\n")


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


def _commit() -> str | None:
    """Return the commit of the checkout that unmelt is imported from, with a + if it has changes; None outside one."""
    folder = Path(__file__).parents[2]

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
