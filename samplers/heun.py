from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations.predictions import Conversion
from ..losses import Prior
from ..models import AbstractDenoiser
from .base import End, Sampler
from .exponential import Variable, exponential_step
from .signals import mix
from .walk import PlannedStep, Walk


class HeunCoefficients(NamedTuple):
    latent: Float[Tensor, "steps ..."]
    first: Float[Tensor, "steps ..."]
    weights: tuple[Float[Tensor, "steps ..."], ...]
    stddev: Float[Tensor, "steps ..."]
    conversion: Conversion
    conversion_s: Conversion


class HeunSampler(Sampler):
    def __init__(self, denoiser, *, steps=None, times=None, eta: float = 0.0, variable=Variable.TIME, prior=None, end=End.ESTIMATE):
        self.eta, self.variable = eta, variable
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)

    def coefficients(self, t, s):
        process = self.process
        first = exponential_step(process, (t,), t, s, eta=self.eta)
        second = exponential_step(process, (t, s), t, s, eta=self.eta, variable=self.variable)
        last = self.ends(s)
        z = torch.zeros_like(second.estimates[0])
        weights = (second.estimates[0], second.estimates[1])
        return HeunCoefficients(torch.where(last, 0.0, first.latent), torch.where(last, 1.0, first.estimates[0]), weights, torch.where(last, 0.0, first.stddev),
            self.denoiser.prediction.conversion(process, t), self.denoiser.prediction.conversion(process, s))

    def advance(self, walk, step):
        c = step.coefficients
        estimate = walk.estimate(walk.latent, step.t, c.conversion)
        guess = mix((walk.latent, c.latent), (estimate, c.first))
        if self.eta:
            e = walk.draw(guess.spectrum)
            from .signals import Dual
            noise = Dual(guess.basis, spectrum=e)
            guess = mix((walk.latent, c.latent), (estimate, c.first), (noise, c.stddev))
        if bool((step.s == 0).all()):
            walk.latent = guess
        else:
            later = walk.estimate(guess, step.s, c.conversion_s)
            terms = [(walk.latent, c.latent), (estimate, c.weights[0]), (later, c.weights[1])]
            if self.eta:
                terms.append((noise, c.stddev))
            walk.latent = mix(*terms)
        walk.prediction = lambda: estimate
