"""Laws of the fast paths on signals, and of what all methods on signals have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import ROUNDING, largest, require_equal
from .distribution_laws import draws, require_white
from .law import Example, Violation, law
from .plain import as_time, plain, signals

Method = Callable[[Tensor, Tensor, Tensor, Tensor], Float[Tensor, "batch ..."]]


@law(
    "degrade is the mean of the marginal",
    "degrade(x, t) is V (alpha_t V^T x), one signal for each of its times. Do not override it, or compare it with "
    "LinearGaussianProcess.degrade.",
    times=2,
)
def degrading(process: LinearGaussianProcess, example: Example) -> None:
    """A fast path, and the same with several times at once."""
    x, rank = signals(process, example), len(process.shape)
    u = process.basis.forward(x)
    degraded = process.degrade(x, *example.times)
    for time, result in zip(example.times, degraded, strict=True):
        expected = plain(process, time).alpha * u
        room = ROUNDING * max(1.0, largest(plain(process, time).alpha)) * largest(u)
        require_equal("degrade(x, t)", process.basis.forward(result), expected, rank=rank, absolute=room, times=(time,))


@law(
    "corrupt adds noise of width sigma_t",
    "corrupt(x, noise, t) is V (alpha_t V^T x + sigma_t V^T noise). Do not override it, or compare it with "
    "LinearGaussianProcess.corrupt; the usual cause is sigma_t^2 for sigma_t.",
)
def corrupting(process: LinearGaussianProcess, example: Example) -> None:
    """The reparametrised marginal, for given white noise."""
    at, rank = plain(process, example.t), len(process.shape)
    x, noise = signals(process, example), signals(process, example, 1)
    signal, cover = at.alpha * process.basis.forward(x), at.sigma * process.basis.forward(noise)
    result = process.basis.forward(process.corrupt(x, noise, example.t))
    room = ROUNDING * (max(1.0, largest(at.alpha)) * largest(x) + largest(at.sigma) * largest(noise))
    require_equal("corrupt(x, noise, t)", result, signal + cover, rank=rank, absolute=room)


@law(
    "paths pass through the marginals",
    "sample_path(x, times) has shape (times, batch, *shape), and each of its latents is distributed as the marginal of "
    "its time. Do not override it, or draw from the posteriors, last time first.",
    times=2,
)
def passing(process: LinearGaussianProcess, example: Example) -> None:
    """Standardised, the coefficients of a path's latents have mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(example.seed)
    x = signals(process, example)[:1]
    many = x.expand(draws(process), *process.shape)
    path = process.sample_path(many, list(example.times), example.coupling, generator=generator)
    if path.shape != (2, *many.shape):
        msg = f"sample_path(x, (s, t)) has shape {tuple(path.shape)} instead of {(2, *many.shape)}"
        raise Violation(msg)
    for time, z in zip(example.times, path, strict=True):
        require_white(process, x, z, time)


def methods(process: LinearGaussianProcess, example: Example) -> dict[str, Method]:
    """Return every method on signals as a function of (x, z, s, t)."""
    return {
        "marginal": lambda x, _z, _s, t: process.marginal(x, t).mean,
        "transition": lambda _x, z, s, t: process.transition(z, s, t).mean,
        "posterior": lambda x, z, s, t: process.posterior(z, x, s, t, example.coupling).mean,
        "degrade": lambda x, _z, _s, t: process.degrade(x, t)[0],
        "corrupt": lambda x, z, _s, t: process.corrupt(x, z, t),
    }


@law(
    "methods on signals take a time for each example",
    "s and t are one number, or (batch,) with a time for each example: call self.at(t), whose coefficients broadcast "
    "to (batch, *shape), and do not look at t as a whole.",
    times=3,
)
def timing(process: LinearGaussianProcess, example: Example) -> None:
    """Each example of a batch is what it is alone."""
    x, z = (signals(process, Example(seed=example.seed, batch=2), number) for number in (0, 1))
    early, late = as_time(process, *example.times[:2]), as_time(process, *example.times[1:])
    for name, method in methods(process, example).items():
        together = method(x, z, early, late)
        for i in range(2):
            alone = method(x[i : i + 1], z[i : i + 1], early[i], late[i])
            room = ROUNDING * max(largest(alone), largest(x), largest(z))
            what = f"{name}, of a signal in a batch with two times,"
            rank, pair = len(process.shape), (early[i].item(), late[i].item())
            require_equal(what, together[i], alone[0], rank=rank, absolute=room, times=pair)


@law(
    "signals keep their precision",
    "float32 signals give float32 results and float64 signals float64 ones: multiply with coefficient.to(u.dtype).",
    times=2,
)
def keeping_precision(process: LinearGaussianProcess, example: Example) -> None:
    """The coefficients' precision is not the signals'."""
    s, t = (as_time(process, time) for time in example.pair)
    for dtype in (torch.float32, s.dtype):
        x, z = (signals(process, example, number).to(dtype) for number in (0, 1))
        for name, method in methods(process, example).items():
            result = method(x, z, s, t)
            if result.dtype != dtype or result.shape != x.shape:
                msg = f"{name} makes {tuple(result.shape)} in {result.dtype} of signals {tuple(x.shape)} in {dtype}"
                raise Violation(msg)


LAWS = (degrading, corrupting, passing, timing, keeping_precision)
