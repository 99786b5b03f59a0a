"""The first step of a run that begins where a process is pinned to a known end.

There is neither signal nor noise there, so that no noise can be shared or kept, and the probability flow has infinite
slopes: the first step draws z_s ~ q(z_s | z_1, x), with all of its noise, whatever the steps after it do with theirs
(the "booting noise" of Zheng et al., 2025). With x replaced by the estimate E[x | y] it is a step of first order. For
steppers of higher order it is a step of the reversed process by Heun's method instead, which calls the network once
more: errors of the first step stay to the end of a run without noise. For Gaussian data, from t = 1 to 0.2 in 20 of
Heun's steps, they are 7 to 12 times as small for it where the bridge's noise is at its largest in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from ..degradations import Deterministic, Level
from .stepper import Problem, Stepper
from .steppers import Heun, Posterior, PredictorCorrector


@dataclass(frozen=True)
class LeavesKnownEnd(Posterior):
    """A step of a posterior, noise and all; coefficients with signal or noise of their own keep to the coupling."""

    @override
    def draws_noise(self, problem: Problem) -> bool:
        return True


def first_stepper(stepper: Stepper, at: Level) -> Stepper:
    """Return what takes the first step of a run from a level: `stepper` itself unless the process is pinned there."""
    if not at.pinned:
        return stepper
    inner = stepper.predictor if isinstance(stepper, PredictorCorrector) else stepper
    if isinstance(inner, Posterior):
        return LeavesKnownEnd(inner.coupling)
    return LeavesKnownEnd(Deterministic()) if getattr(inner, "order", 2) == 1 else Heun(eta=1.0)
