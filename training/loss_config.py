"""Which loss a run trains with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..degradations import LinearGaussianProcess, Prediction
from ..losses import (
    Antithetic,
    BoundWeighting,
    DenoisingLoss,
    EDMWeighting,
    LearnedLogVariance,
    LevelTimes,
    LogNormalTimes,
    LossHistoryBins,
    LossHistoryTimes,
    MinSNRWeighting,
    P2Weighting,
    Reduction,
    SigmoidWeighting,
    SimpleWeighting,
    Stratified,
    TimeDistribution,
    UniformTimes,
    Weighting,
)
from .kinds import PredictionKind, TimesKind, WeightingKind

# Times in (0, 1] at which a weighting is tried where the process has no levels, and how many of them at once.
_TIMES_PROBED, _TIMES_AT_ONCE = 129, 16


@dataclass(frozen=True)
class LossConfig:
    """The training loss: what errors count at each time, and how times are drawn."""

    weighting: WeightingKind = WeightingKind.SIMPLE
    """How much the error counts at each time."""
    measure: PredictionKind | None = None
    """Prediction whose error the simple weighting counts; the network's own if not given."""
    sigmoid_bias: float = 0.0
    """Log-SNR at which the sigmoid weighting is half the bound's."""
    min_snr_gamma: float = 5.0
    """Signal-to-noise ratio from which on min-SNR cuts."""
    times: TimesKind = TimesKind.INDEPENDENT
    """How times are drawn: independent, spread over a batch (stratified, antithetic), where losses are large
    (loss-history), or by the noise (log-normal)."""
    learned_log_variance: bool = False
    """Divide the loss at each time by its learned mean."""

    def build(self, process: LinearGaussianProcess, prediction: Prediction, reduction: Reduction) -> DenoisingLoss:
        """Return the loss for `process` and a network that predicts `prediction`.

        Raises:
            ValueError: a setting does not belong to the weighting, is not defined for the process, or weighs an error
                infinitely at some level or time: better told now than in the middle of training.
        """
        weighting, count = self._weighting(), process.levels or _TIMES_PROBED
        weighting.require_defined(process)
        # Levels as they are; else the middles of as many parts, away from ends that are drawn with probability 0.
        shift = 0.0 if process.levels else 0.5
        times = process.to_schedule_dtype((torch.arange(1, count + 1, dtype=torch.float64) - shift) / count)
        for t in times.split(_TIMES_AT_ONCE):
            weighting.check_gain(weighting.gain(process, prediction, t), process, prediction, t, torch.float32)
        return DenoisingLoss(
            process,
            times=self._times(process),
            weighting=weighting,
            reduction=reduction,
            uncertainty=LearnedLogVariance(process) if self.learned_log_variance else None,
        )

    def _weighting(self) -> Weighting:
        if self.measure is not None and self.weighting is not WeightingKind.SIMPLE:
            msg = (
                f"loss.measure={self.measure.value} is for the simple weighting, and {self.weighting.value} says itself"
                " what it counts: leave one of them out"
            )
            raise ValueError(msg)
        match self.weighting:
            case WeightingKind.SIMPLE:
                return SimpleWeighting(None if self.measure is None else self.measure.build())
            case WeightingKind.BOUND:
                return BoundWeighting()
            case WeightingKind.SIGMOID:
                return SigmoidWeighting(self.sigmoid_bias)
            case WeightingKind.MIN_SNR:
                return MinSNRWeighting(self.min_snr_gamma)
            case WeightingKind.P2:
                return P2Weighting()
            case WeightingKind.EDM:
                return EDMWeighting()

    def _times(self, process: LinearGaussianProcess) -> TimeDistribution:
        law = LevelTimes(process.levels) if process.levels else UniformTimes()
        match self.times:
            case TimesKind.INDEPENDENT:
                return law
            case TimesKind.STRATIFIED:
                return Stratified(law)
            case TimesKind.ANTITHETIC:
                return Antithetic(law)
            case TimesKind.LOSS_HISTORY:
                return LossHistoryTimes(process.levels) if process.levels else LossHistoryBins()
            case TimesKind.LOG_NORMAL:
                if process.levels:
                    msg = (
                        f"log-normal times are for continuous time, and {type(process).__name__} has {process.levels}"
                        " levels, between which nothing is sampled: use another --loss.times"
                    )
                    raise ValueError(msg)
                return LogNormalTimes(process)
