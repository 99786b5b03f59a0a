"""What the bound on the log-likelihood gives: its named parts, in nats and in bits per dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_instance
from ...models.grey_levels import GreyLevels

_PARTS = ("total", "prior", "diffusion", "reconstruction")


class BitsPerDim(NamedTuple):
    """The bound in bits per dimension, and its parts, which add up to it; each (batch,).

    Attributes:
        total: prior + diffusion + reconstruction.
        prior: the last latent's share.
        diffusion: all levels' share.
        reconstruction: the data's share given the first latent; that of integer data includes the width of a level.
        stderr: standard error of `total` given the data; NaN where one replicate cannot tell.
    """

    total: Float[Tensor, " batch"]
    prior: Float[Tensor, " batch"]
    diffusion: Float[Tensor, " batch"]
    reconstruction: Float[Tensor, " batch"]
    stderr: Float[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Bound:
    """An upper bound on -log p(x) in nats for each example of a batch, or an unbiased estimate of one.

    Attributes:
        prior: KL(q(z_1 | x) || p(z_1)), (batch,).
        diffusion: the sum over all levels, or the integral over time, (batch,).
        reconstruction: E[-log p(x | z_first)], (batch,).
        terms: what was computed of the diffusion part, (batch, draws): divergences in nats, in continuous time the
            integrand in nats per unit of time. With `FullSum` there is one column a level, its mean over replicates.
        times: the time of the more degraded latent of each term, (batch, draws).
        fractions: its place in (0, 1], k / T for divergence k of T, in continuous time the fraction of the way from
            the first latent to t = 1, (batch, draws): what a time distribution of `MonteCarlo` draws and learns from.
        weights: factors with which the terms add up to `diffusion`, (batch, draws).
        stderr: standard error of `total` given the data, (batch,); NaN where one replicate cannot tell.
        dimensions: numbers in one example.
        grey_levels: levels of the data where `total` bounds -log P of integers; None where it bounds a density.
    """

    prior: Float[Tensor, " batch"]
    diffusion: Float[Tensor, " batch"]
    reconstruction: Float[Tensor, " batch"]
    terms: Float[Tensor, "batch draws"]
    times: Float[Tensor, "batch draws"]
    fractions: Float[Tensor, "batch draws"]
    weights: Float[Tensor, "batch draws"]
    stderr: Float[Tensor, " batch"]
    dimensions: int
    grey_levels: GreyLevels | None

    def __repr__(self) -> str:
        """Show means over the batch, not numbers for each level."""
        parts = ", ".join(f"{name} {getattr(self, name).mean().item():.5g}" for name in _PARTS)
        return f"Bound({parts} nats; means of {len(self.prior)} examples, {self.terms.shape[1]} terms each)"

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """The bound, prior + diffusion + reconstruction, (batch,)."""
        return self.prior + self.diffusion + self.reconstruction

    def bits_per_dim(self, grey_levels: GreyLevels | None = None) -> BitsPerDim:
        """Return the bound in bits per dimension with its breakdown.

        Args:
            grey_levels: levels and range of the data, needed where the decoder has none: then the data must
                be these levels dequantised, and the width of one turns the density into a probability.

        Raises:
            ValueError: no levels are known, or other ones than the decoder's are given.
        """
        unit, shift = bits_of_nats(self.dimensions, known=self.grey_levels, given=grey_levels)
        return BitsPerDim(
            total=self.total * unit + shift,
            prior=self.prior * unit,
            diffusion=self.diffusion * unit,
            reconstruction=self.reconstruction * unit + shift,
            stderr=self.stderr * unit,
        )


def bits_of_nats(dimensions: int, *, known: GreyLevels | None, given: GreyLevels | None) -> tuple[float, float]:
    """Return factor and shift from nats per example to bits per dimension: bits = nats * factor + shift.

    Args:
        dimensions: numbers in one example.
        known: levels that the nats already account for, if any.
        given: levels to turn a density into a probability with, where none are known.

    Raises:
        ValueError: neither is there, or they contradict each other.
    """
    if given is not None:
        check_instance("grey_levels", given, GreyLevels, "such as GreyLevels(count=256, low=0.0, high=1.0)")
    if known is None and given is None:
        msg = (
            "bits per dimension depend on the number of levels and the range of the data: give both, such as"
            " bits_per_dim(GreyLevels(count=256, low=0.0, high=1.0)), or declare them in the decoder"
        )
        raise ValueError(msg)
    if known is not None and given not in (None, known):
        msg = f"the decoder was made for {known}, and this bound is in its units: got {given}; leave it out"
        raise ValueError(msg)
    shift = -math.log2(given.width) if known is None and given is not None else 0.0
    return 1 / (dimensions * math.log(2)), shift


def mean_of(replicates: list[Bound], *, same_terms: bool) -> Bound:
    """Return the mean of independent replicates, with the standard error that they tell.

    Args:
        replicates: at least one, of the same examples.
        same_terms: whether their terms are of the same times, so that these have a mean too; else they are listed.
    """
    first, count = replicates[0], len(replicates)
    prior, diffusion, reconstruction, total = (
        torch.stack([getattr(replicate, name) for replicate in replicates])
        for name in ("prior", "diffusion", "reconstruction", "total")
    )
    if same_terms:
        terms = torch.stack([replicate.terms for replicate in replicates]).mean(0)
        times, fractions, weights = first.times, first.fractions, first.weights
    else:
        names = ("terms", "times", "fractions")
        terms, times, fractions = (
            torch.cat([getattr(replicate, name) for replicate in replicates], 1) for name in names
        )
        weights = torch.cat([replicate.weights for replicate in replicates], 1) / count
    stderr = total.std(0) / math.sqrt(count) if count > 1 else torch.full_like(total[0], torch.nan)
    return Bound(
        prior=prior.mean(0),
        diffusion=diffusion.mean(0),
        reconstruction=reconstruction.mean(0),
        terms=terms,
        times=times,
        fractions=fractions,
        weights=weights,
        stderr=stderr,
        dimensions=first.dimensions,
        grey_levels=first.grey_levels,
    )
