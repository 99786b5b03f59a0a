"""The basis of principal components: directions in which data varies most, and uncorrelated.

For samples x_1 .. x_m of mean mu, the covariance is C = sum_j (x_j - mu)(x_j - mu)^T / (m - 1) = V diag(variances) V^T.
The coefficients V^T (x - mu) are uncorrelated over the data, and the first k of them keep at least as much of its
variance as any other k numbers linear in x.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import Shape, as_shape, check_floating
from ...core.configuration import Batches, FromData, first_examples
from .axes import trailing_axes
from .eigen import eigenvectors_of
from .matrix import MatrixBasis

# Samples taken to float64 at a time, so that data larger than half the memory can be analysed.
_CHUNK = 4096


class PCABasis(MatrixBasis):
    """Principal components of data, in the order of falling variance; always a complete orthonormal basis.

    With no more samples than numbers in each, the directions in which the data does not vary come last, in an order
    and with a choice that mean nothing. Signs are fixed as in `EigenBasis`. The mean is not subtracted: V is a linear
    change of basis. All is computed in float64, with a matrix of n x n numbers for signals of n.

    Source: Hotelling (1933), Analysis of a complex of statistical variables into principal components.

    Args:
        data: samples, (count, *shape).
        axes: how many trailing axes of `shape` are one signal; the others count as further samples, for which the
            same basis is used. None means all axes.

    Raises:
        TypeError: `data` is not real floating-point.
        ValueError: `data` has no axis but the first, fewer than two samples or values that are not finite; `axes` is
            below 1 or above the number of axes.
    """

    spectrum: Tensor
    centre: Tensor

    def __init__(self, data: Float[Tensor, "..."], axes: int | None = None) -> None:
        check_floating("data", data)
        if data.ndim < 2:
            msg = f"data must have shape (count, *shape), got {tuple(data.shape)}: the first axis counts samples"
            raise ValueError(msg)
        shape = as_shape(data.shape[1:])
        axes = trailing_axes(shape, len(shape) if axes is None else axes, most=len(shape))
        mean, covariance = _moments(data.detach().reshape(-1, math.prod(shape[-axes:])))
        variances, components = eigenvectors_of(covariance)
        # A covariance has no negative variances; rounding has.
        self._set(shape, components.flip(1), variances.flip(0).clamp(min=0), mean)

    @classmethod
    def from_components(
        cls,
        shape: Sequence[int],
        components: Float[Tensor, "n n"],
        variances: Float[Tensor, "..."],
        mean: Float[Tensor, "..."],
    ) -> PCABasis:
        """Return the basis of components found before: another basis's `matrix`, `variances()` and `mean()`."""
        basis = cls.__new__(cls)
        basis._set(as_shape(shape), components, variances, mean)  # noqa: SLF001  (its own class)
        return basis

    def _set(self, shape: Shape, components: Tensor, variances: Tensor, mean: Tensor) -> None:
        super().__init__(shape, components)
        plane = self.shape[-self.axes :]
        self.register_constant("spectrum", variances.reshape(plane))
        self.register_constant("centre", mean.reshape(plane))

    def variances(self) -> Float[Tensor, "..."]:
        """Return the coefficients' variances, float64, falling in row-major order, of the transformed axes' shape."""
        return self.spectrum

    def mean(self) -> Float[Tensor, "..."]:
        """Return the mean signal mu, float64, of the transformed axes' shape."""
        return self.centre


def _moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance, in float64, of samples (m, n)."""
    count, numbers = samples.shape
    if count < 2:
        msg = f"data must hold at least two samples, for a variance to be known, got {count}"
        raise ValueError(msg)
    mean = torch.zeros(numbers, dtype=torch.float64)
    for part in samples.split(_CHUNK):
        mean += part.to("cpu", torch.float64).sum(0) / count
    covariance = torch.zeros(numbers, numbers, dtype=torch.float64)
    for part in samples.split(_CHUNK):
        centred = part.to("cpu", torch.float64) - mean
        covariance += centred.mT @ centred / (count - 1)
    if not bool(covariance.isfinite().all()):
        msg = "data must be finite, got NaN, infinite or overflowing values: leave out the samples that hold them"
        raise ValueError(msg)
    return mean, covariance


@dataclass(frozen=True)
class FittedPCA(FromData):
    """A `PCABasis` of the data.

    Attributes:
        images: how many of the first examples are looked at.
        axes: how many trailing axes are one signal; None means all axes.
    """

    images: int = 2000
    axes: int | None = None

    @override
    def fit(self, shape: Shape, data: Batches | None) -> dict[str, Tensor]:
        basis = PCABasis(torch.cat(list(first_examples(self, data, self.images))), self.axes)
        return {"components": basis.matrix, "variances": basis.variances(), "mean": basis.mean()}

    @override
    def build(self, shape: Shape, tensors: Mapping[str, Tensor]) -> PCABasis:
        return PCABasis.from_components(shape, tensors["components"], tensors["variances"], tensors["mean"])
