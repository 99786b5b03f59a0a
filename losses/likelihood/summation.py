r"""Which terms of the bound are computed: all of its levels, or an unbiased estimate from a few of them.

A distribution over (0, 1] with distribution function F draws level k = ceil(T r) of T with probability P_k = F(k/T) -
F((k-1)/T), and KL_k / P_k has the sum of all levels as its mean. In continuous time the time itself is drawn, and the
integrand divided by the density.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import check_count, check_instance
from ...core.precision import schedule_dtype
from ...degradations import LinearGaussianProcess
from ..times import Stratified, TimeDistribution, TimeSampler, UniformTimes

# Points between which a distribution over continuous time must put some of its mass.
_PROBED = 1024


class Draws(NamedTuple):
    """Terms to compute for each example of a batch.

    Attributes:
        fractions: place of each term in (0, 1]: k / T for level k of T, or the share of the way from the first latent's
            time to 1; (1, draws) where all examples share them, else (batch, draws).
        weights: what each term is multiplied by before they are added up, of the same shape.
    """

    fractions: Float[Tensor, "rows draws"]
    weights: Float[Tensor, "rows draws"]


class TermSampler(nn.Module, ABC):
    """Says which terms of one bound are computed. A module: it may hold a distribution that learns."""

    @abstractmethod
    def draw(self, batch: int, *, device: torch.device, generator: torch.Generator | None = None) -> Draws:
        """Draw the terms of one replicate for each of `batch` examples."""


class Summation(ABC):
    """Which terms are computed, and how often the whole is repeated to tell its standard error: a value.

    Attributes:
        replicates: independent repetitions, each with its own noise, prior and reconstruction; the bound is their mean,
            and from two on they give it a standard error.
    """

    replicates: int

    @abstractmethod
    def bind(self, process: LinearGaussianProcess, steps: int | None) -> TermSampler:
        """Return what draws the terms of a bound of `steps` levels (None: of the integral over time).

        Raises:
            ValueError: the sum, or the integral, cannot be had this way.
        """


@dataclass(frozen=True)
class FullSum(Summation):
    """Every level, once in each replicate: random only through the noise of the latents.

    Attributes:
        replicates: see `Summation`.

    Raises:
        ValueError: replicates < 1.
    """

    replicates: int = 1

    def __post_init__(self) -> None:
        """Refuse to do nothing."""
        check_count("replicates", self.replicates)

    @override
    def bind(self, process: LinearGaussianProcess, steps: int | None) -> TermSampler:
        if steps is None:
            msg = "continuous time has no last level to add up to: take MonteCarlo(draws=...), or a number of steps"
            raise ValueError(msg)
        return AllTerms(steps)


@dataclass(frozen=True)
class MonteCarlo(Summation):
    """A few levels, or times, drawn for each example: unbiased whatever the distribution, and steadier if it fits.

    `Stratified` and `Antithetic` times spread the draws of one example; `LossAwareTimes` puts them where the terms are
    large (importance sampling), once `ELBO.update` gave it what an earlier bound found. Draws of one example are
    independent of those of others and of other replicates. Levels are those of the bound, whatever the process has.

    Attributes:
        draws: how many in each replicate.
        times: their distribution over (0, 1], which reaches every level.
        replicates: see `Summation`.

    Raises:
        ValueError: draws < 1 or replicates < 1.
    """

    draws: int = 16
    times: TimeDistribution = field(default_factory=lambda: Stratified(UniformTimes()))
    replicates: int = 4

    def __post_init__(self) -> None:
        """Refuse to do nothing."""
        check_count("replicates", self.replicates)
        check_instance("times", self.times, TimeDistribution, "Stratified(UniformTimes()) for example")
        check_count("draws", self.draws)

    @override
    def bind(self, process: LinearGaussianProcess, steps: int | None) -> TermSampler:
        sampler = self.times.sampler(process, steps)
        levels = sampler.number_of_levels()
        if steps is None and levels is not None:
            msg = (
                f"{self.times} draws {levels} levels only, and continuous time has more: take times of continuous time,"
                " such as UniformTimes() or LossAwareTimes(), or a number of steps"
            )
            raise ValueError(msg)
        count = steps or _PROBED
        missed = level_probabilities(sampler, torch.arange(1, count + 1, dtype=torch.float64), count) <= 0
        if bool(missed.any()):
            k = int(missed.int().argmax()) + 1
            what = f"level {k} of {count}" if steps else f"a time between {(k - 1) / count:.4g} and {k / count:.4g}"
            msg = (
                f"{self.times} never draws {what}, whose term would be missing from every estimate: take times that "
                "reach all of them, such as UniformTimes() or Stratified(UniformTimes())"
            )
            raise ValueError(msg)
        return SomeTerms(self.draws, sampler, steps)


class AllTerms(TermSampler):
    """Every one of `steps` levels once."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    @override
    def draw(self, batch: int, *, device: torch.device, generator: torch.Generator | None = None) -> Draws:
        levels = torch.arange(1, self.steps + 1, dtype=schedule_dtype(device), device=device)
        fractions = levels[None] / self.steps
        return Draws(fractions, torch.ones_like(fractions))


class SomeTerms(TermSampler):
    """A few of `steps` levels, or of all times.

    Args:
        count: how many for each example.
        times: draws their places in (0, 1].
        steps: number of levels; None in continuous time.
    """

    def __init__(self, count: int, times: TimeSampler, steps: int | None) -> None:
        super().__init__()
        self.count, self.times, self.steps = count, times, steps

    @override
    def extra_repr(self) -> str:
        return f"{self.count} draws" + ("" if isinstance(self.times, nn.Module) else f" of {self.times}")

    @override
    def draw(self, batch: int, *, device: torch.device, generator: torch.Generator | None = None) -> Draws:
        # Drawn for one example at a time: times are spread over what is asked for at once, and examples independent.
        fractions = torch.stack(
            [self.times.sample(self.count, device=device, generator=generator) for _ in range(batch)]
        )
        if self.steps is None:
            return Draws(fractions, 1 / (self.count * self.times.density(fractions)))
        # A sampler of levels k / T may come back from its own division a rounding above k.
        level = (fractions * self.steps - 1e-9).ceil().clamp(1, self.steps)
        return Draws(level / self.steps, 1 / (self.count * level_probabilities(self.times, level, self.steps)))


def level_probabilities(times: TimeSampler, level: Float[Tensor, "*n"], steps: int) -> Float[Tensor, "*n"]:
    """Return the probability of each of these levels 1..steps."""
    # Half a rounding beside k / T, so that a distribution over levels counts each of them once.
    last = torch.where(level == steps, 1.0, (level + 1e-9) / steps)
    first = torch.where(level == 1, 0.0, (level - 1 + 1e-9) / steps)
    return times.cdf(last) - times.cdf(first)
