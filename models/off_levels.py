"""A warning where a network that predicts the previous level is asked for more than it was trained for."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import PredictPreviousLevel
from .denoiser import AbstractDenoiser


class OffLevelsWarning(UserWarning):
    """A network that predicts the previous level is asked for other steps than independent ones through its levels."""


# What has been said of each denoiser: Python's own registry forgets as soon as a filter is touched.
_SAID: WeakKeyDictionary[AbstractDenoiser, set[str]] = WeakKeyDictionary()


def warn_off_levels(
    denoiser: AbstractDenoiser, times: Float[Tensor, " times"] | None, *, steps: Sequence[str] = (), expect: str
) -> None:
    """Warn, once, if a network that predicts the previous level is asked for more than it was trained for.

    It knows where the next level lies: skipping levels asks it for the data far behind that, and steps that carry noise
    along show it latents that training never did. What that costs is measured in docs/concepts/sampling.md.

    Args:
        denoiser: any denoiser, guided or not.
        times: the ends of steps, falling or rising; None for all times.
        steps: what is asked for beside, in words.
        expect: what to expect and what to do, a format string of `levels`.
    """
    # Parts of a guided denoiser are denoisers.
    found = [each.prediction for each in denoiser.modules() if isinstance(each, AbstractDenoiser)]
    previous = [each for each in found if isinstance(each, PredictPreviousLevel)]
    levels = previous[0].number_of_levels(denoiser.process) if previous else 1
    # With one level the network predicts the whole way to the data, at any time.
    if levels == 1:
        return
    asked: list[str] = []
    if times is None:
        asked.append(f"all times, not for its {levels} levels alone")
    else:
        grid = times.detach().cpu().double().sort().values
        count = len(grid) - 1
        # A bound has no step to the data. Times are computed in more than one way, each right to a few roundings.
        if not torch.allclose(grid * levels, levels + torch.arange(-count, 1).double(), atol=1e-3):
            asked.append(f"a grid of {count} steps, not one for each of its {levels} levels")
    what = ", and for ".join((*asked, *steps))
    said = _SAID.setdefault(denoiser, set())
    if not what or what in said:
        return
    said.add(what)
    warnings.warn(
        f"a network that predicts the previous level is asked for {what}: expect {expect.format(levels=levels)}",
        OffLevelsWarning,
        stacklevel=_users_level(),
    )


def _users_level() -> int:
    """Return the stack level, for a warning of the caller's, of the first line that is not this package's own."""
    package, level, frame = __name__.split(".")[0] + ".", 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(package):
        frame, level = frame.f_back, level + 1
    return level
