"""Laws of the fast paths on signals, and of what all methods on signals have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import ROUNDING, largest, require_equal
from .law import Example, Violation, law, law_at_once
from .layouts import require_same_in_any_layout
from .plain import as_time, gradient, plain, signals
from .search import COUPLINGS

# Early times, at which signals that are lost in the end are still there, and later ones.
PAIRS = ((0.02, 0.05), (0.3, 0.6))
TRIPLES = ((0.0, 0.01, 0.02), (0.0, 0.37, 1.0), (0.21, 0.4, 0.73))

Method = Callable[[Tensor, Tensor, Tensor, Tensor], Float[Tensor, "batch ..."]]


@law(
    "degrade is the mean of the marginal",
    "degrade(x, t) is V (alpha_t V^T x), one signal for each of its times, which are numbers, tensors or levels "
    "(isinstance(t, Level)). Do not override it, or compare it with LinearGaussianProcess.degrade.",
    times=2,
)
def degrading(process: LinearGaussianProcess, example: Example) -> None:
    """A fast path, and the same with several times at once."""
    x, rank = signals(process, example), len(process.shape)
    u = process.basis.forward(x)
    degraded: Any = process.degrade(x, *example.times)
    if isinstance(degraded, Tensor) or len(degraded) != len(example.times):
        found = "a tensor" if isinstance(degraded, Tensor) else f"{len(degraded)} signals"
        msg = f"degrade(x, s, t) returns {found} instead of a tuple of {len(example.times)} signals"
        raise Violation(msg)
    for time, result in zip(example.times, degraded, strict=True):
        expected = plain(process, time).alpha * u
        room = ROUNDING * max(1.0, largest(plain(process, time).alpha)) * largest(u)
        require_equal("degrade(x, t)", process.basis.forward(result), expected, rank=rank, absolute=room, times=(time,))
        (at_level,) = process.degrade(x, process.at(time))
        what = "degrade(x, process.at(t)), of a level,"
        require_equal(what, process.basis.forward(at_level), expected, rank=rank, absolute=room, times=(time,))


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


def methods(process: LinearGaussianProcess, example: Example) -> dict[str, Method]:
    """Return every method on signals as a function of (x, z, s, t), the score where there is noise at the times."""
    noisy = all(bool((plain(process, time).sigma > 1e-9).all()) for time in example.times)
    every: dict[str, Method] = {
        "marginal": lambda x, _z, _s, t: process.marginal(x, t).mean,
        "transition": lambda _x, z, s, t: process.transition(z, s, t).mean,
        "posterior": lambda x, z, s, t: process.posterior(z, x, s, t, coupling=example.coupling).mean,
        "degrade": lambda x, _z, _s, t: process.degrade(x, t)[0],
        "corrupt": lambda x, z, _s, t: process.corrupt(x, z, t),
        "score": lambda x, z, _s, t: process.score(z, x, t),
    }
    return {name: method for name, method in every.items() if noisy or name != "score"}


@law_at_once(
    "methods on signals take a time for each example",
    "s and t are one number, or (batch,) with a time for each example: call self.at(t), whose coefficients broadcast "
    "to (batch, *shape), and do not look at t as a whole.",
)
def timing(process: LinearGaussianProcess) -> None:
    """Each example of a batch is what it is alone."""
    for seed, coupling in enumerate(COUPLINGS):
        for times in TRIPLES:
            require_own_times(process, Example(times, seed, coupling=coupling))


def require_own_times(process: LinearGaussianProcess, example: Example) -> None:
    """Require a method to do to two signals, each from its own time to its own time, what it does to each alone."""
    require_own_coefficients(process, example)
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


def require_own_coefficients(process: LinearGaussianProcess, example: Example) -> None:
    """Require the same of the coefficients of the posterior."""
    early, late = as_time(process, *example.times[:2]), as_time(process, *example.times[1:])
    together = process.posterior_coefficients(early, late, example.coupling)
    for i in range(2):
        alone = process.posterior_coefficients(early[i], late[i], example.coupling)
        for name, one, both in zip(alone._fields, alone, together, strict=True):
            what = f"posterior_coefficients' {name}, in a batch with two times,"
            rank, pair = len(process.shape), (early[i].item(), late[i].item())
            actual, expected = (each.expand(size, *process.shape) for each, size in ((both, 2), (one, 1)))
            room = ROUNDING * max(1.0, largest(expected))
            require_equal(what, actual[i], expected[0], rank=rank, absolute=room, times=pair)


@law_at_once(
    "signals keep their precision",
    "float32 signals give float32 results, float64 signals float64 ones, and half precision is computed, and "
    "returned, in float32: multiply with coefficient.to(u.dtype), u being what basis.forward makes.",
)
def keeping_precision(process: LinearGaussianProcess) -> None:
    """The coefficients' precision is not the signals'."""
    example = Example(PAIRS[1])
    s, t = (as_time(process, time) for time in example.pair)
    for dtype in (torch.float32, s.dtype, torch.bfloat16):
        expected = dtype if dtype.itemsize >= 4 else torch.float32
        x, z = (signals(process, example, number).to(dtype) for number in (0, 1))
        for name, method in methods(process, example).items():
            result = method(x, z, s, t)
            if result.dtype != expected or result.shape != x.shape:
                msg = f"{name} makes {tuple(result.shape)} in {result.dtype} of signals {tuple(x.shape)} in {dtype}"
                raise Violation(msg)


@law_at_once(
    "methods take signals that lie in memory in any order",
    "Channels-last images and slices are no contiguous memory: write x.reshape for x.view, or x.contiguous() first.",
)
def any_layout(process: LinearGaussianProcess) -> None:
    """Permuted signals and slices give what contiguous ones give."""
    example = Example(times=PAIRS[1])
    s, t = (as_time(process, time) for time in example.pair)
    x, z = (signals(process, example, number) for number in (0, 1))

    def between(method: Method, x: Tensor, z: Tensor) -> Tensor:
        return method(x, z, s, t)

    for name, method in methods(process, example).items():
        room = ROUNDING * max(largest(x), largest(z), largest(method(x, z, s, t)))
        require_same_in_any_layout(name, partial(between, method), x, z, room=room)


@law_at_once(
    "gradients flow through methods on signals",
    "Leave out torch.no_grad(), .detach() and .data: guidance and likelihoods differentiate by the signals, losses by "
    "what made them.",
)
def differentiable_in_signals(process: LinearGaussianProcess) -> None:
    """Each of them is linear in x and in z by a symmetric map, whose gradient it therefore is itself."""
    for pair in PAIRS:
        example = Example(times=pair)
        s, t = (as_time(process, time) for time in pair)
        x, z, y = (signals(process, example, number) for number in (0, 1, 2))
        zero = torch.zeros_like(x)
        for name, method in methods(process, example).items():
            # The noise of `corrupt` stands in z's place; the score is not of size 1.
            if name == "score":
                continue
            for key, expected in (("x", method(y, zero, s, t)), ("z", method(zero, y, s, t))):
                of = {"x": x.clone(), "z": z.clone()}
                of[key].requires_grad_()
                with torch.enable_grad():
                    found = gradient((method(of["x"], of["z"], s, t) * y).sum(), of[key])
                room = ROUNDING * max(1.0, largest(expected), largest(y))
                if found is None and largest(expected) > room:
                    msg = f"{name} depends on {key} but gives no gradient"
                    raise Violation(msg, times=pair)
                found = zero if found is None else found
                rank = len(process.shape)
                what = f"the gradient of {name} in {key}, of its product with a signal,"
                require_equal(what, found, expected, rank=rank, absolute=room, times=pair)


LAWS = (degrading, corrupting, timing, keeping_precision, any_layout, differentiable_in_signals)
