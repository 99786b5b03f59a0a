"""A warning where a network that predicts the previous level is asked for more than it was trained for."""

from __future__ import annotations

import inspect
import warnings
from weakref import WeakKeyDictionary

import torch

from ..degradations import Independent, PredictPreviousLevel
from ..models import AbstractDenoiser
from .stepper import Problem, Stepper
from .steppers import Posterior


class OffLevelsWarning(UserWarning):
    """A network that predicts the previous level is asked for other steps than independent ones through its levels."""


# What each denoiser's samplers have been warned of: Python's own registry forgets as soon as a filter is touched.
_SAID: WeakKeyDictionary[AbstractDenoiser, set[str]] = WeakKeyDictionary()


def warn_off_levels(denoiser: AbstractDenoiser, problem: Problem, stepper: Stepper) -> None:
    """Warn once if the network predicts the previous level and the steps are not those that it was trained for.

    It knows where the next level lies: skipping levels asks it for the data far behind that, and steps that carry noise
    along show it latents that training never did. What that costs is measured in docs/sampling.md.
    """
    prediction, steps = problem.prediction, len(problem.times) - 1
    if not isinstance(prediction, PredictPreviousLevel):
        return
    levels = prediction.number_of_levels(problem.process)
    # With one level the network predicts the whole way to the data, at any time.
    if levels == 1:
        return
    asked: list[str] = []
    # Times are computed in more than one way, each right to a few roundings.
    if steps != levels or not torch.allclose(problem.times * levels, torch.arange(levels, -1, -1).double(), atol=1e-3):
        asked.append(f"a grid of {steps} steps, not one for each of its {levels} levels")
    if not isinstance(stepper, Posterior):
        asked.append(f"steps of {type(stepper).__name__} instead of independent ones")
    elif not isinstance(stepper.coupling, Independent):
        asked.append(f"steps of Posterior({stepper.coupling}) instead of independent ones")
    what = ", and for ".join(asked)
    said = _SAID.setdefault(denoiser, set())
    if not asked or what in said:
        return
    said.add(what)
    warnings.warn(
        f"a network that predicts the previous level is asked for {what}: expect worse samples (of digits 70 to 88 %"
        " were recognised instead of 94 %). Step through all of its levels, Posterior(Independent()) on"
        f" UniformGrid({levels}), or train a network that predicts x, PredictX()",
        OffLevelsWarning,
        stacklevel=_users_level(),
    )


def _users_level() -> int:
    """Return the stack level, for a warning of the caller's, of the first line that is not this package's own."""
    package, level, frame = __name__.split(".")[0] + ".", 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(package):
        frame, level = frame.f_back, level + 1
    return level
