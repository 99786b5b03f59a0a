"""What sets of feature vectors have to be, to be compared."""

from __future__ import annotations

from torch import Tensor


def check_features(*sets: Tensor) -> None:
    """Check that sets are of finite vectors of one size, (count, size).

    Raises:
        ValueError: they are not.
    """
    if any(features.ndim != 2 for features in sets) or len({features.shape[1:] for features in sets}) > 1:
        shapes = " and ".join(str(tuple(features.shape)) for features in sets)
        msg = f"features must have shape (count, size) with one size, got {shapes}"
        raise ValueError(msg)
    if not all(bool(features.isfinite().all()) for features in sets):
        msg = "features must be finite: the network that made them, or an image, is not"
        raise ValueError(msg)
