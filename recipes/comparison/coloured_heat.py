"""A custom process, as anybody would bring one to the comparison: heat dissipation under coloured noise.

White noise covers fine detail of photographs, which has little variance, and hardly touches what is coarse. Here the
noise's amplitude falls with frequency as that of photographs does, 1 / f; its mean square is that of heat dissipation.
"""

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from unmelt.degradations import CosineBasis, LinearGaussianProcess, LogSpacedBlur
from unmelt.degradations.process import Time


class ColouredHeat(LinearGaussianProcess):
    """alpha_k(t) = exp(-lambda_k sigma_B(t)^2 / 2), sigma_k proportional to 1 / (f_k + f_1), constant in time.

    Args:
        shape: shape of one image.
        blur_sigma_max: width of the strongest blur, in pixels.
        levels: number of levels of the blur.
        sigma: root mean square of the noise, in the data's units.
    """

    rate: Tensor
    log_noise: Tensor

    def __init__(
        self, shape: Sequence[int], blur_sigma_max: float = 14.0, levels: int = 1000, sigma: float = 0.1
    ) -> None:
        basis = CosineBasis(shape)
        super().__init__(basis)
        self.blur, self.levels = LogSpacedBlur(0.5, blur_sigma_max, levels), levels
        rate = basis.laplacian_eigenvalues()
        frequency = rate.sqrt()
        noise = 1 / (frequency + frequency[frequency > 0].min())
        self.register_constant("rate", rate)
        self.register_constant("log_noise", (sigma * noise / noise.square().mean().sqrt()).log())

    @override
    def log_alpha(self, t: Time) -> Tensor:
        return -self.rate * self.blur.width(self.expand_times(t)) ** 2 / 2

    @override
    def log_sigma(self, t: Time) -> Tensor:
        return self.log_noise + 0 * self.expand_times(t)
