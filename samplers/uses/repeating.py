"""Samplers whose denoiser knows something of each row, for batches in which rows of another one are repeated."""

from __future__ import annotations

import copy

from jaxtyping import Int
from torch import Tensor

from ..base import Sampler


def repeated(sampler: Sampler, rows: Int[Tensor, " count"]) -> Sampler:
    """Return the sampler for a batch in which row i is row `rows[i]` of the batch that its denoiser was made for.

    A denoiser that knows nothing of single rows serves any batch, and the sampler is returned as it is.

    Raises:
        ValueError: the denoiser was made for fewer rows.
    """
    denoiser = sampler.denoiser
    if denoiser.rows is None:
        return sampler
    if int(rows.max()) >= denoiser.rows:
        msg = (
            f"this {type(denoiser).__name__} was made for a batch of {denoiser.rows} (labels, observations), but there"
            f" are {int(rows.max()) + 1} to start from: make both equal"
        )
        raise ValueError(msg)
    other = copy.copy(sampler)
    other.denoiser = denoiser.select(rows)
    return other
