"""Samples that share the beginning of their way: a tree that branches from coarse to fine."""

from __future__ import annotations

from itertools import pairwise

import torch

from ...samplers.uses import branch
from .figures import Branches, Panel, View
from .subject import Subject, generator

TITLE = "One beginning, many ends"
ABOUT = (
    "A path from the prior that branches at the times beside it; below a branching each child has its own noise. What"
    " siblings have in common was decided above it: with a blur that is the coarse form, and detail comes last."
)
# Where a path branches, if the sampler's grid has such times, and into how many.
_TIMES, _CHILDREN = (0.75, 0.5, 0.25), (3, 2, 2)
NO_NOISE = (
    "Left out: the steps of {} add no noise, so that a sample follows from its initial state alone; nothing branches or"
    " is shared."
)


def scales(subject: Subject) -> Panel:
    """Return a tree of samples of a run."""
    sampler = subject.sampler
    if not sampler.draws_noise:
        return Panel(missing=NO_NOISE.format(sampler.stepper))
    times = _branchings(sampler.times)
    if not times:
        return Panel(missing=f"Left out: a sampler of {subject.steps} step has no time on its way to branch at.")
    label = None if (classes := subject.run.denoiser.classes) is None else subject.seed % classes
    tree = branch(
        sampler,
        times=times,
        children=_CHILDREN[: len(times)],
        condition=None if label is None else torch.tensor([label]),
        generator=generator(subject.seed),
    )
    generations = tree.generations
    of_class = "" if label is None else f", of class {label}"
    figure = Branches(
        views=[
            View("estimate of the data", subject.sheet(torch.cat([g.predictions for g in generations]))),
            View("state", subject.sheet(torch.cat([g.states for g in generations]))),
        ],
        titles=[*(subject.moment(t) for t in times), "samples"],
        parents=[g.parents.tolist() for g in generations],
        says=f"{len(tree.samples)} samples of one path{of_class}, by {subject.drawn_by}, seed {subject.seed}."
        f" {subject.shown}",
    )
    return Panel([figure])


def _branchings(grid: torch.Tensor) -> list[float]:
    """Return the grid's times nearest to those wanted, falling; fewer where it has not as many inside (0, 1)."""
    inside = grid[(grid > 0) & (grid < 1)]
    if not len(inside):
        return []
    nearest = [inside[(inside - t).abs().argmin()].item() for t in _TIMES]
    return [nearest[0], *(s for t, s in pairwise(nearest) if s < t)]
