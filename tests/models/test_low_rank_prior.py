"""The low-rank Gaussian prior, against dense multivariate normals and the moments of degraded data."""

import copy
import math
import pickle

import pytest
import torch
from dense_reference import Dense, covariance_of, matrix
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, kl_divergence

from unmelt.degradations import (
    BlurringDiffusion,
    ColdBlur,
    CosineSchedule,
    GaussianBlur,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PixelBasis,
    PowerBlur,
    SpectralGaussian,
)
from unmelt.degradations.schedules import ConstantNoise
from unmelt.models import GaussianPrior, LowRankGaussianPrior
from unmelt.models.priors import blocks
from unmelt.testing.strategies import random_images, shapes

SHAPE = (3, 4, 5)
N = math.prod(SHAPE)


def heat(shape=SHAPE, sigma=0.05):
    return HeatDissipation(shape, blur_sigma_max=1.5, levels=6, sigma=sigma)


def ending_early(shape=SHAPE):
    """A diffusion that stops at a log-SNR of 0, where half of the variance is signal."""
    return IsotropicDiffusion(shape, CosineSchedule(0.0, 10.0))


def blurring(shape=SHAPE):
    return BlurringDiffusion(shape, blur_sigma_max=1.0, schedule=CosineSchedule(-1.0, 10.0))


PROCESSES = {"heat": heat, "blurring": blurring, "isotropic": ending_early}
EACH = pytest.mark.parametrize("build", PROCESSES.values(), ids=PROCESSES.keys())


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def colourful(shape=SHAPE, count=80, seed=2):
    """Data whose channels go together, and whose pixels are not all alike."""
    grey = random_images((1, *shape[1:]), batch=count, seed=seed)
    return (
        0.5
        + grey
        + 0.2 * random_images(shape, batch=count, seed=seed + 1)
        + 0.1 * torch.arange(5.0).double()[: shape[-1]]
    )


def moments(process, data):
    """Mean and covariance of degraded data with the process's noise, by dense matrices."""
    exact = Dense(process)
    degraded = data.double().flatten(1) @ exact.degradation(1.0).T
    return degraded.mean(0), degraded.T.cov() + exact.covariance(1.0)


def dense(prior):
    """The distribution once more from its four tables, as one dense normal in the data's own axes."""
    n = math.prod(prior.process.shape)
    v, factor, mean = matrix(prior.process.basis), torch.zeros(n, prior.rank).double(), torch.zeros(n).double()
    noise = prior.process.sigma(1.0)[0].expand(prior.process.shape).flatten() ** 2
    for row, index in enumerate(prior.indices.tolist()):
        mean[index] = prior.mean[row]
        noise[index] += prior.remainder[row]
        if row < len(prior.factor):
            factor[index] = prior.factor[row]
    covariance = v @ (factor @ factor.T + noise.diag()) @ v.T
    return MultivariateNormal(v @ mean, covariance_matrix=(covariance + covariance.T) / 2)


def some_q(process, batch=3, seed=5):
    mean = process.basis.forward(process.degrade(random_images(process.shape, batch=batch, seed=seed), 1.0)[0])
    widths = 0.05 + 0.3 * random_images(process.shape, batch=batch, seed=seed + 1).abs()
    return SpectralGaussian(process.basis, mean, widths)


def full(process, data):
    """Every coefficient, every direction."""
    return LowRankGaussianPrior.fit(process, data, negligible=0.0, share=0.0)


class TestDensity:
    @EACH
    @pytest.mark.parametrize("most", [0, 2, None])
    def test_it_is_that_of_a_dense_normal(self, build, most):
        prior = LowRankGaussianPrior.fit(build(), colourful(), most=most)
        assert prior.rank == most or most is None
        z = 0.5 + random_images(SHAPE, batch=4, seed=9)
        # Quadratic forms of up to 60 (4 / 0.05)^2 = 4e5, and a dense inverse of condition 1e5.
        torch.testing.assert_close(prior.log_prob(z), dense(prior).log_prob(z.flatten(1)), rtol=1e-10, atol=0)

    @EACH
    @pytest.mark.parametrize("most", [0, 2, None])
    def test_the_divergence_is_that_of_dense_normals(self, build, most):
        process = build()
        prior = LowRankGaussianPrior.fit(process, colourful(), most=most)
        for q in (some_q(process), process.marginal(random_images(SHAPE, batch=3, seed=4), 1.0)):
            exact = kl_divergence(MultivariateNormal(q.mean.flatten(1), covariance_of(q)), dense(prior))
            # As above.
            torch.testing.assert_close(prior.divergence(q), exact, rtol=1e-10, atol=1e-9)

    @given(shape=shapes(1, 4, channels=3), most=st.integers(0, 6), seed=st.integers(0, 99), count=st.integers(2, 12))
    def test_at_all_shapes_and_ranks(self, shape, most, seed, count):
        process, data = heat(shape, 0.2), random_images(shape, batch=count, seed=seed)
        prior = LowRankGaussianPrior.fit(process, data, most=most, share=0.0)
        assert prior.rank == min(most, count - 1, len(prior.factor))
        z, q = 2 * random_images(shape, seed=seed + 1), some_q(process, seed=seed + 2)
        # Quadratic forms of up to 48 (5 / 0.2)^2 = 3e4, condition 1e4.
        torch.testing.assert_close(prior.log_prob(z), dense(prior).log_prob(z.flatten(1)), rtol=1e-10, atol=1e-9)
        exact = kl_divergence(MultivariateNormal(q.mean.flatten(1), covariance_of(q)), dense(prior))
        torch.testing.assert_close(prior.divergence(q), exact, rtol=1e-10, atol=1e-9)

    def test_narrow_noise_keeps_digits(self):
        """Directions ten thousand times as wide as the noise, against arithmetic in the directions themselves."""
        process = heat((1, 1, 4), 1e-3)
        indices, factor = torch.arange(4), torch.zeros(4, 1, dtype=torch.float64)
        factor[0] = 10.0
        zero = torch.zeros(4, dtype=torch.float64)
        prior = LowRankGaussianPrior(process, indices, zero, zero, factor)
        u = torch.tensor([[5.0, 2e-3, 0.0, -1e-3]], dtype=torch.float64)
        variance = torch.tensor([100 + 1e-6, 1e-6, 1e-6, 1e-6], dtype=torch.float64)
        expected = -(u[0] ** 2 / variance + (2 * math.pi * variance).log()).sum() / 2
        found = prior.log_prob(process.basis.inverse(u.reshape(1, 1, 1, 4)))[0]
        # 5 / 1e-3 squared is 2.5e7; the exact quadratic form is what is left of it, right to some eps of that.
        torch.testing.assert_close(found, expected, rtol=0, atol=2.5e7 * 2**-50)


class TestFit:
    @EACH
    def test_at_full_rank_mean_and_covariance_are_the_degraded_data_s(self, build):
        process, data = build(), colourful()
        prior = full(process, data)
        mean, covariance = moments(process, data)
        normal = dense(prior)
        # Entries of size 1, out of an eigendecomposition in float64.
        torch.testing.assert_close(normal.mean, mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(normal.covariance_matrix, covariance, rtol=0, atol=1e-12)

    @EACH
    @pytest.mark.parametrize("most", [0, 1, 3, None])
    @pytest.mark.parametrize("correlated", [0, 7, 2048])
    def test_the_variance_of_each_coefficient_is_kept_at_any_rank(self, build, most, correlated):
        process, data = build(), colourful()
        prior = LowRankGaussianPrior.fit(process, data, negligible=0.0, most=most, correlated=correlated)
        expected = GaussianPrior.fit(process, data)
        torch.testing.assert_close(prior.spectral_mean, expected.spectral_mean, rtol=0, atol=1e-13)
        torch.testing.assert_close(prior.spectral_variance, expected.spectral_stddev**2, rtol=1e-12, atol=0)

    def test_without_directions_it_is_the_independent_gaussian(self):
        process, data = heat(), colourful()
        prior = LowRankGaussianPrior.fit(process, data, negligible=0.0, most=0)
        plain, q, z = GaussianPrior.fit(process, data), some_q(process), colourful()
        # Quadratic forms of 1e4.
        torch.testing.assert_close(prior.log_prob(z), plain.log_prob(z), rtol=1e-12, atol=0)
        torch.testing.assert_close(prior.divergence(q), plain.divergence(q), rtol=1e-12, atol=0)

    def test_correlations_of_colours_are_kept_where_independent_coefficients_lose_them(self):
        process = heat(sigma=0.03)
        data = colourful(count=500)

        def colours(z):
            return torch.corrcoef(z.flatten(2).mean(2).T)[0, 1].item()

        noise = torch.randn(500, *SHAPE, generator=seeded(8))
        real = colours(process.corrupt(data.float(), noise, 1.0))
        assert real > 0.8
        drawn = colours(LowRankGaussianPrior.fit(process, data).sample(4000, generator=seeded()))
        lost = colours(GaussianPrior.fit(process, data).sample(4000, generator=seeded()))
        # A correlation r of n pairs has the standard error (1 - r^2) / sqrt(n): at most 0.02 for 500 pairs at r = 0.8,
        # and 1 / sqrt(4000) at 0.
        assert abs(drawn - real) < 5 * (0.36 / math.sqrt(500))
        assert abs(lost) < 5 / math.sqrt(4000)

    def test_the_directions_are_those_of_greatest_variance_in_units_of_the_noise(self):
        """One coefficient varies more in the data's units, another more in units of the noise."""

        class Uneven(LinearGaussianProcess):
            def log_alpha(self, t):
                return torch.zeros_like(t)

            def log_sigma(self, t):
                return torch.tensor([0.1, 0.1, 0.001, 0.1, 0.1, 0.1], dtype=torch.float64).log()

        process = Uneven(PixelBasis((1, 1, 6)))
        u = torch.zeros(40, 1, 1, 6, dtype=torch.float64)
        # Uncorrelated to the last digit.
        u[:, 0, 0, 1] = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).repeat(10)
        u[:, 0, 0, 2] = torch.tensor([0.3, 0.3, -0.3, -0.3], dtype=torch.float64).repeat(10)
        prior = LowRankGaussianPrior.fit(process, process.basis.inverse(u), most=1)
        # Coefficient 2 has 300 times its noise, 1 ten times. Unbiased variances.
        assert prior.indices.tolist() == [2, 1]
        expected = torch.tensor([[0.3 * math.sqrt(40 / 39)], [0.0]], dtype=torch.float64)
        torch.testing.assert_close(prior.factor.abs(), expected, rtol=1e-12, atol=1e-12)
        remainder = torch.tensor([0.0, 40 / 39], dtype=torch.float64)
        torch.testing.assert_close(prior.remainder, remainder, rtol=1e-12, atol=1e-12)

    def test_a_coefficient_that_is_the_same_in_all_data_keeps_its_mean(self):
        process = heat()
        u = process.basis.forward(colourful())
        u[:, 0, 0, 0] = 7.0
        prior = LowRankGaussianPrior.fit(process, process.basis.inverse(u))
        # Heat leaves the mean as it is. Numbers of size 7 through two transforms.
        assert prior.spectral_mean[0, 0, 0].item() == pytest.approx(7.0, rel=1e-13)
        assert prior.spectral_variance[0, 0, 0].item() == pytest.approx(0.05**2, rel=1e-9)
        # It is known, but goes along with nothing.
        assert len(prior.factor) < len(prior.indices)

    def test_a_direction_below_the_share_of_the_noise_is_left_out(self):
        process, data = heat(), colourful()
        everything = full(process, data)
        eigenvalues = (everything.factor / 0.05).square().sum(0)
        for share in (0.01, 1.0, 30.0):
            prior = LowRankGaussianPrior.fit(process, data, negligible=0.0, share=share)
            assert prior.rank == int((eigenvalues > share).sum())
        # The shares tell directions apart.
        assert 0 < int((eigenvalues > 30).sum()) < int((eigenvalues > 1).sum()) < int((eigenvalues > 0.01).sum())

    def test_what_a_left_out_direction_costs_is_as_documented(self):
        """Half of l - log(1 + l) nats, for a direction of l times the noise's variance along no single coefficient."""
        n = 6
        direction = torch.ones(n, dtype=torch.float64) / math.sqrt(n)
        for ratio in (0.01, 0.1):
            with_it = torch.eye(n).double() + ratio * torch.outer(direction, direction)
            without = MultivariateNormal(torch.zeros(n).double(), torch.eye(n).double())
            cost = kl_divergence(MultivariateNormal(torch.zeros(n).double(), with_it), without).item()
            assert cost == pytest.approx((ratio - math.log1p(ratio)) / 2, rel=1e-10)
            # l^2 / 4 less l^3 / 6.
            assert cost == pytest.approx(ratio**2 / 4, rel=ratio)

    def test_only_what_survives_is_stored(self):
        """At the released settings, of 196608 coefficients a few dozen."""
        shape = (3, 256, 256)
        process = HeatDissipation(shape, blur_sigma_max=128.0, levels=200)
        frequency = (torch.arange(256.0)[:, None] ** 2 + torch.arange(256.0) ** 2).sqrt()
        x = process.basis.inverse(torch.randn(6, *shape, generator=seeded()) / (1 + frequency))
        prior = LowRankGaussianPrior.fit(process, 0.5 + 0.2 * x / x.std())
        numbers = sum(table.numel() for table in prior.state_dict().values())
        assert 3 < len(prior.indices) < 100
        assert 0 < prior.rank <= 5
        assert numbers < 1000
        rms = process.alpha(1.0)[0] * process.basis.forward((0.5 + 0.2 * x / x.std()).double()).square().mean(0).sqrt()
        assert len(prior.indices) == int((rms > 1e-3 * 0.01).sum())

    def test_few_images_and_many_give_the_same_by_either_matrix(self):
        """Fewer images than coefficients are decomposed themselves, more by their covariance."""
        process = heat()
        images = colourful(count=N - 20)
        mean, covariance = moments(process, images)
        normal = dense(full(process, images))
        torch.testing.assert_close(normal.covariance_matrix, covariance, rtol=0, atol=1e-12)
        torch.testing.assert_close(normal.mean, mean, rtol=0, atol=1e-12)
        # Twice the images, hence the covariance's way, with the same second moments but for the divisor.
        twice = dense(full(process, torch.cat([images, images])))
        count, noise = len(images), Dense(process).covariance(1.0)
        scaled = (covariance - noise) * (count - 1) * 2 / (2 * count - 1) + noise
        torch.testing.assert_close(twice.covariance_matrix, scaled, rtol=0, atol=1e-12)

    def test_blocks_and_batches_do_not_matter(self, monkeypatch):
        process, data = heat(), colourful()
        expected = dense(LowRankGaussianPrior.fit(process, data))
        for some in (data.split(7), [data[:1], data[1:1], data[1:]]):
            found = dense(LowRankGaussianPrior.fit(process, list(some)))
            torch.testing.assert_close(found.covariance_matrix, expected.covariance_matrix, rtol=0, atol=1e-12)
        monkeypatch.setattr(blocks, "LARGEST", 3 * N)
        found = dense(LowRankGaussianPrior.fit(process, data))
        torch.testing.assert_close(found.covariance_matrix, expected.covariance_matrix, rtol=0, atol=1e-12)

    def test_data_in_single_precision_are_taken_as_the_numbers_that_they_are(self):
        process, data = heat(), colourful().float()
        found, wide = (LowRankGaussianPrior.fit(process, some) for some in (data, data.double()))
        assert found.factor.dtype == torch.float64
        assert torch.equal(found.log_prob(data), wide.log_prob(data))


class TestSample:
    @EACH
    def test_draws_have_its_moments(self, build):
        prior, count = LowRankGaussianPrior.fit(build(), colourful(), most=4), 20_000
        z = prior.sample(count, generator=seeded())
        assert z.shape == (count, *SHAPE)
        assert z.dtype == torch.float32
        normal, found = dense(prior), z.double().flatten(1)
        covariance = normal.covariance_matrix
        spread = covariance.diagonal().sqrt()
        # Six standard errors: of 60 means, and of 60 x 60 covariances, sqrt(C_ii C_jj + C_ij^2) / sqrt(n).
        assert ((found.mean(0) - normal.mean).abs() < 6 * spread / math.sqrt(count)).all()
        error = (torch.outer(spread**2, spread**2) + covariance**2).sqrt() / math.sqrt(count)
        assert ((found.T.cov() - covariance).abs() < 6 * error).all()

    @pytest.mark.parametrize(
        "process", [ColdBlur(SHAPE), GaussianBlur(SHAPE, PowerBlur(2.0), ConstantNoise(0.0))], ids=["cold", "no noise"]
    )
    def test_without_noise_draws_have_them_too(self, process):
        data = colourful()
        prior = LowRankGaussianPrior.fit(process, data)
        mean, covariance = moments(process, data)
        normal = prior.sample(20_000, generator=seeded()).double().flatten(1)
        spread = covariance.diagonal().sqrt()
        # As above; coefficients that the blur leaves without spread are float32.
        assert ((normal.mean(0) - mean).abs() < 6 * spread / math.sqrt(20_000) + 1e-5).all()
        error = (torch.outer(spread**2, spread**2) + covariance**2).sqrt() / math.sqrt(20_000)
        assert ((normal.T.cov() - covariance).abs() < 6 * error + 1e-5).all()

    def test_a_generator_makes_draws_repeatable_and_leaves_the_global_one_alone(self):
        prior, before = LowRankGaussianPrior.fit(heat(), colourful()), torch.get_rng_state()
        one, same, other = (prior.sample(4, generator=seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert torch.equal(before, torch.get_rng_state())

    def test_signal_that_is_gone_leaves_the_noise(self):
        process = IsotropicDiffusion(SHAPE, CosineSchedule(-math.inf, math.inf))
        prior = LowRankGaussianPrior.fit(process, colourful())
        assert prior.rank == len(prior.indices) == 0
        z = prior.sample(500, generator=seeded())
        # 30000 numbers, six standard errors.
        assert abs(z.var().item() - 1) < 6 * math.sqrt(2 / z.numel())
        normal = MultivariateNormal(torch.zeros(N).double(), torch.eye(N).double())
        torch.testing.assert_close(prior.log_prob(z), normal.log_prob(z.double().flatten(1)), rtol=1e-13, atol=0)


class TestState:
    def test_a_state_dict_of_unknown_rank_is_restored(self, tmp_path):
        prior = LowRankGaussianPrior.fit(heat(), colourful(), most=3)
        torch.save(prior.state_dict(), tmp_path / "prior.pt")
        state = torch.load(tmp_path / "prior.pt", weights_only=True)
        assert sorted(state) == ["factor", "indices", "mean", "remainder"]
        found = LowRankGaussianPrior.from_state_dict(heat(), state)
        assert found.agrees_with(prior)
        assert torch.equal(found.log_prob(colourful()), prior.log_prob(colourful()))
        assert torch.equal(found.sample(3, generator=seeded()), prior.sample(3, generator=seeded()))

    def test_tables_loaded_later_are_the_ones_used(self):
        prior, other = (LowRankGaussianPrior.fit(heat(), colourful(seed=s), most=2) for s in (2, 12))
        z = colourful()
        assert not torch.equal(prior.log_prob(z), other.log_prob(z))
        prior.load_state_dict(other.state_dict())
        assert torch.equal(prior.log_prob(z), other.log_prob(z))
        assert torch.equal(prior.sample(3, generator=seeded()), other.sample(3, generator=seeded()))

    def test_copies_agree_and_others_do_not(self):
        prior = LowRankGaussianPrior.fit(heat(), colourful())
        for twin in (copy.deepcopy(prior), pickle.loads(pickle.dumps(prior))):
            assert prior.agrees_with(twin)
        assert not prior.agrees_with(LowRankGaussianPrior.fit(heat(), colourful(), most=2))
        assert not prior.agrees_with(LowRankGaussianPrior.fit(heat(), colourful(seed=12)))
        again = LowRankGaussianPrior.from_state_dict(heat(sigma=0.06), prior.state_dict())
        assert not prior.agrees_with(again)

    def test_its_tables_are_its_own(self):
        tables = LowRankGaussianPrior.fit(heat(), colourful()).state_dict()
        prior = LowRankGaussianPrior.from_state_dict(heat(), tables)
        before = prior.log_prob(colourful())
        for table in tables.values():
            table.zero_()
        assert torch.equal(prior.log_prob(colourful()), before)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_a_dtype_meant_for_a_network_rounds_no_table(self, dtype):
        prior = LowRankGaussianPrior.fit(heat(), colourful())
        expected = prior.log_prob(colourful())
        assert torch.equal(prior.to(dtype).log_prob(colourful()), expected)
        assert prior.sample(2).dtype == torch.float32

    def test_it_moves_as_a_module_and_shows_its_sizes(self):
        prior = LowRankGaussianPrior.fit(heat(), colourful(), most=3)
        assert f"rank=3, correlated={len(prior.factor)}, active={len(prior.indices)}" in repr(prior)
        assert {buffer.device.type for buffer in prior.to("meta").buffers()} == {"meta"}


def test_autocast_leaves_samples_as_they_are():
    prior = LowRankGaussianPrior.fit(heat(), colourful())
    plain = prior.sample(5, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prior.sample(5, generator=seeded()), plain)
