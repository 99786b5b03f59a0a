"""Decoders: the Gaussian density, its standard deviation, and the data that a decoder makes of integers."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from decoder_cases import (
    EIGHT_BITS,
    IMAGES,
    double,
    every_quantisation,
    graph,
    heat,
    levels_of,
    pair,
    seeded,
)
from dense_reference import Dense, vectors
from hypothesis import assume, given
from torch.distributions import MultivariateNormal, Normal

from unmelt.degradations import (
    BlurringDiffusion,
    ColdBlur,
    HeatDissipation,
)
from unmelt.models import (
    DiscretisedGaussianDecoder,
    GaussianDecoder,
    GaussianOracle,
)
from unmelt.testing.strategies import (
    processes,
    random_images,
    seeds,
    times,
)

# ---- the Gaussian density -----------------------------------------------------------------------------------------


class TestGaussian:
    @given(process=processes(), t=times(), seed=seeds())
    def test_it_is_the_dense_gaussian_with_a_stddev_for_each_coefficient(self, process, t, seed):
        x, x_hat = pair(process.shape, seed)
        stddev = 0.1 + random_images(process.shape, batch=1, seed=seed + 2)[0]
        ours = GaussianDecoder(process, stddev).negative_log_likelihood(x, x_hat, t)
        distribution = MultivariateNormal(x_hat.flatten(1), Dense(process).operator(stddev.flatten() ** 2))
        # A covariance of condition up to 121, terms up to (1 / 0.1)^2 for each of tens of coefficients.
        torch.testing.assert_close(ours, -distribution.log_prob(x.flatten(1)), rtol=1e-11, atol=1e-10)

    @given(process=processes(), t=times(0.02), seed=seeds())
    def test_without_a_stddev_it_has_what_the_latents_noise_leaves_open(self, process, t, seed):
        alpha, sigma = vectors(process, t)
        assume(alpha.min() > 1e-3)
        assume(sigma.min() > 1e-3)
        x, x_hat = pair(process.shape, seed)
        ours = GaussianDecoder(process).negative_log_likelihood(x, x_hat, t)
        error = (x - x_hat).flatten(1) @ Dense(process).v
        distribution = Normal(torch.zeros(()).double(), sigma / alpha)
        # Transforms of rounding 1e-15 in numbers up to 1, divided by stddevs of at least 1e-3, squared.
        torch.testing.assert_close(ours, -distribution.log_prob(error).sum(1), rtol=1e-9, atol=1e-8)

    @pytest.mark.parametrize("process", [heat(), graph()], ids=["(1, 8, 8)", "(5,)"])
    def test_one_number_is_white_noise_in_every_basis(self, process):
        x, x_hat = pair(process.shape)
        ours = GaussianDecoder(process, 0.3).negative_log_likelihood(x, x_hat, 0.1)
        expected = -Normal(x_hat, 0.3).log_prob(x).flatten(1).sum(1)
        assert ours.shape == (2,)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)

    def test_each_example_has_its_own_time(self):
        process = BlurringDiffusion(IMAGES, blur_sigma_max=2.0)
        decoder, (x, x_hat) = GaussianDecoder(process), pair(IMAGES)
        together = decoder.negative_log_likelihood(x, x_hat, double(0.2, 0.6))
        alone = [decoder.negative_log_likelihood(x[i : i + 1], x_hat[i : i + 1], t) for i, t in enumerate((0.2, 0.6))]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-13, atol=0)

    def test_it_is_bayes_rule_under_a_flat_prior(self):
        """p(x | z) = q(z | x) p(x) / p(z), with a Gaussian prior so wide that a millionth of its width is unity."""
        process = heat(sigma=0.2)
        oracle = GaussianOracle(process, torch.zeros(IMAGES).double(), torch.full(IMAGES, 1e12).double())
        x = random_images(IMAGES)
        q = process.marginal(x, 0.4)
        z = q.sample(generator=seeded())
        prior = Normal(double(0.0), 1e6).log_prob(x).flatten(1).sum(1)
        expected = -(q.log_prob(z) + prior - oracle.log_prob(z, 0.4))
        ours = GaussianDecoder(process).negative_log_likelihood(x, oracle(z, 0.4), 0.4)
        ratio = (process.sigma(0.4) / process.alpha(0.4)).max().item()
        # Variances are off by (sigma / alpha)^2 / 1e12 of themselves, so terms by that times a squared normal number
        # of less than 20; sums of 64 logs near 14 round at 1e-13.
        torch.testing.assert_close(ours, expected, rtol=0, atol=64 * (10 * ratio**2 / 1e12) + 1e-10)

    def test_latents_that_hold_almost_no_signal(self):
        """Heat after 24 pixels of blur: alpha = exp(-5600), and sigma / alpha is no double."""
        process = HeatDissipation((1, 32, 32), blur_sigma_max=24.0, levels=10)
        log_stddev = (process.batched_log_sigma(1.0) - process.batched_log_alpha(1.0)).flatten()
        assert log_stddev.max() > 5000
        x, x_hat = pair((1, 32, 32))
        ours = GaussianDecoder(process).negative_log_likelihood(x, x_hat, 1.0)
        error = process.basis.forward(x - x_hat).flatten(1)
        near = log_stddev < 300
        quadratic = (error[:, near] / log_stddev[near].exp()).square().sum(1) / 2
        expected = quadratic + log_stddev.sum() + 1024 / 2 * math.log(2 * math.pi)
        # What is left out is below exp(-600).
        torch.testing.assert_close(ours, expected, rtol=1e-13, atol=0)

    def test_gradients_reach_the_estimate(self):
        process, stddev = heat(), 0.2 + random_images(IMAGES, batch=1)[0]
        x, x_hat = pair(IMAGES)
        x_hat.requires_grad_()
        GaussianDecoder(process, stddev).negative_log_likelihood(x, x_hat, 0.1).sum().backward()
        expected = process.basis.inverse(process.basis.forward(x_hat.detach() - x) / stddev**2)
        torch.testing.assert_close(x_hat.grad, expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_lower_precision_is_computed_in_float32_and_added_up_in_float64(self, dtype):
        process = heat()
        x, x_hat = (y.to(dtype) for y in pair(IMAGES))
        decoder = GaussianDecoder(process, 0.02)
        ours = decoder.negative_log_likelihood(x, x_hat, 0.1)
        expected = decoder.negative_log_likelihood(x.double(), x_hat.double(), 0.1)
        assert ours.dtype == torch.float64
        # Relative error of each of the squares, two of a transform's 8 + 8 roundings; the logs are as exact as ever.
        slack = (expected - 64 * math.log(0.02 * math.sqrt(2 * math.pi))).max().item() * 32 * 1.2e-7
        torch.testing.assert_close(ours, expected, rtol=0, atol=slack)

    def test_a_stddev_of_its_own_needs_no_noise(self):
        x, x_hat = pair(IMAGES)
        assert GaussianDecoder(ColdBlur(IMAGES), 0.1).negative_log_likelihood(x, x_hat, 0.3).isfinite().all()


class TestStddev:
    def test_it_is_saved_and_loaded_and_never_rounded(self):
        stddev = 0.1 + random_images(IMAGES, batch=1)[0]
        fitted = GaussianDecoder(heat(), stddev)
        blank = GaussianDecoder(heat(), torch.ones(IMAGES)).half()
        assert list(fitted.state_dict()) == ["stddev"]
        blank.load_state_dict(fitted.half().state_dict())
        assert blank.stddev.dtype == torch.float64
        assert torch.equal(blank.stddev, stddev)
        x, x_hat = pair(IMAGES)
        ours, theirs = (d.negative_log_likelihood(x, x_hat, 0.1) for d in (blank, fitted))
        assert torch.equal(ours, theirs)

    def test_it_is_a_copy(self):
        stddev = torch.ones(IMAGES, dtype=torch.float64)
        decoder = GaussianDecoder(heat(), stddev)
        stddev.zero_()
        assert decoder.stddev.min() == 1

    def test_decoders_without_one_save_nothing(self):
        assert not GaussianDecoder(heat()).state_dict()
        assert not DiscretisedGaussianDecoder(heat(), EIGHT_BITS).state_dict()

    @pytest.mark.parametrize("shape", [(), (1,), (8,), (8, 1), (1, 1, 8), (1, 8, 8)])
    def test_it_broadcasts_to_the_spectrum(self, shape):
        stddev = 0.1 + torch.rand(shape, generator=seeded(), dtype=torch.float64)
        x, x_hat = pair(IMAGES)
        small, whole = (GaussianDecoder(heat(), s) for s in (stddev, stddev.expand(IMAGES)))
        ours, theirs = (d.negative_log_likelihood(x, x_hat, 0.1) for d in (small, whole))
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0)


# ---- data -----------------------------------------------------------------------------------------------------------


def build(kind, process, grey_levels):
    if kind is GaussianDecoder:
        return GaussianDecoder(process, 0.1, grey_levels=grey_levels)
    return DiscretisedGaussianDecoder(process, grey_levels, 0.1)


class TestPreparing:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_continuous_data_is_left_alone(self, dtype):
        x = random_images(IMAGES, dtype=dtype)
        assert torch.equal(GaussianDecoder(heat()).prepare(x), x)
        half = GaussianDecoder(heat()).prepare(x.half())
        assert half.dtype == torch.float32
        assert torch.equal(half, x.half().float())

    @every_quantisation
    @pytest.mark.parametrize("process", [heat(), graph()], ids=["(1, 8, 8)", "(5,)"])
    def test_quantised_data_is_dequantised_for_a_density_and_not_for_probabilities(self, process, grey_levels):
        levels = levels_of(grey_levels, process.shape)
        values = grey_levels.values(levels)
        noisy = grey_levels.dequantise(levels, generator=seeded())
        for x in (levels, values):
            prepared = build(GaussianDecoder, process, grey_levels).prepare(x, generator=seeded())
            assert torch.equal(prepared, noisy)
            assert torch.equal(build(DiscretisedGaussianDecoder, process, grey_levels).prepare(x), values)

    @pytest.mark.parametrize("kind", [GaussianDecoder, DiscretisedGaussianDecoder])
    def test_bytes_and_their_values_have_one_likelihood(self, kind):
        levels = levels_of(EIGHT_BITS, IMAGES).to(torch.uint8)
        decoder, x_hat = build(kind, heat(), EIGHT_BITS), random_images(IMAGES, dtype=torch.float32)
        ours, theirs = (
            decoder.negative_log_likelihood(decoder.prepare(x, generator=seeded()), x_hat, 0.1)
            for x in (levels, levels / 255)
        )
        assert torch.equal(ours, theirs)


@pytest.mark.full
def test_they_compile_to_one_graph_and_mark_what_is_wrong():
    """In another process: run-time shape checks would themselves break graphs."""
    script = Path(__file__).with_name("compiled_decoders.py")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["GreyLevels", "GaussianDecoder", "DiscretisedGaussianDecoder"]
