r"""Cold blur: repeated blurring, without any noise."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.configuration import FromData
from ..schedules import ConstantNoise
from ..schedules.blur import BlurSchedule, repeated_blur
from .gaussian_blur import GaussianBlur


class ColdBlur(GaussianBlur):
    """A deterministic degradation, sigma = 0: step i of K convolves with a Gaussian of width s_i pixels.

    Source: Bansal, Borgnia, Chu, Li, Kazemi, Huang, Goldblum, Geiping & Goldstein (2023), Cold diffusion, section 4: 50
    steps of widths 0.35 + i / 100 (i from 0) for CIFAR-10. Their kernels are sampled at 11 x 11 pixels, which makes the
    narrow ones narrower still, and their edges are reflected without repeating the last pixel; here Gaussians are
    exact, and the reflection repeats it.

    Without noise no level has a density: `log_prob` and the score raise, and sampling uses `Deterministic()`, which is
    their improved sampler (algorithm 2).

    Args:
        shape: shape of one signal, such as (3, 32, 32); all axes but the first are blurred.
        blur: the blur's width over time; the paper's for CIFAR-10 if None. `repeated_blur(widths)` makes one of the
            widths of single steps.
    """

    def __init__(self, shape: Sequence[int], *, blur: BlurSchedule | FromData | None = None) -> None:
        paper = repeated_blur([0.35 + i / 100 for i in range(50)])
        super().__init__(shape, blur or paper, ConstantNoise(0.0))
