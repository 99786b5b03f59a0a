r"""Linear observations of a signal: blurred, coarsened or partly hidden, and noisy.

    y = H x + s n,    H = W diag(h) W^T,

W being orthonormal, h one number per coefficient, n white noise and s its standard deviation. So y has the shape of
x, H is its own adjoint, and in coefficients W^T y = h W^T x + s n. A coefficient with h = 0 is not observed: there y is
0, without noise, and nothing that guides reads it. A mask is such an H in the basis of pixels, with h of 0 and 1; a
blur is one in the cosine basis; the means of blocks are one in the Haar basis. Every process makes one at every time.
What is of another kind, motion blur say, is an `OperatorObservation`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import as_shape, broadcast_to, check_count, check_instance, check_mask, check_number, check_signal
from ...core.precision import schedule_dtype
from ...core.randomness import white_noise
from ...degradations import (
    Basis,
    CosineBasis,
    HaarBasis,
    LinearGaussianProcess,
    PixelBasis,
)
from ...degradations.process import Time
from .masked_observation import MaskedObservation
from .observation import Observation

# White where a picture of a mask is read as numbers.
_WHITE = 255


class LinearObservation(Observation):
    """y = W diag(h) W^T x + s n: what is seen of a signal.

    Args:
        basis: the basis W, any of the library's.
        gain: h, finite, broadcastable to the basis's shape, floating-point or boolean; 0 is a coefficient that is not
            observed.
        noise_std: standard deviation s >= 0 of the observation's noise, in the data's units; 0 observes exactly.

    Raises:
        TypeError: `basis` is not a `Basis`, or `gain` not a real tensor, or one of integers.
        ValueError: `gain` is not finite or does not fit the shape, or looks like a mask of 0 and 255; or `noise_std` is
            negative or not finite.
    """

    gain: Tensor

    def __init__(self, basis: Basis, gain: Float[Tensor, "..."] | Bool[Tensor, "..."], *, noise_std: float) -> None:
        check_instance("basis", basis, Basis, "PixelBasis(shape) for example")
        super().__init__(basis.shape, basis.shape, noise_std=noise_std)
        check_instance("gain", gain, Tensor, "torch.ones(shape) for example")
        if gain.is_complex():
            msg = (
                f"gain must be real, got {gain.dtype}: H is symmetric here; OperatorObservation.convolution takes a"
                " one-sided kernel"
            )
            raise TypeError(msg)
        if not (gain.is_floating_point() or gain.dtype == torch.bool):
            msg = (
                f"gain must be a floating-point tensor, or a boolean one, got {gain.dtype}: of a mask pass mask != 0,"
                " of numbers gain.double()"
            )
            raise TypeError(msg)
        if not bool(gain.isfinite().all()):
            msg = f"gain must be finite numbers, 0 where nothing is observed, got {gain[~gain.isfinite()][0].item()}"
            raise ValueError(msg)
        if bool((gain == _WHITE).any()) and bool(((gain == 0) | (gain == _WHITE)).all()):
            msg = f"gain holds 0 and {_WHITE} alone, as a mask does that was read from a picture: pass mask != 0"
            raise ValueError(msg)
        device = basis.device
        table = broadcast_to("gain", gain.detach().to(device, schedule_dtype(device)), basis.shape, "the basis's")
        self.basis = basis
        self.register_constant("gain", table.clone())
        self._hides = bool((table == 0).any())

    @classmethod
    def of_process(
        cls, process: LinearGaussianProcess, t: Time, *, noise_std: float | None = None
    ) -> LinearObservation:
        """Return what a process itself does to data until `t`: h = alpha_t and s = sigma_t, in the process's basis.

        Args:
            process: the process, of any family.
            t: one time in [0, 1].
            noise_std: another standard deviation of the noise, in the data's units; None takes sigma_t.

        Raises:
            ValueError: `t` is more than one time or outside [0, 1]; or sigma_t is not one number for all
                coefficients, and no `noise_std` is given.
        """
        times = process.as_times(t)
        if times.ndim:
            msg = f"t must be one time, got {len(times)}: make an observation for each of them"
            raise ValueError(msg)
        sigma = process.sigma(times)
        if noise_std is None and not bool((sigma == sigma.flatten()[0]).all()):
            msg = (
                f"the noise of {process.called} differs between coefficients at this time, from"
                f" {sigma.min().item():.3g} to {sigma.max().item():.3g}, but an observation's is one number: give"
                " noise_std"
            )
            raise ValueError(msg)
        own = sigma.flatten()[0].item() if noise_std is None else noise_std
        return cls(process.basis, process.alpha(times)[0], noise_std=own)

    @classmethod
    def blur(cls, shape: Sequence[int], width: float, *, noise_std: float) -> LinearObservation:
        """Return a Gaussian blur with reflecting edges, h = exp(-lambda width^2 / 2) in the cosine basis.

        Args:
            shape: shape of one signal, such as (3, 32, 32); all axes but the first are blurred.
            width: standard deviation of the blur, in pixels, >= 0.
            noise_std: standard deviation of the noise added to the blurred signal, in the data's units.

        Raises:
            ValueError: `width` is negative or not finite, or `noise_std` is not allowed.
        """
        check_number("width", width, "[0, inf)", "the standard deviation of a blur in pixels")
        basis = CosineBasis(shape)
        return cls(basis, (-basis.laplacian_eigenvalues() * width**2 / 2).exp(), noise_std=noise_std)

    @classmethod
    def block_means(cls, shape: Sequence[int], size: int, *, noise_std: float) -> LinearObservation:
        """Return downsampling by `size`: every block of so many pixels along each axis but the first gives its mean.

        Here y has the shape of x, every pixel holding its block's mean, noise and all (`repeat_interleave` of the small
        image). An orthonormal coefficient is size^(d / 2) times the mean, d being the number of coarsened axes: noise
        of standard deviation q on the small image is `noise_std` = size^(d / 2) q.

        Args:
            shape: shape of one signal, such as (3, 32, 32).
            size: side of a block in pixels, a power of two: 4 makes an image of 32 x 32 pixels one of 8 x 8.
            noise_std: standard deviation of the noise of a coefficient, in the data's units.

        Raises:
            TypeError: `size` is not an integer.
            ValueError: `size` is not a power of two from 2, an axis is not divisible by it, or `noise_std` is not
                allowed.
        """
        check_count("size", size, 2, "a block's side in pixels")
        scales = size.bit_length() - 1
        if size != 2**scales or any(axis % size for axis in shape[1:]):
            msg = (
                f"size must be a power of two (2, 4, 8, ...) that divides all axes of {tuple(shape)} but the first, a"
                f" block's side in pixels, got {size}: OperatorObservation.block_means takes any that divides them"
            )
            raise ValueError(msg)
        basis = HaarBasis(shape, scales=scales)
        return cls(basis, (basis.scale_index() > scales).float(), noise_std=noise_std)

    @classmethod
    def mask(cls, shape: Sequence[int], visible: Bool[Tensor, "..."], *, noise_std: float) -> LinearObservation:
        """Return the view through a mask, h = 1 for the pixels that are seen and 0 for the others (inpainting).

        Args:
            shape: shape of one signal, such as (3, 32, 32).
            visible: True where a pixel is seen, broadcastable to `shape`: a map (height, width), say.
            noise_std: standard deviation of the noise of the pixels that are seen, in the data's units.

        Raises:
            TypeError: `visible` is not a boolean tensor.
            ValueError: `visible` does not fit the shape, or `noise_std` is not allowed.
        """
        check_mask("visible", visible)
        visible = broadcast_to("visible", visible, as_shape(shape), "the signal's")
        return cls(PixelBasis(shape).to(visible.device), visible, noise_std=noise_std)

    @override
    def in_basis(self, basis: Basis) -> LinearObservation | None:
        """Return the same observation written in another basis, or None where it is not diagonal there.

        A blur of all colours alike, say, is one of luminance and of differences of colours alike.

        Raises:
            ValueError: the basis is one of another shape.
        """
        return self if self.basis.agrees_with(basis) else written_in(self, basis)

    @override
    def extra_repr(self) -> str:
        """Show how much is observed, and how exactly."""
        seen = int((self.gain != 0).sum())
        return f"observed={seen} of {self.gain.numel()}, noise_std={self.noise_std:g}"

    @override
    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return self.basis.inverse(self.project(x))

    @override
    def with_noise(
        self, y: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        if self._hides:
            noise = self.basis.inverse(self.coefficients(noise))
        return super().with_noise(y, noise)

    @override
    def adjoint(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return H y: H is symmetric."""
        return self.forward(y)

    @property
    @override
    def diagonal(self) -> tuple[Basis, Tensor]:
        return self.basis, self.gain

    @property
    @override
    def largest(self) -> Tensor:
        return self.gain.abs().max()

    @override
    def seen_where(self, visible: Bool[Tensor, "rows ..."]) -> MaskedObservation:
        return MaskedObservation(self, visible)

    @override
    def coefficients(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return W^T y, (batch, *shape), with 0 in place of what is not observed.

        With a mask the pixels that are not seen may hold anything, NaN too; with other bases `y` must be finite.
        """
        return torch.where(self.gain == 0, 0.0, self.basis.forward(y))

    @override
    def project(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        u = self.basis.forward(x)
        return self.gain.to(u) * u

    @override
    def back_project(self, coefficients: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return self.basis.inverse(self.gain.to(coefficients) * coefficients)

    @override
    def mean_square(self, coefficients: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        seen = self.gain != 0
        return torch.where(seen, coefficients, 0.0).flatten(1).square().sum(1) / seen.sum().clamp(min=1)

    @override
    def filled(self, y: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return y with what was not observed taken from signals x, (batch, *shape): a hole filled with a guess, say.

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong.
        """
        check_signal("y", y, self.basis.shape)
        check_signal("x", x, self.basis.shape)
        return self.basis.inverse(torch.where(self.gain == 0, self.basis.forward(x), self.coefficients(y)))


def written_in(observation: Observation, basis: Basis) -> LinearObservation | None:
    """Return an observation written in a basis, or None where it is not diagonal there.

    In a basis V the matrix V^T H V is applied to ones, which gives its diagonal if it is one, and to noise, which
    tells. What is left of gains of 0 after rounding, at most eps^(3/4) of the largest, becomes 0 again.

    Raises:
        ValueError: the basis is one of another shape.
    """
    shape = observation.shape
    if basis.shape != shape:
        msg = f"basis must be one of signals of shape {shape}, got one of {basis.shape}"
        raise ValueError(msg)
    if observation.observed_shape != shape:
        return None
    device = next(observation.buffers(), basis.device_marker).device
    ones = torch.ones(shape, dtype=schedule_dtype(device), device=device)
    probes = torch.stack([ones, white_noise(ones.shape, like=ones, generator=torch.Generator().manual_seed(0))])
    diagonal, mixed = basis.forward(observation(basis.inverse(probes)))
    rounding = torch.finfo(ones.dtype).eps ** 0.75 * observation.largest
    if bool(((mixed - diagonal * probes[1]).abs() > rounding * probes[1].abs().max()).any()):
        return None
    gain = torch.where(diagonal.abs() <= rounding, 0.0, diagonal)
    return LinearObservation(basis, gain, noise_std=observation.noise_std)
