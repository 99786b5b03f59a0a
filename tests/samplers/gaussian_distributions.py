"""The distribution of a sampler's latents where data is Gaussian, exactly and without a single random number.

With the exact denoiser of Gaussian data every step is affine in its latent and its noise, per coefficient. So the
latents are Gaussian at every time: their mean is the path without noise, and their variance the sum of the squares of
what an impulse in the first latent, or in one of the noises, comes to.

White noise is drawn in the data's axes where all of a step's coefficients are one number, in the basis otherwise. An
impulse that serves for both is a *pair* of signals e, f with e_i^2 + f_i^2 = 1 in every pixel and also in every
coefficient of its spectrum; then the squares of the two responses add up to those of white noise in either. Such a pair
exists in every orthonormal basis (Idel & Wolf, 2015, on vectors unimodular in two bases).
"""

import functools
import math
from typing import NamedTuple

import torch

from unmelt.models import GaussianOracle
from unmelt.samplers import Noise


class Normal(NamedTuple):
    """Mean and standard deviation of every coefficient at several times, (times, *shape)."""

    mean: torch.Tensor
    stddev: torch.Tensor

    def distance(self, other):
        """Root mean square of the differences of means and of standard deviations."""
        mean, stddev = self.mean - other.mean, self.stddev - other.stddev
        return (mean.square() + stddev.square()).mean().sqrt().item()

    def at(self, index):
        return Normal(self.mean[index], self.stddev[index])


class Impulses(Noise):
    """The first draw of a run gives a pair of impulses to rows `first` and after, the second draw to the next two."""

    def __init__(self, first, pair):
        self.first, self.pair, self.draws = first, pair, 0

    def stream(self, rows):
        def draw(like):
            noise = torch.zeros_like(like)
            place = self.first + 2 * self.draws
            noise[place : place + 2] = self.pair[: max(0, len(like) - place)]
            self.draws += 1
            return noise

        return draw


@functools.lru_cache
def impulse_pair(basis):
    """A pair of signals whose squares add up to 1 in every pixel and in every coefficient, (2, *shape)."""
    size = math.prod(basis.shape)
    matrix = basis.forward(torch.eye(size, dtype=torch.float64).reshape(size, *basis.shape)).flatten(1).T
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        angle = 2 * math.pi * torch.rand(size, generator=generator, dtype=torch.float64)
        damping, excess = 1.0, math.inf
        # Levenberg and Marquardt's method for the angles of the pairs (e_i, f_i) on the unit circle.
        for _ in range(200):
            pair = torch.stack([angle.cos(), angle.sin()], dim=1)
            spectrum = matrix @ pair
            residual = spectrum.square().sum(1) - 1
            if residual.norm() < excess:
                kept, excess, damping = (angle, pair, spectrum, residual), residual.norm().item(), damping / 3
            else:
                damping *= 4
            angle, pair, spectrum, residual = kept
            if residual.abs().max() < 1e-13:
                return pair.T.reshape(2, *basis.shape)
            slope = 2 * (spectrum[:, 1:] * pair[:, 0] * matrix - spectrum[:, :1] * pair[:, 1] * matrix)
            damped = slope.T @ slope + damping * torch.eye(size, dtype=torch.float64)
            angle = angle - torch.linalg.solve(damped, slope.T @ residual)
    raise AssertionError(basis)


def gaussian_oracle(process, seed=0):
    """Data whose coefficients have all kinds of means and variances."""
    generator = torch.Generator().manual_seed(seed)
    mean = 0.5 * torch.randn(process.shape, generator=generator, dtype=torch.float64)
    variance = 0.05 + torch.rand(process.shape, generator=generator, dtype=torch.float64)
    return GaussianOracle(process, mean, variance)


def marginals(oracle, times):
    """p(z_t) at these times."""
    alpha, sigma = oracle.process.alpha(times), oracle.process.sigma(times)
    stddev = (alpha**2 * oracle.variance + sigma**2).sqrt()
    return Normal((alpha * oracle.mean).expand_as(stddev), stddev)


def estimates(oracle, latents, t):
    """The distribution of E[x | z_t] where z_t, at one time, has this one."""
    alpha, sigma = oracle.process.alpha(t)[0], oracle.process.sigma(t)[0]
    gain = alpha * oracle.variance / (alpha**2 * oracle.variance + sigma**2)
    return Normal(oracle.mean + gain * (latents.mean - alpha * oracle.mean), gain * latents.stddev)


def distribution(sampler, given=None, **run):
    """The distribution of the latents at every time of a run, started in the exact marginal there, (times, *shape).

    Of a process with a known end, `given` (1, *shape), that of the latents less the end's share.
    """
    oracle, process = sampler.denoiser, sampler.process
    first = marginals(oracle, torch.full((1,), run.get("start", 1.0), dtype=torch.float64))
    start = process.basis.inverse(torch.cat([first.mean, first.mean + first.stddev]))
    if given is not None:
        start = start + process.end_share(given, run.get("start", 1.0))
    draws = (len(sampler.times) - 1) * (1 + getattr(sampler.stepper, "corrections", 0)) if sampler.draws_noise else 0
    noise = Impulses(2, impulse_pair(process.basis))
    initial = torch.cat([start, start[:1].expand(2 * draws, *process.shape)])
    ends = None if given is None else given.expand(initial.shape)
    times, states, _ = sampler.run(len(initial), initial=initial, noise=noise, given=ends, **run).trajectory
    if given is not None:
        states = states - torch.stack([process.end_share(given, t) for t in times])
    assert noise.draws <= draws, "a draw for which there was no row"
    spectra = process.basis.forward(states.flatten(0, 1)).reshape(states.shape)
    mean = spectra[:, 0]
    return Normal(mean, (spectra[:, 1:] - mean[:, None]).square().sum(1).sqrt())
