"""The figures of the comparison: over calls, over frequency, and samples side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cells import Cell, best, called, in_order, values
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter
from PIL import Image, ImageDraw, ImageFont

# With so many samples a cell is drawn beside others of as many.
_MANY = 1000
# Of fewer samples these come out otherwise, whatever the samples are worth.
_OF_EQUAL_COUNTS = {"Frechet distance", "precision"}
_DRAWN = ("Frechet distance", "energy distance", "precision", "recognised")
# Told apart without colour, too.
_STYLES = (
    ("#1b6ca8", "o"),
    ("#d1495b", "s"),
    ("#66a182", "^"),
    ("#8d5a97", "D"),
    ("#b07d2b", "v"),
    ("#4a4e69", "P"),
)
_LABEL_WIDTH, _LABEL_HEIGHT = 190, 20
_LETTERS = 13


def _styled(cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
    """Return how the line of each process that is there is drawn."""
    processes = in_order(cell.process for cell in cells)
    return {
        process: {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.3}
        for process, (colour, marker) in zip(processes, _STYLES, strict=False)
    }


def curves(cells: Sequence[Cell]) -> Figure:
    """Return some figures over the number of calls, a line for each process, bars of a standard deviation of seeds."""
    names = [name for name in _DRAWN if values(cells, name)]
    figure, styles, found = _panels(len(names)), _styled(cells), best(cells)
    for axis, name in zip(figure.axes, names, strict=True):
        for process, style in styles.items():
            drawn = [
                (calls, values(place, name))
                for (of, calls), place in sorted(found.items())
                if of == process and (name not in _OF_EQUAL_COUNTS or place[0].samples >= _MANY)
            ]
            calls = [number for number, _ in drawn]
            means = [statistics.fmean(v) for _, v in drawn]
            error = [statistics.stdev(v) if len(v) > 1 else 0.0 for _, v in drawn]
            axis.errorbar(calls, means, error, capsize=2, **style)
        if name == "recognised":
            real = cells[0].report["classes"]["real"]
            axis.axhline(real, color="0.5", linestyle=":", linewidth=1)
            place = axis.get_yaxis_transform()
            axis.text(1, real, "real images", transform=place, ha="right", va="bottom", fontsize=7, color="0.4")
            axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _finish(axis, name, "calls of the network", logarithmic=name.endswith("distance"))
    _legend(figure, styles)
    return figure


def octaves(cells: Sequence[Cell]) -> Figure:
    """Return power by octave over that of real images, a panel for each number of calls, a line for each seed."""
    numbers = sorted({cell.calls for cell in cells if cell.samples >= _MANY})
    figure, styles, found = _panels(max(1, len(numbers)), sharey=True), _styled(cells), best(cells)
    figure.axes[0].set_ylabel("power over that of real images", fontsize=8)
    for axis, calls in zip(figure.axes, numbers, strict=False):
        for process, style in styles.items():
            for cell in found.get((process, calls), []):
                # The constant is no octave.
                ratios = [(octave["frequency"], octave["ratio"]) for octave in cell.report["octaves"][1:]]
                axis.plot(*zip(*ratios, strict=True), **style)
        axis.axhline(1, color="0.5", linestyle=":", linewidth=1)
        _finish(axis, f"{calls} calls", "frequency, cycles per pixel", logarithmic=True)
    _legend(figure, styles)
    return figure


def _panels(number: int, *, sharey: bool = False) -> Figure:
    figure = Figure(figsize=(3.1 * number, 3.1), layout="constrained")
    figure.subplots(1, number, sharey=sharey)
    return figure


def _finish(axis: Axes, title: str, label: str, *, logarithmic: bool) -> None:
    axis.set_xscale("log")
    if logarithmic:
        axis.set_yscale("log")
    for scale in (axis.xaxis, axis.yaxis) if logarithmic else (axis.xaxis,):
        low, high = scale.get_view_interval()
        # Less than a decade holds hardly any of the round numbers.
        scale.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)))
        scale.set_major_formatter("{x:g}")
        scale.set_minor_formatter(NullFormatter())
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(label, fontsize=8)
    axis.tick_params(labelsize=7, which="both")
    axis.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, styles: dict[str, dict[str, Any]]) -> None:
    marks = [Line2D([], [], **style) for style in styles.values()]
    names = [called(process) for process in styles]
    figure.legend(marks, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=8)


def draw_samples(cells: Sequence[Cell], file: Path) -> bool:
    """Draw strips of samples: for each process a row for each number of calls. Tell whether there were any."""
    drawn = {cell: cell.picture for cell in cells if cell.picture and cell.samples >= _MANY}
    if not drawn:
        return False
    processes = in_order(cell.process for cell in drawn)
    width, height = (max(sizes) for sizes in zip(*(Image.open(file).size for file in drawn.values()), strict=True))
    sheet = Image.new("RGB", (_LABEL_WIDTH + width, len(drawn) * height + len(processes) * _LABEL_HEIGHT), "white")
    pen, y, font = ImageDraw.Draw(sheet), 0, ImageFont.load_default(_LETTERS)
    for process in processes:
        pen.text((4, y + 3), called(process), fill=(30, 30, 30), font=font)
        y += _LABEL_HEIGHT
        for cell in sorted((c for c in drawn if c.process == process), key=lambda c: c.calls):
            sheet.paste(Image.open(drawn[cell]), (_LABEL_WIDTH, y))
            label = f"{cell.calls} calls, {cell.sampler}"
            pen.text((12, y + height // 2), label, fill=(80, 80, 80), font=font, anchor="lm")
            y += height
    sheet.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    return True
