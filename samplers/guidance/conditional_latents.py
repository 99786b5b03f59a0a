r"""Latents to start from: z_t given an observation, for data taken to be Gaussian.

Samplers of p(x | y) start from p(z_1 | y). That is p(z_1) where the process ends in noise alone; but heat leaves the
image's mean, and a run that starts at t < 1 more than that. For u ~ N(m, v) per coefficient, z_t and y are jointly
normal, and a draw of both together becomes a draw of z_t given y through the matrix that conditioning is made of
(Hoffman & Ribak, 1991):

    x' ~ p(x),  z' = A_t x' + sigma_t noise,  y' = H x' + s noise',
    z_t = z' + A_t P H^T S^-1 (y - y'),    P = V diag(v) V^T,  S = H P H^T + s^2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_count, check_instance, check_signal
from ...core.precision import to_compute_dtype
from ...degradations import DataSpectrum, Level, LinearGaussianProcess
from ...degradations.process import Time
from ..noise import GeneratorNoise
from ..spectral import Draw
from .conditioning import require_same_shape, solve, variance_table
from .observation import Observation


@torch.no_grad()
def conditional_latents(
    process: LinearGaussianProcess,
    observation: Observation,
    y: Float[Tensor, "batch ..."],
    spectrum: DataSpectrum,
    *,
    t: Time = 1.0,
    generator: torch.Generator | None = None,
    iterations: int | None = None,
) -> Float[Tensor, "batch ..."]:
    """Draw a latent at `t` for each observation, as if the data were Gaussian: a sampler's `initial`.

    Exact for Gaussian data. For other data it has the mean and the covariance of the best linear guess. Guided runs
    start from such latents by themselves at t = 1, in float32; this is for other times, and for float64.

    Args:
        process: the forward process.
        observation: what was observed, and how exactly, on the process's device; `seen_where` takes masks by the row.
        y: the observations, (batch, *observed_shape).
        spectrum: mean and variance of the data's coefficients, in the process's basis.
        t: times of the latents, a number, () or (batch,); 1 is where samplers start.
        generator: source of randomness; torch's default if None.
        iterations: as in `CovarianceGuidance`.

    Returns:
        Latents, (batch, *shape), float64 if `y` is and float32 otherwise.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a shape is wrong, the spectrum is in another basis, or a time lies outside [0, 1].
        RuntimeError: the equations were not solved in the iterations allowed.
    """
    check_instance("spectrum", spectrum, DataSpectrum, "estimate_spectrum(process.basis, data) makes one")
    check_instance("observation", observation, Observation, "LinearObservation.mask(...) for example")
    require_same_shape(process, observation)
    check_signal("y", y, observation.observed_shape)
    variance_table(process, spectrum)
    observation = observation.in_basis(process.basis) or observation
    if iterations is not None:
        check_count("iterations", iterations)
    at, draw = process.at(t, batch=len(y)), GeneratorNoise(generator).stream(slice(None))
    return latents_given(at, observation, y, spectrum, draw, iterations=iterations)


@torch.no_grad()
def latents_given(
    at: Level,
    observation: Observation,
    y: Float[Tensor, "batch ..."],
    spectrum: DataSpectrum,
    draw: Draw,
    *,
    iterations: int | None,
) -> Float[Tensor, "batch ..."]:
    """Draw as `conditional_latents` does, of checked arguments: latents at a level, from white noise like a tensor."""
    process = at.process
    basis, wide = process.basis, process.to_schedule_dtype(y)
    variance = process.to_schedule_dtype(spectrum.variance)
    like = wide.new_empty((len(y), *process.shape))
    x = process.to_schedule_dtype(spectrum.mean) + variance.sqrt() * draw(like)
    noise = draw(like)
    seen = observation.coefficients(observation(basis.inverse(x)) + observation.noise_std * draw(wide))
    dtype = to_compute_dtype(y).dtype
    solution = solve(
        basis,
        observation,
        y,
        observation.coefficients(wide) - seen,
        variance[None],
        dtype=dtype,
        iterations=iterations,
    )
    latents = at.alpha * (x + variance.sqrt() * solution) + at.sigma * noise
    return basis.inverse(latents).to(dtype)
