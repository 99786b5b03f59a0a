"""The learning rate over a run: linear warm-up, then constant or half a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable

from .run_config import Training

_LAST_RATE = 0.01


def learning_rate_factor(training: Training) -> Callable[[int], float]:
    """Return the learning rate of each step, as a fraction of its peak."""

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, training.warmup))
        if not training.cosine_decay:
            return warm
        return warm * (_LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * min(1.0, step / training.steps))) / 2)

    return factor
