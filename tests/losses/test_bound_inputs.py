"""What the bound is given: integers, nothing at all, and levels to count bits with."""

import math

import pytest
import torch
from bound_cases import LEVELS, SHAPE, X, plain
from problems import gaussian
from support import seeded

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    IsotropicDiffusion,
    Markov,
)
from unmelt.losses import ELBO, FullSum
from unmelt.models import (
    DiscretisedGaussianDecoder,
    GaussianDecoder,
    PosteriorStd,
    StandardNormalPrior,
)


@pytest.mark.parametrize("make", [GaussianDecoder, DiscretisedGaussianDecoder])
def test_integers_with_levels_are_data(make):
    process = IsotropicDiffusion(SHAPE)
    x = torch.randint(0, 17, (3, *SHAPE), dtype=torch.uint8, generator=seeded(7))
    found = plain(steps=5, decoder=make(process, grey_levels=LEVELS))
    whole, scaled = (found(data, generator=seeded(0)) for data in (x, x.double() / 8 - 1))
    assert whole.grey_levels == LEVELS
    # Integers become float32 data, whose noise is drawn in float32: the same distribution, other numbers.
    assert whole.total.mean().item() == pytest.approx(scaled.total.mean().item(), rel=0.2)


def test_bits_per_dim_are_explicit_and_add_up():
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0, schedule=CosineSchedule(-8.0, 8.0))
    density = ELBO(gaussian(process), steps=5)(X, generator=seeded(0))
    bits = density.bits_per_dim(LEVELS)
    n = math.prod(SHAPE)
    # Sixteen steps of 1/8 from -1 to 1: three bits of a level's width.
    torch.testing.assert_close(bits.total, density.total / (n * math.log(2)) + 3, rtol=1e-12, atol=0)
    torch.testing.assert_close(bits.total, bits.prior + bits.diffusion + bits.reconstruction, rtol=1e-12, atol=0)

    decoder = GaussianDecoder(process, grey_levels=LEVELS)
    x = torch.randint(0, 17, (3, *SHAPE), dtype=torch.uint8, generator=seeded(7))
    known = ELBO(gaussian(process), steps=5, decoder=decoder)(x)
    torch.testing.assert_close(known.bits_per_dim().total, known.total / (n * math.log(2)), rtol=1e-12, atol=0)
    assert torch.equal(known.bits_per_dim(LEVELS).total, known.bits_per_dim().total)


def test_defaults_are_what_the_docstring_says():
    found = plain(steps=3)
    assert isinstance(found.prior, StandardNormalPrior)
    assert isinstance(found.decoder, GaussianDecoder)
    assert found.coupling == Markov()
    assert found.reverse_std == PosteriorStd()
    assert found.summation == FullSum()
    assert "steps=3, first=0" in repr(found)
    assert "continuous time" in repr(plain())
