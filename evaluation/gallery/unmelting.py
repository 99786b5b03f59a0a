"""Samples, and how they came to be: states and estimates of the data along the sampler's grid."""

from __future__ import annotations

import torch

from .figures import Panel, Player, View, Wall
from .subject import Subject

SAMPLES_TITLE = "Samples"
SAMPLES_ABOUT = "Drawn one after the other by their seeds; none is chosen."
TITLE = "Samples on their way"
ABOUT = (
    "From the prior to data, step by step: the states, and what the network takes the data to be at each of them. The"
    " sample is the last state."
)
# Frames, and bytes of their pictures before they are compressed; frames that few samples are given up for.
_FRAMES, _ROOM, _LEAST_FRAMES = 60, 600_000, 20


def drawn(subject: Subject) -> Panel:
    """Return the first samples of a run."""
    figure = Wall(
        sheet=subject.sheet(subject.samples[: subject.count]),
        tiles=[subject.named(number) for number in range(subject.count)],
        says=f"{subject.count} samples by {subject.drawn_by}, seeds from {subject.seed} on. {subject.shown}",
    )
    return Panel([figure])


def unmelting(subject: Subject) -> Panel:
    """Return some samples of a run on their way."""
    room = subject.tiles_within(_ROOM)
    count = max(1, min(subject.count, room // min(_LEAST_FRAMES, subject.steps + 1)))
    seeds = range(subject.seed, subject.seed + count)
    path = subject.sampler.run(count, condition=subject.labels(count), generator=seeds).trajectory
    assert path is not None
    frames = max(2, min(_FRAMES, len(path.states), room // count))
    chosen = torch.linspace(0, subject.steps, frames).round().long()
    # At the end the estimate is the sample.
    estimates = torch.cat([path.predictions, path.states[-1:]])
    figure = Player(
        views=[
            View("state", subject.sheet(path.states[chosen].flatten(0, 1))),
            View("estimate of the data", subject.sheet(estimates[chosen].flatten(0, 1))),
        ],
        frames=[f"step {k} of {subject.steps}, {subject.moment(path.times[k].item())}" for k in chosen.tolist()],
        tiles=[subject.named(number) for number in range(count)],
        says=f"{count} samples by {subject.drawn_by}, at {frames} of {len(path.states)} times. {subject.shown}",
    )
    return Panel([figure])
