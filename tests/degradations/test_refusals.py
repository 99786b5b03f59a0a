"""What is wrong is refused where it is passed: the error names the value, what is allowed and the remedy."""

import math

import numpy as np
import pytest
import torch
from support import draw, refusals
from zoo import SHAPE, path_laplacian

from unmelt.degradations import (
    BlurringDiffusion,
    ChangedBasis,
    ChannelGroups,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    Deterministic,
    EDMSchedule,
    EigenBasis,
    EqualSNR,
    Eta,
    FittedSpectrum,
    FlippedSNR,
    FourierBasis,
    GaussianBlur,
    GeometricNoise,
    GivenVariance,
    GraphHeat,
    HaarBasis,
    HartleyBasis,
    HeatDissipation,
    HeatFlow,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    LogSNRSchedule,
    LogSpacedBlur,
    MatrixBasis,
    PCABasis,
    Pixelation,
    PixelBasis,
    PixelMask,
    PowerBlur,
    PowerLaw,
    PredictPreviousLevel,
    ProductBasis,
    RectifiedFlowSchedule,
    ReverseSDE,
    SequentialMasking,
    SigmoidSchedule,
    SineBasis,
    SineBlur,
    SpectralDiffusion,
    TabulatedBlur,
    VariancePreserving,
    WithNoise,
    blur_pixels,
    equal_variance_blur,
    estimate_spectrum,
    repeated_blur,
    shifted_cosine,
)

pytestmark = pytest.mark.usefixtures("as_in_production")

X = torch.rand(3, *SHAPE)
HEAT = HeatDissipation(SHAPE, levels=20)
ISOTROPIC = IsotropicDiffusion((1, 2, 2))
PATH = path_laplacian(3)


class Shapeless(LinearGaussianProcess):
    """A shape where a basis belongs."""

    def __init__(self):
        super().__init__(SHAPE)

    def log_alpha(self, t):
        return -t

    def log_sigma(self, t):
        return -t


class Numbers(LinearGaussianProcess):
    def __init__(self, number):
        super().__init__(PixelBasis(SHAPE))
        self.number = number

    def log_alpha(self, t):
        return -self.expand_times(t)

    def log_sigma(self, t):
        return self.number


def blur(**settings):
    return GaussianBlur(SHAPE, PowerBlur(1.0), ConstantNoise(), **settings)


def coloured(variance, shape=SHAPE):
    return SpectralDiffusion(shape, GivenVariance(FourierBasis(SHAPE), variance))


def order(onset, duration=0.5):
    return SequentialMasking(PixelBasis((2,)), torch.tensor(onset), duration=duration)


def graph(laplacian, **settings):
    return GraphHeat((2, 3), laplacian, **settings)


def spectrum_of(basis):
    return estimate_spectrum(basis, draw(basis.shape, batch=5))


def still():
    """A channel that never changes: coefficients without variance."""
    return estimate_spectrum(PixelBasis(SHAPE), draw(SHAPE, batch=5) * torch.tensor([1.0, 0.0])[:, None, None])


@refusals(
    # schedules
    (lambda: CosineSchedule(3.0, 3.0), ValueError, "log_snr_min must be below log_snr_max, got 3.0 and 3.0: swap"),
    (lambda: CosineSchedule(math.nan, 3.0), ValueError, "log_snr_min must be below log_snr_max"),
    (lambda: CosineSchedule(shift=math.inf), ValueError, "shift must be finite, got inf"),
    (lambda: shifted_cosine(0), ValueError, "resolution must be at least 1.*got 0"),
    (lambda: shifted_cosine(32, reference=0), ValueError, "reference must be at least 1.*got 0"),
    (lambda: LinearSchedule(0.0, 0.0), ValueError, "not both 0, got 0.0 and 0.0"),
    (lambda: LinearSchedule(0.1, -1.0), ValueError, "at least 0.*got 0.1 and -1.0"),
    (lambda: LinearSchedule(math.nan, 1.0), ValueError, "finite.*got nan and 1.0"),
    (lambda: LinearSchedule(0.1, math.inf), ValueError, "finite.*got 0.1 and inf"),
    (lambda: SigmoidSchedule(3.0, -3.0), ValueError, "start must be below end.*got 3.0 and -3.0: swap"),
    (lambda: SigmoidSchedule(start=-math.inf), ValueError, "start must be below end, both finite, got -inf and 3.0"),
    (lambda: SigmoidSchedule(temperature=0.0), ValueError, "temperature must be positive and finite, got 0.0"),
    (lambda: SigmoidSchedule(temperature=math.inf), ValueError, "temperature must be positive and finite, got inf"),
    (lambda: ConstantNoise(-1.0), ValueError, "sigma must be finite and at least 0.*got -1.0"),
    (lambda: ConstantNoise(math.inf), ValueError, "sigma must be.*got inf"),
    (lambda: GeometricNoise(0.0, 1.0), ValueError, "need 0 < sigma_min < sigma_max.*got 0.0 and 1.0"),
    (lambda: GeometricNoise(2.0, 1.0), ValueError, "need 0 < sigma_min < sigma_max.*got 2.0 and 1.0"),
    (lambda: GeometricNoise(until=0.0), ValueError, r"until must lie in \(0, 1\].*got 0.0"),
    (lambda: GeometricNoise(until=1.1), ValueError, r"until must lie in \(0, 1\].*got 1.1"),
    (lambda: EDMSchedule(80.0, 0.002), ValueError, "need 0 < sigma_min < sigma_max.*got 80.0 and 0.002"),
    (lambda: EDMSchedule(sigma_max=math.inf), ValueError, "need 0 < sigma_min < sigma_max.*inf"),
    (lambda: EDMSchedule(rho=0.0), ValueError, "rho must be positive and finite.*got 0.0"),
    (lambda: EDMSchedule(rho=math.inf), ValueError, "rho must be positive and finite.*got inf"),
    (lambda: RectifiedFlowSchedule(0.0), ValueError, "shift must be positive and finite.*got 0.0"),
    (lambda: RectifiedFlowSchedule(math.inf), ValueError, "shift must be positive and finite.*got inf"),
    # blurs
    (lambda: LogSpacedBlur(0.0, 1.0), ValueError, "need 0 < blur_sigma_min < blur_sigma_max.*got 0.0 and 1.0"),
    (lambda: LogSpacedBlur(0.5, math.inf), ValueError, "blur_sigma_max.*got 0.5 and inf"),
    (lambda: LogSpacedBlur(levels=1), ValueError, "levels must be at least 2.*got 1"),
    (lambda: SineBlur(-1.0), ValueError, "blur_sigma_max must be finite and at least 0.*got -1.0"),
    (lambda: SineBlur(1.0, 0.0), ValueError, "blur_power must be positive.*got 0.0"),
    (lambda: PowerBlur(math.nan), ValueError, "blur_sigma_max must be finite and at least 0.*got nan"),
    (lambda: PowerBlur(1.0, 0.4), ValueError, r"power must lie in \[0.5, inf\).*got 0.4"),
    (lambda: TabulatedBlur([1.0]), ValueError, r"at least 2 numbers in a row.*got \(1,\)"),
    (lambda: TabulatedBlur([2.0, 1.0]), ValueError, r"positive, finite and rising.*got \[2.0, 1.0\]"),
    (lambda: TabulatedBlur([0.0, 1.0]), ValueError, "positive, finite and rising"),
    (lambda: TabulatedBlur([1.0, math.inf]), ValueError, "positive, finite and rising"),
    (lambda: repeated_blur([1.0, 0.0]), ValueError, r"widths must be positive and finite.*got \[1.0, 0.0\]"),
    (lambda: repeated_blur([1.0]), ValueError, "at least 2 numbers in a row"),
    (
        lambda: equal_variance_blur(spectrum_of(PixelBasis((1, 4))), maximum=1.0, levels=4),
        TypeError,
        "spectrum.basis must be a SeparableBasis.*got PixelBasis",
    ),
    (
        lambda: equal_variance_blur(spectrum_of(CosineBasis((1, 4))), maximum=0.0, levels=4),
        ValueError,
        "maximum must be positive and finite.*got 0.0",
    ),
    (
        lambda: equal_variance_blur(spectrum_of(CosineBasis((1, 4))), maximum=1.0, levels=1),
        ValueError,
        "levels must be at least 2, got 1",
    ),
    (
        lambda: equal_variance_blur(spectrum_of(CosineBasis((3, 1))), maximum=1.0, levels=4),
        ValueError,
        "blurring takes no variance away",
    ),
    *(
        (lambda share=share: blur_pixels(share, 32), ValueError, rf"share must lie in \(0, 4\].*got {share}")
        for share in (0.0, math.inf, 24.0)
    ),
    (lambda: blur_pixels(0.5, 0), ValueError, "size must be at least 1.*got 0"),
    # families
    (lambda: Pixelation((1, 5, 4)), ValueError, r"divide by 2 at least once, got shape \(1, 5, 4\): pad or crop"),
    (lambda: Pixelation((1, 4, 4), scales=0), ValueError, "divide by 2 at least once"),
    (lambda: Pixelation((1, 4, 4), scales=3), ValueError, "scales must be between 0 and 2"),
    (
        lambda: HeatDissipation((1, 4, 4), blur_sigma_max=0.1),
        ValueError,
        "blur_sigma_min < blur_sigma_max.*got 0.5 and 0.1",
    ),
    (lambda: HeatDissipation((1, 4, 4), levels=1), ValueError, "levels must be at least 2.*got 1"),
    (lambda: HeatDissipation((1, 4, 4), sigma=-0.1), ValueError, "sigma must be finite and at least 0.*got -0.1"),
    (lambda: BlurringDiffusion((1, 4, 4), min_scale=0.0), ValueError, r"min_scale must lie in \(0, 1\].*got 0.0"),
    (
        lambda: BlurringDiffusion((1, 4, 4), blur_sigma_max=-1.0),
        ValueError,
        "blur_sigma_max must be finite and at least 0.*got -1.0",
    ),
    # compositions
    (
        lambda: ChangedBasis(HEAT, PixelBasis((2, 6, 4))),
        ValueError,
        r"basis must have the process's shape \(2, 4, 6\), got \(2, 6, 4\)",
    ),
    (lambda: ChannelGroups(PixelBasis(SHAPE), []), ValueError, r"processes of shapes \[\].*must make \(2, 4, 6\)"),
    (lambda: ChannelGroups(PixelBasis((3, 4, 6)), [HEAT, HEAT]), ValueError, r"put together.*must make \(3, 4, 6\)"),
    (
        lambda: ChannelGroups(PixelBasis((2, 6, 4)), [HEAT]),
        ValueError,
        r"shapes \[\(2, 4, 6\)\].*must make \(2, 6, 4\)",
    ),
    (lambda: ChannelGroups(PixelBasis((2, 4)), [HEAT]), ValueError, r"must make \(2, 4\)"),
    # kinds
    (Shapeless, TypeError, r"basis must be a Basis, .*CosineBasis\(shape\).*; got \(2, 4, 6\)"),
    (
        lambda: Numbers(-3.0).marginal(X, 0.5),
        TypeError,
        r"Numbers.log_sigma\(t\) returns must be a Tensor.*full_like.*got -3.0",
    ),
    (
        lambda: Numbers(np.zeros(SHAPE)).marginal(X, 0.5),
        TypeError,
        r"Numbers.log_sigma\(t\) returns must be a Tensor.*full_like",
    ),
    (lambda: IsotropicDiffusion(SHAPE, "linear"), TypeError, "schedule must be a Schedule, .*got 'linear'"),
    (
        lambda: IsotropicDiffusion(SHAPE, CosineSchedule),
        TypeError,
        "schedule must be .*got the class CosineSchedule itself",
    ),
    (lambda: BlurringDiffusion(SHAPE, schedule="cosine"), TypeError, "noise must be a Schedule.*got 'cosine'"),
    (
        lambda: LogSNRSchedule(lambda t: -t, VariancePreserving),
        TypeError,
        "convention must be .*the class VariancePreserving",
    ),
    (lambda: GaussianBlur(SHAPE, 12.0, ConstantNoise()), TypeError, "blur must be a BlurSchedule.*got 12.0"),
    (lambda: GaussianBlur(SHAPE, SineBlur(), 0.01), TypeError, "noise must be a Schedule.*got 0.01"),
    (
        lambda: GaussianBlur(SHAPE, SineBlur(), ConstantNoise(), boundary=HaarBasis),
        TypeError,
        "boundary must be CosineBasis",
    ),
    (lambda: HeatDissipation(SHAPE, levels=20.5), TypeError, "levels must be an integer, got 20.5"),
    (lambda: WithNoise(HeatDissipation(SHAPE), 0.01), TypeError, "noise must be a Schedule.*got 0.01"),
    (
        lambda: WithNoise(HeatDissipation, ConstantNoise()),
        TypeError,
        "process must be .*the class HeatDissipation itself",
    ),
    (
        lambda: ChangedBasis(HeatDissipation(SHAPE), HaarBasis),
        TypeError,
        "basis must be a Basis.*the class HaarBasis itself",
    ),
    (
        lambda: ChannelGroups(CosineBasis(SHAPE), [HeatDissipation]),
        TypeError,
        "each of processes must be .*the class HeatDissipation",
    ),
    (lambda: PixelMask(SHAPE, 0.3), TypeError, "onset must be a Tensor.*got 0.3"),
    (lambda: PixelMask(8), TypeError, "shape must be a sequence of integers"),
    (
        lambda: PixelMask.of(SHAPE, basis=PixelBasis, onset=torch.zeros(()), duration=0.5),
        TypeError,
        r"PixelMask is made from a shape by itself: call PixelMask\(shape\)",
    ),
    (
        lambda: SequentialMasking(PixelBasis(SHAPE), torch.zeros(()), duration=0.5, noise=0.1),
        TypeError,
        "noise must be a Schedule",
    ),
    (lambda: SpectralDiffusion(SHAPE, GivenVariance(PixelBasis, 1.0)), TypeError, "variance must be a Tensor.*got 1.0"),
    (
        lambda: SpectralDiffusion(SHAPE, torch.ones(())),
        TypeError,
        "noise must be a NoiseSpectrum, PowerLaw.*got a torch.Tensor",
    ),
    (
        lambda: SpectralDiffusion(SHAPE, EqualSNR(X)),
        TypeError,
        "spectrum must be a DataSpectrum, estimate_spectrum.*got a torch.Tensor",
    ),
    (
        lambda: SpectralDiffusion(SHAPE, FlippedSNR(FittedSpectrum())),
        TypeError,
        "spectrum must be a DataSpectrum.*resolve.*got FittedSp",
    ),
    (lambda: equal_variance_blur(X, maximum=3.0, levels=5), TypeError, "spectrum must be a DataSpectrum"),
    (lambda: GraphHeat((1, 4), np.eye(4)), TypeError, "laplacian must be a Tensor"),
    (
        lambda: GraphHeat((1, 4), torch.eye(4).to_sparse()),
        TypeError,
        r"laplacian must be a dense matrix.*laplacian.to_dense\(\)",
    ),
    (lambda: HeatDissipation(SHAPE).marginal(X.numpy(), 0.5), TypeError, r"x must be a Tensor, torch.as_tensor"),
    (
        lambda: HeatDissipation(SHAPE).posterior(X, X, 0.2, 0.5, Independent),
        TypeError,
        "coupling must be .*the class Independent",
    ),
    (
        lambda: estimate_spectrum(PixelBasis(SHAPE), [[X, torch.zeros(3)]]),
        TypeError,
        r"x must be a Tensor.*\(image, label\) pairs",
    ),
    # widths of blurs along axes
    (lambda: blur(anisotropy=(1.0,)), ValueError, r"for each of the 2 blurred axes, got \(1.0,\)"),
    (lambda: blur(anisotropy=(1.0, -0.1)), ValueError, r"finite relative widths >= 0, not all 0, got \(1.0, -0.1\)"),
    (lambda: blur(anisotropy=(0.0, 0.0)), ValueError, r"not all 0, got \(0.0, 0.0\)"),
    (lambda: blur(anisotropy=(1.0, math.inf)), ValueError, "finite relative widths"),
    (lambda: blur(min_scale=-0.1), ValueError, r"min_scale must lie in \[0, 1\].*got -0.1"),
    (lambda: blur(min_scale=1.1), ValueError, r"min_scale must lie in \[0, 1\].*got 1.1"),
    (lambda: blur().degrade(draw((2, 4, 5)), 0.5), ValueError, r"x must have shape \(batch, 2, 4, 6\)"),
    (lambda: TabulatedBlur(torch.ones(2, 2)), ValueError, r"in a row.*got \(2, 2\)"),
    # flows
    (lambda: HeatFlow(SHAPE, rate=-0.1), ValueError, "rate must be finite and at least 0.*got -0.1"),
    (lambda: HeatFlow(SHAPE, rate=math.inf), ValueError, "rate must be finite.*got inf"),
    (lambda: HeatFlow(SHAPE, noise_scale=0.0), ValueError, "noise_scale must be positive.*got 0.0"),
    # colours of noise
    (lambda: coloured(torch.zeros(())), ValueError, "positive and finite, got 0.0"),
    (lambda: coloured(torch.full((6,), math.inf)), ValueError, "positive and finite"),
    (lambda: coloured(torch.ones(5)), ValueError, r"broadcast to.*\(2, 4, 6\), got \(5,\)"),
    (lambda: coloured(torch.ones(()), (2, 6, 4)), ValueError, r"shape \(2, 6, 4\), got one for \(2, 4, 6\)"),
    (lambda: PowerLaw(math.nan), ValueError, "exponent must be finite.*got nan"),
    (lambda: SpectralDiffusion(SHAPE, EqualSNR(still())), ValueError, "24 of 48 coefficients do not vary"),
    (
        lambda: SpectralDiffusion(SHAPE, FlippedSNR(still())),
        TypeError,
        "spectrum.basis must be a LaplacianBasis.*got PixelBasis",
    ),
    (
        lambda: SpectralDiffusion((1, 4), EqualSNR(spectrum_of(PixelBasis(SHAPE)))),
        ValueError,
        r"of shape \(1, 4\), got",
    ),
    # orders
    (lambda: order([0.1, -0.2]), ValueError, "onset must be times >= 0.*got -0.2"),
    (lambda: order([0.1, math.nan]), ValueError, "onset must be times >= 0.*nan"),
    (lambda: order([1.0, 1.0, 1.0]), ValueError, r"broadcast to the basis's shape \(2,\), got \(3,\)"),
    (lambda: order([[1.0, 1.0]] * 4), ValueError, r"broadcast to the basis's shape \(2,\), got \(4, 2\)"),
    (lambda: order([1.0], 0.0), ValueError, r"duration must lie in \(0, 1\].*got 0.0"),
    (lambda: order([1.0], 1.5), ValueError, "duration.*got 1.5"),
    (lambda: PixelMask(SHAPE, duration=1.5), ValueError, "duration.*got 1.5"),
    # graphs
    (
        lambda: graph(-PATH),
        ValueError,
        "positive semi-definite, but has the eigenvalue -3.*degrees minus the adjacency",
    ),
    (lambda: graph(PATH.triu()), ValueError, "symmetric"),
    (lambda: graph(PATH * math.nan), ValueError, "symmetric"),
    (lambda: graph(torch.ones(3, 2).double()), ValueError, "square"),
    (lambda: graph(path_laplacian(4)), ValueError, "fits no trailing axes"),
    (lambda: graph(PATH, time_min=0.0), ValueError, "need 0 < time_min < time_max.*got 0.0 and 100.0"),
    (lambda: graph(PATH, time_max=0.05), ValueError, "need 0 < time_min < time_max.*got 0.1 and 0.05"),
    (lambda: graph(PATH, levels=1), ValueError, "levels must be at least 2.*got 1"),
    # bases
    *(
        (lambda b=b, s=s, v=v: b(s, v), error, words)
        for b in (MatrixBasis, EigenBasis)
        for s, v, error, words in (
            ((3,), torch.eye(3)[:2], ValueError, r"must be square.*got shape \(2, 3\)"),
            ((3, 4, 5), torch.eye(12), ValueError, r"12 x 12 fits no .* shape \(3, 4, 5\): these hold 5, 20, 60"),
            ((3,), torch.eye(3).long(), TypeError, r"matrix must be a real floating.*torch.int64: pass matrix.double"),
            ((3,), torch.eye(3) + 0j, TypeError, "matrix must be a real floating-point tensor, got torch.complex64"),
        )
    ),
    (lambda: MatrixBasis((3,), 2 * torch.eye(3).double()), ValueError, "off by 3 where 1e-12 is allowed"),
    (lambda: MatrixBasis((2,), torch.tensor([1.0, 1.001]).diag()), ValueError, "off by 0.002.*torch.linalg.qr"),
    (lambda: MatrixBasis((2,), torch.full((2, 2), math.nan)), ValueError, "off by nan"),
    # Rounded to float32 by someone, and not said so.
    (lambda: MatrixBasis((3,), torch.linalg.qr(draw((3,), batch=3))[0].float().double()), ValueError, "in that dtype"),
    (lambda: PCABasis(torch.rand(1, 3)), ValueError, "at least two samples.*got 1"),
    (lambda: PCABasis(torch.rand(5)), ValueError, r"shape \(count, \*shape\), got \(5,\)"),
    (lambda: PCABasis(torch.tensor([[1.0, math.nan], [1.0, 2.0]])), ValueError, "data must be finite"),
    (lambda: PCABasis(torch.rand(5, 3, 4), axes=3), ValueError, r"between 1 and 2 for shape \(3, 4\), got 3"),
    (lambda: PCABasis(torch.zeros(5, 3).byte()), TypeError, r"data must be .* got torch.uint8.*x.float\(\) / 255"),
    (lambda: ProductBasis(), ValueError, "at least one axis"),
    (lambda: ProductBasis(CosineBasis((4,)), torch.eye(3)), TypeError, "each of bases must be a Basis, MatrixBasis"),
    # shapes and axes
    *(
        (lambda b=b, a=a: b((3, 4, 4), a), ValueError, f"axes must be between 1 and 3.*got {a}$")
        for b in (CosineBasis, SineBasis, FourierBasis, HaarBasis, HartleyBasis)
        for a in (0, 4, -1)
    ),
    (
        lambda: CosineBasis((3, 4, 4, 4, 4)),
        ValueError,
        "between 1 and 3.*got 4 .None transforms all axes but the first",
    ),
    (lambda: CosineBasis(()), ValueError, "every size at least 1"),
    (lambda: PixelMask((3, -1, 8)), ValueError, "every size at least 1"),
    (lambda: PixelBasis((3, 4.0, 4)), TypeError, "sequence of integers"),
    # times
    (lambda: HEAT.marginal(X, torch.rand(4)), ValueError, r"t must have shape \(\) or \(3,\).*got \(4,\)"),
    (lambda: HEAT.log_snr(torch.rand(2, 1)), ValueError, r"t must have shape.*got \(2, 1\)"),
    (lambda: HEAT.at([0.1, 0.5]), TypeError, r"t must be a number or a tensor of times in \[0, 1\], got \[0.1, 0.5\]"),
    (lambda: HEAT.at("0.5"), TypeError, "t must be a number or a tensor of times.*got '0.5'"),
    (lambda: HEAT.as_times(torch.tensor([3, 4])), TypeError, r"floating-point time.*torch.int64: pass level / levels"),
    # paths
    (lambda: HEAT.sample_path(X, [0.5, 0.2]), ValueError, r"times must not fall, got \[0.5, 0.2\]"),
    (lambda: HEAT.sample_path(X, []), ValueError, r"times must be at least one time in a row.*got shape \(0,\)"),
    (lambda: HEAT.sample_path(X, torch.rand(2, 1)), ValueError, r"one time in a row.*got shape \(2, 1\)"),
    *(
        (lambda times=times: HEAT.sample_path(X, times), ValueError, rf"times must lie in \[0, 1\].*got {wrong}")
        for times, wrong in (([0.5, 1.2], "1.2"), ([-0.1, 0.5], "-0.1"), ([0.1, math.nan], "nan"))
    ),
    (lambda: HEAT.sample_path(X[:, :1], [0.5]), ValueError, r"x must have shape \(batch, 2, 4, 6\)"),
    (lambda: HEAT.sample_path(X.long(), [0.5]), TypeError, "got torch.int64"),
    # signals
    (lambda: HEAT.marginal(X + 1j, 0.5), TypeError, "got torch.complex64: pass real signals"),
    (lambda: HEAT.marginal(X[:, :1], 0.5), ValueError, r"x must have shape \(batch, 2, 4, 6\), got \(3, 1, 4, 6\)"),
    (lambda: HEAT.marginal(X[0], 0.5), ValueError, r"got \(2, 4, 6\); add the batch axis with x\[None\]"),
    # couplings and predictions
    *((lambda eta=eta: Eta(eta), ValueError, r"eta must lie in \[0, 1\].*got") for eta in (-0.1, 1.1, math.nan)),
    *(
        (lambda eta=eta: ReverseSDE(eta), ValueError, "eta must be finite and at least 0.*got")
        for eta in (-0.1, math.inf, math.nan)
    ),
    (
        lambda: HEAT.posterior(X, X, 0.2, 0.6, Deterministic()).log_prob(X),
        ValueError,
        "density.*Deterministic.*stochastic",
    ),
    (lambda: PredictPreviousLevel(levels=0), ValueError, "levels must be at least 1, got 0"),
    (
        lambda: PredictPreviousLevel().previous(ISOTROPIC.at(0.5)),
        ValueError,
        "IsotropicDiffusion is continuous.*levels=200",
    ),
    # spectra
    *(
        (
            lambda data=data: estimate_spectrum(PixelBasis(SHAPE), data),
            ValueError,
            f"at least 2 examples, got {seen}: call",
        )
        for data, seen in ((X[:1], 1), (X[:0], 0), ([], 0))
    ),
    (
        lambda: estimate_spectrum(PixelBasis(SHAPE), X[:, :1]),
        ValueError,
        r"x must have shape \(batch, 2, 4, 6\), got \(3, 1",
    ),
    (
        lambda: estimate_spectrum(PixelBasis(SHAPE), X.byte()),
        TypeError,
        r"floating-point tensor, got torch.uint8.*/ 255",
    ),
    (lambda: still().require_variance(), ValueError, r"24 of 48 coefficients do not vary.*floored\(minimum\)"),
    *(
        (lambda floor=floor: still().floored(floor), ValueError, f"minimum must be positive and finite.*got {floor}")
        for floor in (0.0, -1.0, math.nan)
    ),
)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


WHOLE = "level k is time k / levels; None where time is continuous"


@pytest.mark.parametrize(
    ("levels", "error", "words"),
    [
        (10.5, TypeError, "levels must be an integer, got 10.5"),
        ("50", TypeError, "levels must be an integer, got '50'"),
        (True, TypeError, "levels must be an integer, got True"),
        (0, ValueError, rf"levels must be at least 1 \({WHOLE}\), got 0"),
        (-3, ValueError, "levels must be at least 1 .*, got -3"),
    ],
)
@pytest.mark.usefixtures("as_in_production")
def test_wrong_levels_are_refused_where_they_are_set(levels, error, words):
    with pytest.raises(error, match=words):
        type("Wrong", (HeatDissipation,), {"levels": levels})
    with pytest.raises(error, match=words):
        HeatDissipation(SHAPE).levels = levels


def test_levels_may_be_any_whole_number_none_or_a_property():
    process = IsotropicDiffusion(SHAPE)
    for levels in (1, np.int64(50), None):
        process.levels = levels
        assert process.levels == levels
    assert type("Right", (IsotropicDiffusion,), {"levels": property(lambda self: 7)})(SHAPE).levels == 7
