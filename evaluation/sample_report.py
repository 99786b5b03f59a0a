"""How samples differ from real images, by several measures, each beside its floor: what real images differ by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .energy import energy_distance
from .feature_networks import FID_NETWORK
from .frechet import frechet_distance
from .image_set import ImageSet
from .kernel_distance import KernelDistance, kernel_distance
from .manifold import NEIGHBOURS, Manifold, compare_manifolds
from .metric import Metric

_PAPERS = 50_000


@dataclass(frozen=True)
class Distance:
    """A distance from real images, and of real images from others.

    Attributes:
        value: of samples from real images.
        floor: of two sets of `floor_count` real images each, which share none: no model is expected to be below.
        floor_count: as many as samples, or half of the real ones where there are not twice as many.
    """

    value: float
    floor: float
    floor_count: int

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.value:.4g}, floor {self.floor:.4g} ({self.floor_count} real images and as many)"


@dataclass(frozen=True)
class FeatureDistances:
    """Distances in the features of a network.

    Attributes:
        network: its name.
        frechet: Frechet distance; FID if the network is FID's.
        kernel: kernel distance, KID if the network is FID's, on at most 10,000 of either.
        manifold: precision, recall, density and coverage, on as many.
        real_manifold: the same of real images from others, as many as the floor is made of; None of five or
            fewer, which have no fifth neighbour.
    """

    network: str
    frechet: Distance
    kernel: KernelDistance
    manifold: Manifold
    real_manifold: Manifold | None

    def __str__(self) -> str:
        """Return the figures in some lines, each with the network's name: a line that is quoted alone says it."""
        figures = [f"Frechet distance {self.frechet}", f"kernel distance {self.kernel}", str(self.manifold)]
        if self.real_manifold is not None:
            figures.append(f"of real images: {self.real_manifold}")
        return "\n".join(f"{self.network} {figure}" for figure in figures)


@dataclass(frozen=True)
class OctavePower:
    """Power of samples over that of real images in an octave of frequencies; 1 is as it should be.

    Attributes:
        frequency: mean frequency of the octave, in cycles per pixel; 0 is the mean of the image.
        ratio: power of samples over that of real images.
        error: its standard error.
    """

    frequency: float
    ratio: float
    error: float

    def __str__(self) -> str:
        """Return the ratio and its error."""
        # 60, and not 6e+01.
        return f"{self.ratio:.3g} +- {float(f'{self.error:.1g}'):g}"


@dataclass(frozen=True)
class ClassShares:
    """What a classifier of real images recognises.

    Attributes:
        recognised: share of samples that are recognised as some class.
        real: the same share of held-out images.
        as_asked: share of samples that are recognised as the class asked for; None where none was.
        classes: share of each class among the recognised samples.
        real_classes: the same of held-out images.
    """

    recognised: float
    real: float
    as_asked: float | None
    classes: tuple[float, ...]
    real_classes: tuple[float, ...]

    @property
    def imbalance(self) -> float:
        """Total variation between the two distributions of classes, in [0, 1]: the share that is in the wrong class."""
        return sum(abs(a - b) for a, b in zip(self.classes, self.real_classes, strict=True)) / 2

    def __str__(self) -> str:
        """Return the figures in one line."""
        asked = "" if self.as_asked is None else f", as the class asked for {self.as_asked:.1%}"
        return (
            f"recognised {self.recognised:.1%} (held-out images {self.real:.1%}){asked}, imbalance {self.imbalance:.3f}"
        )


@dataclass(frozen=True)
class SampleReport:
    """How samples differ from real images.

    Attributes:
        samples: number of samples.
        real_images: number of real images that they are compared with: as many, or all where there are fewer.
        octaves: power of each octave.
        energy: energy distance over pixels, in the data's units, of at most 2,000 of either.
        features: distances in features; None where no network was given.
        classes: what is recognised; None where classes are not known.
        others: distances by custom metrics, by their text.
    """

    samples: int
    real_images: int
    octaves: tuple[OctavePower, ...]
    energy: Distance
    features: FeatureDistances | None
    classes: ClassShares | None
    others: Mapping[str, Distance] = field(default_factory=dict[str, Distance])

    def __str__(self) -> str:
        """Return the figures in some lines."""
        lines = [f"{self.samples} samples and {self.real_images} real images"]
        if self.features is not None:
            lines.append(str(self.features))
        lines.append(f"energy distance {self.energy}")
        lines += [f"{name} {distance}" for name, distance in self.others.items()]
        powers = ", ".join(f"{octave.frequency:.3f}: {octave}" for octave in self.octaves)
        lines.append(f"power over that of real images, by frequency (cycles per pixel):\n  {powers}")
        if self.classes is not None:
            lines.append(str(self.classes))
        if self.features is not None and self.features.network != FID_NETWORK:
            lines.append(
                f"figures of {self.features.network} are neither FID nor KID: they compare only with others of the same"
                " network, weights, resizing, data and counts"
            )
        if self.samples < _PAPERS:
            lines.append(f"not comparable with figures of papers, which take {_PAPERS:,} samples")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class RealImages:
    """Real images that samples are compared with.

    Attributes:
        compared: the images.
        halves: two sets of equal size that share no image, for the floor.
        held_out: images that a classifier was not trained on; None where there is no classifier.
    """

    compared: ImageSet
    halves: tuple[ImageSet, ImageSet]
    held_out: ImageSet | None = None

    def report(
        self, samples: ImageSet, *, network: str = "", seed: int = 0, metrics: Sequence[Metric] = ()
    ) -> SampleReport:
        """Return how samples differ from these.

        Args:
            samples: the samples, looked at with the same gauge.
            network: name of the network whose features both have.
            seed: of the subsets that a kernel distance is averaged over.
            metrics: custom ones, on the images that are kept.

        Raises:
            ValueError: there are too few of either for one of the figures.
        """
        energy = self._beside_floor(samples, energy_distance)
        ratio, error = samples.power.ratio_to(self.compared.power)
        columns = (samples.power.frequency.tolist(), ratio.tolist(), error.tolist())
        return SampleReport(
            samples=samples.count,
            real_images=self.compared.count,
            octaves=tuple(OctavePower(*row) for row in zip(*columns, strict=True)),
            energy=energy,
            features=self._features(samples, network, seed),
            classes=self._classes(samples),
            others={str(metric): self._beside_floor(samples, metric.distance) for metric in metrics},
        )

    def _beside_floor(self, samples: ImageSet, distance: Callable[[Tensor, Tensor], float]) -> Distance:
        one, other = (half.pixels for half in self.halves)
        return Distance(distance(samples.pixels, self.compared.pixels), distance(one, other), len(one))

    def _features(self, samples: ImageSet, network: str, seed: int) -> FeatureDistances | None:
        if not (samples.has_features and self.compared.has_features):
            return None
        drawn, real = samples.vectors, self.compared.vectors
        one, other = self.halves
        frechet = Distance(
            frechet_distance(samples.statistics, self.compared.statistics),
            frechet_distance(one.statistics, other.statistics),
            one.count,
        )
        kernel = kernel_distance(drawn, real, seed=seed)
        known = compare_manifolds(one.vectors, other.vectors) if one.count > NEIGHBOURS else None
        return FeatureDistances(network, frechet, kernel, compare_manifolds(drawn, real), known)

    def _classes(self, samples: ImageSet) -> ClassShares | None:
        if samples.recognised is None or self.held_out is None or self.held_out.recognised is None:
            return None
        ours, theirs = samples.recognised, self.held_out.recognised
        shares = (tuple((found / max(1, int(found.sum()))).tolist()) for found in (ours, theirs))
        asked = None if samples.as_asked is None else samples.as_asked / samples.count
        recognised, real = int(ours.sum()) / samples.count, int(theirs.sum()) / self.held_out.count
        return ClassShares(recognised, real, asked, *shares)
