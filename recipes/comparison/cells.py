"""What the comparison found: one file for each model, sampler, number of calls and of samples."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The processes, as a reader calls them, in the order in which they are told; one of a user's comes last.
_NAMES = {
    "isotropic": "isotropic diffusion",
    "heat": "heat dissipation",
    "blurring": "blurring diffusion",
    "equal_snr": "equal SNR",
    "coloured_heat": "coloured heat",
}


@dataclass(frozen=True, eq=False)
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


# The cells of one process with so many calls of one sampler: one for each seed.
Places = dict[tuple[str, int, str], list[Cell]]


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


def called(process: str) -> str:
    """Return what a process is called in a text."""
    return _NAMES.get(process, process)


def in_order(processes: Iterable[str]) -> list[str]:
    """Return those that are there, each once, in the order in which they are told."""
    there = set(processes)
    return [p for p in _NAMES if p in there] + sorted(there - set(_NAMES))


def places(cells: Iterable[Cell]) -> Places:
    """Return the cells by process, number of calls and sampler."""
    found = defaultdict[tuple[str, int, str], list[Cell]](list)
    for cell in cells:
        found[cell.process, cell.calls, cell.sampler].append(cell)
    return found


def best(cells: Iterable[Cell]) -> dict[tuple[str, int], list[Cell]]:
    """Return the cells of each process and number of calls with the sampler of the smallest Frechet distance."""
    found = dict[tuple[str, int], list[Cell]]()
    for (process, calls, _), place in places(cells).items():
        rival = found.get((process, calls))
        if rival is None or _distance(place) < _distance(rival):
            found[process, calls] = place
    return found


def _distance(place: Sequence[Cell]) -> float:
    return statistics.fmean(values(place, "Frechet distance"))


# What is told of each cell: its name, how it is found in the report, and how it is written.
FIGURES: dict[str, tuple[Callable[[dict[str, Any]], float], str]] = {
    "Frechet distance": (lambda r: r["features"]["frechet"]["value"], ".1f"),
    "kernel distance": (lambda r: r["features"]["kernel"]["value"], ".3f"),
    "precision": (lambda r: r["features"]["manifold"]["precision"], ".2f"),
    "recall": (lambda r: r["features"]["manifold"]["recall"], ".3f"),
    "coverage": (lambda r: r["features"]["manifold"]["coverage"], ".2f"),
    "energy distance": (lambda r: r["energy"]["value"], ".3f"),
    "recognised": (lambda r: r["classes"]["recognised"], ".0%"),
    "imbalance of classes": (lambda r: _imbalance(r["classes"]), ".2f"),
}
# Data without labels have none of these.
_OF_CLASSES = {"recognised", "imbalance of classes"}


def _imbalance(classes: dict[str, Any]) -> float:
    return sum(abs(a - b) for a, b in zip(classes["classes"], classes["real_classes"], strict=True)) / 2


def values(cells: Iterable[Cell], name: str) -> list[float]:
    """Return one of `FIGURES` of some cells, of those that have it."""
    get = FIGURES[name][0]
    return [get(cell.report) for cell in cells if name not in _OF_CLASSES or cell.report["classes"]]
