"""Figures that `unmelt evaluate` left in a run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...training import LoadedRun
from ...training.folder.manifest import read_json

LIKELIHOOD, SAMPLES, MEMORISATION = "likelihood*.json", "samples.json", "memorisation.json"


class Stored(NamedTuple):
    """A file of figures.

    Attributes:
        name: of the file.
        told: what it holds.
    """

    name: str
    told: Mapping[str, Any]


def stored(run: LoadedRun, pattern: str) -> Iterator[Stored]:
    """Yield the files of a name that are of the very checkpoint that was loaded.

    Args:
        run: the run.
        pattern: the name, or a pattern of several.

    Raises:
        ValueError: one of them is damaged.
    """
    for path in sorted(run.folder.path.glob(pattern)):
        told = read_json(path)
        if told.get("checkpoint") == run.checkpoint.name:
            yield Stored(path.name, told)


def bits_per_dim(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what bounds there are in bits per dimension, by name: count of examples, mean and standard error."""
    bounds = told["bounds"].items()
    return {name: {"count": b["count"], **b["bits_per_dim"]["total"]} for name, b in bounds if "bits_per_dim" in b}
