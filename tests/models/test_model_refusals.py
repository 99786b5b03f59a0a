"""What networks, denoisers, priors, decoders and oracles refuse, and in which words."""

import math

import pytest
import torch
from prior_cases import FITTED, PAIR, PRIORS, Rough, heat, some_q
from support import SoftNetwork, refusals
from torch import nn

from unmelt.degradations import (
    ColdBlur,
    CosineSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    PixelBasis,
    PredictPreviousLevel,
    PredictX,
    SpectralGaussian,
    estimate_spectrum,
)
from unmelt.models import (
    EMA,
    Decoder,
    DegradedDataPrior,
    Denoiser,
    DiscretisedGaussianDecoder,
    EmpiricalOracle,
    GaussianDecoder,
    GaussianOracle,
    GaussianPrior,
    GreyLevels,
    KernelDivergence,
    LowRankGaussianPrior,
    MixtureOracle,
    OraclePrior,
    Prior,
    StandardNormalPrior,
    UNet,
    drop_labels,
)
from unmelt.models.conditions import check_rows
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 6)
X, LABELS = random_images(SHAPE, batch=3), torch.zeros(3, dtype=torch.int64)
NAN, INF = math.nan, math.inf
HEAT, COLD, NORMAL = heat(0.05, SHAPE), ColdBlur(SHAPE), IsotropicDiffusion(SHAPE)
QUIET, UNBOUNDED = IsotropicDiffusion(SHAPE, LinearSchedule()), IsotropicDiffusion(SHAPE, CosineSchedule(-INF, INF))
EIGHT_BITS = GreyLevels(256, 0.0, 1.0)
SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "dropout": 0.0}
OVER_PIXELS = SpectralGaussian(PixelBasis(SHAPE), X, torch.ones(()))


def unet(shape=(1, 8, 8), **settings):
    return UNet(shape, **{**SMALL, **settings})


def seen(condition, classes=4, shape=(1, 8, 8)):
    """What a network with and one without classes make of conditions."""
    return unet(classes=classes)(torch.zeros(3, *shape), torch.zeros(3), condition)


def plain(network=None):
    return Denoiser(network or SoftNetwork(), HEAT, prediction=PredictX())


class Says(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, z, t, condition=None):
        return self.answer


class Two(nn.Module):
    def forward(self, z, t):
        return z


class Half(Prior):
    """No density was written."""

    def sample(self, count, *, generator=None):
        return torch.zeros(count, *self.process.shape)


class Shrinking:
    """Data of which an example is missing the second time."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return iter([X[: 3 if self.passes < 3 else 2]])


def low_rank(data=X, process=HEAT, **settings):
    return LowRankGaussianPrior.fit(process, data, **settings)


def restored(process=HEAT, **changes):
    """A low-rank prior from its tables, one of them changed by a function."""
    state = low_rank().state_dict()
    return LowRankGaussianPrior.from_state_dict(
        process, {**state, **{name: change(state[name]) for name, change in changes.items()}}
    )


def kernels(data=X, process=HEAT, **settings):
    return DegradedDataPrior.fit(process, data, **settings)


def wide(stddev, **settings):
    return GaussianDecoder(HEAT, stddev, **settings)


def integers(stddev=0.1, process=HEAT):
    return DiscretisedGaussianDecoder(process, EIGHT_BITS, stddev)


def spoilt():
    data = X.clone()
    data[1, 0, 0, 0] = NAN
    return data


def eight_bits(*values, **dtype):
    return lambda: EIGHT_BITS.indices(torch.tensor(values, **dtype))


def components(weights=(1.0,), shape=SHAPE, variance=1.0):
    return MixtureOracle(HEAT, torch.tensor(weights), torch.zeros(len(weights), *shape), torch.tensor(variance))


# Each kind of prior by itself.
EACH_PRIOR = [PRIORS[name] for name in ("standard normal", "Gaussian", "kernels", "oracle")]
EACH_PRIOR.append(lambda: low_rank(random_images(PAIR, batch=5), heat(0.3, PAIR)))
EACH_FITTED = [(kind, process) for name, (kind, process, _) in FITTED.items() if name not in ("standard normal",)]
EACH_DECODER = [lambda: wide(0.1, grey_levels=EIGHT_BITS), integers]

TABLES = {"deviations": torch.zeros(5, 1), "indices": torch.tensor([3]), "mean": torch.zeros(2, 4, 6)}
REFUSED = [
    # the U-Net
    (lambda: unet((8,)), ValueError, r"with one to three more, got \(8,\)"),
    (lambda: unet((1, 2, 8, 8, 8)), ValueError, r"with one to three more, got \(1, 2, 8, 8, 8\)"),
    (lambda: unet((1, 0, 8)), ValueError, r"at least 1, got \(1, 0, 8\)"),
    (lambda: unet(channels=7), ValueError, "even number of channels.*channels=7"),
    (lambda: unet(channels=0), ValueError, "even number of channels.*channels=0"),
    (lambda: unet(blocks=0), ValueError, "at least one block.*blocks=0"),
    (lambda: unet(multipliers=()), ValueError, r"multipliers of at least 1.*multipliers=\(\)"),
    (lambda: unet(multipliers=(1, 0)), ValueError, r"multipliers of at least 1.*multipliers=\(1, 0\)"),
    (lambda: unet(attention_levels=(2,)), ValueError, r"0\.\.1, as .* got \[2\]: name levels in there, or none"),
    (lambda: unet(attention_levels=(-1,)), ValueError, r"attention_levels must lie in 0\.\.1, as .* got \[-1\]"),
    (lambda: unet(heads=0), ValueError, "heads=0"),
    (lambda: unet(heads=3), ValueError, r"heads must divide the features at every attention .*\[16\], got heads=3"),
    (lambda: unet(dropout=1.5), ValueError, "between 0 and 1.*1.5"),
    *((lambda n=n: unet(classes=n), ValueError, f"classes must be at least 1, got {n}") for n in (0, -3)),
    (lambda: seen(None, shape=(1, 8, 16)), ValueError, r"made for images of shape \(1, 8, 8\), got \(1, 8, 16\)"),
    # conditions
    (lambda: seen(LABELS, classes=None), ValueError, r"made without classes, but got labels.*classes=N"),
    *(
        (
            lambda n=n: seen(torch.tensor([0, n, 4])),
            ValueError,
            rf"labels must lie in 0\.\.3, or be 4 for no label, got {n}",
        )
        for n in (-1, 5, 1000)
    ),
    *(
        (lambda labels=labels: seen(labels), ValueError, r"labels must have shape \(3,\), one for each example, got \(")
        for labels in (LABELS[:2], LABELS[:, None], LABELS[0])
    ),
    (lambda: seen([0, 1, 2]), TypeError, "labels must be a Tensor"),
    *(
        (lambda labels=labels: seen(labels), TypeError, r"labels must be integers.*labels.long\(\)")
        for labels in (LABELS.float(), LABELS.bool())
    ),
    *(
        (lambda p=p: drop_labels(LABELS, 4, p), ValueError, rf"probability must lie in \[0, 1\], got {p}")
        for p in (-0.1, 1.1, NAN)
    ),
    *(
        (lambda part=part: check_rows("condition", part, 5), ValueError, "must have one entry for each of 5 rows, got")
        for part in (torch.zeros(4), torch.zeros(()), {"label": torch.zeros(5), "image": torch.zeros(4, 2)})
    ),
    *(
        (lambda part=part: check_rows("condition", part, 5), TypeError, "condition must be a.* Tensor")
        for part in ([1, 2, 3, 4, 5], {"label": [1, 2, 3, 4, 5]})
    ),
    # denoisers
    (lambda: plain(Two()), TypeError, r"Two.forward does not take three.*condition=None\)"),
    (
        lambda: Denoiser(SoftNetwork(), HEAT, prediction=PredictX),
        TypeError,
        "prediction must be a Prediction.*the class PredictX",
    ),
    (
        lambda: Denoiser(SoftNetwork(), NORMAL, prediction=PredictPreviousLevel()),
        ValueError,
        r"IsotropicDiffusion is continuous.*PredictPreviousLevel\(levels=200\)",
    ),
    (lambda: plain()(X, 0.5, given=X), ValueError, "HeatDissipation has no known end.*leave given out"),
    *(
        (
            lambda shape=shape: plain(Says(torch.zeros(shape)))(X, 0.5),
            ValueError,
            "the network returned shape .* for a latent of shape .3, 2, 4, 6.",
        )
        for shape in ((1, *SHAPE), (3, 2, 4), (3, 2, 6, 4))
    ),
    *(
        (lambda t=t: plain()(X, t), ValueError, r"t must lie in \[0, 1\].*got (-0.01|1.01|nan|1.5)")
        for t in (-0.01, 1.01, NAN, torch.tensor([0.1, 0.2, 1.5]))
    ),
    *(
        (
            lambda shape=shape: plain()(X, torch.full(shape, 0.5)),
            ValueError,
            r"t must have shape \(\) or \(3,\), one per example, got \(",
        )
        for shape in ((2,), (3, 1), (1,), (3, 1, 1, 1))
    ),
    (lambda: plain()(X, LABELS), TypeError, r"t must be a floating-point time.*int64.*level / levels"),
    *(
        (lambda shape=shape: plain()(torch.zeros(shape), 0.5), ValueError, r"z_t must have .*\(batch, 2, 4, 6\), got")
        for shape in ((3, 2, 4, 5), (3, 1, 4, 6), (3, 2, 4, 6, 1), (3, 48))
    ),
    (lambda: plain()(X[0], 0.5), ValueError, r"add the batch axis with z_t\[None\]"),
    (lambda: plain()(X.byte(), 0.5), TypeError, r"got torch.uint8.*x.float\(\) / 255"),
    (lambda: plain()(X.long(), 0.5), TypeError, r"got torch.int64.*x.float\(\) / 255"),
    (lambda: plain()(X + 0j, 0.5), TypeError, "got torch.complex128.*real"),
    # the moving average
    *(
        (lambda decay=decay: EMA(Two(), decay), ValueError, rf"decay must lie in \[0, 1\), got {decay}")
        for decay in (-0.1, 1.0, 1.5, NAN)
    ),
    (
        lambda: EMA(nn.Linear(3, 3)).load_state_dict(EMA(nn.Linear(2, 3)).state_dict()),
        RuntimeError,
        "size mismatch",
    ),
    (
        lambda: EMA(nn.Linear(3, 3)).to(torch.bfloat16).update(nn.Linear(3, 3)),
        ValueError,
        "the average was moved to torch.bfloat16, .* keep it as it was made, in float32",
    ),
    # oracles
    (
        lambda: GaussianOracle(HEAT, torch.zeros(()), torch.tensor(-1.0)),
        ValueError,
        "variance must be finite and at least 0.*-1",
    ),
    (
        lambda: GaussianOracle(HEAT, torch.zeros(5), torch.ones(())),
        ValueError,
        r"mean must broadcast to .*\(2, 4, 6\), got \(5,\)",
    ),
    (lambda: components((1.0, 1.0), (9,)), ValueError, r"means must .*\(2, 2, 4, 6\), got \(2, 9\)"),
    (lambda: components((0.0,)), ValueError, "weights must be positive"),
    (lambda: components(variance=-1.0), ValueError, "variances must be finite and at least 0"),
    (lambda: EmpiricalOracle(HEAT, X[:0]), ValueError, "data holds no example: an empirical distribution"),
    (lambda: EmpiricalOracle(HEAT, X[0, 0]), ValueError, r"data must have shape \(batch, 2, 4, 6\)"),
    (lambda: EmpiricalOracle(COLD, X)(X, 0.5), ValueError, "no noise in some coefficient.*sigma > 0"),
    (
        lambda: MixtureOracle(COLD, torch.ones(3), X, torch.zeros(()))(X, 0.5),
        ValueError,
        "neither variance nor noise.*sigma > 0",
    ),
    (lambda: GaussianOracle(COLD, X[0], torch.zeros(())).log_prob(X, 0.7), ValueError, "needs a density"),
    *(
        (lambda made=made: made().jacobian_diagonal(X, 0.0), ValueError, "no noise in some coefficient.*sigma > 0")
        for made in (
            lambda: GaussianOracle(QUIET, X[0], X[1]),
            lambda: MixtureOracle(QUIET, torch.ones(3), X, torch.ones(())),
        )
    ),
    # every prior
    *(
        row
        for build in EACH_PRIOR
        for row in (
            (
                lambda build=build: build().log_prob(torch.zeros(2, 1, 2, 1)),
                ValueError,
                r"must have shape \(batch, 1, 1, 2\), got \(2, 1, 2, 1\)",
            ),
            (
                lambda build=build: build().log_prob(torch.zeros((2, *PAIR), dtype=torch.uint8)),
                TypeError,
                r"torch.uint8.*x.float\(\) / 255",
            ),
            (
                lambda build=build: build().divergence(
                    SpectralGaussian(PixelBasis((1, 2, 1)), torch.zeros(2, 1, 2, 1), torch.ones(()))
                ),
                ValueError,
                r"signals of the prior's shape \(1, 1, 2\), got \(1, 2, 1\)",
            ),
            (
                lambda build=build: build().divergence(torch.zeros(2, *PAIR)),
                TypeError,
                r"q must be a SpectralGaussian, process.marginal\(x, 1.0\) makes one",
            ),
            (
                lambda build=build: build().divergence(
                    SpectralGaussian(build().process.basis, random_images(PAIR), torch.zeros(()))
                ),
                ValueError,
                "needs a density",
            ),
        )
    ),
    (lambda: Half(HEAT), TypeError, "abstract.*log_prob"),
    # every prior that is fitted
    *(
        row
        for kind, process in EACH_FITTED
        for row in (
            *(
                (lambda kind=kind, process=process, data=data: kind.fit(process, data()), error, words)
                for data, error, words in (
                    (lambda: iter([random_images(PAIR)]), TypeError, "gone through more than once.*DataLoader"),
                    (lambda: 3, TypeError, "data must be an Iterable, a tensor"),
                    (lambda: [(random_images(PAIR), 1)], TypeError, r"take the images out of \(image, label\) pairs"),
                    (lambda: random_images(PAIR).byte(), TypeError, r"torch.uint8.*x.float\(\) / 255"),
                    (lambda: random_images((1, 2, 1)), ValueError, r"data must have shape \(batch, 1, 1, 2\)"),
                    (lambda: random_images(PAIR)[:0], ValueError, "at least (one|2)"),
                )
            ),
            (
                lambda kind=kind: kind.fit("heat", random_images(PAIR)),
                TypeError,
                "process must be a LinearGaussianProcess",
            ),
            (
                lambda kind=kind, process=process: kind.from_state_dict(process, {}),
                ValueError,
                f"not the state of a {kind.__name__}: it lacks .* holds nothing",
            ),
        )
    ),
    *(
        (lambda build=build: build().divergence(OVER_PIXELS), ValueError, "two Gaussians in one basis")
        for build in (lambda: GaussianPrior.fit(HEAT, X), low_rank, kernels)
    ),
    # the standard normal, Gaussian and oracle's prior
    (
        lambda: StandardNormalPrior(HEAT),
        ValueError,
        r"does not end in standard normal.*alpha reaches 1.*LowRank.*\(process, images\).*GaussianPrior.*DegradedData",
    ),
    (
        lambda: GaussianPrior.of_spectrum(HEAT, estimate_spectrum(PixelBasis(SHAPE), X)),
        ValueError,
        r"one of PixelBasis.*diagonal in CosineBasis.*estimate_spectrum\(process",
    ),
    (lambda: OraclePrior(HEAT), TypeError, r"oracle must be an Oracle, such as EmpiricalOracle\(process, data\)"),
    (lambda: GaussianPrior(HEAT, X[0] * NAN, torch.ones(())), ValueError, "spectral_mean must be finite: the data"),
    (lambda: GaussianPrior(HEAT, X[0], -torch.ones(())), ValueError, "spectral_stddev must be at least 0, got -1"),
    # the low-rank prior
    *((lambda n=n: low_rank(X[:n]), ValueError, f"at least 2 examples, got {n}") for n in (0, 1)),
    (lambda: low_rank([]), ValueError, "at least 2 examples, got 0"),
    (lambda: low_rank(spoilt()), ValueError, "NaN or infinity"),
    (lambda: low_rank(Shrinking()), ValueError, "3 examples the first time and 2 the second"),
    (lambda: low_rank(negligible=-1.0), ValueError, "negligible must be at least 0.*got -1"),
    (lambda: low_rank(share=NAN), ValueError, "share must be at least 0.*got nan"),
    (lambda: low_rank(most=-1), ValueError, "most must be at least 0 directions.*got -1"),
    (lambda: low_rank(correlated=-1), ValueError, "correlated must be at least 0 coefficients.*got -1"),
    *(
        (
            lambda process=process, verb=verb: getattr(low_rank(process=process), verb)(X),
            ValueError,
            f"{verb} needs a density, but .* no noise in some.*WithNoise",
        )
        for process in (COLD, HeatDissipation(SHAPE, sigma=0.0))
        for verb in ("log_prob", "divergence")
    ),
    (
        lambda: LowRankGaussianPrior.from_state_dict(HEAT, {"spectral_mean": X}),
        ValueError,
        "lacks indices.*holds spectral_mean",
    ),
    (
        lambda: restored(heat(0.05, (1, 1, 2))),
        ValueError,
        r"of the 2 coefficients of HeatDissipation\(1, 1, 2\).*another process",
    ),
    (lambda: restored(indices=lambda i: i * 0), ValueError, "different numbers"),
    (lambda: restored(mean=lambda m: m * NAN), ValueError, "mean must be finite"),
    (lambda: restored(remainder=lambda r: r - 1), ValueError, "remainder holds variances.*got -"),
    (lambda: restored(mean=lambda m: m[1:]), ValueError, r"must have shape \(active,\).*got"),
    (lambda: restored(factor=lambda f: torch.zeros(99, 2)), ValueError, r"must have shape \(active,\).*got"),
    (lambda: restored(factor=lambda f: torch.zeros(3)), ValueError, r"must have shape \(active,\).*got"),
    # the kernel density
    *(
        (
            lambda stddev=stddev: kernels(stddev=stddev),
            ValueError,
            f"stddev must be at least 0 and finite.*got {stddev}",
        )
        for stddev in (-1.0, NAN, INF)
    ),
    (
        lambda: DegradedDataPrior(HEAT, **TABLES, kernel=torch.ones(3, 1)),
        ValueError,
        r"kernel must .* one signal's shape \(2, 4, 6\), got \(3, 1\)",
    ),
    *(
        (
            lambda other=other: DegradedDataPrior(HEAT, **(TABLES | other)),
            ValueError,
            r"must have shapes \(count, kept\), \(kept,\) and \(2, 4, 6\), indices below 48.*DegradedDataPrior\.fit",
        )
        for other in (
            {"deviations": torch.zeros(5, 2)},
            {"indices": torch.tensor([48])},
            {"indices": torch.tensor([-1])},
            {"mean": torch.zeros(4, 6)},
        )
    ),
    (
        lambda: GaussianPrior(HEAT, torch.zeros(5), torch.ones(())),
        ValueError,
        r"spectral_mean must .* one signal's shape \(2, 4, 6\), got \(5,\)",
    ),
    (lambda: kernels(rows=0), ValueError, "rows must be at least 1.*got 0"),
    (lambda: kernels(X[:0]), ValueError, "holds no example"),
    (lambda: kernels(divergence="bound"), TypeError, "divergence must be a KernelDivergence"),
    *(
        row
        for process in (HEAT, Rough(SHAPE))
        for row in (
            (
                lambda process=process: kernels(process=process, stddev=0.0).log_prob(X),
                ValueError,
                "log_prob needs a density.*no width.*a stddev > 0",
            ),
            *(
                (
                    lambda process=process, kind=kind: kernels(process=process, stddev=0.0, divergence=kind).divergence(
                        some_q(process)
                    ),
                    ValueError,
                    "divergence needs a density.*no width.*a stddev > 0",
                )
                for kind in KernelDivergence
            ),
        )
    ),
    (
        lambda: kernels(process=COLD).log_prob(X),
        ValueError,
        "the kernel has no width in some coefficient.*a stddev > 0",
    ),
    # widths and kinds of decoders
    *(
        (lambda shape=shape: wide(torch.ones(shape)), ValueError, rf"one signal's shape \(2, 4, 6\), got \({shape[0]}")
        for shape in ((7,), (3, 4, 6), (1, 2, 4, 6))
    ),
    *(
        (call, ValueError, f"stddev must be positive and finite, in the data's units, got {wrong}")
        for wrong in (0.0, -1.0, INF, NAN)
        for call in (
            lambda wrong=wrong: wide(wrong),
            lambda wrong=wrong: wide(torch.tensor([1.0, 2.0, wrong, 1.0, 1.0, 1.0])),
            lambda wrong=wrong: integers(wrong),
        )
    ),
    (lambda: integers(X[0]), ValueError, r"stddev must be one number for all pixels, or None, got shape \(2, 4, 6\)"),
    (lambda: wide(X[0].long()), TypeError, "stddev must be floating-point.*torch.int64"),
    (lambda: wide(EIGHT_BITS), TypeError, "stddev must be"),
    (lambda: wide(0.1, grey_levels=256), TypeError, "grey_levels must be a GreyLevels.*got 256"),
    (lambda: DiscretisedGaussianDecoder(HEAT, None), TypeError, "grey_levels must be a GreyLevels.*got None"),
    (lambda: GaussianDecoder(nn.Identity()), TypeError, "process must be a LinearGaussianProcess"),
    (lambda: Decoder(HEAT, None), TypeError, "abstract"),
    # first latents that leave no width
    *(
        row
        for name, decoder in (
            ("GaussianDecoder", GaussianDecoder(UNBOUNDED)),
            ("DiscretisedGaussianDecoder", integers(None, UNBOUNDED)),
        )
        for row in (
            (
                lambda decoder=decoder: decoder.negative_log_likelihood(X.round(), X, 0.0),
                ValueError,
                f"^{name} without a stddev.*that is 0 at t = 0: give it a stddev.*first latent",
            ),
            (
                lambda decoder=decoder: decoder.negative_log_likelihood(X.round(), X, torch.tensor([0.5, 1.0, 0.5])),
                ValueError,
                "that is inf at t = 1",
            ),
        )
    ),
    (lambda: GaussianDecoder(COLD).negative_log_likelihood(X, X, 0.3), ValueError, "that is 0 at t = 0.3"),
    # data of decoders
    *(
        (
            lambda x=x: GaussianDecoder(HEAT).prepare(x),
            TypeError,
            rf"integer data \({x.dtype}\) without levels.*GaussianDecoder\(process, grey_levels=",
        )
        for x in (X.byte(), X.long())
    ),
    (lambda: integers().negative_log_likelihood(X, X, 0.1), ValueError, "data off its levels"),
    *(
        row
        for build in EACH_DECODER
        for row in (
            (
                lambda build=build: build().prepare(X),
                ValueError,
                "data off its levels.*give the decoder no grey levels",
            ),
            (lambda build=build: build().prepare(X.round() - 2), ValueError, "outside the declared range"),
            (lambda build=build: build().prepare(X.long() + 256), ValueError, "levels 0 to 255, got 256"),
            (lambda build=build: build().prepare(X[0].long()), ValueError, r"x must have .*\(batch, 2, 4, 6\).*\[None"),
            *(
                (
                    lambda build=build, x_hat=x_hat, t=t: build().negative_log_likelihood(X.round(), x_hat, t),
                    error,
                    words,
                )
                for x_hat, t, error, words in (
                    (X[:, 0], 0.1, ValueError, r"x_hat must have shape \(batch, 2, 4, 6\), got \(3, 4, 6\)"),
                    (X[:1], 0.1, ValueError, "one batch size, got 3 and 1"),
                    (X, torch.tensor([0.1, 0.2]), ValueError, r"t must have shape \(\) or \(3,\)"),
                    (X, 1.5, ValueError, r"t must lie in \[0, 1\].*got 1.5"),
                    (X.long(), 0.1, TypeError, "x_hat must be a real floating-point tensor"),
                )
            ),
        )
    ),
    # grey levels
    *(
        (
            lambda low=low, high=high: GreyLevels(256, low, high),
            ValueError,
            f"finite numbers with low < high, got low = {low} and high = {high}",
        )
        for low, high in ((1.0, 1.0), (1.0, 0.0), (0.0, INF), (-INF, 0.0), (NAN, 1.0), (0.0, NAN))
    ),
    (lambda: GreyLevels(1, 0.0, 1.0), ValueError, "count must be at least 2, got 1"),
    (lambda: GreyLevels(256.0, 0.0, 1.0), TypeError, "count must be an int.*got 256.0"),
    (lambda: GreyLevels.bin_centres(0, 0.0, 1.0), ValueError, "count must be at least 2, got 0"),
    (lambda: GreyLevels.bin_centres(4, 1.0, 1.0), ValueError, "low < high, got low = 1.0 and high = 1.0"),
    (eight_bits(3, 256), ValueError, "levels 0 to 255, got 256: declare as many levels"),
    (eight_bits(3, -1), ValueError, "levels 0 to 255, got -1"),
    (eight_bits(300, -1), ValueError, "levels 0 to 255, got -1"),
    (lambda: GreyLevels(17, 0.0, 1.0).values(torch.tensor([17])), ValueError, "levels 0 to 16, got 17"),
    (
        eight_bits(-1.0, 0.0, 1.0),
        ValueError,
        "outside the declared range: found -1 to 1.*256 levels from 0 to 1; scale.*or declare",
    ),
    *((eight_bits(0.0, wrong), ValueError, "outside the declared range") for wrong in (-INF, INF, 255.0)),
    *(
        (
            eight_bits(0.0, 10 / 255, (20 + off) / 255, (30 + off / 2) / 255, dtype=torch.float64),
            ValueError,
            rf"off its levels: {(20 + off) / 255:.9g} lies {abs(off):g} of a level's width.*dequantised already",
        )
        for off in (0.02, 0.3, 0.49, -0.4)
    ),
    (eight_bits(NAN, 0.5), ValueError, "NaN in 1 of 2 places"),
    *(
        (
            eight_bits(0.0, dtype=dtype),
            TypeError,
            f"{dtype} is too coarse for 256 levels.*pass the levels as integers",
        )
        for dtype in (torch.float16, torch.bfloat16)
    ),
    (eight_bits(0j), TypeError, "complex64"),
    (lambda: EIGHT_BITS.values(torch.zeros(3)), TypeError, "levels are integers, got torch.float32"),
    (lambda: EIGHT_BITS.indices([1, 2]), TypeError, "x must be a Tensor"),
]


@refusals(*REFUSED)
@pytest.mark.usefixtures("as_in_production")
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
