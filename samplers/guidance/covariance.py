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

from ...degradations import DataSpectrum
from ...models import AbstractDenoiser
from .least_squares import damped_least_squares
from .observations import LinearObservation
from .observed import ObservationGuidance, Spread

_MOST_ITERATIONS = 1000


class CovarianceGuidance(ObservationGuidance):
    """x_hat + C H^T (H C H^T + s^2)^-1 (y - H x_hat): exact for Gaussian data, stable for every process.

    The one to take for heat and other blurs without much noise, where alpha vanishes; and wherever a gradient through
    the network is too dear: a call costs one call of the denoiser.

    Args:
        denoiser: the unconditional denoiser.
        observation: what was observed, and how exactly; it is moved to the process's device.
        y: the observations, (batch, *shape), one for each row of the latents.
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
        y: Float[Tensor, "batch ..."],
        *,
        variance: DataSpectrum | Float[Tensor, "..."] | float,
        iterations: int = _MOST_ITERATIONS,
    ) -> None:
        super().__init__(denoiser, observation, y, variance=variance)
        if iterations < 1:
            msg = f"iterations must be at least 1, got {iterations}"
            raise ValueError(msg)
        self.iterations = iterations
        self._one_basis = observation.basis.agrees_with(self.process.basis)

    def select(self, rows: slice) -> CovarianceGuidance:
        """Return the guided denoiser of these rows of the batch."""
        return type(self)(
            self.denoiser.select(rows),
            self.observation,
            self.table("y")[rows],
            variance=self.table("log_variance").exp(),
            iterations=self.iterations,
        )

    def _correction(self, z_t: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """See `ObservationGuidance`."""
        estimate = self.denoiser(z_t, times)
        spread = self.spread(times, dtype=z_t.dtype)
        return estimate, spread.variance * self._weight(estimate, spread)

    def _weight(self, estimate: Tensor, spread: Spread) -> Tensor:
        """Return V^T H^T S^-1 (y - H x_hat) for S = H C_t H^T + s^2, 0 where C_t is.

        Raises:
            RuntimeError: the equations were not solved in the iterations allowed.
        """
        residual, noise = self._residual(estimate), self._noise_variance(estimate.dtype)
        gain = self.observation.table("gain")
        if self._one_basis:
            total = gain.square() * spread.variance + noise
            # Without variance and noise the data is known, and there is nothing to correct.
            return torch.where(total == 0, 0.0, gain * residual / total)
        ours, theirs = self.process.basis, self.observation.basis
        stddev = spread.variance.sqrt()
        solution = damped_least_squares(
            lambda w: gain * theirs.forward(ours.inverse(stddev * w)),
            lambda r: stddev * ours.forward(theirs.inverse(gain * r)),
            residual,
            noise,
            size=gain.abs().max() * stddev.flatten(1).amax(1).reshape(-1, *(1,) * len(self.process.shape)),
            iterations=self.iterations,
        )
        # (G G^T + s^2)^-1 G r = C^(1/2) H^T S^-1 r.
        return torch.where(stddev == 0, 0.0, solution / stddev)

    def _noise_variance(self, dtype: torch.dtype) -> Tensor:
        """Return s^2 and the rounding's share, (batch, 1, ..., 1), in the schedule's precision."""
        y = self.table("y")
        seen = self.observation.coefficients(self.process.in_schedule_dtype(y))
        count = (self.observation.table("gain") != 0).sum().clamp(min=1)
        square = seen.flatten(1).square().sum(1) / count
        eps = max(torch.finfo(y.dtype).eps, torch.finfo(dtype).eps)
        return (self.observation.noise_std**2 + eps**2 * square).reshape(-1, *(1,) * len(self.process.shape))
