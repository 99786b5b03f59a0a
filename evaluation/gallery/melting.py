"""The forward process: held-out images under one noise each, at times to drag through."""

from __future__ import annotations

import torch

from ...training.data.examples import spread
from .figures import Panel, Player, View
from .subject import Subject, generator

TITLE = "The forward process"
ABOUT = (
    "What training undoes. Held-out examples on their way from data, t = 0, to noise, t = 1: as the network gets them,"
    " and without their noise. The noise of an example is the same at all times."
)
# Examples, times, and bytes of their pictures before they are compressed.
_EXAMPLES, _TIMES, _ROOM = 6, 41, 400_000


def melting(subject: Subject) -> Panel:
    """Return held-out examples of a run at times of its process."""
    if subject.data is None:
        return Panel(missing=subject.without_data)
    held_out, process = subject.data.test, subject.run.denoiser.process
    x = held_out.fetch(spread(len(held_out), _EXAMPLES)).x
    count = max(2, min(_TIMES, subject.tiles_within(_ROOM) // len(x)))
    times = torch.linspace(0, 1, count, dtype=torch.float64).tolist()
    noise = torch.randn(x.shape, generator=generator(subject.seed))
    latents = torch.cat([process.corrupt(x, noise, t) for t in times])
    signals = torch.cat([process.degrade(x, t)[0] for t in times])
    figure = Player(
        views=[View("with its noise", subject.sheet(latents)), View("signal alone", subject.sheet(signals))],
        frames=[subject.moment(t) for t in times],
        tiles=[f"held-out example {number + 1}" for number in range(len(x))],
        says=f"{len(x)} held-out examples at {count} times, noise of seed {subject.seed}. {subject.shown}",
    )
    return Panel([figure])
