r"""Blurring diffusion: blur and noise together, one Gaussian diffusion per frequency."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.checks import check_number
from ..schedules import CosineSchedule, Schedule
from ..schedules.blur import SineBlur
from .gaussian_blur import GaussianBlur


class BlurringDiffusion(GaussianBlur):
    """alpha_k(t) = a(t) d_k(t), d_k = (1 - d_min) exp(-lambda_k sigma_B(t)^2 / 2) + d_min, scalar sigma(t).

    sigma_B(t) = blur_sigma_max sin^p(pi t / 2) pixels; a(t) and sigma(t) are the cosine schedule's. d_min keeps a
    trace of every frequency, so that the denoising step can be written with predicted noise.

    Source: Hoogeboom & Salimans (2023), section 4 and appendix A. Data is scaled to [-1, 1] there.

    Args:
        shape: shape of one signal, such as (3, 32, 32); all axes but the first are blurred.
        blur_sigma_max: width of the blur at t = 1, in pixels; 0 is plain isotropic diffusion.
        min_scale: d_min, what is left of the highest frequencies by blurring alone, in (0, 1].
        schedule: a(t) and sigma(t); `CosineSchedule()` if None.
        blur_power: p, 2 for the paper's sin^2, 1 for the plain sine.

    Raises:
        ValueError: blur_sigma_max < 0, min_scale outside (0, 1], or blur_power not positive.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        blur_sigma_max: float = 20.0,
        min_scale: float = 0.001,
        schedule: Schedule | None = None,
        blur_power: float = 2.0,
    ) -> None:
        check_number("min_scale", min_scale, "(0, 1]", "1 does not blur at all")
        blur = SineBlur(blur_sigma_max, blur_power)
        super().__init__(shape, blur, schedule or CosineSchedule(), min_scale=min_scale)
