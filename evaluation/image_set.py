"""A set of images as it is compared with another: what features, frequencies and pixels say of it, not the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ..core import Shape
from ..core.checks import check_count
from ..degradations import CosineBasis
from .feature_networks import FeatureNetwork, features_of
from .frechet import FeatureStatistics
from .power_spectrum import PowerEstimator, PowerSpectrum, octaves
from .recognition import CONFIDENT, Recogniser

# Vectors that kernel distance and manifolds are measured on, and images that energy distances are: distances of all
# pairs take the square of that.
_FEATURES, PIXELS = 10_000, 2_000


@dataclass(frozen=True, eq=False)
class Look:
    """What there is to know of a batch of images.

    Attributes:
        images: the images, cut off at the data's range; None where the first 2,000 are there already.
        powers: mean square of the coefficients of each octave, (batch, octaves).
        features: their features, (batch, size); None without a network.
        probabilities: of each class, (batch, classes); None without a classifier.
    """

    images: Float[Tensor, "batch ..."] | None
    powers: Float[Tensor, "batch octaves"]
    features: Float[Tensor, "batch size"] | None
    probabilities: Float[Tensor, "batch classes"] | None

    def __len__(self) -> int:
        return len(self.powers)

    def rows(self, chosen: slice) -> Look:
        """Return some of them."""
        return Look.of({name: tensor[chosen] for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return what is there, by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Look:
        """Return what `tensors` gave."""
        return cls(**{each.name: tensors.get(each.name) for each in fields(cls)})  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, eq=False)
class Gauge:
    """What images are looked at with.

    Attributes:
        shape: of one image.
        data_range: the data's smallest and largest number; images are cut off there, as they are shown.
        network: makes features; None where none are compared.
        recogniser: tells classes; None where none are known.
    """

    shape: Shape
    data_range: tuple[float, float]
    network: FeatureNetwork | None = None
    recogniser: Recogniser | None = None

    @cached_property
    def power(self) -> PowerEstimator:
        """What tells the power of each octave."""
        return PowerEstimator(CosineBasis(self.shape), octaves)

    def look(self, images: Float[Tensor, "batch ..."]) -> Look:
        """Return what there is to know of a batch, (batch, *shape), on the CPU."""
        within = images.detach().cpu().float().clamp(*self.data_range)
        features = None if self.network is None else next(features_of([images], self.network, self.data_range))
        probabilities = None if self.recogniser is None else self.recogniser.probabilities(within)
        return Look(within, self.power.powers(within), features, probabilities)

    def new_set(self, most: int) -> ImageSet:
        """Return an empty set that takes in so many images."""
        return ImageSet(self.shape, most)


@dataclass(eq=False)
class ImageSet:
    """The first images that it is given, up to a number, a batch at a time.

    Attributes:
        shape: of one image.
        most: how many are taken in.
        count: how many are.
        recognised: of each class, how many images are recognised as it; None where classes are not known.
        as_asked: of how many this is the class that was asked for; None where none was.
    """

    shape: Sequence[int]
    most: int
    count: int = field(default=0, init=False)
    recognised: Tensor | None = field(default=None, init=False)
    as_asked: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_count("most", self.most)
        self._power = PowerEstimator(CosineBasis(self.shape), octaves)
        self._statistics: FeatureStatistics | None = None
        self._features, self._pixels = list[Tensor](), list[Tensor]()

    def add(self, look: Look, asked: Tensor | None = None) -> None:
        """Take in what there is room for.

        Args:
            look: what is known of a batch.
            asked: the classes that were asked for, (batch,), where they were.
        """
        look = look.rows(slice(self.most - self.count))
        self._power.add(look.powers)
        if look.images is not None:
            _keep(self._pixels, look.images, PIXELS - self.count)
        if look.features is not None:
            _keep(self._features, look.features, _FEATURES - self.count)
            self._statistics = self._statistics or FeatureStatistics(look.features.shape[1])
            self._statistics.add(look.features)
        if look.probabilities is not None:
            self._recognise(look.probabilities, None if asked is None else asked[: len(look)])
        self.count += len(look)

    def _recognise(self, probabilities: Tensor, asked: Tensor | None) -> None:
        confidence, classes = probabilities.max(1)
        certain = confidence >= CONFIDENT
        found = torch.bincount(classes[certain], minlength=probabilities.shape[1])
        self.recognised = found if self.recognised is None else self.recognised + found
        if asked is not None:
            self.as_asked = (self.as_asked or 0) + int((certain & (classes == asked)).sum())

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
    def has_features(self) -> bool:
        """Whether there is a network that made some."""
        return self._statistics is not None

    @property
    def vectors(self) -> Float[Tensor, "kept size"]:
        """Features of at most 10,000 of the images, of which there must be some."""
        return torch.cat(self._features)

    @property
    def pixels(self) -> Float[Tensor, "kept ..."]:
        """At most 2,000 of the images."""
        return torch.cat(self._pixels)


def _keep(kept: list[Tensor], part: Tensor, room: int) -> None:
    if room > 0:
        kept.append(part[:room])
