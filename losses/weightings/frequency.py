"""Another weighting times a factor for every coefficient: given as a tensor, or a power law of the frequency."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import broadcast_to, check_instance, check_not_negative
from ...core.constants import ConstantModule
from ...degradations import (
    Basis,
    EigenBasis,
    LaplacianBasis,
    Level,
    LinearGaussianProcess,
    Prediction,
)
from .base import Weighting
from .simple import SimpleWeighting


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
        check_not_negative("factors", factors)
        if not bool((factors > 0).any()):
            msg = "factors must not all be 0: nothing would be weighed"
            raise ValueError(msg)
        self.base = base
        self.register_constant("factors", factors)

    def extra_repr(self) -> str:
        """Show the weighting that is multiplied, if it is not shown below, and the factors' shape."""
        shape = tuple(self.factors.shape)
        return f"factors={shape}" if isinstance(self.base, torch.nn.Module) else f"{self.base}, factors={shape}"

    @override
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        return self.base.weight(at) * self._batched_factors(at)

    @override
    def error_scale(self, prediction: Prediction, at: Level) -> Float[Tensor, "..."]:
        return self.base.error_scale(prediction, at) * self._batched_factors(at).sqrt()

    @override
    def require_defined(self, process: LinearGaussianProcess) -> None:
        """Check that the factors fit the process, and what the weighting that is multiplied checks.

        Raises:
            ValueError: they do not.
        """
        broadcast_to("factors", self.factors, process.shape, "one signal's")
        self.base.require_defined(process)

    def _batched_factors(self, at: Level) -> Tensor:
        """Return the factors with a batch axis and all axes of a signal, lest rows be taken for examples."""
        missing = len(at.process.shape) + 1 - self.factors.ndim
        return self.factors.reshape(*(1,) * missing, *self.factors.shape)


@dataclass(frozen=True)
class PowerLawWeighting(Weighting):
    """Another weighting times (lambda_k + lambda_1)^exponent over its mean, lambda being the basis's eigenvalues.

    lambda_1 is the least positive eigenvalue; it keeps the weight of the constant finite. In a cosine, sine, Fourier or
    Hartley basis eigenvalues are squared frequencies, (2 pi f)^2 in pixel^-2: natural images, of variance about f^-2,
    are weighed evenly by exponent 1. A loss binds it to its process.

    Attributes:
        exponent: power of the eigenvalue; positive ones stress fine detail.
        base: the weighting that is multiplied.

    Raises:
        ValueError: exponent is not finite. When a loss is made with it: an eigenvalue is negative, or none is positive.
        TypeError: when a loss is made with it: the process's basis has no eigenvalues.
    """

    exponent: float
    base: Weighting = field(default_factory=SimpleWeighting)

    def __post_init__(self) -> None:
        """Refuse an exponent that orders nothing."""
        if not math.isfinite(self.exponent):
            msg = f"exponent must be finite (0 weighs all coefficients alike), got {self.exponent}"
            raise ValueError(msg)

    @override
    def bind(self, process: LinearGaussianProcess) -> FrequencyWeighting:
        eigenvalues = _eigenvalues(process.basis)
        factors = (eigenvalues + eigenvalues[eigenvalues > 0].min()).pow(self.exponent)
        return FrequencyWeighting(self.base.bind(process), factors / factors.mean()).to(process.device)

    @override
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        return self.bind(at.process).weight(at)

    @override
    def error_scale(self, prediction: Prediction, at: Level) -> Float[Tensor, "..."]:
        return self.bind(at.process).error_scale(prediction, at)


def _eigenvalues(basis: Basis) -> Tensor:
    """Return the basis's eigenvalues on the CPU, of its transformed axes' shape."""
    if not isinstance(basis, (LaplacianBasis, EigenBasis)):
        msg = (
            f"a power law needs eigenvalues, which {type(basis).__name__} does not have: use a cosine, sine, Fourier,"
            " Hartley or eigenbasis, or pass factors to FrequencyWeighting"
        )
        raise TypeError(msg)
    values = basis.laplacian_eigenvalues() if isinstance(basis, LaplacianBasis) else basis.eigenvalues()
    values = values.detach().to("cpu", torch.float64)
    # A graph's Laplacian has the eigenvalue 0 up to the rounding of its decomposition.
    values = torch.where(values.abs() <= 1e-12 * values.abs().max(), 0.0, values)
    if bool((values < 0).any()) or not bool((values > 0).any()):
        msg = (
            "a power law needs eigenvalues of at least 0, one of them positive, got values from"
            f" {values.min().item():.6g} to {values.max().item():.6g}: pass factors to FrequencyWeighting"
        )
        raise ValueError(msg)
    return values
