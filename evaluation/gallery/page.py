"""One file of HTML: the template with its style and scripts, and what the sections hold as JSON.

Scripts are classic and inline, since a page that is opened from a file may fetch nothing and import no modules; the
page itself forbids all that a network would be asked for.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.checks import check_count
from ...training import LoadedRun
from .contents import sections
from .key_numbers import key_numbers
from .subject import Subject

# In the order in which they use each other.
SCRIPTS = ("theme", "parts", "sheets", "walls", "player", "branches", "scales", "plot", "page")
_TEMPLATE = Path(__file__).parent / "template"
_SLOT = re.compile(r"<!--\[(\w+)\]-->")


def build_gallery(
    runs: Sequence[LoadedRun],
    *,
    count: int = 16,
    seed: int = 0,
    steps: int | None = None,
    places: Sequence[Path | str] = (),
    progress: bool = False,
) -> str:
    """Return a page, HTML that needs no other file, that shows runs side by side.

    What cannot be shown of a run is said there in a sentence, such as what needs its data where they are not at hand.

    Args:
        runs: the runs.
        count: how many samples of each are shown.
        seed: seed of the first sample, from which the others count on, and of all else that is random.
        steps: steps on a uniform grid; each run's own sampler's if None.
        places: where the data lie now: one place for all runs, or one for each; where they were if empty.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: a run has no prior.
        ValueError: there are no runs, a number is out of range, there are neither one place nor as many as runs, or a
            run's process allows no such sampler.
        FloatingPointError: a sample became infinite or NaN.
    """
    check_count("runs", len(runs), hint="the runs to show")
    check_count("count", count, hint="samples to show")
    if len(places) not in {0, 1, len(runs)}:
        msg = f"{len(places)} places of data for {len(runs)} runs: give one for all of them, or one for each in order"
        raise ValueError(msg)
    where = [*places] * len(runs) if len(places) == 1 else [*places] or [None] * len(runs)
    subjects = [
        Subject(run, count=count, seed=seed, steps=steps, place=place) for run, place in zip(runs, where, strict=True)
    ]
    names = _names(runs)
    content = {
        "runs": names,
        "key": key_numbers(subjects),
        "sections": [asdict(section) for section in sections(subjects, progress=progress)],
    }
    return fill(title=", ".join(names), content=content)


def fill(*, title: str, content: Mapping[str, Any]) -> str:
    """Return the template with a title and what its scripts read.

    Args:
        title: of the page.
        content: runs, key numbers and sections, as JSON takes them.
    """

    def text(name: str) -> str:
        return (_TEMPLATE / name).read_text(encoding="utf-8")

    # A `<` inside a string could end the script that holds it.
    block = json.dumps(content, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    slots = {
        "title": html.escape(title),
        "version": html.escape(__version__),
        "style": text("style.css"),
        "content": block,
        "scripts": "\n".join(text(f"{name}.js") for name in SCRIPTS),
    }
    # Once and for all: what is filled in may look like a slot.
    return _SLOT.sub(lambda slot: slots[slot[1]], text("page.html"))


def _names(runs: Sequence[LoadedRun]) -> list[str]:
    """Return the names of the runs' folders; where two have the same, their numbers too."""
    names = [run.folder.path.resolve().name for run in runs]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, start=1)]
