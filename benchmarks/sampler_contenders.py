"""unmelt's samplers, one line each, and what all contenders are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from sampler_distributions import GRIDS, Attempt, Case, OurAttempt
from torch import Tensor

from unmelt.degradations import Deterministic
from unmelt.models import OraclePrior
from unmelt.samplers import (
    Adaptive,
    FixedGrid,
    Follow,
    Heun,
    Multistep,
    Noise,
    Posterior,
    PredictorCorrector,
    Sampler,
    Stepper,
    Variable,
)

Builder = Callable[[int], Attempt]
# Powers of ten among which an adaptive sampler's tolerance is sought, and how often the range is halved.
_EXPONENTS = (-6.0, 1.0)
_BISECTIONS = 6


class Contender(Protocol):
    """A sampler of some library, with all the options it is tried with."""

    @property
    def name(self) -> str:
        """Its name in tables and plots."""
        ...

    @property
    def library(self) -> str:
        """Whose it is."""
        ...

    def options(self, case: Case) -> dict[str, Builder]:
        """Return by name what makes an attempt of at most so many network calls; it may raise ValueError."""
        ...


@dataclass(frozen=True)
class Ours:
    """A sampler of unmelt's, on every grid and with both ends.

    Attributes:
        name: in tables and plots.
        stepper: how its steps are taken.
        steps: the most steps that so many calls allow.
    """

    name: str
    stepper: Stepper
    steps: Callable[[int], int] = lambda calls: calls
    library: str = "unmelt"

    def options(self, case: Case) -> dict[str, Builder]:
        """See `Contender.options`."""
        prior = OraclePrior(case.oracle)

        def sampler(times: Tensor, *, denoise_last: bool) -> Sampler:
            return Sampler(case.oracle, self.stepper, grid=FixedGrid(times), prior=prior, denoise_last=denoise_last)

        def builder(grid: str, *, denoise_last: bool) -> Builder:
            return lambda calls: OurAttempt(
                case, sampler(case.grid(grid, self.steps(calls)), denoise_last=denoise_last)
            )

        ends = {"": True, ", to z_0": False}
        found = {grid + name: builder(grid, denoise_last=last) for name, last in ends.items() for grid in GRIDS}
        away = case.away()
        if away == (1.0, 0.0):
            return found

        def between(grid: str) -> Builder:
            def build(calls: int) -> OurAttempt:
                times = widened(case.grid(grid, self.steps(calls), start=away[0], stop=away[1]))
                return OurAttempt(case, sampler(times, denoise_last=True), ends=away)

            return build

        return found | {f"{grid}, off the ends": between(grid) for grid in GRIDS}


@dataclass(frozen=True)
class OurAdaptive:
    """The sampler that chooses its own steps, at the smallest tolerance that keeps within the calls."""

    name: str = "adaptive"
    library: str = "unmelt"

    def options(self, case: Case) -> dict[str, Builder]:
        """See `Contender.options`."""
        return {"its own steps": lambda calls: _WithinCalls(case, calls)}


class _WithinCalls:
    """Runs an adaptive sampler at several tolerances and returns what the best one allowed gives."""

    def __init__(self, case: Case, most_calls: int) -> None:
        self.case, self.most_calls, self.calls = case, most_calls, 0
        self.start, self.end, self.estimates = case.at(1.0), case.at(0.0), True

    def run(self, initial: Tensor, noise: Noise) -> Tensor:
        """See `Attempt.run`.

        Raises:
            ValueError: no tolerance keeps within the calls.
        """
        low, high = _EXPONENTS
        best = self._at(high, initial, noise)
        if best is None:
            msg = f"no tolerance keeps within {self.most_calls} calls"
            raise ValueError(msg)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            found = self._at(middle, initial, noise)
            if found is None:
                low = middle
            else:
                best, high = found, middle
        samples, self.calls = best
        return samples

    def _at(self, exponent: float, initial: Tensor, noise: Noise) -> tuple[Tensor, int] | None:
        """Return samples at a tolerance and the calls that they took, if it keeps within them."""
        stepper = Adaptive(rtol=10**exponent, atol=10**exponent / 10, most_calls=self.most_calls)
        sampler = Sampler(self.case.oracle, stepper, prior=OraclePrior(self.case.oracle))
        try:
            found = sampler.run(len(initial), initial=initial, noise=noise, keep_path=False)
        except RuntimeError:
            # The solver gave up.
            return None
        return (found.samples, found.stats.calls) if found.stats.calls <= self.most_calls else None


def widened(grid: Tensor) -> Tensor:
    """Return a grid with the ends 1 and 0, where it does not have them."""
    one, zero = grid.new_ones(1), grid.new_zeros(1)
    return torch.cat([one[: int(grid[0] < 1)], grid, zero[: int(grid[-1] > 0)]])


def _halved(calls: int) -> int:
    """Two calls per step."""
    return calls // 2


OURS: list[Contender] = [
    Ours("DDPM", Posterior()),
    Ours("DDIM", Posterior(Deterministic())),
    Ours("Heun, t", Heun(), _halved),
    Ours("Heun, log-SNR", Heun(variable=Variable.LOG_SNR), _halved),
    Ours("noise Heun", Heun(follow=Follow.NOISE), _halved),
    Ours("either Heun", Heun(follow=Follow.EITHER), _halved),
    Ours("multistep 2, t", Multistep()),
    Ours("multistep 2, log-SNR", Multistep(variable=Variable.LOG_SNR)),
    Ours("multistep 3, t", Multistep(order=3)),
    Ours("multistep 3, log-SNR", Multistep(order=3, variable=Variable.LOG_SNR)),
    Ours("noise multistep 3", Multistep(order=3, follow=Follow.NOISE)),
    Ours("noise multistep 4", Multistep(order=4, follow=Follow.NOISE)),
    Ours("noise multistep 4, uncorrected", Multistep(order=4, follow=Follow.NOISE, corrector=False)),
    Ours("either multistep 3", Multistep(order=3, follow=Follow.EITHER)),
    Ours("stochastic Heun", Heun(eta=1.0), _halved),
    Ours("stochastic multistep 2", Multistep(eta=1.0)),
    Ours("predictor-corrector", PredictorCorrector(), _halved),
    OurAdaptive(),
]
