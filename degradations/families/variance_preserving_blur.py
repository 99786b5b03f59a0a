r"""Variance-preserving blur: a diffusion whose every frequency has its own rate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.configuration import FromData
from ..process import Time
from ..schedules import LinearSchedule, Schedule
from ..schedules.blur import BlurSchedule, PowerBlur
from .gaussian_blur import GaussianBlur

# The released settings for 64 x 64 pixels: the blur of step i has variance (0.4 px)^2 f(i) with f(i) = (0.15 / 0.4)^2
# (i / 1000)^4, so that 1000 steps add up to 1000 0.15^2 / 5 square pixels, growing with the fifth power of time.
_RELEASED = PowerBlur((1000 * 0.15**2 / 5) ** 0.5, 2.5)


class VariancePreservingBlur(GaussianBlur):
    """alpha_k(t) = a(t) exp(-lambda_k sigma_B(t)^2 / 2), sigma_k^2 = 1 - alpha_k^2: noise fills what is lost.

    Source: Lee, Chung, Kim & Ye (2022), Progressive deblurring of diffusion models for coarse-to-fine image synthesis:
    step i multiplies frequency k by sqrt(1 - beta_i) d_k^f(i), d_k being the response of a small Gaussian blur. This is
    the limit of many steps, with exact Gaussian responses of their nominal widths in the cosine basis. The authors take
    the singular vectors of a sampled kernel (0.4 pixels wide by name, 0.28 by its variance) that sees zeros beyond the
    edge.

    Args:
        shape: shape of one signal, such as (3, 64, 64); all axes but the first are blurred.
        blur: the blur's width over time; the released one, 2.12 t^2.5 pixels, if None.
        schedule: variance preserving, gives a(t); `LinearSchedule()` if None.
    """

    def __init__(
        self, shape: Sequence[int], *, blur: BlurSchedule | FromData | None = None, schedule: Schedule | None = None
    ) -> None:
        super().__init__(shape, blur or _RELEASED, schedule or LinearSchedule())

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return torch.log(-torch.expm1(2 * self.log_alpha(t))) / 2
