r"""Predictor and corrector: after each step some Langevin steps at the time it went to.

The idea is that of Song et al. (2021, section 4.2). Langevin's equation du = score dtau + sqrt(2) dw leaves the
marginal at its time alone, so that it corrects what a step got wrong. Its step is set *per coefficient*, delta
sigma_s^2: a share delta of the variance of the noise that the coefficient has. With the estimate held in
score = (alpha u_hat - u) / sigma^2 such a step is solved exactly by

    u <- e^-delta u + (1 - e^-delta) alpha_s u_hat + sigma_s sqrt(1 - e^-2delta) epsilon.

Song et al. set one step for all of a latent, 2 (r |epsilon| / |score|)^2 where alpha = 1, which for white noise is
delta = 2 r^2; the r = 0.16 of their CIFAR-10 configuration is delta = 0.05.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count, check_instance, check_number
from ...degradations import Level
from ...degradations.predictions import Conversion
from ..spectral import combine
from ..state import SamplerState
from ..stepper import PlannedStep, Problem, Stepper
from .posterior import Posterior


class CorrectedShares(NamedTuple):
    """A predictor's step, and the Langevin steps after it.

    Attributes:
        predictor: coefficients of the predictor's step.
        latent: share of the latent in a Langevin step.
        estimate: share of the estimate.
        stddev: standard deviation of its noise in the data's units.
        conversion: turns latent and output at s into an estimate.
    """

    predictor: Any
    latent: Float[Tensor, "steps ..."]
    estimate: Float[Tensor, "steps ..."]
    stddev: Float[Tensor, "steps ..."]
    conversion: Conversion


@dataclass(frozen=True)
class PredictorCorrector(Stepper):
    """Steps of another stepper, each followed by Langevin steps, of one network call each; none after the last step.

    Many short Langevin steps at a time would give its marginal exactly. Steps of a given size have a bias, in
    proportion to `size` while that is small, which does not vanish as the grid becomes finer: for Gaussian data of
    variance v, many of them end, per coefficient, in the variance of the marginal times (2 - q) / (2 - q + q m), where
    q = 1 - e^-size and m = alpha^2 v / (alpha^2 v + sigma^2).

    Attributes:
        predictor: takes the steps; one that does not look back at earlier steps, whose latents are moved here.
        corrections: Langevin steps after each step.
        size: delta, their size as a share of the noise's variance in each coefficient.

    Raises:
        TypeError: the predictor is something else.
        ValueError: corrections < 1, size is not positive, or the predictor looks back.
    """

    predictor: Stepper = field(default_factory=Posterior)
    corrections: int = 1
    size: float = 0.05

    def __post_init__(self) -> None:
        check_instance("predictor", self.predictor, Stepper, "Posterior() for example")
        if self.predictor.history:
            msg = f"the predictor must not look back at earlier steps, got {self.predictor}: take Posterior() or Heun()"
            raise ValueError(msg)
        check_count("corrections", self.corrections, hint=f"without any take {self.predictor}")
        check_number("size", self.size, "(0, inf)", "a share of the noise's variance such as 0.05")

    @override
    def check(self, problem: Problem) -> None:
        self.predictor.check(problem)
        problem.require_noise(type(self).__name__)

    @override
    def draws_noise(self, problem: Problem) -> bool:
        return True

    @override
    def coefficients(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> CorrectedShares:
        # What has become data is left as it is.
        size = problem.at_end(at_s, 0.0, torch.full_like(at_s.log_sigma, self.size))
        return CorrectedShares(
            predictor=self.predictor.coefficients(problem, at_t, at_s),
            latent=(-size).exp(),
            estimate=-torch.expm1(-size) * at_s.alpha,
            stddev=(-torch.expm1(-2 * size)).sqrt() * at_s.sigma,
            conversion=problem.prediction.conversion(at_s),
        )

    @override
    def advance(self, state: SamplerState, step: PlannedStep) -> None:
        shares: CorrectedShares = step.coefficients
        self.predictor.advance(state, step._replace(coefficients=shares.predictor))
        if step.to_zero:
            return
        for _ in range(self.corrections):
            estimate = state.estimate(state.latent, step.s, shares.conversion)
            state.latent = combine(
                (state.latent, shares.latent), (estimate, shares.estimate), noise=(shares.stddev, state.draw)
            )
