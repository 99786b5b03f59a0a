"""What is asked for, place by place: texts for whole values and for settings inside them, as a tree.

A command line and a stored record ask alike: `--process.levels 50`, and `{"process": {"levels": 50}}`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from .expressions import expression

# Names from the outside in, what is given there, and how messages about it begin.
Place = tuple[Sequence[str], str | ast.expr, str]


@dataclass
class Change:
    """What is asked for at one place of a value.

    Attributes:
        given: the text or expression that replaces the value; None where it is kept.
        within: what is asked for inside it, by the names of its settings.
        label: how messages about this place begin, `--process.levels 2.5` say.
    """

    given: str | ast.expr | None = None
    within: dict[str, Change] = field(default_factory=dict[str, "Change"])
    label: str = ""

    def labels(self) -> str:
        """Return the label and those of all that is inside."""
        return " ".join(filter(None, (self.label, *(inner.labels() for inner in self.within.values()))))


def change_at(places: Iterable[Place]) -> Change:
    """Return the tree of what is asked for at each place; the later of two at one path counts."""
    whole = Change()
    for path, given, label in places:
        at = whole
        for name in path:
            at = at.within.setdefault(name, Change())
        at.given, at.label = given, label
    return whole


def change_of(record: Mapping[str, object], label: str = "") -> Change:
    """Return what a record asks for: a text or number for a value, a nested record for settings inside it.

    Args:
        record: as JSON gives it.
        label: how messages begin, before the path.

    Raises:
        ValueError: it is nested too deeply.
    """
    try:
        return change_at(_places(record, label, ()))
    except RecursionError:
        msg = f"{label}it is nested too deeply"
        raise ValueError(msg) from None


def _places(record: Mapping[str, object], label: str, path: Sequence[str]) -> Iterator[Place]:
    for name, value in record.items():
        inner = (*path, name)
        if isinstance(value, Mapping):
            yield from _places(cast("Mapping[str, object]", value), label, inner)
        else:
            # Python writes what JSON gives as expressions.
            yield inner, value if isinstance(value, str) else expression(repr(value)), f"{label}{'.'.join(inner)}"
