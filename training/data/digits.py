"""Handwritten digits that come with scikit-learn: 1797 grey images of 8 x 8 pixels, 17 levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from typing_extensions import override

from ...models import GreyLevels
from .arrays import ArrayExamples
from .data_set import DataSet
from .examples import Splits

_HELD_OUT = 0.2


@dataclass(frozen=True)
class Digits(DataSet):
    """The digits (Alpaydin & Kaynak, 1998) with a fixed fifth of each class held out, and their labels.

    Attributes:
        low: number that white paper becomes.
        high: number that the darkest ink becomes.
    """

    low: float = 0.0
    high: float = 1.0

    @override
    def load(self) -> Splits:
        # Each source has libraries of its own, imported only where it is asked for.
        from sklearn.datasets import load_digits  # noqa: PLC0415
        from sklearn.model_selection import train_test_split  # noqa: PLC0415

        pixels, classes = (np.asarray(array) for array in load_digits(return_X_y=True))
        images = torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 8, 8)
        labels = torch.from_numpy(classes.astype(np.int64))
        train, test = train_test_split(range(len(images)), test_size=_HELD_OUT, stratify=classes, random_state=0)
        grey_levels = GreyLevels(17, self.low, self.high)
        parts = [ArrayExamples(images[rows], grey_levels, labels[rows]) for rows in (train, test)]
        return Splits(parts[0], parts[1])
