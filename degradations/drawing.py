"""Pictures of a process: what it does to an image, and how fast each of its frequencies drowns in noise.

Needs matplotlib, which `pip install 'unmelt[recipes]'` brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .bases import EigenBasis, HaarBasis, SeparableBasis
from .process import LinearGaussianProcess

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BANDS = 48
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
    """Return the log-SNR over time of at most 48 bands of coefficients.

    Bands are frequencies where the basis has them, scales for a Haar basis, eigenvalues for an eigenbasis; elsewhere
    coefficients are put in the order of their log-SNR.

    Args:
        process: the process.
        times: times in [0, 1], (times,).
    """
    values = torch.stack([process.log_snr(t)[0].expand(process.shape).flatten() for t in times.tolist()]).cpu()
    label, position = _positions(process, values)
    distinct, group = torch.unique(position, return_inverse=True)
    if len(distinct) > _BANDS:
        edges = torch.linspace(distinct[0].item(), distinct[-1].item(), _BANDS + 1, dtype=distinct.dtype)
        group = torch.bucketize(position, edges[1:-1], right=True)
    used = group.unique()
    centres = torch.stack([position[group == band].mean() for band in used])
    medians = torch.stack([values[:, group == band].median(dim=1).values for band in used])
    return Bands(label, centres, medians)


def _positions(process: LinearGaussianProcess, log_snr: Tensor) -> tuple[str, Tensor]:
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
    # Infinite log-SNRs count as far beyond all others.
    durability = log_snr.clamp(-1e6, 1e6).mean(0)
    if float(durability.max() - durability.min()) <= 1e-6 * (1 + float(durability.abs().max())):
        return "all coefficients", torch.zeros_like(durability)
    rank = durability.argsort(descending=True).argsort().double()
    return "coefficients, most durable first", rank


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
        z = process.corrupt(x, noise, t) if t else x
        pixels = ((z - low) / (1 - low)).clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()
        axis.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
        axis.set_axis_off()
        axis.set_title(f"t = {t:.2g}", fontsize=8, color="0.3")


def draw_log_snr_map(axis: Axes, process: LinearGaussianProcess) -> None:
    """Draw the log-SNR over time (across) and frequency (upwards), red where signal prevails and blue where noise does.

    Args:
        axis: matplotlib axes.
        process: the process.
    """
    times = torch.linspace(0, 1, 201, dtype=torch.float64)
    bands = log_snr_bands(process, times)
    shown = bands.log_snr.clamp(-_LIMIT, _LIMIT)
    edges = _edges(bands.positions)
    mesh = axis.pcolormesh(
        times.numpy(), edges.numpy(), _between(shown).numpy(), cmap="RdBu_r", vmin=-_LIMIT, vmax=_LIMIT, rasterized=True
    )
    crossings = _crossings(times, shown).repeat_interleave(2)
    axis.plot(crossings.numpy(), edges.repeat_interleave(2)[1:-1].numpy(), "k", linewidth=1)
    axis.set_xlabel("t")
    axis.set_ylabel(bands.label)
    if len(shown) == 1:
        axis.set_yticks([])
    figure = axis.get_figure()
    assert figure is not None
    bar = figure.colorbar(mesh, ax=axis, extend="both")
    bar.set_label("log-SNR (nats); black: signal = noise")


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

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    places = figure.add_gridspec(2, 1, height_ratios=(1.15, 3))
    strip, below = figure.add_subfigure(places[0]), figure.add_subfigure(places[1])
    draw_forward(list(strip.subplots(1, 8)), process, image, low)
    strip.suptitle(title, fontsize=10)
    draw_log_snr_map(below.subplots(), process)
    return figure
