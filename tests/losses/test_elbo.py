"""The bound, against problems whose answer is known: Gaussian, mixture and finite data with their exact denoisers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
from unmelt.losses import (
    ELBO,
    Antithetic,
    FullSum,
    LossHistoryBins,
    LossHistoryTimes,
    MonteCarlo,
    UniformTimes,
)
from unmelt.losses.likelihood import elbo
from unmelt.losses.likelihood.terms import rate_term
from unmelt.models import (
    AbstractDenoiser,
    ConstantStd,
    Denoiser,
    DiscretisedGaussianDecoder,
    EmpiricalOracle,
    FittedStd,
    ForwardStd,
    GaussianDecoder,
    GaussianOracle,
    GreyLevels,
    MixtureOracle,
    OraclePrior,
    PosteriorStd,
)
from unmelt.testing.strategies import random_images, seeds

SHAPE = (2, 4, 6)
COUPLINGS = [Markov(), Independent(), Eta(0.5)]
# Without noise at a time there is no density, and the bound is infinite.
NOISY = {name: process for name, process in EVERY_PROCESS.items() if name not in ("cold", "no noise")}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def first_of(process):
    """A time from which on there is noise everywhere."""
    return 0.0 if bool((process.batched_log_sigma(0.0) > -math.inf).all()) else 0.02


def gaussian(process, seed=0):
    mean, variance = random_images(process.shape, seed=seed)
    return GaussianOracle(process, mean, 0.2 * variance + 0.02)


def left(oracle, t):
    """Variance of u given u_t, per coefficient, at each of the times."""
    alpha2, sigma2 = oracle.process.alpha(t).square(), oracle.process.sigma(t).square()
    return oracle.variance * sigma2 / (alpha2 * oracle.variance + sigma2)


def exact(oracle, first=None, **settings):
    """The bound whose prior and decoder are the data's own laws, so that only the levels can lose anything."""
    process = oracle.process
    decoder = GaussianDecoder(process, left(oracle, first or 0.0)[0].sqrt())
    return ELBO(process, prior=OraclePrior(oracle), decoder=decoder, first=first, **settings)


def nll(oracle, x):
    """-log p(x) of Gaussian data, from scratch."""
    u = oracle.process.basis.forward(x)
    return ((u - oracle.mean).square() / oracle.variance + (2 * math.pi * oracle.variance).log()).flatten(1).sum(1) / 2


class Recorder(AbstractDenoiser):
    """A poor estimate, made from the latent, that remembers what it was asked."""

    def __init__(self, process):
        super().__init__(process)
        self.seen = []

    def forward(self, z_t, t):
        estimate = 0.5 * z_t.roll(1, -1) - 0.1 * z_t.flip(-1).square()
        self.seen.append((z_t, torch.as_tensor(t).expand(len(z_t)), estimate))
        return estimate


class Wobbly(torch.nn.Module):
    """A fixed small network."""

    def forward(self, z, t):
        return torch.sin(3 * z).roll(1, -1) * 0.3 + 0.2 * z + 0.1 * t.reshape(-1, *(1,) * (z.ndim - 1))


# ---- each term is the divergence that it is named after ---------------------------------------------------


@pytest.mark.parametrize("coupling", COUPLINGS, ids=str)
@pytest.mark.parametrize("name", NOISY)
def test_each_term_is_the_divergence_of_the_two_posteriors(name, coupling):
    """KL(q(z_s | z_t, x) || q(z_s | z_t, x_hat)) from the process's own posteriors, latent by latent."""
    process = NOISY[name]
    times = torch.tensor([first_of(process), 0.1, 0.35, 0.7, 1.0], dtype=torch.float64)
    denoiser, x = Recorder(process), random_images(process.shape, batch=3)
    bound = ELBO(process, prior=OraclePrior(gaussian(process)), coupling=coupling, times=times, rows=1)
    found = bound(denoiser, x, generator=seeded())
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


@pytest.mark.parametrize("reverse_std", [PosteriorStd(), ConstantStd(0.3), ForwardStd()], ids=str)
@pytest.mark.parametrize("coupling", COUPLINGS, ids=str)
def test_each_term_is_the_mean_of_the_log_ratio_of_densities(coupling, reverse_std):
    """E_q[log q(z_s | z_t, x) - log p(z_s | z_t)] over draws of both latents, from densities."""
    process = IsotropicDiffusion((3,), CosineSchedule(-3.0, 3.0))
    denoiser, count, s, t = Recorder(process), 20_000, 0.4, 0.6
    x = random_images((3,), batch=1).expand(count, 3)
    times = torch.tensor([s, t, 1.0], dtype=torch.float64)
    prior = OraclePrior(gaussian(process))
    bound = ELBO(process, prior=prior, coupling=coupling, reverse_std=reverse_std, times=times)
    terms = bound(denoiser, x, generator=seeded()).terms[:, 0]
    z = process.marginal(x, t).sample(generator=seeded(1))
    p = process.posterior(z, x, s, t, coupling)
    centre = process.posterior(z, denoiser(z, torch.tensor(t)), s, t, coupling)
    stddev = {
        PosteriorStd(): p.spectral_stddev,
        ConstantStd(0.3): torch.tensor(0.3, dtype=torch.float64),
        ForwardStd(): process.transition(x, s, t).spectral_stddev,
    }[reverse_std]
    reverse = SpectralGaussian(process.basis, centre.spectral_mean, stddev)
    drawn = p.sample(generator=seeded(2))
    ratio = p.log_prob(drawn) - reverse.log_prob(drawn)
    error = math.sqrt((terms.var() + ratio.var()).item() / count)
    assert (terms.mean() - ratio.mean()).abs().item() < 4 * error
    assert error < 0.03 * terms.mean().item()


# ---- against exact negative log-likelihoods ---------------------------------------------------------------


@pytest.mark.parametrize("name", NOISY)
def test_in_continuous_time_the_bound_of_the_exact_denoiser_is_the_exact_value(name):
    process = NOISY[name]
    oracle, first = gaussian(process), first_of(process)
    x = oracle.sample(400, generator=seeded())
    bound = exact(oracle, first, steps=math.inf, summation=MonteCarlo(draws=16, replicates=1))
    excess = bound(oracle, x, generator=seeded(1)).total - nll(oracle, x)
    error = excess.std().item() / math.sqrt(len(x))
    assert abs(excess.mean().item()) < 4 * error
    # The test has teeth: an integral off by a factor of two would show.
    assert error < 0.15 * bound(oracle, x[:50], generator=seeded(2)).diffusion.mean().item()


def test_continuous_time_may_start_late():
    """What lies before the first latent is the decoder's: the integral is over the rest."""
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0))
    oracle = gaussian(process)
    x = oracle.sample(600, generator=seeded())
    bound = exact(oracle, 0.6, steps=math.inf, summation=MonteCarlo(draws=16, replicates=1))
    found = bound(oracle, x, generator=seeded(1))
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


@pytest.mark.parametrize("coupling", COUPLINGS, ids=str)
@pytest.mark.parametrize("name", NOISY)
def test_a_discrete_bound_lies_above_the_exact_value_by_what_is_known(name, coupling):
    process = NOISY[name]
    oracle, first = gaussian(process), first_of(process)
    x = oracle.sample(300, generator=seeded())
    bound = exact(oracle, first, coupling=coupling, steps=10)
    excess = bound(oracle, x, generator=seeded(1)).total - nll(oracle, x)
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
    x = oracle.sample(300, generator=seeded())
    narrow = GaussianOracle(process, torch.zeros(1, 4, 4), torch.full((1, 4, 4), 0.04))
    bound = ELBO(
        process,
        prior=OraclePrior(oracle),
        decoder=GaussianDecoder(process, left(narrow, 0.0)[0].sqrt()),
        summation=MonteCarlo(draws=16, replicates=1),
    )
    u = process.basis.forward(x)
    square = (u[:, None] - means).square().flatten(2).sum(2) / 0.04
    joint = -square / 2 - 8 * math.log(2 * math.pi * 0.04) + torch.tensor([1.0, 2.0, 3.0]).log() - math.log(6)
    excess = bound(oracle, x, generator=seeded(1)).total + joint.logsumexp(1)
    assert abs(excess.mean().item()) < 4 * excess.std().item() / math.sqrt(len(x))


def test_a_finite_data_set_costs_the_logarithm_of_its_size():
    """A probability of 1/N each: with narrow kernels the latents lose log N nats, wherever the decoder starts."""
    process = IsotropicDiffusion((2, 3), CosineSchedule(-10.0, 10.0))
    data = random_images((2, 3), batch=8)
    oracle = EmpiricalOracle(process, data)
    bound = ELBO(process, prior=OraclePrior(oracle), summation=MonteCarlo(draws=32, replicates=2))
    found = bound(oracle, data.repeat(20, 1, 1), generator=seeded())
    latents = found.prior + found.diffusion
    assert abs(latents.mean().item() - math.log(8)) < 4 * latents.std().item() / math.sqrt(160)


@pytest.mark.parametrize("name", ["rectified flow", "unbounded cosine", "cosine"])
def test_the_integrand_is_a_number_at_the_last_time(name):
    """Without signal the log-SNR falls infinitely fast, and nothing is left to lose."""
    process = NOISY[name]
    term = rate_term(process, torch.ones(1, dtype=torch.float64))
    near = rate_term(process, torch.tensor([1 - 1e-9], dtype=torch.float64))
    assert term.gain.isfinite().all()
    signal = (term.log_alpha.exp() * term.gain, near.log_alpha.exp() * near.gain)
    torch.testing.assert_close(*signal, rtol=1e-3, atol=1e-3)


# ---- estimates --------------------------------------------------------------------------------------------


def test_an_estimate_agrees_with_all_levels_and_tells_its_error():
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0, schedule=CosineSchedule(-6.0, 4.0))
    denoiser, x = Denoiser(Wobbly(), process, prediction=PredictV()), random_images(SHAPE, batch=2)
    every = ELBO(process, steps=50, summation=FullSum(replicates=100))(denoiser, x, generator=seeded())
    some = ELBO(process, steps=50, summation=MonteCarlo(draws=10, replicates=100))(denoiser, x, generator=seeded(1))
    error = (every.stderr.square() + some.stderr.square()).sqrt()
    assert ((every.total - some.total).abs() < 4 * error).all()
    assert (error < 0.05 * every.total).all()
    assert every.terms.shape == (2, 50)
    assert some.terms.shape == (2, 1000)
    torch.testing.assert_close((some.weights * some.terms).sum(1), some.diffusion, rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [20, math.inf])
def test_importance_sampling_by_the_terms_met_before_is_unbiased_and_steadier(steps):
    """The last levels' terms are a hundred times the first ones': draws go where the terms are large."""
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-7.0, 7.0))
    denoiser = Denoiser(Wobbly(), process, prediction=PredictX())
    x = random_images(SHAPE, batch=1).expand(300, *SHAPE)
    law = LossHistoryTimes(20) if steps == 20 else LossHistoryBins(20)
    before = MonteCarlo(draws=20, replicates=1)
    first = ELBO(process, steps=steps, summation=before)(denoiser, x, generator=seeded())
    law.update(first.fractions.flatten(), first.terms.flatten())
    plain, chosen = (
        ELBO(process, steps=steps, summation=MonteCarlo(draws=4, times=times, replicates=2))(
            denoiser, x, generator=seeded(1)
        )
        for times in (UniformTimes(), law)
    )
    error = (chosen.total.var() / 300 + first.total.var() / 300).sqrt()
    assert abs(chosen.total.mean() - first.total.mean()) < 4 * error
    assert chosen.diffusion.std() < 0.5 * plain.diffusion.std()


def test_antithetic_draws_are_unbiased():
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-7.0, 7.0))
    oracle, x = gaussian(process), random_images(SHAPE, batch=1).expand(300, *SHAPE)
    every = ELBO(process, steps=20)(oracle, x, generator=seeded())
    pairs = MonteCarlo(draws=4, times=Antithetic(UniformTimes()), replicates=1)
    some = ELBO(process, steps=20, summation=pairs)(oracle, x, generator=seeded(1))
    assert abs(every.total.mean() - some.total.mean()) < 4 * (some.total.std() + every.total.std()) / math.sqrt(300)
    torch.testing.assert_close(some.fractions[:, :2] + some.fractions[:, 2:], torch.full((300, 2), 1.05).double())


def test_the_standard_error_is_the_spread_of_the_estimate():
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-7.0, 7.0))
    oracle = gaussian(process)
    x = random_images(SHAPE, batch=1).expand(400, *SHAPE)
    found = ELBO(process, summation=MonteCarlo(draws=4, replicates=8))(oracle, x, generator=seeded())
    # A variance from 400 x 7 degrees of freedom is right to 2.7 %, the spread of 400 to 3.5 %: five times both.
    assert found.stderr.square().mean().sqrt().item() == pytest.approx(found.total.std().item(), rel=0.22)


def test_one_replicate_has_no_standard_error():
    process = IsotropicDiffusion(SHAPE)
    found = ELBO(process, steps=3)(gaussian(process), random_images(SHAPE), generator=seeded())
    assert found.stderr.isnan().all()


def test_how_many_rows_a_call_has_changes_nothing_but_the_noise():
    """Levels beside each other in one call, and one after the other, are of the same law."""
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.05)
    oracle = gaussian(process)
    # Examples that cost very different amounts: none may be taken for another.
    x = random_images(SHAPE, batch=2) * torch.tensor([1.0, 5.0])[:, None, None, None]
    found = [
        ELBO(process, prior=OraclePrior(oracle), coupling=Independent(), rows=rows, summation=FullSum(replicates=60))(
            oracle, x, generator=seeded()
        )
        for rows in (1, 7, 256)
    ]
    for other in found[1:]:
        error = (found[0].stderr.square() + other.stderr.square()).sqrt()
        assert ((found[0].total - other.total).abs() < 4 * error).all()
        assert torch.equal(found[0].times, other.times)


# ---- standard deviations ----------------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    name=st.sampled_from(["heat", "blurring", "cosine", "pixelation", "heat flow"]),
    coupling=st.sampled_from(COUPLINGS),
    seed=seeds(),
)
def test_no_standard_deviation_gives_a_lower_bound_than_the_fitted_one(name, coupling, seed):
    process = NOISY[name]
    first = first_of(process)
    denoiser = Denoiser(Wobbly(), process, prediction=PredictX())
    x = random_images(SHAPE, batch=6, seed=seed)
    settings = {"prior": OraclePrior(gaussian(process)), "coupling": coupling, "steps": 4, "first": first}
    plain = ELBO(process, **settings, decoder=GaussianDecoder(process, 0.2))
    # The same noise for all: on these data, with these latents, nothing is lower.
    best = plain.fitted(denoiser, x, generator=seeded(seed))
    least = best(denoiser, x, generator=seeded(seed))
    assert isinstance(best.reverse_std, FittedStd)
    others = [PosteriorStd()]
    others += [ConstantStd(0.05), ConstantStd(0.3), ForwardStd()] if name == "cosine" else []
    others += [FittedStd(best.reverse_std.times, best.reverse_std.log_stddev + shift) for shift in (0.01, -0.01)]
    for other in others:
        found = ELBO(process, **settings, reverse_std=other, decoder=GaussianDecoder(process, 0.2))(
            denoiser, x, generator=seeded(seed)
        )
        assert (least.terms.mean(0) <= found.terms.mean(0) * (1 + 1e-9) + 1e-9).all()
        assert least.reconstruction.mean() <= found.reconstruction.mean()
        assert least.total.mean() < found.total.mean()


def test_a_fitted_density_is_the_best_one_in_every_coefficient():
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0, schedule=CosineSchedule(-6.0, 4.0))
    denoiser, x = Denoiser(Wobbly(), process, prediction=PredictX()), random_images(SHAPE, batch=7)
    prior = OraclePrior(gaussian(process))
    best = ELBO(process, prior=prior, steps=2).fitted(denoiser, x, generator=seeded(1)).decoder.stddev
    # A random tenth up or down in each coefficient: dearer by r^2 each, on the same noise.
    factors = [torch.ones(SHAPE).double()] + [
        0.9 + 0.2 * torch.rand(SHAPE, generator=seeded(k)).round() for k in (2, 3)
    ]
    costs = [
        ELBO(process, prior=prior, steps=2, decoder=GaussianDecoder(process, factor * best))(
            denoiser, x, generator=seeded(1)
        ).reconstruction.mean()
        for factor in factors
    ]
    # expm1(-2 log 0.9) / 2 + log 0.9 = 0.0119 and for 1.1 0.0086, for each of 48 coefficients.
    for cost in costs[1:]:
        assert 48 * 0.008 < cost - costs[0] < 48 * 0.0125


def test_a_fitted_decoder_of_integers_is_the_best_one():
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0))
    denoiser, levels = Denoiser(Wobbly(), process, prediction=PredictX()), GreyLevels(count=9, low=-1.0, high=1.0)
    x = torch.randint(0, 9, (8, *SHAPE), generator=seeded(), dtype=torch.uint8)
    plain = ELBO(
        process, prior=OraclePrior(gaussian(process)), steps=2, decoder=DiscretisedGaussianDecoder(process, levels)
    )
    best = plain.fitted(denoiser, x, generator=seeded(1))
    width = best.decoder.stddev.item()
    costs = []
    for factor in (0.9, 0.99, 1.0, 1.01, 1.1):
        decoder = DiscretisedGaussianDecoder(process, levels, factor * width)
        bound = ELBO(process, prior=plain.prior, steps=2, decoder=decoder)
        costs.append(bound(denoiser, x, generator=seeded(1)).reconstruction.mean().item())
    assert min(costs) == costs[2]


def test_the_fitted_bound_restores_from_its_state():
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=6, sigma=0.05)
    oracle = gaussian(process)
    x = random_images(SHAPE, batch=3)
    plain = ELBO(process, prior=OraclePrior(oracle), coupling=Independent())
    best = plain.fitted(oracle, x, generator=seeded())
    blank = plain.fitted(oracle, 2 * x, generator=seeded(5))
    assert not torch.equal(blank(oracle, x, generator=seeded(1)).total, best(oracle, x, generator=seeded(1)).total)
    blank.load_state_dict(best.state_dict())
    assert torch.equal(blank(oracle, x, generator=seeded(1)).total, best(oracle, x, generator=seeded(1)).total)
    # The bound that was fitted is another object; this one is as it was.
    assert isinstance(plain.reverse_std, PosteriorStd)


def test_fitting_goes_batch_by_batch():
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=6, sigma=0.05)
    oracle, x = gaussian(process), random_images(SHAPE, batch=400)
    bound = ELBO(process, prior=OraclePrior(oracle), coupling=Independent())
    whole = bound.fitted(oracle, x, generator=seeded())
    parts = bound.fitted(oracle, [x[:150], x[150:]], generator=seeded(1))
    # A standard deviation from 400 examples is right to 1 / sqrt(800), other noise on the same data to less.
    torch.testing.assert_close(
        whole.reverse_std.log_stddev, parts.reverse_std.log_stddev, rtol=0, atol=5 * (2 / 800) ** 0.5
    )


# ---- grids ------------------------------------------------------------------------------------------------


def test_the_grid_is_the_process_s_own_unless_another_is_asked_for():
    heat = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=6, sigma=0.05)
    prior = OraclePrior(gaussian(heat))
    levels = torch.arange(1, 7, dtype=torch.float64) / 6
    # All K levels: the last is there, the first is the reconstruction's, none counts twice.
    assert torch.equal(ELBO(heat, prior=prior, coupling=Independent()).times, levels)
    assert ELBO(heat, prior=prior, steps=math.inf).times is None
    assert ELBO(heat, prior=prior, steps=math.inf).first == pytest.approx(1 / 6)
    cosine = IsotropicDiffusion(SHAPE)
    assert ELBO(cosine).times is None
    assert ELBO(cosine, steps=4).times.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert ELBO(cosine, steps=4, first=0.5).times.tolist() == [0.5, 0.625, 0.75, 0.875, 1]
    linear = NOISY["linear from 0"]
    assert ELBO(linear, steps=4).times.tolist() == [0.25, 0.5, 0.75, 1]


def test_predictions_give_one_bound():
    """The bound asks for an estimate of the data: what the network puts out to make it does not matter."""
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=6, sigma=0.05)
    prior = OraclePrior(gaussian(process))
    x = random_images(SHAPE, batch=3)

    class Summation(torch.nn.Module):
        def __init__(self, prediction):
            super().__init__()
            self.prediction = prediction

        def forward(self, z, t):
            estimate = 0.5 * z.roll(1, -1)
            t = t.double()
            if isinstance(self.prediction, PredictPreviousLevel):
                (less,) = process.degrade(estimate, self.prediction.previous(process, t))
                return less - z
            u, v = process.basis.forward(z), process.basis.forward(estimate)
            noise = process.basis.inverse((u - process.alpha(t) * v) / process.sigma(t))
            return self.prediction.target(process, estimate, noise, t)

    bound = ELBO(process, prior=prior, coupling=Independent(), reverse_std=ConstantStd(0.06))
    found = [
        bound(Denoiser(Summation(p), process, prediction=p), x, generator=seeded()).diffusion
        for p in (PredictX(), PredictV(), PredictPreviousLevel())
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=0)


def test_gradients_reach_the_network_through_the_bound():
    process = IsotropicDiffusion(SHAPE)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3, padding=1))
    network.forward = lambda z, t: network[0](z)
    denoiser = Denoiser(network, process, prediction=PredictX())
    bound = ELBO(process, summation=MonteCarlo(draws=1, times=UniformTimes(), replicates=1))
    bound(denoiser, random_images(SHAPE, dtype=torch.float32), generator=seeded()).total.mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon(), PredictV()], ids=str)
def test_float32_agrees_with_float64(prediction, monkeypatch):
    """Fed with the same noise, both give the same bound but for rounding."""
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0)
    denoiser, x = Denoiser(Wobbly(), process, prediction=prediction), random_images(SHAPE, batch=4).float()

    def noise(shape, *, like, generator):
        return white_noise(shape, like=like, dtype=torch.float32, generator=generator).to(like.dtype)

    monkeypatch.setattr(elbo, "white_noise", noise)
    double, single = (ELBO(process, steps=20)(denoiser, data, generator=seeded()) for data in (x.double(), x))
    # Differences of numbers of size 1, rounded to 2^-24, are divided by alpha (1e-3 at least, for epsilon) and by
    # widths of 1e-2, against terms of size 1 and more: 1e-7 * 1e5 in the worst coefficient, of 48.
    torch.testing.assert_close(single.total, double.total, rtol=1e-3, atol=0)
