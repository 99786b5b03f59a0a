r"""Diffusion posterior sampling (Chung, Kim, McCann, Klasky & Ye, 2023), for any linear-Gaussian process.

The likelihood of an observation y = H x + s n given a latent is replaced by one that looks at the estimate alone,

    log p(y | z_t) ~ -zeta |y - H x_hat(z_t)|,
    V^T x_hat_guided = V^T x_hat - zeta (sigma_t^2 / alpha_t) V^T grad_{z_t} |r|,

r = y - H x_hat being the residual over what is observed, and the gradient one vector-Jacobian product.

How this is their algorithm 1: there a step of ancestral sampling is taken from z_t to z_s with x_hat, and then
z_s <- z_s - zeta_i grad_{z_t} |r|^2 with zeta_i = zeta' / |r|, which is z_s - 2 zeta' grad |r|. Here the sampler steps
with x_hat_guided. An ancestral (Markov) step weighs the estimate by alpha_s sigma_{t|s}^2 / sigma_t^2, so z_s moves by

    -zeta (sigma_{t|s}^2 / alpha_{t|s}) grad |r|:    zeta' = zeta sigma_{t|s}^2 / (2 alpha_{t|s}),

per coefficient; for DDPM that is zeta beta_i / (2 sqrt(1 - beta_i)), so their zeta' = 1 on its thousand steps is a zeta
of 20,000 at the least noise and of 100 at the most. Their zeta' is one number at all steps, so it is guidance that
grows with the number of steps and does not follow the noise; zeta here is a slope of a log-likelihood,
belongs to the distribution and not to the grid, and works with every sampler and with blurs. Ten times the steps leave
it as it is. The last step, to t = 0, returns the guided estimate itself.

It is not exact, even for Gaussian data and an exact denoiser. The true S of `PseudoInverseGuidance` is replaced by
(|r| / zeta) I: the uncertainty of the estimate, H C_t H^T, is left out, the noise s is not asked for, and all observed
directions are pulled with one strength. zeta is therefore tuned by eye: too small ignores y, too large overfits it, and
overshoots. `docs/how_to/restoration.md` compares some.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_number
from ...degradations import DataSpectrum, Level
from ...models import AbstractDenoiser, Condition
from .observation import Observation
from .observed import ObservationGuidance, Observed, recording


class DiffusionPosteriorSampling(ObservationGuidance):
    """x_hat - zeta (sigma_t^2 / alpha_t) grad |y - H x_hat|: asks for no covariance and solves nothing, and is biased.

    A call costs a forward and a backward pass of the denoiser. The noise of the observation plays no part.

    Args:
        denoiser: the unconditional denoiser.
        observation: what was observed; it is moved to the process's device.
        strength: zeta >= 0, nats per data unit of the residual's norm; not the step size zeta' of that paper, whose
            1 is a zeta of 100 and more. For an exact Gaussian likelihood it would be |r| / s^2, about sqrt(m) / s once
            the residual is noise, m being the number of observed coefficients; that much may overshoot before.
        variance: the data's variance per coefficient, as in `CovarianceGuidance`. Here it only tells in which
            coefficients z_t says nothing (alpha_t^2 v <= eps sigma_t^2), and gives the correction in those,
            zeta v_k H r / |r|, the limit for vanishing alpha_t; see `observed.py`.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: `strength` is negative or not finite, a shape does not fit, a variance is negative or not finite,
            or the spectrum is in another basis; when called, the denoiser records no gradient.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        observation: Observation,
        *,
        strength: float,
        variance: DataSpectrum | Float[Tensor, "..."] | float,
    ) -> None:
        super().__init__(denoiser, observation, variance=variance)
        check_number("strength", strength, "[0, inf)", "0 does not guide")
        self.strength = strength

    @override
    def _correction(self, z_t: Tensor, at: Level, condition: Condition | None, seen: Observed) -> tuple[Tensor, Tensor]:
        with recording():
            z_t, estimate = self._recorded_estimate(z_t, at, condition)
            with torch.no_grad():
                weight = self._weight(estimate.detach(), seen)
            spread = self.spread(at, dtype=z_t.dtype)
            pulled = self._through_latent(weight, estimate, z_t, spread)
            return estimate.detach(), torch.where(spread.blind, spread.variance * weight, pulled)

    def _weight(self, estimate: Tensor, seen: Observed) -> Tensor:
        """Return V^T of -zeta times the gradient of |y - H x_hat| by x_hat, 0 where the residual is 0."""
        residual = self._residual(estimate, seen)
        norm = residual.flatten(1).norm(dim=1).reshape(-1, *(1,) * (residual.ndim - 1))
        direction = torch.where(norm == 0, 0.0, residual / norm)
        return self.strength * self.process.basis.forward(seen.observation.back_project(direction))
