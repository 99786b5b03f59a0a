r"""What lies between two samples: runs from interpolated initial states with interpolated noise.

A run is a function of its initial state and of the white noise of its steps. Between the runs (z, e) and (z', e'), at a
share w of the way, lies the run with

    e_w = cos(pi w / 2) e + sin(pi w / 2) e',      z_w = (1 - w) z + w z'  or, on a sphere,
    z_w = sin((1 - w) theta) / sin(theta) z + sin(w theta) / sin(theta) z',      cos(theta) = <z, z'> / |z| |z'|.

The straight line is for states that are images themselves, such as heat dissipation's blurred ones: the blend of two
is such an image too (Rissanen et al., 2023, so interpolate). The sphere (Shoemake, 1985) is for states that are white
noise, whose norm hardly varies: halfway along the line they would have but half of their variance. Of steps without
noise the initial state alone decides: it is a latent code of the sample, to be encoded and interpolated like one.
"""

from __future__ import annotations

import math
from enum import Enum, auto

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_count, check_instance, check_signal
from ...core.precision import to_compute_dtype
from ...core.randomness import white_noise
from ...models import Condition, StandardNormalPrior
from ...models.conditions import check_rows, select_rows
from ...models.priors.standard_normal import ends_in_standard_normal
from ..noise import InterpolatedNoise, Noise, SharedNoise
from ..sampler import Sampler
from ..spectral import Draw


class Blend(Enum):
    """The way from one initial state to another."""

    LINEAR = auto()
    """A straight line, for states that are images."""

    SPHERICAL = auto()
    """The shorter arc of a great circle, for white noise."""

    def between(
        self, first: Float[Tensor, "..."], second: Float[Tensor, "..."], weights: Float[Tensor, " points"]
    ) -> Float[Tensor, "points ..."]:
        """Return what lies at `weights` in [0, 1] of the way from one signal to another, (points, *shape).

        Raises:
            ValueError: the arc is not determined: one signal is zero, or they point in opposite directions.
        """
        # Shares are found on the CPU: not every device has float64.
        column = weights.cpu().double().reshape(-1, *(1,) * first.ndim)
        shares = (1 - column, column)
        if self is Blend.SPHERICAL:
            shares = _arc(first, second, column)
        return shares[0].to(first) * first + shares[1].to(first) * second


def interpolate(  # noqa: PLR0913  # each is a choice
    sampler: Sampler,
    first: Float[Tensor, "..."],
    second: Float[Tensor, "..."],
    *,
    points: int,
    seeds: tuple[int, int] | None = None,
    blend: Blend | None = None,
    start: float = 1.0,
    condition: Condition | None = None,
    given: Condition | None = None,
    batch_size: int | None = None,
) -> Float[Tensor, "points ..."]:
    """Return samples on the way from one initial state to another, and from one noise to another.

    The first one is what `sampler.sample(1, initial=first[None], noise=SharedNoise(seeds[0]))` returns, the last one
    likewise that of `second` and `seeds[1]`.

    Args:
        sampler: draws the samples.
        first: initial state at weight 0, a latent at `start`, of the process's shape; the noise-free sampler's code of
            an image, say.
        second: initial state at weight 1; the same one lets the noise alone move.
        points: how many samples, the ends included, at least 2.
        seeds: seeds of the steps' noise at the ends; the same one twice is noise that all samples share. Needed for
            samplers whose steps add noise; others do not look at it.
        blend: the way between the states; spherical if None where samples start from standard normal noise at t = 1,
            linear elsewhere.
        start: time of the states.
        condition: the network's condition, (points, ...); None if it takes none.
        given: what the denoiser is given of each sample, if it needs any.
        batch_size: most samples at a time; all at once if None.

    Returns:
        Samples in the data's range, not clipped, (points, *shape).

    Raises:
        TypeError: a state is not floating-point.
        ValueError: points < 2, a state has another shape, the steps add noise and there are no seeds, or the process is
            pinned to its known end at `start`.
    """
    shape = sampler.process.shape
    for name, state in (("first", first), ("second", second)):
        check_instance(name, state, Tensor, "such as sampler.initial_latents(1)[0]")
        if tuple(state.shape) != shape:
            msg = f"{name} must be one initial state, of the process's shape {shape}, got {tuple(state.shape)}"
            raise ValueError(msg)
        check_signal(name, state[None], shape)
    if sampler.process.at(start).pinned:
        msg = (
            f"at t = {start:g} a latent of {sampler.process.called} is its known end, and no state lies between two:"
            " interpolate_seeds goes from one noise to another, and sampler.sample(points, given=ends, noise=...) from"
            " one known end to another"
        )
        raise ValueError(msg)
    noise: Noise | None = None
    if seeds is None:
        if sampler.draws_noise_from(start):
            msg = (
                "the sampler's steps add noise, which lies between the noises of two ends: give seeds=(0, 1), or the"
                " same twice for noise that all samples share, or take a sampler without (coupling=Deterministic())"
            )
            raise ValueError(msg)
    elif seeds[0] == seeds[1]:
        noise = SharedNoise(seeds[0])
    else:
        noise = InterpolatedNoise(*seeds, _weights(points))
    chosen = blend or _natural_blend(sampler, start)
    device = sampler.process.device
    ends = [to_compute_dtype(state).to(device) for state in (first, second)]
    initial = chosen.between(ends[0], ends[1], _weights(points))
    return sampler.sample(
        points,
        condition=condition,
        given=given,
        initial=initial,
        noise=noise,
        start=start,
        batch_size=batch_size,
    )


def interpolate_seeds(
    sampler: Sampler,
    first: int,
    second: int,
    *,
    points: int,
    blend: Blend | None = None,
    condition: Condition | None = None,
    given: Condition | None = None,
    batch_size: int | None = None,
) -> Float[Tensor, "points ..."]:
    """Return samples on the way between two that were drawn with seeds: initial states and noises move together.

    The ends are what `sampler.sample(2, generator=[first, second])` returns.

    Args:
        sampler: draws the samples.
        first: seed of the sample at weight 0.
        second: seed of the sample at weight 1.
        points: how many samples, the ends included, at least 2.
        blend: the way between the initial states, as in `interpolate`; of no effect where both are one known end.
        condition: the network's condition, (points, ...); None if it takes none.
        given: what the denoiser is given of each sample, if it needs any.
        batch_size: most samples at a time; all at once if None.

    Returns:
        Samples in the data's range, not clipped, (points, *shape).

    Raises:
        ValueError: points < 2, or the seeds are the same.
    """
    weights = _weights(points)
    if first == second:
        msg = f"first and second must be two seeds, got {first} twice: there is nothing between them"
        raise ValueError(msg)
    check_rows("given", given, points)
    chosen = blend or _natural_blend(sampler, 1.0)
    # What is given belongs to a point, whose states at both ends are drawn for it.
    rows = [slice(None)] if given is None else [slice(k, k + 1) for k in range(points)]
    between: list[Tensor] = []
    generators: list[torch.Generator] = []
    for row in rows:
        # A seed's generator makes the first latent and then goes on to the steps' noise, as in `Sampler.sample`.
        generators = [torch.Generator().manual_seed(seed) for seed in (first, second)]
        mine = select_rows(given, row)
        a, b = (sampler.initial_latents(1, given=mine, generator=generator)[0] for generator in generators)
        between.append(chosen.between(a, b, weights[row]))
    initial, noise = torch.cat(between), _NoiseBetween(generators[0], generators[1], weights)
    return sampler.sample(points, condition=condition, given=given, initial=initial, noise=noise, batch_size=batch_size)


class _NoiseBetween(Noise):
    """As `InterpolatedNoise`, between what two generators make from where they are."""

    def __init__(self, first: torch.Generator, second: torch.Generator, weights: Tensor) -> None:
        self.ends, self.weights = (first, second), weights

    def stream(self, rows: slice) -> Draw:
        # Copies: every batch meets the same noise.
        first, second = (end.clone_state() for end in self.ends)
        angle = self.weights[rows] * (math.pi / 2)

        def draw(like: Tensor) -> Tensor:
            column = angle.reshape(-1, *(1,) * (like.ndim - 1))
            ends = [white_noise(like[:1].shape, like=like, generator=g) for g in (first, second)]
            return column.cos().to(like) * ends[0] + column.sin().to(like) * ends[1]

        return draw


def _weights(points: int) -> Tensor:
    check_count("points", points, 2, "the two ends")
    return torch.linspace(0, 1, points, dtype=torch.float64)


def _natural_blend(sampler: Sampler, start: float) -> Blend:
    prior = sampler.prior
    white = ends_in_standard_normal(sampler.process) if prior is None else isinstance(prior, StandardNormalPrior)
    return Blend.SPHERICAL if start == 1 and white else Blend.LINEAR


def _arc(first: Tensor, second: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of both ends along the arc between them."""
    a, b = first.cpu().double().flatten(), second.cpu().double().flatten()
    a_norm, b_norm = a.norm(), b.norm()
    if not bool((a_norm > 0) & (b_norm > 0)):
        msg = "a spherical way leads from one direction to another, but an end is zero: take Blend.LINEAR"
        raise ValueError(msg)
    # The angle by its half's tangent, |a - b| / |a + b| for unit vectors: exact where acos would lose half its digits.
    apart, together = (a / a_norm - b / b_norm).norm(), (a / a_norm + b / b_norm).norm()
    if not bool(together > 1e-6):
        msg = "the ends point in opposite directions: every great circle joins them; take Blend.LINEAR, or other ends"
        raise ValueError(msg)
    angle = 2 * torch.atan2(apart, together)
    # sin(w theta) / sin(theta) is w for small angles.
    whole = torch.sinc(angle / math.pi)
    shares = [w * torch.sinc(w * angle / math.pi) / whole for w in (1 - weights, weights)]
    return shares[0], shares[1]
