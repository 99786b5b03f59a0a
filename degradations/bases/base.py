"""The orthonormal basis in which a process is diagonal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import as_shape, check_signal
from ...core.constants import ConstantModule
from ...core.precision import full_precision, to_compute_dtype, to_product_dtype


class Basis(ConstantModule, ABC):
    """An orthonormal change of basis V on signals of one shape: u = V^T x and x = V u.

    A subclass writes `analyse` (V^T) and `synthesise` (V), which see float32 or float64 tensors of shape
    (..., *shape) and keep dtype and shape. The public `forward` and `inverse` check their input and hold
    the transforms in full precision: half-precision input is computed, and returned, in float32, inside
    autocast too, because a coefficient rounded to 8 bits is as large as the noise of heat dissipation. Where torch may
    take float32 products in TensorFloat-32 they are float64.

    Args:
        shape: shape of one signal, without batch axis, such as (3, 32, 32).
    """

    device_marker: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = as_shape(shape)
        # Tells the device of a basis without other tables, and of every process in it.
        self.register_constant("device_marker", torch.zeros(()))

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return self.device_marker.device

    @override
    def extra_repr(self) -> str:
        return f"shape={self.shape}"

    @abstractmethod
    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the coefficients V^T x of float32 or float64 signals of shape (..., *shape)."""

    @abstractmethod
    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the signals V u of float32 or float64 coefficients of shape (..., *shape)."""

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return the spectrum u = V^T x.

        Args:
            x: signals, (batch, *shape).

        Returns:
            Coefficients, (batch, *shape), float64 if `x` is and float32 otherwise.

        Raises:
            TypeError: `x` is not real floating-point.
            ValueError: `x` has another shape.
        """
        check_signal("x", x, self.shape)
        with full_precision(x.device):
            return _in_product_dtype(self.analyse, to_compute_dtype(x))

    def inverse(self, u: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return the signals x = V u; the arguments and errors are those of `forward`."""
        check_signal("u", u, self.shape)
        with full_precision(u.device):
            return _in_product_dtype(self.synthesise, to_compute_dtype(u))

    def agrees_with(self, other: nn.Module) -> bool:
        """Tell whether `other` is the same change of basis on signals of the same shape."""
        return super().agrees_with(other) and isinstance(other, Basis) and self.shape == other.shape

    def combine(
        self, *terms: tuple[Float[Tensor, "batch ..."], Float[Tensor, "..."]], noise: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Return sum_i V diag(c_i) V^T x_i, plus an optional V n, with as few transforms as it takes.

        Args:
            terms: pairs (x_i, c_i) of signals (batch, *shape) and coefficients that broadcast against them. A
                coefficient that is one number per example commutes with V and needs no transform.
            noise: coefficients n, (batch, *shape).

        Returns:
            Signals in float64 if a term is, and in float32 otherwise.
        """
        computed = [(to_compute_dtype(x), c) for x, c in terms]
        plain = [c.to(x.dtype) * x for x, c in computed if is_isotropic(c)]
        filtered = [(x, c) for x, c in computed if not is_isotropic(c)]
        spectrum = noise
        if filtered:
            # One transform of all signals stacked is faster than one each.
            signals = torch.cat([x for x, _ in filtered]) if len(filtered) > 1 else filtered[0][0]
            parts = self.forward(signals).unflatten(0, (len(filtered), filtered[0][0].shape[0]))
            for u, (_, c) in zip(parts, filtered, strict=True):
                part = c.to(u.dtype) * u
                spectrum = part if spectrum is None else spectrum + part
        if spectrum is not None:
            plain.append(self.inverse(spectrum))
        return sum(plain[1:], plain[0])


def is_isotropic(coefficient: Tensor) -> bool:
    """Tell from its shape whether a coefficient is one number per example, the same for all of the spectrum."""
    return coefficient.numel() == (coefficient.shape[0] if coefficient.ndim > 1 else 1)


def _in_product_dtype(transform: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the transform of float32 or float64 numbers, taken in the dtype of their products."""
    exact = to_product_dtype(x)
    # Otherwise what a basis returns is left as it is: another dtype is a fault that should be seen.
    return transform(exact) if exact is x else transform(exact).to(x.dtype)
