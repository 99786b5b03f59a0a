r"""The kernel distance of two sets of feature vectors: KID where the features are Inception's pooled ones.

With the kernel k(a, b) = (<a, b> / d + 1)^3 on features of d numbers (Binkowski et al., 2018), the squared maximum mean
discrepancy of n and m vectors is estimated without bias by

    sum_{i != j} k(a_i, a_j) / (n (n - 1)) + sum_{i != j} k(b_i, b_j) / (m (m - 1)) - 2 sum_{i, j} k(a_i, b_j) / (n m).

It may be negative, and it does not grow as samples get fewer, as the Frechet distance does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_count
from .feature_checks import check_features


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance and how far it may be off.

    Attributes:
        value: mean over the subsets.
        error: its standard error over them; they share vectors where there are few, and it is too small then.
        subsets: number of subsets.
        size: vectors of either set in each.
    """

    value: float
    error: float
    subsets: int
    size: int

    def __str__(self) -> str:
        """Return the value and its error."""
        return f"{self.value:.4g} +- {self.error:.1g}"


def kernel_distance(
    one: Float[Tensor, "ones size"],
    other: Float[Tensor, "others size"],
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """Return the kernel distance of two sets of feature vectors, as the mean over random subsets.

    Args:
        one: features of samples, (ones, size).
        other: features of real images, (others, size).
        subsets: number of subsets.
        size: vectors in each; half of the smaller set if that is fewer, so that subsets differ.
        seed: of the choice of subsets.

    Raises:
        ValueError: features differ in size or are not finite, there are fewer than four, or a count is too small.
    """
    check_count("subsets", subsets, 2)
    check_count("size", size, 2)
    check_features(one, other)
    size = min(size, len(one) // 2, len(other) // 2)
    if size < 2:
        msg = f"a kernel distance is one of at least 4 images, got {len(one)} and {len(other)}"
        raise ValueError(msg)
    generator = torch.Generator().manual_seed(seed)
    found = torch.stack(
        [_unbiased(_subset(one, size, generator), _subset(other, size, generator)) for _ in range(subsets)]
    )
    return KernelDistance(found.mean().item(), found.std().item() / math.sqrt(subsets), subsets, size)


def _subset(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)].double()


def _unbiased(a: Tensor, b: Tensor) -> Tensor:
    """Return the unbiased squared discrepancy of two sets of the same number of vectors."""
    count = len(a)
    within = sum(((k := _kernel(x, x)).sum() - k.diagonal().sum()) / (count * (count - 1)) for x in (a, b))
    return within - 2 * _kernel(a, b).mean()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.mT / a.shape[1] + 1) ** 3
