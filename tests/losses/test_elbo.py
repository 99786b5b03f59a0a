"""The bound, against problems whose answer is known: Gaussian, mixture and finite data with their exact denoisers."""

import math

import pytest
import torch
from problems import Wobbly, few, gaussian, some
from support import seeded
from zoo import EVERY_PROCESS

from unmelt.core.randomness import white_noise
from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Eta,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
    SpectralGaussian,
)
from unmelt.losses import ELBO, MonteCarlo, UniformTimes
from unmelt.losses.likelihood import elbo
from unmelt.losses.likelihood.terms import rate_term
from unmelt.models import (
    AbstractDenoiser,
    ConstantStd,
    Denoiser,
    EmpiricalOracle,
    ForwardStd,
    GaussianDecoder,
    GaussianOracle,
    MarginalStd,
    MixtureOracle,
    OraclePrior,
    PosteriorStd,
)
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 6)
COUPLINGS = [Markov(), Independent(), Eta(0.5)]
# Without noise at a time there is no density, and the bound is infinite.
NOISY = {name: process for name, process in EVERY_PROCESS.items() if name not in ("cold", "no noise")}


def first_of(process):
    """A time from which on there is noise everywhere."""
    return 0.0 if bool((process.batched_log_sigma(0.0) > -math.inf).all()) else 0.02


def left(oracle, t):
    """Variance of u given u_t, per coefficient, at each of the times."""
    alpha2, sigma2 = oracle.process.alpha(t).square(), oracle.process.sigma(t).square()
    return oracle.variance * sigma2 / (alpha2 * oracle.variance + sigma2)


def exact(oracle, first=None, **settings):
    """The bound whose prior and decoder are the data's distributions, so that only the levels can lose anything."""
    process = oracle.process
    decoder = GaussianDecoder(process, left(oracle, first or 0.0)[0].sqrt())
    return ELBO(oracle, prior=OraclePrior(oracle), decoder=decoder, first=first, **settings)


def nll(oracle, x):
    """-log p(x) of Gaussian data, from scratch."""
    u = oracle.process.basis.forward(x)
    return ((u - oracle.mean).square() / oracle.variance + (2 * math.pi * oracle.variance).log()).flatten(1).sum(1) / 2


class Recorder(AbstractDenoiser):
    """A poor estimate, made from the latent, that remembers what it was asked."""

    def __init__(self, process):
        super().__init__(process)
        self.seen = []

    def forward(self, z_t, t, condition=None, given=None):
        estimate = 0.5 * z_t.roll(1, -1) - 0.1 * z_t.flip(-1).square()
        self.seen.append((z_t, torch.as_tensor(t).expand(len(z_t)), estimate))
        return estimate


# ---- each term is the divergence that it is named after ---------------------------------------------------


@pytest.mark.parametrize(("name", "coupling"), some(NOISY, COUPLINGS))
def test_each_term_is_the_divergence_of_the_two_posteriors(name, coupling):
    """KL(q(z_s | z_t, x) || q(z_s | z_t, x_hat)) from the process's own posteriors, latent by latent."""
    process = NOISY[name]
    times = torch.tensor([first_of(process), 0.1, 0.35, 0.7, 1.0], dtype=torch.float64)
    denoiser, x = Recorder(process), random_images(process.shape, batch=3)
    bound = ELBO(denoiser, prior=OraclePrior(gaussian(process)), coupling=coupling, times=times, rows=1)
    found = bound(x, generator=seeded(0))
    assert found.terms.shape == (3, 4)
    # The first call is the reconstruction's.
    for k, (z, t, estimate) in enumerate(denoiser.seen[1:], start=1):
        s = times[k - 1].item()
        assert t.unique().tolist() == [times[k].item()]
        p, q = (process.posterior(z, data, s, t[0].item(), coupling) for data in (x, estimate))
        still = p.spectral_stddev.expand_as(p.spectral_mean) == 0
        assert torch.equal(p.spectral_mean[still], q.spectral_mean[still])
        width = torch.where(still, 1.0, p.spectral_stddev)
        expected = ((p.spectral_mean - q.spectral_mean) / width).square().flatten(1).sum(1) / 2
        # The posteriors subtract means of size 1 that differ by as little as their widths of 1e-3 do.
        torch.testing.assert_close(found.terms[:, k - 1], expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.diffusion, found.terms.sum(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.total, found.prior + found.diffusion + found.reconstruction, rtol=0, atol=0)


@pytest.mark.parametrize("reverse_std", [PosteriorStd(), ConstantStd(0.3), MarginalStd(1.2), ForwardStd()], ids=str)
@pytest.mark.parametrize("coupling", COUPLINGS, ids=str)
def test_each_term_is_the_mean_of_the_log_ratio_of_densities(coupling, reverse_std):
    """E_q[log q(z_s | z_t, x) - log p(z_s | z_t)] over draws of both latents, from densities."""
    process = IsotropicDiffusion((3,), CosineSchedule(-3.0, 3.0))
    denoiser, count, s, t = Recorder(process), 20_000, 0.4, 0.6
    x = random_images((3,), batch=1).expand(count, 3)
    times = torch.tensor([s, t, 1.0], dtype=torch.float64)
    prior = OraclePrior(gaussian(process))
    bound = ELBO(denoiser, prior=prior, coupling=coupling, reverse_std=reverse_std, times=times)
    terms = bound(x, generator=seeded(0)).terms[:, 0]
    z = process.marginal(x, t).sample(generator=seeded(1))
    p = process.posterior(z, x, s, t, coupling)
    centre = process.posterior(z, denoiser(z, torch.tensor(t)), s, t, coupling)
    stddev = {
        PosteriorStd(): p.spectral_stddev,
        ConstantStd(0.3): torch.tensor(0.3, dtype=torch.float64),
        MarginalStd(1.2): 1.2 * process.sigma(s),
        ForwardStd(): process.transition(x, s, t).spectral_stddev,
    }[reverse_std]
    reverse = SpectralGaussian(process.basis, centre.spectral_mean, stddev)
    drawn = p.sample(generator=seeded(2))
    ratio = p.log_prob(drawn) - reverse.log_prob(drawn)
    error = math.sqrt((terms.var() + ratio.var()).item() / count)
    assert (terms.mean() - ratio.mean()).abs().item() < 4 * error
    assert error < 0.03 * terms.mean().item()


# ---- against exact negative log-likelihoods ---------------------------------------------------------------


@pytest.mark.parametrize("name", few(NOISY))
def test_in_continuous_time_the_bound_of_the_exact_denoiser_is_the_exact_value(name):
    process = NOISY[name]
    oracle, first = gaussian(process), first_of(process)
    x = oracle.sample(400, generator=seeded(0))
    bound = exact(oracle, first, steps=math.inf, summation=MonteCarlo(draws=16, replicates=1))
    excess = bound(x, generator=seeded(1)).total - nll(oracle, x)
    error = excess.std().item() / math.sqrt(len(x))
    assert abs(excess.mean().item()) < 4 * error
    # The test has teeth: an integral off by a factor of two would show.
    assert error < 0.15 * bound(x[:50], generator=seeded(2)).diffusion.mean().item()


def test_continuous_time_may_start_late():
    """What lies before the first latent is the decoder's: the integral is over the rest."""
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0))
    oracle = gaussian(process)
    x = oracle.sample(600, generator=seeded(0))
    bound = exact(oracle, 0.6, steps=math.inf, summation=MonteCarlo(draws=16, replicates=1))
    found = bound(x, generator=seeded(1))
    excess = found.total - nll(oracle, x)
    error = excess.std().item() / math.sqrt(len(x))
    assert abs(excess.mean().item()) < 4 * error
    # Left out, the factor of 0.4 would be one and a half times the integral too much.
    assert error < 0.2 * found.diffusion.mean().item()


def expected_gap(oracle, bound):
    """Mean of the bound over data and latents, less the data's entropy, in closed form for Gaussian data."""
    process = oracle.process
    s, t = bound.times[:-1], bound.times[1:]
    c = process.posterior_coefficients(s, t, bound.coupling)
    ratio = torch.where(c.stddev == 0, 0.0, c.signal * process.alpha(s) / c.stddev)
    levels = (ratio.square() * left(oracle, t)).sum() / 2
    # Gaussian data: E[u | u_1] leaves v - left of u's variance unknown, of v; the decoder starts from what is left.
    prior = (oracle.variance / left(oracle, 1.0)).log().sum() / 2
    return (prior + levels + (left(oracle, bound.first) / oracle.variance).log().sum() / 2).item()


@pytest.mark.parametrize(("name", "coupling"), some(NOISY, COUPLINGS))
def test_a_discrete_bound_lies_above_the_exact_value_by_what_is_known(name, coupling):
    process = NOISY[name]
    oracle, first = gaussian(process), first_of(process)
    x = oracle.sample(300, generator=seeded(0))
    bound = exact(oracle, first, coupling=coupling, steps=10)
    excess = bound(x, generator=seeded(1)).total - nll(oracle, x)
    error, gap = excess.std().item() / math.sqrt(len(x)), expected_gap(oracle, bound)
    assert gap > 0
    assert abs(excess.mean().item() - gap) < 4 * error
    assert gap > 4 * error


@pytest.mark.parametrize("name", ["cosine", "blurring", "heat", "pixelation", "power law", "graph"])
def test_a_markov_bound_falls_like_one_over_the_number_of_steps(name):
    """The known rate: halving the steps' lengths halves the gap."""
    process = NOISY[name]
    oracle, first = gaussian(process), max(first_of(process), 0.05)
    steps = torch.tensor([400.0, 800.0, 1600.0])
    gaps = torch.tensor([expected_gap(oracle, exact(oracle, first, steps=int(n))) for n in steps.tolist()])
    slopes = gaps.log().diff() / steps.log().diff()
    # The next term is of second order, a few steps' share of the first.
    torch.testing.assert_close(slopes, -torch.ones(2), rtol=0, atol=0.05)


def test_figures_known_from_elsewhere():
    """Gaussian data of 8 x 8 coefficients, cosine log-SNR in [-10, 10]: what finer and finer grids give."""
    process = IsotropicDiffusion((1, 8, 8), CosineSchedule(-10.0, 10.0))
    oracle = gaussian(process)
    gaps = [expected_gap(oracle, exact(oracle, steps=n)) for n in (100, 1000, 5000)]
    # 350 - 55.97, 71.6 - 55.97 and 58.9 - 55.97 nats for another spectrum: their ratios depend on it little.
    assert gaps[0] / gaps[1] == pytest.approx((350 - 55.97) / (71.6 - 55.97), rel=0.1)
    assert gaps[1] / gaps[2] == pytest.approx((71.6 - 55.97) / (58.9 - 55.97), rel=0.1)


def test_a_mixture_s_bound_in_continuous_time_is_its_exact_value():
    """p(x) of a mixture of narrow Gaussians, whose first latent tells the data: the decoder is nearly exact."""
    process = BlurringDiffusion((1, 4, 4), blur_sigma_max=1.0, schedule=CosineSchedule(-8.0, 12.0))
    means = 2 * random_images((1, 4, 4), batch=3)
    oracle = MixtureOracle(process, torch.tensor([1.0, 2.0, 3.0]), means, torch.full((1, 4, 4), 0.04))
    x = oracle.sample(300, generator=seeded(0))
    narrow = GaussianOracle(process, torch.zeros(1, 4, 4), torch.full((1, 4, 4), 0.04))
    bound = ELBO(
        oracle,
        prior=OraclePrior(oracle),
        decoder=GaussianDecoder(process, left(narrow, 0.0)[0].sqrt()),
        summation=MonteCarlo(draws=16, replicates=1),
    )
    u = process.basis.forward(x)
    square = (u[:, None] - means).square().flatten(2).sum(2) / 0.04
    joint = -square / 2 - 8 * math.log(2 * math.pi * 0.04) + torch.tensor([1.0, 2.0, 3.0]).log() - math.log(6)
    excess = bound(x, generator=seeded(1)).total + joint.logsumexp(1)
    assert abs(excess.mean().item()) < 4 * excess.std().item() / math.sqrt(len(x))


def test_a_finite_data_set_costs_the_logarithm_of_its_size():
    """A probability of 1/N each: with narrow kernels the latents lose log N nats, wherever the decoder starts."""
    process = IsotropicDiffusion((2, 3), CosineSchedule(-10.0, 10.0))
    data = random_images((2, 3), batch=8)
    oracle = EmpiricalOracle(process, data)
    bound = ELBO(oracle, prior=OraclePrior(oracle), summation=MonteCarlo(draws=32, replicates=2))
    found = bound(data.repeat(20, 1, 1), generator=seeded(0))
    latents = found.prior + found.diffusion
    assert abs(latents.mean().item() - math.log(8)) < 4 * latents.std().item() / math.sqrt(160)


@pytest.mark.parametrize("name", ["rectified flow", "unbounded cosine", "cosine"])
def test_the_integrand_is_a_number_at_the_last_time(name):
    """Without signal the log-SNR falls infinitely fast, and nothing is left to lose."""
    process = NOISY[name]
    term = rate_term(process.at(torch.ones(1, dtype=torch.float64)))
    near = rate_term(process.at(torch.tensor([1 - 1e-9], dtype=torch.float64)))
    assert term.scale.isfinite().all()
    signal = (term.log_alpha.exp() * term.scale, near.log_alpha.exp() * near.scale)
    torch.testing.assert_close(*signal, rtol=1e-3, atol=1e-3)


# ---- grids, networks, precision --------------------------------------------------------------------------


def test_the_grid_is_the_process_s_own_unless_another_is_asked_for():
    heat = gaussian(HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=6, sigma=0.05))
    prior = OraclePrior(heat)
    levels = torch.arange(1, 7, dtype=torch.float64) / 6
    # All K levels: the last is there, the first is the reconstruction's, none counts twice.
    assert torch.equal(ELBO(heat, prior=prior, coupling=Independent()).times, levels)
    assert ELBO(heat, prior=prior, steps=math.inf).times is None
    assert ELBO(heat, prior=prior, steps=math.inf).first == pytest.approx(1 / 6)
    cosine = gaussian(IsotropicDiffusion(SHAPE))
    assert ELBO(cosine).times is None
    assert ELBO(cosine, steps=4).times.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert ELBO(cosine, steps=4, first=0.5).times.tolist() == [0.5, 0.625, 0.75, 0.875, 1]
    assert ELBO(gaussian(NOISY["linear from 0"]), steps=4).times.tolist() == [0.25, 0.5, 0.75, 1]


def test_predictions_give_one_bound():
    """The bound asks for an estimate of the data: what the network puts out to make it does not matter."""
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=6, sigma=0.05)
    prior = OraclePrior(gaussian(process))
    x = random_images(SHAPE, batch=3)

    class Converted(torch.nn.Module):
        def __init__(self, prediction):
            super().__init__()
            self.prediction = prediction

        def forward(self, z, t, condition):
            at, estimate = process.at(t.double()), 0.5 * z.roll(1, -1)
            if isinstance(self.prediction, PredictPreviousLevel):
                (less,) = process.degrade(estimate, self.prediction.previous(at))
                return less - z
            u, v = process.basis.forward(z), process.basis.forward(estimate)
            return self.prediction.target(at, estimate, process.basis.inverse((u - at.alpha * v) / at.sigma))

    first, *others = (
        ELBO(
            Denoiser(Converted(p), process, prediction=p),
            prior=prior,
            coupling=Independent(),
            reverse_std=ConstantStd(0.06),
        )(x, generator=seeded(0)).diffusion
        for p in (PredictX(), PredictV(), PredictPreviousLevel())
    )
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-5, atol=0)


def test_gradients_reach_the_network_through_the_bound():
    process = IsotropicDiffusion(SHAPE)
    denoiser = Denoiser(Wobbly(), process, prediction=PredictX())
    bound = ELBO(denoiser, summation=MonteCarlo(draws=1, times=UniformTimes(), replicates=1))
    x = random_images(SHAPE, dtype=torch.float32)
    bound(x, condition=torch.ones(2), generator=seeded(0)).total.mean().backward()
    # The bound's parameters are the network's.
    assert all(p.grad is not None and (p.grad != 0).all() for p in bound.parameters())


def test_a_condition_goes_to_the_network_with_its_row():
    """Told 0 in every row but one, whatever many levels share a call, the network answers as one told nothing."""
    process = IsotropicDiffusion(SHAPE)
    bound = ELBO(Denoiser(Wobbly(), process, prediction=PredictX()), steps=6, rows=8)
    x = random_images(SHAPE, batch=3)
    told = bound(x, condition=torch.tensor([0.0, 1.0, 0.0]), generator=seeded(0))
    plain = bound(x, generator=seeded(0))
    assert (told.terms != plain.terms).all(1).tolist() == [False, True, False]
    assert (told.reconstruction != plain.reconstruction).tolist() == [False, True, False]


@pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon(), PredictV()], ids=str)
def test_float32_agrees_with_float64(prediction, monkeypatch):
    """Fed with the same noise, both give the same bound but for rounding."""
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0)
    denoiser, x = Denoiser(Wobbly(), process, prediction=prediction), random_images(SHAPE, batch=4).float()

    def noise(shape, *, like, generator):
        return white_noise(shape, like=like, dtype=torch.float32, generator=generator).to(like.dtype)

    monkeypatch.setattr(elbo, "white_noise", noise)
    double, single = (ELBO(denoiser, steps=20)(data, generator=seeded(0)) for data in (x.double(), x))
    # Differences of numbers of size 1, rounded to 2^-24, are divided by alpha (1e-3 at least, for epsilon) and by
    # widths of 1e-2, against terms of size 1 and more: 1e-7 * 1e5 in the worst coefficient, of 48.
    torch.testing.assert_close(single.total, double.total, rtol=1e-3, atol=0)
