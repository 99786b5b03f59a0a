"""Opponent colours: red, green and blue rotated to luminance and two differences of colours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from .cosine import CosineBasis
from .matrix import MatrixBasis
from .product import ProductBasis


def opponent_colours() -> Float64[Tensor, "3 3"]:
    """Return the orthonormal matrix of opponent colours, which `MatrixBasis` makes a basis of shape (3,).

    Its columns, in terms of (red, green, blue), are luminance (1, 1, 1) / sqrt(3), red-green (1, -1, 0) / sqrt(2) and
    blue-yellow (1, 1, -2) / sqrt(6), which is positive for yellow. In natural images luminance is nearly uncorrelated
    with the other two. The axes are those that Ruderman, Cronin & Chiao (1998) found for logarithms of cone responses.
    """
    columns = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]], dtype=torch.float64).mT
    return columns / columns.square().sum(0).sqrt()


def opponent_basis(shape: Sequence[int]) -> ProductBasis:
    """Return opponent colours of the first axis, of size 3, and cosines of all others."""
    return ProductBasis(MatrixBasis(shape[:1], opponent_colours()), CosineBasis(shape[1:], axes=len(shape) - 1))
