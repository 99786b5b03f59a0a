r"""A bridge between an image and its blurred self along the heat equation.

With d_t = exp(-lambda_k tau_t), tau_t = (sigma_B(t)^2 - sigma_B(0)^2) / 2 being the dissipation time, per frequency

    alpha_t = (d_t - d_1) / (1 - d_1),    beta_t = (1 - d_t) / (1 - d_1),    sigma_t^2 = s^2 alpha_t beta_t,

and at lambda = 0 their limits, linear in tau. Where y is x blurred to the end, y = A_1 x, the mean of z_t is A_t x:
each frequency comes back along the heat equation, at its own time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance, check_number
from ...core.configuration import FromData
from ..bases import CosineBasis
from ..bases.anisotropy import blur_rates
from ..bases.axes import outer_sum
from ..process import LinearGaussianProcess, Time
from ..schedules.blur import BlurSchedule, PowerBlur


class HeatBridge(LinearGaussianProcess):
    """A bridge whose mean is the blurred image at every time, if its end is the image blurred to the end.

    The end may be any image; both ends are exact, z_0 = x and z_1 = y. Unlike in a Brownian bridge coarse forms are
    still undecided when fine detail has long been given up, t going from x to y: on the way back detail comes last.

    Args:
        shape: shape of one signal, such as (3, 32, 32); all axes but the first are blurred.
        blur: the blur's width over time, in pixels; `PowerBlur(4.0)` if None. Its levels are the process's.
        sigma: s, in the data's units: noise is strongest, s / 2, where a frequency is half x and half y.

    Raises:
        ValueError: sigma is not positive, or the blur does not widen.
    """

    eigenvalues: Tensor

    def __init__(
        self, shape: Sequence[int], *, blur: BlurSchedule | FromData | None = None, sigma: float = 0.5
    ) -> None:
        basis = CosineBasis(shape)
        super().__init__(basis)
        self.blur = check_instance("blur", blur or PowerBlur(4.0), BlurSchedule, "PowerBlur(4.0) for example")
        check_number("sigma", sigma, "(0, inf)", "a standard deviation in the data's units")
        self.sigma_scale, self.levels = sigma, self.blur.levels
        self.register_constant("eigenvalues", outer_sum(blur_rates(basis, None)))
        if not bool(self._time(torch.ones(())) > 0):
            msg = f"blur must widen from t = 0 to t = 1, got {self.blur}: PowerBlur(4.0) for example"
            raise ValueError(msg)

    @override
    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, blur={self.blur}, sigma={self.sigma_scale}"

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        now, end = self._times(t)
        # d_t - d_1 = d_t (1 - d_1 / d_t).
        return -self.eigenvalues * now + self._log_faded(end - now) - self._log_faded(end)

    @override
    def log_beta(self, t: Time) -> Float[Tensor, "..."]:
        now, end = self._times(t)
        return self._log_faded(now) - self._log_faded(end)

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return math.log(self.sigma_scale) + (self.log_alpha(t) + self.log_beta(t)) / 2

    def _times(self, t: Time) -> tuple[Tensor, Tensor]:
        """Return the dissipation times at t and at t = 1, in pixel^2."""
        t = self.expand_times(t)
        return self._time(t), self._time(torch.ones_like(t))

    def _time(self, t: Tensor) -> Tensor:
        return (self.blur.width(t).square() - self.blur.width(torch.zeros_like(t)).square()) / 2

    def _log_faded(self, time: Tensor) -> Tensor:
        """Return log (1 - exp(-lambda time)) per frequency, and log time at lambda = 0, whose factor cancels."""
        still = self.eigenvalues == 0
        faded = torch.log(-torch.expm1(-torch.where(still, 1.0, self.eigenvalues) * time))
        return torch.where(still, time.log(), faded)
