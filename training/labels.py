"""Which classes a grid of samples shows, and where."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor


def classes_in_order(classes: int | None, count: int) -> Int[Tensor, " count"] | None:
    """Return labels 0, 1, ... over and over for `count` samples; None for a network without classes."""
    return None if classes is None else torch.arange(count) % classes


def class_columns(classes: int | None, count: int) -> int | None:
    """Return the number of columns that gives each class one of its own, in order.

    None, a square grid, for a network without classes, or where there are more of them than samples.
    """
    return classes if classes is not None and classes <= count else None
