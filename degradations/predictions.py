r"""What a network can predict, and how each prediction becomes an estimate of the data.

Per coefficient a prediction y stands in a linear relation to the data and the latent,

    u = latent * u_t + output * y,

so an error in y is an error in u times `output`: that factor converts the loss of one prediction into the loss
of another, and its size tells whether the conversion is stable. Where alpha underflows, as the heat equation's
does, u from epsilon divides by zero; such a pair is refused by `require_stable`.

| prediction | y | latent | output |
|---|---|---|---|
| x | u | 0 | 1 |
| epsilon | (u_t - alpha u) / sigma | 1 / alpha | -sigma / alpha |
| v | alpha epsilon - sigma u | alpha / (alpha^2 + sigma^2) | -sigma / (alpha^2 + sigma^2) |
| score | -epsilon / sigma | 1 / alpha | sigma^2 / alpha |
| less degraded | alpha_p u - u_t | see `PredictPreviousLevel` | |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from .level import LogCoefficients, log_ratio
from .process import LinearGaussianProcess

# A conversion may amplify rounding errors (2^-24 in float32) up to this much: then it costs at most 2^-4 of a unit
# in a coefficient, as blurring diffusion's own epsilon prediction does at its highest frequencies.
LARGEST_GAIN = 2.0**20
_TIMES_PROBED = 129


class Conversion(NamedTuple):
    """Coefficients of alpha u = latent * u_t + output * y, each broadcastable to (batch, *shape)."""

    latent: Float[Tensor, "..."]
    output: Float[Tensor, "..."]


class Prediction(ABC):
    """What the network's output stands for."""

    @abstractmethod
    def target(
        self,
        process: LinearGaussianProcess,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch ..."]:
        """Return what the network should put out for data `x` degraded to `t` with white `noise`, (batch, *shape)."""

    @abstractmethod
    def conversion(
        self,
        process: LinearGaussianProcess,
        t: Float[Tensor, "*batch"],
        log_alpha: Float[Tensor, "..."] | None = None,
        *,
        at: LogCoefficients | None = None,
    ) -> Conversion:
        """Return the coefficients that turn latent and output into an estimate of the data, or of degraded data.

        Args:
            process: the forward process.
            t: checked times of the latents, () or (batch,).
            log_alpha: log of the degradation alpha for an estimate of alpha u, broadcastable to (batch, *shape);
                None means the data u itself. Folding it in here keeps alpha_s / alpha_t a single exponential.
            at: the process's log coefficients at `t`, where they are at hand already.
        """

    def training_pair(
        self,
        process: LinearGaussianProcess,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        """Return the latent z_t and the network's target for it, both (batch, *shape).

        Args:
            process: the forward process.
            x: data, (batch, *shape).
            noise: white noise in the data's axes, (batch, *shape).
            t: times, (batch,).
        """
        return process.corrupt(x, noise, t), self.target(process, x, noise, t)

    def gain(self, process: LinearGaussianProcess) -> float:
        """Return the largest factor by which an error in latent or output is amplified on its way to the data."""
        times = torch.linspace(0, 1, _TIMES_PROBED, dtype=torch.float64).to(process.device)
        return max(_largest(self.conversion(process, process.as_times(t))) for t in times)

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
            f"{type(self).__name__} cannot be converted stably by {type(process).__name__}: an error in it grows "
            f"{gain:.3g} times on its way to the data (at most {LARGEST_GAIN:.3g} is accepted), because alpha"
            f" vanishes or the noise does; use {' or '.join(stable)}"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class PredictX(Prediction):
    """The network predicts the data x."""

    def target(
        self,
        process: LinearGaussianProcess,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch ..."]:
        """See `Prediction.target`."""
        return x

    def conversion(
        self,
        process: LinearGaussianProcess,
        t: Float[Tensor, "*batch"],
        log_alpha: Float[Tensor, "..."] | None = None,
        *,
        at: LogCoefficients | None = None,
    ) -> Conversion:
        """See `Prediction.conversion`."""
        output = _or_zero(log_alpha, process, t).exp()
        return Conversion(torch.zeros_like(output), output)


@dataclass(frozen=True)
class PredictEpsilon(Prediction):
    """The network predicts the noise epsilon = V diag(1/sigma_t) V^T (z_t - A_t x) (Ho et al., 2020, eq. 11)."""

    def target(
        self,
        process: LinearGaussianProcess,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch ..."]:
        """See `Prediction.target`."""
        return noise

    def conversion(
        self,
        process: LinearGaussianProcess,
        t: Float[Tensor, "*batch"],
        log_alpha: Float[Tensor, "..."] | None = None,
        *,
        at: LogCoefficients | None = None,
    ) -> Conversion:
        """See `Prediction.conversion`."""
        log_alpha = _or_zero(log_alpha, process, t)
        log_alpha_t, log_sigma_t = at or process.log_coefficients(t)
        latent = log_ratio(log_alpha, log_alpha_t)
        return Conversion(latent.exp(), -(latent + log_sigma_t).exp())


@dataclass(frozen=True)
class PredictScore(Prediction):
    """The network predicts the score of q(z_t | x), -V diag(1/sigma_t) V^T epsilon (Song et al., 2021)."""

    def target(
        self,
        process: LinearGaussianProcess,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch ..."]:
        """See `Prediction.target`."""
        return process.basis.combine((noise, -(-process.log_coefficients(t)[1]).exp()))

    def conversion(
        self,
        process: LinearGaussianProcess,
        t: Float[Tensor, "*batch"],
        log_alpha: Float[Tensor, "..."] | None = None,
        *,
        at: LogCoefficients | None = None,
    ) -> Conversion:
        """See `Prediction.conversion`."""
        log_alpha = _or_zero(log_alpha, process, t)
        log_alpha_t, log_sigma_t = at or process.log_coefficients(t)
        latent = log_ratio(log_alpha, log_alpha_t)
        # A score without noise is infinite; saying so here is what makes `require_stable` refuse it.
        output = torch.where(log_sigma_t == -torch.inf, torch.inf, (latent + 2 * log_sigma_t).exp())
        return Conversion(latent.exp(), output)


@dataclass(frozen=True)
class PredictV(Prediction):
    """The network predicts v = alpha_t epsilon - sigma_t x, per coefficient (Salimans & Ho, 2022, appendix D).

    The inverse used here, x = (alpha z - sigma v) / (alpha^2 + sigma^2), holds without alpha^2 + sigma^2 = 1.
    """

    def target(
        self,
        process: LinearGaussianProcess,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch ..."]:
        """See `Prediction.target`."""
        log_alpha, log_sigma = process.log_coefficients(t)
        return process.basis.combine((noise, log_alpha.exp()), (x, -log_sigma.exp()))

    def conversion(
        self,
        process: LinearGaussianProcess,
        t: Float[Tensor, "*batch"],
        log_alpha: Float[Tensor, "..."] | None = None,
        *,
        at: LogCoefficients | None = None,
    ) -> Conversion:
        """See `Prediction.conversion`."""
        log_alpha_t, log_sigma_t = at or process.log_coefficients(t)
        # log of alpha / (alpha_t^2 + sigma_t^2)
        scale = _or_zero(log_alpha, process, t) - torch.logaddexp(2 * log_alpha_t, 2 * log_sigma_t)
        return Conversion((scale + log_alpha_t).exp(), -(scale + log_sigma_t).exp())


@dataclass(frozen=True)
class PredictPreviousLevel(Prediction):
    """The network predicts the step A_p x - z_t to the less degraded signal at the level p before t.

    The parametrisation of inverse heat dissipation (Rissanen et al., 2023, section 2), mu = z_t + f(z_t, t). The
    estimate is one of A_p x, from which every more degraded signal follows by contraction. With `levels = 1` the
    level before any t is the data itself, and the network predicts the whole way back, x - z_t.

    Attributes:
        levels: number K of levels; level k is time k / K. None takes the process's own number.

    Raises:
        ValueError: levels < 1.
    """

    levels: int | None = None

    def __post_init__(self) -> None:
        """Refuse a grid without levels."""
        if self.levels is not None and self.levels < 1:
            msg = f"levels must be at least 1, got {self.levels}"
            raise ValueError(msg)

    def number_of_levels(self, process: LinearGaussianProcess) -> int:
        """Return the number of levels for `process`.

        Raises:
            ValueError: neither this prediction nor the process names one.
        """
        levels = self.levels or process.levels
        if levels is None:
            msg = (
                f"PredictPreviousLevel needs to know the levels, and {type(process).__name__} is continuous: give it "
                "a number, such as PredictPreviousLevel(levels=200), set the class's own (levels = 200), or predict x"
                " (in a recipe: --prediction x)"
            )
            raise ValueError(msg)
        return levels

    def previous(self, process: LinearGaussianProcess, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the time of the last level strictly before `t` (0 for t = 0), of t's shape."""
        levels = self.number_of_levels(process)
        # A float32 time k / K is off by up to K 2^-24 of a level: far less than a thousandth.
        return (torch.ceil(t * levels - 1e-3) - 1).clamp(min=0) / levels

    def training_pair(
        self,
        process: LinearGaussianProcess,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        """See `Prediction.training_pair`; both degraded signals share one transform of `x`."""
        more, less = process.degrade(x, t, self.previous(process, t))
        z_t = more + process.basis.combine((noise, process.log_coefficients(t)[1].exp()))
        return z_t, less - z_t

    def target(
        self,
        process: LinearGaussianProcess,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch ..."]:
        """See `Prediction.target`."""
        return self.training_pair(process, x, noise, t)[1]

    def conversion(
        self,
        process: LinearGaussianProcess,
        t: Float[Tensor, "*batch"],
        log_alpha: Float[Tensor, "..."] | None = None,
        *,
        at: LogCoefficients | None = None,
    ) -> Conversion:
        """See `Prediction.conversion`: alpha u = (alpha / alpha_p) (u_t + y).

        To a level degraded as much as p or more that factor is at most 1, and exact. To one degraded less it exceeds 1
        and is damped by alpha_p^2 / (alpha_p^2 + sigma_p^2), so that coefficients that have sunk below the noise are
        not blown up: no factor exceeds alpha / (2 sigma_p).
        """
        previous = self.previous(process, t)
        log_alpha_p, log_sigma_p = process.log_coefficients(previous)
        # Level 0 is the data: an estimate of it carries no noise of the process.
        log_sigma_p = torch.where(process.expand_times(previous) > 0, log_sigma_p, -torch.inf)
        rise = log_ratio(_or_zero(log_alpha, process, t), log_alpha_p)
        # The damping is the sigmoid of the log-SNR, kept in the exponent lest exp(rise) overflow.
        damping = functional.logsigmoid(2 * log_ratio(log_alpha_p, log_sigma_p))
        factor = torch.where(rise <= 0, rise, rise + damping).exp()
        return Conversion(factor, factor)


def _or_zero(log_alpha: Tensor | None, process: LinearGaussianProcess, t: Tensor) -> Tensor:
    """Return `log_alpha`, or the data's 0 in its place."""
    if log_alpha is not None:
        return log_alpha
    return torch.zeros((1,) * (len(process.shape) + 1), dtype=t.dtype, device=process.device)


def _alternatives(process: LinearGaussianProcess) -> list[Prediction]:
    levels = PredictPreviousLevel() if process.levels else PredictPreviousLevel(levels=1)
    return [PredictX(), PredictEpsilon(), PredictV(), PredictScore(), levels]


def _largest(conversion: Conversion) -> float:
    largest = max(part.abs().max().item() for part in conversion)
    # NaN, as from alpha = sigma = 0, is no conversion at all.
    return largest if largest == largest else float("inf")  # noqa: PLR0124
