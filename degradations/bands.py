"""The log-SNR of a process by bands of coefficients: what pictures of a process show."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .bases import Basis, EigenBasis, HaarBasis, HartleyBasis, LaplacianBasis
from .process import LinearGaussianProcess
from .spectra import DataSpectrum

# Bands of frequencies in a map, coefficients of each that are looked at, and times that tell which last longest.
_BANDS, _MEMBERS, _ORDERING = 48, 64, 33
# What a signal holds numbers at, by the number of its axes.
_PLACES = {1: "sample", 2: "pixel", 3: "voxel"}


class Bands(NamedTuple):
    """Log-SNR by band of coefficients, most durable last.

    Attributes:
        label: what distinguishes the bands.
        positions: where each band lies on the label's axis, rising, (bands,).
        log_snr: median log-SNR of each band at each time, (bands, times).
    """

    label: str
    positions: Tensor
    log_snr: Tensor


class Groups(NamedTuple):
    """Which coefficients bands are made of.

    Attributes:
        label: what distinguishes the bands.
        positions: where each band lies on the label's axis, rising, (bands,).
        band: the band of each coefficient, in row-major order, (coefficients,).
    """

    label: str
    positions: Tensor
    band: Tensor

    def means(self, values: Float[Tensor, "..."]) -> Float[Tensor, " bands"]:
        """Return the mean of a number of each coefficient over the coefficients of each band, (bands,), float64."""
        flat = values.double().cpu().flatten()
        return flat.new_zeros(len(self.positions)).index_add_(0, self.band, flat) / torch.bincount(self.band)


def log_snr_bands(
    process: LinearGaussianProcess, times: Float[Tensor, " times"], spectrum: DataSpectrum | None = None
) -> Bands:
    """Return the log-SNR over time of at most 48 bands of coefficients, the median over (some of) each band's.

    Bands are frequencies where the basis has them, scales for a Haar basis, eigenvalues for an eigenbasis; elsewhere
    coefficients are put in the order of their log-SNR.

    Args:
        process: the process.
        times: times in [0, 1], (times,).
        spectrum: of the data, whose variances the signal then has; None is a variance of 1 for every coefficient. In
            the process's basis, or any where the process treats all coefficients alike.

    Raises:
        ValueError: the spectrum is in another basis than the process's, which treats coefficients differently.
    """
    groups = band_groups(process, spectrum)
    # A few coefficients of each band, evenly spread over it, tell its median: large images have millions.
    members = [(groups.band == band).nonzero().flatten() for band in range(len(groups.positions))]
    chosen = [m[torch.linspace(0, len(m) - 1, min(len(m), _MEMBERS)).round().long()] for m in members]
    values = _log_snr_of(process, torch.cat(chosen), times)
    if spectrum is not None:
        values = values + spectrum.variance.cpu().expand(process.shape).flatten()[torch.cat(chosen), None].log()
    medians = [part.median(dim=0).values for part in values.split([len(c) for c in chosen])]
    return Bands(groups.label, groups.positions, torch.stack(medians))


def drowned_at(times: Float[Tensor, " times"], log_snr: Float[Tensor, "bands times"]) -> Float[Tensor, " bands"]:
    """Return the time at which each band's log-SNR falls below 0, by a straight line between the times around it.

    It is 0 where the log-SNR is below 0 from the start, and infinite where it never is.
    """
    below = log_snr < 0
    after = below.int().argmax(1)
    before, rows = (after - 1).clamp(min=0), torch.arange(len(log_snr))
    high, low = log_snr[rows, before], log_snr[rows, after]
    share = torch.where(high.isinf() | low.isinf() | (high == low), 1.0, high / (high - low))
    found = torch.where(after == 0, 0.0, times[before] + share * (times[after] - times[before]))
    return torch.where(below.any(1), found, torch.inf)


def band_groups(process: LinearGaussianProcess, spectrum: DataSpectrum | None = None) -> Groups:
    """Return which coefficients bands are made of; arguments and errors as in `log_snr_bands`."""
    basis = process.basis if spectrum is None else _common_basis(process, spectrum)
    label, position = _positions(process, basis)
    distinct, group = torch.unique(position, return_inverse=True)
    if len(distinct) > _BANDS:
        edges = torch.linspace(distinct[0].item(), distinct[-1].item(), _BANDS + 1, dtype=distinct.dtype)
        group = torch.bucketize(position, edges[1:-1], right=True).unique(return_inverse=True)[1]
    sums = torch.zeros(int(group.max()) + 1, dtype=position.dtype).index_add_(0, group, position)
    return Groups(label, sums / torch.bincount(group), group)


def log_snr_along(process: LinearGaussianProcess, times: Float[Tensor, " times"], step: tuple[int, ...]) -> Bands:
    """Return the log-SNR over time of the frequencies in one direction from the lowest one.

    Args:
        process: a process in a cosine, sine, Fourier or Hartley basis.
        times: times in [0, 1], (times,).
        step: what is added to the coefficient's index along each transformed axis, -1, 0 or 1: (1, 0) is up and down,
            and in plane waves (1, 1) to the lower right.
    """
    basis = process.basis
    assert isinstance(basis, LaplacianBasis)
    sizes = torch.tensor(basis.shape[-basis.axes :])
    along = torch.tensor(step)
    # Beyond the middle of plane waves are those of the opposite direction.
    count = int(sizes[along != 0].min())
    count = count // 2 + 1 if isinstance(basis, HartleyBasis) else count
    index = torch.arange(count)[:, None] * along % sizes
    parts = [table[index[:, axis]] * abs(step[axis]) for axis, table in enumerate(basis.axis_eigenvalues())]
    frequency = sum(parts, torch.zeros(())).sqrt() / (2 * torch.pi)
    strides = torch.tensor([math.prod(sizes[axis + 1 :].tolist()) for axis in range(basis.axes)])
    values = _log_snr_of(process, (index * strides).sum(1), times)
    # Sine and cosine of one frequency are one row.
    distinct, first = _firsts(frequency.mul(1e6).round().div(1e6))
    return Bands(_frequency_label(basis), distinct, values[first])


def _frequency_label(basis: LaplacianBasis) -> str:
    return f"frequency (cycles per {_PLACES[basis.axes]})"


def _firsts(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct numbers, rising, and where each occurs first."""
    distinct, group = torch.unique(numbers, return_inverse=True)
    return distinct, torch.stack([(group == i).nonzero()[0, 0] for i in range(len(distinct))])


def _log_snr_of(process: LinearGaussianProcess, coefficients: Tensor, times: Tensor) -> Tensor:
    """Return the log-SNR of some coefficients, numbered in row-major order, (coefficients, times)."""
    rows = [process.log_snr(t)[0].expand(process.shape).flatten()[coefficients] for t in times.tolist()]
    return torch.stack(rows, dim=1).cpu()


def _common_basis(process: LinearGaussianProcess, spectrum: DataSpectrum) -> Basis:
    """Return the basis in which both the process and the spectrum are diagonal."""
    if spectrum.basis.agrees_with(process.basis):
        return process.basis
    log_snr = process.log_snr(torch.tensor([0.25, 0.75], dtype=torch.float64)).flatten(1)
    if spectrum.basis.shape != process.shape or not torch.equal(log_snr.amin(1), log_snr.amax(1)):
        msg = (
            f"a spectrum in {spectrum.basis} says nothing of the coefficients of {process.basis}: estimate it there,"
            " estimate_spectrum(process.basis, data)"
        )
        raise ValueError(msg)
    return spectrum.basis


def _positions(process: LinearGaussianProcess, basis: Basis) -> tuple[str, Tensor]:
    """Return what bands are made of, a number for each coefficient, flattened."""
    if isinstance(basis, LaplacianBasis):
        frequency = basis.laplacian_eigenvalues().sqrt() / (2 * torch.pi)
        return _frequency_label(basis), frequency.expand(process.shape).flatten().mul(1e6).round().div(1e6)
    if isinstance(basis, HaarBasis):
        scale = basis.scale_index().double()
        return "octave (0: block means)", (basis.scales + 1 - scale).expand(process.shape).flatten()
    if isinstance(basis, EigenBasis):
        return "eigenvalue", basis.eigenvalues().cpu().expand(process.shape).flatten().mul(1e6).round().div(1e6)
    durability = torch.zeros(process.shape, dtype=torch.float64).flatten()
    for t in torch.linspace(0, 1, _ORDERING).tolist():
        # Infinite log-SNRs count as far beyond all others.
        durability += process.log_snr(t)[0].expand(process.shape).flatten().cpu().clamp(-1e6, 1e6) / _ORDERING
    if float(durability.max() - durability.min()) <= 1e-6 * (1 + float(durability.abs().max())):
        return "all coefficients", torch.zeros_like(durability)
    return "coefficients, most durable first", durability.argsort(descending=True).argsort().double()
