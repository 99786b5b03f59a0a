"""The learning rate over a run: linear warm-up, then constant or half a cosine."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..run_config import Training

_LAST_RATE = 0.01


@dataclass(frozen=True)
class Schedule:
    """The learning rate of each step, as a fraction of its peak.

    Attributes:
        warmup: steps over which it grows linearly from 0.
        steps: number of training steps.
        cosine: whether it falls to a hundredth along half a cosine until the last of them.
        aimed_at: step from which the cosine falls.
        aimed_from: where it falls from, as a fraction of the peak.
    """

    warmup: int
    steps: int
    cosine: bool
    aimed_at: int = 0
    aimed_from: float = 1.0

    @classmethod
    def of(cls, training: Training) -> Schedule:
        """Return the schedule of a new run."""
        return cls(training.warmup, training.steps, training.cosine_decay)

    def factor(self, step: int) -> float:
        """Return the fraction for a step, counted from 0."""
        return min(1.0, (step + 1) / max(1, self.warmup)) * self._decay(step)

    def aimed(self, step: int, steps: int) -> Schedule:
        """Return a schedule that goes on from here, without a jump, and ends at another number of steps."""
        if not self.cosine:
            return replace(self, steps=steps)
        return replace(self, steps=steps, aimed_at=step, aimed_from=self._decay(step))

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Give an optimizer the rate of a step; its peaks are what it was made with."""
        factor = self.factor(step)
        for group in optimizer.param_groups:
            peak = group.setdefault("initial_lr", float(group["lr"]))
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(peak * factor)
            else:
                group["lr"] = peak * factor

    def record(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return asdict(self)

    def _decay(self, step: int) -> float:
        if not self.cosine:
            return 1.0
        done = min(1.0, (step - self.aimed_at) / max(1, self.steps - self.aimed_at))
        last = min(_LAST_RATE, self.aimed_from)
        return last + (self.aimed_from - last) * (1 + math.cos(math.pi * done)) / 2
