r"""Predictor and corrector: after each step some Langevin steps at the time it went to.

The idea is that of Song et al. (2021, section 4.2). Langevin's equation du = score dtau + sqrt(2) dw leaves the
marginal at its time alone, so that it mends what a step got wrong. Its step is set *per coefficient*, delta sigma_s^2:
a share delta of the variance of the noise that the coefficient has. With score = (alpha u_hat - u) / sigma^2 and the
estimate held, such a step is solved exactly by

    u <- e^-delta u + (1 - e^-delta) alpha_s u_hat + sigma_s sqrt(1 - e^-2delta) epsilon.

Song et al. set one step for all of a latent, 2 (r |epsilon| / |score|)^2 where alpha = 1, which for white noise is
delta = 2 r^2; the r = 0.16 of their CIFAR-10 configuration is delta = 0.05.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import Coupling
from ..degradations.predictions import Conversion
from ..models import AbstractDenoiser, Prior
from .base import End, Sampler
from .posterior import PosteriorSampler, PosteriorStep
from .signals import mix
from .walk import PlannedStep, Walk


class CorrectedStep(NamedTuple):
    """A posterior step, and the Langevin steps after it.

    Attributes:
        predictor: the posterior step.
        latent: share of the latent in a Langevin step.
        estimate: share of the estimate.
        stddev: standard deviation of its noise in the data's units.
        conversion: turns latent and output at s into an estimate.
    """

    predictor: PosteriorStep
    latent: Float[Tensor, "steps ..."]
    estimate: Float[Tensor, "steps ..."]
    stddev: Float[Tensor, "steps ..."]
    conversion: Conversion


class PredictorCorrectorSampler(Sampler):
    """Posterior steps, each followed by Langevin steps; 1 + corrections network calls per step, one for the last.

    Many short Langevin steps at a time would give its marginal exactly. Steps of a given size have a bias, in
    proportion to `size` while that is small, which does not vanish as the grid becomes finer: for Gaussian data of
    variance v, many of them end, per coefficient, in the variance of the marginal times (2 - q) / (2 - q + q m), where
    q = 1 - e^-size and m = alpha^2 v / (alpha^2 v + sigma^2).

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,).
        corrections: Langevin steps after each step.
        size: delta, their size as a share of the noise's variance in each coefficient.
        coupling: how consecutive noises of the posterior steps hang together; `Markov()` if None.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `PosteriorSampler`, corrections < 1, size is not positive, or the process is deterministic.
    """

    def __init__(  # each is a choice of its own
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        corrections: int = 1,
        size: float = 0.05,
        coupling: Coupling | None = None,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        if corrections < 1:
            msg = f"corrections must be at least 1, got {corrections}: without any take PosteriorSampler"
            raise ValueError(msg)
        if not 0 < size < math.inf:
            msg = f"size must be positive, a share of the noise's variance such as 0.05, got {size}"
            raise ValueError(msg)
        self.corrections, self.size = corrections, size
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)
        self.require_noise(type(self).__name__)
        self.predictor = PosteriorSampler(denoiser, times=self.times, coupling=coupling, prior=self.prior, end=end)

    @property
    def draws_noise(self) -> bool:
        """See `Sampler.draws_noise`."""
        return True

    def coefficients(self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"]) -> CorrectedStep:
        """See `Sampler.coefficients`."""
        at = self.process.log_coefficients(s)
        # What has become data is left as it is.
        size = torch.where(self.ends(s), 0.0, torch.full_like(at.log_sigma, self.size))
        return CorrectedStep(
            predictor=self.predictor.coefficients(t, s),
            latent=(-size).exp(),
            estimate=-torch.expm1(-size) * at.log_alpha.exp(),
            stddev=(-torch.expm1(-2 * size)).sqrt() * at.log_sigma.exp(),
            conversion=self.denoiser.prediction.conversion(self.process, s, at=at),
        )

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """See `Sampler.advance`."""
        c: CorrectedStep = step.coefficients
        self.predictor.advance(walk, step._replace(coefficients=c.predictor))
        if step.to_data:
            return
        for _ in range(self.corrections):
            estimate = walk.estimate(walk.latent, step.s, c.conversion)
            walk.latent = mix((walk.latent, c.latent), (estimate, c.estimate), noise=(c.stddev, walk.draw))
