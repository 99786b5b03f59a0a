"""The training loss: the papers' own formulas, the bound's terms, and all levels."""

import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Wobbly
from support import seeded
from torch import nn

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
)
from unmelt.losses import (
    DenoisingLoss,
    LearnedLogVariance,
    LevelTimes,
    MeanOverDimensions,
    MinSNRWeighting,
    SimpleWeighting,
    SumOverDimensions,
    UniformTimes,
)
from unmelt.models import Denoiser
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 3)
N = 24


def heat(**settings):
    return HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=10, **settings)


def denoiser(process, prediction=None):
    """A poor denoiser, in double precision."""
    return Denoiser(Wobbly().double(), process, prediction=prediction or PredictX())


def drawn(process, x, times):
    """The times and noise that the loss draws from an equal generator."""
    generator = seeded(7)
    t = times.sample(len(x), device=x.device, generator=generator)
    return t.double(), torch.randn(x.shape, generator=generator, dtype=x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_heat_dissipations_loss(dtype):
    """Rissanen et al. (2023), algorithm 1: || u_{k-1} - (u_k + noise + f(u_k + noise, k)) ||^2."""
    process, network = heat(), Wobbly().double()
    x = random_images(SHAPE, batch=5, dtype=dtype)
    t, noise = drawn(process, x, LevelTimes(10))
    ours = DenoisingLoss(Denoiser(network, process, prediction=PredictPreviousLevel()))(x, generator=seeded(7))
    level = (t * 10).round()
    blurred, less = (process.marginal(x, level_time / 10).mean for level_time in (level, level - 1))
    perturbed = blurred + 0.01 * noise
    # Networks see the time in single precision.
    error = less - (perturbed + network(perturbed, t.float()))
    assert ours.shape == (5,)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, error.square().sum((1, 2, 3)), rtol=1e3 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("process", [IsotropicDiffusion(SHAPE), BlurringDiffusion(SHAPE)], ids=["ddpm", "blurring"])
def test_simple_losses(process):
    """Ho et al. (2020), eq. 14, and Hoogeboom & Salimans (2023), section 4: mean squared error of the noise."""
    network = Wobbly().double()
    x = random_images(SHAPE, batch=5)
    t, noise = drawn(process, x, UniformTimes())
    loss = DenoisingLoss(Denoiser(network, process, prediction=PredictEpsilon()), reduction=MeanOverDimensions())
    ours = loss(x, generator=seeded(7))
    z = process.basis.inverse(process.alpha(t) * process.basis.forward(x)) + process.sigma(t) * noise
    torch.testing.assert_close(ours, (noise - network(z, t.float())).square().mean((1, 2, 3)), rtol=1e-9, atol=0)


@given(level=st.integers(1, 10), delta=st.floats(0.005, 0.05), seed=st.integers(0, 99))
def test_heat_loss_is_its_bound_term_times_two_delta_squared(level, delta, seed):
    """KL of N(A_{k-1} x, sigma^2) from N(mu_hat, delta^2), constants aside: || mu - mu_hat ||^2 / (2 delta^2)."""
    process = heat()
    model = denoiser(process, PredictPreviousLevel())
    x = random_images(SHAPE, seed=seed)
    t, s = level / 10, (level - 1) / 10
    loss = DenoisingLoss(model)(x, t=t, generator=seeded(7))
    noise = torch.randn(x.shape, generator=seeded(7), dtype=x.dtype)
    z = process.corrupt(x, noise, t)
    true = process.posterior(z, x, s, t, Independent())
    estimate = z + model.output(z, torch.full((2,), t, dtype=torch.float64))
    reverse = type(true)(process.basis, process.basis.forward(estimate), torch.tensor(delta, dtype=torch.float64))
    same = type(true)(process.basis, true.spectral_mean, reverse.spectral_stddev)
    term = true.kl_divergence(reverse) - true.kl_divergence(same)
    torch.testing.assert_close(loss, 2 * delta**2 * term, rtol=1e-7, atol=1e-9)


@settings(max_examples=40)
@given(t=st.floats(0.05, 1), share=st.floats(0.1, 0.9), seed=st.integers(0, 99), isotropic=st.booleans())
def test_simple_loss_is_its_bound_term_times_the_stated_weight(t, share, seed, isotropic):
    """KL between Markov posteriors of x and x_hat is 1/2 sum expm1(l_s - l_t) (eps - eps_hat)^2."""
    schedule = CosineSchedule(-4.0, 4.0)
    process = (
        IsotropicDiffusion(SHAPE, schedule)
        if isotropic
        else BlurringDiffusion(SHAPE, blur_sigma_max=1.0, schedule=schedule)
    )
    s = t * share
    model = denoiser(process, PredictEpsilon())
    x = random_images(SHAPE, seed=seed)
    noise = torch.randn(x.shape, generator=seeded(7), dtype=x.dtype)
    z = process.corrupt(x, noise, t)
    kl = process.posterior(z, x, s, t, Markov()).kl_divergence(process.posterior(z, model(z, t), s, t, Markov()))
    rate = torch.expm1(process.log_snr(s) - process.log_snr(t)) / 2
    if isotropic:
        loss = DenoisingLoss(model, reduction=MeanOverDimensions())(x, t=t, generator=seeded(7))
        torch.testing.assert_close(loss, kl / (N * rate.item()), rtol=1e-6, atol=1e-9)
    else:
        error = process.basis.forward(noise - model.output(z, torch.full((2,), t, dtype=torch.float64)))
        torch.testing.assert_close(kl, (rate * error.square()).sum((1, 2, 3)), rtol=1e-6, atol=1e-9)


PREDICTIONS = [PredictX(), PredictEpsilon(), PredictV(), PredictScore(), PredictPreviousLevel(levels=1)]


@settings(max_examples=40)
@given(
    own=st.sampled_from(PREDICTIONS),
    other=st.sampled_from(PREDICTIONS),
    t=st.floats(0.1, 0.95),
    seed=st.integers(0, 99),
    isotropic=st.booleans(),
)
def test_the_error_of_one_prediction_in_terms_of_another(own, other, t, seed, isotropic):
    """The converted loss equals the loss of that other prediction made from the same estimate of the data."""
    process = IsotropicDiffusion(SHAPE) if isotropic else BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
    model = denoiser(process, own)
    x = random_images(SHAPE, seed=seed)
    ours = DenoisingLoss(model, weighting=SimpleWeighting(other))(x, t=t, generator=seeded(7))
    noise = torch.randn(x.shape, generator=seeded(7), dtype=x.dtype)
    z = process.corrupt(x, noise, t)
    estimate = model(z, t)
    # The noise that the estimate implies, so that (estimate, implied) makes the same latent.
    u, v = process.basis.forward(z), process.basis.forward(estimate)
    implied = process.basis.inverse((u - process.alpha(t) * v) / process.sigma(t))
    at = process.at(torch.full((2,), t, dtype=torch.float64))
    error = other.target(at, x, noise) - other.target(at, estimate, implied)
    torch.testing.assert_close(ours, error.square().sum((1, 2, 3)), rtol=1e-6, atol=1e-12)


def test_all_levels_are_trained_and_none_twice_as_often():
    """A mistake of earlier code: levels drawn from 1..K-1, so sampling starts from a level never trained."""
    times = LevelTimes(8).sample(80_000, device=torch.device("cpu"), generator=seeded(7))
    levels, counts = (times * 8).round().long().unique(return_counts=True)
    assert levels.tolist() == list(range(1, 9))
    # 10000 expected at each; six standard deviations of a binomial are 561.
    assert (counts - 10_000).abs().max() < 6 * (80_000 * (1 / 8) * (7 / 8)) ** 0.5
    assert times.max() == 1


def test_the_last_level_is_trained_by_default():
    assert DenoisingLoss(denoiser(heat())).times == LevelTimes(10)
    assert DenoisingLoss(denoiser(IsotropicDiffusion(SHAPE))).times == UniformTimes()


def test_uniform_times_are_uniform_and_never_zero():
    times = UniformTimes().sample(50_000, device=torch.device("cpu"), generator=seeded(7))
    assert times.min() > 0
    assert times.max() <= 1
    # Largest distance of an empirical distribution function: 2.2 / sqrt(n) happens once in 10^4 seeds.
    distance = (times.sort().values - (torch.arange(50_000) + 0.5) / 50_000).abs().max()
    assert distance < 2.2 / 50_000**0.5
    # torch.rand includes 0 and excludes 1, once in 2^24 draws: turned around, pure data is never drawn.
    expected = 1 - torch.rand(50_000, generator=seeded(7))
    assert torch.equal(times, expected.double())


def test_reductions_differ_by_the_number_of_dimensions():
    model, x = denoiser(heat()), random_images(SHAPE)
    total, mean = (
        DenoisingLoss(model, reduction=reduction)(x, t=0.5, generator=seeded(7))
        for reduction in (SumOverDimensions(), MeanOverDimensions())
    )
    torch.testing.assert_close(total, N * mean, rtol=1e-12, atol=0)


def test_a_generator_makes_the_loss_repeatable_and_leaves_the_global_one_alone():
    loss, x = DenoisingLoss(denoiser(heat())), random_images(SHAPE)
    before = torch.get_rng_state()
    first, again = (loss(x, generator=seeded(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())


def test_gradients_reach_the_network():
    loss = DenoisingLoss(denoiser(heat(), PredictPreviousLevel()))
    loss(random_images(SHAPE), condition=torch.ones(2)).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).all() for p in loss.parameters())


def test_a_condition_goes_to_the_network_with_its_row():
    """Told 0 in every row but one, the network answers as one that is told nothing, but there."""
    loss, x = DenoisingLoss(denoiser(heat())), random_images(SHAPE, batch=4)
    told = torch.tensor([0.0, 0.0, 1.0, 0.0])
    changed = loss(x, condition=told, t=0.5, generator=seeded(7)) != loss(x, t=0.5, generator=seeded(7))
    assert changed.tolist() == [False, False, True, False]


class Remembering(UniformTimes):
    """Doubles the losses of late times and counts what it is told; a told one triples everything after."""

    told: ClassVar[list] = []

    def correction(self, t):
        return torch.where(t > 0.5, 2.0, 1.0).to(t.dtype) * 3.0 ** len(self.told)

    def update(self, t, losses):
        assert not losses.requires_grad
        self.told.append((t, losses))


@pytest.mark.parametrize("uncertain", [False, True])
def test_drawn_times_are_corrected_for_and_told_the_loss_in_training(uncertain):
    process, x = heat(), random_images(SHAPE, batch=20)
    model, v = denoiser(process), LearnedLogVariance() if uncertain else None
    if v is not None:
        nn.init.constant_(v.linear.bias, 0.5)
    loss = DenoisingLoss(model, times=Remembering(), log_variance=v)
    plain = DenoisingLoss(model, times=UniformTimes())(x, generator=seeded(7)).detach()
    t, _ = drawn(process, x, UniformTimes())
    Remembering.told.clear()
    factor = torch.where(t > 0.5, 2.0, 1.0).double()
    expected = factor * (plain * math.exp(-0.5) + 0.5 if uncertain else plain)
    # v is float32.
    close = {"rtol": 1e-6, "atol": 0}
    torch.testing.assert_close(loss.eval()(x, generator=seeded(7)).detach(), expected, **close)
    assert not Remembering.told
    # The correction is that of the distribution that the times were drawn from, before it learns from them.
    torch.testing.assert_close(loss.train()(x, generator=seeded(7)).detach(), expected, **close)
    ((times, losses),) = Remembering.told
    assert torch.equal(times, t)
    torch.testing.assert_close(losses, plain, rtol=1e-12, atol=0)
    given = loss(x, t=t, generator=seeded(7)).detach()
    assert given.shape == (20,)
    assert len(Remembering.told) == 1


@pytest.mark.parametrize("training", [False, True])
def test_times_that_the_caller_drew_are_as_those_drawn_inside(training):
    """The same losses of one state of the generator, corrected for, and told where times learn."""
    x = random_images(SHAPE, batch=20)
    loss = DenoisingLoss(denoiser(heat()), times=Remembering()).train(training)
    Remembering.told.clear()
    expected = loss(x, generator=seeded(7)).detach()
    told = list(Remembering.told)
    Remembering.told.clear()
    generator = seeded(7)
    times = loss.times.sample(len(x), device=x.device, generator=generator)
    ours = loss(x, drawn=times, generator=generator).detach()
    assert torch.equal(ours, expected)
    assert len(told) == len(Remembering.told) == training
    for (times, losses), (other_times, other_losses) in zip(told, Remembering.told, strict=True):
        assert torch.equal(times, other_times)
        assert torch.equal(losses, other_losses)


def test_given_times_are_not_corrected_for():
    model, x = denoiser(heat()), random_images(SHAPE)
    Remembering.told.clear()
    ours, plain = (
        DenoisingLoss(model, times=times)(x, t=0.9, generator=seeded(7)) for times in (Remembering(), UniformTimes())
    )
    assert torch.equal(ours, plain)


def test_autocast_rounds_the_network_alone():
    """Latents, targets and weights stay in single precision: only the network's bfloat16 arithmetic is coarser."""
    network = nn.Conv2d(2, 2, 3, padding=1)
    network.forward = lambda z, t, condition: nn.functional.conv2d(z, network.weight, network.bias, padding=1)
    x = random_images(SHAPE, batch=4).float()
    loss = DenoisingLoss(Denoiser(network, heat(), prediction=PredictX()), weighting=MinSNRWeighting())
    plain = loss(x, t=0.3, generator=seeded(7))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss(x, t=0.3, generator=seeded(7))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, plain)
    # An error of 2^-8 in the output, of the size of the residual itself.
    torch.testing.assert_close(rounded, plain, rtol=0.05, atol=0)
    half = loss(x.half(), t=0.3, generator=seeded(7))
    torch.testing.assert_close(half, plain, rtol=0.01, atol=0)
