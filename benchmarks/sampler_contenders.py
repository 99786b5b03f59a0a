"""unmelt's samplers, one line each, and what all contenders are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from sampler_laws import GRIDS, Attempt, Case, OurAttempt
from torch import Tensor

from unmelt.degradations import Deterministic, Markov
from unmelt.models import OraclePrior
from unmelt.samplers import (
    AdaptiveSampler,
    End,
    EulerMaruyamaSampler,
    ExponentialSDESampler,
    HeunSampler,
    MultistepSampler,
    Noise,
    NoiseMultistepSampler,
    PosteriorSampler,
    PredictorCorrectorSampler,
    Sampler,
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
        build: makes the sampler from the denoiser and the settings that all have: times, prior and end.
        steps: the most steps that so many calls allow.
    """

    name: str
    build: Callable[..., Sampler]
    steps: Callable[[int], int] = lambda calls: calls
    library: str = "unmelt"

    def options(self, case: Case) -> dict[str, Builder]:
        """See `Contender.options`."""
        prior = OraclePrior(case.oracle)

        def builder(grid: str, end: End) -> Builder:
            return lambda calls: OurAttempt(
                case, self.build(case.oracle, times=case.grid(grid, self.steps(calls)), prior=prior, end=end)
            )

        ends = {"": End.ESTIMATE, ", to z_0": End.LATENT}
        found = {grid + name: builder(grid, end) for name, end in ends.items() for grid in GRIDS}
        away = case.away()
        if away == (1.0, 0.0):
            return found

        def between(grid: str) -> Builder:
            def build(calls: int) -> OurAttempt:
                times = widened(case.grid(grid, self.steps(calls), start=away[0], stop=away[1]))
                return OurAttempt(case, self.build(case.oracle, times=times, prior=prior), ends=away)

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
        sampler = AdaptiveSampler(
            self.case.oracle,
            rtol=10**exponent,
            atol=10**exponent / 10,
            most_calls=self.most_calls,
            prior=OraclePrior(self.case.oracle),
        )
        try:
            samples = sampler.sample(len(initial), initial=initial, noise=noise)
        except RuntimeError:
            # The solver gave up.
            return None
        calls = sampler.report.calls
        return (samples, calls) if calls <= self.most_calls else None


def widened(grid: Tensor) -> Tensor:
    """Return a grid with the ends 1 and 0, where it does not have them."""
    one, zero = grid.new_ones(1), grid.new_zeros(1)
    return torch.cat([one[: int(grid[0] < 1)], grid, zero[: int(grid[-1] > 0)]])


def _halved(calls: int) -> int:
    """Two calls per step."""
    return calls // 2


OURS: list[Contender] = [
    Ours("DDPM", partial(PosteriorSampler, coupling=Markov())),
    Ours("DDIM", partial(PosteriorSampler, coupling=Deterministic())),
    Ours("Heun, t", HeunSampler, _halved),
    Ours("Heun, log-SNR", partial(HeunSampler, variable=Variable.LOG_SNR), _halved),
    Ours("multistep 2, t", MultistepSampler),
    Ours("multistep 2, log-SNR", partial(MultistepSampler, variable=Variable.LOG_SNR)),
    Ours("multistep 3, t", partial(MultistepSampler, order=3)),
    Ours("multistep 3, log-SNR", partial(MultistepSampler, order=3, variable=Variable.LOG_SNR)),
    Ours("noise multistep 3", NoiseMultistepSampler),
    Ours("noise multistep 4", partial(NoiseMultistepSampler, order=4)),
    Ours("noise multistep 4, uncorrected", partial(NoiseMultistepSampler, order=4, corrector=False)),
    Ours("exponential SDE", ExponentialSDESampler, _halved),
    Ours("Euler-Maruyama", EulerMaruyamaSampler),
    Ours("predictor-corrector", PredictorCorrectorSampler, _halved),
    OurAdaptive(),
]
