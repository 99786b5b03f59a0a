"""The report of the comparison, docs/comparison.md: tables and figures of what is there, and what is not."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image, ImageDraw

TRIED = 500
# With so many samples a cell is drawn beside others of as many.
_MANY = 1000
NAMES = {
    "isotropic": "isotropic diffusion",
    "heat": "heat dissipation",
    "blurring": "blurring diffusion",
    "equal_snr": "equal SNR",
    "coloured_heat": "coloured heat",
}
_COLOURS = {
    "isotropic": "#1b6ca8",
    "heat": "#d1495b",
    "blurring": "#66a182",
    "equal_snr": "#8d5a97",
    "coloured_heat": "#b07d2b",
}
_DPI = 110
_LABEL_WIDTH, _LABEL_HEIGHT = 150, 18
# What all models and measurements of a study have in common.
_COMMON = (
    "training_steps",
    "training_batch",
    "training_images",
    "data",
    "parameters",
    "ema_decay",
    "weights",
    "resize",
)
_PAGE_MARK = "<!-- report -->"


@dataclass(frozen=True)
class Cell:
    """One model with one sampler.

    Attributes:
        process: name of the process.
        prediction: x or epsilon.
        seed: of its training.
        sampler: name of the sampler.
        calls: calls of the network for each sample.
        samples: number of samples.
        facts: what its file says.
        picture: a strip of samples, where there is one.
    """

    process: str
    prediction: str
    seed: int
    sampler: str
    calls: int
    samples: int
    facts: dict[str, Any]
    picture: Path | None

    @property
    def report(self) -> dict[str, Any]:
        """The figures."""
        return self.facts["report"]


def read_cells(folder: Path) -> list[Cell]:
    """Return what is there of a study."""
    cells = list[Cell]()
    for file in sorted(folder.glob("*/*.json")):
        process, prediction, seed = file.parent.name.rsplit("_", 2)
        sampler, calls, samples = file.stem.rsplit("_", 2)
        picture = file.with_suffix(".png")
        facts = json.loads(file.read_text())
        numbers = int(seed), sampler, int(calls), int(samples)
        cells.append(Cell(process, prediction, *numbers, facts, picture if picture.is_file() else None))
    return cells


# What is told of each cell: its name, how it is found in the report, how it is written, and which way is better.
_FIGURES: dict[str, tuple[Callable[[dict[str, Any]], float], str]] = {
    "Frechet distance": (lambda r: r["features"]["frechet"]["value"], ".1f"),
    "kernel distance": (lambda r: r["features"]["kernel"]["value"], ".3f"),
    "precision": (lambda r: r["features"]["manifold"]["precision"], ".2f"),
    "recall": (lambda r: r["features"]["manifold"]["recall"], ".3f"),
    "coverage": (lambda r: r["features"]["manifold"]["coverage"], ".2f"),
    "energy distance": (lambda r: r["energy"]["value"], ".3f"),
    "recognised": (lambda r: r["classes"]["recognised"], ".0%"),
    "imbalance of classes": (lambda r: _imbalance(r["classes"]), ".2f"),
}
_COLUMNS = tuple(_FIGURES)
# Of fewer samples these come out otherwise, whatever the samples are worth.
_OF_EQUAL_COUNTS = {"Frechet distance", "precision", "recall", "coverage"}
_OF_CLASSES = {"recognised", "imbalance of classes"}


def _imbalance(classes: dict[str, Any]) -> float:
    return sum(abs(a - b) for a, b in zip(classes["classes"], classes["real_classes"], strict=True)) / 2


def write_report(root: Path, results: Path) -> None:
    """Write the part of docs/comparison.md that is made of results, and its figures."""
    images = root / "docs" / "images" / "comparison"
    images.mkdir(exist_ok=True)
    parts = [_study(folder, images) for folder in sorted(results.iterdir()) if folder.is_dir()]
    page = root / "docs" / "comparison.md"
    before, _, _ = page.read_text().partition(_PAGE_MARK)
    page.write_text(f"{before}{_PAGE_MARK}\n\n" + "\n\n".join(parts) + "\n")


def _study(folder: Path, images: Path) -> str:
    """Return the text of a study, and draw its figures."""
    name, cells = folder.name, read_cells(folder)
    told = [cell for cell in cells if cell.samples != TRIED]
    text = [f"## {_TITLES[name]}", _budget(cells)]
    for prediction in ("x", "epsilon"):
        chosen = [cell for cell in told if cell.prediction == prediction]
        if not chosen:
            continue
        words = "the image predicted" if prediction == "x" else "the noise predicted, estimates clipped"
        text += [f"### {words[0].upper()}{words[1:]}", _table(chosen)]
        curves = images / f"{name}_{prediction}.png"
        _curves(chosen).savefig(curves, dpi=_DPI)
        text.append(f"![Figures over the number of calls: {name}, {words}](images/comparison/{curves.name})")
        octaves = images / f"{name}_{prediction}_octaves.png"
        _octaves(chosen).savefig(octaves, dpi=_DPI)
        text.append(
            "Power of samples over that of real images, by frequency; 1 is as it should be.\n\n"
            f"![Power by octave: {name}, {words}](images/comparison/{octaves.name})"
        )
        samples = images / f"{name}_{prediction}_samples.png"
        if _samples(chosen, samples):
            text.append(
                "The first samples of seed 0, unchosen, with the best sampler for each number of calls.\n\n"
                f"![Samples: {name}, {words}](images/comparison/{samples.name})"
            )
    text += ["### Which sampler", _samplers(cells), _missing(told, name)]
    return "\n\n".join(part for part in text if part)


_TITLES = {"fashion": "Fashion-MNIST, 28 x 28", "photos": "Crops of photographs, 32 x 32, colour"}


def _budget(cells: Sequence[Cell]) -> str:
    """Return what all models have in common, and what they took."""
    first = cells[0].facts
    for cell in cells:
        if other := [name for name in _COMMON if cell.facts[name] != first[name]]:
            told = ", ".join(f"{name} {cell.facts[name]} and {first[name]}" for name in other)
            msg = f"{cell.process}_{cell.prediction}_{cell.seed} and others were not made alike: {told}"
            raise ValueError(msg)
    trained = {(c.process, c.prediction, c.seed): c.facts["training_cpu_minutes"] for c in cells}
    drawn = sum(c.facts["sampling_cpu_seconds"] for c in cells) / 3600
    real = next((c.report["classes"]["real"] for c in cells if c.report["classes"]), None)
    recognised = "" if real is None else f" A classifier recognises {real:.0%} of held-out images."
    features = first["report"]["features"]
    floor = max(cells, key=lambda c: c.report["real_images"]).report
    return (
        f"{first['parameters']:,} parameters, {first['training_steps']} steps of {first['training_batch']} images of"
        f" {first['training_images']:,}, average of decay {first['ema_decay']}; {len(trained)} models in"
        f" {sum(trained.values()) / 60:.1f} hours of one CPU core ({min(trained.values()):.0f} to"
        f" {max(trained.values()):.0f} minutes each), samples in {drawn:.1f} more. Features of {features['network']}"
        f" (weights {first['weights']}, {first['resize']}), which are not those of FID; samples against"
        f" {floor['real_images']} training images, and of such from others: Frechet distance"
        f" {floor['features']['frechet']['floor']:.1f}, energy distance {floor['energy']['floor']:.3f}."
        f"{recognised} {first['torch']}, {first['machine']}."
    )


def _best(cells: Sequence[Cell]) -> dict[tuple[str, int], list[Cell]]:
    """Return the cells of each process and number of calls, one for each seed."""
    found = defaultdict[tuple[str, int], list[Cell]](list)
    for cell in cells:
        found[cell.process, cell.calls].append(cell)
    return found


def _values(cells: Sequence[Cell], name: str) -> list[float]:
    get = _FIGURES[name][0]
    return [get(c.report) for c in cells if name not in _OF_CLASSES or c.report["classes"]]


def _table(cells: Sequence[Cell]) -> str:
    """Return a table: a row for each number of calls and process, means and standard deviations over seeds."""
    by_place = _best(cells)
    columns = [name for name in _COLUMNS if _values(cells, name)]
    lines = [
        f"| calls | process | sampler | samples | seeds | {' | '.join(columns)} |",
        f"|---|---|---|---|---|{'---|' * len(columns)}",
    ]
    for calls in sorted({cell.calls for cell in cells}):
        for process, called in NAMES.items():
            if place := by_place.get((process, calls)):
                figures = " | ".join(_spread(_values(place, name), _FIGURES[name][1]) for name in columns)
                head = f"| {calls} | {called} | {place[0].sampler} | {place[0].samples} | {len(place)}"
                lines.append(f"{head} | {figures} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], form: str) -> str:
    mean = format(statistics.fmean(values), form)
    return mean if len(values) < 2 else f"{mean} +- {format(statistics.stdev(values), form)}"


def _curves(cells: Sequence[Cell]) -> Figure:
    """Return some figures over the number of calls, a line for each process, bars of a standard deviation of seeds."""
    names = [n for n in ("Frechet distance", "energy distance", "precision", "recognised") if _values(cells, n)]
    figure = Figure(figsize=(3.1 * len(names), 3.1), layout="constrained")
    by_place = _best(cells)
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for process, colour in _COLOURS.items():
            places = sorted(
                ((calls, found) for (p, calls), found in by_place.items() if p == process and _is_drawn(name, found)),
                key=lambda place: place[0],
            )
            calls = [c for c, _ in places]
            values = [_values(found, name) for _, found in places]
            error = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values]
            means = [statistics.fmean(v) for v in values]
            axis.errorbar(calls, means, error, color=colour, marker="o", markersize=3, linewidth=1.4, capsize=2)
        if name == "recognised":
            axis.axhline(cells[0].report["classes"]["real"], color="0.5", linestyle=":", linewidth=1)
        logarithmic = name.endswith("distance")
        _finish(axis, name, "calls of the network", logarithmic=logarithmic)
    _legend(figure, {cell.process for cell in cells})
    return figure


def _is_drawn(name: str, cells: Sequence[Cell]) -> bool:
    return name not in _OF_EQUAL_COUNTS or cells[0].samples >= _MANY


def _octaves(cells: Sequence[Cell]) -> Figure:
    """Return power by octave over that of real images, a panel for each number of calls."""
    numbers = sorted({cell.calls for cell in cells if cell.samples >= _MANY})
    figure = Figure(figsize=(3.1 * max(1, len(numbers)), 3.1), layout="constrained")
    by_place = _best(cells)
    panels = figure.subplots(1, max(1, len(numbers)), sharey=True, squeeze=False)[0]
    for axis, calls in zip(panels, numbers, strict=False):
        for process, colour in _COLOURS.items():
            for cell in by_place.get((process, calls), []):
                # The constant is no octave.
                octaves = cell.report["octaves"][1:]
                f = [octave["frequency"] for octave in octaves]
                axis.plot(f, [octave["ratio"] for octave in octaves], color=colour, linewidth=1.1, marker="o", ms=2.5)
        axis.axhline(1, color="0.5", linestyle=":", linewidth=1)
        _finish(axis, f"{calls} calls", "cycles per pixel", logarithmic=True)
    _legend(figure, {cell.process for cell in cells})
    return figure


def _finish(axis: Axes, title: str, label: str, *, logarithmic: bool) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    if logarithmic:
        axis.set_yscale("log")
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(label, fontsize=8)
    axis.tick_params(labelsize=7, which="both")
    axis.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, processes: set[str]) -> None:
    there = [process for process in NAMES if process in processes]
    marks = [Line2D([], [], color=_COLOURS[process]) for process in there]
    names = [NAMES[process] for process in there]
    figure.legend(marks, names, loc="outside lower center", ncols=len(there), frameon=False, fontsize=8)


def _samples(cells: Sequence[Cell], file: Path) -> bool:
    """Draw strips of samples: for each process a row for each number of calls. Tell whether there were any."""
    rows = [
        (cell, Image.open(cell.picture).convert("RGB"))
        for process in NAMES
        for cell in sorted((c for c in cells if c.process == process), key=lambda c: c.calls)
        if cell.picture is not None and cell.samples >= _MANY
    ]
    if not rows:
        return False
    width, height = max(picture.width for _, picture in rows), rows[0][1].height
    gap = _LABEL_HEIGHT
    processes = list(dict.fromkeys(cell.process for cell, _ in rows))
    sheet = Image.new("RGB", (_LABEL_WIDTH + width, len(rows) * height + len(processes) * gap), "white")
    pen, y, last = ImageDraw.Draw(sheet), 0, ""
    for cell, picture in rows:
        if cell.process != last:
            pen.text((4, y + 3), NAMES[cell.process], fill=(30, 30, 30))
            y, last = y + gap, cell.process
        sheet.paste(picture, (_LABEL_WIDTH, y))
        pen.text((12, y + height // 2 - 6), f"{cell.calls} calls, {cell.sampler}", fill=(90, 90, 90))
        y += height
    sheet.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    return True


def _samplers(cells: Sequence[Cell]) -> str:
    """Return a table of Frechet distances of 500 samples of seed 0: what the best sampler was chosen by."""
    tried = {(c.process, c.prediction, c.sampler, c.calls): c for c in cells if c.samples == TRIED}
    samplers = list(dict.fromkeys(key[2] for key in tried))
    calls = sorted({key[3] for key in tried})
    lines = [
        f"Frechet distances of {TRIED} other samples of seed 0, by which the sampler is chosen.\n",
        f"| process | predicted | sampler | {' | '.join(f'{c} calls' for c in calls)} |",
        f"|---|---|---|{'---|' * len(calls)}",
    ]
    for process, prediction in dict.fromkeys(key[:2] for key in tried):
        for sampler in samplers:
            values = [tried.get((process, prediction, sampler, c)) for c in calls]
            figures = " | ".join("" if c is None else f"{c.report['features']['frechet']['value']:.1f}" for c in values)
            lines.append(f"| {NAMES[process]} | {prediction} | {sampler} | {figures} |")
    return "\n".join(lines)


def _missing(cells: Sequence[Cell], study: str) -> str:
    """Return which models are not there yet."""
    seeds = range(3) if study == "fashion" else range(1)
    there = {(cell.process, cell.prediction, cell.seed) for cell in cells}
    wanted = [(process, "x", seed) for process in NAMES for seed in seeds]
    wanted += [(process, "epsilon", 0) for process in NAMES if process in {"isotropic", "blurring", "equal_snr"}]
    lacking = [f"{NAMES[model[0]]} ({model[1]}, seed {model[2]})" for model in wanted if model not in there]
    return f"Not there yet: {', '.join(lacking)}." if lacking else ""
