r"""The Frechet distance of two sets of feature vectors: FID where the features are Inception's pooled ones.

With means m_1, m_2 and covariances S_1, S_2 (Heusel et al., 2017, after Dowson & Landau, 1982),

    d^2 = |m_1 - m_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1^1/2 S_2 S_1^1/2)^1/2,

the squared 2-Wasserstein distance of two Gaussians. The last trace is a sum of square roots of eigenvalues of a
symmetric matrix, so nothing is ever complex, and fewer images than features do no harm: then some of them are 0. With
S = A^T A, A the centred features over sqrt(n - 1), it is also the sum of the singular values of A_1 A_2^T.

The distance of few samples is too large, by about tr S / n for each set (and more): only distances of equal counts
compare.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from .feature_checks import check_features


class FeatureStatistics:
    """Mean and covariance of feature vectors, of any number of them, a batch at a time, in float64.

    Args:
        size: numbers in a feature vector.

    Attributes:
        count: vectors so far.
        mean: their mean, (size,), float64.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean = torch.zeros(size, dtype=torch.float64)
        # Sum of products of deviations from the mean.
        self._scatter = torch.zeros(size, size, dtype=torch.float64)

    @classmethod
    def of(cls, features: Float[Tensor, "count size"]) -> FeatureStatistics:
        """Return the statistics of vectors that are all there, (count, size)."""
        found = cls(features.shape[1])
        found.add(features)
        return found

    def add(self, features: Float[Tensor, "count size"]) -> None:
        """Take a batch of feature vectors in, (count, size).

        Raises:
            ValueError: they have another size, or one is NaN or infinite.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            msg = f"features must have shape (count, {len(self.mean)}), got {tuple(features.shape)}"
            raise ValueError(msg)
        check_features(features)
        if len(features) == 0:
            return
        features = features.detach().cpu().double()
        mean = features.mean(0)
        centred = features - mean
        self._merge(len(features), mean, centred.mT @ centred)

    def merge(self, other: FeatureStatistics) -> None:
        """Take in what another has seen, of another process for example.

        Raises:
            ValueError: it is of vectors of another size.
        """
        check_instance("other", other, FeatureStatistics, "FeatureStatistics.of(features) makes one")
        if other.mean.shape != self.mean.shape:
            msg = f"statistics of {len(other.mean)} features cannot be added to those of {len(self.mean)}"
            raise ValueError(msg)
        self._merge(other.count, other.mean, other._scatter)  # of the same class

    @property
    def covariance(self) -> Float[Tensor, "size size"]:
        """The unbiased covariance, (size, size), float64.

        Raises:
            ValueError: there are fewer than two vectors.
        """
        if self.count < 2:
            msg = f"a covariance is one of at least 2 images, got {self.count}"
            raise ValueError(msg)
        return self._scatter / (self.count - 1)

    def _merge(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        # Chan, Golub & LeVeque (1983): no difference of large numbers, as of sums of squares.
        if count == 0:
            return
        total = self.count + count
        apart = mean - self.mean
        self._scatter = self._scatter + scatter + torch.outer(apart, apart) * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total


def frechet_distance(one: FeatureStatistics, other: FeatureStatistics) -> float:
    """Return the squared Frechet distance of two sets of feature vectors, in squared units of the features.

    Args:
        one: of samples, for example.
        other: of real images.

    Raises:
        ValueError: they are of vectors of different sizes, or one of fewer than two vectors.
    """
    if one.mean.shape != other.mean.shape:
        msg = f"features of {len(one.mean)} and {len(other.mean)} numbers lie at no distance: use one network for both"
        raise ValueError(msg)
    first, second = one.covariance, other.covariance
    root = _root(first)
    mixed = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    apart = (one.mean - other.mean).square().sum()
    # Rounding may take equal sets a little below 0.
    return max(0.0, (apart + first.trace() + second.trace() - 2 * mixed).item())


def _root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
