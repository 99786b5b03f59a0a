"""Figures of spectra: of images beside each other, and of data on their way into the noise of a process.

Needs matplotlib, which `pip install 'unmelt[recipes]'` brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from ..degradations import DataSpectrum, LinearGaussianProcess
from ..degradations.drawing import draw_log_snr_map
from .drowning import drowning, latent_variances
from .power_spectrum import PowerSpectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 4.2, 3.4
# Of a column's width, what the colour bar takes and the gap before it.
_BAR, _GAP = 0.15, 0.05
_TIMES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#8d5a97", "#b07d2b", "#444444")
_FREQUENCY, _POWER = "frequency (cycles per pixel)", "power per coefficient (squared data units)"
# A spectrum's axis ends this far below its lowest curve of data.
_BELOW = 10.0
_LEGEND = """Above: how much of images, and of latents on
their way, lies at each frequency.

Here: log-SNR, signal over noise, at each time.
Red: the signal prevails, and can be seen.
Blue: it has drowned.
Black line: when that happens.

A line that falls to the right: what is fine
drowns first, and is drawn last."""


def draw_spectra(axis: Axes, spectra: Mapping[str, PowerSpectrum], *, power_law: str | None = None) -> None:
    """Draw spectra over each other, with bands of two standard errors, on logarithmic axes.

    Args:
        axis: matplotlib axes.
        spectra: by what they are called; the constant is left out.
        power_law: of which of them the power law is drawn, dashed; None draws none.
    """
    for (name, spectrum), colour in zip(spectra.items(), _COLOURS, strict=False):
        f, power, error = (part[1:].numpy() for part in (spectrum.frequency, spectrum.power, spectrum.error))
        axis.loglog(f, power, color=colour, linewidth=1.4, label=name)
        axis.fill_between(f, (power - 2 * error).clip(1e-300), power + 2 * error, color=colour, alpha=0.25, linewidth=0)
        if name == power_law:
            law = spectrum.power_law()
            label = f"f^-{law.exponent:.2f}"
            axis.loglog(f, law(spectrum.frequency[1:]).numpy(), "--", color="0.4", linewidth=1, label=label)
    _finish(axis, _FREQUENCY)
    axis.set_ylabel(_POWER, fontsize=8)
    axis.legend(fontsize=8, frameon=False)


def draw_marginals(axis: Axes, process: LinearGaussianProcess, spectrum: DataSpectrum) -> None:
    """Draw the variance of latents by frequency at six times, the noise's share dotted.

    Args:
        axis: matplotlib axes.
        process: the process.
        spectrum: the data's, in the process's basis, or any where the process treats all coefficients alike.
    """
    from matplotlib import colormaps  # noqa: PLC0415

    found = latent_variances(process, spectrum, torch.tensor(_TIMES))
    by_frequency = found.label.startswith("frequency")
    chosen = found.positions > 0 if by_frequency else found.positions > -1
    f, rows = found.positions[chosen].numpy(), zip(_TIMES, found.signal, found.noise, strict=True)
    for place, (t, signal, noise) in enumerate(rows):
        colour = colormaps["viridis"](0.92 * place / (len(_TIMES) - 1))
        axis.plot(f, (signal + noise)[chosen].numpy(), color=colour, linewidth=1.4, label=f"t = {t:g}")
        axis.plot(f, noise[chosen].numpy(), ":", color=colour, linewidth=1)
    axis.set_yscale("log")
    if by_frequency:
        axis.set_xscale("log")
    _finish(axis, found.label)
    axis.set_ylim(bottom=found.signal[0, chosen].min().item() / _BELOW)
    axis.set_ylabel("variance of latents (dotted: of noise)", fontsize=8)
    axis.legend(fontsize=7, frameon=False, ncols=2)


def draw_drowning(
    processes: Mapping[str, tuple[LinearGaussianProcess, DataSpectrum]],
    spectra: Mapping[str, PowerSpectrum],
    *,
    title: str = "",
) -> Figure:
    """Return a figure: spectra of images, and for each process the latents' spectra and when each frequency drowns.

    Args:
        processes: by name, each with the data's spectrum in its basis.
        spectra: of images, by what they are called; the power law of the first is drawn.
        title: over all of it.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = 1 + len(processes)
    figure = Figure(figsize=(_WIDTH * columns, 2 * _HEIGHT if processes else _HEIGHT), layout="constrained")
    grid = figure.subplots(2 if processes else 1, columns, squeeze=False)
    draw_spectra(grid[0][0], spectra, power_law=next(iter(spectra)))
    grid[0][0].set_title("images", fontsize=9)
    if processes:
        _explain(grid[1][0])
    mesh = None
    for column, (name, (process, spectrum)) in enumerate(processes.items(), 1):
        draw_marginals(grid[0][column], process, spectrum)
        grid[0][column].set_title(name, fontsize=9)
        found = drowning(process, spectrum)
        mesh = draw_log_snr_map(grid[1][column], found.bands, found.times)
        _small(grid[1][column])
    if mesh is not None:
        # Shares of the width of all columns: matplotlib's own would leave much of it white.
        bar = figure.colorbar(mesh, ax=list(grid[1]), extend="both", fraction=_BAR / columns, pad=_GAP / columns)
        bar.set_label("log-SNR of the data (nats)")
        _small(bar.ax)
    figure.suptitle(title, fontsize=10)
    return figure


def _finish(axis: Axes, label: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415

    # Over less than two decades the ticks between the decades would have labels that touch.
    if axis.get_xscale() == "log":
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(label)
    _small(axis)
    axis.spines[["top", "right"]].set_visible(False)


def _small(axis: Axes) -> None:
    """Write numbers and names of axes as small as those of the other panels."""
    axis.tick_params(labelsize=7)
    for side in (axis.xaxis, axis.yaxis):
        side.label.set_fontsize(8)


def _explain(axis: Axes) -> None:
    """Say in an empty place how the maps are read."""
    axis.set_axis_off()
    axis.text(0, 1, _LEGEND, va="top", fontsize=8.5, color="0.25", linespacing=1.5, wrap=True)
