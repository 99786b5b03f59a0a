"""What the bound refuses, and how it says so; its defaults, and bits per dimension."""

import math

import pytest
import torch
from support import refusals, seeded
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
from unmelt.losses import ELBO, FullSum, LevelTimes, MonteCarlo, Stratified
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
X = random_images(SHAPE)


def heat(**settings):
    return HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, **{"sigma": 0.05, **settings})


def oracle(process):
    return GaussianOracle(process, torch.zeros(process.shape), torch.ones(process.shape))


def bound(process, **settings):
    exact = oracle(process)
    return ELBO(exact, **{"prior": OraclePrior(exact), **settings})


def plain(**settings):
    """A bound that needs nothing but a denoiser."""
    return ELBO(oracle(IsotropicDiffusion(SHAPE)), **settings)


def fitted(steps):
    return plain(steps=steps).fitted(X).reverse_std


class Fails(torch.nn.Module):
    """A network that returns NaN at one level."""

    def __init__(self, level, levels):
        super().__init__()
        self.time = level / levels

    def forward(self, z, t, condition=None):
        return torch.where((t - self.time).abs().reshape(-1, 1, 1, 1) < 1e-4, torch.nan, z)


def failing(level, levels, process=None, **settings):
    process = process or IsotropicDiffusion(SHAPE)
    return ELBO(Denoiser(Fails(level, levels), process, prediction=PredictX()), **settings)


def failing_heat(level):
    return failing(level, 10, heat(), prior=OraclePrior(oracle(heat())), coupling=Independent())


OTHER, SMALLER, QUIET = heat(sigma=0.1), IsotropicDiffusion((1, 4, 6)), EVERY_PROCESS["linear from 0"]

VALUES = [
    # Couplings and standard deviations that cost infinitely much.
    *(
        row
        for c in (Deterministic(), Eta(0.0))
        for row in (
            (lambda c=c: plain(steps=10, coupling=c), "has no variance in the step from t = .*Independent or Eta > 0"),
            (lambda c=c: plain(coupling=c), r"continuous time.*Markov\(\) with PosteriorStd\(\).*got (Det|Eta)"),
        )
    ),
    # Heat keeps its mean: under Markov that coefficient's posterior has no width, and any other is infinitely far.
    (
        lambda: bound(heat(), reverse_std=ConstantStd(0.1)),
        r"leaves a coefficient as it is under Markov.*ConstantStd\(delta=0.1\)",
    ),
    (
        lambda: bound(heat(), reverse_std=ForwardStd(), coupling=Independent()),
        r"ForwardStd\(\) has no noise in the step .* posterior of Independent\(\)",
    ),
    (
        lambda: bound(heat(), reverse_std=ConstantStd(0.0), coupling=Independent()),
        r"ConstantStd\(delta=0.0\) has no noise in the step .*ConstantStd\(delta\) with delta > 0",
    ),
    (lambda: ConstantStd(-0.1), "delta must be a standard deviation >= 0.*got -0.1"),
    (lambda: ConstantStd(math.inf), "delta must be a standard deviation >= 0.*got inf"),
    *(
        (lambda n=n: bound(EVERY_PROCESS[n], steps=5, coupling=Independent()), "has no noise at t = .*WithNoise")
        for n in ("cold", "no noise")
    ),
    # Continuous time.
    (lambda: plain(steps=math.inf, coupling=Independent()), "give a number of steps, or leave both out"),
    (lambda: plain(steps=math.inf, reverse_std=ConstantStd(0.1)), "give a number of steps, or leave both out"),
    (lambda: bound(QUIET), "no noise at t = 0.*first=1e-3"),
    (lambda: bound(QUIET, first=0.0), r"no noise at t = 0 in some coefficient.*first=\.\.\."),
    (lambda: plain(summation=FullSum()), "no last level to add up to.*MonteCarlo"),
    (lambda: plain().fitted(X), "in continuous time the best standard deviation is the posterior's"),
    # Numbers.
    (lambda: plain(steps=0), "at least two latents, got steps=0"),
    (lambda: plain(steps=2.5), "a whole number or math.inf, got 2.5"),
    (lambda: plain(steps=math.nan), "a whole number or math.inf, got nan"),
    (lambda: plain(steps=3, first=1.0), r"first must be a time in \[0, 1\), got 1.0"),
    (lambda: plain(times=torch.tensor([0.5, 0.2, 1.0])), "must rise strictly"),
    (lambda: plain(times=torch.tensor([0.5, 0.9])), "must rise strictly"),
    (lambda: plain(times=torch.tensor([0.5, 1.0]), steps=3), "times are the whole grid"),
    (lambda: plain(rows=0), "rows must be at least 1, got 0"),
    (lambda: plain(summation=MonteCarlo(times=LevelTimes(3)), steps=6), "never draws level 1 of 6"),
    (lambda: plain(summation=MonteCarlo(times=LevelTimes(3))), "draws 3 levels only, and continuous time has more"),
    (lambda: plain(summation=MonteCarlo(times=Stratified(LevelTimes(4096)))), "draws 4096 levels only"),
    (lambda: MonteCarlo(draws=0), "draws must be at least 1, got 0"),
    (lambda: FullSum(replicates=0), "replicates must be at least 1, got 0"),
    (lambda: MonteCarlo(replicates=0), "replicates must be at least 1, got 0"),
    # Parts of another process or grid.
    (lambda: bound(heat(), prior=OraclePrior(oracle(OTHER))), "the prior was made for another process"),
    (lambda: bound(heat(), decoder=GaussianDecoder(OTHER)), "the decoder was made for another process"),
    # Pixels have no table that would tell: the shape itself does.
    (lambda: plain(prior=StandardNormalPrior(SMALLER)), r"another process \(IsotropicDiffusion of shape \(1, 4, 6\)\)"),
    (lambda: plain(decoder=GaussianDecoder(SMALLER)), r"another process \(IsotropicDiffusion of shape \(1, 4, 6\)\)"),
    (
        lambda: plain(steps=6, reverse_std=fitted(5)),
        "no standard deviation was fitted for a step from t = .*the 5 steps of",
    ),
    # Half of its grid's times: every t is known, the steps are not.
    (lambda: plain(steps=2, reverse_std=fitted(4)), "no standard deviation was fitted for a step from t = 0.5 to 0,"),
    (
        lambda: FittedStd(torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3, *SHAPE)),
        "a grid of 3 times has 2 steps, got log_stddev for 3",
    ),
    # Data.
    (lambda: plain(steps=5)(X[:0]), "x holds no example"),
    (lambda: plain(steps=5).fitted(X[:0]), "no data to fit"),
    (lambda: plain(steps=5).fitted([]), "no data to fit"),
    (lambda: plain(steps=5)(X * torch.nan), "x holds NaN or infinity"),
    *(
        (lambda d=d, x=x: plain(steps=5, decoder=d(IsotropicDiffusion(SHAPE), grey_levels=LEVELS))(x), words)
        for d in (GaussianDecoder, DiscretisedGaussianDecoder)
        for x, words in (
            (X + 2, "outside the declared range"),
            (torch.full(X.shape, 17), "17"),
        )
    ),
    (
        lambda: plain(steps=5)(X).bits_per_dim(),
        r"depend on the number of levels and the range.*GreyLevels\(count=256",
    ),
]
KINDS = [
    (lambda: ELBO(torch.nn.Identity()), "denoiser must be an AbstractDenoiser"),
    (lambda: plain(prior=1.0), "prior must be a Prior"),
    (lambda: plain(decoder=0.1), "decoder must be a Decoder"),
    (lambda: plain(coupling="markov"), "coupling must be a Coupling"),
    (lambda: plain(reverse_std=0.0125), "reverse_std must be a ReverseStd"),
    (lambda: plain(steps="10"), "steps must be an int or a float"),
    (lambda: plain(rows=1.5), "rows must be an int"),
    (lambda: plain(times=[0.1, 1.0]), "times must be a Tensor"),
    (lambda: plain(summation="all"), "summation must be a Summation"),
    (lambda: plain(summation=FullSum), "summation must be a Summation.*the class FullSum itself"),
    (lambda: MonteCarlo(times="uniform"), "times must be a TimeDistribution"),
    (lambda: plain(steps=5)(X).bits_per_dim(256), "grey_levels must be a GreyLevels"),
    (lambda: GaussianDecoder(IsotropicDiffusion(SHAPE), LEVELS), "stddev must be"),
    (
        lambda: plain(steps=5)(torch.zeros((3, *SHAPE), dtype=torch.uint8)),
        r"integer data \(torch.uint8\) without levels.*GreyLevels\(count=256",
    ),
]
# A NaN is traced to its level: level 0 is the data where the first latent comes after it.
NANS = [
    *((lambda k=k: failing_heat(k)(X), f"NaN or infinity at level {k} of 10, t = {k / 10:g}") for k in (1, 2, 7, 10)),
    *((lambda k=k: failing(k, 5, steps=5)(X), f"at level {k} of 5, t = {k / 5:g}") for k in (0, 3, 5)),
    (lambda: failing(0, 1)(X), "returned NaN or infinity at t = 0, for example 0 of 2"),
]


@refusals(
    *((call, ValueError, words) for call, words in VALUES),
    *((call, TypeError, words) for call, words in KINDS),
    *((call, FloatingPointError, words) for call, words in NANS),
)
@pytest.mark.usefixtures("as_in_production")
def test_refusals_say_what_to_do(call, error, words):
    with pytest.raises(error, match=words):
        call()


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
    density = ELBO(oracle(process), steps=5)(X, generator=seeded(0))
    bits = density.bits_per_dim(LEVELS)
    n = math.prod(SHAPE)
    # Sixteen steps of 1/8 from -1 to 1: three bits of a level's width.
    torch.testing.assert_close(bits.total, density.total / (n * math.log(2)) + 3, rtol=1e-12, atol=0)
    torch.testing.assert_close(bits.total, bits.prior + bits.diffusion + bits.reconstruction, rtol=1e-12, atol=0)

    decoder = GaussianDecoder(process, grey_levels=LEVELS)
    x = torch.randint(0, 17, (3, *SHAPE), dtype=torch.uint8, generator=seeded(7))
    known = ELBO(oracle(process), steps=5, decoder=decoder)(x)
    torch.testing.assert_close(known.bits_per_dim().total, known.total / (n * math.log(2)), rtol=1e-12, atol=0)
    assert torch.equal(known.bits_per_dim(LEVELS).total, known.bits_per_dim().total)
    with pytest.raises(ValueError, match=r"decoder was made for .*count=17.*got .*count=256"):
        known.bits_per_dim(GreyLevels(count=256, low=0.0, high=1.0))


def test_defaults_are_what_the_docstring_says():
    found = plain(steps=3)
    assert isinstance(found.prior, StandardNormalPrior)
    assert isinstance(found.decoder, GaussianDecoder)
    assert found.coupling == Markov()
    assert found.reverse_std == PosteriorStd()
    assert found.summation == FullSum()
    assert "steps=3, first=0" in repr(found)
    assert "continuous time" in repr(plain())
