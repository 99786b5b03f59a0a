r"""Standard deviations of the reverse steps p(z_s | z_t) = N(m_hat, V diag(s^2) V^T), per coefficient.

The mean m_hat is the posterior's with the data replaced by an estimate. The best standard deviation for it is, level by
level and coefficient by coefficient,

    s^2 = E[ s_q^2 + (m - m_hat)^2 ],    s_q the posterior's own,

the expectation over data and latents (Bao et al., ICML 2022, for isotropic diffusion with an imperfect mean): of all
that do not depend on the latent it minimises the sum of Kullback-Leibler divergences over a data set. `ELBO.fitted`
finds it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_number, values_are_readable
from ..core.constants import ConstantModule
from ..core.precision import schedule_dtype
from ..core.rates import root
from ..degradations import Step, log_snr_change

# Two times this near are one.
_SAME_TIME = 1e-9


class ReverseStd(ABC):
    """The standard deviation that a reverse step is given."""

    @abstractmethod
    def stddev(self, step: Step) -> Float[Tensor, "..."]:
        """Return the standard deviation of `step` per coefficient in the data's units, broadcastable to a batch."""


@dataclass(frozen=True)
class PosteriorStd(ReverseStd):
    """That of q(z_s | z_t, x): the best where an estimate is exact, the smallest that makes sense.

    The lower choice of Ho et al. (2020, section 3.2), and the one that the bound's limit of ever finer grids has.
    """

    @override
    def stddev(self, step: Step) -> Float[Tensor, "..."]:
        return step.posterior.stddev


@dataclass(frozen=True)
class MarginalStd(ReverseStd):
    """That of the marginal q(z_s | x), sigma_s, times a number: it follows the process when its noise is changed.

    The delta of inverse heat dissipation (Rissanen et al., 2023, section 2), whose sigma is one for all levels: their
    released code draws samples in training with `times_sigma` = 1.25. With 1 it is the posterior's under `Independent`.

    Attributes:
        times_sigma: how many times sigma_s; 0 for samplers whose steps add no noise, not for a bound.

    Raises:
        ValueError: times_sigma is negative or not finite.
    """

    times_sigma: float

    def __post_init__(self) -> None:
        check_number("times_sigma", self.times_sigma, "[0, inf)", "how many times the process's noise, such as 1.25")

    @override
    def stddev(self, step: Step) -> Float[Tensor, "..."]:
        return self.times_sigma * step.at_s.sigma


@dataclass(frozen=True)
class ConstantStd(ReverseStd):
    """One number for all levels and coefficients, whatever noise the process has; `MarginalStd` follows that.

    Attributes:
        delta: the standard deviation in the data's units; 0 for samplers whose steps add no noise, not for a bound.

    Raises:
        ValueError: delta is negative or not finite.
    """

    delta: float

    def __post_init__(self) -> None:
        """Refuse what cannot be a standard deviation."""
        if not 0 <= self.delta < math.inf:
            msg = f"delta must be a standard deviation >= 0 in the data's units, got {self.delta}"
            raise ValueError(msg)

    @override
    def stddev(self, step: Step) -> Float[Tensor, "..."]:
        return torch.full_like(step.posterior.stddev, self.delta)


@dataclass(frozen=True)
class ForwardStd(ReverseStd):
    """That of the forward transition, sigma_{t|s}: the upper choice of Ho et al. (2020, section 3.2), beta_t^(1/2).

    It is the best for data that is white noise of unit variance under a variance-preserving Markov process. A
    coefficient that a step leaves alone gets no noise, so that `Independent` posteriors need another one.
    """

    @override
    def stddev(self, step: Step) -> Float[Tensor, "..."]:
        change = log_snr_change(step.at_s, step.at_t)
        return step.at_t.sigma * root(-torch.expm1(change))


class FittedStd(ConstantModule, ReverseStd):
    """A standard deviation for every step of one grid and every coefficient; `ELBO.fitted` makes the best one.

    Args:
        times: the grid, rising, (steps + 1,).
        log_stddev: log of the standard deviation of the step from times[k + 1] to times[k], (steps, *shape).

    Raises:
        ValueError: the shapes do not belong together.
    """

    times: Tensor
    log_stddev: Tensor

    def __init__(self, times: Float[Tensor, " times"], log_stddev: Float[Tensor, "steps ..."]) -> None:
        super().__init__()
        if len(log_stddev) != len(times) - 1:
            msg = f"a grid of {len(times)} times has {len(times) - 1} steps, got log_stddev for {len(log_stddev)}"
            raise ValueError(msg)
        self.register_buffer("times", times.detach().to(schedule_dtype(times.device)))
        # Near the best value the bound is flat: the rounding of a float32 logarithm changes it by 1e-12.
        self.register_buffer("log_stddev", log_stddev.detach().float())

    @override
    def stddev(self, step: Step) -> Float[Tensor, "..."]:
        """Return the standard deviation that was fitted for a step of the grid.

        Raises:
            ValueError: the step is not one of the grid's (where values are readable; elsewhere NaN).
        """
        s, t = step.at_s.t, step.at_t.t
        times = self.times.to(t.dtype)
        # Times of levels are computed in more than one way, each right to a few roundings.
        near = max(_SAME_TIME, 4 * torch.finfo(t.dtype).eps)
        index = torch.searchsorted(times, (t - near).contiguous()).clamp(1, len(times) - 1)
        known = ((times[index] - t).abs() <= near) & ((times[index - 1] - s).abs() <= near)
        if values_are_readable(known) and not bool(known.all()):
            worst = (~torch.as_tensor(known)).flatten().nonzero()[0, 0]
            s, t = (time.expand(known.shape).flatten()[worst].item() for time in (s, t))
            msg = (
                f"no standard deviation was fitted for a step from t = {t:.6g} to {s:.6g}, only for the"
                f" {len(self.log_stddev)} steps of the grid it was fitted on: use that grid, or fit again"
            )
            raise ValueError(msg)
        stddev = self.log_stddev[index - 1].to(t.dtype).exp()
        stddev = stddev if t.ndim else stddev[None]
        return torch.where(known.reshape(-1, *(1,) * (stddev.ndim - 1)), stddev, torch.nan)
