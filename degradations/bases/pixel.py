"""The pixel basis: coefficients are the pixels themselves."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from .base import Basis


class PixelBasis(Basis):
    """The identity: every pixel is its own coefficient. The basis of isotropic diffusion and of masks."""

    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Basis.analyse`."""
        return x

    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Basis.synthesise`."""
        return u
