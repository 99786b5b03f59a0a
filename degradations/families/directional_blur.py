r"""Directional blur: motion blur with a Gaussian profile, at any angle.

    alpha_k(t) = a(t) exp(-((d . k)^2 + r^2 (d' . k)^2) sigma_B(t)^2 / 2),   sigma_k(t) = sigma(t),

k being the frequency of a plane wave (`HartleyBasis`), d the unit vector along the motion, d' the one across it, r the
relative width across, sigma_B(t) the width along in pixels and a(t), sigma(t) a noise schedule. Edges are periodic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import check_instance, check_number
from ..bases import HartleyBasis
from ..process import LinearGaussianProcess, Time
from ..schedules import ConstantNoise, Schedule
from ..schedules.blur import BlurSchedule, LogSpacedBlur


class DirectionalBlur(LinearGaussianProcess):
    """A blur along one direction that widens, under noise that grows.

    What does not change along the direction never fades, unless the blur has a width across it. The profile along the
    motion is a Gaussian: that of a motion at constant speed is a box, whose spectrum turns negative, so that no process
    passes through it. This project's own process.

    Args:
        shape: shape of one image or video, (channels, height, width) or (channels, time, height, width); each picture
            is blurred by itself.
        angle: the direction in degrees: 0 is along the rows, and positive angles turn counter-clockwise, so that 45 is
            from the bottom left to the top right and 90 along the columns; 180 more is the same. Row 0 is at the top.
        across: relative width of the blur across the direction, in [0, 1]: 0 blurs along a line, 1 in all directions
            alike, as `GaussianBlur` with `boundary=FourierBasis` does.
        blur: the blur's width along the direction over time, in pixels; its levels are the process's.
            `LogSpacedBlur()` if None.
        noise: a(t) and sigma(t); `ConstantNoise(0.01)` if None.

    Raises:
        TypeError: blur or noise is no such schedule.
        ValueError: shape has no plane behind its channels, angle is not finite, or across lies outside [0, 1].
    """

    eigenvalues: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        *,
        angle: float = 0.0,
        across: float = 0.0,
        blur: BlurSchedule | None = None,
        noise: Schedule | None = None,
    ) -> None:
        if len(shape) < 3:
            msg = (
                "shape must have two axes behind the channels for a direction to turn in, (channels, height, width),"
                f" got {tuple(shape)}: GaussianBlur blurs signals of one axis"
            )
            raise ValueError(msg)
        check_number("angle", angle, "(-inf, inf)", "degrees, counter-clockwise from along the rows")
        check_number("across", across, "[0, 1]", "the blur's width across the direction, relative to that along it")
        basis = HartleyBasis(shape, axes=2)
        super().__init__(basis)
        self.angle, self.across = angle, across
        self.blur = check_instance(
            "blur", blur or LogSpacedBlur(), BlurSchedule, "LogSpacedBlur(maximum=12.0) for example"
        )
        self.noise = check_instance("noise", noise or ConstantNoise(0.01), Schedule, "ConstantNoise(0.01) for example")
        self.levels = self.blur.levels
        # Rows are counted downwards.
        up, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        along, aside = (basis.directional_eigenvalues(d) for d in ((-up, right), (right, up)))
        self.register_constant("eigenvalues", along + across**2 * aside)

    @override
    def extra_repr(self) -> str:
        # A blur that is a module is shown below.
        blur = "" if isinstance(self.blur, nn.Module) else f", blur={self.blur}"
        return f"{super().extra_repr()}, angle={self.angle:g}, across={self.across:g}{blur}, noise={self.noise}"

    def blur_sigma(self, t: Time) -> Float[Tensor, "*batch"]:
        """Return the blur's width along the direction, sigma_B(t) in pixels, of t's shape."""
        return self.blur.width(self.as_times(t))

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        t = self.expand_times(t)
        return self.noise.log_alpha(t) - self.eigenvalues * (self.blur.width(t).square() / 2)

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.noise.log_sigma(self.expand_times(t))
