"""Samplers against diffusers' schedulers: on their own schedule, step by step, with one network and one noise."""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import nn

from unmelt.degradations import (
    Deterministic,
    Eta,
    LinearGaussianProcess,
    PixelBasis,
    PredictEpsilon,
)
from unmelt.models import DegradedDataPrior, Denoiser, ForwardStd, PosteriorStd
from unmelt.samplers import FixedGrid, Multistep, Posterior, Sampler, Variable

SHAPE = (2, 3, 3)
LEVELS = 1000
BETAS = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": LEVELS}


class Tabulated(LinearGaussianProcess):
    """Isotropic noise with a scheduler's own table: its timestep k is time (k + 1) / 1000, and time 0 is data.

    Between two timesteps it is as at the nearer one; grids here do not go there.
    """

    levels = LEVELS

    def __init__(self, squares):
        super().__init__(PixelBasis(SHAPE))
        squares = squares.double()
        zero = torch.zeros(1, dtype=torch.float64)
        self.register_constant("signal", torch.cat([zero, squares.log() / 2]))
        self.register_constant("noise", torch.cat([zero.log(), torch.log1p(-squares) / 2]))

    def log_alpha(self, t):
        return self.signal[(t * LEVELS).round().long()]

    def log_sigma(self, t):
        return self.noise[(t * LEVELS).round().long()]


class Smooth(nn.Module):
    """A smooth function of latent and time that is linear in neither, and mixes pixels."""

    def forward(self, z, t, condition=None, given=None):
        level = (t.double() * LEVELS).round().reshape(-1, 1, 1, 1) / LEVELS
        return torch.tanh(0.7 * z + 0.2 * z.flip(-1) - level.to(z.dtype)) * (0.9 - 0.3 * level.to(z.dtype))


def noisy(seed=3):
    return torch.randn((3, *SHAPE), generator=seeded(seed), dtype=torch.float64)


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


def grid(timesteps):
    """The times of a scheduler's timesteps, between 1 and the data at 0."""
    inner = (timesteps.double() + 1) / LEVELS
    ends = inner.new_tensor([1.0]), inner.new_tensor([0.0])
    return torch.cat([*([] if inner[0] == 1 else [ends[0]]), inner, ends[1]])


def walked(scheduler, steps, **settings):
    """The scheduler's own loop: every latent on the way, the first one included."""
    z, network = noisy(), Smooth()
    scheduler.set_timesteps(steps)
    states = [z]
    for k in scheduler.timesteps:
        output = network(z, ((k + 1) / LEVELS).expand(len(z)))
        z = scheduler.step(output, k, z, return_dict=False, **settings)[0]
        states.append(z)
    return torch.stack(states)


def ours(stepper, scheduler):
    times = grid(scheduler.timesteps)
    denoiser = Denoiser(Smooth(), Tabulated(scheduler.alphas_cumprod), prediction=PredictEpsilon())
    sampler = Sampler(denoiser, stepper, grid=FixedGrid(times), prior=DegradedDataPrior.fit(denoiser.process, noisy()))
    start = times[-len(scheduler.timesteps) - 1].item()
    return sampler.run(3, initial=noisy(), start=start, generator=seeded()).trajectory.states


SECOND_ORDER = Multistep(variable=Variable.LOG_SNR, corrector=False)


def exact(scheduler):
    """Let a scheduler that takes any precision work in double precision, from its own single-precision table."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.one = torch.ones((), dtype=torch.float64)
    return scheduler


@pytest.mark.parametrize("steps", [5, 50])
@pytest.mark.parametrize(
    ("variance_type", "reverse_std"), [("fixed_small", PosteriorStd()), ("fixed_large", ForwardStd())]
)
def test_ancestral_sampling_is_their_ddpm(steps, variance_type, reverse_std):
    scheduler = exact(DDPMScheduler(**BETAS, variance_type=variance_type, clip_sample=False))
    theirs = walked(scheduler, steps, generator=seeded())
    states = ours(Posterior(reverse_std=reverse_std), scheduler)
    # Both in double precision. Up to 157-fold, 1 / alpha at t = 1, an error in a latent is one of the data; they take
    # 1 - alpha^2 from 1, which costs 4 digits at the first timestep.
    torch.testing.assert_close(states, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [5, 50])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_eta_is_their_ddim(steps, eta):
    scheduler = exact(DDIMScheduler(**BETAS, clip_sample=False))
    theirs = walked(scheduler, steps, generator=seeded(), eta=eta)
    coupling = Eta(eta) if eta else Deterministic()
    states = ours(Posterior(coupling), scheduler)
    torch.testing.assert_close(states, theirs, rtol=1e-9, atol=1e-9)


def dpm(solver_order, **settings):
    return DPMSolverMultistepScheduler(
        **BETAS,
        algorithm_type="dpmsolver++",
        solver_order=solver_order,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        **settings,
    )


@pytest.mark.parametrize("steps", [5, 20])
def test_deterministic_steps_are_their_dpm_solver_of_first_order(steps):
    scheduler = dpm(1)
    theirs = walked(scheduler, steps)
    states = ours(Posterior(Deterministic()), scheduler)
    assert_close_in_single_precision(states, theirs)


@pytest.mark.parametrize("steps", [5, 20])
def test_two_steps_in_the_log_snr_are_their_dpm_solver_plus_plus(steps):
    """Their "heun" integrates the line through two estimates exactly, as this library does.

    At the end they go back to the first order and this library extrapolates: the last step is another.
    """
    scheduler = dpm(2, solver_type="heun")
    theirs = walked(scheduler, steps)
    states = ours(SECOND_ORDER, scheduler)
    assert_close_in_single_precision(states[:-1], theirs[:-1])
    assert (states[-1] - theirs[-1]).abs().max() > 1e-3


def assert_close_in_single_precision(states, theirs):
    # They cast latents to float32 in every step. At t = 1 the data is (z - sigma epsilon) / alpha, 1 / alpha = 157, of
    # size up to 157 times 6, and held to 2^-24 of that: 6e-5, and so is what a step makes of it, times alpha_s <= 1.
    torch.testing.assert_close(states, theirs.double(), rtol=1e-4, atol=1e-4)


def test_their_midpoint_rule_differs_by_third_order():
    """One step from equal states: exact integration and the midpoint rule part by terms in h^3."""
    gaps = []
    for steps in (20, 40, 80):
        scheduler = dpm(2, solver_type="midpoint")
        theirs = walked(scheduler, steps)
        states = ours(SECOND_ORDER, scheduler)
        # The second step, the first of second order, away from the first time where both start.
        gaps.append((states[2] - theirs[2]).abs().max().item())
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(gaps)]
    assert all(2.5 < slope < 3.5 for slope in slopes), (gaps, slopes)
