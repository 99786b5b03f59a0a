"""The choices that a configuration names by a word, and what each of them builds."""

from __future__ import annotations

from enum import Enum

from ..degradations import (
    Coupling,
    Deterministic,
    Independent,
    Markov,
    PredictEpsilon,
    Prediction,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
)
from ..losses import MeanOverDimensions, Reduction, SumOverDimensions


class DataSource(Enum):
    """Where images come from."""

    DIGITS = "digits"
    CIFAR10 = "cifar10"
    PHOTOS = "photos"
    FOLDER = "folder"


class PredictionKind(Enum):
    """What the network predicts."""

    X = "x"
    EPSILON = "epsilon"
    V = "v"
    SCORE = "score"
    LESS_DEGRADED = "less-degraded"

    def build(self) -> Prediction:
        """Return the prediction."""
        return _PREDICTIONS[self]


class ReductionKind(Enum):
    """How squared errors add up over an image."""

    SUM = "sum"
    MEAN = "mean"

    def build(self) -> Reduction:
        """Return the reduction."""
        return SumOverDimensions() if self is ReductionKind.SUM else MeanOverDimensions()


class WeightingKind(Enum):
    """How much errors count at each time."""

    SIMPLE = "simple"
    BOUND = "bound"
    SIGMOID = "sigmoid"
    MIN_SNR = "min-snr"
    P2 = "p2"
    EDM = "edm"


class TimesKind(Enum):
    """How training times are drawn."""

    INDEPENDENT = "independent"
    STRATIFIED = "stratified"
    ANTITHETIC = "antithetic"
    LOSS_HISTORY = "loss-history"
    LOG_NORMAL = "log-normal"


class SamplerKind(Enum):
    """How samples are drawn: one or two network calls per step, with or without noise."""

    POSTERIOR = "posterior"
    MULTISTEP = "multistep"
    HEUN = "heun"
    SDE = "sde"


class GridKind(Enum):
    """Where the steps of a sampler lie."""

    UNIFORM = "uniform"
    LOG_SNR = "log-snr"
    BALANCED = "balanced"
    KARRAS = "karras"


class CouplingKind(Enum):
    """How consecutive noises of the sampler hang together."""

    MARKOV = "markov"
    DETERMINISTIC = "deterministic"
    INDEPENDENT = "independent"

    def build(self) -> Coupling:
        """Return the coupling."""
        return _COUPLINGS[self]


class PriorKind(Enum):
    """What samples start from: the law of the latent at t = 1."""

    AUTO = "auto"
    """Standard normal noise where the process ends in it, else degraded training images."""
    STANDARD_NORMAL = "standard-normal"
    DEGRADED_DATA = "degraded-data"
    """A training image at random, degraded, plus noise."""
    LOW_DIMENSIONAL = "low-dimensional"
    """A Gaussian fitted to degraded training images, correlated in what survives; the run keeps it in its folder."""
    GAUSSIAN = "gaussian"
    """A Gaussian fitted to degraded training images, independent in every coefficient."""


class ScheduleKind(Enum):
    """Noise schedules of isotropic diffusion."""

    COSINE = "cosine"
    LINEAR = "linear"


class Precision(Enum):
    """Arithmetic of the network; processes and losses stay in float32."""

    FLOAT32 = "float32"
    BF16 = "bf16"


_PREDICTIONS: dict[PredictionKind, Prediction] = {
    PredictionKind.X: PredictX(),
    PredictionKind.EPSILON: PredictEpsilon(),
    PredictionKind.V: PredictV(),
    PredictionKind.SCORE: PredictScore(),
    PredictionKind.LESS_DEGRADED: PredictPreviousLevel(),
}
_COUPLINGS: dict[CouplingKind, Coupling] = {
    CouplingKind.MARKOV: Markov(),
    CouplingKind.DETERMINISTIC: Deterministic(),
    CouplingKind.INDEPENDENT: Independent(),
}
