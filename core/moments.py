r"""Mean and squared deviations of a stream of numbers.

Parts are merged by the update of Chan, Golub & LeVeque (1979), which never subtracts squares of sums,

    M = M_a + M_b + (m_b - m_a)^2 n_a n_b / (n_a + n_b),    m = m_a + (m_b - m_a) n_b / (n_a + n_b),

M being the sum of squared deviations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations of examples of one shape; two of them add up with `+`.

    Attributes:
        count: number of examples.
        mean: their mean, of an example's shape.
        deviations: sum of their squared deviations from it, of the same shape.
    """

    count: int
    mean: Float[Tensor, "..."]
    deviations: Float[Tensor, "..."]

    @classmethod
    def of(cls, values: Float[Tensor, "count ..."]) -> Moments:
        """Return the moments of a batch of at least one example, in the batch's precision."""
        mean = values.mean(0)
        return cls(len(values), mean, (values - mean).square().sum(0))

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of examples together."""
        total = self.count + other.count
        step = other.mean - self.mean
        deviations = self.deviations + other.deviations + step.square() * (self.count * other.count / total)
        return Moments(total, self.mean + step * (other.count / total), deviations)

    @property
    def variance(self) -> Float[Tensor, "..."]:
        """Unbiased variance of the examples; NaN where there is one only."""
        return self.deviations / (self.count - 1) if self.count > 1 else torch.full_like(self.deviations, torch.nan)

    @property
    def stderr(self) -> Float[Tensor, "..."]:
        """Standard error of the mean, the examples being independent; NaN where there is one only."""
        return (self.variance / self.count).sqrt()
