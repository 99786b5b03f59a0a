"""The data's own spectrum: mean and variance of every coefficient, estimated batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import Shape, check_instance, check_number, check_signal
from ..core.configuration import Batches, FromData, first_examples
from ..core.makers import made
from ..core.moments import Moments
from ..core.precision import schedule_dtype
from .bases import Basis, FourierBasis


@dataclass(frozen=True, eq=False)
class DataSpectrum:
    """Mean and variance of every coefficient u = V^T x over a data set.

    Attributes:
        basis: the basis V.
        mean: mean of u, of the basis's shape, float64.
        variance: unbiased variance of u, of the basis's shape, float64, in squared data units.
        count: number of examples it was estimated from.
    """

    basis: Basis
    mean: Float[Tensor, "..."]
    variance: Float[Tensor, "..."]
    count: int

    def __repr__(self) -> str:
        low, high = self.variance.min().item(), self.variance.max().item()
        return f"DataSpectrum(basis={self.basis}, variance from {low:.3g} to {high:.3g}, count={self.count})"

    def floored(self, minimum: float) -> DataSpectrum:
        """Return the spectrum with every variance at least `minimum`, in squared data units.

        For coefficients that do not vary in the data (the black border of digits) where a process divides by it.

        Raises:
            ValueError: minimum is not positive.
        """
        check_number("minimum", minimum, "(0, inf)", "a variance in squared data units")
        return DataSpectrum(self.basis, self.mean, self.variance.clamp(min=minimum), self.count)

    def require_variance(self) -> Float[Tensor, "..."]:
        """Return `variance`, checked to be positive everywhere.

        Raises:
            ValueError: a coefficient does not vary in the data.
        """
        still = int((self.variance <= 0).sum())
        if still:
            msg = (
                f"{still} of {self.variance.numel()} coefficients do not vary in these {self.count} examples, and the "
                "noise would have to vanish there: use more data, or spectrum.floored(minimum)"
            )
            raise ValueError(msg)
        return self.variance


class SpectrumEstimator:
    """Estimates a `DataSpectrum` from a stream of batches; the order and size of batches do not matter.

    All in float64 where the device has it; see `unmelt.core.moments` for how batches are merged.

    Args:
        basis: the basis V; batches are brought to its device.
    """

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        self._moments: Moments | None = None

    @torch.no_grad()
    def update(self, x: Float[Tensor, "batch ..."]) -> None:
        """Take a batch of data, (batch, *shape), into account; an empty one changes nothing.

        Raises:
            TypeError: `x` is not floating-point.
            ValueError: `x` has another shape.
        """
        check_instance("x", x, Tensor, "a batch of data alone: take the images out of (image, label) pairs")
        check_signal("x", x, self.basis.shape)
        if len(x) == 0:
            return
        device = self.basis.device
        found = Moments.of(self.basis.forward(x.to(device, schedule_dtype(device))))
        self._moments = found if self._moments is None else self._moments + found

    def spectrum(self) -> DataSpectrum:
        """Return the spectrum of all data seen so far.

        Raises:
            ValueError: fewer than two examples were seen.
        """
        seen = self._moments
        if seen is None or seen.count < 2:
            count = 0 if seen is None else seen.count
            msg = f"a variance needs at least 2 examples, got {count}: call update with a batch of data first"
            raise ValueError(msg)
        return DataSpectrum(self.basis, seen.mean, seen.variance, seen.count)


def estimate_spectrum(
    basis: Basis, data: Float[Tensor, "count ..."] | Iterable[Float[Tensor, "..."]], *, batch_size: int = 1024
) -> DataSpectrum:
    """Return the spectrum of a data set.

    Args:
        basis: the basis V.
        data: all of the data in one tensor, (count, *shape), or batches of it one after the other.
        batch_size: examples transformed at a time, where `data` is one tensor.

    Raises:
        TypeError: the data is not floating-point.
        ValueError: there are fewer than two examples, or they have another shape.
    """
    estimator = SpectrumEstimator(basis)
    for batch in data.split(batch_size) if isinstance(data, Tensor) else data:
        estimator.update(batch)
    return estimator.spectrum()


@dataclass(frozen=True)
class FittedSpectrum(FromData):
    """A `DataSpectrum`: mean and variance of every coefficient.

    Attributes:
        basis: the basis, or what makes it from a shape or from the data.
        images: how many of the first examples are looked at.
        floor: least variance, in squared data units, for coefficients that do not vary in the data; see
            `DataSpectrum.floored`. None leaves them alone.
    """

    basis: Basis | Callable[[Shape], Basis] | FromData = FourierBasis
    images: int = 2000
    floor: float | None = None

    @override
    def fit(self, shape: Shape, data: Batches | None) -> dict[str, Tensor]:
        spectrum = estimate_spectrum(self._basis(shape), first_examples(self, data, self.images))
        if self.floor is not None:
            spectrum = spectrum.floored(self.floor)
        return {"mean": spectrum.mean, "variance": spectrum.variance, "count": torch.tensor(spectrum.count)}

    @override
    def build(self, shape: Shape, tensors: Mapping[str, Tensor]) -> DataSpectrum:
        return DataSpectrum(self._basis(shape), tensors["mean"], tensors["variance"], int(tensors["count"]))

    def _basis(self, shape: Shape) -> Basis:
        return made("basis", self.basis, shape, Basis, "FourierBasis for example")
