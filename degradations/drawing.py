"""Pictures of a process: what it does to an image, and how fast each of its frequencies drowns in noise.

Needs matplotlib, which `pip install 'unmelt[recipes]'` brings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .bases import EigenBasis, HaarBasis, SeparableBasis
from .process import LinearGaussianProcess

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

# Bands of frequencies in a map, coefficients of each that are looked at, and times that tell which last longest.
_BANDS, _MEMBERS, _ORDERING = 48, 64, 33
# Beyond 20 nats either way a coefficient is as good as whole, or as good as gone.
_LIMIT = 20.0


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


def log_snr_bands(process: LinearGaussianProcess, times: Float[Tensor, " times"]) -> Bands:
    """Return the log-SNR over time of at most 48 bands of coefficients, the median over (some of) each band's.

    Bands are frequencies where the basis has them, scales for a Haar basis, eigenvalues for an eigenbasis; elsewhere
    coefficients are put in the order of their log-SNR.

    Args:
        process: the process.
        times: times in [0, 1], (times,).
    """
    label, position = _positions(process)
    distinct, group = torch.unique(position, return_inverse=True)
    if len(distinct) > _BANDS:
        edges = torch.linspace(distinct[0].item(), distinct[-1].item(), _BANDS + 1, dtype=distinct.dtype)
        group = torch.bucketize(position, edges[1:-1], right=True)
    # A few coefficients of each band, evenly spread over it, tell its median: large images have millions.
    members = [(group == band).nonzero().flatten() for band in group.unique()]
    chosen = [m[torch.linspace(0, len(m) - 1, min(len(m), _MEMBERS)).round().long()] for m in members]
    values = _log_snr_of(process, torch.cat(chosen), times)
    medians = [part.median(dim=0).values for part in values.split([len(c) for c in chosen])]
    return Bands(label, torch.stack([position[m].mean() for m in members]), torch.stack(medians))


def log_snr_along(process: LinearGaussianProcess, times: Float[Tensor, " times"], axis: int) -> Bands:
    """Return the log-SNR over time of the frequencies along one axis, at the lowest frequency of all others.

    Args:
        process: a process in a cosine, sine or Fourier basis.
        times: times in [0, 1], (times,).
        axis: which of the transformed axes, 0 being the first.
    """
    assert isinstance(process.basis, SeparableBasis)
    frequency = process.basis.axis_eigenvalues()[axis].sqrt() / (2 * torch.pi)
    place = torch.zeros(len(frequency), len(process.shape), dtype=torch.long)
    place[:, axis - process.basis.axes] = torch.arange(len(frequency))
    strides = torch.tensor([math.prod(process.shape[i + 1 :]) for i in range(len(process.shape))])
    values = _log_snr_of(process, (place * strides).sum(1), times)
    # Sine and cosine of one frequency are one row.
    distinct, first = _firsts(frequency.mul(1e6).round().div(1e6))
    return Bands("frequency (cycles per pixel)", distinct, values[first])


def _firsts(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct numbers, rising, and where each occurs first."""
    distinct, group = torch.unique(numbers, return_inverse=True)
    return distinct, torch.stack([(group == i).nonzero()[0, 0] for i in range(len(distinct))])


def _log_snr_of(process: LinearGaussianProcess, coefficients: Tensor, times: Tensor) -> Tensor:
    """Return the log-SNR of some coefficients, numbered in row-major order, (coefficients, times)."""
    rows = [process.log_snr(t)[0].expand(process.shape).flatten()[coefficients] for t in times.tolist()]
    return torch.stack(rows, dim=1).cpu()


def _positions(process: LinearGaussianProcess) -> tuple[str, Tensor]:
    """Return what bands are made of, a number for each coefficient, flattened."""
    basis = process.basis
    if isinstance(basis, SeparableBasis):
        frequency = basis.laplacian_eigenvalues().sqrt() / (2 * torch.pi)
        return "frequency (cycles per pixel)", frequency.expand(process.shape).flatten().mul(1e6).round().div(1e6)
    if isinstance(basis, HaarBasis):
        scale = basis.scales().double()
        return "octave (0: block means)", (basis.levels + 1 - scale).expand(process.shape).flatten()
    if isinstance(basis, EigenBasis):
        return "eigenvalue", basis.eigenvalues().cpu().expand(process.shape).flatten().mul(1e6).round().div(1e6)
    durability = torch.zeros(process.shape, dtype=torch.float64).flatten()
    for t in torch.linspace(0, 1, _ORDERING).tolist():
        # Infinite log-SNRs count as far beyond all others.
        durability += process.log_snr(t)[0].expand(process.shape).flatten().cpu().clamp(-1e6, 1e6) / _ORDERING
    if float(durability.max() - durability.min()) <= 1e-6 * (1 + float(durability.abs().max())):
        return "all coefficients", torch.zeros_like(durability)
    return "coefficients, most durable first", durability.argsort(descending=True).argsort().double()


def draw_forward(axes: list[Axes], process: LinearGaussianProcess, image: Float[Tensor, "..."], low: float) -> None:
    """Draw an image degraded at evenly spaced times, one on each of `axes`.

    Args:
        axes: matplotlib axes, at least two.
        process: the process, of the image's shape.
        image: the image in [0, 1], (channels, height, width), 1 or 3 channels.
        low: what black is to the process, -1 or 0; white is 1.
    """
    x = image[None] * (1 - low) + low
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    times = torch.linspace(0, 1, len(axes)).tolist()
    for axis, t in zip(axes, times, strict=True):
        z = process.corrupt(x, noise, t)
        pixels = ((z - low) / (1 - low)).clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()
        axis.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
        axis.set_axis_off()
        axis.set_title(f"t = {t:.2g}", fontsize=8, color="0.3")


def draw_log_snr_map(axis: Axes, bands: Bands, times: Float[Tensor, " times"]) -> QuadMesh:
    """Draw the log-SNR over time (across) and frequency (upwards), red where signal prevails and blue where noise does.

    Args:
        axis: matplotlib axes.
        bands: the log-SNR of bands at `times`.
        times: the times, (times,).

    Returns:
        The coloured cells, for a colour bar.
    """
    shown = bands.log_snr.clamp(-_LIMIT, _LIMIT)
    edges = _edges(bands.positions)
    colours = {"cmap": "RdBu_r", "vmin": -_LIMIT, "vmax": _LIMIT}
    mesh = axis.pcolormesh(times.numpy(), edges.numpy(), _between(shown).numpy(), rasterized=True, **colours)
    crossings = _crossings(times, shown).repeat_interleave(2)
    axis.plot(crossings.numpy(), edges.repeat_interleave(2)[1:-1].numpy(), "k", linewidth=1)
    if bool((bands.log_snr == torch.inf).all()):
        axis.text(0.5, float(edges.mean()), "no noise: infinite", ha="center", color="white")
    axis.set_xlabel("t")
    axis.set_ylabel(bands.label)
    if len(shown) == 1:
        axis.set_yticks([])
    return mesh


def _between(log_snr: Tensor) -> Tensor:
    """Return the mean of neighbouring times, the colour of the cell between them."""
    return (log_snr[:, 1:] + log_snr[:, :-1]) / 2


def _crossings(times: Tensor, log_snr: Tensor) -> Tensor:
    """Return the time at which each band's log-SNR falls below 0, NaN if it never does or always was, (bands,)."""
    below = log_snr < 0
    first = below.int().argmax(1)
    return torch.where(below.any(1) & (first > 0), times[first], torch.nan)


def _between(log_snr: Tensor) -> Tensor:
    """Return the mean of neighbouring times, the colour of the cell between them."""
    return (log_snr[:, 1:] + log_snr[:, :-1]) / 2


def _edges(positions: Tensor) -> Tensor:
    """Return the borders of cells around rising positions, one more than these."""
    if len(positions) == 1:
        return torch.tensor([-0.5, 0.5])
    middle = (positions[1:] + positions[:-1]) / 2
    first, last = positions[0] - (middle[0] - positions[0]), positions[-1] + (positions[-1] - middle[-1])
    return torch.cat([first[None], middle, last[None]])


def draw_process(process: LinearGaussianProcess, image: Float[Tensor, "..."], *, low: float, title: str) -> Figure:
    """Return a figure of a process: an image degraded step by step, and under it the map of its log-SNR.

    Args:
        process: the process, of the image's shape.
        image: the image in [0, 1], (channels, height, width), 1 or 3 channels.
        low: what black is to the process, -1 or 0; white is 1.
        title: the figure's title.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(12, 6), layout="constrained")
    places = figure.add_gridspec(2, 1, height_ratios=(1.5, 3))
    strip, below = figure.add_subfigure(places[0]), figure.add_subfigure(places[1])
    draw_forward(list(strip.subplots(1, 8)), process, image, low)
    strip.suptitle(title, fontsize=10)
    times = torch.linspace(0, 1, 201, dtype=torch.float64)
    maps = _maps(process, times)
    panels: list[Axes] = list(np.ravel(below.subplots(1, len(maps), sharey=True)))
    for axis, (name, bands) in zip(panels, maps.items(), strict=True):
        mesh = draw_log_snr_map(axis, bands, times)
        axis.set_title(name, fontsize=9)
    bar = below.colorbar(mesh, ax=panels, extend="both")
    bar.set_label("log-SNR of a coefficient of size 1 (nats)\nblack line: signal = noise", fontsize=9)
    return figure


def _maps(process: LinearGaussianProcess, times: Tensor) -> dict[str, Bands]:
    """Return one map of all frequencies, or one for each direction if these differ in an image."""
    basis = process.basis
    if isinstance(basis, SeparableBasis) and basis.axes == 2:
        down, across = (log_snr_along(process, times, axis) for axis in (0, 1))
        if not _alike(down, across):
            return {"detail up and down": down, "detail across": across}
    return {"": log_snr_bands(process, times)}


def _alike(ours: Bands, theirs: Bands) -> bool:
    """Tell whether two directions have the same log-SNR at the frequencies closest to each other."""
    nearest = (ours.positions[:, None] - theirs.positions).abs().argmin(1)
    same = (ours.positions - theirs.positions[nearest]).abs() < 1e-6
    a, b = (values.clamp(-_LIMIT, _LIMIT) for values in (ours.log_snr[same], theirs.log_snr[nearest[same]]))
    return bool(same.sum() < 2) or torch.allclose(a, b, rtol=1e-6, atol=1e-6)
