"""What is of the wrong kind is refused where it is passed, in words that say what to pass instead."""

import numpy as np
import pytest
import torch

from unmelt.degradations import (
    BlurringDiffusion,
    ChangedBasis,
    ChannelGroups,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    EqualSNR,
    FittedSpectrum,
    FlippedSNR,
    GaussianBlur,
    GivenVariance,
    GraphHeat,
    HaarBasis,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LogSNRSchedule,
    PixelBasis,
    PixelMask,
    SequentialMasking,
    SineBlur,
    SpectralDiffusion,
    VariancePreserving,
    WithNoise,
    equal_variance_blur,
    estimate_spectrum,
)
from unmelt.models import GaussianPrior

S = (1, 4, 4)
X = torch.rand(3, *S)

pytestmark = pytest.mark.usefixtures("as_in_production")


class Shapeless(LinearGaussianProcess):
    """A shape where a basis belongs."""

    def __init__(self):
        super().__init__(S)

    def log_alpha(self, t):
        return -t

    def log_sigma(self, t):
        return -t


class Numbers(LinearGaussianProcess):
    def __init__(self, number):
        super().__init__(PixelBasis(S))
        self.number = number

    def log_alpha(self, t):
        return -self.expand_times(t)

    def log_sigma(self, t):
        return self.number


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Shapeless, r"basis must be a Basis, .*CosineBasis\(shape\).*; got \(1, 4, 4\)"),
        (
            lambda: Numbers(-3.0).marginal(X, 0.5),
            r"Numbers.log_sigma\(t\) returns must be a Tensor.*full_like.*got -3.0",
        ),
        (lambda: Numbers(np.zeros(S)).marginal(X, 0.5), r"Numbers.log_sigma\(t\) returns must be a Tensor.*full_like"),
        (lambda: IsotropicDiffusion(S, "linear"), "schedule must be a Schedule, .*got 'linear'"),
        (lambda: IsotropicDiffusion(S, CosineSchedule), "schedule must be .*got the class CosineSchedule itself"),
        (lambda: BlurringDiffusion(S, schedule="cosine"), "noise must be a Schedule.*got 'cosine'"),
        (lambda: LogSNRSchedule(lambda t: -t, VariancePreserving), "convention must be .*the class VariancePreserving"),
        (lambda: GaussianBlur(S, 12.0, ConstantNoise()), "blur must be a BlurSchedule.*got 12.0"),
        (lambda: GaussianBlur(S, SineBlur(), 0.01), "noise must be a Schedule.*got 0.01"),
        (lambda: GaussianBlur(S, SineBlur(), ConstantNoise(), boundary=HaarBasis), "boundary must be CosineBasis"),
        (lambda: HeatDissipation(S, levels=20.5), "levels must be an int.*got 20.5"),
        (lambda: WithNoise(HeatDissipation(S), 0.01), "noise must be a Schedule.*got 0.01"),
        (lambda: WithNoise(HeatDissipation, ConstantNoise()), "process must be .*the class HeatDissipation itself"),
        (lambda: ChangedBasis(HeatDissipation(S), HaarBasis), "basis must be a Basis.*the class HaarBasis itself"),
        (
            lambda: ChannelGroups(CosineBasis(S), [HeatDissipation]),
            "each of processes must be .*the class HeatDissipation",
        ),
        (lambda: PixelMask(S, 0.3), "onset must be a Tensor.*got 0.3"),
        (lambda: PixelMask(8), "shape must be a sequence of integers"),
        (
            lambda: SequentialMasking(PixelBasis(S), torch.zeros(()), duration=0.5, noise=0.1),
            "noise must be a Schedule",
        ),
        (lambda: SpectralDiffusion(S, GivenVariance(PixelBasis, 1.0)), "variance must be a Tensor.*got 1.0"),
        (lambda: SpectralDiffusion(S, torch.ones(())), "noise must be a NoiseSpectrum, PowerLaw.*got tensor"),
        (lambda: SpectralDiffusion(S, EqualSNR(X)), "spectrum must be a DataSpectrum, estimate_spectrum.*got tensor"),
        (
            lambda: SpectralDiffusion(S, FlippedSNR(FittedSpectrum())),
            "spectrum must be a DataSpectrum.*resolve.*got FittedSp",
        ),
        (lambda: equal_variance_blur(X, maximum=3.0, levels=5), "spectrum must be a DataSpectrum"),
        (lambda: GaussianPrior(HeatDissipation(S), X), "spectrum must be a DataSpectrum"),
        (lambda: GraphHeat((1, 4), np.eye(4)), "laplacian must be a Tensor"),
        (
            lambda: GraphHeat((1, 4), torch.eye(4).to_sparse()),
            r"laplacian must be a dense matrix.*laplacian.to_dense\(\)",
        ),
        (lambda: HeatDissipation(S).marginal(X.numpy(), 0.5), r"x must be a Tensor, torch.as_tensor"),
        (lambda: HeatDissipation(S).posterior(X, X, 0.2, 0.5, Independent), "coupling must be .*the class Independent"),
        (
            lambda: estimate_spectrum(PixelBasis(S), [[X, torch.zeros(3)]]),
            r"x must be a Tensor.*\(image, label\) pairs",
        ),
    ],
)
def test_it_is_refused_at_once(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="every size at least 1"):
        PixelMask((3, -1, 8))


def test_a_subclass_of_a_blur_that_writes_its_own_log_alpha_is_degraded_by_it():
    class Half(HeatDissipation):
        def log_alpha(self, t):
            return super().log_alpha(t) / 2

    half, x = Half(S, blur_sigma_max=3.0, levels=10), X.double()
    torch.testing.assert_close(half.degrade(x, 0.6)[0], half.marginal(x, 0.6).mean, rtol=0, atol=1e-13)
