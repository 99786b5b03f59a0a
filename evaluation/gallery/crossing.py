"""Every one of some initial states with every one of some noises: what does either decide?"""

from __future__ import annotations

import torch

from ..disentanglement import draw_crossed
from .figures import Panel, Table
from .scales import NO_NOISE
from .subject import Subject, generator

TITLE = "One initial state, one noise"
ABOUT = (
    "A row has one initial state, and a column one noise of all steps. What is alike along a row the initial state"
    " decides; what is alike down a column, the noise."
)
_STATES, _NOISES = 5, 6


def crossing(subject: Subject) -> Panel:
    """Return samples of a run of every state with every noise."""
    sampler = subject.sampler
    if not sampler.draws_noise:
        return Panel(missing=NO_NOISE.format(sampler.stepper))
    label = None if (classes := subject.run.denoiser.classes) is None else subject.seed % classes
    samples = draw_crossed(sampler, _STATES, _NOISES, seed=subject.seed, condition=label)
    initial = sampler.initial_latents(_STATES, generator=generator(subject.seed))
    of_class = "" if label is None else f", all of class {label}"
    figure = Table(
        sheet=subject.sheet(torch.cat([initial[:, None], samples], dim=1).flatten(0, 1)),
        heads=["state", *(f"noise {number + 1}" for number in range(_NOISES))],
        rows=[f"state {number + 1}" for number in range(_STATES)],
        notes=[],
        apart=1,
        says=f"{_STATES} initial states of seed {subject.seed} with noises of the seeds from there on{of_class}, by"
        f" {subject.drawn_by}. {subject.shown}",
    )
    return Panel([figure])
