r"""Nearest images of a set, exactly and for any number of images.

Candidates are found by products, around the set's mean m,

    |a - b|^2 = |a - m|^2 + |b - m|^2 - 2 <a - m, b - m>,

in float64, a block at a time, and their distances are then formed from differences: a copy lies at distance 0 and not
at the root of a rounding error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Numbers in a block of images, or of squared distances (32 MB in float64).
LARGEST_BLOCK = 2**22


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest images of a set, for each of some images.

    Attributes:
        distances: Euclidean distances over pixels in the data's units, rising, (images, count), float64.
        indices: which images of the set these are, (images, count).
    """

    distances: Float[Tensor, "images count"]
    indices: Int[Tensor, "images count"]

    def order(self) -> Int[Tensor, " images"]:
        """Return the images by rising distance to their nearest one, the likeliest copies first."""
        return self.distances[:, 0].argsort(stable=True)


@torch.no_grad()
def nearest_neighbours(
    images: Float[Tensor, "images ..."], among: Float[Tensor, "set ..."], *, count: int = 1
) -> Neighbours:
    """Return the images of a set that are nearest to each image, by Euclidean distance over all pixels.

    Images whose squared distances are equal to within float64's rounding of their squared sizes around the set's mean
    count as equally near.

    Args:
        images: the images, (images, *shape), floating-point.
        among: the set, (set, *shape), in the same units, on the same device.
        count: how many neighbours of each.

    Raises:
        ValueError: shapes differ, there are no images, or fewer than `count` in the set.
    """
    if images.shape[1:] != among.shape[1:]:
        msg = f"images of shape {tuple(images.shape[1:])} lie at no distance from images of {tuple(among.shape[1:])}"
        raise ValueError(msg)
    if not 1 <= count <= len(among):
        msg = f"count must lie in 1..{len(among)}, the number of images to look among, got {count}"
        raise ValueError(msg)
    if len(images) == 0:
        msg = "there are no images to look for neighbours of"
        raise ValueError(msg)
    images, among = images.flatten(1), among.flatten(1)
    centre = among.mean(0, dtype=torch.float64)
    rows = max(1, min(2048, LARGEST_BLOCK // max(1, images.shape[1])))
    found = [_nearest(block.double(), among, centre, count, rows) for block in images.split(rows)]
    return Neighbours(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _nearest(images: Tensor, among: Tensor, centre: Tensor, count: int, rows: int) -> tuple[Tensor, Tensor]:
    """Return distances and indices for one block of images, in float64."""
    a = images - centre
    # |a - m|^2 is the same for all candidates of an image.
    partial = a.new_empty(len(a), 0)
    indices = torch.empty(len(a), 0, dtype=torch.int64, device=a.device)
    for start in range(0, len(among), rows):
        b = among[start : start + rows].double() - centre
        here = torch.arange(start, start + len(b), device=a.device).expand(len(a), -1)
        partial = torch.cat([partial, b.square().sum(1) - 2 * a @ b.mT], dim=1)
        indices = torch.cat([indices, here], dim=1)
        partial, kept = partial.topk(min(count, partial.shape[1]), dim=1, largest=False)
        indices = indices.gather(1, kept)
    differences = [(images - among[chosen].double()).square().sum(1) for chosen in indices.unbind(1)]
    distances, order = torch.stack(differences, dim=1).sqrt().sort(dim=1, stable=True)
    return distances, indices.gather(1, order)
