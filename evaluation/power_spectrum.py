r"""How much of images lies at each frequency: the radially averaged power spectral density, and its power law.

The power of a coefficient is the mean of its square over images. In an orthonormal basis it is in squared data units
per coefficient, so that white noise of variance s^2 has the power s^2 at every frequency, whatever the size of the
images: a spectrum and the noise of a process are drawn on one axis. Power at frequency f is the mean over the
coefficients of a ring around it; photographs follow f^-2 or so (Field, 1987).

Cosines see images with reflecting edges. Plane waves see them as periodic, and the jump from one edge to the other as
detail along the axes, which images do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..core.checks import check_signal
from ..core.moments import Moments
from ..degradations import CosineBasis, LaplacianBasis

Bands = Callable[[LaplacianBasis], Int64[Tensor, "..."]]

# Cycles per pixel: beyond this only corners of the spectrum are left, where detail is slanted.
_WHOLE = 0.5


class FittedPowerLaw(NamedTuple):
    """Power c f^-exponent.

    Attributes:
        exponent: how steeply power falls; 2 where all octaves hold as much.
        scale: c, the power at one cycle per pixel.
    """

    exponent: float
    scale: float

    def __call__(self, frequency: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the power at frequencies in cycles per pixel."""
        return self.scale * frequency**-self.exponent


@dataclass(frozen=True, eq=False)
class PowerSpectrum:
    """Power by band of frequencies, lowest first, all float64.

    Attributes:
        frequency: mean frequency of each band's coefficients, in cycles per pixel, (bands,).
        power: mean square of its coefficients, in squared data units, (bands,).
        error: standard error of that over the images, which are taken to be independent, (bands,).
        coefficients: number of coefficients of each band, in all channels together, (bands,).
        images: number of images.
    """

    frequency: Float[Tensor, " bands"]
    power: Float[Tensor, " bands"]
    error: Float[Tensor, " bands"]
    coefficients: Int64[Tensor, " bands"]
    images: int

    def __repr__(self) -> str:
        return f"PowerSpectrum({len(self.power)} bands, {self.images} images)"

    def power_law(self) -> FittedPowerLaw:
        """Return the power law that fits best, by least squares of logarithms, each octave counting alike.

        Bands above half a cycle per pixel, which has corners of the spectrum only, and the constant are left out.

        Raises:
            ValueError: fewer than two bands are left, or one of them has no power.
        """
        chosen = (self.frequency > 0) & (self.frequency <= _WHOLE)
        f, power = self.frequency[chosen], self.power[chosen]
        if len(f) < 2 or not bool((power > 0).all()):
            msg = f"a power law needs two bands with power, got power {[float(f'{p:.3g}') for p in power.tolist()]}"
            raise ValueError(msg)
        # Rings lie evenly in frequency: an octave has a number of them that grows with it.
        x, y, weight = f.log(), power.log(), 1 / f
        weight = weight / weight.sum()
        centred = x - (weight * x).sum()
        slope = (weight * centred * y).sum() / (weight * centred.square()).sum()
        offset = (weight * y).sum() - slope * (weight * x).sum()
        return FittedPowerLaw(-slope.item(), offset.exp().item())

    def ratio_to(self, other: PowerSpectrum) -> tuple[Float[Tensor, " bands"], Float[Tensor, " bands"]]:
        """Return this power over another's, band by band, and the standard error of that to first order.

        Where the other has no power the ratio is infinite, or NaN where neither has any.

        Raises:
            ValueError: the bands are not the same.
        """
        if not torch.equal(self.frequency, other.frequency):
            msg = f"spectra of other bands cannot be compared: {self} and {other}"
            raise ValueError(msg)
        ratio = self.power / other.power
        error = torch.hypot(self.error, ratio * other.error) / other.power
        return ratio, error


def rings(basis: LaplacianBasis) -> Int64[Tensor, "..."]:
    """Return the ring of each coefficient, of the transformed axes' shape: the constant, then one for each frequency.

    Rings are as wide as the lowest frequency; a coefficient is in the nearest one.
    """
    frequency = basis.laplacian_eigenvalues().sqrt()
    return (frequency / frequency[frequency > 0].min()).round().long()


def octaves(basis: LaplacianBasis) -> Int64[Tensor, "..."]:
    """Return the octave of each coefficient, of the transformed axes' shape; 0 is the constant."""
    return basis.octaves()


class PowerEstimator:
    """Estimates a `PowerSpectrum` from batches of any size, in any order; nothing is kept of the images.

    Args:
        basis: cosines or plane waves, of the images' shape.
        bands: what coefficients are taken together, `rings` or `octaves`.
    """

    def __init__(self, basis: LaplacianBasis, bands: Bands = rings) -> None:
        self.basis = basis
        found, self._band = torch.unique(bands(basis).flatten().cpu(), return_inverse=True)
        self._members = torch.bincount(self._band, minlength=len(found))
        frequency = basis.laplacian_eigenvalues().cpu().sqrt().flatten() / (2 * torch.pi)
        self._frequency = self._means(frequency[None])[0]
        self._moments: Moments | None = None

    @torch.no_grad()
    def powers(self, images: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch bands"]:
        """Return the mean square of each band's coefficients in each image, (batch, bands), float64.

        Args:
            images: (batch, *shape), in the data's units.

        Raises:
            ValueError: they have another shape.
        """
        check_signal("images", images, self.basis.shape)
        squares = self.basis.forward(images.double().cpu()).square()
        return self._means(squares.flatten(-self.basis.axes).flatten(1, -2).mean(1))

    def add(self, powers: Float[Tensor, "batch bands"]) -> None:
        """Take images in, as `powers` returns what is to know of them."""
        if len(powers):
            found = Moments.of(powers)
            self._moments = found if self._moments is None else self._moments + found

    def spectrum(self) -> PowerSpectrum:
        """Return the spectrum of all images so far.

        Raises:
            ValueError: there are fewer than two.
        """
        seen = self._moments
        if seen is None or seen.count < 2:
            msg = f"a spectrum with its error needs at least 2 images, got {0 if seen is None else seen.count}"
            raise ValueError(msg)
        channels = torch.Size(self.basis.shape).numel() // int(self._members.sum())
        return PowerSpectrum(self._frequency, seen.mean, seen.stderr, self._members * channels, seen.count)

    def _means(self, values: Tensor) -> Tensor:
        """Return means over the coefficients of each band, (rows, bands)."""
        sums = values.new_zeros(len(values), len(self._members)).index_add_(1, self._band, values)
        return sums / self._members


def power_spectrum(
    images: Float[Tensor, "count ..."] | Iterable[Float[Tensor, "batch ..."]],
    *,
    bands: Bands = rings,
    basis: Callable[[tuple[int, ...]], LaplacianBasis] = CosineBasis,
) -> PowerSpectrum:
    """Return the radially averaged power spectral density of images.

    Args:
        images: all of them, (count, *shape), or batches one after the other.
        bands: what frequencies are taken together, `rings` or `octaves`.
        basis: makes the basis from a shape: `CosineBasis`, or `FourierBasis` for periodic signals.

    Raises:
        ValueError: there are fewer than two images, or they have different shapes.
    """
    estimator: PowerEstimator | None = None
    for batch in images.split(1024) if isinstance(images, Tensor) else images:
        estimator = estimator or PowerEstimator(basis(tuple(batch.shape[1:])), bands)
        estimator.add(estimator.powers(batch))
    if estimator is None:
        msg = "a spectrum with its error needs at least 2 images, got none"
        raise ValueError(msg)
    return estimator.spectrum()
