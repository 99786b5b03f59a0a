r"""Do samples lie where real images do, and everywhere they do? Precision and recall, density and coverage.

Around each vector of a set, the ball that reaches to its k-th nearest other one is a piece of the set's manifold.

- precision (Kynkaanniemi et al., 2019): share of samples in some real image's ball.
- recall: share of real images in some sample's ball.
- density (Naeem et al., 2020): number of real balls that a sample lies in, over k, in the mean; above 1 where samples
  crowd in dense regions. One outlier among real images, whose ball is huge, changes it less than precision.
- coverage: share of real images with some sample in their ball.

Of two sets of one distribution and equal size n, coverage has the mean 1 - (n - 1)...(n - k) / ((2n - 1)...(2n - k)),
which is 0.97 for k = 5, and density 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_count
from .feature_checks import check_features
from .neighbours import LARGEST_BLOCK, nearest_neighbours

NEIGHBOURS = 5


@dataclass(frozen=True)
class Manifold:
    """Shares in [0, 1], but for the density; see the module.

    Attributes:
        precision: share of samples that lie where real images do.
        recall: share of real images that lie where samples do.
        density: how deep among real images samples lie.
        coverage: share of real images that samples come near to.
        neighbours: k.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    neighbours: int

    def __str__(self) -> str:
        """Return the figures in one line."""
        shares = f"precision {self.precision:.3f}, recall {self.recall:.3f}"
        return f"{shares}, density {self.density:.3f}, coverage {self.coverage:.3f} (k = {self.neighbours})"


@torch.no_grad()
def compare_manifolds(
    samples: Float[Tensor, "samples size"], real: Float[Tensor, "real size"], *, neighbours: int = NEIGHBOURS
) -> Manifold:
    """Return precision, recall, density and coverage of samples.

    Args:
        samples: features of samples, (samples, size).
        real: features of real images, (real, size), as many if figures are to compare with others'.
        neighbours: k, the neighbour that a ball reaches to.

    Raises:
        ValueError: features differ in size or are not finite, or there are not more than `neighbours` of either.
    """
    check_count("neighbours", neighbours)
    check_features(samples, real)
    if min(len(samples), len(real)) <= neighbours:
        msg = (
            f"neighbours={neighbours} needs more images than that, got {len(samples)} samples and {len(real)} real ones"
        )
        raise ValueError(msg)
    samples, real = samples.double(), real.double()
    # Each is its own nearest neighbour.
    around_real, around_samples = (
        nearest_neighbours(part, part, count=neighbours + 1).distances[:, -1] for part in (real, samples)
    )
    covered, recalled = list[Tensor](), list[Tensor]()
    rows = max(1, LARGEST_BLOCK // len(samples))
    in_balls = torch.zeros(len(samples), dtype=torch.int64, device=samples.device)
    for block, radius in zip(real.split(rows), around_real.split(rows), strict=True):
        distances = torch.cdist(block, samples, compute_mode="donot_use_mm_for_euclid_dist")
        within = distances <= radius[:, None]
        in_balls += within.sum(0)
        covered.append(within.any(1))
        recalled.append((distances <= around_samples).any(1))
    return Manifold(
        precision=(in_balls > 0).double().mean().item(),
        recall=torch.cat(recalled).double().mean().item(),
        density=in_balls.double().mean().item() / neighbours,
        coverage=torch.cat(covered).double().mean().item(),
        neighbours=neighbours,
    )
