r"""Heat dissipation: an image melts as heat spreads over a plate with insulated edges.

The heat equation du/d tau = Laplacian u with Neumann boundaries is diagonal in the cosine basis: frequency k fades
as exp(-lambda_k tau), lambda_k = (pi n / H)^2 + (pi m / W)^2. Run for tau it is a Gaussian blur of standard
deviation sigma_B = sqrt(2 tau) pixels with reflecting edges. A little white noise makes it a latent-variable
model (Rissanen, Heinonen & Solin, 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from .bases import CosineBasis
from .bases.base import compute_precision, full_precision
from .bases.cosine import LONGEST_MATRIX_AXIS
from .checks import check_signal
from .process import LinearGaussianProcess, Time


class HeatDissipation(LinearGaussianProcess):
    """alpha_k(t) = exp(-lambda_k sigma_B(t)^2 / 2), constant sigma: inverse heat dissipation's forward process.

    Level k of K is time k / K. Level 0 is not blurred; levels 1 to K have blur widths spaced evenly in their
    logarithm from `blur_sigma_min` to `blur_sigma_max`, as in the authors' released configurations. Between levels
    sigma_B(t) follows the same curve; below level 1 it grows linearly from 0. The mean of each channel never fades.

    Source: Rissanen et al. (2023), section 2 and appendix. Data is scaled to [0, 1] there.

    Args:
        shape: shape of one signal, such as (3, 32, 32); all axes but the first are blurred.
        blur_sigma_max: width of the strongest blur, in pixels.
        blur_sigma_min: width of level 1's blur, in pixels.
        levels: number K of levels, at least 2.
        sigma: standard deviation of the noise at every level, in the data's units.

    Raises:
        ValueError: widths are not 0 < blur_sigma_min < blur_sigma_max, levels < 2, or sigma < 0.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        blur_sigma_max: float = 24.0,
        blur_sigma_min: float = 0.5,
        levels: int = 200,
        sigma: float = 0.01,
    ) -> None:
        basis = CosineBasis(shape)
        super().__init__(basis)
        if not 0 < blur_sigma_min < blur_sigma_max < math.inf:
            msg = f"need 0 < blur_sigma_min < blur_sigma_max (pixels), got {blur_sigma_min} and {blur_sigma_max}"
            raise ValueError(msg)
        if levels < 2:
            msg = f"levels must be at least 2, the weakest and the strongest blur, got {levels}"
            raise ValueError(msg)
        if not 0 <= sigma < math.inf:
            msg = f"sigma must be a standard deviation >= 0 in the data's units, got {sigma}"
            raise ValueError(msg)
        self.blur_sigma_max, self.blur_sigma_min, self.noise_sigma = blur_sigma_max, blur_sigma_min, sigma
        self.levels = levels
        self._level_count, self._growth = levels, math.log(blur_sigma_max / blur_sigma_min) / (levels - 1)
        self.register_table("eigenvalues", basis.laplacian_eigenvalues())
        for axis, eigenvalues in enumerate(basis.axis_eigenvalues()):
            self.register_table(f"axis_eigenvalues_{axis}", eigenvalues)
        self.register_table("log_noise", torch.tensor(sigma, dtype=torch.float64).log())

    def blur_sigma(self, t: Time) -> Float[Tensor, "*batch"]:
        """Return the blur's width sigma_B(t) in pixels, of t's shape."""
        return self._blur_sigma(self.as_times(t))

    def _blur_sigma(self, t: Tensor) -> Tensor:
        level = t * self._level_count
        return self.blur_sigma_min * torch.where(level < 1, level, (self._growth * (level - 1)).exp())

    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        """See `LinearGaussianProcess.log_alpha`."""
        dissipation_time = self._blur_sigma(self.expand_times(t)).square() / 2
        return -self.table("eigenvalues") * dissipation_time

    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        """See `LinearGaussianProcess.log_sigma`."""
        return self.table("log_noise")

    def degrade(self, x: Float[Tensor, "batch ..."], *times: Time) -> tuple[Float[Tensor, "batch ..."], ...]:
        """Return the blurred signals A_t x, one for each of `times`; see `LinearGaussianProcess.degrade`.

        Blurring is separable: on images with short axes, a product from either side with the blur matrices
        C^T diag(exp(-lambda tau)) C of the two axes is faster than a transform there and back.
        """
        basis = cast("CosineBasis", self.basis)
        plane = self.shape[-basis.axes :]
        if basis.axes != 2 or max(plane) > LONGEST_MATRIX_AXIS:
            return super().degrade(x, *times)
        check_signal("x", x, self.shape)
        x = compute_precision(x)
        # All times at once, so that the small matrices of all levels are one batched product.
        checked = torch.cat([self.as_times(t, batch=len(x)).expand(len(x)) for t in times])
        with full_precision(x.device):
            rows = self._blur_matrices(0, checked, x.dtype)
            columns = rows if plane[0] == plane[1] else self._blur_matrices(1, checked, x.dtype)
            pairs = zip(rows.split(len(x)), columns.split(len(x)), strict=True)
            return tuple(_multiply_sides(left, x, right) for left, right in pairs)

    def _blur_matrices(self, axis: int, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the symmetric blur matrix of one axis for each of the times, (times, size, size)."""
        cosines = cast("CosineBasis", self.basis).axis_matrix(self.shape[axis - 2], dtype)
        dissipation_time = self._blur_sigma(t).square() / 2
        fade = (-self.table(f"axis_eigenvalues_{axis}") * dissipation_time[:, None]).exp().to(dtype)
        return (cosines.mT * fade[:, None, :]) @ cosines


def _multiply_sides(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    """Return left @ x @ right for images (batch, ..., height, width) and a matrix per image on either side."""
    # (batch, channels * height, width) times (batch, width, width): one large product per image.
    product = (x.flatten(1, -2) @ right).reshape(x.shape)
    return left.reshape(len(left), *(1,) * (x.ndim - 3), *left.shape[1:]) @ product
