r"""Observations that are known by what they do: any linear H, given as a function together with its adjoint.

Motion blur, whose kernel is not symmetric, means of blocks of any size, random projections: such an H is diagonal in no
orthonormal basis, and y need not have the shape of x. What conditioning asks of it is H x and H^T y, many times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import as_shape, check_count, check_floating, check_instance, check_signal
from ...core.constants import ConstantModule
from ...core.precision import schedule_dtype, to_compute_dtype
from ...degradations import Basis
from .linear_observation import LinearObservation, written_in
from .masked_observation import MaskedObservation
from .observation import Observation

Operator = Callable[[Tensor], Tensor]

# <H x, y> and <x, H^T y> of random x and y differ by rounding, 1e-7 of |H x| |y| for functions that compute in single
# precision; with m numbers in y they are by themselves about 1 / sqrt(m) of it, 1e-3 for a million.
_SAME = 1e-6
# Of power iteration, whose error is no matter: the norm is what tolerances are relative to.
_ITERATIONS = 20


class OperatorObservation(Observation):
    """y = H x + s n for any linear H, by two functions.

    They see float32 and float64 batches and return the same dtype on the same device: a table of yours goes along by
    `table.to(x)`, or in a module's buffer, as modules may be given too. `in_basis` finds out whether H is diagonal in
    a process's basis after all.

    Args:
        shape: shape of one signal, such as (3, 32, 32).
        forward: H, from (batch, *shape) to (batch, ...), row by row.
        adjoint: H^T, back. Tried on random signals: <H x, y> must be <x, H^T y>.
        noise_std: standard deviation s >= 0 of the observation's noise, in y's units; 0 observes exactly.

    Raises:
        TypeError: a function is none, or returns something else than a tensor of the dtype that it was given.
        ValueError: they do not keep the rows of a batch, or are not each other's adjoint; or `noise_std` is not
            allowed.
    """

    def __init__(self, shape: Sequence[int], forward: Operator, adjoint: Operator, *, noise_std: float) -> None:
        shape = as_shape(shape)
        for name, function in (("forward", forward), ("adjoint", adjoint)):
            if not callable(function):
                msg = f"{name} must be a function of a batch of signals, got {function!r:.60}"
                raise TypeError(msg)
        generator = torch.Generator().manual_seed(0)
        buffers = forward.buffers() if isinstance(forward, torch.nn.Module) else iter(())
        device = next(buffers, torch.empty(0)).device

        def random(*sizes: int) -> Tensor:
            return torch.randn(sizes, generator=generator).to(device, schedule_dtype(device))

        with torch.no_grad():
            x = random(2, *shape)
            image = _checked("forward", forward(x), x)
            super().__init__(shape, image.shape[1:], noise_std=noise_std)
            self.operator, self.transposed = forward, adjoint
            y = random(2, *self.observed_shape)
            pulled = _checked("adjoint", adjoint(y), x, shape)
            _check_adjoint(x, image, y, pulled)
            self._largest = self._norm(x[:1])

    @classmethod
    def convolution(
        cls, shape: Sequence[int], kernel: Float[Tensor, "..."], *, noise_std: float
    ) -> OperatorObservation:
        """Return a convolution with periodic edges, whose kernel need not be symmetric: motion blur, say.

            y(i) = sum_j k(j) x(i - j + c),    c = size // 2 along each axis,

        so a point of light becomes the kernel with its middle there (`torch.nn.functional.conv2d` turns it round).

        Args:
            shape: shape of one signal, such as (3, 32, 32).
            kernel: k, real and finite, over the last axes of the shape, no larger than these.
            noise_std: standard deviation of the noise added to the blurred signal, in the data's units.

        Raises:
            TypeError: `kernel` is not a real floating-point tensor.
            ValueError: it is not finite, or larger than the signal; or `noise_std` is not allowed.
        """
        shape = as_shape(shape)
        check_floating("kernel", kernel, "a tensor of weights")
        axes = shape[len(shape) - kernel.ndim :] if 0 < kernel.ndim <= len(shape) else ()
        if not axes or any(k > n for k, n in zip(kernel.shape, axes, strict=True)):
            msg = (
                f"kernel must lie on the last axes of {shape} and be no larger than they are, got shape"
                f" {tuple(kernel.shape)}: (5, 9), say, for a blur 5 pixels high and 9 wide"
            )
            raise ValueError(msg)
        if not bool(kernel.isfinite().all()):
            msg = f"kernel must be finite numbers, got {kernel[~kernel.isfinite()][0].item()}"
            raise ValueError(msg)
        whole = torch.zeros(axes, dtype=schedule_dtype(kernel.device), device=kernel.device)
        whole[tuple(slice(size) for size in kernel.shape)] = kernel.to(whole)
        whole = whole.roll([-(size // 2) for size in kernel.shape], [*range(kernel.ndim)])
        response = torch.fft.rfftn(whole)
        return cls(shape, _Circular(response, axes), _Circular(response.conj(), axes), noise_std=noise_std)

    @classmethod
    def block_means(cls, shape: Sequence[int], size: int, *, noise_std: float) -> OperatorObservation:
        """Return downsampling by any `size`: y is the small image, a mean for each block of so many pixels.

        `LinearObservation.block_means` is the same for powers of two, with y shown at full size, and in closed form
        where the process is diagonal in the Haar basis.

        Args:
            shape: shape of one signal, such as (3, 48, 48); all axes but the first are coarsened.
            size: side of a block in pixels: 3 makes an image of 48 x 48 pixels one of 16 x 16.
            noise_std: standard deviation of the noise of a pixel of the small image, in the data's units.

        Raises:
            TypeError: `size` is not an integer.
            ValueError: `size` is less than 2 or does not divide an axis, or `noise_std` is not allowed.
        """
        shape = as_shape(shape)
        check_count("size", size, 2, "a block's side in pixels")
        if len(shape) == 1 or any(axis % size for axis in shape[1:]):
            msg = f"size must divide all axes of {shape} but the first, a block's side in pixels, got {size}"
            raise ValueError(msg)

        def means(x: Tensor) -> Tensor:
            for axis in range(2, x.ndim):
                x = x.unflatten(axis, (-1, size)).mean(axis + 1)
            return x

        def spread(y: Tensor) -> Tensor:
            for axis in range(2, y.ndim):
                y = y.repeat_interleave(size, axis) / size
            return y

        return cls(shape, means, spread, noise_std=noise_std)

    @override
    def extra_repr(self) -> str:
        """Show what becomes of a signal's shape, and how exactly it is observed."""
        return f"{self.shape} -> {self.observed_shape}, noise_std={self.noise_std:g}"

    @override
    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        check_signal("x", x, self.shape)
        return self.operator(to_compute_dtype(x))

    @override
    def adjoint(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        check_signal("y", y, self.observed_shape)
        return self.transposed(to_compute_dtype(y))

    @property
    @override
    def largest(self) -> float:
        return self._largest

    @override
    def seen_where(self, visible: Bool[Tensor, "rows ..."]) -> MaskedObservation:
        return MaskedObservation(self, visible)

    @override
    def in_basis(self, basis: Basis) -> LinearObservation | None:
        """Return the same observation written in a basis, or None where it is not diagonal there.

        Raises:
            ValueError: the basis is one of another shape.
        """
        return written_in(self, basis)

    def _norm(self, x: Tensor) -> float:
        """Return the norm of H by power iteration, from a random signal: from below, within a few hundredths."""
        norm = 0.0
        for _ in range(_ITERATIONS):
            x = self.adjoint(self(x / x.norm()))
            norm = x.norm().item() ** 0.5
            if norm == 0:
                break
        return norm


class _Circular(ConstantModule):
    """A circular convolution over the last axes, by its response to their waves."""

    response: Tensor

    def __init__(self, response: Tensor, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes, self.axes = sizes, tuple(range(-len(sizes), 0))
        # Two real numbers for each complex one, which follow to devices without double precision.
        self.register_constant("response", torch.view_as_real(response.resolve_conj()).clone())

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return the convolution of signals, in their dtype, float32 or float64."""
        response = torch.view_as_complex(self.response.to(x))
        return torch.fft.irfftn(torch.fft.rfftn(x, dim=self.axes) * response, s=self.sizes, dim=self.axes)


def _checked(name: str, result: object, given: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return what a function has made of a batch, checked; of a shape, if there is one."""
    check_instance(f"what {name} returns", result, Tensor, "a batch of signals")
    result = cast("Tensor", result)
    if result.dtype != given.dtype or result.device != given.device:
        msg = (
            f"{name} must keep dtype and device, {given.dtype} on {given.device}, but returned {result.dtype} on"
            f" {result.device}: move its tables with table.to(x)"
        )
        raise TypeError(msg)
    if result.ndim < 2 or len(result) != len(given) or (shape is not None and tuple(result.shape[1:]) != shape):
        wanted = ", ".join(map(str, shape)) if shape else "..."
        msg = (
            f"{name} must return a batch of as many rows, ({len(given)}, {wanted}), but returned shape"
            f" {tuple(result.shape)}"
        )
        raise ValueError(msg)
    return result


def _check_adjoint(x: Tensor, image: Tensor, y: Tensor, pulled: Tensor) -> None:
    """Check that <H x, y> = <x, H^T y> in each row.

    Raises:
        ValueError: it is not.
    """
    forth, back = ((a * b).flatten(1).sum(1) for a, b in ((image, y), (x, pulled)))
    scale = image.flatten(1).norm(dim=1) * y.flatten(1).norm(dim=1)
    away = (forth - back).abs()
    # NaN is no agreement either.
    if not bool((away <= _SAME * scale).all()):
        msg = (
            f"adjoint must be forward's adjoint, <H x, y> = <x, H^T y>, but for random x and y they are"
            f" {forth[0].item():.6g} and {back[0].item():.6g}: give the transposed matrix's product, not an inverse,"
            " and check that forward is linear, adds no noise, and treats each row by itself"
        )
        raise ValueError(msg)
