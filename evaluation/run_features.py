"""How far a run's samples are from real images in a network's features; kept in its folder, with how it was done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from .. import __version__
from ..core.checks import check_count
from ..core.configuration import write
from ..core.files import write_atomically
from ..models.conditions import select_rows
from ..training import LoadedRun, load_run
from ..training.building import classes_in_order
from ..training.data.examples import Examples
from .feature_networks import FeatureNetwork, features_of
from .frechet import FeatureStatistics, frechet_distance
from .kernel_distance import KernelDistance, kernel_distance
from .manifold import Manifold, compare_manifolds

# Vectors that kernel distance and manifolds are measured on: distances of all pairs take the square of that.
_KEPT = 10_000
_PAPERS = 50_000
# Precision and recall take five neighbours of each, and subsets of a kernel distance two images.
LEAST = 8


@dataclass(frozen=True)
class FeatureReport:
    """Distances of samples from training images in a network's features.

    Attributes:
        network: name of the network.
        samples: number of samples.
        training_images: number of training images that they are compared with: as many, or all where there are fewer.
        frechet: Frechet distance; FID if the network is FID's.
        floor: the same of two sets of so many training images each, disjoint: what no model is expected to be below.
        floor_count: images in each of these.
        kernel: kernel distance, on at most 10,000 of either.
        manifold: precision, recall, density and coverage, on as many.
    """

    network: str
    samples: int
    training_images: int
    frechet: float
    floor: float
    floor_count: int
    kernel: KernelDistance
    manifold: Manifold

    def __str__(self) -> str:
        """Return the figures in some lines."""
        fewer = "" if self.floor_count == self.samples else f" (of {self.floor_count} and as many: there are no more)"
        lines = [
            f"in features of {self.network}, {self.samples} samples and {self.training_images} training images:",
            f"  Frechet distance {self.frechet:.4g}; of training images from others {self.floor:.4g}{fewer}",
            f"  kernel distance {self.kernel}",
            f"  {self.manifold}",
        ]
        if self.samples < _PAPERS:
            lines.append(f"  not to compare with figures of papers, which take {_PAPERS:,} samples")
        return "\n".join(lines)


def evaluate_features(
    folder: Path | str,
    network: FeatureNetwork,
    *,
    samples: int = 1000,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = False,
    place: Path | str | None = None,
    trust_code: bool = False,
) -> FeatureReport:
    """Return how far samples of a run are from its training images, and write it into `features.json` there.

    Samples are drawn as those of the run's own pictures, a batch at a time; the images themselves are not kept. With
    fewer training images than samples, all of them are compared with.

    Args:
        folder: the run's folder.
        network: makes the features.
        samples: how many.
        batch_size: samples at a time.
        seed: of the first sample, from which the others count on, and of the choice of training images.
        progress: show a progress bar.
        place: folder or file where the data lie now; None looks where they were.
        trust_code: as for `load_run`.

    Raises:
        ConnectionError, FileNotFoundError: as `load_run` and `LoadedRun.data`.
        OSError: the folder cannot be written to.
        ValueError: as those two; or data are no grey or colour images, or there are too few for these figures.
    """
    check_count("samples", samples, LEAST, "for precision and recall")
    check_count("batch_size", batch_size)
    loaded = load_run(folder, trust_code=trust_code)
    loaded.folder.check_writable()
    train, data_range = loaded.data(place).train, loaded.manifest.data_range
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
    compared, half = order[:samples], min(samples, len(train) // 2)
    if len(compared) < LEAST:
        msg = f"{loaded.folder.path} was trained on {len(compared)} images: such figures need at least {LEAST}"
        raise ValueError(msg)
    needed = max(len(compared), 2 * half)
    with tqdm(total=needed + samples, disable=not progress, unit="image", leave=False) as bar:

        def seen(batches: Iterable[Tensor], *sets: _Set) -> None:
            for part in features_of(batches, network, data_range):
                for each in sets:
                    each.add(part)
                bar.update(len(part))

        # Training images are shuffled, so that any part of them stands for all.
        real, first, second = _Set(len(compared)), _Set(half), _Set(half)
        seen(_images(train, order[:half], batch_size), real, first)
        seen(_images(train, order[half : 2 * half], batch_size), real, second)
        seen(_images(train, order[2 * half : needed], batch_size), real)
        drawn = _Set(samples)
        seen(_samples(loaded, samples, batch_size, seed), drawn)
    report = FeatureReport(
        network=network.name,
        samples=samples,
        training_images=len(compared),
        frechet=frechet_distance(drawn.statistics, real.statistics),
        floor=frechet_distance(first.statistics, second.statistics),
        floor_count=half,
        kernel=kernel_distance(drawn.kept, real.kept, seed=seed),
        manifold=compare_manifolds(drawn.kept, real.kept),
    )
    facts = {"unmelt": __version__, **_facts(loaded, network, seed), **asdict(report)}
    write_atomically(loaded.folder.path / "features.json", json.dumps(facts, indent=2) + "\n")
    return report


class _Set:
    """Features of the first images that it is given, up to a number: their statistics, and some of them."""

    def __init__(self, most: int) -> None:
        self._most, self._kept = most, list[Tensor]()
        self._statistics: FeatureStatistics | None = None

    def add(self, features: Tensor) -> None:
        """Take in what there is room for."""
        statistics = self._statistics = self._statistics or FeatureStatistics(features.shape[1])
        features = features[: self._most - statistics.count]
        if (room := _KEPT - statistics.count) > 0:
            self._kept.append(features[:room])
        statistics.add(features)

    @property
    def statistics(self) -> FeatureStatistics:
        """Mean and covariance of all."""
        assert self._statistics is not None
        return self._statistics

    @property
    def kept(self) -> Tensor:
        """Features of at most 10,000 of them."""
        return torch.cat(self._kept)


def _images(examples: Examples, rows: Sequence[int], batch_size: int) -> Iterator[Tensor]:
    for start in range(0, len(rows), batch_size):
        yield examples.read(rows[start : start + batch_size])


def _samples(loaded: LoadedRun, count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    labels, sampler = classes_in_order(loaded.denoiser, count), loaded.sampler()
    for rows in torch.arange(count).split(batch_size):
        seeds = range(seed + int(rows[0]), seed + int(rows[-1]) + 1)
        chosen = select_rows(labels, rows)
        yield sampler.sample(len(rows), condition=chosen, generator=seeds, keep_on="cpu")


def _facts(loaded: LoadedRun, network: FeatureNetwork, seed: int) -> dict[str, object]:
    """Return what figures have to share to be compared."""
    sampler = loaded.sampler()
    return {
        "checkpoint": loaded.checkpoint.name,
        "step": loaded.step,
        "ema_decay": loaded.ema_decay,
        "training_batch": loaded.config.training.batch_size,
        "sampler": write(loaded.parts.sampler),
        "steps": len(sampler.times) - 1,
        "guidance": loaded.parts.pictures.guidance,
        "split": "training images",
        "seed": seed,
        "weights": network.digest(),
        "resize": network.resize,
    }
