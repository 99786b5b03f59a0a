"""Guidance by observations: against dense conditioning, and what samplers make of it against the known posterior."""

import itertools
import math

import pytest
import torch
from dense_reference import vectors
from guidance_problems import (
    EVERY_OBSERVATION,
    LEFT,
    OBSERVATIONS,
    PROCESSES,
    SHAPE,
    Given,
    Problem,
    limit_of_samples,
    small_problem,
)
from sampler_support import made, seeded
from support import refusals
from torch import nn

from unmelt.degradations import (
    BlurringDiffusion,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    Deterministic,
    EDMSchedule,
    Eta,
    IsotropicDiffusion,
    LinearSchedule,
    Markov,
    Pixelation,
    PredictEpsilon,
    PredictX,
    estimate_spectrum,
)
from unmelt.models import (
    AbstractDenoiser,
    Denoiser,
    EmpiricalOracle,
    GaussianOracle,
    GreyLevels,
)
from unmelt.samplers.guidance import (
    CovarianceGuidance,
    DiffusionPosteriorSampling,
    LinearObservation,
    PseudoInverseGuidance,
)
from unmelt.testing.strategies import random_images

# ---- the estimate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.0, 0.05, 0.3, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("observation", EVERY_OBSERVATION)
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("kind", [CovarianceGuidance, PseudoInverseGuidance])
def test_the_estimate_is_the_mean_given_latent_and_observation(kind, process, observation, t):
    problem = Problem.named(process, observation)
    z = problem.latents(t)
    expected = problem.given_latent(z, t).mean
    found = problem.guided(kind)(z, t).flatten(1)
    # Equations are solved to 2e-12 |G| |r|, which the inverse of S, at most 1 / s^2 = 100, times |G| <= 1 amplifies:
    # 1e-9 for residuals of 5. The gradient's rounding, 2e-16, is amplified by at most sigma sqrt(v / 2e-16) = 7e7.
    # The reference inverts matrices of condition up to 1e4.
    tolerance = 1e-9 if kind is CovarianceGuidance else 1e-7
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    # That the observation matters at all, in the middle.
    if t in (0.3, 0.6):
        assert (found - problem.oracle(z, t).flatten(1)).abs().max() > 0.05


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("kind", [CovarianceGuidance, PseudoInverseGuidance])
def test_an_observation_in_the_process_s_own_basis_needs_no_equations(kind, process, t, monkeypatch):
    own = PROCESSES[process](SHAPE)
    gain = torch.linspace(-1, 2, 32, dtype=torch.float64).reshape(SHAPE) * (torch.arange(4) != 2)
    problem = Problem(own, LinearObservation(own.basis, gain, noise_std=0.1))
    monkeypatch.setattr("unmelt.samplers.guidance.conditioning.damped_least_squares", None)
    z = problem.latents(t)
    expected = problem.given_latent(z, t).mean
    # As above, without equations.
    torch.testing.assert_close(problem.guided(kind)(z, t).flatten(1), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("observation", ["mask", "blocks", "small", "projections"])
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("kind", [CovarianceGuidance, PseudoInverseGuidance])
def test_without_noise_what_is_observed_is_reproduced(kind, process, observation, t):
    problem = Problem.named(process, observation, noise_std=0.0)
    z = problem.latents(t)
    found = problem.guided(kind)(z, t)
    # H C H^T, whose least eigenvalue but 0 is the smallest r_t^2, is inverted: 2e-12 of |G| |r| / min r_t^2.
    spread = problem.guided(kind).spread(t, dtype=torch.float64).variance
    tolerance = 2e-7 + 1e-10 * min(1.0, (spread.max() / spread.min()).item() ** 0.5)
    torch.testing.assert_close(found.flatten(1), problem.given_latent(z, t).mean, rtol=0, atol=tolerance)
    if spread.min() > 1e-3:
        assert problem.observation.residual(problem.y, found).abs().max() < 1e-6


def test_without_noise_faded_coefficients_are_not_amplified():
    """A blur that leaves 1e-40 of some coefficients: dividing rounding errors of 1e-16 by that would be the end."""
    process = PROCESSES["heat"](SHAPE)
    problem = Problem(process, LinearObservation.blur(SHAPE, 5.0, noise_std=0.0))
    assert 0 < problem.observation.gain.min() < 1e-40
    for t in (0.3, 1.0):
        found = problem.guided(CovarianceGuidance)(problem.latents(t), t)
        stddev = problem.guided(CovarianceGuidance).spread(t).variance.sqrt()
        # Errors of the estimate of at most six of its standard deviations, 0 where it is known.
        error = process.basis.forward(found - problem.x)
        assert (error.abs() <= 6 * stddev + 1e-7).all()
        # What the blur spared is known to the rounding, divided by its gain: sqrt of 32 times 2e-16 over 1e-4.
        kept = (problem.observation.gain > 1e-4).expand_as(error)
        assert error[kept].abs().max() < 1e-11


def test_a_single_precision_observation_counts_as_rounded():
    """Noise of eps rms(y), 1e-7, is what a coefficient observed without noise is weighed with against its variance."""
    process = PROCESSES["isotropic"](SHAPE)
    gain = torch.full(SHAPE, 1e-6, dtype=torch.float64)
    gain[0] = 1.0
    problem = Problem(process, LinearObservation(process.basis, gain, noise_std=0.0))
    rounded = problem.y.float()
    found = problem.guided(CovarianceGuidance, y=rounded)(problem.latents(1.0), 1.0)
    estimate = problem.oracle(problem.latents(1.0), 1.0)
    eps, variance = torch.finfo(torch.float32).eps, problem.guided(CovarianceGuidance).spread(1.0).variance
    noise = eps**2 * rounded.double().square().flatten(1).mean(1).reshape(-1, 1, 1, 1)
    expected = estimate + variance * gain / (gain**2 * variance + noise) * (rounded.double() - gain * estimate)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert ((found - estimate)[:, 1] / (rounded / gain - estimate)[:, 1]).max() < 0.9999


def test_what_is_not_observed_does_not_matter():
    problem = Problem.named("heat", "mask")
    z = problem.latents(0.4)
    for kind, more in [
        (CovarianceGuidance, {}),
        (PseudoInverseGuidance, {}),
        (DiffusionPosteriorSampling, {"strength": 3.0}),
    ]:
        as_drawn = problem.guided(kind, **more)(z, 0.4)
        for bin_centres in (0.0, 1e6, math.nan):
            other = torch.where(LEFT, problem.y, bin_centres)
            assert torch.equal(problem.guided(kind, y=other, **more)(z, 0.4), as_drawn)


def test_nothing_observed_changes_nothing():
    problem = Problem(PROCESSES["heat"](SHAPE), LinearObservation.mask(SHAPE, torch.tensor(False), noise_std=0.0))
    z = problem.latents(0.4)
    for kind, more in [
        (CovarianceGuidance, {}),
        (PseudoInverseGuidance, {}),
        (DiffusionPosteriorSampling, {"strength": 3.0}),
    ]:
        torch.testing.assert_close(problem.guided(kind, **more)(z, 0.4), problem.oracle(z, 0.4), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", [CovarianceGuidance, PseudoInverseGuidance])
@pytest.mark.parametrize("observation", ["mask", "own"])
def test_a_latent_without_noise_leaves_nothing_to_correct(kind, observation):
    process = IsotropicDiffusion(SHAPE, LinearSchedule())
    assert process.sigma(0.0).item() == 0
    own = LinearObservation(process.basis, torch.ones(()), noise_std=0.0)
    problem = Problem(process, own if observation == "own" else OBSERVATIONS["mask"](SHAPE, 0.0))
    y = problem.y + 1.0
    torch.testing.assert_close(problem.guided(kind, y=y)(problem.x, 0.0), problem.x, rtol=0, atol=1e-14)
    nothing = problem.guided(kind, y=torch.zeros_like(y))(problem.x, 0.0)
    torch.testing.assert_close(nothing, problem.x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", [CovarianceGuidance, PseudoInverseGuidance])
@pytest.mark.parametrize("observation", ["mask", "blocks"])
def test_a_cold_process_leaves_nothing_or_everything_to_know(kind, observation):
    """Without noise: what has faded altogether has the data's own variance, what has not has none."""
    process = Pixelation(SHAPE, noise=ConstantNoise(0.0))
    problem = Problem(process, OBSERVATIONS[observation](SHAPE, 0.1))
    z, gone = problem.latents(0.5), process.alpha(0.5)[0] == 0
    assert 0 < gone.sum() < gone.numel()
    variance = problem.guided(kind).spread(0.5).variance[0]
    torch.testing.assert_close(variance, torch.where(gone, problem.variance, 0.0), rtol=1e-14, atol=0)
    # As above: equations solved to 2e-12, divided by s^2.
    torch.testing.assert_close(
        problem.guided(kind)(z, 0.5).flatten(1), problem.given_latent(z, 0.5).mean, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("kind", [CovarianceGuidance, PseudoInverseGuidance])
@pytest.mark.parametrize("observation", ["mask", "blur"])
@pytest.mark.parametrize("process", ["heat", "isotropic"])
def test_known_coefficients_stay_as_they_are(process, observation, kind):
    """Variance 0, as the black border's of digits, or 1e-30, and the observation says otherwise."""
    process = PROCESSES[process](SHAPE)
    variance = torch.ones(SHAPE, dtype=torch.float64)
    variance[:, 1:3], variance[:, 3] = 0, 1e-30
    oracle = GaussianOracle(process, torch.zeros(SHAPE, dtype=torch.float64), variance)
    y = torch.ones((2, *SHAPE), dtype=torch.float64)
    guided = Given(kind(oracle, OBSERVATIONS[observation](SHAPE, 0.1), variance=variance), y)
    for t in (0.2, 1.0):
        z = random_images(SHAPE)
        change = process.basis.forward(guided(z, t) - oracle(z, t))
        assert change.isfinite().all()
        # Up to the rounding of transforms.
        assert change[:, :, 1:].abs().max() < 1e-14
        assert change[:, :, 0].abs().max() > 0.1


def test_variances_come_as_spectrum_tensor_or_number():
    problem = Problem.named("heat", "mask")
    spectrum = estimate_spectrum(problem.process.basis, problem.oracle.sample(20, generator=seeded()))
    z = problem.latents(0.4)
    by_spectrum = problem.guided(CovarianceGuidance, variance=spectrum)(z, 0.4)
    assert torch.equal(by_spectrum, problem.guided(CovarianceGuidance, variance=spectrum.variance)(z, 0.4))
    number = problem.guided(CovarianceGuidance, variance=0.3)(z, 0.4)
    assert torch.equal(
        number, problem.guided(CovarianceGuidance, variance=torch.full(SHAPE, 0.3, dtype=torch.float64))(z, 0.4)
    )
    assert not torch.equal(number, by_spectrum)


def test_the_papers_variance_is_the_one_of_unit_data():
    """Song et al. (2023): r_t^2 = sigma_t^2 / (1 + sigma_t^2) for variance exploding diffusion."""
    process = IsotropicDiffusion(SHAPE, EDMSchedule())
    guided = CovarianceGuidance(
        GaussianOracle(process, torch.zeros(()), torch.ones(())),
        LinearObservation.blur(SHAPE, 1.0, noise_std=0.1),
        variance=1.0,
    )
    sigma = process.sigma(0.4).item()
    assert 0.1 < sigma < 10
    spread = guided.spread(process.at(0.4))
    assert spread.variance.item() == pytest.approx(sigma**2 / (1 + sigma**2), rel=1e-14)
    assert not spread.blind.any()


def test_the_jacobian_is_the_denoiser_s_own():
    """On a finite data set the gradient differs from the model's: Tweedie's formula with log p(y | z_t) in full."""
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0))
    oracle = EmpiricalOracle(process, random_images(SHAPE, batch=5))
    observation, y = LinearObservation.mask(SHAPE, LEFT, noise_std=0.2), random_images(SHAPE, seed=1)
    z, t, v = random_images(SHAPE, seed=2), 0.6, 0.08
    alpha, sigma = process.alpha(t).item(), process.sigma(t).item()
    spread = v * sigma**2 / (alpha**2 * v + sigma**2)

    def log_likelihood(latent):
        residual = ((y - oracle(latent, t)) * LEFT).square().sum()
        return -residual / (2 * (spread + 0.2**2))

    z.requires_grad_()
    (slope,) = torch.autograd.grad(log_likelihood(z), z)
    expected = (oracle(z, t) + sigma**2 / alpha * slope).detach()
    found = PseudoInverseGuidance(oracle, observation, variance=v)(z.detach(), t, given=y)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    model = CovarianceGuidance(oracle, observation, variance=v)(z.detach(), t, given=y)
    assert (model - expected).abs().max() > 0.01


# ---- diffusion posterior sampling ------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.05, 0.4, 1.0])
@pytest.mark.parametrize("observation", EVERY_OBSERVATION)
@pytest.mark.parametrize("process", PROCESSES)
def test_diffusion_posterior_sampling_is_its_formula(process, observation, t):
    problem, strength = Problem.named(process, observation), 7.0
    z = problem.latents(t)
    estimate = problem.oracle(z, t).flatten(1)
    residual = problem.y.flatten(1) - estimate @ problem.h.T
    # y's noise outside of what is observed is no residual.
    if observation in OBSERVATIONS:
        residual = residual @ (problem.h @ torch.linalg.pinv(problem.h, rtol=1e-12, hermitian=True))
    alpha, sigma = vectors(problem.process, t)
    # sigma^2 / alpha J of the Wiener filter, alpha divided out before it can vanish.
    variance = problem.variance.flatten()
    carried = problem.dense.operator(variance * sigma**2 / (alpha**2 * variance + sigma**2))
    pull = residual @ problem.h / residual.norm(dim=1, keepdim=True)
    expected = estimate + strength * pull @ carried.T
    found = problem.guided(DiffusionPosteriorSampling, strength=strength)(z, t).flatten(1)
    # A gradient's rounding, 2e-16 times up to seven, amplified by at most 7e7.
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-7)


def test_it_is_algorithm_one_of_chung_et_al():
    """One ancestral step with x_hat, then z_s - zeta_i grad |r|^2, zeta_i = zeta' / |r|."""
    process = PROCESSES["isotropic"](SHAPE)
    oracle = EmpiricalOracle(process, random_images(SHAPE, batch=5))
    observation, y = LinearObservation.mask(SHAPE, LEFT, noise_std=0.2), random_images(SHAPE, batch=1, seed=1)
    z, s, t, strength = random_images(SHAPE, batch=1, seed=2), 0.5, 0.55, 3.0
    guided = Given(DiffusionPosteriorSampling(oracle, observation, strength=strength, variance=1.0), y)
    ours = process.posterior(z, guided(z, t), s, t, Markov()).mean
    fade = (process.alpha(t) / process.alpha(s)).item()
    step = strength * (process.sigma(t) ** 2 - fade**2 * process.sigma(s) ** 2).item() / (2 * fade)
    z.requires_grad_()
    square = ((y - oracle(z, t)) * LEFT).square().sum()
    (slope,) = torch.autograd.grad(square, z)
    theirs = process.posterior(z, oracle(z, t), s, t, Markov()).mean - step / square.sqrt() * slope
    torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-12)


def test_no_residual_no_pull():
    problem = Problem.named("isotropic", "mask")
    z = problem.latents(0.4)
    y = problem.oracle(z, 0.4)
    guided = problem.guided(DiffusionPosteriorSampling, y=y, strength=5.0)
    torch.testing.assert_close(guided(z, 0.4), y, rtol=0, atol=1e-15)


def test_it_pulls_samples_to_the_observation_and_is_overconfident():
    """One row, 400 samples: the misfit falls with the strength, and their spread falls below the posterior's.

    For an isotropic process, unit data and an observation of all pixels the posterior's variance is s^2 / (1 + s^2).
    The estimate's own uncertainty is left out, so a strength that fits y to its noise has samples that vary too little.
    """
    process = PROCESSES["isotropic"](SHAPE)
    oracle = GaussianOracle(process, torch.zeros(()), torch.ones(()))
    noise_std = 0.5
    observation = LinearObservation.mask(SHAPE, torch.tensor(True), noise_std=noise_std)
    y = observation.observe(oracle.sample(1, generator=seeded()), generator=seeded(1)).expand(400, *SHAPE)
    misfits, spreads = [], []
    for strength in (0.0, 2.0, 8.0, math.sqrt(32) / noise_std):
        guided = DiffusionPosteriorSampling(oracle, observation, strength=strength, variance=1.0)
        samples = made(guided, steps=100).sample(400, given=y, generator=seeded(2)).double()
        misfits.append(observation.residual(y, samples).square().mean().item())
        spreads.append(samples.var(0).mean().item())
    # Falling by more than five standard errors of means of 12800 squares.
    assert all(later < 0.9 * earlier for earlier, later in itertools.pairwise(misfits))
    exact = noise_std**2 / (1 + noise_std**2)
    assert spreads[-1] < 0.8 * exact < spreads[0]


# ---- a mask for each row -----------------------------------------------------------------------------------------


def masks(y):
    """Half, a tenth and nothing of three observations hidden."""
    return torch.rand(y.shape, generator=seeded(6)) > torch.tensor([0.5, 0.1, 0.0]).reshape(-1, *(1,) * (y.ndim - 1))


WHOLE = {"whole": lambda shape, s: LinearObservation.mask(shape, torch.tensor(True), noise_std=s)}


@pytest.mark.parametrize("t", [0.3, 1.0])
@pytest.mark.parametrize("observation", WHOLE | EVERY_OBSERVATION)
@pytest.mark.parametrize("process", ["heat", "isotropic"])
@pytest.mark.parametrize("kind", [CovarianceGuidance, PseudoInverseGuidance])
def test_each_row_is_restored_with_its_own_mask(kind, process, observation, t):
    problem = Problem(PROCESSES[process](SHAPE), (WHOLE | EVERY_OBSERVATION)[observation](SHAPE, 0.1))
    z, visible = problem.latents(t), masks(problem.y)
    given = {"observed": torch.where(visible, problem.y, math.nan), "visible": visible}
    found = problem.guided(kind, y=given)(z, t)
    for row, seen in enumerate(visible.flatten(1)):
        expected = problem.given_latent(z, t, seen).mean[row]
        # As above.
        torch.testing.assert_close(
            found[row].flatten(), expected, rtol=0, atol=1e-9 if kind is CovarianceGuidance else 1e-7
        )


def test_a_mask_for_each_row_of_pixels_needs_no_equations(monkeypatch):
    problem = Problem(PROCESSES["isotropic"](SHAPE), WHOLE["whole"](SHAPE, 0.1))
    monkeypatch.setattr("unmelt.samplers.guidance.conditioning.damped_least_squares", None)
    given = {"observed": problem.y, "visible": masks(problem.y)}
    assert problem.guided(CovarianceGuidance, y=given)(problem.latents(0.5), 0.5).isfinite().all()


def test_gradients_of_diffusion_posterior_sampling_leave_out_what_a_row_does_not_see():
    problem = Problem.named("isotropic", "motion")
    z, visible = problem.latents(0.4), masks(problem.y)
    given = {"observed": torch.where(visible, problem.y, math.nan), "visible": visible}
    found = problem.guided(DiffusionPosteriorSampling, strength=7.0, y=given)(z, 0.4).flatten(1)
    estimate = problem.oracle(z, 0.4).flatten(1)
    residual = torch.where(visible.flatten(1), problem.y.flatten(1) - estimate @ problem.h.T, 0.0)
    spread = problem.guided(CovarianceGuidance).spread(0.4).variance.flatten()
    pull = residual @ problem.h / residual.norm(dim=1, keepdim=True)
    expected = estimate + 7.0 * pull @ problem.dense.operator(spread).T
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_masks_travel_with_their_rows():
    problem = Problem.named("heat", "small")
    given = {"observed": problem.y.float(), "visible": masks(problem.y)}
    sampler = made(problem.guided(CovarianceGuidance, variance=problem.spectrum).denoiser, steps=3)
    whole = sampler.sample(3, given=given, generator=[1, 2, 3])
    # Three steps in single precision, of residuals divided by s^2 = 0.01.
    batches = sampler.sample(3, given=given, generator=[1, 2, 3], batch_size=2)
    torch.testing.assert_close(batches, whole, rtol=0, atol=1e-4)
    other = sampler.sample(3, given=given | {"visible": given["visible"].flip(0)}, generator=[1, 2, 3])
    assert (other - whole)[0].abs().max() > 0.01


# ---- samples of the posterior ----------------------------------------------------------------------------------


def normal_of_samples(guided, problem, coupling, steps):
    """Mean and covariance of the sampler's output for row 0, exactly: all its steps are affine, and the noise normal.

    The step from t to s is q(z_s | z_t, x_hat), an affine map that latents 0 and e_1 .. e_n reveal; the last one takes
    the estimate. It starts from the exact distribution of z_1 given y.
    """
    process, n = problem.process, len(problem.m)
    rows = Given(guided.denoiser, guided.y[:1].expand(n + 1, *guided.y.shape[1:]))
    probes = torch.cat([torch.zeros(1, n), torch.eye(n)]).double().reshape(n + 1, *process.shape)
    given = problem.given_latent(None, None)
    a, covariance = problem.dense.degradation(1.0), problem.dense.covariance(1.0)
    mean, covariance = a @ given.mean[0], a @ given.covariance @ a.T + covariance
    for k in range(steps, 0, -1):
        t, s = k / steps, (k - 1) / steps
        estimate = rows(probes, t)
        if s == 0:
            images, noise = estimate.flatten(1), torch.zeros(n, n).double()
        else:
            step = process.posterior(probes, estimate, s, t, coupling)
            images = step.mean.flatten(1)
            noise = problem.dense.operator(step.spectral_stddev.expand(1, *process.shape).flatten() ** 2)
        linear = (images[1:] - images[0]).T
        mean, covariance = images[0] + linear @ mean, linear @ covariance @ linear.T + noise
    return mean, covariance


@pytest.mark.parametrize(
    ("kind", "process", "observation", "coupling"),
    [
        *itertools.product(
            [CovarianceGuidance], ["heat", "blurring", "isotropic"], ["mask"], [Markov(), Deterministic(), Eta(0.4)]
        ),
        (CovarianceGuidance, "heat", "blocks", Deterministic()),
        (CovarianceGuidance, "isotropic", "blur", Markov()),
        (PseudoInverseGuidance, "heat", "blur", Deterministic()),
        (CovarianceGuidance, "heat", "motion", Markov()),
        (CovarianceGuidance, "isotropic", "projections", Deterministic()),
        (PseudoInverseGuidance, "blurring", "small", Deterministic()),
    ],
    ids=str,
)
def test_the_distribution_of_samples_tends_to_the_posterior(kind, process, observation, coupling):
    """With errors that halve when steps double, so that twice that of 2 N steps less that of N is better than both."""
    problem = small_problem(process, observation)
    guided, (mean, covariance) = problem.guided(kind), limit_of_samples(problem)
    normals = [normal_of_samples(guided, problem, coupling, steps) for steps in (30, 60)]
    errors = [max((m - mean).abs().max(), (c - covariance).abs().max()).item() for m, c in normals]
    better = [2 * fine - coarse for coarse, fine in zip(*normals, strict=True)]
    extrapolated = max((better[0] - mean).abs().max(), (better[1] - covariance).abs().max()).item()
    # A step changes the log-SNR by h = 12 / 60: what is left is of second order, h^2 / 2 of variances up to 1.
    assert errors[1] < 0.7 * errors[0]
    assert extrapolated < errors[1] / 2
    assert extrapolated < 0.02


# ---- rows, dtypes, modes -----------------------------------------------------------------------------------------

KINDS = {
    "covariance": lambda denoiser, observation, v=0.5: CovarianceGuidance(denoiser, observation, variance=v),
    "pseudo-inverse": lambda denoiser, observation, v=0.5: PseudoInverseGuidance(denoiser, observation, variance=v),
    "diffusion": lambda denoiser, observation, v=0.5: DiffusionPosteriorSampling(
        denoiser, observation, strength=2.0, variance=v
    ),
}


class Numbered(AbstractDenoiser):
    """A denoiser that is told something of each row."""

    def network_calls(self, t, condition=None):
        return 2

    def forward(self, z_t, t, condition=None, given=None):
        return z_t * condition.reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_independent_and_keep_their_condition_and_observation(kind):
    problem = Problem.named("heat", "mask")
    numbers = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    guided = KINDS[kind](Numbered(problem.process), problem.observation)
    t = torch.tensor([0.1, 0.4, 1.0], dtype=torch.float64)
    z = problem.latents(t)
    together = guided(z, t, numbers, problem.y)
    assert guided.network_calls(torch.tensor(0.5)) == 2
    for rows in (slice(0, 1), slice(1, 3)):
        # Other rows' iterations do not change a row that is done.
        alone = guided(z[rows], t[rows], numbers[rows], problem.y[rows])
        torch.testing.assert_close(alone, together[rows], rtol=0, atol=1e-14)
    assert not torch.allclose(guided(z.flip(0), t.flip(0), numbers, problem.y).flip(0), together)


@pytest.mark.parametrize("kind", KINDS)
def test_samplers_split_observations_with_their_rows(kind):
    problem = Problem.named("isotropic", "mask")
    sampler = made(KINDS[kind](problem.oracle, problem.observation), steps=3)
    whole = sampler.sample(3, given=problem.y, generator=[1, 2, 3])
    # Three steps in single precision, of residuals divided by s^2 = 0.01.
    batches = sampler.sample(3, given=problem.y, generator=[1, 2, 3], batch_size=2)
    torch.testing.assert_close(batches, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_needs_an_observation(kind):
    problem = Problem.named("heat", "mask")
    guided = KINDS[kind](problem.oracle, problem.observation)
    with pytest.raises(ValueError, match="given holds 3 observations, but there are 2 latents: give each latent its"):
        guided(problem.x[:2], 0.3, given=problem.y)
    sampler = made(guided, steps=2)
    with pytest.raises(ValueError, match="needs to be given what was observed, one row for each sample: pass given=y"):
        sampler.sample(3)
    with pytest.raises(ValueError, match="given must have one entry for each of 4 rows"):
        sampler.sample(4, given=problem.y)
    with pytest.raises(ValueError, match="GaussianOracle depends on nothing that is given"):
        made(problem.oracle, steps=2).sample(3, given=problem.y)


def test_what_wraps_a_denoiser_keeps_its_grey_levels():
    levels = GreyLevels(256, 0.0, 1.0)
    denoiser = Denoiser(Small(), PROCESSES["isotropic"](SHAPE), prediction=PredictX(), grey_levels=levels)
    assert KINDS["covariance"](denoiser, OBSERVATIONS["mask"](SHAPE, 0.1)).grey_levels == levels


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, z, t, condition=None, given=None):
        return torch.tanh(self.layer(z)) * (1 - 0.3 * t[:, None, None, None])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon()], ids=str)
def test_networks_are_guided_in_every_mode_and_collect_no_gradients(kind, prediction):
    process = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
    network = Small()
    denoiser = Denoiser(network, process, prediction=prediction)
    observation = LinearObservation.mask(SHAPE, LEFT, noise_std=0.1)
    x = random_images(SHAPE, dtype=torch.float32)
    z = process.corrupt(x, torch.randn(x.shape, generator=seeded()), 0.4)
    guided = Given(KINDS[kind](denoiser, observation), x)
    plain = guided(z, 0.4).detach()
    with torch.no_grad():
        assert torch.equal(guided(z, 0.4), plain)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        again = guided(z.clone(), torch.tensor(0.4, dtype=torch.float64))
        assert torch.is_inference_mode_enabled()
    assert torch.equal(again.clone(), plain)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert plain.dtype == torch.float32
    assert guided.denoiser.prediction == PredictX()
    assert (plain - denoiser(z, 0.4)).abs().max() > 1e-3


class Fading(AbstractDenoiser):
    """A denoiser that keeps the time itself for its gradient."""

    def forward(self, z_t, t, condition=None, given=None):
        return z_t * t


@pytest.mark.parametrize("kind", KINDS)
def test_times_made_in_inference_mode_are_welcome(kind):
    problem = Problem.named("heat", "mask")
    guided = Given(KINDS[kind](Fading(problem.process), problem.observation), problem.y)
    z = problem.latents(0.3)
    with torch.inference_mode():
        found = guided(z, torch.tensor(0.3, dtype=torch.float64))
    assert torch.equal(found.clone(), guided(z, 0.3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("process", PROCESSES)
def test_single_precision_stays_close_to_double_at_all_times(kind, process):
    """Also where alpha is exp(-4000), or 0."""
    problem = Problem.named(process, "mask")
    # With the true variances, so that blind coefficients, more of them in single precision, are corrected alike.
    guided = Given(KINDS[kind](problem.oracle, problem.observation, problem.variance), problem.y)
    for t in (0.0, 0.05, 0.3, 0.7, 1.0):
        z = problem.latents(t)
        exact, found = guided(z.float().double(), t), guided(z.float(), t)
        assert found.dtype == torch.float32
        # Residuals of 5, rounded to 6e-8 and divided by s^2 = 0.01; gradients, up to 100, rounded to 6e-8 and amplified
        # by sigma sqrt(v / 1e-7) = 3000 at most.
        tolerance = 1e-4 if kind == "covariance" else 2e-2
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=tolerance)


def test_precision_survives_a_cast_of_the_model():
    problem = Problem.named("isotropic", "mask")
    guided = problem.guided(CovarianceGuidance).denoiser.half()
    assert torch.equal(guided.variance, problem.variance)
    assert "variance" not in guided.state_dict()


# ---- errors --------------------------------------------------------------------------------------------------------


HEAT_MASK, ISOTROPIC_MASK = Problem.named("heat", "mask"), Problem.named("isotropic", "mask")


class Still(GaussianOracle):
    @torch.no_grad()
    def forward(self, z_t, t, condition=None, given=None):
        return super().forward(z_t, t)


STILL = Still(ISOTROPIC_MASK.process, ISOTROPIC_MASK.mean, ISOTROPIC_MASK.variance)


def guided(problem=HEAT_MASK, kind=CovarianceGuidance, **settings):
    return lambda: problem.guided(kind, **settings)


def guided_by(**given):
    return lambda: HEAT_MASK.guided(CovarianceGuidance, y={"observed": HEAT_MASK.y, **given})(HEAT_MASK.x, 0.3)


@pytest.mark.usefixtures("as_in_production")
@refusals(
    (
        lambda: CovarianceGuidance(
            HEAT_MASK.oracle, LinearObservation.blur((2, 4, 5), 1.0, noise_std=0.1), variance=1.0
        ),
        ValueError,
        r"signals of shape \(2, 4, 5\), but the denoiser's process has shape \(2, 4, 4\)",
    ),
    (lambda: guided(y=HEAT_MASK.y[0])()(HEAT_MASK.x, 0.3), ValueError, "given must have shape"),
    (lambda: guided()()(HEAT_MASK.x[0], 0.3), ValueError, "z_t must have shape"),
    (guided(variance=torch.ones(3)), ValueError, "variance must broadcast to the process's shape"),
    *(
        (guided(variance=v), ValueError, f"variance must be finite and at least 0.*{v}")
        for v in (-1.0, math.inf, math.nan)
    ),
    (
        guided(ISOTROPIC_MASK, variance=estimate_spectrum(CosineBasis(SHAPE), random_images(SHAPE))),
        ValueError,
        "spectrum is one of CosineBasis.*diagonal in PixelBasis",
    ),
    *(
        (
            guided(kind=DiffusionPosteriorSampling, strength=s),
            ValueError,
            f"strength must be finite and at least 0.*{s}",
        )
        for s in (-1.0, math.inf, math.nan)
    ),
    (guided(denoiser=Small()), TypeError, "denoiser must be an AbstractDenoiser"),
    (
        lambda: CovarianceGuidance(HEAT_MASK.oracle, HEAT_MASK.process, variance=1.0),
        TypeError,
        "observation must be an Observation, LinearObservation.mask",
    ),
    (guided(variance="1"), TypeError, "variance must be"),
    *(
        (
            lambda kind=kind, more=more: guided(ISOTROPIC_MASK, kind, denoiser=STILL, **more)()(
                ISOTROPIC_MASK.latents(0.3), 0.3
            ),
            ValueError,
            "Still records none.*use CovarianceGuidance",
        )
        for kind, more in ((PseudoInverseGuidance, {}), (DiffusionPosteriorSampling, {"strength": 1.0}))
    ),
    (
        lambda: guided(iterations=2)()(HEAT_MASK.latents(0.5), 0.5),
        RuntimeError,
        "not solved in 2 iterations.*allow more iterations.*noise",
    ),
    (guided(iterations=0), ValueError, "iterations must be at least 1, got 0"),
    # A mask out of a picture.
    *(
        (
            guided_by(visible=torch.full(HEAT_MASK.y.shape, 255).to(dtype)),
            TypeError,
            f"visible must be boolean, True where a number is seen, got {dtype}: pass visible != 0",
        )
        for dtype in (torch.uint8, torch.float32)
    ),
    (
        guided_by(visible=torch.ones(3, 1, 4, 4) > 0),
        ValueError,
        r"visible must have the shape of the observations \(3, 2, 4, 4\), got \(3, 1, 4, 4\): visible.expand_as\(y\)",
    ),
    (guided_by(mask=HEAT_MASK.y > 0), ValueError, "with a mask for each; got a dictionary of observed, mask"),
    (lambda: guided(y=None)()(HEAT_MASK.x, 0.3), TypeError, "given must be a Tensor, the observations y.*got None"),
)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_covariances_need_no_gradients():
    found = ISOTROPIC_MASK.guided(CovarianceGuidance, denoiser=STILL)(ISOTROPIC_MASK.latents(0.3), 0.3)
    assert found.isfinite().all()


def test_nan_is_seen():
    problem = Problem.named("heat", "mask")
    z = problem.latents(0.5)
    z[0, 0, 0, 0] = math.nan
    found = problem.guided(CovarianceGuidance)(z, 0.5)
    assert found[0].isnan().any()
    assert found[1:].isfinite().all()
    y = problem.y.clone()
    y[0, 0, 0, 0] = math.nan
    guided, z = problem.guided(CovarianceGuidance, y=y), problem.latents(0.5)
    assert guided(z, 0.5)[1:].isfinite().all()
    # Alone, too, where no other row keeps the iteration going.
    assert guided.rows(slice(0, 1))(z[:1], 0.5).isnan().any()
