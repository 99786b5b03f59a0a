"""Pictures of a process: what it does to a signal, and how fast each of its frequencies drowns in noise.

Needs matplotlib, which `pip install 'unmelt[recipes]'` brings.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_floating
from ..core.notebook import shown
from .bands import Bands, drowned_at, log_snr_along, log_snr_bands
from .bases import CosineBasis, HartleyBasis, LaplacianBasis
from .patterns import pattern
from .process import LinearGaussianProcess

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure, SubFigure

# Beyond 20 nats either way a coefficient is as good as whole, or as good as gone.
_LIMIT = 20.0

# Times at which an image or volume is shown, side by side, and a signal, one below the other; slices of a volume.
_COLUMNS, _ROWS, _SLICES = 8, 6, 3
# Inches: of the figure, of the map, and of what stands over images; and between which an image's height is kept.
_WIDTH, _MAP, _HEADING, _LOWEST, _HIGHEST = 12, 4, 0.5, 0.5, 2.5
_GREY = "0.3"
# The known end of a drawn process is the signal, blurred by such a part of its last axis.
_BLURRED = 12
# Families whose papers scale data to [0, 1], and so do their default noises; the others take [-1, 1].
_FROM_ZERO = 0.1
# Channels of a signal that a legend tells apart.
_MOST_NAMED = 6

# Directions in which frequencies may differ; of plane waves, with a step of the coefficient's index in each.
_DIRECTIONS = ("detail in depth", "detail up and down", "detail across")
_SLANTED = {"detail to the upper right": (-1, 1), "detail to the lower right": (1, 1)}


def draw_process(
    process: LinearGaussianProcess,
    x: Float[Tensor, "..."],
    *,
    data_range: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Return a figure of a process: a signal degraded step by step, and the log-SNR of every frequency over time.

    Of an image the whole is shown at eight times, of a volume three slices; of a signal of one axis its curve at six
    times. Noise is the same at all times and in every call. `draw_process(process, x).savefig("process.png")` keeps
    it; a notebook shows it after `%matplotlib inline`.

    Args:
        process: the process, of the shape of `x`.
        x: one signal (channels, length) or (length,), image (channels, height, width) or volume (channels, depth,
            height, width), as the process takes it. Three channels of an image are red, green and blue; of other
            numbers of channels the mean is shown.
        data_range: numbers shown black and white, and the least range of a curve's axis. The lowest and highest number
            of `x` if None.
        title: the figure's title; the process's class and shape if None.

    Raises:
        TypeError: `x` is not of floating point.
        ValueError: `x` is not of the process's shape or of none that can be drawn, has a number that is not finite,
            or there is nothing between the ends of `data_range`.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    low_and_high = _checked_range(process, x, data_range)
    # Else the ticks of maps side by side would touch.
    figure = Figure(layout=ConstrainedLayoutEngine(wspace=0.04))
    if x.ndim <= 2:
        figure.set_size_inches(_WIDTH, 6)
        places = figure.add_gridspec(1, 2)
        shown, maps = figure.add_subfigure(places[0]), figure.add_subfigure(places[1])
        _draw_curves(shown, process, x, low_and_high)
    else:
        rows = min(_SLICES, x.shape[1]) if x.ndim == 4 else 1
        height = _HEADING + rows * min(max(x.shape[-2] / x.shape[-1] * _WIDTH / _COLUMNS, _LOWEST), _HIGHEST)
        figure.set_size_inches(_WIDTH, height + _MAP)
        places = figure.add_gridspec(2, 1, height_ratios=(height, _MAP))
        shown, maps = figure.add_subfigure(places[0]), figure.add_subfigure(places[1])
        if x.ndim == 4:
            _draw_slices(shown, process, x, low_and_high)
        else:
            draw_forward(list(shown.subplots(1, _COLUMNS)), process, x, low_and_high)
    figure.suptitle(title or f"{process.called}, {tuple(x.shape)}", fontsize=10)
    _draw_maps(maps, process)
    return figure


def draw_example(process: LinearGaussianProcess) -> str | None:
    """Return HTML that shows a process in a notebook; None where it cannot be drawn, or matplotlib is not there."""
    if not 1 <= len(process.shape) <= 4 or find_spec("matplotlib") is None:
        return None
    example = pattern(process.shape)
    low = range_for(process)[0]
    x = low + (1 - low) * example if len(process.shape) > 2 else example
    return shown(draw_process(process, x), f"{process.called} on a built-in example of shape {process.shape}")


def range_for(process: LinearGaussianProcess) -> tuple[float, float]:
    """Return the range of data that a process is made for: from 0 where its noise stays small, else from -1, to 1."""
    small = process.sigma(1.0).max().item() <= _FROM_ZERO
    return (0.0 if small else -1.0), 1.0


def _checked_range(
    process: LinearGaussianProcess, x: Tensor, data_range: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the range that is shown, once it and the signal are known to be what they should."""
    check_floating("x", x)
    if tuple(x.shape) != process.shape:
        msg = f"x must be one signal of the process's shape {process.shape}, without a batch axis, got {tuple(x.shape)}"
        raise ValueError(msg)
    if not 1 <= x.ndim <= 4:
        msg = (
            "what can be drawn is a signal (channels, length), an image (channels, height, width) or a volume"
            f" (channels, depth, height, width), got shape {tuple(x.shape)}"
        )
        raise ValueError(msg)
    if not bool(x.isfinite().all()):
        msg = f"x must be finite, got {x[~x.isfinite()][0].item()}"
        raise ValueError(msg)
    low, high = (x.min().item(), x.max().item()) if data_range is None else data_range
    if not low < high:
        what = f"all of x is {low:g}: give data_range" if data_range is None else f"got data_range=({low:g}, {high:g})"
        msg = f"the range that is shown must rise from black to white, and {what}"
        raise ValueError(msg)
    return low, high


def draw_forward(
    axes: list[Axes],
    process: LinearGaussianProcess,
    image: Float[Tensor, "channels height width"],
    data_range: tuple[float, float],
) -> None:
    """Draw an image degraded at evenly spaced times, one on each of `axes`.

    Args:
        axes: matplotlib axes, at least two.
        process: the process, of the image's shape.
        image: the image, (channels, height, width), as the process takes it.
        data_range: numbers shown black and white.
    """
    for axis, (t, z) in zip(axes, _degraded(process, image, len(axes)), strict=True):
        _show(axis, z, data_range)
        axis.set_title(f"t = {t:.2g}", fontsize=8, color=_GREY)


def _degraded(process: LinearGaussianProcess, x: Tensor, count: int) -> Iterable[tuple[float, Tensor]]:
    """Yield evenly spaced times from 0 to 1, and the signal at each."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype).to(x.device)
    end = example_end(process, x[None])
    for t in torch.linspace(0, 1, count).tolist():
        yield t, process.corrupt(x[None], noise[None], t, given=end)[0].detach().cpu()


def example_end(process: LinearGaussianProcess, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."] | None:
    """Return what a process with a known end is drawn with: the signals, blurred by a twelfth of their last axis."""
    if not process.known_end:
        return None
    basis = CosineBasis(process.shape, axes=max(1, len(process.shape) - 1))
    fade = (-basis.laplacian_eigenvalues() * (process.shape[-1] / _BLURRED) ** 2 / 2).exp()
    return basis.to(x.device).combine((x, fade[None].to(x.device)))


def _show(axis: Axes, image: Tensor, data_range: tuple[float, float]) -> None:
    low, high = data_range
    shown = ((image - low) / (high - low)).clamp(0, 1)
    pixels = shown.permute(1, 2, 0) if len(shown) == 3 else shown.mean(0)
    axis.imshow(pixels.float().numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()


def _draw_slices(
    figure: SubFigure, process: LinearGaussianProcess, volume: Tensor, data_range: tuple[float, float]
) -> None:
    """Draw slices of a volume, one below the other, at times side by side."""
    depth = volume.shape[1]
    count = min(_SLICES, depth)
    # In the middle of each stretch: the ends of a volume are often empty.
    chosen = [(2 * index + 1) * depth // (2 * count) for index in range(count)]
    grid = figure.subplots(count, _COLUMNS, squeeze=False)
    for column, (t, z) in enumerate(_degraded(process, volume, _COLUMNS)):
        for axis, place in zip(grid[:, column], chosen, strict=True):
            _show(axis, z[:, place], data_range)
        grid[0, column].set_title(f"t = {t:.2g}", fontsize=8, color=_GREY)
    for axis, place in zip(grid[:, 0], chosen, strict=True):
        words = f"slice {place + 1} of {depth}"
        axis.text(-0.06, 0.5, words, transform=axis.transAxes, rotation=90, va="center", ha="right", fontsize=8)


def _draw_curves(
    figure: SubFigure, process: LinearGaussianProcess, signal: Tensor, data_range: tuple[float, float]
) -> None:
    """Draw the curves of a signal's channels at times from top to bottom, on the data's scale or a larger one."""
    axes: list[Axes] = list(figure.subplots(_ROWS, 1, sharex=True))
    for axis, (t, z) in zip(axes, _degraded(process, signal, len(axes)), strict=True):
        for number, values in enumerate(z.reshape(-1, z.shape[-1]).float().numpy()):
            axis.plot(values, linewidth=0.8, label=f"channel {number}")
        low, high = min(data_range[0], z.min().item()), max(data_range[1], z.max().item())
        axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axis.set_ylabel(f"t = {t:.2g}", fontsize=8, color=_GREY, rotation=0, ha="right", va="center")
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0)
    axes[-1].set_xlabel("sample", fontsize=9)
    figure.align_ylabels(axes)
    if 1 < len(axes[0].get_lines()) <= _MOST_NAMED:
        axes[0].legend(fontsize=7, ncols=_MOST_NAMED, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)


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
    crossings = drowned_at(times, shown)
    # What never falls, or always was below, has no line.
    crossings = torch.where((crossings > 0) & crossings.isfinite(), crossings, torch.nan).repeat_interleave(2)
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


def _edges(positions: Tensor) -> Tensor:
    """Return the borders of cells around rising positions, one more than these."""
    if len(positions) == 1:
        return torch.tensor([-0.5, 0.5])
    middle = (positions[1:] + positions[:-1]) / 2
    first, last = positions[0] - (middle[0] - positions[0]), positions[-1] + (positions[-1] - middle[-1])
    return torch.cat([first[None], middle, last[None]])


def _draw_maps(figure: SubFigure, process: LinearGaussianProcess) -> None:
    """Draw the log-SNR of all frequencies, a map for each direction if these differ."""
    times = torch.linspace(0, 1, 201, dtype=torch.float64)
    maps = _maps(process, times)
    panels: list[Axes] = list(np.ravel(figure.subplots(1, len(maps), sharey=True)))
    meshes = [draw_log_snr_map(axis, bands, times) for axis, bands in zip(panels, maps.values(), strict=True)]
    for axis, name in zip(panels, maps, strict=True):
        axis.set_title(name, fontsize=9)
        axis.label_outer()
    bar = figure.colorbar(meshes[0], ax=panels, extend="both")
    bar.set_label("log-SNR of a coefficient of size 1 (nats)\nblack line: signal = noise", fontsize=9)


def _maps(process: LinearGaussianProcess, times: Tensor) -> dict[str, Bands]:
    """Return one map of all frequencies, or one for each direction if these differ."""
    basis = process.basis
    if isinstance(basis, LaplacianBasis) and basis.axes > 1:
        steps = torch.eye(basis.axes, dtype=torch.int64).tolist()
        along = dict(zip(_DIRECTIONS[-basis.axes :], map(tuple, steps), strict=True))
        slanted = [_SLANTED] if isinstance(basis, HartleyBasis) and basis.axes == 2 else []
        for directions in (along, *slanted):
            maps = {name: log_snr_along(process, times, step) for name, step in directions.items()}
            first, *others = maps.values()
            if not all(_alike(first, other) for other in others):
                return maps
    return {"": log_snr_bands(process, times)}


def _alike(ours: Bands, theirs: Bands) -> bool:
    """Tell whether two directions have the same log-SNR at the frequencies closest to each other."""
    nearest = (ours.positions[:, None] - theirs.positions).abs().argmin(1)
    same = (ours.positions - theirs.positions[nearest]).abs() < 1e-6
    a, b = (values.clamp(-_LIMIT, _LIMIT) for values in (ours.log_snr[same], theirs.log_snr[nearest[same]]))
    return bool(same.sum() < 2) or torch.allclose(a, b, rtol=1e-6, atol=1e-6)
