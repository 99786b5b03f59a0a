r"""A denoiser whose estimates are clipped to the data's range, as those of DDPM's released code are.

With c the middle of the range and w half its width, an estimate is x_hat = c + w d. Clipping takes d to [-1, 1],
number by number. Dynamic thresholding (Saharia et al., 2022, section 2.3) asks first how far each example goes: with
s = max(1, the percentile of its |d|),

    x_hat <- c + w clamp(d, -s, s) / s.

So an example that leaves the range is drawn back as a whole, and only what lies beyond the percentile is cut off. In
that paper the data lie in [-1, 1]: c = 0, w = 1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_instance, check_number
from ..degradations import PredictPreviousLevel
from ..degradations.process import Time
from .conditions import Condition
from .denoiser import AbstractDenoiser


class ClippedDenoiser(AbstractDenoiser):
    """A denoiser with x_hat clipped to the range of its data, at every step of a sampler.

    The estimate of a network that is unsure leaves the data's range and takes the following steps with it; clipped, it
    stays an image. Released code of DDPM (Ho et al., 2020) does so, and other code by default. Strong classifier-free
    guidance pushes most numbers of an image outside, and clipping saturates them: there a percentile is better. An
    exact estimate, a mean of data, is never outside; clipped samples are those of another model than the likelihood is
    of.

    The noise that a clipped estimate leaves of a latent is another than the network's. Steps go on with that one, as
    DDPM's do; with `keep_noise` those of `Posterior` go on with the network's own, as diffusers' DDIM does by default.

    Args:
        denoiser: the denoiser, guided or not.
        data_range: lowest and highest number of data; that of the denoiser's grey levels if None.
        keep_noise: whether `Posterior` takes the network's noise beside the clipped estimate.
        percentile: share of an example's numbers, in (0, 1), that dynamic thresholding draws back into the range
            instead of cutting them off; 0.995 is usual. None clips each number by itself.

    Raises:
        TypeError: `denoiser` is none.
        ValueError: no range is given or known, or it is not one; the percentile lies outside (0, 1); or its network
            predicts the previous level, from which x_hat follows only roughly; or noise is to be kept of a process with
            a known end.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        data_range: tuple[float, float] | None = None,
        *,
        keep_noise: bool = False,
        percentile: float | None = None,
    ) -> None:
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        if isinstance(denoiser, ClippedDenoiser):
            msg = f"denoiser is clipped already, to {denoiser.data_range}: clip it once"
            raise TypeError(msg)
        super().__init__(denoiser.process)
        if percentile is not None:
            check_number("percentile", percentile, "(0, 1)", "0.995 is usual; None clips each number by itself")
        to = data_range or (denoiser.grey_levels.range if denoiser.grey_levels else None)
        if to is None:
            msg = (
                "the range to clip to is not known: clip by ClippedDenoiser(denoiser, data_range=(low, high)), or give"
                " the denoiser the grey_levels of its data"
            )
            raise ValueError(msg)
        check_instance("data_range", to, (tuple, list), "(low, high)")
        if len(to) != 2 or not -math.inf < to[0] < to[1] < math.inf:
            msg = f"data_range must be two finite numbers (low, high) with low < high, got {to}"
            raise ValueError(msg)
        if isinstance(denoiser.prediction, PredictPreviousLevel):
            msg = (
                "a network that predicts the previous level has no estimate of the data that could be clipped: leave"
                " its samples as they are, or train one that predicts the data, PredictX()"
            )
            raise ValueError(msg)  # noqa: TRY004  # it is not its type that is wrong
        if keep_noise and denoiser.process.known_end:
            msg = (
                f"keep_noise is for processes without a known end, and {denoiser.process.called} has one: leave it out"
            )
            raise ValueError(msg)
        self.denoiser, self.data_range, self.keep_noise, self.percentile = denoiser, to, keep_noise, percentile
        self.needs_given, self.grey_levels = denoiser.needs_given, denoiser.grey_levels

    @property
    @override
    def classes(self) -> int | None:
        return self.denoiser.classes

    @override
    def extra_repr(self) -> str:
        """Show where estimates are clipped, and how."""
        percentile = "" if self.percentile is None else f", percentile={self.percentile}"
        return f"data_range={self.data_range}{percentile}" + (", keep_noise=True" if self.keep_noise else "")

    @override
    def forward(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        return self._clipped(self.denoiser(z_t, t, condition, given))

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
        clipped = self._clipped(estimate)
        basis, at = self.process.basis, self.process.at(t)
        return clipped, basis.combine((z_t, at.constant(1.0)), (clipped - estimate, at.alpha))

    def _clipped(self, estimate: Tensor) -> Tensor:
        low, high = self.data_range
        if self.percentile is not None:
            middle = (low + high) / 2
            away = estimate - middle
            far = _quantile(away.abs().flatten(1), self.percentile) / ((high - low) / 2)
            estimate = middle + away / far.clamp(min=1.0).reshape(-1, *(1,) * (away.ndim - 1))
        return estimate.clamp(low, high)

    @override
    def network_calls(self, t: Float[Tensor, "*batch"], condition: Condition | None = None) -> int:
        return self.denoiser.network_calls(t, condition)


def unclipped(denoiser: AbstractDenoiser) -> AbstractDenoiser:
    """Return what a clipped denoiser clips; others as they are."""
    return denoiser.denoiser if isinstance(denoiser, ClippedDenoiser) else denoiser


def _quantile(values: Float[Tensor, "batch n"], share: float) -> Float[Tensor, " batch"]:
    """Return the quantile of each row, linear between two numbers as numpy's, for rows of any length.

    `torch.quantile` refuses batches of more than 2^24 numbers in some of its versions.
    """
    place = share * (values.shape[1] - 1)
    ordered = values.sort(dim=1).values
    return torch.lerp(ordered[:, math.floor(place)], ordered[:, math.ceil(place)], place - math.floor(place))
