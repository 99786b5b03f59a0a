"""What the page can show: a figure is what its script of the same name draws, with the words that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .sprites import Sheet


@dataclass(frozen=True)
class View:
    """One of several ways to look at the same figure.

    Attributes:
        name: what its button says.
        sheet: its tiles.
    """

    name: str
    sheet: Sheet


@dataclass(frozen=True)
class Player:
    """Frames to drag through and to play; a frame shows one tile for each of some signals.

    Attributes:
        views: sheets of the same tiles, frame by frame.
        frames: what each frame is.
        tiles: what each of a frame's tiles is.
        says: what all of it is.
    """

    views: Sequence[View]
    frames: Sequence[str]
    tiles: Sequence[str]
    says: str
    kind: str = field(default="player", init=False)


@dataclass(frozen=True)
class Wall:
    """Tiles side by side.

    Attributes:
        sheet: the tiles.
        tiles: what each of them is.
        says: what all of it is.
    """

    sheet: Sheet
    tiles: Sequence[str]
    says: str
    kind: str = field(default="wall", init=False)


@dataclass(frozen=True)
class Table:
    """Tiles in rows and columns.

    Attributes:
        sheet: the tiles, row by row.
        heads: what the columns are.
        rows: what the rows are.
        notes: a word below each tile, row by row; empty where there are none.
        apart: how many columns at the left are set apart from the others.
        says: what all of it is.
    """

    sheet: Sheet
    heads: Sequence[str]
    rows: Sequence[str]
    notes: Sequence[Sequence[str]]
    apart: int
    says: str
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Branches:
    """A tree of tiles, the root above.

    Attributes:
        views: sheets of the same tiles, generation by generation.
        titles: what each generation is.
        parents: for each generation the index of each one's parent in the generation before.
        says: what all of it is.
    """

    views: Sequence[View]
    titles: Sequence[str]
    parents: Sequence[Sequence[int]]
    says: str
    kind: str = field(default="branches", init=False)


@dataclass(frozen=True)
class Axis:
    """An axis of a plot.

    Attributes:
        label: what it measures, with its unit.
        logarithmic: whether equal distances are equal ratios.
    """

    label: str
    logarithmic: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a plot, and the band around it where it has one.

    Attributes:
        name: what it is.
        x: where it is known.
        y: its values.
        low: lower end of the band.
        high: upper end of the band.
        dots: whether its points are marked.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines over a common axis, whose values are read with a hand.

    Attributes:
        title: what is drawn.
        x: the axis to the right.
        y: the axis upwards.
        lines: the lines.
        says: what all of it is.
        level: a value that a line across stands for.
    """

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    says: str
    level: float | None = None
    kind: str = field(default="plot", init=False)


@dataclass(frozen=True)
class Facts:
    """Names and what they are.

    Attributes:
        title: of all of them.
        rows: pairs of both.
        says: what makes them comparable.
    """

    title: str
    rows: Sequence[tuple[str, str]]
    says: str = ""
    kind: str = field(default="facts", init=False)


@dataclass(frozen=True)
class Record:
    """A text to unfold.

    Attributes:
        title: its name.
        text: what it says.
    """

    title: str
    text: str
    kind: str = field(default="record", init=False)


Figure = Player | Wall | Table | Branches | Plot | Facts | Record


@dataclass(frozen=True)
class Panel:
    """What a section has to show of one run.

    Attributes:
        figures: what is shown.
        missing: why nothing is; empty where something is.
    """

    figures: Sequence[Figure] = ()
    missing: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: what addresses call it.
        title: its heading.
        about: how it is read.
        panels: one for each run.
    """

    name: str
    title: str
    about: str
    panels: Sequence[Panel]
