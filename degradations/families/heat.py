r"""Heat dissipation: an image melts as heat spreads over a plate with insulated edges.

The heat equation du/d tau = Laplacian u with Neumann boundaries is diagonal in the cosine basis: frequency k fades
as exp(-lambda_k tau), lambda_k = (pi n / H)^2 + (pi m / W)^2. Run for tau it is a Gaussian blur of standard
deviation sigma_B = sqrt(2 tau) pixels with reflecting edges. A little white noise makes it a latent-variable
model (Rissanen, Heinonen & Solin, 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..schedules import ConstantNoise
from ..schedules.blur import LogSpacedBlur
from .gaussian_blur import GaussianBlur


class HeatDissipation(GaussianBlur):
    """alpha_k(t) = exp(-lambda_k sigma_B(t)^2 / 2), constant sigma: inverse heat dissipation's forward process.

    Level k of K is time k / K. Level 0 is not blurred; levels 1 to K have blur widths spaced evenly in their
    logarithm from `blur_sigma_min` to `blur_sigma_max`, as in the authors' released configurations. Between levels
    sigma_B(t) follows the same curve; below level 1 it grows linearly from 0. The mean of each channel never fades.
    For other widths, such as those fitted to data by `equal_variance_blur`, use `GaussianBlur` with
    `ConstantNoise(sigma)`: the same process with its blur given.

    Source: Rissanen, Heinonen & Solin (2023), section 2 and appendix. Data is scaled to [0, 1] there.

    Args:
        shape: shape of one signal, such as (3, 32, 32), (1, 16000) for sound, (3, 16, 64, 64) for video; all axes but
            the first are blurred.
        blur_sigma_max: width of the strongest blur, in pixels; `blur_pixels(share, width)` converts a share of the
            image's width.
        blur_sigma_min: width of level 1's blur, in pixels.
        levels: number K of levels, at least 2.
        sigma: standard deviation of the noise at every level, in the data's units.
        anisotropy: relative width of the blur along each blurred axis; None blurs all alike.

    Raises:
        ValueError: widths are not 0 < blur_sigma_min < blur_sigma_max, levels < 2, sigma < 0, or anisotropy does not
            fit the axes.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        blur_sigma_max: float = 24.0,
        blur_sigma_min: float = 0.5,
        levels: int = 200,
        sigma: float = 0.01,
        anisotropy: Sequence[float] | None = None,
    ) -> None:
        blur = LogSpacedBlur(blur_sigma_min, blur_sigma_max, levels)
        super().__init__(shape, blur, ConstantNoise(sigma), anisotropy=anisotropy)
