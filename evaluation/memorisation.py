r"""Are samples copies? Their distances to the training images, beside those of images that are new for certain.

Held-out images come from the data's distribution and were never seen: they tell how near to the training set a *new*
image lies. With d(.) the distance to the nearest training image and c such that held-out images have d < c with
probability q,

    share = fraction of samples with d < c,

which is q for samples of the data's distribution and 1 for copies. Of n samples and m held-out images it has, if both
follow one distribution, the mean q, as far as 1 / (m + 1) <= q <= m / (m + 1), and about the variance
q (1 - q) (1 / n + 1 / m): the first part from the samples, the second from c. A second figure needs no held-out images:
a copy is much nearer to one training image than to all others, d_1 <= d_2 / 3 (Yoon et al., 2023).

Distances are over pixels: an image copied but shifted or recoloured is new to them, and samples that are blurred or
poor may be nearer to the training images than real ones, or further away, without having been copied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_number
from .neighbours import Neighbours, nearest_neighbours


@dataclass(frozen=True)
class Memorisation:
    """How near samples lie to the training images, and how near new images do.

    Attributes:
        median: median distance of the samples to their nearest training image, in the data's units.
        held_out_median: the same of held-out images.
        quantile: the q that the threshold is the quantile of.
        threshold: the distance that a share `quantile` of the held-out images is nearer than.
        share: share of samples nearer than that; `quantile` is expected without memorisation.
        share_error: its standard error, both sets of images being samples.
        copies: share of samples with d_1 <= `copy_ratio` d_2, their two smallest distances to training images.
        held_out_copies: the same of held-out images.
        samples: number of samples.
        held_out: number of held-out images.
    """

    median: float
    held_out_median: float
    quantile: float
    threshold: float
    share: float
    share_error: float
    copies: float
    held_out_copies: float
    samples: int
    held_out: int

    @property
    def ratio(self) -> float:
        """The samples' median distance over the held-out images'; well below 1 is a sign of copies."""
        return self.median / self.held_out_median

    def __str__(self) -> str:
        """Return the figures in one line."""
        return (
            f"nearest training image at {self.median:.4g} (held-out images {self.held_out_median:.4g}, ratio"
            f" {self.ratio:.3g}); nearer than {self.quantile:.0%} of those: {self.share:.1%} +- {self.share_error:.1%};"
            f" copies {self.copies:.1%} (held-out images {self.held_out_copies:.1%})"
        )


def assess_memorisation(
    samples: Float[Tensor, "samples ..."],
    training: Float[Tensor, "training ..."],
    held_out: Float[Tensor, "held_out ..."],
    *,
    quantile: float = 0.05,
    copy_ratio: float = 1 / 3,
) -> Memorisation:
    """Return how near samples lie to training images, beside held-out ones.

    Compare samples as they are shown: cut off at the data's range, and rounded if they are stored as integers.

    Args:
        samples: the samples, (samples, *shape), floating-point, in the data's units.
        training: the images trained on, (training, *shape), likewise. If they were mirrored in training, give their
            mirror images too.
        held_out: images of the same source never trained on, (held_out, *shape).
        quantile: the share q of held-out images that the threshold lies above, in (0, 1).
        copy_ratio: how much nearer than the second a copy is to the nearest training image, in (0, 1).

    Raises:
        ValueError: shapes differ, there are no samples or held-out images, fewer than two training images, a setting is
            out of range, or so many held-out images are training images that the threshold is 0.
    """
    for name, value in (("quantile", quantile), ("copy_ratio", copy_ratio)):
        check_number(name, value, "(0, 1)")
    ours, theirs = (nearest_neighbours(images, training, count=2) for images in (samples, held_out))
    nearest, reference = ours.distances[:, 0], theirs.distances[:, 0]
    # The k-th smallest of m distances has a share k / (m + 1) of the distribution below it, in the mean.
    place = (quantile * (len(reference) + 1) - 1) / max(1, len(reference) - 1)
    threshold = torch.quantile(reference, min(max(place, 0.0), 1.0)).item()
    if threshold == 0:
        msg = (
            f"{int((reference == 0).sum())} of {len(held_out)} held-out images are training images: no sample is nearer"
            " than those; hold out others, or remove the duplicates"
        )
        raise ValueError(msg)
    near = int((nearest < threshold).sum())
    # No share found is certain: one more of either kind is thought of, or a share of 0 would have no error at all.
    likely = (near + 1) / (len(nearest) + 2)
    return Memorisation(
        median=nearest.median().item(),
        held_out_median=reference.median().item(),
        quantile=quantile,
        threshold=threshold,
        share=near / len(nearest),
        share_error=math.sqrt(likely * (1 - likely) / len(nearest) + quantile * (1 - quantile) / len(reference)),
        copies=_copies(ours, copy_ratio),
        held_out_copies=_copies(theirs, copy_ratio),
        samples=len(nearest),
        held_out=len(reference),
    )


def _copies(found: Neighbours, ratio: float) -> float:
    """Return the share of images much nearer to one training image than to the next."""
    first, second = found.distances.unbind(1)
    return (first <= ratio * second).double().mean().item()
