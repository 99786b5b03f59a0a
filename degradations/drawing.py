"""Pictures of a process: what it does to an image, and how fast each of its frequencies drowns in noise.

Needs matplotlib, which `pip install 'unmelt[recipes]'` brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .bands import Bands, log_snr_along, log_snr_bands
from .bases import HartleyBasis, LaplacianBasis
from .process import LinearGaussianProcess

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

# Beyond 20 nats either way a coefficient is as good as whole, or as good as gone.
_LIMIT = 20.0

# Directions in which frequencies of images may differ, and a step of the coefficient's index in each.
_ALONG_AXES = {"detail up and down": (1, 0), "detail across": (0, 1)}
_SLANTED = {"detail to the upper right": (-1, 1), "detail to the lower right": (1, 1)}


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
    cells = _between(shown).numpy()
    mesh = axis.pcolormesh(
        times.numpy(), edges.numpy(), cells, cmap="RdBu_r", vmin=-_LIMIT, vmax=_LIMIT, rasterized=True
    )
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
    meshes = [draw_log_snr_map(axis, bands, times) for axis, bands in zip(panels, maps.values(), strict=True)]
    for axis, name in zip(panels, maps, strict=True):
        axis.set_title(name, fontsize=9)
    bar = below.colorbar(meshes[0], ax=panels, extend="both")
    bar.set_label("log-SNR of a coefficient of size 1 (nats)\nblack line: signal = noise", fontsize=9)
    return figure


def _maps(process: LinearGaussianProcess, times: Tensor) -> dict[str, Bands]:
    """Return one map of all frequencies, or one for each direction if these differ in an image."""
    basis = process.basis
    if isinstance(basis, LaplacianBasis) and basis.axes == 2:
        for directions in (_ALONG_AXES, _SLANTED) if isinstance(basis, HartleyBasis) else (_ALONG_AXES,):
            maps = {name: log_snr_along(process, times, step) for name, step in directions.items()}
            if not _alike(*maps.values()):
                return maps
    return {"": log_snr_bands(process, times)}


def _alike(ours: Bands, theirs: Bands) -> bool:
    """Tell whether two directions have the same log-SNR at the frequencies closest to each other."""
    nearest = (ours.positions[:, None] - theirs.positions).abs().argmin(1)
    same = (ours.positions - theirs.positions[nearest]).abs() < 1e-6
    a, b = (values.clamp(-_LIMIT, _LIMIT) for values in (ours.log_snr[same], theirs.log_snr[nearest[same]]))
    return bool(same.sum() < 2) or torch.allclose(a, b, rtol=1e-6, atol=1e-6)
