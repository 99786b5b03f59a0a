"""Runs guided by an observation: where they start, and that their samples are those of the posterior."""

import math

import pytest
import torch
from guidance_problems import LEFT, SHAPE, SMALL, Problem, limit_of_samples, small_problem
from sampler_support import made, seeded
from support import refusals

from unmelt.degradations import (
    CosineBasis,
    DataSpectrum,
    Deterministic,
    HeatDissipation,
    Independent,
    Markov,
    Pixelation,
    estimate_spectrum,
)
from unmelt.models import GaussianOracle, GaussianPrior, OraclePrior
from unmelt.samplers import Multistep, Posterior, Sampler, UniformGrid, branch, interpolate_seeds
from unmelt.samplers.guidance import (
    CovarianceGuidance,
    DiffusionPosteriorSampling,
    LinearObservation,
    PseudoInverseGuidance,
    conditional_latents,
)

KINDS = {
    "covariance": CovarianceGuidance,
    "pseudo-inverse": PseudoInverseGuidance,
    "diffusion": lambda *a, **k: DiffusionPosteriorSampling(*a, strength=2.0, **k),
}


def guided(problem, kind="covariance", **settings):
    return KINDS[kind](problem.oracle, problem.observation, **{"variance": problem.spectrum} | settings)


def require_normal(samples, mean, covariance):
    """Check mean and covariance of independent samples, (count, n), within six standard errors."""
    count, scale = len(samples), covariance.diagonal()
    assert ((samples.mean(0) - mean).abs() < 6 * (scale / count).sqrt()).all()
    # The variance of a normal's sample covariance is (c_ii c_jj + c_ij^2) / count; single precision may add 1e-6.
    error = ((scale[:, None] * scale + covariance**2) / count).sqrt()
    assert ((samples.T.cov() - covariance).abs() < 6 * error + 1e-6).all()


# ---- samples of the posterior ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stepper",
    [Posterior(Markov()), Posterior(Deterministic()), Multistep(order=2)],
    ids=["Markov", "Deterministic", "Multistep"],
)
@pytest.mark.parametrize("observation", ["blur", "mask"])
@pytest.mark.parametrize("process", ["heat", "blurring", "isotropic"])
def test_samples_have_the_posterior_s_mean_and_covariance(process, observation, stepper):
    """2000 of them for one observation, of a sampler that is told nothing but y."""
    problem, count = small_problem(process, observation), 2000
    y = problem.y[:1].expand(count, *SMALL)
    # In 120 steps first order still leaves up to a fourteenth of a variance; six standard errors of it are a fifth.
    samples = made(guided(problem), stepper, steps=120).sample(count, given=y, generator=seeded(9))
    require_normal(samples.flatten(1).double(), *limit_of_samples(problem))


@pytest.mark.parametrize("process", ["heat", "blurring", "isotropic"])
def test_means_of_independent_steps_are_the_posterior_s(process):
    """At any number of steps, since estimates are affine in the latent; their spread is not the posterior's."""
    problem, count = small_problem(process, "mask"), 2000
    y = problem.y[:1].expand(count, *SMALL)
    samples = made(guided(problem), Posterior(Independent()), 10).sample(count, given=y, generator=seeded(9))
    mean, covariance = limit_of_samples(problem)
    # No estimate varies more than the data do given y.
    assert ((samples.flatten(1).double().mean(0) - mean).abs() < 6 * (covariance.diagonal() / count).sqrt()).all()


def natural(basis):
    """The spectrum of data like photographs: around one half, variances that fall with the square of the frequency."""
    mean = basis.forward(torch.full((1, *basis.shape), 0.5, dtype=torch.float64))[0]
    variance = 0.05 / (1e-3 + basis.laplacian_eigenvalues()).expand(basis.shape)
    return DataSpectrum(basis, mean, variance.clone(), 100)


@pytest.mark.parametrize(
    "stepper",
    [Posterior(Markov()), Posterior(Deterministic()), Posterior(Independent()), Multistep()],
    ids=["Markov", "Deterministic", "Independent", "Multistep"],
)
@pytest.mark.parametrize("task", ["deblur", "inpaint"])
def test_restored_images_have_the_brightness_of_the_observed_one(task, stepper):
    """z_1 of heat holds the image's mean: drawn without looking at y it is another image's, and so is the sample."""
    shape = (3, 16, 16)
    process = HeatDissipation(shape)
    spectrum = natural(process.basis)
    visible = torch.ones(16, 16, dtype=torch.bool)
    visible[5:11, 4:12] = False
    observation = {
        "deblur": LinearObservation.blur(shape, 1.0, noise_std=0.02),
        "inpaint": LinearObservation.mask(shape, visible, noise_std=0.02),
    }[task]
    oracle = GaussianOracle.of_spectrum(process, spectrum)
    x = oracle.sample(4, generator=seeded()).float()
    y = observation.observe(x, generator=seeded(1))
    sampler = Sampler(CovarianceGuidance(oracle, observation, variance=spectrum), stepper, UniformGrid(20))
    samples = sampler.sample(4, given=y, generator=seeded(2))
    seen = visible if task == "inpaint" else torch.ones_like(visible)
    gap = (samples - x)[..., seen].mean(-1).abs()
    # The noise of y averages to 0.02 / sqrt(208) over what is seen; of the samples' own, at most as much again.
    assert gap.max() < 6 * math.sqrt(2) * 0.02 / math.sqrt(208)
    # The data's own brightness varies: by sqrt(0.05 / 1e-3) in the coefficient of the mean, 0.44 per pixel.
    assert x[..., seen].mean(-1).std() > 0.1


# ---- where runs start ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("process", ["heat", "isotropic"])
def test_runs_start_from_latents_given_the_observation(kind, process):
    problem, count = small_problem(process, "mask"), 4000
    sampler = made(guided(problem, kind), steps=2)
    assert sampler.prior is None
    assert type(sampler.denoiser).__name__ in repr(sampler)
    y = problem.y[:1].expand(count, *SMALL)
    first = sampler.run(count, given=y, generator=seeded(3)).trajectory.states[0]
    assert first.dtype == torch.float32
    assert torch.equal(first, sampler.initial_latents(count, given=y, generator=seeded(3)))
    posterior, a = problem.given_latent(None, None), problem.dense.degradation(1.0)
    covariance = a @ posterior.covariance @ a.T + problem.dense.covariance(1.0)
    require_normal(first.flatten(1).double(), a @ posterior.mean[0], covariance)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_starts_a_sample_the_same_way_in_every_batch(kind):
    problem = Problem.named("heat", "mask")
    sampler = made(guided(problem, kind), steps=3)
    whole = sampler.run(3, given=problem.y, generator=[5, 6, 7]).trajectory
    batches = sampler.run(3, given=problem.y, generator=[5, 6, 7], batch_size=2).trajectory
    alone = sampler.run(1, given=problem.y[2:], generator=[7]).trajectory
    # Residuals of 5, rounded to 1e-16 and divided by s^2 = 0.01, in single precision.
    close = {"rtol": 0, "atol": 1e-6}
    torch.testing.assert_close(batches.states[0], whole.states[0], **close)
    torch.testing.assert_close(alone.states[0], whole.states[0, 2:], **close)
    assert (whole.states[0, 0] - whole.states[0, 1]).abs().max() > 0.01
    if kind == "covariance":
        # Three more steps, whose rounding of 6e-8 is divided by s^2 = 0.01.
        torch.testing.assert_close(batches.states, whole.states, rtol=0, atol=1e-4)


def test_where_the_process_ends_in_noise_alone_variances_do():
    problem = Problem.named("isotropic", "mask")
    sampler = made(guided(problem, variance=0.5), steps=2)
    first = sampler.initial_latents(3, given=problem.y, generator=seeded())
    assert torch.equal(first, torch.randn((3, *SHAPE), generator=seeded()))


def test_own_latents_need_no_mean():
    problem = Problem.named("heat", "mask")
    initial = conditional_latents(problem.process, problem.observation, problem.y, problem.spectrum)
    sampler = made(guided(problem, variance=problem.variance), Posterior(Deterministic()), steps=3)
    known = made(guided(problem), Posterior(Deterministic()), steps=3)
    run = {"given": problem.y, "initial": initial}
    assert torch.equal(sampler.sample(3, **run), known.sample(3, **run))


HEAT = Problem.named("heat", "mask")


@pytest.mark.usefixtures("as_in_production")
@refusals(
    (
        lambda: made(guided(HEAT, variance=HEAT.variance), steps=2).sample(3, given=HEAT.y),
        ValueError,
        r"HeatDissipation leaves some of the data at t = 1 \(alpha up to 1\).*estimate_spectrum.*initial=",
    ),
    (
        lambda: made(guided(HEAT), steps=2, prior=OraclePrior(HEAT.oracle)),
        ValueError,
        "CovarianceGuidance draws its first latents itself.*leave prior=OraclePrior out",
    ),
    (
        lambda: CovarianceGuidance(guided(HEAT), HEAT.observation, variance=HEAT.spectrum),
        ValueError,
        "denoiser must be unconditional, but CovarianceGuidance is itself given.*one observation",
    ),
    (
        lambda: made(guided(HEAT), steps=2).initial_latents(2),
        ValueError,
        "CovarianceGuidance needs to be given what was observed",
    ),
    (
        lambda: made(guided(HEAT), steps=2).initial_latents(2, given=HEAT.y),
        ValueError,
        "given must have one entry for each of 2 rows",
    ),
    (
        lambda: PseudoInverseGuidance(HEAT.oracle, HEAT.observation),
        TypeError,
        "PseudoInverseGuidance.*variance",
    ),
    (
        lambda: conditional_latents(HEAT.process, HEAT.observation, HEAT.y, HEAT.spectrum, iterations=0),
        ValueError,
        "iterations must be at least 1",
    ),
)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_sampler_without_observations_starts_from_its_prior():
    prior = GaussianPrior.of_spectrum(HEAT.process, HEAT.spectrum)
    sampler = made(HEAT.oracle, steps=2, prior=prior)
    assert torch.equal(sampler.initial_latents(3, generator=seeded()), prior.sample(3, generator=seeded()))
    by_seed = sampler.initial_latents(2, generator=[4, 5])
    assert torch.equal(by_seed[1:], prior.sample(1, generator=seeded(5)))
    assert torch.equal(by_seed, sampler.run(2, generator=[4, 5]).trajectory.states[0])


# ---- uses of samplers ---------------------------------------------------------------------------------------------


def test_the_trunk_of_a_tree_starts_given_the_observation():
    """Branched at t = 1 the initial latent itself is shown: that of heat has the brightness of y, to 0.1 and noise."""
    problem = Problem.named("heat", "mask")
    sampler = made(guided(problem), steps=4)
    tree = branch(sampler, times=(1.0,), children=(2,), given=problem.y[:1], generator=seeded())
    first = tree.generations[0].states
    again = branch(sampler, times=(1.0,), children=(2,), given=problem.y[:1] + 10.0, generator=seeded())
    # What is seen of a pixel is h v / (h^2 v + s^2) of y, all but all of it, and noise is the same.
    moved = (again.generations[0].states - first).mean()
    assert 5.0 < moved < 10.5


@pytest.mark.parametrize("process", ["heat", "isotropic"])
def test_ends_of_interpolated_seeds_are_the_samples_of_their_observations(process):
    problem = Problem.named(process, "mask")
    sampler = made(guided(problem), steps=4)
    between = interpolate_seeds(sampler, 3, 17, points=3, given=problem.y)
    ends = sampler.sample(2, given=problem.y[[0, 2]], generator=[3, 17])
    # Four steps in single precision, whose rounding of 6e-8 is divided by s^2 = 0.01.
    torch.testing.assert_close(between[[0, 2]], ends, rtol=0, atol=1e-4)


# ---- conditional latents --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("observation", ["mask", "blur", "motion", "projections"])
def test_latents_to_start_from_are_distributed_as_given_the_observation(observation, t):
    """Mean and covariance of 8000 draws for one observation, within six standard errors."""
    problem, count = small_problem("heat", observation), 8000
    many = problem.y[:1].expand(count, *problem.y.shape[1:])
    found = conditional_latents(problem.process, problem.observation, many, problem.spectrum, t=t, generator=seeded(6))
    posterior, a = problem.given_latent(None, None), problem.dense.degradation(t)
    mean, covariance = a @ posterior.mean[0], a @ posterior.covariance @ a.T + problem.dense.covariance(t)
    require_normal(found.flatten(1), mean, covariance)


def test_latents_to_start_from_do_not_know_what_is_not_visible():
    """As above, of what a motion blur leaves of a third of its pixels."""
    problem, count = small_problem("heat", "motion"), 8000
    visible = torch.arange(8).reshape(SMALL) % 3 > 0
    many = torch.where(visible, problem.y[:1], math.nan).expand(count, *SMALL)
    seen = problem.observation.seen_where(visible[None])
    found = conditional_latents(problem.process, seen, many, problem.spectrum, t=0.4, generator=seeded(6))
    posterior, a = problem.given_latent(None, None, visible.flatten()), problem.dense.degradation(0.4)
    covariance = a @ posterior.covariance @ a.T + problem.dense.covariance(0.4)
    require_normal(found.flatten(1), a @ posterior.mean[0], covariance)
    # In a run, by the row.
    sampler = made(guided(problem), steps=2)
    given = {"observed": many.float(), "visible": visible.expand(count, *SMALL)}
    first, a = sampler.initial_latents(count, given=given, generator=seeded(3)), problem.dense.degradation(1.0)
    covariance = a @ posterior.covariance @ a.T + problem.dense.covariance(1.0)
    require_normal(first.flatten(1).double(), a @ posterior.mean[0], covariance)


def test_starting_latents_are_repeatable_and_checked(as_in_production):
    problem = Problem.named("heat", "mask")
    spectrum = problem.spectrum
    arguments = problem.process, problem.observation, problem.y, spectrum
    first = conditional_latents(*arguments, generator=seeded())
    assert torch.equal(first, conditional_latents(*arguments, generator=seeded()))
    filled = torch.where(LEFT, problem.y, math.nan)
    assert torch.equal(first, conditional_latents(*arguments[:2], filled, spectrum, generator=seeded()))
    single = conditional_latents(*arguments[:2], problem.y.float(), spectrum, generator=seeded())
    assert single.dtype == torch.float32
    # Observations of size 5 rounded to 6e-8, divided by s^2 = 0.01.
    torch.testing.assert_close(single.double(), first, rtol=0, atol=1e-4)
    with pytest.raises(TypeError, match="spectrum must be a DataSpectrum"):
        conditional_latents(*arguments[:3], problem.variance)
    with pytest.raises(ValueError, match="y must have shape"):
        conditional_latents(*arguments[:2], problem.y[0], spectrum)
    with pytest.raises(TypeError, match="observation must be an Observation"):
        conditional_latents(problem.process, problem.process, problem.y, spectrum)
    with pytest.raises(ValueError, match="observation is one of signals of shape"):
        conditional_latents(problem.process, LinearObservation.blur(SMALL, 1.0, noise_std=0.1), problem.y, spectrum)


def test_the_default_iterations_grow_with_the_size():
    """A blur of one pixel in 16 x 16, sharpened in the Haar basis, takes more than the least number, 1000."""
    shape = (1, 16, 16)
    process, cosines = Pixelation(shape, scales=3), CosineBasis(shape)
    u = natural(cosines).variance.sqrt() * torch.randn((500, *shape), generator=seeded(), dtype=torch.float64)
    x = 0.5 + cosines.inverse(u)
    observation = LinearObservation.blur(shape, 1.0, noise_std=0.001)
    y = observation.observe(x[:1], generator=seeded(1))
    z = conditional_latents(process, observation, y, estimate_spectrum(process.basis, x), t=0.0, generator=seeded(2))
    # Noise of 0.001, twice, and that of the process: six standard deviations.
    noise = math.hypot(math.sqrt(2) * 0.001, process.sigma(0.0).max().item())
    assert observation.residual(y, z).abs().max() < 6 * noise


def test_a_variance_that_is_one_number_needs_no_equations(monkeypatch):
    """Then the covariance is the same in every basis, that of the observation too."""
    problem = Problem.named("isotropic", "blur")
    z = problem.latents(0.4)
    by_equations = guided(problem, variance=torch.full(SHAPE, 0.3, dtype=torch.float64))(z, 0.4, given=problem.y)
    monkeypatch.setattr("unmelt.samplers.guidance.conditioning.damped_least_squares", None)
    found = guided(problem, variance=0.3)(z, 0.4, given=problem.y)
    # Equations are solved to 2e-12 |G| |r|, divided by s^2 = 0.01, for residuals of 5.
    torch.testing.assert_close(found, by_equations, rtol=0, atol=1e-9)
    with pytest.raises(TypeError, match="not callable"):
        guided(problem, variance=problem.variance)(z, 0.4, given=problem.y)
