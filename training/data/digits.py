"""Handwritten digits that come with scikit-learn: 1797 grey images of 8 x 8 pixels, 17 levels."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from .images import DataRange, Images, ImageSplits

_HELD_OUT = 0.2


def load_digit_images(data_range: DataRange) -> ImageSplits:
    """Return the digits (Alpaydin & Kaynak, 1998) with a fixed fifth of each class held out, and their labels."""
    pixels, classes = (np.asarray(array) for array in load_digits(return_X_y=True))
    images = torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(classes.astype(np.int64))
    train, test = train_test_split(range(len(images)), test_size=_HELD_OUT, stratify=classes, random_state=0)
    return ImageSplits(
        Images(images[train], levels=17, data_range=data_range),
        Images(images[test], levels=17, data_range=data_range),
        labels[train],
        labels[test],
    )
