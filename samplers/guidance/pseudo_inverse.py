r"""Pseudo-inverse guidance (Song, Vahdat, Mardani & Kautz, 2023): the observation's gradient through the denoiser.

With x | z_t ~ N(x_hat, C_t) as in `observed.py`, y | z_t ~ N(H x_hat, S), S = H C_t H^T + s^2, and with C_t held,

    grad_{z_t} log p(y | z_t) = J^T H^T S^-1 (y - H x_hat),    J = d x_hat / d z_t,

one vector-Jacobian product. In that paper C_t is r_t^2 I; here it has a variance for each coefficient of the process's
basis, and with v = 1 and alpha_t = 1 it is the paper's r_t^2 = sigma_t^2 / (1 + sigma_t^2). For Gaussian data J is
V diag(alpha_t r_t^2 / sigma_t^2) V^T, and the estimate is that of `CovarianceGuidance`: exact. For other data J knows
what the model covariance does not: which coefficients the data ties to each other.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...degradations import DataSpectrum, Level
from ...models import AbstractDenoiser, Condition
from .covariance import CovarianceGuidance
from .observation import Observation
from .observed import Observed, recording


class PseudoInverseGuidance(CovarianceGuidance):
    """x_hat + (sigma_t^2 / alpha_t) J^T H^T (H C H^T + s^2)^-1 (y - H x_hat), J being the denoiser's own Jacobian.

    For isotropic diffusion and for blurs under noise that grows, as blurring diffusion's. It is as good as the
    network's Jacobian, which no loss trains: take it with networks that predict x or v, in many ancestral steps. With
    one that predicts epsilon, whose estimate divides by alpha_t, latents may grow until they are NaN (the page on
    restoring images has figures). A call costs a forward and a backward pass of the denoiser.

    In coefficients of which z_t tells nothing (alpha_t^2 v <= eps sigma_t^2, eps being z_t's precision) the correction
    is `CovarianceGuidance`'s; see `observed.py`. For heat those are most coefficients at most times, so take that one
    there. It is so too in coefficients that are known, beside others, to the precision of the equations (r_t^2 <= eps
    times the largest).

    Arguments and errors are those of `CovarianceGuidance`. The estimate carries no gradient itself, and a denoiser that
    records none is refused when it is called (ValueError).
    """

    # Written out, so that a missing argument is reported under this class's name.
    def __init__(
        self,
        denoiser: AbstractDenoiser,
        observation: Observation,
        *,
        variance: DataSpectrum | Float[Tensor, "..."] | float,
        iterations: int | None = None,
    ) -> None:
        super().__init__(denoiser, observation, variance=variance, iterations=iterations)

    @override
    def _correction(self, z_t: Tensor, at: Level, condition: Condition | None, seen: Observed) -> tuple[Tensor, Tensor]:
        with recording():
            z_t, estimate = self._recorded_estimate(z_t, at, condition)
            spread = self.spread(at, dtype=z_t.dtype)
            stddev = spread.variance.sqrt()
            with torch.no_grad():
                solution = self._solve(estimate.detach(), seen, spread)
            eps = torch.finfo(solution.dtype).eps
            known = spread.variance <= eps * spread.variance.flatten(1).amax(1).reshape(-1, *(1,) * (z_t.ndim - 1))
            # Nothing is asked of coefficients that the model knows: the solution's rounding there is not divided.
            weight = torch.where(known, 0.0, solution / stddev)
            pulled = self._through_latent(weight, estimate, z_t, spread)
            return estimate.detach(), torch.where(spread.blind | known, stddev * solution, pulled)
