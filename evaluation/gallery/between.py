"""What lies between two samples."""

from __future__ import annotations

import torch

from ...samplers.uses import interpolate_seeds
from .figures import Panel, Table
from .subject import Subject

TITLE = "Between two samples"
ABOUT = (
    "From one seed's sample to another's: the initial state and the noise of all steps move together, in equal steps."
    " The ends are samples of these seeds."
)
_PAIRS, _POINTS = 4, 11


def between(subject: Subject) -> Panel:
    """Return ways between samples of a run."""
    classes = subject.run.denoiser.classes
    ways, titles = list[torch.Tensor](), list[str]()
    for pair in range(_PAIRS):
        first = subject.seed + 2 * pair
        label = None if classes is None else pair % classes
        condition = None if label is None else torch.full((_POINTS,), label)
        ways.append(interpolate_seeds(subject.sampler, first, first + 1, points=_POINTS, condition=condition))
        titles.append(f"seeds {first} to {first + 1}" + ("" if label is None else f", class {label}"))
    figure = Table(
        sheet=subject.sheet(torch.cat(ways)),
        heads=[f"{point / (_POINTS - 1):.2g}" for point in range(_POINTS)],
        rows=titles,
        notes=[],
        apart=0,
        says=f"{_PAIRS} pairs of seeds and {_POINTS} shares of the way, by {subject.drawn_by}. {subject.shown}",
    )
    return Panel([figure])
