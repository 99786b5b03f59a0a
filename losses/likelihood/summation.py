r"""Which terms of the bound are computed: all of its levels, or an unbiased estimate from a few of them.

A law over (0, 1] with distribution function F draws level k = ceil(T r) of T with probability P_k = F(k/T) -
F((k-1)/T), and KL_k / P_k has the sum of all levels as its mean. In continuous time the time itself is drawn, and the
integrand divided by the law's density.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_instance
from ..times import Stratified, TimeDistribution, UniformTimes

# Points between which a law over continuous time must put some of its mass.
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


class Summation(ABC):
    """Which terms are computed, and how often the whole is repeated to tell its standard error.

    Attributes:
        replicates: independent repetitions, each with noise, prior and reconstruction of its own; the bound is their
            mean, and from two on they give it a standard error.
    """

    replicates: int

    @abstractmethod
    def check(self, steps: int | None) -> None:
        """Check that the sum over `steps` levels (None: the integral over time) can be had this way.

        Raises:
            ValueError: it cannot.
        """

    @abstractmethod
    def draw(
        self, steps: int | None, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Draws:
        """Draw the terms of one replicate for each of `batch` examples."""

    def _require_replicates(self) -> None:
        if self.replicates < 1:
            msg = f"replicates must be at least 1 (from 2 on there is a standard error), got {self.replicates}"
            raise ValueError(msg)


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
        self._require_replicates()

    def check(self, steps: int | None) -> None:
        """See `Summation.check`."""
        if steps is None:
            msg = "continuous time has no last level to add up to: take MonteCarlo(draws=...), or a number of steps"
            raise ValueError(msg)

    def draw(
        self, steps: int | None, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Draws:
        """See `Summation.draw`."""
        assert steps is not None
        fractions = torch.arange(1, steps + 1, dtype=torch.float64, device=device)[None] / steps
        return Draws(fractions, torch.ones_like(fractions))


@dataclass(frozen=True)
class MonteCarlo(Summation):
    """A few levels, or times, drawn for each example: unbiased whatever the law, and the steadier the better it fits.

    `Stratified` and `Antithetic` laws spread the draws of one example; `LossHistoryTimes` puts them where the terms are
    large (importance sampling), once it was told: `update(found.fractions.flatten(), found.terms.flatten())` with what
    an earlier bound found. A law's draws are independent between examples and replicates.

    Attributes:
        draws: how many in each replicate.
        times: their law over (0, 1], which reaches every level.
        replicates: see `Summation`.

    Raises:
        ValueError: draws < 1 or replicates < 1.
    """

    draws: int = 16
    times: TimeDistribution = field(default_factory=lambda: Stratified(UniformTimes()))
    replicates: int = 4

    def __post_init__(self) -> None:
        """Refuse to do nothing."""
        self._require_replicates()
        check_instance("times", self.times, TimeDistribution, "Stratified(UniformTimes()) for example")
        check_instance("draws", self.draws, int, "a number of terms")
        if self.draws < 1:
            msg = f"draws must be at least 1, got {self.draws}"
            raise ValueError(msg)

    def check(self, steps: int | None) -> None:
        """See `Summation.check`."""
        levels = self.times.number_of_levels()
        if steps is None and levels is not None:
            msg = (
                f"{self.times} draws {levels} levels only, and continuous time has more: take a law of continuous time,"
                " such as UniformTimes() or LossHistoryBins(), or a number of steps"
            )
            raise ValueError(msg)
        count = steps or _PROBED
        missed = self._probabilities(torch.arange(1, count + 1, dtype=torch.float64), count) <= 0
        if bool(missed.any()):
            k = int(missed.int().argmax()) + 1
            what = f"level {k} of {count}" if steps else f"a time between {(k - 1) / count:.4g} and {k / count:.4g}"
            msg = (
                f"{self.times} never draws {what}, whose term would be missing from every estimate: take a law that "
                "reaches all of them, such as UniformTimes() or Stratified(UniformTimes())"
            )
            raise ValueError(msg)

    def draw(
        self, steps: int | None, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Draws:
        """See `Summation.draw`."""
        # Drawn for one example at a time: a law spreads what it is asked for at once, and examples are independent.
        fractions = torch.stack(
            [self.times.sample(self.draws, device=device, generator=generator) for _ in range(batch)]
        ).to(torch.float64)
        if steps is None:
            return Draws(fractions, 1 / (self.draws * self.times.density(fractions.flatten()).reshape(fractions.shape)))
        # A law over levels k / T may come back from its own division a rounding above k.
        level = (fractions * steps - 1e-9).ceil().clamp(1, steps)
        probability = self._probabilities(level.flatten(), steps).reshape(level.shape)
        return Draws(level / steps, 1 / (self.draws * probability))

    def _probabilities(self, level: Tensor, steps: int) -> Tensor:
        """Return the probability of each of these levels."""
        # Half a rounding beside k / T, so that a law over levels counts each of them once.
        last = torch.where(level == steps, 1.0, (level + 1e-9) / steps)
        first = torch.where(level == 1, 0.0, (level - 1 + 1e-9) / steps)
        return self.times.cdf(last) - self.times.cdf(first)
