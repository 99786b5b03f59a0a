"""The process once more in plain arithmetic, from `log_alpha`, `log_sigma` and the basis alone.

A subclass may override every other method, so none of them is trusted here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import Level, LinearGaussianProcess
from .law import Example

# How many numbers a batch of signals may hold, unless two signals hold more.
ENTRIES = 2**16


class Plain(NamedTuple):
    """log alpha and log sigma at one time, each (*shape)."""

    log_alpha: Float[Tensor, "..."]
    log_sigma: Float[Tensor, "..."]

    @property
    def alpha(self) -> Float[Tensor, "..."]:
        """alpha_t per coefficient, (*shape)."""
        return self.log_alpha.exp()

    @property
    def sigma(self) -> Float[Tensor, "..."]:
        """sigma_t per coefficient, (*shape)."""
        return self.log_sigma.exp()

    @property
    def log_snr(self) -> Float[Tensor, "..."]:
        """l_t per coefficient, (*shape); minus infinity where no signal is left, though there be no noise either."""
        empty = self.log_alpha == -torch.inf
        return torch.where(empty, -torch.inf, 2 * minus(self.log_alpha, self.log_sigma))


def as_time(process: LinearGaussianProcess, *times: float) -> Float[Tensor, "..."]:
    """Return one time as a tensor (), several as (batch,), as the process gets them."""
    t = torch.tensor(times[0] if len(times) == 1 else times, dtype=torch.float64)
    return process.to_schedule_dtype(t)


def widen(process: LinearGaussianProcess, value: Tensor, t: Tensor) -> Float[Tensor, "batch ..."]:
    """Return what `log_alpha` or `log_sigma` gave for t as (batch or 1, *shape), or raise torch's error."""
    if t.ndim and value.shape == t.shape:
        value = value.reshape(-1, *(1,) * len(process.shape))
    return value.expand(len(t) if t.ndim else 1, *process.shape).to(t.dtype)


def plain(process: LinearGaussianProcess, t: float) -> Plain:
    """Return the coefficients at one time."""
    time = as_time(process, t)
    log_alpha, log_sigma = (
        widen(process, value, time)[0] for value in (process.log_alpha(time), process.log_sigma(time))
    )
    return Plain(log_alpha, log_sigma)


def plain_level(process: LinearGaussianProcess, t: float) -> Level:
    """Return the level at one time, made of the plain coefficients, (1, *shape)."""
    at = plain(process, t)
    return Level(process, as_time(process, t), at.log_alpha[None], at.log_sigma[None])


def minus(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return a - b for logarithms, equal infinities differing by 0."""
    return torch.where(a == b, 0.0, a - b)


def signals(process: LinearGaussianProcess, example: Example, number: int = 0) -> Float[Tensor, "batch ..."]:
    """Return the example's white signals, (batch, *shape) in the schedule dtype; `number` tells sets apart.

    There are fewer of large ones, two at least.
    """
    generator = torch.Generator().manual_seed(1000 * number + example.seed)
    batch = min(example.batch, max(2, ENTRIES // math.prod(process.shape)))
    x = torch.randn((batch, *process.shape), generator=generator, dtype=torch.float64)
    return process.to_schedule_dtype(x)


def spread(process: LinearGaussianProcess) -> tuple[Float[Tensor, "1 ..."], Float[Tensor, "1 ..."]]:
    """Return the signal whose coefficients are all 1, and the signal 0: what a linear map does to them tells it all."""
    zero = process.to_schedule_dtype(torch.zeros(1, *process.shape, dtype=torch.float64))
    return process.basis.inverse(zero + 1), zero


def gradient(output: Tensor, of: Tensor) -> Tensor | None:
    """Return the derivative of a number, None where autograd sees no connection; the graph is kept."""
    if not output.requires_grad:
        return None
    return torch.autograd.grad(output, of, retain_graph=True, allow_unused=True)[0]
