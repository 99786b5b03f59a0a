import math

import pytest
import torch
from dense_reference import Dense
from torch.distributions import MultivariateNormal

from unmelt.degradations import (
    BlurringDiffusion,
    DataSpectrum,
    HeatDissipation,
    IsotropicDiffusion,
    PixelBasis,
    estimate_spectrum,
)
from unmelt.losses import DegradedDataPrior, GaussianPrior, StandardNormalPrior
from unmelt.testing.strategies import random_images

SHAPE = (2, 6, 5)


def heat(sigma=0.05):
    return HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=sigma)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("process", [IsotropicDiffusion(SHAPE), BlurringDiffusion(SHAPE)])
def test_standard_normal_has_zero_mean_and_unit_variance(process):
    z = StandardNormalPrior(process).sample(4000, generator=seeded())
    assert z.shape == (4000, *SHAPE)
    assert z.dtype == torch.float32
    # Six standard errors over 240000 numbers.
    assert abs(z.mean().item()) < 6 / math.sqrt(z.numel())
    assert abs(z.var().item() - 1) < 6 * math.sqrt(2 / z.numel())


def test_standard_normal_is_refused_where_the_process_ends_elsewhere():
    with pytest.raises(
        ValueError, match=r"HeatDissipation does not end in standard normal.*alpha reaches 1.*DegradedData"
    ):
        StandardNormalPrior(heat())


def test_degraded_data_is_training_data_at_the_last_level_plus_the_prior_s_noise():
    """A mistake of earlier code: sampling started from blurred images without noise, smoother than any seen before."""
    process, data = heat(), random_images(SHAPE, batch=3, dtype=torch.float32)
    z = DegradedDataPrior(process, data).sample(3000, generator=seeded())
    centres = process.marginal(data, 1.0).mean
    distance, nearest = torch.cdist(z.flatten(1), centres.flatten(1)).min(1)
    # Every image is drawn about as often, and lies sigma sqrt(n) from its centre, as white noise does.
    counts = nearest.bincount(minlength=3)
    assert (counts - 1000).abs().max() < 6 * math.sqrt(3000 * (1 / 3) * (2 / 3))
    n = math.prod(SHAPE)
    noise = (z - centres[nearest]).flatten()
    assert noise.std().item() == pytest.approx(0.05, rel=6 / math.sqrt(2 * noise.numel()))
    assert distance.mean().item() == pytest.approx(0.05 * math.sqrt(n), rel=0.02)


@pytest.mark.parametrize("stddev", [0.0, 0.2])
def test_the_kernels_width_can_be_chosen(stddev):
    process, data = heat(), random_images(SHAPE, batch=1)
    z = DegradedDataPrior(process, data, stddev=stddev).sample(500, generator=seeded())
    residual = z - process.marginal(data, 1.0).mean.float()
    assert residual.std().item() == pytest.approx(stddev, rel=6 / math.sqrt(2 * residual.numel()), abs=1e-6)


def test_a_generator_makes_draws_repeatable():
    prior = DegradedDataPrior(heat(), random_images(SHAPE, batch=3))
    assert torch.equal(prior.sample(4, generator=seeded(1)), prior.sample(4, generator=seeded(1)))
    assert not torch.equal(prior.sample(4, generator=seeded(1)), prior.sample(4, generator=seeded(2)))


def test_impossible_priors_are_refused():
    with pytest.raises(ValueError, match="stddev must be at least 0.*got -1"):
        DegradedDataPrior(heat(), random_images(SHAPE), stddev=-1.0)
    with pytest.raises(ValueError, match="holds no example"):
        DegradedDataPrior(heat(), random_images(SHAPE)[:0])
    with pytest.raises(ValueError, match=r"data must have shape \(batch, 2, 6, 5\)"):
        DegradedDataPrior(heat(), random_images((2, 5, 6)))


class TestGaussianPrior:
    def gaussian_data(self, process, count=4000):
        """Gaussian data with a mean and a variance of its own for every coefficient of the process's basis."""
        generator = torch.Generator().manual_seed(1)
        mean, stddev = torch.rand(2, *SHAPE, generator=generator, dtype=torch.float64) + 0.1
        u = mean + stddev * torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)
        return process.basis.inverse(u), mean, stddev**2

    def test_it_is_the_exact_marginal_of_gaussian_data(self):
        process = heat(0.2)
        _, mean, variance = self.gaussian_data(process)
        prior = GaussianPrior(process, DataSpectrum(process.basis, mean, variance, 100))
        dense = Dense(process)
        alpha = dense.degradation(1.0)
        expected = MultivariateNormal(
            alpha @ dense.v @ mean.flatten(),
            alpha @ dense.operator(variance.flatten()) @ alpha.T + dense.covariance(1.0),
        )
        z = torch.rand(5, *SHAPE, dtype=torch.float64)
        # The prior is kept in float32: sums of n = 18 squares of numbers up to 1 / 0.2 in its rounding.
        torch.testing.assert_close(prior.log_prob(z), expected.log_prob(z.flatten(1)), rtol=1e-5, atol=1e-4)

    def test_its_samples_have_the_moments_of_degraded_data(self):
        process = heat(0.05)
        x, _, _ = self.gaussian_data(process)
        prior = GaussianPrior(process, estimate_spectrum(process.basis, x))
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
        prior = GaussianPrior(process, estimate_spectrum(process.basis, x))
        blank = GaussianPrior(process, DataSpectrum(process.basis, mean, variance, 2))
        blank.load_state_dict(prior.state_dict())
        drawn = [p.sample(2, generator=torch.Generator().manual_seed(0)) for p in (prior, blank)]
        torch.testing.assert_close(*drawn, rtol=0, atol=0)

    def test_a_spectrum_in_another_basis_is_refused(self):
        process = heat(0.05)
        spectrum = estimate_spectrum(PixelBasis(SHAPE), torch.rand(3, *SHAPE))
        with pytest.raises(ValueError, match=r"one of PixelBasis.*diagonal in CosineBasis.*estimate_spectrum\(process"):
            GaussianPrior(process, spectrum)
