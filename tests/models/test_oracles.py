"""Exact denoisers: against dense conditioning, Tweedie's formula, torch.distributions and each other."""

import math
import pickle

import pytest
import torch
from dense_reference import Dense, vectors
from hypothesis import assume, given
from torch.distributions import MultivariateNormal

from unmelt.degradations import (
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    RectifiedFlowSchedule,
    estimate_spectrum,
)
from unmelt.models import EmpiricalOracle, GaussianOracle, MixtureOracle
from unmelt.testing.strategies import (
    processes,
    random_images,
    seeds,
    times,
)

SHAPE = (2, 3, 4)


def gaussian(process, seed=0):
    mean, variance = random_images(process.shape, seed=seed)
    return GaussianOracle(process, mean, variance + 0.1)


def mixture(process, seed=0, components=3):
    means = 3 * random_images(process.shape, batch=components, seed=seed)
    variances = random_images(process.shape, batch=components, seed=seed + 1)
    return MixtureOracle(process, torch.arange(1.0, 1 + components), means, variances)


def empirical(process, seed=0):
    return EmpiricalOracle(process, 2 * random_images(process.shape, batch=5, seed=seed))


ORACLES = [gaussian, mixture, empirical]


def latents(process, t, seed):
    return process.marginal(random_images(process.shape, seed=seed), t).sample(
        generator=torch.Generator().manual_seed(7)
    )


@given(process=processes(), t=times(0.02), seed=seeds())
def test_gaussian_oracle_conditions_the_dense_joint(process, t, seed):
    oracle, dense = gaussian(process, seed), Dense(process)
    # The reference inverts the marginal's covariance.
    assume(vectors(process, t)[1].min() > 1e-3)
    z = latents(process, t, seed)
    degradation = dense.degradation(t)
    mean = dense.v @ oracle.mean.flatten()
    prior = dense.operator(oracle.variance.flatten())
    covariance = degradation @ prior @ degradation.T + dense.covariance(t)
    gain = torch.linalg.solve(covariance, degradation @ prior).T
    expected = mean + (z.flatten(1) - degradation @ mean) @ gain.T
    # Conditioning loses up to the ratio of the largest to the smallest variance, 1e6 here, of 1e-16.
    torch.testing.assert_close(oracle(z, t).flatten(1), expected, rtol=0, atol=1e-9)
    distribution = MultivariateNormal(degradation @ mean, covariance_matrix=(covariance + covariance.T) / 2)
    torch.testing.assert_close(oracle.log_prob(z, t), distribution.log_prob(z.flatten(1)), rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("build", ORACLES)
@given(process=processes(), t=times(0.05), seed=seeds())
def test_tweedies_formula_ties_the_mean_to_the_density(build, process, t, seed):
    """Robbins (1956): A_t E[x | z] = z + V diag(sigma^2) V^T grad log p(z)."""
    oracle = build(process, seed)
    alpha, sigma = process.alpha(t), process.sigma(t)
    assume(sigma.min() > 1e-2)
    z = latents(process, t, seed).requires_grad_()
    (score,) = torch.autograd.grad(oracle.log_prob(z, t).sum(), z)
    basis = process.basis
    right = basis.forward(z.detach()) + sigma**2 * basis.forward(score)
    # sigma^2 times a score of size (z - A x) / sigma^2 that is a sum of tens of terms as large as 1e4.
    left = alpha * basis.forward(oracle(z.detach(), t))
    torch.testing.assert_close(left, right, rtol=0, atol=1e-9 * (1 + right.abs().max().item()))


@pytest.mark.parametrize("build", ORACLES)
@given(process=processes(), t=times(0.05), seed=seeds())
def test_the_jacobian_s_diagonal_is_autograd_s(build, process, t, seed):
    oracle = build(process, seed)
    assume(process.sigma(t).min() > 1e-2)
    z, basis = latents(process, t, seed), process.basis
    at = process.at(t)

    def posterior_mean(u):
        return oracle.spectral_mean(u[None], at)[0]

    dense = [torch.autograd.functional.jacobian(posterior_mean, u) for u in basis.forward(z)]
    expected = torch.stack([j.reshape(z[0].numel(), -1).diagonal().reshape(process.shape) for j in dense])
    # Differences of posterior means, 1e-16 of up to 1e1, come squared and divided by sigma^2; autograd differentiates
    # shares, which are sums of terms up to (1 / sigma)^2.
    torch.testing.assert_close(
        oracle.jacobian_diagonal(z, t), expected, rtol=1e-9, atol=1e-9 * (1 + expected.abs().max().item())
    )


@pytest.mark.parametrize("build", ORACLES)
@given(process=processes(), t=times(0.05), seed=seeds())
def test_the_variance_is_what_is_left_to_know(build, process, t, seed):
    """By Bayes' rule: the spread of components or rows, each with its posterior weight, in plain sums."""
    oracle = build(process, seed)
    alpha, sigma = (c.expand(1, *process.shape)[0] for c in (process.alpha(t), process.sigma(t)))
    assume(sigma.min() > 1e-2)
    z = latents(process, t, seed)
    u_t = process.basis.forward(z)
    if build is gaussian:
        weights, means, variances = torch.ones(1), oracle.mean[None], oracle.variance[None]
    elif build is mixture:
        weights, means, variances = oracle.log_weights.exp(), oracle.means, oracle.variances
    else:
        means = process.basis.forward(2 * random_images(process.shape, batch=5, seed=seed))
        weights, variances = torch.full((5,), 0.2), torch.zeros_like(means)
    total = alpha**2 * variances + sigma**2
    density = torch.distributions.Normal(alpha * means, total.sqrt()).log_prob(u_t[:, None]).flatten(2).sum(2)
    share = torch.softmax(weights.double().log() + density, dim=1)[..., None, None, None]
    mean = (means * sigma**2 + alpha * variances * u_t[:, None]) / total
    overall = (share * mean).sum(1, keepdim=True)
    expected = (share * (variances * sigma**2 / total + (mean - overall).square())).sum(1)
    # Shares are off by 1e-16 of exponents up to (1 / sigma)^2 times the coefficients; spreads come to tens.
    found = oracle.spectral_variance(u_t, process.at(t))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@given(process=processes(), t=times(0.05), seed=seeds())
def test_mixture_density_is_the_sum_of_its_components(process, t, seed):
    oracle, dense = mixture(process, seed), Dense(process)
    assume(vectors(process, t)[1].min() > 1e-2)
    z = latents(process, t, seed)
    degradation = dense.degradation(t)
    total = 0
    for weight, mean, variance in zip((1 / 6, 2 / 6, 3 / 6), oracle.means, oracle.variances, strict=True):
        covariance = degradation @ dense.operator(variance.flatten()) @ degradation.T + dense.covariance(t)
        distribution = MultivariateNormal(degradation @ dense.v @ mean.flatten(), (covariance + covariance.T) / 2)
        total = total + weight * distribution.log_prob(z.flatten(1)).exp()
    assume(bool((total > 1e-200).all()))
    torch.testing.assert_close(oracle.log_prob(z, t), total.log(), rtol=1e-8, atol=1e-7)


@given(process=processes(), t=times(0.05), seed=seeds())
def test_a_data_set_is_a_mixture_of_points(process, t, seed):
    assume(process.sigma(t).min() > 1e-2)
    data = random_images(process.shape, batch=5, seed=seed)
    points = MixtureOracle(process, torch.ones(5), process.basis.forward(data), torch.zeros(()))
    oracle, z = EmpiricalOracle(process, data), latents(process, t, seed)
    # Expanded squares: 1e-16 of terms up to (1 / sigma)^2.
    torch.testing.assert_close(oracle.log_prob(z, t), points.log_prob(z, t), rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(oracle(z, t), points(z, t), rtol=0, atol=1e-9)


def test_components_are_taken_in_blocks_without_a_seam(monkeypatch):
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.2)
    oracle, z = mixture(process, components=7), random_images(SHAPE)
    several = EmpiricalOracle(process, random_images(SHAPE, batch=7))

    def everything():
        return (
            oracle(z, 0.5),
            oracle.log_prob(z, 0.5),
            oracle.jacobian_diagonal(z, 0.5),
            several.jacobian_diagonal(z, 0.5),
        )

    whole = everything()
    monkeypatch.setattr("unmelt.models.oracles.base._LARGEST", 2 * z.numel())
    assert len(oracle._blocks(z)) == 4
    torch.testing.assert_close(everything(), whole, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("build", ORACLES)
def test_each_example_has_its_own_time(build):
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.2)
    oracle, z = build(process), random_images(SHAPE)
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    for i in range(2):
        torch.testing.assert_close(oracle(z, t)[i : i + 1], oracle(z[i : i + 1], t[i]), rtol=0, atol=1e-12)
        slope = oracle.jacobian_diagonal(z[i : i + 1], t[i])
        torch.testing.assert_close(oracle.jacobian_diagonal(z, t)[i : i + 1], slope, rtol=0, atol=1e-12)
        alone = oracle.log_prob(z[i : i + 1], t[i].item())
        torch.testing.assert_close(oracle.log_prob(z, t)[i : i + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", ORACLES)
def test_samples_have_the_distribution_of_the_data(build):
    """The first two moments of 20000 samples, within five standard errors."""
    process = HeatDissipation((1, 2, 2), blur_sigma_max=3.0, levels=10)
    oracle = build(process)
    u = process.basis.forward(oracle.sample(20000, generator=torch.Generator().manual_seed(0)))
    if build is gaussian:
        mean, variance = oracle.mean, oracle.variance
    elif build is mixture:
        weights = oracle.log_weights.exp()[:, None, None, None]
        mean = (weights * oracle.means).sum(0)
        variance = (weights * (oracle.variances + oracle.means**2)).sum(0) - mean**2
    else:
        data = process.basis.forward(2 * random_images(process.shape, batch=5))
        mean, variance = data.mean(0), data.var(0, correction=0)
    error = 5 * (variance / 20000).sqrt()
    assert ((u.mean(0) - mean).abs() <= error).all()
    # Fourth moments of these distributions are at most those of a Gaussian.
    assert ((u.var(0) / variance - 1).abs() <= 5 * math.sqrt(2 / 20000)).all()
    assert torch.equal(
        oracle.sample(3, generator=torch.Generator().manual_seed(1)),
        oracle.sample(3, generator=torch.Generator().manual_seed(1)),
    )


class TestLimits:
    def test_without_noise_the_data_is_read_off(self):
        process = IsotropicDiffusion(SHAPE, LinearSchedule())
        x = random_images(SHAPE)
        torch.testing.assert_close(gaussian(process)(x, 0.0), x, rtol=0, atol=1e-14)

    @pytest.mark.parametrize("build", ORACLES)
    def test_without_signal_the_mean_is_all_there_is(self, build):
        process = IsotropicDiffusion(SHAPE, RectifiedFlowSchedule())
        oracle = build(process)
        z = random_images(SHAPE, seed=5)
        if build is mixture:
            expected = (oracle.log_weights.exp()[:, None, None, None] * oracle.means).sum(0)
        else:
            expected = oracle.mean
        torch.testing.assert_close(oracle(z, 1.0), expected.expand_as(z), rtol=0, atol=1e-13)

    def test_the_variance_without_signal_is_the_data_s(self):
        process = IsotropicDiffusion(SHAPE, RectifiedFlowSchedule())
        u, at = random_images(SHAPE, seed=5), process.at(1.0)
        oracle = gaussian(process)
        torch.testing.assert_close(oracle.spectral_variance(u, at), oracle.variance.expand_as(u), rtol=1e-13, atol=0)
        rows = empirical(process)
        spread = rows.residuals.square().mean(0).reshape(1, *SHAPE).expand_as(u)
        torch.testing.assert_close(rows.spectral_variance(u, at), spread, rtol=1e-13, atol=0)
        for built in (oracle, rows, mixture(process)):
            assert not built.jacobian_diagonal(u, 1.0).any()

    def test_the_variance_without_noise_is_none(self):
        process = IsotropicDiffusion(SHAPE, LinearSchedule())
        u, at = random_images(SHAPE), process.at(0.0)
        for build in (gaussian, mixture):
            torch.testing.assert_close(build(process).spectral_variance(u, at), 0 * u, rtol=0, atol=1e-26)

    def test_variances_keep_their_digits_where_one_row_is_all_but_certain(self):
        """Two rows of one coefficient, shares s and 1 - s: variance s (1 - s) d^2, beside a mean of 1e6."""
        process = IsotropicDiffusion((1,), LinearSchedule())
        oracle = EmpiricalOracle(process, torch.tensor([[1e6], [1e6 + 1]], dtype=torch.float64))
        t = 0.02
        alpha, sigma = process.alpha(t).item(), process.sigma(t).item()
        z = torch.tensor([[alpha * 1e6]], dtype=torch.float64)
        odds = math.exp(-((alpha / sigma) ** 2) / 2)
        found = oracle.spectral_variance(z, process.at(t))
        # A difference of squares would stop at 1e-17.
        assert 1e-60 < odds < 1e-20
        # The exponent is a difference of latents near 1e6, rounded to 1e-10, over sigma^2 = 1e-3.
        assert found.item() == pytest.approx(odds / (1 + odds) ** 2, rel=1e-6, abs=0)

    def test_what_is_known_stays_known_without_noise(self):
        process = HeatDissipation(SHAPE, sigma=0.0, levels=10, blur_sigma_max=3.0)
        mean = random_images(SHAPE, batch=1)[0]
        known = GaussianOracle(process, mean, torch.zeros(()))
        z = process.degrade(process.basis.inverse(mean[None]), 0.7)[0]
        torch.testing.assert_close(known(z, 0.7), process.basis.inverse(mean[None]), rtol=0, atol=1e-13)
        at = process.at(0.7)
        assert not known.spectral_variance(process.basis.forward(z), at).any()

    def test_single_precision_latents_are_conditioned_in_double(self):
        process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.01)
        oracle, z = empirical(process), random_images(SHAPE)
        assert oracle(z.float(), 0.3).dtype == torch.float32
        density = oracle.log_prob(z.float().double(), 0.3)
        torch.testing.assert_close(oracle.log_prob(z.float(), 0.3), density, rtol=1e-14, atol=0)
        exact = oracle(z.float().double(), 0.3)
        # Only the way back from the spectrum is in float32; data reaches 2.
        torch.testing.assert_close(
            oracle(z.float(), 0.3).double(), exact, rtol=0, atol=16 * torch.finfo(torch.float32).eps
        )


def test_a_spectrum_makes_a_gaussian_oracle():
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10)
    spectrum = estimate_spectrum(process.basis, random_images(SHAPE, batch=20))
    oracle = GaussianOracle.of_spectrum(process, spectrum)
    torch.testing.assert_close((oracle.mean, oracle.variance), (spectrum.mean, spectrum.variance))


@pytest.mark.parametrize("build", ORACLES)
def test_copies_agree(build):
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.2)
    oracle, z = build(process), random_images(SHAPE)
    assert torch.equal(pickle.loads(pickle.dumps(oracle))(z, 0.4), oracle(z, 0.4))
    assert not oracle.state_dict()
