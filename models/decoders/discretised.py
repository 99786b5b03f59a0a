r"""The probability of quantised data under a Gaussian: mass in the bin of a level, pixel by pixel.

    P(level k) = Phi((v_k + w/2 - x_hat) / s) - Phi((v_k - w/2 - x_hat) / s)        (Ho et al., 2020)

with v_k the value of level k, w the width of a level, and the first and last bin open to infinity, so that the
probabilities of all levels add up to 1. Pixels are independent in the data's own axes, not in the process's basis.

In a tail both terms are rounded to 1 or to 0. By symmetry the bin may be taken at a distance d = |v_k - x_hat| to the
left of the centre; then, with b = (w/2 - d) / s and a = -(w/2 + d) / s,

    log P = log Phi(b) + log(1 - exp(log Phi(a) - log Phi(b))).

Where the bin is narrow those two logs all but cancel, and Phi's Taylor series about the level takes over: with
h = w / s and c = d / s,

    log P = log phi(c) + log h + log(1 + h^2 (c^2 - 1) / 24 + h^4 (c^4 - 6 c^2 + 3) / 1920 + ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.special import erfc, erfcx
from typing_extensions import override

from ...core.checks import check_instance
from ...degradations import LinearGaussianProcess
from ...degradations.level import log_ratio
from ...degradations.process import Time
from ..grey_levels import GreyLevels
from .base import Decoder

# The bound on h (1 + c) under which the series is used. There its next term, h^6 He_6(c) / 322560, is at most 3e-15 of
# P; and above, P is at least 1.5 % of Phi(b), so that the difference of logs loses at most two digits of sixteen.
_NARROW = 0.02
# Widths that a fit tries first, and how closely it then finds the log of the best one: the cost is flat there.
_COARSE, _FINE = 33, 1e-4
# One width is fitted to this many numbers as well as to more of them: to a thousandth of itself.
_FITTED_NUMBERS = 2**20
_GOLDEN = (1 + math.sqrt(5)) / 2


class DiscretisedGaussianDecoder(Decoder):
    """The mass of N(x_hat, stddev^2) in the bin of each pixel's level (Ho et al., 2020): for integer data.

    Args:
        process: the forward process.
        grey_levels: levels of the data.
        stddev: standard deviation of a pixel in the data's units. None takes the root of the mean over coefficients of
            sigma_t^2 / alpha_t^2, the average variance of a pixel that the first latent's own noise leaves open.

    Raises:
        TypeError: an argument is something else.
        ValueError: stddev is not a positive finite number.
    """

    def __init__(self, process: LinearGaussianProcess, grey_levels: GreyLevels, stddev: float | None = None) -> None:
        declared = "which this distribution is over: GreyLevels(count=256, low=0.0, high=1.0) for example"
        check_instance("grey_levels", grey_levels, GreyLevels, declared)
        super().__init__(process, grey_levels)
        self._register_stddev(stddev)

    @override
    def negative_log_likelihood(
        self, x: Float[Tensor, "batch ..."], x_hat: Float[Tensor, "batch ..."], t: Time
    ) -> Float[Tensor, " batch"]:
        # Here -log P of integer data. Without a stddev there is none where alpha_t = 0 somewhere or sigma_t = 0
        # everywhere.
        self._check_pair(x, x_hat)
        times = self.process.as_times(t, batch=len(x))
        log_stddev = self._log_stddev(times)
        grey_levels = self.grey_levels
        assert grey_levels is not None
        level = grey_levels.indices(x)
        # The exact value of the level: that of float32 data has bins that neither touch nor end where they should.
        residual = grey_levels.values(level, log_stddev.dtype) - x_hat.to(log_stddev.dtype)
        half, stddev = grey_levels.width / 2, log_stddev.exp()
        log_mass = torch.where(
            level == 0,
            log_normal_cdf((half + residual) / stddev),
            torch.where(
                level == grey_levels.count - 1,
                log_normal_cdf((half - residual) / stddev),
                log_bin_mass(residual.abs(), half, log_stddev),
            ),
        )
        return -log_mass.flatten(1).sum(1)

    @override
    def fitted(self, x: Float[Tensor, "batch ..."], x_hat: Float[Tensor, "batch ..."]) -> Decoder:
        """Return this decoder with the best number between a 64th of a level's width and four times the range.

        The cost is taken from evenly spaced examples, about 2^20 numbers of them, where there are more.
        """
        self._check_pair(x, x_hat)
        spacing = -(-x.numel() // _FITTED_NUMBERS)
        x, x_hat = x[::spacing], x_hat[::spacing]
        grey_levels = self.grey_levels
        assert grey_levels is not None
        x, x_hat = self.process.to_schedule_dtype(x), self.process.to_schedule_dtype(x_hat)

        def cost(log_stddev: float) -> float:
            return self.with_stddev(math.exp(log_stddev)).negative_log_likelihood(x, x_hat, 0.0).mean().item()

        lowest, highest = math.log(grey_levels.width / 64), math.log(4 * grey_levels.count * grey_levels.width)
        return self.with_stddev(math.exp(_minimum(cost, lowest, highest)))

    @override
    def _register_stddev(self, stddev: float | Tensor | None) -> None:
        if isinstance(stddev, Tensor) and stddev.ndim:
            msg = f"stddev must be one number for all pixels, or None, got shape {tuple(stddev.shape)}"
            raise ValueError(msg)
        super()._register_stddev(stddev)

    def _log_stddev(self, t: Tensor) -> Tensor:
        """Return the log of a pixel's standard deviation at checked times, broadcastable to (batch, *shape)."""
        if self.stddev is not None:
            return self.stddev.log()
        log_variance = 2 * self._log_open(t)
        # Each number of a broadcast table stands for equally many coefficients, so that its mean is theirs.
        flat = log_variance.flatten(1)
        mean = flat.logsumexp(1) - math.log(flat.shape[1])
        return self._require_width(mean.reshape(-1, *(1,) * len(self.process.shape)) / 2, t)

    @override
    def from_levels(self, x: Tensor, grey_levels: GreyLevels, generator: torch.Generator | None) -> Tensor:
        # Nothing is drawn.
        return grey_levels.on_levels(x)


def _minimum(cost: Callable[[float], float], low: float, high: float) -> float:
    """Return where `cost` is least: on a coarse grid first, then around its best point by golden section."""
    grid = torch.linspace(low, high, _COARSE, dtype=torch.float64).tolist()
    best = min(range(_COARSE), key=lambda i: cost(grid[i]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, _COARSE - 1)]
    while high - low > _FINE:
        left, right = high - (high - low) / _GOLDEN, low + (high - low) / _GOLDEN
        if cost(left) < cost(right):
            high = right
        else:
            low = left
    return (low + high) / 2


def log_normal_cdf(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return log Phi(x) of a standard normal, exact in both tails, and so is its gradient.

    That of `torch.special.log_ndtr` takes the difference of two numbers of size x^2 / 2 into an exponent: NaN far out.
    """
    left = x < 0
    # Each branch sees harmless numbers where the other one is taken, lest its gradient be NaN times 0.
    z = torch.where(left, -x, 0.0) / math.sqrt(2)
    tail = (erfcx(z) / 2).log() - z.square()
    return torch.where(left, tail, torch.log1p(-erfc(torch.where(left, 0.0, x) / math.sqrt(2)) / 2))


def log_bin_mass(
    distance: Float[Tensor, "*shape"], half: float, log_stddev: Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """Return the log of the mass that N(0, stddev^2) has between distance - half and distance + half.

    Args:
        distance: from the Gaussian's mean to the middle of the bin, at least 0.
        half: half the width of the bin, in the same units.
        log_stddev: log of the standard deviation, which may be too large for a number itself; broadcastable.
    """
    stddev = log_stddev.exp()
    width, offset = 2 * half / stddev, distance / stddev
    narrow = width * (1 + offset) < _NARROW
    # Each form sees harmless numbers where the other one is taken: a NaN would come back through the gradient.
    b = torch.where(narrow, 0.0, (half - distance) / stddev)
    a = torch.where(narrow, -1.0, -(half + distance) / stddev)
    lower, upper = log_normal_cdf(a), log_normal_cdf(b)
    by_logs = upper + torch.log1p(-log_ratio(lower, upper).exp())
    c2, h2 = torch.where(narrow, offset, 0.0).square(), torch.where(narrow, width, 0.0).square()
    series = torch.log1p(h2 * (c2 - 1) / 24 + h2.square() * (c2.square() - 6 * c2 + 3) / 1920)
    by_series = math.log(2 * half) - log_stddev - (c2 + math.log(2 * math.pi)) / 2 + series
    return torch.where(narrow, by_series, by_logs)
