from types import SimpleNamespace

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


@pytest.fixture(scope="session")
def digits():
    """Handwritten digits of 8 x 8 in [0, 1], (count, 1, 8, 8), a fifth of each class held out."""
    images, classes = load_digits(return_X_y=True)
    images = torch.from_numpy(images / 16).float().reshape(-1, 1, 8, 8)
    train, test = train_test_split(range(len(images)), test_size=0.2, stratify=classes, random_state=0)
    labels = torch.from_numpy(classes).long()
    return SimpleNamespace(train=images[train], test=images[test], train_labels=labels[train], test_labels=labels[test])
