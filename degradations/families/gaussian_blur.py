r"""Gaussian blur under any noise: what heat dissipation, blurring diffusion, soft diffusion and cold blur are cases of.

    alpha_k(t) = a(t) d_k(t),   d_k(t) = (1 - d_min) exp(-lambda_k sigma_B(t)^2 / 2) + d_min,   sigma_k(t) = sigma(t),

with a blur width sigma_B(t) in pixels (`schedules/blur.py`), a noise schedule a(t), sigma(t) (`schedules/`), and
lambda_k = sum over axes of s_i^2 times the Laplacian's eigenvalue along that axis, s_i being its relative width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import check_instance, check_number, check_signal
from ...core.configuration import FromData
from ...core.precision import full_precision, to_compute_dtype, to_product_dtype
from ..bases import CosineBasis, SeparableBasis
from ..bases.anisotropy import blur_rates, relative_widths
from ..bases.axes import outer_sum
from ..level import Level
from ..process import LinearGaussianProcess, Time
from ..schedules import Schedule
from ..schedules.blur import BlurSchedule


class GaussianBlur(LinearGaussianProcess):
    """A blur that widens, under noise that grows.

    Args:
        shape: shape of one signal: (channels, length) for sound, (channels, height, width) for images, (channels,
            depth or time, height, width) for volumes and video. All axes but the first are blurred.
        blur: the blur's width over time, in pixels; its levels are the process's. `EqualVarianceBlur` fits one to data.
        noise: a(t) and sigma(t); `ConstantNoise(sigma)` leaves the signal to the blur alone.
        anisotropy: relative width of the blur along each blurred axis, such as (1.0, 0.1) for a tenth along the rows;
            0 leaves an axis sharp. None blurs all alike.
        min_scale: d_min in [0, 1], what blurring leaves of the highest frequencies.
        boundary: the basis, hence what happens at the edges: `CosineBasis` reflects (no heat leaves), `SineBasis`
            holds them at 0, `FourierBasis` is periodic. For another direction than the axes' see `DirectionalBlur`.

    Raises:
        ValueError: anisotropy has the wrong length, a negative or infinite entry, or only zeros; or min_scale lies
            outside [0, 1].
    """

    eigenvalues: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        blur: BlurSchedule | FromData,
        noise: Schedule,
        *,
        anisotropy: Sequence[float] | None = None,
        min_scale: float = 0.0,
        boundary: type[SeparableBasis] = CosineBasis,
    ) -> None:
        basis = _separable(boundary)(shape)
        super().__init__(basis)
        self.blur = check_instance("blur", blur, BlurSchedule, "LogSpacedBlur(maximum=12.0) for example")
        check_instance("noise", noise, Schedule, "ConstantNoise(0.01) for example")
        check_number("min_scale", min_scale, "[0, 1]", "0 lets blurring take all, 1 does not blur at all")
        self.noise, self.min_scale, self.levels = noise, min_scale, self.blur.levels
        self.anisotropy = relative_widths(anisotropy, basis.axes)
        rates = blur_rates(basis, anisotropy)
        for axis, rate in enumerate(rates):
            self.register_constant(f"axis_eigenvalues_{axis}", rate)
        self.register_constant("eigenvalues", outer_sum(rates))

    @override
    def extra_repr(self) -> str:
        # A blur that is a module is shown below.
        blur = "" if isinstance(self.blur, nn.Module) else f", blur={self.blur}"
        return f"{super().extra_repr()}{blur}, noise={self.noise}"

    def blur_sigma(self, t: Time) -> Float[Tensor, "*batch"]:
        """Return the blur's width sigma_B(t) in pixels, of t's shape."""
        return self.blur.width(self.as_times(t))

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        t = self.expand_times(t)
        fade = -self.eigenvalues * (self.blur.width(t).square() / 2)
        if self.min_scale:
            # log((1 - d) e^-y + d) = log1p((1 - d) expm1(-y)), exact where the blur is weak.
            fade = torch.log1p((1 - self.min_scale) * torch.expm1(fade))
        return self.noise.log_alpha(t) + fade

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.noise.log_sigma(self.expand_times(t))

    @override
    def degrade(
        self, x: Float[Tensor, "batch ..."], *times: Time | Level, given: Float[Tensor, "batch ..."] | None = None
    ) -> tuple[Float[Tensor, "batch ..."], ...]:
        """Return the blurred signals A_t x, one for each of `times`; see `LinearGaussianProcess.degrade`.

        Blurring is separable: on images with short axes, a product from either side with the blur matrices
        C^T diag(exp(-lambda tau)) C of the two axes is faster than a transform there and back.
        """
        basis = cast("SeparableBasis", self.basis)
        plane = self.shape[-basis.axes :]
        # A subclass that writes its own log_alpha means that one; one with a known end has more to add.
        ours = type(self).log_alpha is GaussianBlur.log_alpha and given is None and not self.known_end
        if not ours or not times or basis.axes != 2 or self.min_scale or max(plane) > basis.longest_matrix_axis:
            return super().degrade(x, *times, given=given)
        check_signal("x", x, self.shape)
        single = to_compute_dtype(x)
        x = to_product_dtype(single)
        # All times at once, so that the small matrices of all levels are one batched product.
        checked = torch.cat(
            [(t.t if isinstance(t, Level) else self.as_times(t, batch=x.shape[0])).expand(x.shape[0]) for t in times]
        )
        with full_precision(x.device):
            rows = self._one_axis(0, checked, x.dtype)
            alike = plane[0] == plane[1] and self.anisotropy[0] == self.anisotropy[1]
            columns = rows if alike else self._one_axis(1, checked, x.dtype)
            sides = (matrices.unflatten(0, (len(times), x.shape[0])) for matrices in (rows, columns))
            blurred = (_multiply_sides(left, x, right) for left, right in zip(*sides, strict=True))
            return tuple(signal.to(single.dtype) for signal in blurred)

    def _one_axis(self, axis: int, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what one of two axes adds to the blur, and half of log a(t), as matrices, (times, size, size)."""
        dissipation_time = self.blur.width(t).square() / 2
        log_gains = (
            self.noise.log_alpha(t)[:, None] / 2 - getattr(self, f"axis_eigenvalues_{axis}") * dissipation_time[:, None]
        )
        return cast("SeparableBasis", self.basis).axis_operators(log_gains.exp(), dtype)


def _separable(boundary: object) -> type[SeparableBasis]:
    if isinstance(boundary, type) and issubclass(boundary, SeparableBasis):
        return boundary
    msg = f"boundary must be CosineBasis, SineBasis or FourierBasis, the class itself, got {boundary!r}"
    raise TypeError(msg)


def _multiply_sides(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    """Return left @ x @ right for images (batch, ..., height, width) and a matrix per image on either side."""
    # (batch, channels * height, width) times (batch, width, width): one large product per image.
    product = (x.flatten(1, -2) @ right).reshape(x.shape)
    return left.reshape(left.shape[0], *(1,) * (x.ndim - 3), *left.shape[1:]) @ product
