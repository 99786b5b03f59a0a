"""What the bound refuses, and how it says so."""

import math

import pytest
import torch
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Deterministic,
    Eta,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
    PredictX,
)
from unmelt.losses import (
    ELBO,
    FullSum,
    LevelTimes,
    LossHistoryTimes,
    MonteCarlo,
    Stratified,
)
from unmelt.models import (
    ConstantStd,
    Denoiser,
    DiscretisedGaussianDecoder,
    FittedStd,
    ForwardStd,
    GaussianDecoder,
    GaussianOracle,
    GreyLevels,
    OraclePrior,
    PosteriorStd,
    StandardNormalPrior,
)
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 6)
LEVELS = GreyLevels(count=17, low=-1.0, high=1.0)


def heat(**settings):
    return HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, **{"sigma": 0.05, **settings})


def oracle(process):
    return GaussianOracle(process, torch.zeros(process.shape), torch.ones(process.shape))


def bound(process, **settings):
    return ELBO(process, prior=OraclePrior(oracle(process)), **settings)


class Fails(torch.nn.Module):
    """A network that returns NaN at one level."""

    def __init__(self, level, levels):
        super().__init__()
        self.time = level / levels

    def forward(self, z, t):
        return torch.where((t - self.time).abs().reshape(-1, 1, 1, 1) < 1e-4, torch.nan, z)


@pytest.mark.parametrize("coupling", [Deterministic(), Eta(0.0)], ids=str)
def test_a_deterministic_coupling_has_no_bound(coupling):
    with pytest.raises(ValueError, match=r"has no variance in the step from t = .*Markov, Independent or Eta > 0"):
        ELBO(IsotropicDiffusion(SHAPE), steps=10, coupling=coupling)
    with pytest.raises(ValueError, match=r"continuous time.*Markov\(\) with PosteriorStd\(\).*got (Det|Eta)"):
        ELBO(IsotropicDiffusion(SHAPE), coupling=coupling)


@pytest.mark.usefixtures("as_in_production")
def test_integers_need_levels():
    process = IsotropicDiffusion(SHAPE)
    x = torch.randint(0, 17, (3, *SHAPE), dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"integer data \(torch.uint8\) without levels.*GreyLevels\(levels=256"):
        ELBO(process, steps=5)(oracle(process), x)


@pytest.mark.parametrize("make", [GaussianDecoder, DiscretisedGaussianDecoder])
def test_integers_with_levels_are_data(make):
    process = IsotropicDiffusion(SHAPE)
    x = torch.randint(0, 17, (3, *SHAPE), dtype=torch.uint8)
    decoder = make(process, grey_levels=LEVELS)
    found = ELBO(process, steps=5, decoder=decoder)
    whole, scaled = (
        found(oracle(process), data, generator=torch.Generator().manual_seed(0)) for data in (x, x.double() / 8 - 1)
    )
    assert whole.grey_levels == LEVELS
    # Integers become float32 data, whose noise is drawn in float32: the same law, other numbers.
    assert whole.total.mean().item() == pytest.approx(scaled.total.mean().item(), rel=0.2)


@pytest.mark.parametrize("make", [GaussianDecoder, DiscretisedGaussianDecoder])
def test_data_outside_the_declared_range_are_refused(make):
    process = IsotropicDiffusion(SHAPE)
    found = ELBO(process, steps=5, decoder=make(process, grey_levels=LEVELS))
    with pytest.raises(ValueError, match=r"outside the declared range"):
        found(oracle(process), torch.full((1, *SHAPE), 1.5))
    with pytest.raises(ValueError, match=r"17"):
        found(oracle(process), torch.full((1, *SHAPE), 17))


@pytest.mark.parametrize("level", [1, 2, 7, 10])
def test_a_nan_is_traced_to_its_level(level):
    process = heat()
    denoiser = Denoiser(Fails(level, 10), process, prediction=PredictX())
    with pytest.raises(FloatingPointError, match=rf"NaN or infinity at level {level} of 10, t = {level / 10:g}"):
        bound(process, coupling=Independent())(denoiser, random_images(SHAPE))


def test_a_nan_is_traced_where_the_first_latent_is_level_0():
    process = IsotropicDiffusion(SHAPE)
    for level in (0, 3, 5):
        denoiser = Denoiser(Fails(level, 5), process, prediction=PredictX())
        with pytest.raises(FloatingPointError, match=rf"at level {level} of 5, t = {level / 5:g}"):
            ELBO(process, steps=5)(denoiser, random_images(SHAPE))


def test_a_nan_is_traced_in_continuous_time():
    process = IsotropicDiffusion(SHAPE)
    with pytest.raises(FloatingPointError, match=r"returned NaN or infinity at t = 0, for example 0 of 2"):
        ELBO(process)(Denoiser(Fails(0, 1), process, prediction=PredictX()), random_images(SHAPE))


def test_a_denoiser_prior_or_decoder_of_another_process_is_refused():
    process, other = heat(), heat(sigma=0.1)
    with pytest.raises(ValueError, match="the denoiser was made for another process"):
        bound(process, coupling=Independent())(oracle(other), random_images(SHAPE))
    with pytest.raises(ValueError, match="the denoiser was made for another process"):
        bound(process, coupling=Independent()).fitted(oracle(other), random_images(SHAPE))
    with pytest.raises(ValueError, match="the prior was made for another process"):
        ELBO(process, prior=OraclePrior(oracle(other)))
    with pytest.raises(ValueError, match="the decoder was made for another process"):
        bound(process, decoder=GaussianDecoder(other))


def test_widths_that_cost_infinitely_much_are_refused_at_once():
    # Heat keeps its mean: under Markov that coefficient's posterior has no width, and any other is infinitely far.
    with pytest.raises(ValueError, match=r"leaves a coefficient as it is under Markov.*ConstantStd\(delta=0.1\)"):
        bound(heat(), reverse_std=ConstantStd(0.1))
    with pytest.raises(ValueError, match=r"ForwardStd\(\) has no noise in the step .* posterior of Independent\(\)"):
        bound(heat(), reverse_std=ForwardStd(), coupling=Independent())
    for name in ("cold", "no noise"):
        with pytest.raises(ValueError, match=r"has no noise at t = .*WithNoise"):
            bound(EVERY_PROCESS[name], steps=5, coupling=Independent())


def test_continuous_time_has_one_coupling_one_width_and_needs_noise():
    process = IsotropicDiffusion(SHAPE)
    for settings in ({"coupling": Independent()}, {"reverse_std": ConstantStd(0.1)}):
        with pytest.raises(ValueError, match="give a number of steps, or leave both out"):
            ELBO(process, steps=math.inf, **settings)
    with pytest.raises(ValueError, match=r"no noise at t = 0.*first=1e-3"):
        bound(EVERY_PROCESS["linear from 0"])
    with pytest.raises(ValueError, match=r"no noise at t = 0 in some coefficient.*first=\.\.\."):
        bound(EVERY_PROCESS["linear from 0"], first=0.0)
    with pytest.raises(ValueError, match=r"no last level to add up to.*MonteCarlo"):
        ELBO(process, summation=FullSum())
    with pytest.raises(ValueError, match="in continuous time the best standard deviation is the posterior's"):
        ELBO(process).fitted(oracle(process), random_images(SHAPE))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "at least two latents, got steps=0"),
        ({"steps": 2.5}, "a whole number or math.inf, got 2.5"),
        ({"steps": 3, "first": 1.0}, r"first must be a time in \[0, 1\), got 1.0"),
        ({"times": torch.tensor([0.5, 0.2, 1.0])}, "must rise strictly"),
        ({"times": torch.tensor([0.5, 0.9])}, "must rise strictly"),
        ({"times": torch.tensor([0.5, 1.0]), "steps": 3}, "times are the whole grid"),
        ({"rows": 0}, "rows must be at least 1, got 0"),
        ({"estimate": MonteCarlo(times=LevelTimes(3)), "steps": 6}, "never draws level 1 of 6"),
        ({"estimate": MonteCarlo(times=LevelTimes(3))}, "draws 3 levels only, and continuous time has more"),
        ({"estimate": MonteCarlo(times=Stratified(LossHistoryTimes(4096)))}, "draws 4096 levels only"),
    ],
    ids=str,
)
def test_numbers_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        ELBO(IsotropicDiffusion(SHAPE), **settings)


def test_counts_below_one():
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        MonteCarlo(draws=0)
    for estimate in (FullSum, MonteCarlo):
        with pytest.raises(ValueError, match="replicates must be at least 1.*got 0"):
            estimate(replicates=0)
    with pytest.raises(ValueError, match=r"delta must be a positive standard deviation.*got 0"):
        ConstantStd(0.0)


@pytest.mark.usefixtures("as_in_production")
def test_parts_of_the_wrong_kind():
    process = IsotropicDiffusion(SHAPE)
    for name, wrong in (("prior", 1.0), ("decoder", 0.1), ("coupling", "markov"), ("reverse_std", 0.0125)):
        with pytest.raises(TypeError, match=f"{name} must be an? "):
            ELBO(process, **{name: wrong})


def test_data_that_are_none_are_refused():
    process = IsotropicDiffusion(SHAPE)
    found = ELBO(process, steps=5)
    with pytest.raises(ValueError, match="x holds no example"):
        found(oracle(process), random_images(SHAPE)[:0])
    with pytest.raises(ValueError, match="no data to fit"):
        found.fitted(oracle(process), random_images(SHAPE)[:0])
    with pytest.raises(ValueError, match="x holds NaN or infinity"):
        found(oracle(process), torch.full((1, *SHAPE), torch.nan))


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": "10"}, "steps must be an int or a float"),
        ({"rows": 1.5}, "rows must be an int"),
        ({"times": [0.1, 1.0]}, "times must be a Tensor"),
        ({"estimate": "all"}, "estimate must be an Summation"),
        ({"estimate": FullSum}, "estimate must be an Summation.*the class FullSum itself"),
    ],
    ids=str,
)
def test_arguments_of_the_wrong_kind(settings, message):
    with pytest.raises(TypeError, match=message):
        ELBO(IsotropicDiffusion(SHAPE), **settings)


@pytest.mark.usefixtures("as_in_production")
def test_other_things_of_the_wrong_kind():
    process = IsotropicDiffusion(SHAPE)
    found = ELBO(process, steps=5)
    with pytest.raises(TypeError, match="denoiser must be an AbstractDenoiser"):
        found(torch.nn.Identity(), random_images(SHAPE))
    with pytest.raises(TypeError, match="quantisation must be a GreyLevels"):
        found(oracle(process), random_images(SHAPE)).bits_per_dim(256)
    with pytest.raises(TypeError, match="stddev must be"):
        GaussianDecoder(process, LEVELS)
    with pytest.raises(TypeError, match="times must be a TimeDistribution"):
        MonteCarlo(times="uniform")
    with pytest.raises(ValueError, match="a whole number or math.inf, got nan"):
        ELBO(process, steps=math.nan)


def test_parts_for_another_shape_are_refused_where_they_are_passed():
    """Pixels have no table that would tell: the shape itself does."""
    process = IsotropicDiffusion(SHAPE)
    other = IsotropicDiffusion((1, 4, 6))
    for part in ({"prior": StandardNormalPrior(other)}, {"decoder": GaussianDecoder(other)}):
        with pytest.raises(ValueError, match=r"made for another process \(IsotropicDiffusion of shape \(1, 4, 6\)\)"):
            ELBO(process, **part)


def test_fitted_widths_belong_to_one_grid():
    process = IsotropicDiffusion(SHAPE)
    fitted = ELBO(process, steps=5).fitted(oracle(process), random_images(SHAPE)).reverse_std
    with pytest.raises(ValueError, match=r"no standard deviation was fitted for a step from t = .*the 5 steps of"):
        ELBO(process, steps=6, reverse_std=fitted)
    # Half of its grid's times: every t is known, the steps are not.
    halves = ELBO(process, steps=4).fitted(oracle(process), random_images(SHAPE)).reverse_std
    with pytest.raises(ValueError, match=r"no standard deviation was fitted for a step from t = 0.5 to 0,"):
        ELBO(process, steps=2, reverse_std=halves)
    with pytest.raises(ValueError, match="a grid of 3 times has 2 steps, got log_stddev for 3"):
        FittedStd(torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3, *SHAPE))
    with pytest.raises(ValueError, match="no data to fit"):
        ELBO(process, steps=5).fitted(oracle(process), [])


def test_bits_per_dim_are_explicit_and_add_up():
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0, schedule=CosineSchedule(-8.0, 8.0))
    density = ELBO(process, steps=5)(oracle(process), random_images(SHAPE), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"depend on the number of levels and the range.*GreyLevels\(levels=256"):
        density.bits_per_dim()
    bits = density.bits_per_dim(LEVELS)
    n = math.prod(SHAPE)
    # Sixteen steps of 1/8 from -1 to 1: three bits of a level's width.
    torch.testing.assert_close(bits.total, density.total / (n * math.log(2)) + 3, rtol=1e-12, atol=0)
    torch.testing.assert_close(bits.total, bits.prior + bits.diffusion + bits.reconstruction, rtol=1e-12, atol=0)

    decoder = GaussianDecoder(process, grey_levels=LEVELS)
    x = torch.randint(0, 17, (3, *SHAPE), dtype=torch.uint8)
    known = ELBO(process, steps=5, decoder=decoder)(oracle(process), x)
    torch.testing.assert_close(known.bits_per_dim().total, known.total / (n * math.log(2)), rtol=1e-12, atol=0)
    assert torch.equal(known.bits_per_dim(LEVELS).total, known.bits_per_dim().total)
    with pytest.raises(ValueError, match=r"decoder was made for .*levels=17.*got .*levels=256"):
        known.bits_per_dim(GreyLevels(count=256, low=0.0, high=1.0))


def test_defaults_are_what_the_docstring_says():
    found = ELBO(IsotropicDiffusion(SHAPE), steps=3)
    assert isinstance(found.prior, StandardNormalPrior)
    assert isinstance(found.decoder, GaussianDecoder)
    assert found.coupling == Markov()
    assert found.reverse_std == PosteriorStd()
    assert found.estimate == FullSum()
    assert "steps=3, first=0" in repr(found)
    assert "continuous time" in repr(ELBO(IsotropicDiffusion(SHAPE)))
