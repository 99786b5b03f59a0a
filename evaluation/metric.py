"""A custom metric: a distance between two sets of images, reported beside its floor."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor


class Metric(ABC):
    """A distance between two sets of images. A subclass is a frozen dataclass and writes `distance`."""

    @abstractmethod
    def distance(self, one: Float[Tensor, "count ..."], other: Float[Tensor, "others ..."]) -> float:
        """Return how far apart two sets of images are.

        Args:
            one: at most 2,000 images in the data's range, (count, *shape), on the CPU.
            other: the other ones, (others, *shape), of which there may be more or fewer.
        """
