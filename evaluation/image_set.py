"""A set of images as it is compared with another: what features, frequencies and pixels say of it, not the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_count
from ..degradations import CosineBasis
from .feature_networks import FeatureNetwork, features_of
from .frechet import FeatureStatistics
from .power_spectrum import PowerEstimator, PowerSpectrum, octaves
from .recognition import CONFIDENT, Recogniser

# Vectors that kernel distance and manifolds are measured on, and images that energy distances are: distances of all
# pairs take the square of that.
_FEATURES, _PIXELS = 10_000, 2_000


@dataclass(frozen=True, eq=False)
class Gauge:
    """What images are looked at with.

    Attributes:
        data_range: the data's smallest and largest number; images are cut off there, as they are shown.
        network: makes features; None where none are compared.
        recogniser: tells classes; None where none are known.
    """

    data_range: tuple[float, float]
    network: FeatureNetwork | None = None
    recogniser: Recogniser | None = None

    def look(self, images: Float[Tensor, "batch ..."]) -> Look:
        """Return what there is to know of a batch, (batch, *shape), on the CPU."""
        within = images.detach().cpu().float().clamp(*self.data_range)
        features = None if self.network is None else next(features_of([images], self.network, self.data_range))
        probabilities = None if self.recogniser is None else self.recogniser.probabilities(within)
        return Look(within, features, probabilities)


@dataclass(frozen=True, eq=False)
class Look:
    """A batch that was looked at.

    Attributes:
        images: the images, in the data's range.
        features: their features, (batch, size).
        probabilities: of each class, (batch, classes).
    """

    images: Float[Tensor, "batch ..."]
    features: Float[Tensor, "batch size"] | None
    probabilities: Float[Tensor, "batch classes"] | None

    def first(self, count: int) -> Look:
        """Return the first ones."""
        parts = (self.features, self.probabilities)
        return Look(self.images[:count], *(None if part is None else part[:count] for part in parts))


@dataclass(eq=False)
class ImageSet:
    """The first images that it is given, up to a number, a batch at a time.

    Attributes:
        shape: of one image.
        most: how many are taken in.
        count: how many are.
        recognised: of each class, how many images are recognised as it; None where classes are not known.
    """

    shape: Sequence[int]
    most: int
    count: int = field(default=0, init=False)
    recognised: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_count("most", self.most)
        self._power = PowerEstimator(CosineBasis(self.shape), octaves)
        self._statistics: FeatureStatistics | None = None
        self._features, self._pixels = list[Tensor](), list[Tensor]()

    def add(self, look: Look) -> None:
        """Take in what there is room for."""
        look = look.first(self.most - self.count)
        _keep(self._pixels, look.images, _PIXELS - self.count)
        self._power.add(look.images)
        if look.features is not None:
            _keep(self._features, look.features, _FEATURES - self.count)
            self._statistics = self._statistics or FeatureStatistics(look.features.shape[1])
            self._statistics.add(look.features)
        if look.probabilities is not None:
            confidence, classes = look.probabilities.max(1)
            found = torch.bincount(classes[confidence >= CONFIDENT], minlength=look.probabilities.shape[1])
            self.recognised = found if self.recognised is None else self.recognised + found
        self.count += len(look.images)

    @property
    def power(self) -> PowerSpectrum:
        """Power by octave."""
        return self._power.spectrum()

    @property
    def statistics(self) -> FeatureStatistics:
        """Mean and covariance of all features, of which there must be some."""
        assert self._statistics is not None
        return self._statistics

    @property
    def features(self) -> Float[Tensor, "kept size"] | None:
        """Features of at most 10,000 of the images; None where there are none."""
        return torch.cat(self._features) if self._features else None

    @property
    def pixels(self) -> Float[Tensor, "kept ..."]:
        """At most 2,000 of the images."""
        return torch.cat(self._pixels)


def _keep(kept: list[Tensor], part: Tensor, room: int) -> None:
    if room > 0:
        kept.append(part[:room])
