"""Configuration of the sampler that a run's grids and pictures are drawn with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess, PredictPreviousLevel
from ..models import AbstractDenoiser, Prior
from ..samplers import (
    ExponentialSDESampler,
    HeunSampler,
    MultistepSampler,
    PosteriorSampler,
    Sampler,
    balanced_times,
    karras_times,
    log_snr_times,
    uniform_times,
)
from .kinds import (
    CouplingKind,
    GridKind,
    PriorKind,
    SamplerKind,
)

_DEFAULT_STEPS = 50


@dataclass(frozen=True)
class SamplingConfig:
    """The sampler, for the grids during training and the pictures after it."""

    count: int = 64
    """Samples in a grid."""
    steps: int | None = None
    """Sampler steps; the process's own levels (or 50) if not given."""
    sampler: SamplerKind = SamplerKind.POSTERIOR
    """How steps are taken; heun and sde call the network twice in each."""
    grid: GridKind = GridKind.UNIFORM
    """Where the steps lie."""
    order: int = 2
    """Order of the multistep sampler, 2 or 3; no other sampler has a choice."""
    coupling: CouplingKind = CouplingKind.MARKOV
    """How consecutive noises of the posterior sampler hang together; the others leave no choice."""
    delta: float | None = None
    """Constant noise of the posterior sampler's steps in the data's units; the posterior's own if not given."""
    seed: int = 0
    """Seed of the samples."""
    prior: PriorKind = PriorKind.AUTO
    """What samples start from; standard normal noise or, where the process ends elsewhere, degraded training images."""
    guidance: float = 1.0
    """Scale of classifier-free guidance for a conditional network: 1 is without, more exaggerates the classes."""

    def build(self, denoiser: AbstractDenoiser, prior: Prior) -> Sampler:
        """Return the sampler.

        Raises:
            ValueError: a setting is out of range, or the process does not allow the grid or the sampler.
        """
        times = self._times(denoiser.process)
        if self.sampler is not SamplerKind.POSTERIOR and isinstance(denoiser.prediction, PredictPreviousLevel):
            warnings.warn(
                f"the sampler {self.sampler.value!r} carries noise from step to step, and a network that predicts the"
                " less degraded image is made for independent steps through all of its levels: expect poor samples, or"
                " train with --prediction x",
                stacklevel=2,
            )
        match self.sampler:
            case SamplerKind.POSTERIOR:
                return PosteriorSampler(
                    denoiser, times=times, coupling=self.coupling.build(), delta=self.delta, prior=prior
                )
            case SamplerKind.MULTISTEP:
                return MultistepSampler(denoiser, times=times, order=self.order, prior=prior)
            case SamplerKind.HEUN:
                return HeunSampler(denoiser, times=times, prior=prior)
            case SamplerKind.SDE:
                return ExponentialSDESampler(denoiser, times=times, prior=prior)

    def _times(self, process: LinearGaussianProcess) -> Float[Tensor, " times"]:
        steps = self.steps if self.steps is not None else process.levels or _DEFAULT_STEPS
        match self.grid:
            case GridKind.UNIFORM:
                return uniform_times(steps)
            case GridKind.LOG_SNR:
                return log_snr_times(process, steps)
            case GridKind.BALANCED:
                return balanced_times(process, steps)
            case GridKind.KARRAS:
                return karras_times(process, steps)
