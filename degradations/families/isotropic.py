"""Isotropic diffusion: every pixel fades and is covered with noise alike."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance
from ..bases import PixelBasis
from ..process import LinearGaussianProcess, Time
from ..schedules import CosineSchedule, Schedule


class IsotropicDiffusion(LinearGaussianProcess):
    """z_t = alpha(t) x + sigma(t) epsilon, with scalar alpha and sigma: standard diffusion.

    Sources: Ho et al. (2020); Song et al. (2021); Kingma et al. (2021). Data is usually scaled to [-1, 1].

    Args:
        shape: shape of one signal, such as (3, 32, 32).
        schedule: alpha(t) and sigma(t); `CosineSchedule()` if None. The process has the levels of one that has any.
    """

    def __init__(self, shape: Sequence[int], schedule: Schedule | None = None) -> None:
        super().__init__(PixelBasis(shape))
        self.schedule = schedule or CosineSchedule()
        check_instance("schedule", self.schedule, Schedule, "CosineSchedule() for example")
        # A subclass may have levels of its own.
        if self.schedule.levels is not None:
            self.levels = self.schedule.levels

    @override
    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, schedule={self.schedule}"

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        return self.schedule.log_alpha(self.expand_times(t))

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.schedule.log_sigma(self.expand_times(t))
