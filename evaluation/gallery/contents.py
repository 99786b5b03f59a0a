"""The sections of the page, in order, and what they hold of each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tqdm import tqdm

from . import between, crossing, curves, measured, melting, nearest, power, record, scales, unmelting
from .figures import Panel, Section
from .subject import Subject


class Chapter(NamedTuple):
    """What makes a section.

    Attributes:
        name: what addresses call it.
        title: its heading.
        about: how it is read.
        panel: makes what it shows of one run.
    """

    name: str
    title: str
    about: str
    panel: Callable[[Subject], Panel]


CHAPTERS = (
    Chapter("samples", unmelting.SAMPLES_TITLE, unmelting.SAMPLES_ABOUT, unmelting.drawn),
    Chapter("trajectories", unmelting.TITLE, unmelting.ABOUT, unmelting.unmelting),
    Chapter("forward", melting.TITLE, melting.ABOUT, melting.melting),
    Chapter("tree", scales.TITLE, scales.ABOUT, scales.scales),
    Chapter("shared", crossing.TITLE, crossing.ABOUT, crossing.crossing),
    Chapter("interpolation", between.TITLE, between.ABOUT, between.between),
    Chapter("neighbours", nearest.TITLE, nearest.ABOUT, nearest.nearest),
    Chapter("spectra", power.TITLE, power.ABOUT, power.power),
    Chapter("training", curves.TITLE, curves.ABOUT, curves.curves),
    Chapter("measured", measured.TITLE, measured.ABOUT, measured.measured),
    Chapter("record", record.TITLE, record.ABOUT, record.record),
)


def sections(subjects: Sequence[Subject], *, progress: bool = False) -> list[Section]:
    """Return all sections of some runs.

    Args:
        subjects: the runs.
        progress: show a progress bar.
    """
    found = list[Section]()
    with tqdm(total=len(CHAPTERS) * len(subjects), disable=not progress, leave=False) as bar:
        for chapter in CHAPTERS:
            bar.set_description(chapter.title)
            panels = list[Panel]()
            for subject in subjects:
                panels.append(chapter.panel(subject))
                bar.update()
            found.append(Section(chapter.name, chapter.title, chapter.about, panels))
    return found
