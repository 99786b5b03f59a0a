r"""Where the noise of a run's steps comes from: one source for all, a seed for each sample, or noise that is shared.

A run of many samples may be split into batches. A source hands out one stream for each batch; a stream is asked for
white noise once in every step that needs some.

* `GeneratorNoise`: a generator goes on from batch to batch, so a sample depends on the batches before it.
* `SeedNoise`: every sample has its own generator and is the same whatever the batch it is drawn in.
* `SharedNoise`: every sample gets the same noise, as where Rissanen et al. (2023) look at what a shared path leaves to
  the initial state.
* `InterpolatedNoise`: on the way from one seed's noise to another's. For independent e_0, e_1 the mixture

      cos(pi w / 2) e_0 + sin(pi w / 2) e_1

  is white at every w: the spherical interpolation of two vectors at right angles, as high-dimensional noises all but
  are. A straight line would lose half of the variance on the way.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_whole
from ..core.randomness import white_noise
from .spectral import Draw

# What a seed's stream of shared noise is apart from the stream that the seed itself begins.
_APART = 0x6E6F697365


class Noise(ABC):
    """A source of white noise for the steps of a run. A subclass writes `stream`."""

    @abstractmethod
    def stream(self, rows: slice) -> Draw:
        """Return a function that makes white noise for one step after another of the samples `rows` of a run.

        It is called with a tensor (batch, *shape), whose shape, dtype and device the noise must have.
        """

    def require_count(self, count: int) -> None:  # noqa: B027
        """Check that there is noise for `count` samples; here for any number.

        Raises:
            ValueError: there is not.
        """


class GeneratorNoise(Noise):
    """Independent noise from one generator.

    Args:
        generator: source of randomness; torch's default if None.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    @override
    def stream(self, rows: slice) -> Draw:
        return lambda like: white_noise(like.shape, like=like, generator=self.generator)


class SeedNoise(Noise):
    """One generator for each sample.

    Args:
        generators: one for each sample, on one device. A stream goes on with those of its rows.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = list(generators)

    @classmethod
    def of_seeds(cls, seeds: Sequence[int]) -> SeedNoise:
        """Return the source that starts each sample's generator, on the CPU, at its seed."""
        return cls([torch.Generator().manual_seed(int(seed)) for seed in seeds])

    @override
    def require_count(self, count: int) -> None:
        if len(self.generators) != count:
            msg = f"noise has {len(self.generators)} generators, one for each sample, but {count} samples are drawn"
            raise ValueError(msg)

    @override
    def stream(self, rows: slice) -> Draw:
        generators = self.generators[rows]

        def draw(like: Tensor) -> Tensor:
            one = like[:1]
            return torch.cat([white_noise(one.shape, like=one, generator=g) for g in generators])

        return draw


class SharedNoise(Noise):
    """The same noise for all samples, in every batch.

    Args:
        seed: seed of the noise.
    """

    def __init__(self, seed: int) -> None:
        check_whole("seed", seed)
        self.seed = seed

    @override
    def stream(self, rows: slice) -> Draw:
        # Not the seed's own numbers: first latents may have been drawn from those.
        generator = torch.Generator().manual_seed((self.seed + _APART) % 2**63)
        return lambda like: white_noise(like[:1].shape, like=like, generator=generator).expand_as(like)


class InterpolatedNoise(Noise):
    """Noise on the way from one seed's to another's, at a share of the way for each sample; shared otherwise.

    Args:
        first: seed of the noise at weight 0.
        second: seed of that at weight 1.
        weights: for each sample where it stands between the two, (count,), in [0, 1].

    Raises:
        ValueError: a weight lies outside [0, 1], the seeds are the same, or (in a run) there is not one weight for each
            sample.
    """

    def __init__(self, first: int, second: int, weights: Float[Tensor, " count"]) -> None:
        if first == second:
            msg = f"first and second must be two seeds, got {first} twice: there is nothing between them"
            raise ValueError(msg)
        if weights.ndim != 1 or not bool(((weights >= 0) & (weights <= 1)).all()):
            msg = f"weights must be numbers in [0, 1], one for each sample, got {weights.tolist()}"
            raise ValueError(msg)
        self.first, self.second, self.weights = first, second, weights

    @override
    def require_count(self, count: int) -> None:
        if len(self.weights) != count:
            msg = f"noise has {len(self.weights)} weights, one for each sample, but {count} samples are drawn"
            raise ValueError(msg)

    @override
    def stream(self, rows: slice) -> Draw:
        ends = [SharedNoise(seed).stream(rows) for seed in (self.first, self.second)]
        angle = self.weights[rows] * (math.pi / 2)

        def draw(like: Tensor) -> Tensor:
            shares = (angle.cos(), angle.sin())
            column = (-1, *(1,) * (like.ndim - 1))
            parts = [share.to(like).reshape(column) * end(like) for share, end in zip(shares, ends, strict=True)]
            return parts[0] + parts[1]

        return draw
