r"""Soft diffusion: blur, with a little noise that is soon all there."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.configuration import FromData
from ..schedules import GeometricNoise, Schedule
from ..schedules.blur import BlurSchedule, PowerBlur
from .gaussian_blur import GaussianBlur


class SoftDiffusion(GaussianBlur):
    """x_t = C_t x_0 + s_t eta, C_t a blur, s_t small and variance exploding.

    Source: Daras, Delbracio, Talebi, Dimakis & Milanfar (2023), Soft diffusion: score matching for general
    corruptions. The paper chooses its blur widths from data, so that neighbouring levels are equally far apart; the
    default here is a width that grows at a constant rate to 23 pixels, and `equal_variance_blur` fits one to data.
    Noise grows geometrically from 0.01 to 0.1 in the first quarter of time and stays there. The authors published no
    code: these numbers are those of a public reimplementation, for 64 x 64 pixels.

    Args:
        shape: shape of one signal, such as (3, 64, 64); all axes but the first are blurred.
        blur: the blur's width over time; `PowerBlur(23.0, power=1.0)` if None.
        noise: s(t), with alpha = 1; `GeometricNoise(0.01, 0.1, until=0.25)` if None.
    """

    def __init__(
        self, shape: Sequence[int], *, blur: BlurSchedule | FromData | None = None, noise: Schedule | None = None
    ) -> None:
        super().__init__(shape, blur or PowerBlur(23.0, 1.0), noise or GeometricNoise(0.01, 0.1, until=0.25))
