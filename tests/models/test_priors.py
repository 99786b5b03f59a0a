"""Priors: draws, densities and divergences, against dense Gaussians, quadrature, exact oracles and plain arithmetic."""

import copy
import math
import pickle

import pytest
import torch
from dense_reference import Dense
from prior_cases import (
    EACH,
    FITTED,
    PAIR,
    PRIORS,
    SHAPE,
    N,
    Rough,
    dense,
    grid_of_pairs,
    heat,
    seeded,
    some_q,
    spectrum,
)
from torch.distributions import MultivariateNormal, kl_divergence

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    DataSpectrum,
    GeometricNoise,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PixelBasis,
    SpectralGaussian,
)
from unmelt.models import (
    DegradedDataPrior,
    EmpiricalOracle,
    GaussianOracle,
    GaussianPrior,
    KernelDivergence,
    LowRankGaussianPrior,
    MixtureOracle,
    OraclePrior,
    StandardNormalPrior,
    ends_in_standard_normal,
    fit_prior,
)
from unmelt.models.priors import blocks
from unmelt.testing.strategies import random_images


class TestEveryPrior:
    @EACH
    def test_the_density_integrates_to_one(self, build):
        points, area = grid_of_pairs()
        total = build().log_prob(points).exp().sum() * area
        # Exponents of up to 100 are right to 100 eps; the tails, e^-32, are less.
        torch.testing.assert_close(total, torch.ones((), dtype=torch.float64), rtol=1e-11, atol=0)

    @EACH
    def test_draws_follow_the_density(self, build):
        """The mean of log p over draws is minus the entropy, by quadrature."""
        prior = build()
        points, area = grid_of_pairs()
        log_prob = prior.log_prob(points)
        expected = (log_prob.exp() * log_prob).sum() * area
        z = prior.sample(20_000, generator=seeded())
        assert z.shape == (20_000, *PAIR)
        assert z.dtype == torch.float32
        drawn = prior.log_prob(z)
        assert drawn.dtype == torch.float64
        assert abs((drawn.mean() - expected).item()) < 5 * drawn.std().item() / math.sqrt(20_000)

    @EACH
    def test_the_divergence_is_unbiased(self, build):
        """KL(q || prior) by quadrature, against the mean of many estimates; closed forms do not move at all."""
        prior = build()
        one = some_q(prior.process, batch=1)
        points, area = grid_of_pairs()
        log_q = SpectralGaussian(one.basis, one.spectral_mean.expand(len(points), *PAIR), one.spectral_stddev).log_prob(
            points
        )
        expected = (log_q.exp() * (log_q - prior.log_prob(points))).sum() * area
        many = SpectralGaussian(one.basis, one.spectral_mean.expand(20_000, *PAIR), one.spectral_stddev)
        estimates = prior.divergence(many, generator=seeded())
        assert estimates.dtype == torch.float64
        assert estimates.shape == (20_000,)
        # Five standard errors; quadrature itself is right to 1e-9.
        assert abs((estimates.mean() - expected).item()) < 5 * estimates.std().item() / math.sqrt(20_000) + 1e-9

    @EACH
    def test_a_generator_makes_draws_and_estimates_repeatable_and_leaves_the_global_one_alone(self, build):
        prior = build()
        q = some_q(prior.process)
        before = torch.get_rng_state()
        assert torch.equal(prior.sample(4, generator=seeded(1)), prior.sample(4, generator=seeded(1)))
        assert not torch.equal(prior.sample(4, generator=seeded(1)), prior.sample(4, generator=seeded(2)))
        assert torch.equal(prior.divergence(q, generator=seeded(1)), prior.divergence(q, generator=seeded(1)))
        assert torch.equal(before, torch.get_rng_state())

    @EACH
    def test_latents_and_gaussians_of_lower_precision_are_widened(self, build):
        """They are taken as the numbers that they are, and computed with in float64."""
        prior = build()
        z = 2 * random_images(PAIR)
        for dtype in (torch.float32, torch.float16):
            torch.testing.assert_close(
                prior.log_prob(z.to(dtype)), prior.log_prob(z.to(dtype).double()), rtol=1e-13, atol=0
            )
        q = some_q(prior.process)
        narrow = SpectralGaussian(q.basis, q.spectral_mean.float(), q.spectral_stddev.float())
        wide = SpectralGaussian(q.basis, narrow.spectral_mean.double(), narrow.spectral_stddev.double())
        found, expected = (prior.divergence(some, generator=seeded()) for some in (narrow, wide))
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)

    @EACH
    def test_copies_are_the_same_distribution(self, build):
        prior, z = build(), 2 * random_images(PAIR)
        for twin in (copy.deepcopy(prior), pickle.loads(pickle.dumps(prior))):
            assert prior.agrees_with(twin)
            assert torch.equal(prior.log_prob(z), twin.log_prob(z))
            assert torch.equal(prior.sample(3, generator=seeded()), twin.sample(3, generator=seeded()))

    @EACH
    def test_it_moves_as_a_module(self, build):
        prior = build().to("meta")
        devices = {buffer.device.type for buffer in prior.buffers()}
        assert devices == {"meta"}

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @pytest.mark.parametrize("build", list(PRIORS.values())[:5], ids=list(PRIORS)[:5])
    def test_a_dtype_meant_for_a_network_rounds_no_table(self, build, dtype):
        prior, z = build(), 2 * random_images(PAIR)
        expected = prior.log_prob(z)
        assert torch.equal(prior.to(dtype).log_prob(z), expected)
        assert prior.sample(2).dtype == torch.float32

    def test_priors_of_other_processes_do_not_agree(self):
        a, b = (StandardNormalPrior(process(PAIR)) for process in (IsotropicDiffusion, BlurringDiffusion))
        assert a.agrees_with(a)
        assert not a.agrees_with(b)
        # Equal tables, other coefficients.
        assert not a.agrees_with(StandardNormalPrior(IsotropicDiffusion(PAIR, CosineSchedule(-9.0, 9.0))))
        x = random_images(PAIR)
        assert not DegradedDataPrior.fit(heat(0.3, PAIR), x).agrees_with(DegradedDataPrior.fit(heat(0.2, PAIR), x))
        assert not DegradedDataPrior.fit(heat(0.3, PAIR), x).agrees_with(DegradedDataPrior.fit(heat(0.3, PAIR), x + 1))


@pytest.mark.parametrize(("kind", "process", "settings"), FITTED.values(), ids=FITTED)
class TestFitting:
    """Every prior is made from a process and data in one way, and restored without data in another."""

    def test_a_tensor_and_its_batches_make_one_prior(self, kind, process, settings, monkeypatch):
        data, z = 2 * random_images(PAIR, batch=5), 2 * random_images(PAIR)
        whole = kind.fit(process, data, **settings)
        assert isinstance(whole, kind)
        parts = kind.fit(process, [data[:2], data[2:2], data[2:]], **settings)
        # Moments are merged in another order, and a direction of few numbers decomposed: a few roundings.
        torch.testing.assert_close(parts.log_prob(z), whole.log_prob(z), rtol=1e-12, atol=1e-12)
        monkeypatch.setattr(blocks, "LARGEST", 2)
        one_by_one = kind.fit(process, data, **settings)
        torch.testing.assert_close(one_by_one.log_prob(z), whole.log_prob(z), rtol=1e-12, atol=1e-12)
        assert not data.requires_grad

    def test_it_is_restored_from_its_state_alone(self, kind, process, settings, tmp_path):
        prior = kind.fit(process, 2 * random_images(PAIR, batch=5), **settings)
        torch.save(prior.half().state_dict(), tmp_path / "prior.pt")
        state = torch.load(tmp_path / "prior.pt", weights_only=True)
        assert set(state) - {"_extra_state"} == {name for name in kind.tables if getattr(prior, name) is not None}
        twin, z = kind.from_state_dict(process, state), 2 * random_images(PAIR)
        assert twin.agrees_with(prior)
        assert torch.equal(twin.log_prob(z), prior.log_prob(z))
        assert torch.equal(twin.sample(3, generator=seeded()), prior.sample(3, generator=seeded()))

    def test_settings_that_are_no_tensors_are_restored_too(self, kind, process, settings):
        if kind is not DegradedDataPrior:
            assert "_extra_state" not in kind.fit(process, 2 * random_images(PAIR, batch=5), **settings).state_dict()
            return
        bound = KernelDivergence.VARIATIONAL
        prior = kind.fit(process, random_images(PAIR, batch=5), divergence=bound, rows=2)
        twin = kind.from_state_dict(process, prior.state_dict())
        assert (twin.kernel_divergence, twin.rows) == (bound, 2)


class Loud(LinearGaussianProcess):
    """No signal is left at t = 1, and noise of twice the unit."""

    def log_alpha(self, t):
        return (1 - t).log()

    def log_sigma(self, t):
        return (2 * t).log()


class TestDefaultPrior:
    def test_standard_normal_where_the_process_ends_in_it_else_fitted(self):
        data = random_images(SHAPE, batch=9)
        for process, kind in (
            (IsotropicDiffusion(SHAPE), StandardNormalPrior),
            (BlurringDiffusion(SHAPE), StandardNormalPrior),
            (heat(), LowRankGaussianPrior),
            (Rough(SHAPE), LowRankGaussianPrior),
            # Noise of another variance, and signal that is left, are each told.
            (IsotropicDiffusion(SHAPE, CosineSchedule(-5.0, 5.0)), LowRankGaussianPrior),
            (IsotropicDiffusion(SHAPE, GeometricNoise(0.01, 50.0)), LowRankGaussianPrior),
            (Loud(PixelBasis(SHAPE)), LowRankGaussianPrior),
        ):
            assert ends_in_standard_normal(process) == (kind is StandardNormalPrior)
            assert type(fit_prior(process, data)) is kind
        assert fit_prior(heat(), data).agrees_with(LowRankGaussianPrior.fit(heat(), data))


class TestStandardNormalPrior:
    @pytest.mark.parametrize("process", [IsotropicDiffusion(SHAPE), BlurringDiffusion(SHAPE)])
    def test_it_has_zero_mean_and_unit_variance(self, process):
        z = StandardNormalPrior(process).sample(4000, generator=seeded())
        # Six standard errors over 240000 numbers.
        assert abs(z.mean().item()) < 6 / math.sqrt(z.numel())
        assert abs(z.var().item() - 1) < 6 * math.sqrt(2 / z.numel())

    def test_density_and_divergence_are_torch_s(self):
        prior = StandardNormalPrior(BlurringDiffusion(SHAPE))
        normal = MultivariateNormal(torch.zeros(N, dtype=torch.float64), torch.eye(N, dtype=torch.float64))
        z, q = 3 * random_images(SHAPE), some_q(prior.process)
        torch.testing.assert_close(prior.log_prob(z), normal.log_prob(z.flatten(1)), rtol=1e-13, atol=0)
        # Sums of 60 terms of size 1, after a Cholesky decomposition of widths from 0.1 to 0.4.
        torch.testing.assert_close(prior.divergence(q), kl_divergence(dense(q), normal), rtol=1e-11, atol=0)

    def test_it_looks_the_same_in_every_basis(self):
        q = some_q(heat())
        prior = StandardNormalPrior(IsotropicDiffusion(SHAPE))
        assert not prior.process.basis.agrees_with(q.basis)
        expected = StandardNormalPrior(BlurringDiffusion(SHAPE)).divergence(q)
        assert torch.equal(prior.divergence(q), expected)


class TestGaussianPrior:
    def gaussian_data(self, process, count=4000):
        """Gaussian data with a mean and a variance of its own for every coefficient of the process's basis."""
        generator = torch.Generator().manual_seed(1)
        mean, stddev = torch.rand(2, *SHAPE, generator=generator, dtype=torch.float64) + 0.1
        u = mean + stddev * torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)
        return process.basis.inverse(u), mean, stddev**2

    def marginal(self, process, mean, variance):
        reference = Dense(process)
        alpha = reference.degradation(1.0)
        return MultivariateNormal(
            alpha @ reference.v @ mean.flatten(),
            alpha @ reference.operator(variance.flatten()) @ alpha.T + reference.covariance(1.0),
        )

    @pytest.mark.parametrize("process", [heat(0.2), Rough(SHAPE)], ids=["heat", "rough"])
    def test_it_is_the_exact_marginal_of_gaussian_data(self, process):
        _, mean, variance = self.gaussian_data(process)
        prior = GaussianPrior.of_spectrum(process, DataSpectrum(process.basis, mean, variance, 100))
        expected = self.marginal(process, mean, variance)
        z, q = random_images(SHAPE, batch=5), some_q(process)
        # Float64 throughout: a Cholesky decomposition of condition number (1 / 0.2)^2, sums of 60.
        torch.testing.assert_close(prior.log_prob(z), expected.log_prob(z.flatten(1)), rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(prior.divergence(q), kl_divergence(dense(q), expected), rtol=1e-11, atol=1e-11)

    def test_its_samples_have_the_moments_of_degraded_data(self):
        process = heat(0.05)
        x, _, _ = self.gaussian_data(process)
        prior = GaussianPrior.fit(process, x)
        samples = prior.sample(4000, generator=torch.Generator().manual_seed(0)).double()
        degraded = process.marginal(x, 1.0).sample(generator=torch.Generator().manual_seed(2))
        u, v = process.basis.forward(samples), process.basis.forward(degraded)
        # Five standard errors of a mean and of a standard deviation, two samples of 4000.
        torch.testing.assert_close(u.mean(0), v.mean(0), rtol=0, atol=5 * v.std(0).max().item() * (2 / 4000) ** 0.5)
        torch.testing.assert_close(u.std(0), v.std(0), rtol=5 * (1 / 4000) ** 0.5, atol=0)
        assert samples.shape == (4000, *SHAPE)

    def test_it_is_stored_and_restored_without_data(self):
        process = heat(0.05)
        x, mean, variance = self.gaussian_data(process, 10)
        prior = GaussianPrior.fit(process, x)
        blank = GaussianPrior.of_spectrum(process, DataSpectrum(process.basis, mean, variance, 2))
        assert not blank.agrees_with(prior)
        blank.load_state_dict(prior.half().state_dict())
        assert {value.dtype for value in prior.state_dict().values()} == {torch.float64}
        assert blank.agrees_with(prior)
        assert torch.equal(blank.log_prob(x), prior.log_prob(x))

    def test_tables_of_a_basis_s_shape_are_the_prior_s_own(self):
        """Loading into a prior must not write into the spectrum it was made of."""
        process = heat(0.05)
        given = spectrum(process)
        before = given.mean.clone()
        prior = GaussianPrior.of_spectrum(process, given)
        prior.spectral_mean.fill_(7.0)
        assert torch.equal(given.mean, before)


class TestOraclePrior:
    def test_of_gaussian_data_it_is_the_gaussian_prior(self):
        process = Rough(SHAPE)
        given = spectrum(process)
        prior = OraclePrior(GaussianOracle.of_spectrum(process, given))
        twin = GaussianPrior.of_spectrum(process, given)
        z = random_images(SHAPE)
        torch.testing.assert_close(prior.log_prob(z), twin.log_prob(z), rtol=1e-12, atol=0)
        assert prior.process is process

    def test_of_a_data_set_it_is_the_kernel_density_of_the_processes_own_width(self):
        process, x = Rough(SHAPE), random_images(SHAPE, batch=6)
        prior, twin = OraclePrior(EmpiricalOracle(process, x)), DegradedDataPrior.fit(process, x)
        z = random_images(SHAPE, seed=9)
        # One prior keeps float32 images: each of 60 residuals / width, up to 5, moves by 2^-24 / 0.2.
        torch.testing.assert_close(prior.log_prob(z), twin.log_prob(z), rtol=0, atol=60 * 5 * 2**-24 / 0.2)

    def test_draws_are_degraded_and_noisy(self):
        process = Rough(SHAPE)
        oracle = MixtureOracle(process, torch.tensor([1.0, 2.0]), random_images(SHAPE), torch.tensor(0.3))
        u = process.basis.forward(OraclePrior(oracle).sample(20_000, generator=seeded()))
        alpha, sigma = process.alpha(1.0)[0], process.sigma(1.0)[0]
        weights = oracle.log_weights.exp()[:, None, None, None]
        mean = (weights * oracle.means).sum(0)
        variance = alpha**2 * ((weights * (oracle.means**2 + 0.3)).sum(0) - mean**2) + sigma**2
        error = 5 * (variance / 20_000).sqrt()
        assert ((u.mean(0) - alpha * mean).abs() < error).all()
        # A mixture of two has tails no heavier than a Gaussian's.
        assert ((u.var(0) / variance - 1).abs() < 5 * math.sqrt(2 / 20_000)).all()
