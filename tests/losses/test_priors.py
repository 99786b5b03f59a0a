import math

import pytest
import torch
from strategies import images

from unmelt.degradations import BlurringDiffusion, HeatDissipation, IsotropicDiffusion
from unmelt.losses import DegradedDataPrior, StandardNormalPrior

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
    process, data = heat(), images(SHAPE, batch=3, dtype=torch.float32)
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
    process, data = heat(), images(SHAPE, batch=1)
    z = DegradedDataPrior(process, data, stddev=stddev).sample(500, generator=seeded())
    residual = z - process.marginal(data, 1.0).mean.float()
    assert residual.std().item() == pytest.approx(stddev, rel=6 / math.sqrt(2 * residual.numel()), abs=1e-6)


def test_a_generator_makes_draws_repeatable():
    prior = DegradedDataPrior(heat(), images(SHAPE, batch=3))
    assert torch.equal(prior.sample(4, generator=seeded(1)), prior.sample(4, generator=seeded(1)))
    assert not torch.equal(prior.sample(4, generator=seeded(1)), prior.sample(4, generator=seeded(2)))


def test_impossible_priors_are_refused():
    with pytest.raises(ValueError, match="stddev must be at least 0.*got -1"):
        DegradedDataPrior(heat(), images(SHAPE), stddev=-1.0)
    with pytest.raises(ValueError, match="holds no example"):
        DegradedDataPrior(heat(), images(SHAPE)[:0])
    with pytest.raises(ValueError, match=r"data must have shape \(batch, 2, 6, 5\)"):
        DegradedDataPrior(heat(), images((2, 5, 6)))
