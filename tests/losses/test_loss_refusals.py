"""What losses, weightings, distributions of times, bounds and likelihoods refuse, and in which words."""

import math

import pytest
import torch
from bound_cases import LEVELS, SHAPE, X, exact, heat, plain
from flow_cases import StandardNormalish
from problems import by_bins, by_levels, cosine, gaussian
from support import SoftNetwork, refusals
from torch import nn
from torch.nn import functional
from weighting_cases import ALL, Fixed
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    ChangedBasis,
    ColdBlur,
    ConstantNoise,
    CosineSchedule,
    Deterministic,
    EigenBasis,
    Eta,
    HaarBasis,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearSchedule,
    Pixelation,
    PixelBasis,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictX,
    RectifiedFlowSchedule,
)
from unmelt.losses import (
    ELBO,
    BoundWeighting,
    ClosedFormTrace,
    DenoisingLoss,
    EDMWeighting,
    ExactTrace,
    FlowLikelihood,
    FrequencyWeighting,
    FullSum,
    HutchinsonTrace,
    LearnedLogVariance,
    LevelTimes,
    LogNormalTimes,
    LogSNRTimes,
    LossAwareTimes,
    MinSNRWeighting,
    MonteCarlo,
    P2Weighting,
    PowerLawWeighting,
    SigmoidWeighting,
    SimpleWeighting,
    Stratified,
    UniformTimes,
    Weighting,
)
from unmelt.models import (
    ConstantStd,
    Denoiser,
    DiscretisedGaussianDecoder,
    FittedStd,
    ForwardStd,
    GaussianDecoder,
    GreyLevels,
    MarginalStd,
    OraclePrior,
    StandardNormalPrior,
)

NAN, INF = math.nan, math.inf
HEAT, OTHER, COLD = heat(), heat(sigma=0.1), ColdBlur(SHAPE)
ISOTROPIC, SMALLER = IsotropicDiffusion(SHAPE), IsotropicDiffusion((1, 4, 6))
QUIET = IsotropicDiffusion(SHAPE, LinearSchedule())
# Its factor 1 / alpha of the level before is exp(60), whose square float32 has not.
STEEP = HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=2, blur_sigma_min=3.0)
WEIGHT = nn.Parameter(torch.ones(SHAPE))
ONE, SIMPLE, POWER_LAW = X[:1], SimpleWeighting(), PowerLawWeighting(1.0)


# ---- the training loss --------------------------------------------------------------------------------------------


class PerExample(Weighting):
    """A user's weighting that forgets the signal's axes."""

    def weight(self, at):
        return at.t


def loss(process=HEAT, prediction=None, dtype=torch.float64, **settings):
    return DenoisingLoss(Fixed(process, prediction or PredictX(), torch.zeros_like(X, dtype=dtype)), **settings)


def factors(values, base=SIMPLE):
    return FrequencyWeighting(base, torch.as_tensor(values))


def on(basis):
    return ChangedBasis(IsotropicDiffusion(basis.shape), basis)


LOSSES = [
    (
        lambda: loss()(X, condition=torch.zeros(1)),
        ValueError,
        r"condition must have one entry for each of 2 rows",
    ),
    (lambda: loss()(X[:0]), ValueError, "x holds no example: a loss needs at least one"),
    (lambda: DenoisingLoss(HEAT), TypeError, "denoiser must be an AbstractDenoiser"),
    (lambda: loss()(X, t=0.5, drawn=0.5), ValueError, "t and drawn are both times .* only one can be given"),
    (lambda: loss(weighting=PredictX()), TypeError, "weighting must be a Weighting"),
    (lambda: loss(times=0.5), TypeError, "times must be a TimeDistribution"),
    (lambda: loss(reduction="mean"), TypeError, "reduction must be a Reduction"),
    (lambda: loss(log_variance=1.0), TypeError, "log_variance must be a LearnedLogVariance"),
    (lambda: loss()(X.byte()), TypeError, r"torch.uint8.*x.float\(\) / 255"),
    # settings of weightings
    (lambda: LearnedLogVariance(features=0), ValueError, "features must be at least 1, got 0"),
    (lambda: MinSNRWeighting(0.0), ValueError, "gamma must be positive.*got 0.0"),
    (lambda: MinSNRWeighting(NAN), ValueError, "gamma must be positive.*got nan"),
    (lambda: P2Weighting(gamma=-1.0), ValueError, "gamma must be finite and at least 0.*got -1.0"),
    (lambda: P2Weighting(k=0.0), ValueError, "k must be positive and finite.*got 0.0"),
    (lambda: EDMWeighting(0.0), ValueError, "data_stddev must be positive and finite.*got 0.0"),
    (lambda: EDMWeighting(INF), ValueError, "data_stddev must be positive and finite.*got inf"),
    (lambda: SigmoidWeighting(INF), ValueError, "bias must be a finite log-SNR, got inf.*BoundWeighting"),
    (lambda: SimpleWeighting(PredictX), TypeError, "in_terms_of must be a Prediction.*class PredictX itself"),
    (lambda: SIMPLE.weight(ISOTROPIC.at(0.5)), ValueError, "whichever that is: name it.*PredictX"),
    (lambda: factors(1.0, PredictX()), TypeError, "base must be a Weighting"),
    (lambda: FrequencyWeighting(SIMPLE, 1.0), TypeError, "factors must be a Tensor"),
    (lambda: factors([1, 1, 1]), TypeError, "factors must be floating-point"),
    (lambda: factors(-1.0), ValueError, "finite and at least 0.*-1"),
    (lambda: factors([1.0, INF]), ValueError, "finite and at least 0"),
    (lambda: factors([1.0, NAN]), ValueError, "finite and at least 0"),
    (lambda: factors([0.0, 0.0]), ValueError, "factors must not all be 0"),
    (lambda: PowerLawWeighting(INF), ValueError, "exponent must be finite"),
    # what a process lacks: one more axis than a signal has could only be the batch's
    *(
        (
            lambda shape=shape: loss(weighting=factors(torch.ones(shape))),
            ValueError,
            r"factors must broadcast to one signal's shape \(2, 4, 6\), got \(",
        )
        for shape in ((5,), (2, 2, 4, 6), (1, 2, 4, 6))
    ),
    *(
        (lambda b=b: POWER_LAW.bind(on(b)), TypeError, "needs eigenvalues.*pass factors to FrequencyWeighting")
        for b in (HaarBasis((1, 4, 4)), PixelBasis((1, 4, 4)))
    ),
    (
        lambda: POWER_LAW.bind(on(EigenBasis((2,), torch.diag(torch.tensor([-1.0, 1.0]))))),
        ValueError,
        "eigenvalues of at least 0.*-1",
    ),
    *(
        (
            lambda name=name: loss(COLD, weighting=ALL[name][0]),
            ValueError,
            "weighs errors of the noise.*ColdBlur has none|cannot be converted stably",
        )
        for name in sorted(set(ALL) - {"x"})
    ),
    (
        lambda: loss(COLD, weighting=factors(1.0, MinSNRWeighting())),
        ValueError,
        "MinSNRWeighting weighs errors of the noise",
    ),
    (
        lambda: loss(HeatDissipation((1, 32, 32)), weighting=SimpleWeighting(PredictEpsilon())),
        ValueError,
        "PredictEpsilon cannot be converted stably by HeatDissipation.*use PredictX",
    ),
    # weights that are no finite numbers
    (
        lambda: loss(QUIET, weighting=SimpleWeighting(PredictEpsilon()))(X, t=0.0),
        ValueError,
        "SimpleWeighting multiplies the error of PredictX by inf at t = 0, coefficient.*times away from that",
    ),
    (
        lambda: loss(QUIET, PredictEpsilon(), weighting=BoundWeighting())(X, t=torch.tensor([0.5, 0.0])),
        ValueError,
        "BoundWeighting multiplies the error of PredictEpsilon by inf at t = 0, ",
    ),
    (
        lambda: loss(STEEP, PredictPreviousLevel(), torch.float32, weighting=SimpleWeighting(PredictX()))(
            X.float(), t=1.0
        ),
        ValueError,
        r"1.84e\+19 is the most",
    ),
    (
        lambda: loss(weighting=PerExample())(X, t=torch.tensor([0.5, 0.4])),
        ValueError,
        r"PerExample.weight.*shape \(2,\).*must broadcast to .*at.log_snr does",
    ),
]


# ---- times --------------------------------------------------------------------------------------------------------


def isotropic(schedule):
    return IsotropicDiffusion((1, 2, 2), schedule)


SAMPLERS = [
    UniformTimes(),
    LevelTimes(4),
    LogSNRTimes().bind(cosine((1, 2, 2))),
    by_levels(4),
    by_bins(4),
    Stratified(UniformTimes()).bind(ISOTROPIC),
]
TIMES = [
    (lambda: LevelTimes(0), ValueError, "levels must be at least 1, got 0"),
    (lambda: LevelTimes().bind(ISOTROPIC), ValueError, "IsotropicDiffusion has none: give a number"),
    (lambda: LevelTimes().cdf(torch.ones(1)), ValueError, r"from a process: LevelTimes\(\).bind\(process\)"),
    (lambda: LossAwareTimes(bins=0), ValueError, "bins must be at least 1, got 0"),
    (lambda: LossAwareTimes(history=0), ValueError, "history must be at least 1, got 0"),
    (lambda: LossAwareTimes(uniform=0.0), ValueError, r"share in \(0, 1\], got 0.0: .*never met again"),
    (lambda: LossAwareTimes(uniform=1.5), ValueError, r"share in \(0, 1\], got 1.5"),
    (
        lambda: by_levels(4).update(torch.ones(2), torch.ones(3)),
        ValueError,
        r"both have shape \(batch,\), got \(2,\) and \(3,\): one time",
    ),
    (lambda: Stratified(LevelTimes), TypeError, r"of must be a TimeDistribution or .*the class LevelTimes"),
    # noise levels
    (
        lambda: LogSNRTimes().bind(isotropic(RectifiedFlowSchedule())),
        ValueError,
        "infinite at t = 0, without noise.*log_snr_min=-10.0.*LogNormalTimes",
    ),
    *(
        (lambda made=made, process=process: made().bind(process), ValueError, words + r".*UniformTimes\(\)")
        for made in (LogNormalTimes, LogSNRTimes)
        for process, words in (
            (COLD, "ColdBlur is infinite not only at t = 0 but"),
            (Pixelation((1, 4, 4)), "Pixelation is infinite not only at t = 1 but"),
            (isotropic(ConstantNoise(0.01)), "IsotropicDiffusion is constant, 9.21034, "),
        )
    ),
    (
        lambda: LogNormalTimes(mean=1000.0).bind(isotropic(CosineSchedule())),
        ValueError,
        r"from -5 to 5, where a normal distribution of mean 1000.0 and .* 1.2 has nothing",
    ),
    *(
        (lambda m=m, s=s: LogNormalTimes(m, s), ValueError, f"std positive and finite, got {m} and {s}")
        for m, s in ((0.0, 0.0), (0.0, -1.0), (INF, 1.0), (0.0, NAN))
    ),
    # every distribution
    *(
        row
        for times in SAMPLERS
        for row in (
            *(
                (
                    lambda times=times, u=u: times.quantile(torch.tensor([0.5, u])),
                    ValueError,
                    rf"u must lie in \[0, 1\), got {u:.3}",
                )
                for u in (-0.1, 1.0, 1.5, NAN)
            ),
            *(
                (
                    lambda times=times, name=name, t=t: getattr(times, name)(torch.tensor([0.5, t])),
                    ValueError,
                    rf"t must lie in \[0, 1\] .*got {t:.3}",
                )
                for name in ("cdf", "density", "correction")
                for t in (-0.1, 1.5, NAN)
            ),
            (lambda times=times: times.cdf(torch.tensor([3])), TypeError, "torch.int64: pass level / levels"),
        )
    ),
]


# ---- bounds -------------------------------------------------------------------------------------------------------


class Fails(nn.Module):
    """A network that returns NaN at one level."""

    def __init__(self, level, levels):
        super().__init__()
        self.time = level / levels

    def forward(self, z, t, condition=None):
        return torch.where((t - self.time).abs().reshape(-1, 1, 1, 1) < 1e-4, torch.nan, z)


def failing(level, levels, process=ISOTROPIC, **settings):
    return ELBO(Denoiser(Fails(level, levels), process, prediction=PredictX()), **settings)


def failing_heat(level):
    return failing(level, 10, HEAT, prior=OraclePrior(gaussian(HEAT)), coupling=Independent())


def fitted(steps):
    return plain(steps=steps).fitted(X)


def of_integers(kind, **settings):
    return plain(steps=5, decoder=kind(ISOTROPIC, grey_levels=LEVELS), **settings)


BOUNDS = [
    # couplings and standard deviations that cost infinitely much
    *(
        row
        for c in (Deterministic(), Eta(0.0))
        for row in (
            (
                lambda c=c: plain(steps=10, coupling=c),
                ValueError,
                "has no variance in the step from t = .*Independent or Eta > 0",
            ),
            (
                lambda c=c: plain(coupling=c),
                ValueError,
                r"continuous time.*Markov\(\) with PosteriorStd\(\).*got (Det|Eta)",
            ),
        )
    ),
    # Heat keeps its mean: under Markov that coefficient's posterior has no width, and any other is infinitely far.
    (
        lambda: exact(HEAT, reverse_std=ConstantStd(0.1)),
        ValueError,
        r"leaves a coefficient as it is under Markov.*ConstantStd\(delta=0.1\)",
    ),
    (
        lambda: exact(HEAT, reverse_std=ForwardStd(), coupling=Independent()),
        ValueError,
        r"ForwardStd\(\) has no noise in the step .* posterior of Independent\(\)",
    ),
    (
        lambda: exact(HEAT, reverse_std=ConstantStd(0.0), coupling=Independent()),
        ValueError,
        r"ConstantStd\(delta=0.0\) has no noise in the step .*ConstantStd\(delta\) with delta > 0",
    ),
    (
        lambda: exact(HEAT, reverse_std=MarginalStd(0.0), coupling=Independent()),
        ValueError,
        r"MarginalStd\(times_sigma=0.0\) has no noise in the step .*ConstantStd\(delta\) with delta > 0",
    ),
    *(
        (
            lambda n=n: exact(EVERY_PROCESS[n], steps=5, coupling=Independent()),
            ValueError,
            "has no noise at t = .*WithNoise",
        )
        for n in ("cold", "no noise")
    ),
    (lambda: ConstantStd(-0.1), ValueError, "delta must be a standard deviation >= 0.*got -0.1"),
    (lambda: ConstantStd(INF), ValueError, "delta must be a standard deviation >= 0.*got inf"),
    (lambda: MarginalStd(-0.1), ValueError, "times_sigma must be finite and at least 0 .*such as 1.25.*got -0.1"),
    (lambda: MarginalStd("1"), TypeError, "times_sigma must be a number, got '1'"),
    (lambda: MarginalStd(INF), ValueError, "times_sigma must be finite and at least 0.*got inf"),
    # continuous time
    (lambda: plain(steps=INF, coupling=Independent()), ValueError, "give a number of steps, or leave both out"),
    (lambda: plain(steps=INF, reverse_std=ConstantStd(0.1)), ValueError, "give a number of steps, or leave both out"),
    (lambda: exact(QUIET), ValueError, "no noise at t = 0 in some coefficient.*first=1e-3"),
    (lambda: exact(QUIET, first=0.0), ValueError, "no noise at t = 0 in some coefficient.*first=1e-3"),
    (lambda: plain(summation=FullSum()), ValueError, "no last level to add up to.*MonteCarlo"),
    (lambda: plain().fitted(X), ValueError, "in continuous time the best standard deviation is the posterior's"),
    # numbers
    (lambda: plain(steps=0), ValueError, "at least two latents, got steps=0"),
    (lambda: plain(steps=2.5), ValueError, "a whole number or math.inf, got 2.5"),
    (lambda: plain(steps=NAN), ValueError, "a whole number or math.inf, got nan"),
    (lambda: plain(steps=3, first=1.0), ValueError, r"first must be a time in \[0, 1\), got 1.0"),
    (lambda: plain(times=torch.tensor([0.5, 0.2, 1.0])), ValueError, "must rise strictly"),
    (lambda: plain(times=torch.tensor([0.5, 0.9])), ValueError, "must rise strictly"),
    (lambda: plain(times=torch.tensor([0.5, 1.0]), steps=3), ValueError, "times are the whole grid"),
    (lambda: plain(rows=0), ValueError, "rows must be at least 1, got 0"),
    (lambda: plain(summation=MonteCarlo(times=LevelTimes(3)), steps=6), ValueError, "never draws level 1 of 6"),
    (lambda: plain(summation=MonteCarlo(times=LevelTimes(3))), ValueError, "draws 3 levels only, and continuous time"),
    (lambda: plain(summation=MonteCarlo(times=Stratified(LevelTimes(9)))), ValueError, "draws 9 levels only"),
    (lambda: MonteCarlo(draws=2.5), TypeError, "draws must be an integer, got 2.5"),
    (lambda: MonteCarlo(draws=0), ValueError, "draws must be at least 1, got 0"),
    (lambda: FullSum(replicates=0), ValueError, "replicates must be at least 1, got 0"),
    (lambda: MonteCarlo(replicates=0), ValueError, "replicates must be at least 1, got 0"),
    # parts of another process or grid; pixels have no table that would tell: the shape itself does
    (lambda: exact(HEAT, prior=OraclePrior(gaussian(OTHER))), ValueError, "the prior was made for another process"),
    (lambda: exact(HEAT, decoder=GaussianDecoder(OTHER)), ValueError, "the decoder was made for another process"),
    *(
        (lambda part=part: plain(**part), ValueError, r"another process \(IsotropicDiffusion of shape \(1, 4, 6\)\)")
        for part in ({"prior": StandardNormalPrior(SMALLER)}, {"decoder": GaussianDecoder(SMALLER)})
    ),
    (
        lambda: plain(steps=6, reverse_std=fitted(5).reverse_std),
        ValueError,
        "no standard deviation was fitted for a step from t = .*the 5 steps of",
    ),
    # Half of its grid's times: every t is known, the steps are not.
    (
        lambda: plain(steps=2, reverse_std=fitted(4).reverse_std),
        ValueError,
        "no standard deviation was fitted for a step from t = 0.5 to 0,",
    ),
    (
        lambda: FittedStd(torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3, *SHAPE)),
        ValueError,
        "a grid of 3 times has 2 steps, got log_stddev for 3",
    ),
    # a stored bound
    *(
        (lambda made=made: made().load_fitted_state(fitted(5).fitted_state()), ValueError, words)
        for made, words in (
            (lambda: plain(steps=6), "one of 5 steps from t = 0, this bound has 6 steps from t = 0"),
            (lambda: plain(steps=5, first=0.1), "this bound has 5 steps from t = 0.1"),
            (plain, "this bound has continuous time"),
            (
                lambda: ELBO(gaussian(SMALLER), steps=5),
                r"one of signals of shape \(2, 4, 6\), not \(1, 4, 6\)",
            ),
        )
    ),
    (lambda: plain(steps=5).fitted_state(), ValueError, "nothing was fitted"),
    (
        lambda: plain(steps=5).load_fitted_state({}),
        ValueError,
        "state holds reverse_std.times, .*, got nothing",
    ),
    # data
    (lambda: plain(steps=5)(X[:0]), ValueError, "x holds no example"),
    (
        lambda: plain(steps=5)(X, condition=torch.zeros(1)),
        ValueError,
        r"condition must have one entry for each of 2 rows, got shape \(1,\)",
    ),
    (lambda: plain(steps=5).fitted(X[:0]), ValueError, "no data to fit"),
    (lambda: plain(steps=5).fitted([]), ValueError, "no data to fit"),
    (
        lambda: plain(steps=5).fitted([(X, {"image": X[:1]})]),
        ValueError,
        "a batch's condition must have one entry for each of 2 rows",
    ),
    (lambda: plain(steps=5)(X * NAN), ValueError, "x holds NaN or infinity"),
    *(
        (lambda kind=kind, x=x: of_integers(kind)(x), ValueError, words)
        for kind in (GaussianDecoder, DiscretisedGaussianDecoder)
        for x, words in ((X + 2, "outside the declared range"), (torch.full(X.shape, 17), "levels 0 to 16, got 17"))
    ),
    (
        lambda: plain(steps=5)(X.byte()),
        TypeError,
        r"integer data \(torch.uint8\) without levels.*GreyLevels\(count=256",
    ),
    (
        lambda: plain(steps=5)(X).bits_per_dim(),
        ValueError,
        r"depend on the number of levels and the range.*GreyLevels\(count=256",
    ),
    (lambda: plain(steps=5)(X).bits_per_dim(256), TypeError, "grey_levels must be a GreyLevels"),
    (
        lambda: of_integers(GaussianDecoder)(X.long()).bits_per_dim(GreyLevels(count=256, low=0.0, high=1.0)),
        ValueError,
        "decoder was made for .*count=17.*got .*count=256",
    ),
    # kinds
    (lambda: ELBO(nn.Identity()), TypeError, "denoiser must be an AbstractDenoiser"),
    (lambda: plain(prior=1.0), TypeError, "prior must be a Prior"),
    (lambda: plain(decoder=0.1), TypeError, "decoder must be a Decoder"),
    (lambda: plain(coupling="markov"), TypeError, "coupling must be a Coupling"),
    (lambda: plain(reverse_std=0.0125), TypeError, "reverse_std must be a ReverseStd"),
    (lambda: plain(steps="10"), TypeError, "steps must be an int or a float"),
    (lambda: plain(rows=1.5), TypeError, "rows must be an integer, got 1.5"),
    (lambda: plain(times=[0.1, 1.0]), TypeError, "times must be a Tensor"),
    (lambda: plain(summation="all"), TypeError, "summation must be a Summation"),
    (lambda: plain(summation=FullSum), TypeError, "summation must be a Summation.*the class FullSum itself"),
    (lambda: MonteCarlo(times="uniform"), TypeError, "times must be a TimeDistribution"),
    # A NaN is traced to its level: level 0 is the data where the first latent comes after it.
    *(
        (
            lambda k=k: failing_heat(k)(X),
            FloatingPointError,
            f"NaN or infinity at level {k} of 10, t = {k / 10:g}",
        )
        for k in (1, 2, 7, 10)
    ),
    *(
        (lambda k=k: failing(k, 5, steps=5)(X), FloatingPointError, f"at level {k} of 5, t = {k / 5:g}")
        for k in (0, 3, 5)
    ),
    (lambda: failing(0, 1)(X), FloatingPointError, "returned NaN or infinity at t = 0, for example 0 of 2"),
]


# ---- the flow's likelihood ----------------------------------------------------------------------------------------


class Says(nn.Module):
    def __init__(self, say):
        super().__init__()
        self.say = say

    def forward(self, z, t, condition=None):
        return self.say(z, t)


ANY = gaussian(cosine(SHAPE))


def flow(denoiser=ANY, **settings):
    return FlowLikelihood(denoiser, prior=StandardNormalish(denoiser.process), **settings)


def saying(say):
    return Denoiser(Says(say), cosine(SHAPE), prediction=PredictX())


FLOWS = [
    (lambda: flow().log_prob(X[0]), ValueError, r"z must have shape \(batch, 2, 4, 6\), got \(2, 4, 6"),
    (lambda: flow().log_prob(X.long()), TypeError, "z must be a real floating-point tensor"),
    (lambda: flow().encode(X[:0]), ValueError, "z holds no example: a batch of latents needs"),
    (
        lambda: flow(gaussian(QUIET)).log_prob(X),
        ValueError,
        "no noise in some coefficient at t = 0.0.*first=1e-3",
    ),
    (lambda: flow(gaussian(COLD)).log_prob(X, t=0.5), ValueError, "no noise in some .* at t = 0.5.*process with noise"),
    *(
        (lambda t=t: flow(first=t), ValueError, f"first must be one time in .0, 1., .*got {t}")
        for t in (-0.1, 1.5, NAN)
    ),
    (lambda: flow().log_prob(X, t=1.5), ValueError, "t must be one time in .0, 1., .*got 1.5"),
    *(
        (lambda n=n, v=v: flow(**{n: v}), ValueError, f"{n} must be a finite number > 0.*got {v}")
        for n, v in (("rtol", 0.0), ("rtol", NAN), ("atol", -1.0), ("atol", INF))
    ),
    (lambda: flow(most_calls=0), ValueError, "most_calls must be at least 1, got 0"),
    (
        lambda: FlowLikelihood(ANY, prior=StandardNormalish(HEAT)),
        ValueError,
        "the prior was made for another process.*HeatDissipation",
    ),
    (
        lambda: FlowLikelihood(gaussian(ISOTROPIC), decoder=GaussianDecoder(HEAT)),
        ValueError,
        "the decoder was made for another process.*HeatDissipation",
    ),
    (lambda: FlowLikelihood(cosine(SHAPE)), TypeError, "denoiser must be an AbstractDenoiser"),
    (lambda: FlowLikelihood(ANY, prior=3), TypeError, "prior must be a Prior, StandardNormalPrior"),
    (lambda: flow(trace=ExactTrace), TypeError, "trace must be a Trace .*ExactTrace itself"),
    (lambda: HutchinsonTrace(probes=0), ValueError, "probes must be at least 1, got 0"),
    (
        lambda: flow(Denoiser(SoftNetwork(), cosine(SHAPE), prediction=PredictX()), trace=ClosedFormTrace()).log_prob(
            ONE
        ),
        TypeError,
        "Denoiser has no method jacobian_diagonal.*HutchinsonTrace",
    ),
    (
        lambda: flow(saying(lambda z, t: z / (t < 0.7).reshape(-1, 1, 1, 1))).log_prob(0 * ONE),
        ValueError,
        "Denoiser returns infinite or NaN at t = 0.[789]",
    ),
    *(
        (lambda say=say: flow(saying(say)).log_prob(ONE), ValueError, "has no derivative with respect to .*no_grad")
        for say in (lambda z, t: WEIGHT.expand_as(z), lambda z, t: z.detach())
    ),
    (
        lambda: flow(saying(lambda z, t: functional.dropout(z, 0.5)), most_calls=60).log_prob(ONE + 1),
        RuntimeError,
        r"after 6\d calls .*denoiser.eval\(\)",
    ),
]


@refusals(*LOSSES, *TIMES, *BOUNDS, *FLOWS)
@pytest.mark.usefixtures("as_in_production")
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
