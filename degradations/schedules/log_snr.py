r"""A schedule from its log-SNR alone.

Up to a common factor of signal and noise a schedule is its log-SNR l(t). The factor is a convention:

| convention | alpha | sigma |
|---|---|---|
| `VariancePreserving` | alpha^2 = sigmoid(l) | sigma^2 = sigmoid(-l), so that alpha^2 + sigma^2 = 1 |
| `VarianceExploding` | 1 | exp(-l / 2) |
| `Interpolating` | sigmoid(l / 2) | sigmoid(-l / 2), so that alpha + sigma = 1 |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from ...core.checks import check_instance
from .base import Schedule


class Convention(ABC):
    """What fixes alpha and sigma once their ratio is known."""

    @abstractmethod
    def log_alpha(self, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return log alpha for a log-SNR, elementwise."""

    @abstractmethod
    def log_sigma(self, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return log sigma for a log-SNR, elementwise."""


@dataclass(frozen=True)
class VariancePreserving(Convention):
    """alpha^2 + sigma^2 = 1 (Song et al., 2021)."""

    @override
    def log_alpha(self, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return functional.logsigmoid(log_snr) / 2

    @override
    def log_sigma(self, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return functional.logsigmoid(-log_snr) / 2


@dataclass(frozen=True)
class VarianceExploding(Convention):
    """alpha = 1 (Song et al., 2021)."""

    @override
    def log_alpha(self, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.zeros_like(log_snr)

    @override
    def log_sigma(self, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return -log_snr / 2


@dataclass(frozen=True)
class Interpolating(Convention):
    """alpha + sigma = 1: the straight lines of rectified flow (Liu et al., 2023)."""

    @override
    def log_alpha(self, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return functional.logsigmoid(log_snr / 2)

    @override
    def log_sigma(self, log_snr: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return functional.logsigmoid(-log_snr / 2)


@dataclass(frozen=True)
class LogSNRSchedule(Schedule):
    """Any schedule, from its log-SNR and a convention.

    Attributes:
        log_snr: function of times in [0, 1], float64 where the device has it, made of torch operations, elementwise
            and non-increasing; infinite values are allowed at the ends.
        convention: how alpha and sigma follow from it.
    """

    log_snr: Callable[[Tensor], Tensor]
    convention: Convention = field(default_factory=VariancePreserving)

    def __post_init__(self) -> None:
        check_instance("convention", self.convention, Convention, "VariancePreserving() for example")

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.convention.log_alpha(self.log_snr(t))

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.convention.log_sigma(self.log_snr(t))
