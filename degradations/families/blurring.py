r"""Blurring diffusion: blur and noise together, one Gaussian diffusion per frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .bases import CosineBasis
from .process import LinearGaussianProcess, Time
from .schedules import CosineSchedule, Schedule


class BlurringDiffusion(LinearGaussianProcess):
    """alpha_k(t) = a(t) d_k(t), d_k = (1 - d_min) exp(-lambda_k sigma_B(t)^2 / 2) + d_min, scalar sigma(t).

    sigma_B(t) = blur_sigma_max sin^2(pi t / 2) pixels; a(t) and sigma(t) are the cosine schedule's. d_min keeps a
    trace of every frequency, so that the denoising step can be written with predicted noise.

    Source: Hoogeboom & Salimans (2023), section 4 and appendix A. Data is scaled to [-1, 1] there.

    Args:
        shape: shape of one signal, such as (3, 32, 32); all axes but the first are blurred.
        blur_sigma_max: width of the blur at t = 1, in pixels; 0 is plain isotropic diffusion.
        min_scale: d_min, what is left of the highest frequencies by blurring alone, in (0, 1].
        schedule: a(t) and sigma(t); `CosineSchedule()` if None.

    Raises:
        ValueError: blur_sigma_max < 0, or min_scale outside (0, 1].
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        blur_sigma_max: float = 20.0,
        min_scale: float = 0.001,
        schedule: Schedule | None = None,
    ) -> None:
        basis = CosineBasis(shape)
        super().__init__(basis)
        if not 0 <= blur_sigma_max < math.inf:
            msg = f"blur_sigma_max must be a width >= 0 in pixels, got {blur_sigma_max}"
            raise ValueError(msg)
        if not 0 < min_scale <= 1:
            msg = f"min_scale must lie in (0, 1] (1 does not blur at all), got {min_scale}"
            raise ValueError(msg)
        self.blur_sigma_max, self.min_scale = blur_sigma_max, min_scale
        self.schedule = schedule or CosineSchedule()
        self.register_table("eigenvalues", basis.laplacian_eigenvalues())

    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        """See `LinearGaussianProcess.log_alpha`."""
        t = self.expand_times(t)
        dissipation_time = (self.blur_sigma_max * torch.sin(math.pi / 2 * t) ** 2) ** 2 / 2
        # log((1 - d) e^-y + d) = log1p((1 - d) expm1(-y)), exact where the blur is weak.
        log_scale = torch.log1p((1 - self.min_scale) * torch.expm1(-self.table("eigenvalues") * dissipation_time))
        return self.schedule.log_alpha(t) + log_scale

    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        """See `LinearGaussianProcess.log_sigma`."""
        return self.schedule.log_sigma(self.expand_times(t))
