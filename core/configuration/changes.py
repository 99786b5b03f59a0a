"""What is asked for, place by place: texts for whole values and for settings inside them, as a tree.

A command line and a stored record ask alike: `--process.levels 50`, and `{"process": {"levels": 50}}`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from .expressions import of_json


@dataclass(frozen=True)
class Change:
    """What is asked for at one place of a value.

    Attributes:
        given: the text or expression that replaces the value; None where it is kept.
        within: what is asked for inside it, by the names of its settings.
        label: how messages about this place begin, `--process.levels 2.5` say.
    """

    given: str | ast.expr | None = None
    within: Mapping[str, Change] = field(default_factory=dict[str, "Change"])
    label: str = ""

    def labels(self) -> str:
        """Return the label and those of all that is inside."""
        return " ".join(filter(None, (self.label, *(inner.labels() for inner in self.within.values()))))

    def with_inner(self, path: Sequence[str], given: str | ast.expr, label: str) -> Change:
        """Return this with one more text, at a path of names. It replaces one that was there."""
        if not path:
            return replace(self, given=given, label=label)
        name, *rest = path
        inner = self.within.get(name, Change()).with_inner(rest, given, label)
        return replace(self, within={**self.within, name: inner})


def change_at(places: Iterable[tuple[Sequence[str], str | ast.expr, str]]) -> Change:
    """Return the tree of texts at paths, each with its label; the later of two at one path counts."""
    whole = Change()
    for path, given, label in places:
        whole = whole.with_inner(path, given, label)
    return whole


def of_record(record: Mapping[str, object], label: str = "") -> Change:
    """Return what a record asks for: a text or number for a value, a nested record for settings inside it.

    Args:
        record: as JSON gives it.
        label: how messages begin, before the path.
    """
    return Change(within={name: _of_entry(value, label, name) for name, value in record.items()})


def _of_entry(value: object, label: str, path: str) -> Change:
    if isinstance(value, Mapping):
        inner = cast("Mapping[str, object]", value)
        return Change(within={name: _of_entry(entry, label, f"{path}.{name}") for name, entry in inner.items()})
    return Change(value if isinstance(value, str) else of_json(value), label=f"{label}{path}")
