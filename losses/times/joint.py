r"""Times of one batch that are spread better than independent ones.

Each time is the law's quantile of a number u_i that is uniform in [0, 1) by itself, so each time alone has the law, and
the average of losses over a batch keeps its expectation. Only its variance changes: numbers that avoid each other cover
the law more evenly. They do not help where the losses of one time differ more between examples than between times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...core.checks import check_instance
from .base import TimeDistribution, largest_below_one, uniform_numbers


class JointTimes(nn.Module, TimeDistribution, ABC):
    """A law whose times are drawn together, a batch at a time. A subclass writes `uniforms`.

    A module, so that a law with a state of its own moves and is saved with the loss that holds this one.

    Args:
        law: the law of each time; its own way of drawing is not used, its correction and update are.

    Raises:
        TypeError: `law` is none.
    """

    def __init__(self, law: TimeDistribution) -> None:
        super().__init__()
        check_instance("law", law, TimeDistribution, "UniformTimes() for example")
        self.law = law

    @abstractmethod
    def uniforms(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """Draw `batch` numbers in [0, 1), each uniform by itself; arguments as in `sample`."""

    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """Draw times, each of the law by itself; see `TimeDistribution.sample`."""
        return self.law.quantile(self.uniforms(batch, device=device, generator=generator))

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.quantile`."""
        return self.law.quantile(u)

    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.cdf`."""
        return self.law.cdf(t)

    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.density`."""
        return self.law.density(t)

    def number_of_levels(self) -> int | None:
        """See `TimeDistribution.number_of_levels`."""
        return self.law.number_of_levels()

    def correction(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.correction`."""
        return self.law.correction(t)

    def update(self, t: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> None:
        """See `TimeDistribution.update`."""
        self.law.update(t, losses)

    def extra_repr(self) -> str:
        """Show a law that is no module; others are shown below."""
        return "" if isinstance(self.law, nn.Module) else repr(self.law)


class Stratified(JointTimes):
    """One number in each of the n equal parts of [0, 1), for a batch of n: u_i = (j_i + v_i) / n.

    The v_i are independent and uniform in [0, 1), and j_i = (i + r) mod n with one r uniform over 0..n-1, so that no
    example of a batch keeps to a part. The variance of a mean over the batch is that of the function *within* the
    parts: for smooth functions it falls as n^-3, where independent times give n^-1 (Haber, 1966).
    """

    def uniforms(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """See `JointTimes.uniforms`."""
        within = uniform_numbers(batch, device=device, generator=generator)
        turn = (uniform_numbers(1, device=device, generator=generator) * batch).floor()
        part = (torch.arange(batch, device=device, dtype=within.dtype) + turn).remainder(batch)
        # The last part's numbers just below 1 may be rounded up to it.
        return ((part + within) / batch).clamp(max=largest_below_one(within.dtype))


class LowDiscrepancy(JointTimes):
    """One uniform number for the whole batch, turned by equal steps: u_i = (u + i / n) mod 1.

    Source: Kingma et al. (2021), appendix I.1. The batch is a grid that moves as a whole. The variance of a mean of f
    over it falls as (f(1) - f(0))^2 / (12 n^2) for smooth f, f being a function of u: slower than under `Stratified`
    unless both ends agree. A function whose period is 1 / n gets the variance of a single draw.
    """

    def uniforms(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """See `JointTimes.uniforms`."""
        start = uniform_numbers(1, device=device, generator=generator)
        return (start + torch.arange(batch, device=device, dtype=start.dtype) / batch).remainder(1)


class Antithetic(JointTimes):
    """Pairs of u and its mirror image 1 - u: example i and example i + ceil(n / 2); of an odd batch one has no pair.

    The mean of a monotone function has less variance than under independent times, and none left of what is odd about
    the median (Hammersley & Morton, 1956); of a function that is even about the median it has twice as much.
    """

    def uniforms(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """See `JointTimes.uniforms`."""
        pairs = batch // 2
        first = uniform_numbers(batch - pairs, device=device, generator=generator)
        # The mirror of [0, 1) is (0, 1]. torch.rand draws multiples j of 2^-53; they are mirrored among themselves,
        # j to 2^53 - 1 - j, so that the image of a uniform number is exactly uniform too.
        return torch.cat((first, largest_below_one(first.dtype) - first[:pairs]))
