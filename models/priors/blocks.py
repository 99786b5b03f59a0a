"""Data that a prior is fitted to, a bounded number of examples at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_instance, check_signal
from ...core.precision import to_compute_dtype
from ...degradations import LinearGaussianProcess

# All of the data, (count, *shape), or batches of it that can be gone through more than once.
Data = Float[Tensor, "count ..."] | Iterable[Float[Tensor, "..."]]

# Numbers in the largest tensor that is made of data at once (32 MB in float64).
LARGEST = 2**22


def check_data(process: LinearGaussianProcess, data: Data) -> None:
    """Check that `data` can be gone through more than once, and `process` is one.

    Raises:
        TypeError: it cannot.
    """
    check_instance("process", process, LinearGaussianProcess, "such as HeatDissipation((3, 32, 32))")
    if isinstance(data, Tensor):
        return
    check_instance("data", data, Iterable, "a tensor (count, *shape) or a list of batches")
    if iter(data) is data:
        msg = (
            f"data may be gone through more than once, and a {type(data).__name__} can be once: give a tensor, a list"
            " of batches, or an object whose __iter__ starts again, such as a DataLoader"
        )
        raise TypeError(msg)


def blocks(process: LinearGaussianProcess, data: Data) -> Iterator[Float[Tensor, "rows ..."]]:
    """Yield the data, (rows, *shape), none of them empty, float64 where they are and float32 otherwise.

    Raises:
        TypeError: they are not floating-point, or batches are not tensors.
        ValueError: they have another shape.
    """
    rows = rows_of(torch.Size(process.shape).numel())
    for batch in (data,) if isinstance(data, Tensor) else data:
        check_instance("data", batch, Tensor, "a batch of data alone: take the images out of (image, label) pairs")
        check_signal("data", batch, process.shape)
        for block in batch.detach().split(rows):
            if len(block):
                yield to_compute_dtype(block).to(process.device)


def rows_of(numbers: int) -> int:
    """Return how many rows of so many numbers are taken at a time."""
    return max(1, LARGEST // numbers)
