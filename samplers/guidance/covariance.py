r"""Guidance by the model covariance: the posterior mean of a Gaussian around the denoiser's estimate.

With x | z_t ~ N(x_hat, C_t) as in `observed.py`, the mean given y as well is that of a linear-Gaussian model,

    E[x | z_t, y] = x_hat + C_t H^T S^-1 (y - H x_hat),    S = H C_t H^T + s^2.

It needs no gradient and never divides by alpha_t, so it is safe where alpha_t vanishes, as heat's does. It is exact for
Gaussian data with the given variances. For other data its C_t is a model: it moves only what the model says is
correlated with y, coefficient by coefficient, where the gradient of `PseudoInverseGuidance` knows what the denoiser
has learnt of x. With a C_t that is one number it is the proximal step of DiffPIR (Zhu et al., 2023).

`conditioning.py` has the equations, and how they are solved.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count
from ...degradations import DataSpectrum, Level
from ...models import AbstractDenoiser, Condition
from .conditioning import solve
from .observation import Observation
from .observed import ObservationGuidance, Observed, Spread


class CovarianceGuidance(ObservationGuidance):
    """x_hat + C H^T (H C H^T + s^2)^-1 (y - H x_hat): exact for Gaussian data, stable for every process.

    The one to take for heat and other blurs without much noise, where alpha vanishes; and wherever a gradient through
    the network is too dear: a call costs one call of the denoiser.

    Args:
        denoiser: the unconditional denoiser.
        observation: what was observed, and how exactly; it is moved to the process's device.
        variance: the data's variance v >= 0 per coefficient of the process's basis, in squared data units: a spectrum
            (`estimate_spectrum(process.basis, data)`), a tensor that broadcasts to the shape, or one number.
        iterations: how many conjugate gradient iterations are allowed at each time, where the observation is not
            diagonal in the process's basis; ten per coefficient, and 1000 at least, if None.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a shape does not fit, a variance is negative or not finite, the spectrum is in another basis, or
            iterations < 1.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        observation: Observation,
        *,
        variance: DataSpectrum | Float[Tensor, "..."] | float,
        iterations: int | None = None,
    ) -> None:
        super().__init__(denoiser, observation, variance=variance)
        if iterations is not None:
            check_count("iterations", iterations)
        self.iterations = iterations

    @override
    def _correction(self, z_t: Tensor, at: Level, condition: Condition | None, seen: Observed) -> tuple[Tensor, Tensor]:
        estimate = self.denoiser(z_t, at.t, condition)
        spread = self.spread(at, dtype=z_t.dtype)
        return estimate, spread.variance.sqrt() * self._solve(estimate, seen, spread)

    def _solve(self, estimate: Tensor, seen: Observed, spread: Spread) -> Tensor:
        """Return the spectrum of C_t^(1/2) H^T S^-1 (y - H x_hat); see `solve`."""
        return solve(
            self.process.basis,
            seen.observation,
            seen.y,
            self._residual(estimate, seen),
            spread.variance,
            dtype=estimate.dtype,
            iterations=self.iterations,
        )
