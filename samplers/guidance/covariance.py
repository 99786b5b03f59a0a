r"""Guidance by the model covariance: the posterior mean of a Gaussian around the denoiser's estimate.

With x | z_t ~ N(x_hat, C_t) as in `observed.py`, the mean given y as well is that of a linear-Gaussian model,

    E[x | z_t, y] = x_hat + C_t H^T S^-1 (y - H x_hat),    S = H C_t H^T + s^2.

It needs no gradient and never divides by alpha_t, so it is safe where alpha_t vanishes, as heat's does. It is exact for
Gaussian data with the given variances. For other data its C_t is a model: it moves only what the model says is
correlated with y, coefficient by coefficient, where the gradient of `PseudoInverseGuidance` knows what the denoiser
has learnt of x. With a C_t that is one number it is the proximal step of DiffPIR (Zhu et al., 2023).

Where H is diagonal in the process's own basis, all of this is a sum over coefficients,

    (H^T S^-1 r)_k = h_k r_k / (h_k^2 r_t,k^2 + s^2).

Otherwise, with G = C_t^(1/2) H, it is C_t^(1/2) (G G^T + s^2)^-1 G r, found by conjugate gradients.

Without noise (s = 0) observed coefficients are fitted as well as the observation's own precision allows: y is a rounded
number, and its rounding is noise of standard deviation eps rms(y), eps belonging to the coarser dtype of y and the
latents and the mean square being over observed coefficients. That is added to s in quadrature, always. It makes S
invertible, matters for s below eps rms(y) only, and keeps coefficients that a blur has faded below the rounding from
being amplified into nonsense.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count
from ...degradations import Basis, DataSpectrum, Level
from ...models import AbstractDenoiser, Condition
from .least_squares import damped_least_squares
from .observations import LinearObservation
from .observed import ObservationGuidance, Spread

MOST_ITERATIONS = 1000


class CovarianceGuidance(ObservationGuidance):
    """x_hat + C H^T (H C H^T + s^2)^-1 (y - H x_hat): exact for Gaussian data, stable for every process.

    The one to take for heat and other blurs without much noise, where alpha vanishes; and wherever a gradient through
    the network is too dear: a call costs one call of the denoiser.

    Args:
        denoiser: the unconditional denoiser.
        observation: what was observed, and how exactly; it is moved to the process's device.
        variance: the data's variance v >= 0 per coefficient of the process's basis, in squared data units: a spectrum
            (`estimate_spectrum(process.basis, data)`), a tensor that broadcasts to the shape, or one number.
        iterations: how many conjugate gradient iterations are allowed at each time, where the observation is diagonal
            in another basis than the process.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a shape does not fit, a variance is negative or not finite, the spectrum is in another basis, or
            iterations < 1.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        observation: LinearObservation,
        *,
        variance: DataSpectrum | Float[Tensor, "..."] | float,
        iterations: int = MOST_ITERATIONS,
    ) -> None:
        super().__init__(denoiser, observation, variance=variance)
        check_count("iterations", iterations)
        self.iterations = iterations

    @override
    def _correction(self, z_t: Tensor, at: Level, condition: Condition | None, y: Tensor) -> tuple[Tensor, Tensor]:
        estimate = self.denoiser(z_t, at.t, condition)
        spread = self.spread(at, dtype=z_t.dtype)
        return estimate, spread.variance.sqrt() * self._solve(estimate, y, spread)

    def _solve(self, estimate: Tensor, y: Tensor, spread: Spread) -> Tensor:
        """Return the spectrum of C_t^(1/2) H^T S^-1 (y - H x_hat); see `solve`."""
        noise = noise_variance(self.observation, y, estimate.dtype)
        return solve(
            self.process.basis,
            self.observation,
            self._residual(estimate, y),
            spread.variance,
            noise,
            iterations=self.iterations,
        )


def solve(
    basis: Basis,
    observation: LinearObservation,
    residual: Float[Tensor, "batch ..."],
    variance: Float[Tensor, "..."],
    noise: Float[Tensor, "..."],
    *,
    iterations: int = MOST_ITERATIONS,
) -> Float[Tensor, "batch ..."]:
    """Return the spectrum of C^(1/2) H^T S^-1 W r for S = H C H^T + noise, (batch, *shape).

    Args:
        basis: the basis V in which C is diagonal.
        observation: H, diagonal in W.
        residual: coefficients r of a residual in W, (batch, *shape), 0 where nothing is observed.
        variance: the diagonal of C, broadcastable to (batch, *shape).
        noise: variance of the observation's noise, (batch or 1, 1, ..., 1).
        iterations: how many are allowed where the bases differ.

    Raises:
        RuntimeError: the equations were not solved in the iterations allowed.
    """
    gain, stddev, theirs = observation.gain, variance.sqrt(), observation.basis
    if theirs.agrees_with(basis):
        total = gain.square() * variance + noise
        # Without variance and noise the data is known, and there is nothing to correct.
        return torch.where(total == 0, 0.0, stddev * gain * residual / total)
    return damped_least_squares(
        lambda w: gain * theirs.forward(basis.inverse(stddev * w)),
        lambda r: stddev * basis.forward(theirs.inverse(gain * r)),
        residual,
        noise,
        size=gain.abs().max() * stddev.flatten(1).amax(1).reshape(-1, *(1,) * len(basis.shape)),
        iterations=iterations,
    )


def noise_variance(
    observation: LinearObservation, y: Float[Tensor, "batch ..."], dtype: torch.dtype
) -> Float[Tensor, "batch ..."]:
    """Return s^2 and the share of rounding, (eps rms(y))^2, (batch, 1, ..., 1), in float64 where the device has it.

    Args:
        observation: what was observed.
        y: the observations, (batch, *shape).
        dtype: dtype of the signals that they are compared with; eps is that of the coarser one.
    """
    gain = observation.gain
    square = observation.coefficients(y.to(gain.dtype)).flatten(1).square().sum(1) / (gain != 0).sum().clamp(min=1)
    eps = max(torch.finfo(y.dtype).eps, torch.finfo(dtype).eps)
    return (observation.noise_std**2 + eps**2 * square).reshape(-1, *(1,) * (y.ndim - 1))
