"""One vocabulary: every exported class is a setting that is typed, printed and stored as its call, or says why not."""

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from small_runs import small_run

from unmelt.core.configuration import from_record, parse, to_record
from unmelt.degradations import (
    Basis,
    BlurSchedule,
    Convention,
    Coupling,
    EqualVarianceBlur,
    LinearGaussianProcess,
    NoiseSpectrum,
    Prediction,
    Schedule,
)
from unmelt.losses import LearnedLogVariance, Reduction, TimeDistribution, Weighting
from unmelt.models import Prior, ReverseStd, UNet
from unmelt.models.transformers.base import Transformer
from unmelt.samplers import Churn, Follow, Grid, Stepper
from unmelt.training import DataSet, RunConfig

RECIPE = small_run(Path("runs"))

# Where a value of each kind is given: what is typed before it, and its flag.
PLACES = {
    DataSet: ([], "data"),
    LinearGaussianProcess: ([], "process"),
    UNet: ([], "network"),
    Transformer: ([], "network"),
    Prediction: ([], "prediction"),
    Weighting: ([], "weighting"),
    TimeDistribution: ([], "times"),
    Reduction: ([], "reduction"),
    LearnedLogVariance: ([], "log_variance"),
    Prior: ([], "prior"),
    Stepper: ([], "sampler"),
    Grid: ([], "grid"),
    torch.optim.Optimizer: ([], "optimizer"),
    Coupling: (["--sampler", "Posterior"], "sampler.coupling"),
    ReverseStd: (["--sampler", "Posterior(Independent())"], "sampler.reverse_std"),
    Churn: (["--sampler", "Heun"], "sampler.churn"),
    Follow: (["--sampler", "Multistep"], "sampler.follow"),
    Schedule: (["--process", "IsotropicDiffusion"], "process.schedule"),
    Convention: (
        ["--process", "IsotropicDiffusion(schedule=LogSNRSchedule(test_vocabulary.falling))"],
        "process.schedule.convention",
    ),
    BlurSchedule: (["--process", "VariancePreservingBlur"], "process.blur"),
    EqualVarianceBlur: (["--process", "VariancePreservingBlur"], "process.blur"),
    NoiseSpectrum: (["--process", "SpectralDiffusion"], "process.noise"),
    Basis: (
        ["--process", "SpectralDiffusion(noise=GivenVariance(PixelBasis, FromFile('table.npy')))"],
        "process.noise.basis",
    ),
}

# What is typed where the name alone is not enough.
TYPED = {
    "ArrayFile": "ArrayFile(file='x.npy', channels=Channels.LAST)",
    "ChangedBasis": "ChangedBasis.of(process=HeatDissipation, basis=HaarBasis)",
    "ChannelGroups": "ChannelGroups.of(channels=(1, 2), processes=(HeatDissipation, Pixelation(scales=3)))",
    "DiffusionBridge": "DiffusionBridge.of(process=IsotropicDiffusion)",
    "EqualSNR": "EqualSNR(spectrum=FittedSpectrum(images=100))",
    "FixedGrid": "FixedGrid((1.0, 0.5, 0.0))",
    "FlippedSNR": "FlippedSNR(spectrum=FittedSpectrum(CosineBasis))",
    "Follow": "Follow.NOISE",
    "GaussianBlur": "GaussianBlur(blur=EqualVarianceBlur(levels=9), noise=ConstantNoise(0.1))",
    "GivenVariance": "GivenVariance(basis=FourierBasis, variance=FromFile('table.npy'))",
    "GraphHeat": "GraphHeat(laplacian=FromFile('table.npy'))",
    "ImageFolder": "ImageFolder(folder='photos', size=(48, 32))",
    "LogSNRSchedule": "LogSNRSchedule(log_snr=test_vocabulary.falling)",
    "PCABasis": "FittedPCA(images=100)",
    "PixelMask": "PixelMask(onset=FromFile('table.npz', key='onset'), duration=0.2)",
    "ScaledNoise": "ScaledNoise(schedule=LinearSchedule(), factor=0.5)",
    "SequentialMasking": "SequentialMasking.of(basis=HaarBasis, onset=FromFile('table.npy'), duration=0.2)",
    "TowardsMean": "TowardsMean.of(process=IsotropicDiffusion)",
    "WithNoise": "WithNoise.of(process=HeatDissipation, noise=CosineSchedule())",
}

# What is typed for a setting of a kind that has no default.
EXAMPLES = {Path: "'somewhere'", str: "'somewhere'", float: "0.5", int: "3"}

THE_RECIPES_OWN = {"Digits", "PredictPreviousLevel", "SimpleWeighting", "SumOverDimensions"}

NO_SETTINGS = {
    "returned by a call": """
        BitsPerDim Bound Conversion DataReport FlowCoefficients Generation Level LogLikelihood
        NonFiniteStateError OffLevelsWarning Partial PosteriorCoefficients SamplingInterrupted SamplingResult
        SamplingStats SpectralGaussian Splits Start Step StepInfo Trajectory Transition Tree UnreadableError""",
    "made of a trained network, or for one": """
        ArrayExamples CentredDenoiser ClippedDenoiser ClosedFormTrace Denoiser DenoisingLoss DiffusersNetwork
        DiscretisedGaussianDecoder ELBO EMA EmpiricalOracle
        ExactTrace FlowLikelihood FullSum GaussianDecoder GaussianOracle HutchinsonTrace
        KernelDivergence LatentAutoencoder MixtureOracle MonteCarlo OraclePrior Sampler SchedulerSettings""",
    "made of tensors; a value says how they are fitted or read": """
        DataSpectrum DiscreteSchedule EigenBasis FittedStd FrequencyWeighting MatrixBasis SpectrumEstimator
        TabulatedBlur""",
    "given to a call of a sampler": "Blend GeneratorNoise InterpolatedNoise SeedNoise SharedNoise",
    "handed to a stepper": "PlannedStep Problem SamplerState Spectral",
    "typed inside of other settings": "Channels ConstantModule FittedPCA FittedSpectrum FromFile Later TimestepSpacing",
    "told by the data": "GreyLevels",
    "made of two bases that share a shape": "ProductBasis",
    "chosen by the stepper itself": "Variable",
}
ELSEWHERE = {name: reason for reason, names in NO_SETTINGS.items() for name in names.split()}


def falling(t: torch.Tensor) -> torch.Tensor:
    """A log-SNR of the user's own."""
    return 8 - 16 * t


def exported():
    """Every concrete class in a public list, by name."""
    found = {}
    for package in ("core", "degradations", "models", "losses", "samplers", "training.data"):
        module = import_module(f"unmelt.{package}")
        found |= {name: getattr(module, name) for name in module.__all__ if inspect.isclass(getattr(module, name))}
    optimizers = {name: getattr(torch.optim, name) for name in ("AdamW", "SGD", "NAdam")}
    return {name: cls for name, cls in (found | optimizers).items() if not inspect.isabstract(cls)}


def typed(cls, name):
    """What is typed for a class, flags and all; None where it has no place."""
    place = next((PLACES[base] for base in inspect.getmro(cls) if base in PLACES), None)
    return place and [*place[0], f"--{place[1]}", TYPED.get(name) or call_of(cls, name)]


def call_of(cls, name):
    """A prior is fitted; of others, what has no default is given something of its kind."""
    if issubclass(cls, Prior):
        return f"{name}.fit"
    hints, needed = get_type_hints(cls.__init__), inspect.signature(cls).parameters.values()
    given = [
        f"{p.name}={EXAMPLES[hints[p.name]]}" for p in needed if p.default is p.empty and hints.get(p.name) in EXAMPLES
    ]
    return f"{name}({', '.join(given)})" if given else name


@pytest.mark.parametrize(("name", "cls"), exported().items(), ids=exported())
def test_every_class_is_typed_and_stored_as_its_call_or_says_why_not(name, cls):
    if name in ELSEWHERE:
        return
    words = typed(cls, name)
    assert words, f"{name} has no place on the command line: give it one, or a reason in ELSEWHERE"
    config = parse(RECIPE, words)
    assert (config == RECIPE) == (words[-1] in THE_RECIPES_OWN)
    record = json.loads(json.dumps(to_record(config)))
    assert from_record(RunConfig, record, trust_code=True) == config
    # What is stored can be typed.
    flags = [f"--{field}={text}" for field, text in record.items() if isinstance(text, str)]
    assert parse(RECIPE, flags) == config


def test_no_reason_is_given_in_vain():
    classes = exported()
    assert not ELSEWHERE.keys() - classes.keys()
    assert not TYPED.keys() - classes.keys()
    assert not ELSEWHERE.keys() & TYPED.keys()


@pytest.mark.parametrize(
    "words",
    [
        "--training.precision BF16 --training.no-flip --training.label_dropout 0.2 --training.cosine-decay",
        "--training.clip inf --training.no-cpu --training.compile --pictures.guidance 2",
        "--data.low -1 --name naïve --root /elsewhere",
        "--process SpectralDiffusion.power_law(exponent=-1) --process.exponent -0.5",
        "--process IsotropicDiffusion(schedule=EDMSchedule(rho=5)) --process.schedule.rho 6",
        "--network.classes 10 --optimizer SGD(lr=0.1) --optimizer.momentum 0.9",
    ],
)
def test_settings_are_read_back_equal(words):
    config = parse(RECIPE, words.split())
    assert from_record(RunConfig, json.loads(json.dumps(to_record(config)))) == config
