r"""What an observation of a signal is: y = H x + s n, with a linear H, white noise n and its standard deviation s.

The equations of conditioning see it in coordinates of y in which the noise is white: coefficients in a basis, where H
is diagonal in one, else the numbers of y themselves. `project` is H into these coordinates, `back_project` its adjoint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.checks import as_shape, check_number, check_signal
from ...core.constants import ConstantModule
from ...core.precision import to_compute_dtype
from ...core.randomness import white_noise
from ...degradations import Basis


class Observation(ConstantModule, ABC):
    """y = H x + s n: what is seen of a signal.

    A subclass writes `forward`, `adjoint`, `largest` and `seen_where`.

    Args:
        shape: shape of one signal x, such as (3, 32, 32).
        observed_shape: shape of one observation y.
        noise_std: standard deviation s >= 0 of the observation's noise, in y's units; 0 observes exactly.

    Raises:
        TypeError, ValueError: a shape is none, or `noise_std` is negative or not finite.
    """

    def __init__(self, shape: Sequence[int], observed_shape: Sequence[int], *, noise_std: float) -> None:
        super().__init__()
        self.shape, self.observed_shape = as_shape(shape), as_shape(observed_shape)
        check_number("noise_std", noise_std, "[0, inf)", "a standard deviation in the data's units")
        self.noise_std = noise_std

    @abstractmethod
    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return H x, without noise, (batch, *observed_shape).

        Args:
            x: signals, (batch, *shape).

        Raises:
            TypeError: `x` is not floating-point.
            ValueError: `x` has another shape.
        """

    @abstractmethod
    def adjoint(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return H^T y, (batch, *shape); arguments and errors as in `forward`, the other way round."""

    @property
    @abstractmethod
    def largest(self) -> float | Tensor:
        """The largest singular value of H, or a little more or less: what errors of equations are measured by."""

    @property
    def diagonal(self) -> tuple[Basis, Tensor] | None:
        """A basis where H is diagonal, and that diagonal, broadcastable to (batch, *shape); None if none is known."""
        return None

    @abstractmethod
    def seen_where(self, visible: Bool[Tensor, "rows ..."]) -> Observation:
        """Return the same observation of which each row of a batch has only some numbers of y.

        Args:
            visible: True where a number of y is known, (rows, ...), broadcastable to (rows, *observed_shape); one row
                is for all of a batch. Elsewhere y may hold anything, NaN too.

        Raises:
            TypeError: `visible` is not a boolean tensor.
            ValueError: it does not fit the shape.
        """

    def in_basis(self, basis: Basis) -> Observation | None:
        """Return the same observation written in a basis, or None where it is not known to be diagonal there."""
        del basis
        return None

    def observe(
        self, x: Float[Tensor, "batch ..."], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Draw observations y = H x + s n, (batch, *observed_shape); without noise nothing is drawn.

        Args:
            x: signals, (batch, *shape).
            generator: source of randomness; torch's default if None.

        Raises:
            TypeError: `x` is not floating-point.
            ValueError: `x` has another shape.
        """
        y = self.forward(x)
        if self.noise_std == 0:
            return y
        return self.with_noise(y, white_noise(y.shape, like=y, generator=generator))

    def with_noise(
        self, y: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        """Return exact observations y with s times white `noise`, both (batch, *observed_shape)."""
        # Noise that is white in the data's axes is white in every orthonormal basis.
        return y + self.noise_std * noise

    def coefficients(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return y in the coordinates that equations see, with 0 in place of what is not observed."""
        return y

    def project(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return H x in these coordinates."""
        return self.forward(x)

    def back_project(self, coefficients: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return H^T of what is given in these coordinates, (batch, *shape)."""
        return self.adjoint(coefficients)

    def mean_square(self, coefficients: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """Return the mean square of each row over what is observed, (batch,), 0 if that is nothing."""
        return coefficients.flatten(1).square().mean(1)

    def filled(self, y: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return y with what was not observed taken from signals x: a hole filled with a guess, say.

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong.
        """
        check_signal("y", y, self.observed_shape)
        check_signal("x", x, self.shape)
        return y

    def residual(self, y: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return the coefficients of y - H x, 0 where nothing is observed, in the finer precision of both.

        Args:
            y: observations, (batch, *observed_shape).
            x: signals, (batch, *shape).

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong.
        """
        check_signal("y", y, self.observed_shape)
        check_signal("x", x, self.shape)
        dtype = torch.promote_types(to_compute_dtype(y).dtype, to_compute_dtype(x).dtype)
        return self.coefficients(y.to(dtype)) - self.project(x.to(dtype))
