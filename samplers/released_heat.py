"""The sampler of inverse heat dissipation, as its authors released it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..degradations import Independent
from ..models import AbstractDenoiser, DegradedDataPrior
from .grids import level_times
from .posterior import PosteriorSampler


def released_heat_sampler(
    denoiser: AbstractDenoiser, data: Float[Tensor, "count ..."], *, delta: float = 0.0125
) -> PosteriorSampler:
    """Return the sampler that Rissanen, Heinonen & Solin (2023) released with their code.

    It starts from training images blurred to t = 1 *without* noise, goes through every level of the process, takes the
    network's mean and adds noise of standard deviation `delta`, but for the last level. In the paper the prior has
    noise, as latents at t = 1 had in training, which is `DegradedDataPrior(process, data)`. Any other number of steps
    will do too, `PosteriorSampler(denoiser, steps=..., coupling=Independent(), delta=...)`.

    Args:
        denoiser: a denoiser of a process with levels, such as `HeatDissipation`.
        data: training images, (count, *shape).
        delta: standard deviation of each step's noise in the data's units: 0.0125 with images in [0, 1], 1.25 times the
            noise that the network is trained with.

    Raises:
        TypeError: `data` is not floating-point.
        ValueError: the process has no levels, `data` has another shape, or delta is negative.
    """
    return PosteriorSampler(
        denoiser,
        times=level_times(denoiser.process),
        coupling=Independent(),
        delta=delta,
        prior=DegradedDataPrior(denoiser.process, data, stddev=0.0),
    )
