"""A denoiser whose estimates are clipped to the data's range, as those of DDPM's released code are."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_instance
from ..degradations import PredictPreviousLevel
from ..degradations.process import Time
from .conditions import Condition
from .denoiser import AbstractDenoiser


class ClippedDenoiser(AbstractDenoiser):
    """A denoiser with x_hat clipped to the range of its data, at every step of a sampler.

    The estimate of a network that is unsure leaves the data's range and takes the following steps with it; clipped, it
    stays an image. Released code of DDPM (Ho et al., 2020) does so, and other code by default. An exact estimate, a
    mean of data, is never outside; clipped samples are those of another model than the likelihood is of.

    The noise that a clipped estimate leaves of a latent is another than the network's. Steps go on with that one, as
    DDPM's do; with `keep_noise` those of `Posterior` go on with the network's own, as diffusers' DDIM does by default.

    Args:
        denoiser: the denoiser.
        data_range: lowest and highest number of data; that of the denoiser's grey levels if None.
        keep_noise: whether `Posterior` takes the network's noise beside the clipped estimate.

    Raises:
        TypeError: `denoiser` is none.
        ValueError: no range is given or known, or its network predicts the previous level, from which x_hat
            follows only roughly.
    """

    def __init__(
        self, denoiser: AbstractDenoiser, data_range: tuple[float, float] | None = None, *, keep_noise: bool = False
    ) -> None:
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        super().__init__(denoiser.process)
        to = data_range or (denoiser.grey_levels.range if denoiser.grey_levels else None)
        if to is None:
            msg = "the range to clip to is not known: give data_range=(low, high)"
            raise ValueError(msg)
        if isinstance(denoiser.prediction, PredictPreviousLevel):
            msg = (
                "a network that predicts the previous level has no estimate of the data that could be clipped: leave"
                " its samples as they are, or train one that predicts the data, PredictX()"
            )
            raise ValueError(msg)  # noqa: TRY004  # it is not its type that is wrong
        self.denoiser, self.data_range, self.keep_noise = denoiser, to, keep_noise
        self.needs_given, self.grey_levels = denoiser.needs_given, denoiser.grey_levels

    @override
    def extra_repr(self) -> str:
        """Show where estimates are clipped."""
        return f"data_range={self.data_range}" + (", keep_noise=True" if self.keep_noise else "")

    @override
    def forward(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        low, high = self.data_range
        return self.denoiser(z_t, t, condition, given).clamp(low, high)

    def with_noise_kept(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Float[Tensor, "*batch"],
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        """Return the clipped estimate, and the latent that it makes with the network's own noise, each (batch, *shape).

        That latent is z_t + A_t (clipped estimate - estimate); arguments are those of `output`.
        """
        estimate = self.denoiser(z_t, t, condition, given)
        clipped = estimate.clamp(*self.data_range)
        basis, at = self.process.basis, self.process.at(t)
        return clipped, basis.combine((z_t, at.constant(1.0)), (clipped - estimate, at.alpha))

    @override
    def network_calls(self, t: Float[Tensor, "*batch"], condition: Condition | None = None) -> int:
        return self.denoiser.network_calls(t, condition)
