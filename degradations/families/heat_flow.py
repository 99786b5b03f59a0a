r"""Heat dissipation flow matching: straight lines to noise, along which the data melts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_number
from ..bases import CosineBasis
from ..process import LinearGaussianProcess, Time


class HeatFlow(LinearGaussianProcess):
    """alpha_k(t) = (1 - t)^(1 + rate lambda_k), sigma(t) = noise_scale t.

    Rectified flow's 1 - t, times the heat equation run for the time -rate log(1 - t): a blur of standard deviation
    sqrt(-2 rate log(1 - t)) pixels, and a coefficient's power of time grows with its eigenvalue lambda_k.

    Source: Ma, Zhang, Qin, Guan & Zhang (2026), Multi-scale generative modeling with heat dissipation flow matching,
    with time reversed: 0 is data here.

    Args:
        shape: shape of one signal, such as (3, 32, 32); all axes but the first are blurred.
        rate: heat time per unit of -log(1 - t), in square pixels; 0 is rectified flow.
        noise_scale: standard deviation of the noise at t = 1, in the data's units.

    Raises:
        ValueError: rate is negative, or noise_scale is not positive.
    """

    power: Tensor

    def __init__(self, shape: Sequence[int], *, rate: float = 0.5, noise_scale: float = 1.0) -> None:
        basis = CosineBasis(shape)
        super().__init__(basis)
        check_number("rate", rate, "[0, inf)", "a heat time in square pixels")
        check_number("noise_scale", noise_scale, "(0, inf)", "in the data's units")
        self.rate, self.noise_scale = rate, noise_scale
        self.register_constant("power", 1 + rate * basis.laplacian_eigenvalues())

    @override
    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rate={self.rate:g}, noise_scale={self.noise_scale:g}"

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        return self.power * torch.log1p(-self.expand_times(t))

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return torch.log(self.noise_scale * self.expand_times(t))
