"""A weight of its own for every coefficient."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_instance
from ...core.constants import ConstantModule
from ...degradations import (
    Basis,
    EigenBasis,
    LinearGaussianProcess,
    Prediction,
    SeparableBasis,
)
from .base import Weighting


class FrequencyWeighting(ConstantModule, Weighting):
    """Another weighting times a factor for each coefficient: w_k(t) c_k.

    Args:
        base: the weighting that is multiplied.
        factors: c_k >= 0, at least one positive, broadcastable to the process's shape.

    Raises:
        TypeError: base is not a `Weighting`, or factors is not a floating-point tensor.
        ValueError: a factor is negative, infinite or NaN, or all are 0. When a loss is made with it: the factors do not
            fit the process's shape.
    """

    factors: Tensor

    def __init__(self, base: Weighting, factors: Float[Tensor, "..."]) -> None:
        super().__init__()
        check_instance("base", base, Weighting, "SimpleWeighting() for example")
        check_instance("factors", factors, Tensor, "torch.ones(()) weighs all coefficients alike")
        if not factors.dtype.is_floating_point:
            msg = f"factors must be floating-point, got {factors.dtype}: use factors.double()"
            raise TypeError(msg)
        factors = factors.detach().to("cpu", torch.float64).clone()
        if not bool(((factors >= 0) & factors.isfinite()).all()) or not bool((factors > 0).any()):
            msg = (
                "factors must be finite and at least 0, and not all 0, got values from"
                f" {factors.min().item()} to {factors.max().item()}"
            )
            raise ValueError(msg)
        self.base = base
        self.register_constant("factors", factors)

    @classmethod
    def power_law(cls, base: Weighting, basis: Basis, exponent: float) -> FrequencyWeighting:
        """Return factors that are a power of the basis's eigenvalues, (lambda_k + lambda_1)^exponent over their mean.

        lambda_1 is the least positive eigenvalue; it keeps the weight of the constant finite. In a cosine, sine or
        Fourier basis eigenvalues are squared frequencies, (2 pi f)^2 in pixel^-2: natural images, of variance about
        f^-2, are weighed evenly by exponent 1.

        Args:
            base: the weighting that is multiplied.
            basis: the process's basis.
            exponent: power of the eigenvalue; positive ones stress fine detail.

        Raises:
            TypeError: the basis has no eigenvalues.
            ValueError: exponent is not finite, or an eigenvalue is negative, or none is positive.
        """
        if not math.isfinite(exponent):
            msg = f"exponent must be finite (0 weighs all coefficients alike), got {exponent}"
            raise ValueError(msg)
        eigenvalues = _eigenvalues(basis)
        factors = (eigenvalues + eigenvalues[eigenvalues > 0].min()).pow(exponent)
        return cls(base, factors / factors.mean())

    def extra_repr(self) -> str:
        """Show the weighting that is multiplied, if it is not shown below, and the factors' shape."""
        shape = tuple(self.factors.shape)
        return f"factors={shape}" if isinstance(self.base, torch.nn.Module) else f"{self.base}, factors={shape}"

    def weight(self, process: LinearGaussianProcess, t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
        """See `Weighting.weight`."""
        return self.base.weight(process, t) * self._batched_factors(process)

    def gain(
        self, process: LinearGaussianProcess, prediction: Prediction, t: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "..."]:
        """See `Weighting.gain`."""
        return self.base.gain(process, prediction, t) * self._batched_factors(process).sqrt()

    def require_defined(self, process: LinearGaussianProcess) -> None:
        """Check that the factors fit the process, and what the weighting that is multiplied checks.

        Raises:
            ValueError: they do not.
        """
        factors = self.factors
        try:
            factors.expand(process.shape)
        except RuntimeError:
            msg = f"factors must broadcast to the process's shape {process.shape}, got {tuple(factors.shape)}"
            raise ValueError(msg) from None
        self.base.require_defined(process)

    def _batched_factors(self, process: LinearGaussianProcess) -> Tensor:
        """Return the factors with a batch axis and all axes of a signal, lest rows be taken for examples."""
        factors = self.factors
        return factors.reshape(*(1,) * (len(process.shape) + 1 - factors.ndim), *factors.shape)


def _eigenvalues(basis: Basis) -> Tensor:
    """Return the basis's eigenvalues on the CPU, of its transformed axes' shape."""
    check_instance("basis", basis, Basis, "process.basis")
    if not isinstance(basis, (SeparableBasis, EigenBasis)):
        msg = (
            f"a power law needs eigenvalues, which {type(basis).__name__} does not have: use a cosine, sine, Fourier or"
            " eigenbasis, or pass factors of your own to FrequencyWeighting"
        )
        raise TypeError(msg)
    values = basis.laplacian_eigenvalues() if isinstance(basis, SeparableBasis) else basis.eigenvalues()
    values = values.detach().to("cpu", torch.float64)
    # A graph's Laplacian has the eigenvalue 0 up to the rounding of its decomposition.
    values = torch.where(values.abs() <= 1e-12 * values.abs().max(), 0.0, values)
    if bool((values < 0).any()) or not bool((values > 0).any()):
        msg = (
            "a power law needs eigenvalues of at least 0, one of them positive, got values from"
            f" {values.min().item():.6g} to {values.max().item():.6g}: pass factors of your own to FrequencyWeighting"
        )
        raise ValueError(msg)
    return values
