r"""Coefficients that vanish one after the other, in any basis and any order.

    alpha_k(t) = a(t) cos(pi/2 min(1, max(0, (t - onset_k) / duration))),

so coefficient k is whole until onset_k and gone for good a `duration` later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import Shape, as_shape, broadcast_to, check_instance, check_number
from ...core.configuration import FromData
from ...core.makers import made
from ..bases import Basis
from ..process import LinearGaussianProcess, Time
from ..schedules import ConstantNoise, Schedule


class SequentialMasking(LinearGaussianProcess):
    """Each coefficient fades from 1 to 0 during its own stretch of time.

    Args:
        basis: the basis.
        onset: the time at which each coefficient starts to fade, >= 0, broadcastable to the basis's shape; a
            coefficient of onset 1 or later is never touched.
        duration: how long the fading takes, in (0, 1].
        noise: a(t) and sigma(t); `ConstantNoise(0.01)` if None.

    Raises:
        ValueError: an onset is negative or NaN, its shape does not fit, or duration lies outside (0, 1].
    """

    onset: Tensor

    def __init__(
        self, basis: Basis, onset: Float[Tensor, "..."] | FromData, *, duration: float, noise: Schedule | None = None
    ) -> None:
        super().__init__(basis)
        onset = check_instance("onset", onset, Tensor, "torch.linspace(0, 0.75, n) for example")
        check_number("duration", duration, "(0, 1]", "a stretch of time")
        onset = onset.detach().to("cpu", torch.float64)
        if not bool((onset >= 0).all()):
            msg = f"onset must be times >= 0 (1 or later never fades), got {onset.min()}"
            raise ValueError(msg)
        broadcast_to("onset", onset, basis.shape, "the basis's")
        self.duration, self.noise = duration, noise or ConstantNoise(0.01)
        check_instance("noise", self.noise, Schedule, "ConstantNoise(0.01) for example")
        self.register_constant("onset", onset.clone())

    @override
    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, duration={self.duration:g}, noise={self.noise}"

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        *,
        basis: Callable[[Shape], Basis] | FromData,
        onset: Float[Tensor, "..."] | FromData,
        duration: float,
        noise: Schedule | None = None,
    ) -> SequentialMasking:
        """Return `SequentialMasking(basis(shape), onset, duration=duration, noise=noise)`.

        Raises:
            TypeError: it is called on a subclass, which is made in its own way.
        """
        if cls is not SequentialMasking:
            msg = f"{cls.__name__} is made from a shape by itself: call {cls.__name__}(shape), or SequentialMasking.of"
            raise TypeError(msg)
        found = made("basis", basis, as_shape(shape), Basis, "CosineBasis for example")
        return cls(found, onset, duration=duration, noise=noise)

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        t = self.expand_times(t)
        progress = ((t - self.onset) / self.duration).clamp(0, 1)
        # What has gone has gone: cos(pi / 2) is 6e-17 in floating point, and 3 / 5 - 2 / 5 a little less than 1 / 5.
        gone = 1 - 4 * torch.finfo(t.dtype).eps / self.duration
        fade = torch.where(progress < gone, torch.cos(math.pi / 2 * progress).log(), -torch.inf)
        return self.noise.log_alpha(t) + fade

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.noise.log_sigma(self.expand_times(t))
