"""Priors: draws, densities and divergences, against dense Gaussians, quadrature, exact oracles and plain arithmetic."""

import copy
import math
import pickle

import pytest
import torch
from dense_reference import Dense, covariance_of
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from unmelt.degradations import (
    BlurringDiffusion,
    ColdBlur,
    CosineBasis,
    CosineSchedule,
    DataSpectrum,
    GeometricNoise,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PixelBasis,
    SpectralGaussian,
    estimate_spectrum,
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
    Prior,
    StandardNormalPrior,
    ends_in_standard_normal,
    fit_prior,
)
from unmelt.models.priors import blocks
from unmelt.testing.strategies import random_images

SHAPE = (2, 6, 5)
N = 60


class Rough(LinearGaussianProcess):
    """Signal that fades and noise that grows with frequency: a kernel that is no ball."""

    def __init__(self, shape, sigma=0.2):
        super().__init__(CosineBasis(shape))
        n = math.prod(shape)
        self.register_constant("rank", torch.arange(n, dtype=torch.float64).reshape(shape) / n)
        self.scale = sigma

    def log_alpha(self, t):
        return -2 * self.expand_times(t) * self.rank

    def log_sigma(self, t):
        return (self.scale * (1 + 2 * self.rank)).log()


def heat(sigma=0.05, shape=SHAPE):
    return HeatDissipation(shape, blur_sigma_max=3.0, levels=10, sigma=sigma)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def some_q(process, batch=3, seed=5):
    """Gaussians with widths of their own per coefficient and example, not far from the prior's."""
    mean = process.basis.forward(process.degrade(random_images(process.shape, batch=batch, seed=seed), 1.0)[0])
    widths = 0.1 + 0.3 * random_images(process.shape, batch=batch, seed=seed + 1)
    return SpectralGaussian(process.basis, mean, widths)


def dense(q):
    return MultivariateNormal(q.mean.flatten(1), covariance_matrix=covariance_of(q))


def spectrum(process, seed=1):
    mean, variance = random_images(process.shape, seed=seed)
    return DataSpectrum(process.basis, mean, variance + 0.1, 100)


def dense_kernels(prior):
    """The kernel density once more, from its stored images and dense matrices, as torch.distributions has it."""
    n = math.prod(prior.process.shape)
    covariance = Dense(prior.process).covariance(1.0)
    if prior.kernel.numel() == 1:
        covariance = prior.kernel.item() ** 2 * torch.eye(n, dtype=torch.float64)
    centres = prior.degraded.double().flatten(1)
    return MixtureSameFamily(
        Categorical(torch.ones(len(centres), dtype=torch.float64)), MultivariateNormal(centres, covariance)
    )


# What a prior of every kind needs, over one pair of pixels, where integrals can be done on a grid.
PAIR = (1, 1, 2)
PRIORS = {
    "standard normal": lambda: StandardNormalPrior(IsotropicDiffusion(PAIR)),
    "Gaussian": lambda: GaussianPrior.of_spectrum(heat(0.3, PAIR), spectrum(heat(0.3, PAIR))),
    "kernels": lambda: DegradedDataPrior.fit(heat(0.3, PAIR), 2 * random_images(PAIR, batch=5)),
    "rough kernels": lambda: DegradedDataPrior.fit(Rough(PAIR), 2 * random_images(PAIR, batch=5)),
    "kernels of another width": lambda: DegradedDataPrior.fit(Rough(PAIR), random_images(PAIR, batch=5), stddev=0.15),
    "oracle": lambda: OraclePrior(EmpiricalOracle(Rough(PAIR), 2 * random_images(PAIR, batch=5))),
}
EACH = pytest.mark.parametrize("build", PRIORS.values(), ids=PRIORS.keys())


def grid_of_pairs(spacing=0.04):
    """Points (points, *PAIR) of a square that holds all but e^-32 of each prior's mass, and their share of its area.

    The widest reaches 1.1 about a mean of at most 1. The trapezoid rule on a Gaussian of width s is wrong by
    2 exp(-2 pi^2 (s / spacing)^2); the narrowest, 0.1 wide, by e^-122.
    """
    axis = torch.arange(-9.0, 11.0, spacing, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis).reshape(-1, *PAIR), spacing**2


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

    @EACH
    def test_wrong_shapes_are_refused(self, build):
        prior = build()
        with pytest.raises(ValueError, match=r"must have shape \(batch, 1, 1, 2\), got \(2, 1, 2, 1\)"):
            prior.log_prob(torch.zeros(2, 1, 2, 1))
        q = SpectralGaussian(PixelBasis((1, 2, 1)), torch.zeros(2, 1, 2, 1), torch.ones(()))
        with pytest.raises(ValueError, match=r"signals of the prior's shape \(1, 1, 2\), got \(1, 2, 1\)"):
            prior.divergence(q)

    @EACH
    @pytest.mark.usefixtures("as_in_production")
    def test_wrong_types_are_refused(self, build):
        prior = build()
        with pytest.raises(TypeError, match=r"torch.uint8.*x.float\(\) / 255|torch.uint8.*floating"):
            prior.log_prob(torch.zeros((2, *PAIR), dtype=torch.uint8))
        with pytest.raises(TypeError, match=r"q must be a SpectralGaussian, process.marginal\(x, 1.0\) makes one"):
            prior.divergence(torch.zeros(2, *PAIR))

    @EACH
    def test_a_gaussian_without_density_is_refused(self, build):
        prior = build()
        with pytest.raises(ValueError, match="needs a density"):
            prior.divergence(SpectralGaussian(prior.process.basis, random_images(PAIR), torch.zeros(())))

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

    def test_a_new_prior_needs_draws_and_a_density(self):
        class Half(Prior):
            def sample(self, count, *, generator=None):
                return torch.zeros(count, *self.process.shape)

        with pytest.raises(TypeError, match="abstract.*log_prob"):
            Half(heat())


FITTED = {
    "standard normal": (StandardNormalPrior, IsotropicDiffusion(PAIR), {}),
    "Gaussian": (GaussianPrior, heat(0.3, PAIR), {}),
    "low rank": (LowRankGaussianPrior, heat(0.3, PAIR), {"most": 1}),
    "kernels": (DegradedDataPrior, Rough(PAIR), {}),
    "kernels of another width": (DegradedDataPrior, Rough(PAIR), {"stddev": 0.15}),
}


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
        assert set(state) - {"_extra_state"} == set(kind.tables)
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

    @pytest.mark.usefixtures("as_in_production")
    def test_what_cannot_be_fitted_to_is_refused(self, kind, process, settings):
        if kind is StandardNormalPrior:
            assert kind.fit(process, iter([])).agrees_with(kind(process))
            return
        for data, error, words in (
            (iter([random_images(PAIR)]), TypeError, "gone through more than once.*DataLoader"),
            (3, TypeError, "data must be an Iterable, a tensor"),
            ([(random_images(PAIR), 1)], TypeError, r"take the images out of \(image, label\) pairs"),
            (torch.zeros((3, *PAIR), dtype=torch.uint8), TypeError, r"torch.uint8.*x.float\(\) / 255"),
            (random_images((1, 2, 1)), ValueError, r"data must have shape \(batch, 1, 1, 2\)"),
            (random_images(PAIR)[:0], ValueError, "at least (one|2)"),
        ):
            with pytest.raises(error, match=words):
                kind.fit(process, data, **settings)
        with pytest.raises(TypeError, match="process must be a LinearGaussianProcess"):
            kind.fit("heat", random_images(PAIR))
        with pytest.raises(ValueError, match=f"not the state of a {kind.__name__}: it lacks .* holds nothing"):
            kind.from_state_dict(process, {})


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

    def test_it_is_refused_where_the_process_ends_elsewhere(self):
        with pytest.raises(
            ValueError,
            match=r"HeatDissipation does not end in standard normal.*alpha reaches 1.*"
            r"LowRankGaussianPrior.fit\(process, images\).*GaussianPrior.fit.*DegradedDataPrior.fit",
        ):
            StandardNormalPrior(heat())


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

    def test_a_spectrum_in_another_basis_is_refused(self):
        process = heat(0.05)
        other = estimate_spectrum(PixelBasis(SHAPE), torch.rand(3, *SHAPE))
        with pytest.raises(ValueError, match=r"one of PixelBasis.*diagonal in CosineBasis.*estimate_spectrum\(process"):
            GaussianPrior.of_spectrum(process, other)

    def test_a_gaussian_in_another_basis_is_refused(self):
        prior = GaussianPrior.of_spectrum(heat(0.05), spectrum(heat(0.05)))
        q = SpectralGaussian(PixelBasis(SHAPE), random_images(SHAPE), torch.ones(()))
        with pytest.raises(ValueError, match="two Gaussians in one basis"):
            prior.divergence(q)


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

    @pytest.mark.usefixtures("as_in_production")
    def test_something_else_is_refused(self):
        with pytest.raises(TypeError, match=r"oracle must be an Oracle, such as EmpiricalOracle\(process, data\)"):
            OraclePrior(heat())


# Kernels of the process's own noise and of a width of their own, with and without a spectrum to work in.
KERNELS = {
    "heat": lambda **more: DegradedDataPrior.fit(heat(0.2), random_images(SHAPE, batch=7), **more),
    "rough": lambda **more: DegradedDataPrior.fit(Rough(SHAPE), random_images(SHAPE, batch=7), **more),
    "rough, own width": lambda **more: DegradedDataPrior.fit(
        Rough(SHAPE), random_images(SHAPE, batch=7), stddev=0.3, **more
    ),
}
EACH_KERNEL = pytest.mark.parametrize("build", KERNELS.values(), ids=KERNELS.keys())
BOUND = KernelDivergence.VARIATIONAL


def kernel_divergences(prior, q):
    """KL(q || p_i) one by one, by torch, (batch, count)."""
    p = dense_kernels(prior).component_distribution
    q = dense(q)
    return torch.stack(
        [
            kl_divergence(q, MultivariateNormal(centre, covariance_matrix=covariance))
            for centre, covariance in zip(p.loc, p.covariance_matrix.expand(len(p.loc), N, N), strict=True)
        ],
        dim=1,
    )


class TestDegradedDataPrior:
    def test_it_is_training_data_at_the_last_level_plus_the_prior_s_noise(self):
        """A mistake of earlier code: sampling started from blurred images without noise, smoother than any before."""
        process, data = heat(), random_images(SHAPE, batch=3, dtype=torch.float32)
        z = DegradedDataPrior.fit(process, data).sample(3000, generator=seeded())
        centres = process.marginal(data, 1.0).mean
        distance, nearest = torch.cdist(z.flatten(1), centres.flatten(1)).min(1)
        # Every image is drawn about as often, and lies sigma sqrt(n) from its centre, as white noise does.
        counts = nearest.bincount(minlength=3)
        assert (counts - 1000).abs().max() < 6 * math.sqrt(3000 * (1 / 3) * (2 / 3))
        noise = (z - centres[nearest]).flatten()
        assert noise.std().item() == pytest.approx(0.05, rel=6 / math.sqrt(2 * noise.numel()))
        assert distance.mean().item() == pytest.approx(0.05 * math.sqrt(N), rel=0.02)

    @pytest.mark.parametrize("process", [heat(), Rough(SHAPE)], ids=["heat", "rough"])
    @pytest.mark.parametrize("stddev", [0.0, 0.2])
    def test_the_kernels_width_can_be_chosen(self, process, stddev):
        data = random_images(SHAPE, batch=1)
        z = DegradedDataPrior.fit(process, data, stddev=stddev).sample(500, generator=seeded())
        residual = z - process.marginal(data, 1.0).mean.float()
        assert residual.std().item() == pytest.approx(stddev, rel=6 / math.sqrt(2 * residual.numel()), abs=1e-6)
        # White: that wide in every coefficient, not only on average.
        spread = process.basis.forward(residual).std(0)
        assert (spread - stddev).abs().max() < 6 * stddev / math.sqrt(2 * 500) + 1e-6

    @pytest.mark.parametrize("process", [heat(0.05), Rough(SHAPE)], ids=["heat", "rough"])
    def test_the_random_stream(self, process):
        """Index first, noise second, both in single precision: seeds of stored samples stay good."""
        stddev = 0.05 if isinstance(process, Rough) else None
        prior, generator = DegradedDataPrior.fit(process, random_images(SHAPE, batch=3), stddev=stddev), seeded()
        chosen = torch.randint(3, (4,), generator=generator)
        noise = torch.randn(4, *SHAPE, generator=generator)
        assert torch.equal(prior.sample(4, generator=seeded()), prior.degraded[chosen] + torch.tensor(0.05) * noise)

    @EACH_KERNEL
    def test_the_density_is_a_mixture_of_dense_gaussians(self, build):
        prior, z = build(), random_images(SHAPE, batch=4, seed=8)
        images = random_images(SHAPE, batch=7)
        expected = Dense(prior.process).marginal(images.flatten(1), 1.0).mean
        # Images in [0, 1] are kept in single precision.
        torch.testing.assert_close(prior.degraded.flatten(1).double(), expected, rtol=0, atol=2**-24)
        # Cholesky against spectrum, conditioned (3 x 0.2 / 0.2)^2; densities of size 100.
        torch.testing.assert_close(
            prior.log_prob(z), dense_kernels(prior).log_prob(z.flatten(1)), rtol=1e-11, atol=1e-11
        )

    @EACH_KERNEL
    def test_the_score_follows_by_differentiation(self, build):
        prior, z = build(rows=2), random_images(SHAPE, batch=4, seed=8).requires_grad_()
        (score,) = torch.autograd.grad(prior.log_prob(z).sum(), z)
        (expected,) = torch.autograd.grad(dense_kernels(prior).log_prob(z.flatten(1)).sum(), z)
        torch.testing.assert_close(score, expected, rtol=0, atol=1e-11 * expected.abs().max().item())

    @EACH_KERNEL
    @pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
    def test_blocks_change_nothing(self, build, rows):
        z, whole = random_images(SHAPE, batch=4, seed=8), build()
        q = some_q(whole.process)
        # Squares of up to 60 / 0.2^2 = 1500, rounded in another order.
        close = {"rtol": 0.0, "atol": 1e4 * torch.finfo(torch.float64).eps}
        torch.testing.assert_close(build(rows=rows).log_prob(z), whole.log_prob(z), **close)
        for kind in KernelDivergence:
            ours, all_at_once = (
                prior.divergence(q, generator=seeded())
                for prior in (build(rows=rows, divergence=kind), build(divergence=kind))
            )
            torch.testing.assert_close(ours, all_at_once, **close)

    @pytest.mark.parametrize("rows", [2, None])
    def test_memory_is_bounded(self, monkeypatch, rows):
        """No tensor holds all 50 images, or 50 of anything: two at a time, as `rows` or the bound says."""
        if rows is None:
            monkeypatch.setattr(blocks, "LARGEST", 130)
        prior = DegradedDataPrior.fit(Rough(SHAPE), random_images(SHAPE, batch=50), rows=rows)
        largest = 0

        class Sizes(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                nonlocal largest
                out = function(*args, **(kwargs or {}))
                for made in out if isinstance(out, (list, tuple)) else [out]:
                    if isinstance(made, torch.Tensor):
                        largest = max(largest, made.numel())
                return out

        z, q = random_images(SHAPE, batch=1), some_q(prior.process, batch=1)
        with Sizes():
            prior.log_prob(z)
            prior.divergence(q)
        # Two images of 60 numbers, or one latent and its mirror image; the transform's own matrices hold 144.
        assert 2 * N <= largest <= 144

    def test_a_half_divergence_is_the_released_code_s(self):
        """Width sigma of q against kernels of width delta: 1/2 (n s^2/d^2 - n + |.|^2/d^2 + 2 n log(d/s)), N = 1."""
        process, x = heat(0.2), random_images(SHAPE, batch=1)
        prior = DegradedDataPrior.fit(process, x, stddev=0.25, divergence=BOUND)
        q = process.marginal(random_images(SHAPE, seed=4), 1.0)
        square = (q.mean - prior.degraded.double()).square().flatten(1).sum(1)
        s, d = 0.2, 0.25
        expected = (N * s**2 / d**2 - N + square / d**2 + 2 * N * math.log(d / s)) / 2
        # Squares of up to 60 / 0.25^2 before they are subtracted.
        torch.testing.assert_close(prior.divergence(q), expected, rtol=0, atol=1e-11)

    @EACH_KERNEL
    def test_the_bound_is_the_least_over_all_weights(self, build):
        """Hershey & Olsen (2007): sum_i phi_i (KL_i + log phi_i + log N), least at phi_i ~ exp(-KL_i)."""
        prior = build(divergence=BOUND)
        q = some_q(prior.process)
        apart = kernel_divergences(prior, q)
        best = torch.softmax(-apart, dim=1)

        def weighted(phi):
            return (phi * (apart + phi.log() + math.log(7))).sum(1)

        bound = prior.divergence(q)
        torch.testing.assert_close(bound, weighted(best), rtol=1e-10, atol=0)
        others = torch.distributions.Dirichlet(torch.ones(7, dtype=torch.float64)).sample((200, len(bound)))
        for phi in (*others, 0.9 * best + 0.1 * others[0]):
            assert (weighted(phi) > bound).all()

    @pytest.mark.parametrize("name", ["kernels", "rough kernels", "kernels of another width"])
    def test_the_bound_is_above_the_exact_divergence(self, name):
        exact = PRIORS[name]()
        q = some_q(exact.process, batch=1)
        points, area = grid_of_pairs()
        at = SpectralGaussian(q.basis, q.spectral_mean.expand(len(points), *PAIR), q.spectral_stddev).log_prob(points)
        divergence = (at.exp() * (at - exact.log_prob(points))).sum() * area
        exact.kernel_divergence = BOUND
        # These kernels overlap, so that there is a gap, far above the quadrature's error.
        assert (exact.divergence(q) - divergence).item() > 1e-4

    @EACH_KERNEL
    def test_no_estimate_is_above_the_bound(self, build):
        """Mirrored draws of a convex function: Jensen's inequality holds for each pair of them."""
        q = some_q(build().process, batch=200)
        estimates, bounds = build().divergence(q, generator=seeded()), build(divergence=BOUND).divergence(q)
        assert (estimates <= bounds + 1e-10).all()
        assert (estimates < bounds - 1e-6).any()

    @pytest.mark.parametrize("kind", KernelDivergence)
    def test_one_image_leaves_a_gaussian(self, kind):
        process, x = Rough(SHAPE), random_images(SHAPE, batch=1)
        prior, q = DegradedDataPrior.fit(process, x, divergence=kind), some_q(process)
        expected = kernel_divergences(prior, q)[:, 0]
        torch.testing.assert_close(prior.divergence(q, generator=seeded()), expected, rtol=1e-10, atol=0)

    @pytest.mark.parametrize("kind", KernelDivergence)
    def test_kernels_far_apart_are_met_one_at_a_time(self, kind):
        process = Rough(SHAPE)
        x = random_images(SHAPE, batch=6) + 100 * torch.arange(6.0)[:, None, None, None]
        prior, q = DegradedDataPrior.fit(process, x, divergence=kind), some_q(process)
        nearest = kernel_divergences(prior, q).min(1).values
        # Squares around the mean of the data, 250 away: 60 (250 / 0.2)^2 = 1e8 in float64.
        torch.testing.assert_close(prior.divergence(q), nearest + math.log(6), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("process", [heat(), Rough(SHAPE)], ids=["heat", "rough"])
    def test_there_is_no_density_without_width(self, process):
        prior = DegradedDataPrior.fit(process, random_images(SHAPE), stddev=0.0)
        assert prior.sample(2).shape == (2, *SHAPE)
        with pytest.raises(ValueError, match=r"log_prob needs a density.*no width.*a stddev > 0"):
            prior.log_prob(random_images(SHAPE))
        for kind in KernelDivergence:
            prior.kernel_divergence = kind
            with pytest.raises(ValueError, match=r"divergence needs a density.*no width.*a stddev > 0"):
                prior.divergence(some_q(prior.process))

    def test_there_is_no_density_without_noise(self):
        prior = DegradedDataPrior.fit(ColdBlur(SHAPE), random_images(SHAPE))
        assert torch.equal(
            prior.sample(1, generator=seeded())[0], prior.degraded[torch.randint(2, (1,), generator=seeded())][0]
        )
        with pytest.raises(ValueError, match=r"the kernel has no width in some coefficient.*a stddev > 0"):
            prior.log_prob(random_images(SHAPE))

    def test_a_gaussian_in_another_basis_is_refused(self):
        q = SpectralGaussian(PixelBasis(SHAPE), random_images(SHAPE), torch.ones(()))
        with pytest.raises(ValueError, match="two Gaussians in one basis"):
            KERNELS["heat"]().divergence(q)

    def test_impossible_priors_are_refused(self):
        x = random_images(SHAPE)
        for stddev in (-1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match=f"stddev must be at least 0 and finite.*got {stddev}"):
                DegradedDataPrior.fit(heat(), x, stddev=stddev)
        with pytest.raises(ValueError, match="rows must be at least 1.*got 0"):
            DegradedDataPrior.fit(heat(), x, rows=0)
        with pytest.raises(ValueError, match="holds no example"):
            DegradedDataPrior.fit(heat(), x[:0])
        with pytest.raises(ValueError, match=r"data must have shape \(batch, 2, 6, 5\)"):
            DegradedDataPrior.fit(heat(), random_images((2, 5, 6)))

    @pytest.mark.usefixtures("as_in_production")
    def test_wrong_types_are_refused(self):
        with pytest.raises(TypeError, match="divergence must be a KernelDivergence"):
            DegradedDataPrior.fit(heat(), random_images(SHAPE), divergence="bound")
        with pytest.raises(TypeError, match="process must be a LinearGaussianProcess"):
            DegradedDataPrior.fit("heat", random_images(SHAPE))

    def test_it_says_what_it_holds(self):
        assert "count=2, kernel=0.05, divergence=KernelDivergence.MONTE_CARLO" in repr(
            DegradedDataPrior.fit(heat(), random_images(SHAPE))
        )
        assert "kernel=0.3" in repr(DegradedDataPrior.fit(heat(), random_images(SHAPE), stddev=0.3))


class TestAtTheReleasedScale:
    """Kernels 0.01 wide on 3072 pixels of size 1, blurred to 24 pixels: whitened squares reach 10^6."""

    SHAPE = (3, 32, 32)

    def images(self, process, count, seed):
        """Images whose spectrum falls as 1 / frequency, as photographs' do, 0.2 about 0.5."""
        frequency = (torch.arange(32.0)[:, None] ** 2 + torch.arange(32.0) ** 2).sqrt()
        x = process.basis.inverse(torch.randn(count, *self.SHAPE, generator=seeded(seed)) / (1 + frequency))
        return 0.5 + 0.2 * x / x.std()

    @pytest.fixture
    def process(self):
        return HeatDissipation(self.SHAPE, blur_sigma_max=24.0)

    def exact(self, centres, z, stddev=0.01):
        """The log-density from differences one by one, in float64."""
        squares = torch.stack([((one - centres) / stddev).square().flatten(1).sum(1) for one in z.double()])
        n = math.prod(self.SHAPE)
        volume = n * (math.log(stddev) + math.log(2 * math.pi) / 2)
        return torch.logsumexp(-squares / 2, dim=1) - math.log(len(centres)) - volume

    def test_densities_keep_their_digits(self, process):
        data = self.images(process, 300, seed=1)
        prior = DegradedDataPrior.fit(process, data)
        for z in (prior.sample(8, generator=seeded()), process.corrupt(data[:8], torch.zeros_like(data[:8]), 1.0)):
            expected = self.exact(prior.degraded.double(), z)
            # Float64: squares of 2e6, each right to 1e-16, 3072 roundings adding up as their square root.
            tolerance = 2e6 * 2**-53 * math.sqrt(3072)
            torch.testing.assert_close(prior.log_prob(z), expected, rtol=0, atol=tolerance)
            # Images kept, and blurred, in single precision: an error of 5e-7 in each pixel, over a width of 0.01,
            # times a residual of size 1, adding up at random over 3072 pixels.
            (centres,) = process.degrade(data.double(), 1.0)
            truth = self.exact(centres, z)
            torch.testing.assert_close(prior.log_prob(z), truth, rtol=0, atol=5 * 5e-7 / 0.01 * math.sqrt(3072))

    def test_devices_without_float64_take_differences_one_by_one(self, process, monkeypatch):
        prior = DegradedDataPrior.fit(process, self.images(process, 300, seed=1), stddev=0.01)
        z = prior.sample(8, generator=seeded())
        expected = self.exact(prior.degraded.double(), z)
        monkeypatch.setattr("unmelt.degradations.process.schedule_dtype", lambda device: torch.float32)
        single = DegradedDataPrior.fit(process, self.images(process, 300, seed=1), stddev=0.01)
        found = single.log_prob(z)
        assert found.dtype == torch.float32
        # Densities of 10^4 nats, made of two sums of that size in float32, 2^-24 each; products of the whitened images
        # (10^6) are off by several times that.
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=16 * 1e4 * 2**-24)

    def test_estimates_of_the_divergence_are_sharp(self, process):
        """An estimate by -H(q) - log p alone has a standard deviation of at least sqrt(n / 2) = 39 nats."""
        prior = DegradedDataPrior.fit(process, self.images(process, 300, seed=1))
        q = process.marginal(self.images(process, 8, seed=2), 1.0)
        estimates = torch.stack([prior.divergence(q, generator=seeded(seed)) for seed in range(20)])
        spread = estimates.std(0).mean().item()
        assert 0 < spread < 20
        prior.kernel_divergence = BOUND
        assert (estimates <= prior.divergence(q) + 1e-6).all()
