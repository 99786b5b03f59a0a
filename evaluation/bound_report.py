"""The bound on a data set's log-likelihood, batch by batch: means with standard errors, on one process or several.

Each batch has its random numbers, made from the seed and the batch's number, so that the figures do not depend
on how many processes share the work (but for the order in which their sums are added).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, distributed
from tqdm import tqdm

from ..core.checks import check_count, check_instance
from ..core.evaluation_mode import evaluating
from ..core.moments import Moments
from ..losses import ELBO, Bound, FullSum
from ..losses.likelihood.bound import bits_of_nats
from ..models import GreyLevels
from ..models.conditions import Batch, batches_with_conditions

# Decimals that are still easier to read than a power of ten.
_MOST_DIGITS = 5
_PARTS = ("total", "prior", "diffusion", "reconstruction")


class Figure(NamedTuple):
    """A mean over a data set.

    Attributes:
        mean: the mean.
        stderr: its standard error: how far another data set from the same source, and other noise, would move it.
    """

    mean: float
    stderr: float

    def __str__(self) -> str:
        """Show both with the digits that the error leaves."""
        if not math.isfinite(self.stderr) or self.stderr <= 0:
            return f"{self.mean:.4g}"
        digits = max(0, 1 - math.floor(math.log10(self.stderr)))
        if digits > _MOST_DIGITS:
            return f"{self.mean:.1e} +- {self.stderr:.1e}"
        return f"{self.mean:.{digits}f} +- {self.stderr:.{digits}f}"

    def scaled(self, factor: float, shift: float = 0.0) -> Figure:
        """Return the figure times `factor`, plus `shift`."""
        return Figure(self.mean * factor + shift, self.stderr * abs(factor))


class Breakdown(NamedTuple):
    """The bound and its named parts, which add up to it.

    Attributes:
        total: the bound.
        prior: share of the last latent.
        diffusion: share of all levels.
        reconstruction: share of the data given the first latent.
        per_level: the divergence of each level, from the least degraded on, where all of them were computed.
    """

    total: Figure
    prior: Figure
    diffusion: Figure
    reconstruction: Figure
    per_level: tuple[Figure, ...]


@dataclass(frozen=True)
class LikelihoodReport:
    """The bound over a data set.

    Attributes:
        nats: means over the data set, in nats per example.
        times: time of the more degraded latent of each of `nats.per_level`.
        count: number of examples.
        dimensions: numbers in one example.
        grey_levels: levels of the data where the bound is one of -log P of integers; None where of a density.
        steps: number of divergences in the diffusion part; None in continuous time.
    """

    nats: Breakdown
    times: tuple[float, ...]
    count: int
    dimensions: int
    grey_levels: GreyLevels | None
    steps: int | None

    def bits_per_dim(self, grey_levels: GreyLevels | None = None) -> Breakdown:
        """Return the same figures in bits per dimension; arguments and errors are those of `Bound.bits_per_dim`."""
        unit, shift = bits_of_nats(self.dimensions, known=self.grey_levels, given=grey_levels)
        nats = self.nats
        return Breakdown(
            total=nats.total.scaled(unit, shift),
            prior=nats.prior.scaled(unit),
            diffusion=nats.diffusion.scaled(unit),
            reconstruction=nats.reconstruction.scaled(unit, shift),
            per_level=tuple(figure.scaled(unit) for figure in nats.per_level),
        )

    def to_json(self) -> dict[str, object]:
        """Return all of it as what `json.dump` takes, in nats, and in bits per dimension where levels are declared."""
        report: dict[str, object] = {
            "count": self.count,
            "dimensions": self.dimensions,
            "steps": self.steps,
            "grey_levels": None if self.grey_levels is None else asdict(self.grey_levels),
            "times": self.times,
            "nats": _plain(self.nats),
        }
        if self.grey_levels is not None:
            report["bits_per_dim"] = _plain(self.bits_per_dim())
        return report


@torch.no_grad()
def evaluate_bound(
    bound: ELBO,
    data: Shaped[Tensor, "count ..."] | Iterable[Batch],
    *,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool = True,
) -> LikelihoodReport:
    """Return the mean of the bound over a data set, with standard errors over its examples.

    The denoiser is put into evaluation mode meanwhile: a bound with dropout is another model's. No call of its network
    has more rows than the larger of `batch_size` and the bound's `rows`.

    Where `torch.distributed` is initialised, the batches are shared among the processes, each of which is given the
    whole data and returns the whole report.

    Args:
        bound: what is computed of each example.
        data: all of the data in one tensor, (count, *shape), or batches of it one after the other, alone or in pairs
            with their condition; integer levels where the decoder declares them.
        batch_size: examples at a time, where `data` is one tensor.
        seed: of all random numbers.
        progress: show a progress bar, on the first process.

    Raises:
        FloatingPointError: the denoiser returned NaN or infinity; the level is named.
        RuntimeError: another process failed; the message is its.
        TypeError, ValueError: as the bound's; or there is no example, or batch_size < 1 or seed < 0.
    """
    check_count("batch_size", batch_size)
    check_count("seed", seed, 0)
    check_instance("bound", bound, ELBO, "ELBO(denoiser, ...)")
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    batches = batches_with_conditions(data, batch_size)
    total = -(-len(data) // batch_size) if isinstance(data, Tensor) else None
    found: _Sums | None = None
    failure: Exception | None = None
    try:
        with evaluating(bound.denoiser):
            bar = tqdm(batches, total=total, unit="batch", disable=rank > 0 or not progress)
            for number, (batch, condition, given) in enumerate(bar):
                if number % world == rank and len(batch):
                    found_here = bound(batch, condition=condition, given=given, generator=_generator(seed, number))
                    sums = _sums(found_here, bound)
                    found = sums if found is None else found.plus(sums)
    except Exception as error:
        if world == 1:
            raise
        # The others wait for this process's figures: they are notified before it fails.
        failure = error
    found = _gathered(found, failure, world)
    if found is None:
        msg = "no data to evaluate the bound on: got no example"
        raise ValueError(msg)
    return found.report(bound)


class _Sums(NamedTuple):
    """Moments of the parts and of the levels over the examples seen, and what is the same for all of them."""

    parts: Moments
    levels: Moments | None
    times: tuple[float, ...]
    dimensions: int

    def plus(self, other: _Sums) -> _Sums:
        levels = None if self.levels is None or other.levels is None else self.levels + other.levels
        return self._replace(parts=self.parts + other.parts, levels=levels)

    def report(self, bound: ELBO) -> LikelihoodReport:
        figures = dict(zip(_PARTS, _figures(self.parts), strict=True))
        return LikelihoodReport(
            nats=Breakdown(**figures, per_level=() if self.levels is None else tuple(_figures(self.levels))),
            times=self.times,
            count=self.parts.count,
            dimensions=self.dimensions,
            grey_levels=bound.decoder.grey_levels,
            steps=bound.steps,
        )


def _sums(found: Bound, bound: ELBO) -> _Sums:
    parts = torch.stack([getattr(found, name) for name in _PARTS], 1).double().cpu()
    # In all-levels estimates every example has the same columns, one a level.
    by_level = isinstance(bound.summation, FullSum)
    return _Sums(
        parts=Moments.of(parts),
        levels=Moments.of(found.terms.double().cpu()) if by_level else None,
        times=tuple(found.times[0].tolist()) if by_level else (),
        dimensions=found.dimensions,
    )


def _figures(moments: Moments) -> list[Figure]:
    return [Figure(*pair) for pair in zip(moments.mean.tolist(), moments.stderr.tolist(), strict=True)]


def _gathered(found: _Sums | None, failure: Exception | None, world: int) -> _Sums | None:
    """Return the sums of all processes, added up in the order of their ranks."""
    if world == 1:
        return found
    everyone: list[tuple[_Sums | None, str]] = [(None, "")] * world
    distributed.all_gather_object(everyone, (found, "" if failure is None else f"{type(failure).__name__}: {failure}"))
    if failure is not None:
        raise failure
    for rank, (_, message) in enumerate(everyone):
        if message:
            msg = f"process {rank} of {world} failed: {message}"
            raise RuntimeError(msg)
    parts = [sums for sums, _ in everyone if sums is not None]
    return functools.reduce(_Sums.plus, parts) if parts else None


def _generator(seed: int, number: int) -> torch.Generator:
    """Return the generator of one batch: seed and number mixed, so that no two batches share a stream."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
    )


def _plain(breakdown: Breakdown) -> dict[str, object]:
    return {
        name: [figure._asdict() for figure in value] if name == "per_level" else value._asdict()
        for name, value in breakdown._asdict().items()
    }
