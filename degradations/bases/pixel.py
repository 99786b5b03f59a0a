"""The pixel basis: coefficients are the pixels themselves."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from .base import Basis


class PixelBasis(Basis):
    """The identity: every pixel is its own coefficient. The basis of isotropic diffusion and of masks."""

    @override
    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return x

    @override
    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return u
