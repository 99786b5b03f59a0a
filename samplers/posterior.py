r"""The posterior sampler: from level to level by q(z_s | z_t, x_hat), under any coupling.

    z_s = c u_t + (1 - c alpha_{t|s}) alpha_s u_hat + stddev epsilon,    c = rho sigma_s / sigma_t,

per coefficient. The coupling chooses rho and thereby the method: Markov is ancestral sampling as in DDPM,
Deterministic is DDIM (and cold diffusion's improved sampler where sigma is constant), Independent with a constant
standard deviation delta is the sampler of inverse heat dissipation. The standard deviation is the posterior's,
sigma_s sqrt(1 - rho^2), or any that the variational bound knows: the forward step's, a constant, a fitted one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from ..degradations import Coupling, Deterministic, Markov
from ..degradations.level import posterior_coefficients
from ..models import (
    AbstractDenoiser,
    FittedStd,
    PosteriorStd,
    Prior,
    ReverseStd,
)
from ..models.reverse_std import Step
from .base import End, Sampler
from .signals import Dual, mix
from .walk import PlannedStep, Walk


class PosteriorStep(NamedTuple):
    """A step z_s = latent z_t + output y + stddev epsilon, per coefficient; y is the network's output.

    Attributes:
        latent: share of the latent.
        output: share of the network's output.
        stddev: standard deviation of the noise in the data's units.
    """

    latent: Float[Tensor, "steps ..."]
    output: Float[Tensor, "steps ..."]
    stddev: Float[Tensor, "steps ..."]


class PosteriorSampler(Sampler):
    """Draws samples by stepping through posteriors with the data replaced by the denoiser's estimate.

    One network call per step. With `Markov()`, `Deterministic()`, `Eta` and `ReverseSDE`, and the posterior's own
    standard deviation, the law of latents converges to the process's marginals as the steps become many, with an error
    proportional to the step (an exact denoiser and prior granted, and up to a logarithm where the log-SNR is infinite
    at an end). With `Independent()` it does not: there z_s knows of z_t through the estimate alone, which varies less
    than the data; inverse heat dissipation makes up for it with a larger delta.

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,).
        coupling: how consecutive noises hang together; `Markov()` if None.
        reverse_std: standard deviation of each step's noise, as in the ELBO; the posterior's own if None.
        delta: that standard deviation as one number, in the data's units, as in inverse heat dissipation; 0 adds none.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `Sampler`; both `delta` and `reverse_std` are given, or one of them to a Deterministic coupling.
    """

    def __init__(  # each is a choice of its own
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        coupling: Coupling | None = None,
        reverse_std: ReverseStd | None = None,
        delta: float | None = None,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        self.coupling = coupling or Markov()
        check_instance("coupling", self.coupling, Coupling, "Markov() for example")
        if reverse_std is not None and delta is not None:
            msg = f"delta={delta} is short for reverse_std=ConstantStd({delta}): give one of the two"
            raise ValueError(msg)
        if delta is not None and not 0 <= delta < math.inf:
            msg = f"delta must be a standard deviation >= 0 in the data's units, got {delta}"
            raise ValueError(msg)
        if reverse_std is not None:
            check_instance("reverse_std", reverse_std, ReverseStd, "ForwardStd() for example")
        if isinstance(self.coupling, Deterministic) and not (delta is None and reverse_std is None):
            what = f"delta={delta}" if delta is not None else f"reverse_std={reverse_std}"
            msg = f"Deterministic steps add no noise, got {what}: leave it out, or take another coupling"
            raise ValueError(msg)
        self.delta = delta
        self.reverse_std = reverse_std or PosteriorStd()
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)
        # Noise that is 0 is not drawn, and what is made of it is known to be the same every time.
        if self.delta is not None:
            self._noisy = self.delta > 0
        elif isinstance(self.reverse_std, PosteriorStd):
            # Noises that are wholly correlated, whatever the log-SNR does, leave the posterior no variance.
            log_rho = self.coupling.log_correlation(self.times.new_tensor(-1.0))
            self._noisy = bool((log_rho < 0).any()) and self.has_noise()
        else:
            self._noisy = True

    @property
    def draws_noise(self) -> bool:
        """See `Sampler.draws_noise`."""
        return self._noisy

    def coefficients(self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"]) -> PosteriorStep:
        """See `Sampler.coefficients`."""
        process, prediction = self.process, self.denoiser.prediction
        start, end = process.log_coefficients(s), process.log_coefficients(t)
        posterior = posterior_coefficients(start, end, self.coupling)
        # Unlike in the bound, delta = 0 is allowed: samples need no density.
        if self.delta is not None:
            stddev = torch.full_like(posterior.stddev, self.delta)
        else:
            stddev = self._stddev(Step(s, t, start, end, posterior))
        # The step to the data takes the estimate itself: nothing of the latent, no noise, no degradation.
        last = self.ends(s)
        log_alpha = torch.where(last, 0.0, start.log_alpha)
        # Converted to the degraded data alpha_s u at once: alpha_s / alpha_t may be well where 1 / alpha_t overflows.
        conversion = prediction.conversion(process, t, log_alpha, at=end)
        share = torch.where(last, 1.0, posterior.signal)
        return PosteriorStep(
            latent=torch.where(last, 0.0, posterior.latent) + share * conversion.latent,
            output=share * conversion.output,
            stddev=torch.where(last, 0.0, stddev),
        )

    def _stddev(self, step: Step) -> Tensor:
        """Return the standard deviations of steps, 0 for those to the data, which fitted ones may know nothing of."""
        if not isinstance(self.reverse_std, FittedStd) or self.end is not End.ESTIMATE:
            return self.reverse_std.stddev(step)
        s, t = (time.reshape(-1).expand(max(step.s.numel(), step.t.numel())) for time in (step.s, step.t))
        noisy = s > 0
        found = s.new_zeros(len(s), *self.process.shape)
        if bool(noisy.any()):
            found[noisy] = self.reverse_std.stddev(step._replace(s=s[noisy], t=t[noisy]))
        return found

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """See `Sampler.advance`."""
        latent, output, stddev = step.coefficients
        before, y = walk.latent, walk.output(walk.latent, step.t)
        ends = step.to_data and self.end is End.ESTIMATE
        noise = (stddev, walk.draw) if self.draws_noise and not ends else None
        walk.latent = mix((before, latent), (y, output), noise=noise)

        def prediction() -> Dual:
            share, factor = self.denoiser.prediction.conversion(self.process, step.t)
            dtype = before.at_hand.dtype
            return mix((before, share.to(dtype)), (y, factor.to(dtype)))

        walk.prediction = prediction
