"""The kernel density on degraded data: its width, its density, its two divergences, and digits at full scale."""

import math

import pytest
import torch
from dense_reference import Dense
from prior_cases import PAIR, PRIORS, SHAPE, N, Rough, dense, grid_of_pairs, heat, seeded, some_q
from support import LearnedHeat
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from unmelt.degradations import (
    ColdBlur,
    HeatDissipation,
    SpectralGaussian,
)
from unmelt.models import (
    DegradedDataPrior,
    KernelDivergence,
)
from unmelt.models.priors import blocks
from unmelt.testing.strategies import random_images


def dense_kernels(prior):
    """The kernel density once more, from its stored images and dense matrices, as torch.distributions has it."""
    n = math.prod(prior.process.shape)
    covariance = Dense(prior.process).covariance(1.0)
    if prior.stddev.numel() == 1:
        covariance = prior.stddev.item() ** 2 * torch.eye(n, dtype=torch.float64)
    centres = prior.degraded.double().flatten(1)
    return MixtureSameFamily(
        Categorical(torch.ones(len(centres), dtype=torch.float64)), MultivariateNormal(centres, covariance)
    )


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
        expected = prior.degraded[chosen].float() + torch.tensor(0.05) * noise
        assert torch.equal(prior.sample(4, generator=seeded()), expected)

    @EACH_KERNEL
    def test_the_density_is_a_mixture_of_dense_gaussians(self, build):
        prior, z = build(), random_images(SHAPE, batch=4, seed=8)
        images = random_images(SHAPE, batch=7)
        expected = Dense(prior.process).marginal(images.flatten(1), 1.0).mean
        # What is not kept of an image is a thousandth of a kernel's width at most, and the rest in single precision.
        apart = prior.degraded - expected.reshape(-1, *SHAPE)
        widths = (prior.process.basis.forward(apart) / prior.stddev).flatten(1).norm(dim=1)
        assert (widths < 1e-3 + 2**-24 * math.sqrt(N) * 8 / prior.stddev.min()).all()
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

    def test_without_noise_draws_are_images(self):
        prior = DegradedDataPrior.fit(ColdBlur(SHAPE), random_images(SHAPE))
        chosen = torch.randint(2, (1,), generator=seeded())
        assert torch.equal(prior.sample(1, generator=seeded()), prior.degraded[chosen].float())

    @pytest.mark.parametrize("stddev", [None, 0.001, 0.0])
    def test_data_in_several_blocks_are_those_in_one(self, monkeypatch, stddev):
        process, data = HeatDissipation((1, 16, 16), blur_sigma_max=6.0), random_images((1, 16, 16), batch=40)
        # Those that stand out come first, in a block of their own.
        data = torch.cat([1 + 30 * (data[:2] - 0.5), data])
        whole = DegradedDataPrior.fit(process, data, stddev=stddev)
        monkeypatch.setattr(blocks, "LARGEST", 600)
        several = DegradedDataPrior.fit(process, data, stddev=stddev)
        assert torch.equal(several.indices, whole.indices)
        torch.testing.assert_close(several.degraded, whole.degraded, rtol=0, atol=1e-6)

    @pytest.mark.parametrize(("stddev", "size"), [(None, 16), (0.002, 64), (0.0, 16)])
    def test_what_is_not_kept_is_together_a_thousandth_of_the_width(self, stddev, size):
        process = HeatDissipation((1, size, size), blur_sigma_max=size / 8)
        data = random_images((1, size, size), batch=20)
        prior = DegradedDataPrior.fit(process, data, stddev=stddev)
        spectra = process.alpha(1.0) * process.basis.forward(data)
        left = (spectra - process.basis.forward(prior.degraded)).flatten(1)
        left[:, prior.indices] = 0
        assert 0 < len(prior.indices) < size**2
        # Without a width, of what single precision tells apart.
        unit = torch.finfo(torch.float32).eps * spectra.max() / 1e-3 if stddev == 0 else prior.stddev.max()
        assert (left.norm(dim=1) / unit).max() <= 1e-3

    def test_nothing_is_left_out_where_the_width_is_learned(self):
        process = LearnedHeat()
        prior = DegradedDataPrior.fit(process, random_images(process.shape, batch=5))
        assert len(prior.indices) == math.prod(process.shape)

    def test_of_photographs_a_few_coefficients_are_kept(self):
        """Blurred by 24 of 32 pixels: of 3072 those of the lowest frequencies, whatever the number of images."""
        process = HeatDissipation((3, 32, 32), blur_sigma_max=24.0)
        prior = DegradedDataPrior.fit(process, torch.rand(200, 3, 32, 32, generator=seeded()))
        assert len(prior.indices) < 60
        # Beside 0.6 MB of pixels in 8 bits.
        assert prior.deviations.nbytes < 50_000

    def test_it_says_what_it_holds(self):
        assert "count=2, kept=14, kernel=0.05, divergence=KernelDivergence.MONTE_CARLO" in repr(
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
        monkeypatch.setattr("unmelt.degradations.coefficients.schedule_dtype", lambda device: torch.float32)
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
