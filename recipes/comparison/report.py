"""The report of the comparison, docs/measured/comparison.md: tables and figures of what is there, and what is not."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import figures
from cells import FIGURES, Cell, called, in_order, places, read_cells, values

TRIED = 500
_TITLES = {"fashion": "Fashion-MNIST, 28 x 28", "photos": "Crops of photographs, 32 x 32, colour"}
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
_DPI = 110


def write_report(root: Path, results: Path, wanted: Mapping[str, Sequence[str]]) -> None:
    """Write the part of docs/measured/comparison.md that is made of results, and its figures.

    Args:
        root: folder with docs.
        results: folder of the files.
        wanted: for each study, the names of its models.
    """
    images = root / "docs" / "images" / "comparison"
    images.mkdir(exist_ok=True)
    parts = [_study(folder, images, wanted[folder.name]) for folder in sorted(results.iterdir()) if folder.is_dir()]
    page = root / "docs" / "measured" / "comparison.md"
    before, _, _ = page.read_text().partition(_PAGE_MARK)
    page.write_text(f"{before}{_PAGE_MARK}\n\n" + "\n\n".join(parts) + "\n")


def _study(folder: Path, images: Path, wanted: Sequence[str]) -> str:
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
        figures.curves(chosen).savefig(curves, dpi=_DPI)
        text.append(f"![Figures over the number of calls: {name}, {words}](../images/comparison/{curves.name})")
        octaves = images / f"{name}_{prediction}_octaves.png"
        figures.octaves(chosen).savefig(octaves, dpi=_DPI)
        text.append(
            "Power of samples over that of real images, by frequency; 1 is as it should be.\n\n"
            f"![Power by octave: {name}, {words}](../images/comparison/{octaves.name})"
        )
        samples = images / f"{name}_{prediction}_samples.png"
        if figures.draw_samples(chosen, samples):
            text.append(
                "The first samples of seed 0, unchosen, with the best sampler for each number of calls.\n\n"
                f"![Samples: {name}, {words}](../images/comparison/{samples.name})"
            )
    text += ["### Which sampler", _samplers(cells), _missing(told, wanted)]
    return "\n\n".join(part for part in text if part)


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


def _table(cells: Sequence[Cell]) -> str:
    """Return a table: a row for calls, process and sampler, means and standard deviations over seeds."""
    there = places(cells)
    order = in_order(process for process, _, _ in there)
    columns = [name for name in FIGURES if values(cells, name)]
    lines = [
        f"| calls | process | sampler | samples | seeds | {' | '.join(columns)} |",
        f"|---|---|---|---|---|{'---|' * len(columns)}",
    ]
    for process, calls, sampler in sorted(there, key=lambda key: (key[1], order.index(key[0]), key[2])):
        place = there[process, calls, sampler]
        told = " | ".join(_spread(values(place, name), FIGURES[name][1]) for name in columns)
        lines.append(f"| {calls} | {called(process)} | {sampler} | {place[0].samples} | {len(place)} | {told} |")
    return "\n".join(lines)


def _spread(numbers: Sequence[float], form: str) -> str:
    mean = format(statistics.fmean(numbers), form)
    return mean if len(numbers) < 2 else f"{mean} +- {format(statistics.stdev(numbers), form)}"


def _samplers(cells: Sequence[Cell]) -> str:
    """Return a table of Frechet distances of samples of seed 0: what the best sampler was chosen by."""
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
            row = [tried.get((process, prediction, sampler, c)) for c in calls]
            told = " | ".join("" if c is None else f"{c.report['features']['frechet']['value']:.1f}" for c in row)
            lines.append(f"| {called(process)} | {prediction} | {sampler} | {told} |")
    return "\n".join(lines)


def _missing(cells: Sequence[Cell], wanted: Sequence[str]) -> str:
    """Return which models are not there yet."""
    there = {f"{cell.process}_{cell.prediction}_{cell.seed}" for cell in cells}
    lacking = [name.rsplit("_", 2) for name in wanted if name not in there]
    told = ", ".join(f"{called(process)} ({prediction}, seed {seed})" for process, prediction, seed in lacking)
    return f"Not there yet: {told}." if told else ""
