r"""Graph heat: heat spreads along the edges of any graph.

With L = V diag(l) V^T symmetric and positive semi-definite (a graph's Laplacian, or a mesh's), the heat equation
du / d tau = -L u is diagonal in V: coefficient k fades as exp(-l_k tau).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance, check_rising
from ...core.configuration import FromData
from ..bases import EigenBasis
from ..process import LinearGaussianProcess, Time
from ..schedules import ConstantNoise, Schedule
from ..schedules.blur import LogSpacedBlur


class GraphHeat(LinearGaussianProcess):
    """alpha_k(t) = exp(-l_k tau(t)): heat dissipation on a graph.

    Level k of K is time k / K; levels 1 to K have diffusion times tau spaced evenly in their logarithm, and below level
    1 tau grows with t^2, as `HeatDissipation` has it with tau = sigma_B^2 / 2. The mean over each connected component
    never fades.

    Source: the heat equation on graphs (Kondor & Lafferty, 2002); as a degradation for molecules in Park & Shen (2024),
    Equivariant blurring diffusion, motivated by inverse heat dissipation, whose noise is the default here.

    Args:
        shape: shape of one signal: (channels, nodes), say.
        laplacian: L, (n, n), symmetric and positive semi-definite, on the trailing axes that hold n numbers.
        time_max: diffusion time of level K, in units of 1 / eigenvalue.
        time_min: diffusion time of level 1.
        levels: number K of levels, at least 2.
        noise: a(t) and sigma(t); `ConstantNoise(0.01)` if None.

    Raises:
        TypeError: `laplacian` is not floating-point.
        ValueError: `laplacian` is not square, symmetric and positive semi-definite, or fits no axes; times are not
            0 < time_min < time_max; or levels < 2.
    """

    eigenvalues: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        laplacian: Float[Tensor, "rows columns"] | FromData,
        *,
        time_max: float = 100.0,
        time_min: float = 0.1,
        levels: int = 200,
        noise: Schedule | None = None,
    ) -> None:
        laplacian = check_instance("laplacian", laplacian, Tensor, "torch.as_tensor(matrix) makes one")
        if laplacian.layout != torch.strided:
            msg = f"laplacian must be a dense matrix, got one of layout {laplacian.layout}: pass laplacian.to_dense()"
            raise TypeError(msg)
        basis = EigenBasis(shape, laplacian)
        super().__init__(basis)
        eigenvalues = basis.eigenvalues().clone()
        lowest, largest = eigenvalues.min().item(), eigenvalues.abs().max().item()
        # What the decomposition of a positive semi-definite matrix may put below 0.
        if lowest < -1e-6 * largest:
            msg = (
                f"laplacian must be positive semi-definite, but has the eigenvalue {lowest:.6g}: heat would gather"
                " there; a graph's Laplacian is the diagonal matrix of degrees minus the adjacency matrix"
            )
            raise ValueError(msg)
        check_rising("diffusion times", time_min=time_min, time_max=time_max)
        self._width = LogSpacedBlur(math.sqrt(2 * time_min), math.sqrt(2 * time_max), levels)
        self.levels, self.noise = levels, noise or ConstantNoise(0.01)
        check_instance("noise", self.noise, Schedule, "ConstantNoise(0.01) for example")
        self.register_constant("eigenvalues", eigenvalues.clamp(min=0))

    @override
    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, noise={self.noise}"

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        t = self.expand_times(t)
        return self.noise.log_alpha(t) - self.eigenvalues * (self._width.width(t).square() / 2)

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.noise.log_sigma(self.expand_times(t))
