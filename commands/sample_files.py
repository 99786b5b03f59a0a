"""Files of samples: a grid, the grid on its way from the prior, an array of all, or a folder with a file for each."""

from __future__ import annotations

import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.files import write_atomically
from ..core.pictures import grid, save_images, save_png
from ..samplers import Sampler, save_trajectory
from ..training import LoadedRun
from ..training.building import class_columns

ANIMATIONS = {".gif", ".mp4"}
_SETTINGS = "samples.json"
# What a folder of samples is told by, beside the run and the sampler.
_TOLD = ("prior", "guidance", "clip", "clip_percentile", "ema_decay", "condition", "seed")


@dataclass(frozen=True)
class Samples:
    """The samples that a command line asks for, drawn when they are written.

    Attributes:
        loaded: the run.
        sampler: what draws them.
        labels: the class of each, (count,); None for a network without classes.
        options: the command line's.
    """

    loaded: LoadedRun
    sampler: Sampler
    labels: Tensor | None
    options: Namespace

    def write(self, file: Path) -> None:
        """Write all into one file, of the kind that its name ends in."""
        if file.suffix in ANIMATIONS or self.options.strip:
            self._animate(file)
            return
        samples = torch.cat(list(self._batches()))
        if file.suffix == ".npz":
            pixels = self._levels(samples) if self._has_levels else samples
            np.savez(file, pixels.numpy(), *([] if self.labels is None else [self.labels.numpy()]))
            return
        save_png(file, grid(samples, self.loaded.manifest.data_range, columns=self._columns))

    def write_folder(self, folder: Path) -> None:
        """Write each into a file of its own, after those that are there of the same settings.

        Raises:
            FileExistsError: the folder holds others.
        """
        self._claim(folder)
        ending, done = "png" if self._has_levels else "npy", 0
        while done < self.options.count and (folder / f"{done:06d}.{ending}").is_file():
            done += 1
        if done:
            print(f"{done} of {self.options.count} samples are there already")  # noqa: T201
        for samples in self._batches(done):
            if self._has_levels:
                save_images(folder, samples, self.loaded.manifest.data_range, done)
            else:
                _save_arrays(folder, samples, done)
            done += len(samples)

    @property
    def _has_levels(self) -> bool:
        return self.loaded.denoiser.grey_levels is not None

    @property
    def _columns(self) -> int | None:
        return self.options.columns or class_columns(self.loaded.denoiser, self.options.count)

    def _levels(self, samples: Tensor) -> Tensor:
        """Return samples as eight-bit pixels, channels last."""
        low, high = self.loaded.manifest.data_range
        return ((samples - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8).movedim(1, -1)

    def _batches(self, first: int = 0) -> Iterator[Tensor]:
        """Yield samples from number `first` on, some at a time."""
        if first >= self.options.count:
            return
        for rows in torch.arange(first, self.options.count).split(self.options.batch_size):
            seeds = range(self.options.seed + int(rows[0]), self.options.seed + int(rows[-1]) + 1)
            labels = None if self.labels is None else self.labels[rows].to(self.sampler.process.device)
            yield self.sampler.sample(
                len(rows), condition=labels, generator=seeds, keep_on="cpu", progress=sys.stderr.isatty()
            )

    def _claim(self, folder: Path) -> None:
        """Make a folder, or check that it is one of samples of the same settings."""
        settings = {
            "run": str(self.loaded.folder.path.resolve()),
            "checkpoint": self.loaded.checkpoint.name,
            "sampler": repr(self.sampler),
            **{name: getattr(self.options, name) for name in _TOLD},
        }
        record = folder / _SETTINGS
        before = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else settings
        if other := [name for name, value in settings.items() if before.get(name) != value]:
            told = ", ".join(f"{name} {before.get(name)} instead of {settings[name]}" for name in other)
            msg = f"{folder} holds samples of other settings ({told}): choose another --out"
            raise FileExistsError(msg)
        if not record.is_file() and folder.is_dir() and any(folder.iterdir()):
            msg = f"{folder} holds other files: choose another --out"
            raise FileExistsError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(record, json.dumps(settings, indent=1) + "\n")

    def _animate(self, file: Path) -> None:
        path = self.sampler.run(
            self.options.count,
            condition=None if self.labels is None else self.labels.to(self.sampler.process.device),
            generator=range(self.options.seed, self.options.seed + self.options.count),
            batch_size=self.options.batch_size,
            keep_on="cpu",
            progress=sys.stderr.isatty(),
        ).trajectory
        assert path is not None
        columns = None if file.suffix == ".png" else self._columns
        save_trajectory(file, path, self.loaded.manifest.data_range, columns=columns)


def _save_arrays(folder: Path, signals: Tensor, first: int) -> None:
    """Write each signal into a NumPy file of its own, in the data's units; `first` is the first's number."""
    for number, signal in enumerate(signals.numpy(), first):
        array = io.BytesIO()
        np.save(array, signal)
        write_atomically(folder / f"{number:06d}.npy", array.getvalue())
