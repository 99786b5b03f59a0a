r"""What a network can predict: two numbers per coefficient, from which its target and an estimate of the data follow.

A prediction y is a share of the data and a share of the residual that noise makes of the latent,

    y = a u + b (u_t - alpha u),        u_t - alpha u = sigma epsilon.

With it go the target, given data and noise, and the conversion back: u = latent * u_t + output * y, where

    latent = -b / (a - alpha b),        output = 1 / (a - alpha b).

An error in y is an error in u times `output`: that factor converts the loss of one prediction into the loss of another,
and its size tells whether the conversion is stable. Where alpha underflows, as the heat equation's does, u from epsilon
divides by zero; such a pair is refused by `require_stable`.

| prediction | a | b | latent | output |
|---|---|---|---|---|
| x | 1 | 0 | 0 | 1 |
| epsilon | 0 | 1 / sigma | 1 / alpha | -sigma / alpha |
| v | -sigma | alpha / sigma | alpha / (alpha^2 + sigma^2) | -sigma / (alpha^2 + sigma^2) |
| score | 0 | -1 / sigma^2 | 1 / alpha | sigma^2 / alpha |
| previous level p | alpha_p - alpha | -1 | 1 / alpha_p | 1 / alpha_p |

A new prediction is a class with these two formulas.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from ..core.checks import check_count, values_are_readable
from ..core.precision import to_compute_dtype
from .bases.base import is_isotropic
from .level import Level, log_ratio
from .process import LinearGaussianProcess

# A conversion may amplify rounding errors (2^-24 in float32) up to this much: then it costs at most 2^-4 of a unit
# in a coefficient, as blurring diffusion's own epsilon prediction does at its highest frequencies.
LARGEST_GAIN = 2.0**20
_TIMES_PROBED = 129
# What a network's estimate of a coefficient is off by, at most as much as the noise, in units of the data's range.
_LOG_NETWORK_ERROR = math.log(2.0**-5)


class Conversion(NamedTuple):
    """Coefficients of alpha_s u = latent * u_t + output * y, each broadcastable to (batch, *shape)."""

    latent: Float[Tensor, "..."]
    output: Float[Tensor, "..."]


class Prediction(ABC):
    """What the network's output stands for: y = a u + b (u_t - alpha u). A subclass writes `signal` and `residual`."""

    @abstractmethod
    def signal(self, at: Level) -> Float[Tensor, "..."]:
        """Return a, the share of the data, broadcastable to (batch, *shape)."""

    @abstractmethod
    def residual(self, at: Level) -> Float[Tensor, "..."]:
        """Return b, the share of the residual u_t - alpha u, likewise; infinite where a unit of noise is meant."""

    def noise(self, at: Level) -> Float[Tensor, "..."]:
        """Return b sigma, the share of white noise; where sigma = 0 makes that 0 times infinity, its limit."""
        share = self.residual(at) * at.sigma
        if values_are_readable(share) and not bool(share.isnan().any()):
            return share
        inside = at.nudged_inside()
        limit = self.residual(inside) * inside.sigma
        # So close to the end, what is this large grows without bound.
        limit = torch.where(limit.abs() > LARGEST_GAIN, torch.copysign(at.constant(torch.inf), limit), limit)
        return torch.where(share.isnan(), limit, share)

    def target(
        self, at: Level, x: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        """Return what the network should put out for data `x` with white `noise`, (batch, *shape)."""
        return at.process.basis.combine((noise, self.noise(at)), (x, self.signal(at)))

    def training_pair(
        self, at: Level, x: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        """Return the latent z_t and the network's target for it, both (batch, *shape).

        Args:
            at: the level, at times (batch,).
            x: data, (batch, *shape).
            noise: white noise in the data's axes, (batch, *shape).
        """
        return at.corrupt(x, noise), self.target(at, x, noise)

    def conversion(self, at: Level, log_alpha: Float[Tensor, "..."] | None = None) -> Conversion:
        """Return the coefficients that turn latent and output into an estimate of the data, or of degraded data.

        Args:
            at: the level of the latents.
            log_alpha: log of the degradation alpha_s for an estimate of alpha_s u, broadcastable to (batch, *shape);
                None means the data u itself. Folding it in here keeps alpha_s / alpha_t a single exponential.
        """
        log_alpha = at.constant(0.0) if log_alpha is None else log_alpha
        a, b = self.signal(at), self.residual(at)
        # Numerator and denominator over whichever of 1 and b is larger: either may be 0, and b infinite.
        large = b.abs() > 1
        scale = torch.where(large, b, 1.0)
        whole = torch.where(large, a / scale - at.alpha, a - at.alpha * b)
        wanted = log_alpha.exp() / whole
        latent = torch.where(large, -wanted, -b * wanted)
        output = wanted / scale
        # Without a share of the data the ratio of both alphas is all there is: neither needs to be a number alone.
        ratio = log_ratio(log_alpha, at.log_alpha).exp()
        return Conversion(torch.where(a == 0, ratio, latent), torch.where(a == 0, -ratio / b, output))

    def error_factor(self, at: Level) -> Float[Tensor, "..."]:
        """Return |output| of the exact conversion to the data: how an error of this prediction counts there."""
        return Prediction.conversion(self, at).output.abs()

    def gain(self, process: LinearGaussianProcess) -> float:
        """Return the largest factor by which an error in latent or output is amplified on its way to the data.

        Infinite too where the target is infinite or NaN.
        """
        times = torch.linspace(0, 1, _TIMES_PROBED, dtype=torch.float64)
        levels = [process.at(t) for t in times]
        finite = all(bool(c.isfinite().all()) for at in levels for c in (self.signal(at), self.noise(at)))
        return max(_largest(self.conversion(at)) for at in levels) if finite else float("inf")

    def require_stable(self, process: LinearGaussianProcess) -> None:
        """Check that `process` converts this prediction without drowning it in rounding errors.

        Raises:
            ValueError: an error would be amplified more than `LARGEST_GAIN` times; the message names the
                predictions that can be used instead.
        """
        gain = self.gain(process)
        if gain <= LARGEST_GAIN:
            return
        stable = [str(p).replace("levels=None", "") for p in _alternatives(process) if p.gain(process) <= LARGEST_GAIN]
        msg = (
            f"{type(self).__name__} cannot be converted stably by {process.called}: an error in it grows "
            f"{gain:.3g} times on its way to the data (at most {LARGEST_GAIN:.3g} is accepted), because alpha"
            f" vanishes or the noise does; use {' or '.join(stable)}"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class PredictX(Prediction):
    """The network predicts the data x."""

    @override
    def signal(self, at: Level) -> Float[Tensor, "..."]:
        return at.constant(1.0)

    @override
    def residual(self, at: Level) -> Float[Tensor, "..."]:
        return at.constant(0.0)

    @override
    def target(
        self, at: Level, x: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        return x

    @override
    def conversion(self, at: Level, log_alpha: Float[Tensor, "..."] | None = None) -> Conversion:
        # One number for all coefficients, whatever alpha's shape is: it needs no transform.
        return Conversion(at.constant(0.0), at.constant(1.0) if log_alpha is None else log_alpha.exp())

    @override
    def error_factor(self, at: Level) -> Float[Tensor, "..."]:
        return at.constant(1.0)


@dataclass(frozen=True)
class PredictEpsilon(Prediction):
    """The network predicts the noise epsilon = V diag(1/sigma_t) V^T (z_t - A_t x) (Ho et al., 2020)."""

    @override
    def signal(self, at: Level) -> Float[Tensor, "..."]:
        return at.constant(0.0)

    @override
    def residual(self, at: Level) -> Float[Tensor, "..."]:
        return (-at.log_sigma).exp()

    @override
    def noise(self, at: Level) -> Float[Tensor, "..."]:
        return at.constant(1.0)

    @override
    def target(
        self, at: Level, x: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        return noise


@dataclass(frozen=True)
class PredictScore(Prediction):
    """The network predicts the score of q(z_t | x), -V diag(1/sigma_t) V^T epsilon (Song et al., 2021)."""

    @override
    def signal(self, at: Level) -> Float[Tensor, "..."]:
        return at.constant(0.0)

    @override
    def residual(self, at: Level) -> Float[Tensor, "..."]:
        return -(-2 * at.log_sigma).exp()


@dataclass(frozen=True)
class PredictV(Prediction):
    """The network predicts v = alpha_t epsilon - sigma_t x, per coefficient (Salimans & Ho, 2022, appendix D).

    Its conversion, x = (alpha z - sigma v) / (alpha^2 + sigma^2), holds without alpha^2 + sigma^2 = 1.
    """

    @override
    def signal(self, at: Level) -> Float[Tensor, "..."]:
        return -at.sigma

    @override
    def residual(self, at: Level) -> Float[Tensor, "..."]:
        return (at.log_alpha - at.log_sigma).exp()

    @override
    def noise(self, at: Level) -> Float[Tensor, "..."]:
        return at.alpha

    @override
    def training_pair(
        self, at: Level, x: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        alpha, sigma = at.alpha, at.sigma
        if is_isotropic(alpha) and is_isotropic(sigma):
            return super().training_pair(at, x, noise)
        # Latent and target share one transform of either signal.
        basis = at.process.basis
        u, e = basis.forward(to_compute_dtype(x)), basis.forward(to_compute_dtype(noise))
        alpha, sigma = alpha.to(u.dtype), sigma.to(u.dtype)
        return basis.inverse(alpha * u + sigma * e), basis.inverse(alpha * e - sigma * u)


@dataclass(frozen=True)
class PredictPreviousLevel(Prediction):
    """The network predicts the step A_p x - z_t to the signal at the previous level, of time p < t.

    The parametrisation of inverse heat dissipation (Rissanen et al., 2023, section 2), mu = z_t + f(z_t, t). The
    estimate is one of A_p x, from which every more degraded signal follows by contraction. With `levels = 1` the
    previous level of any t is the data itself, and the network predicts the whole way back, x - z_t.

    Attributes:
        levels: number K of levels; level k is time k / K. None takes the process's own number.

    Raises:
        ValueError: levels < 1.
    """

    levels: int | None = None

    def __post_init__(self) -> None:
        if self.levels is not None:
            check_count("levels", self.levels)

    def number_of_levels(self, process: LinearGaussianProcess) -> int:
        """Return the number of levels for `process`.

        Raises:
            ValueError: neither this prediction nor the process names one.
        """
        levels = self.levels or process.levels
        if levels is None:
            msg = (
                f"PredictPreviousLevel needs to know the levels, and {process.called} is continuous: give it "
                "a number, such as PredictPreviousLevel(levels=200), set the class's own (levels = 200), or predict x"
                " (in a recipe: --prediction PredictX)"
            )
            raise ValueError(msg)
        return levels

    def previous(self, at: Level) -> Level:
        """Return the last level strictly before `at` (level 0 for t = 0)."""
        levels = self.number_of_levels(at.process)
        # A float32 time k / K is off by up to K 2^-24 of a level: far less than a thousandth.
        return at.process.at((torch.ceil(at.t * levels - 1e-3) - 1).clamp(min=0) / levels)

    @override
    def signal(self, at: Level) -> Float[Tensor, "..."]:
        return self.previous(at).alpha - at.alpha

    @override
    def residual(self, at: Level) -> Float[Tensor, "..."]:
        return at.constant(-1.0)

    @override
    def training_pair(
        self, at: Level, x: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        # Both degraded signals share one transform of `x`, or are made by blur matrices without any.
        more, less = at.process.degrade(x, at, self.previous(at))
        z_t = more + at.process.basis.combine((noise, at.sigma))
        return z_t, less - z_t

    @override
    def conversion(self, at: Level, log_alpha: Float[Tensor, "..."] | None = None) -> Conversion:
        """Return alpha_s u = (alpha_s / alpha_p) (u_t + y), damped where that would magnify errors.

        To a level degraded as much as p or more that factor is at most 1, and exact. To one degraded less it exceeds 1
        and is damped by alpha_p^2 / (alpha_p^2 + e^2), e being sigma_p or 1/32 if that is less, which is how far a
        network is off, roughly, in units of the data's range: errors of coefficients that have sunk below it are not
        blown up. No factor exceeds alpha_s / (2 e).
        """
        previous = self.previous(at)
        # Level 0 is the data: an estimate of it carries no noise of the process.
        log_sigma_p = torch.where(at.process.expand_times(previous.t) > 0, previous.log_sigma, -torch.inf)
        rise = log_ratio(at.constant(0.0) if log_alpha is None else log_alpha, previous.log_alpha)
        # The damping is the sigmoid of a log-SNR, kept in the exponent lest exp(rise) overflow.
        log_error = log_sigma_p.clamp(max=_LOG_NETWORK_ERROR)
        damping = functional.logsigmoid(2 * log_ratio(previous.log_alpha, log_error))
        factor = torch.where(rise <= 0, rise, rise + damping).exp()
        return Conversion(factor, factor)


def _alternatives(process: LinearGaussianProcess) -> list[Prediction]:
    levels: list[Prediction] = [PredictPreviousLevel()] if process.levels else []
    return [PredictX(), PredictEpsilon(), PredictV(), PredictScore(), *levels]


def _largest(conversion: Conversion) -> float:
    largest = max(part.abs().max().item() for part in conversion)
    # NaN, as from alpha = sigma = 0, leaves nothing to convert.
    return largest if largest == largest else float("inf")  # noqa: PLR0124
