"""The law that the base class's helpers hand on what log_alpha and log_sigma say, at the times asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import require_equal
from .law import Example, Violation, law_at_once
from .plain import as_time, widen

PAIRS = ((0.0, 0.01), (0.3, 0.3), (0.37, 1.0))


@law_at_once(
    "times and levels are those of log_alpha and log_sigma",
    "Write log_alpha and log_sigma only: all else takes times and coefficients from these helpers.",
)
def helpers(process: LinearGaussianProcess) -> None:
    """Each helper is what the base class makes it."""
    for pair in PAIRS:
        require_helpers(process, Example(pair))
    for wrong in (1.5, -0.5):
        try:
            found = process.as_times(wrong)
        except ValueError:
            continue
        msg = f"as_times({wrong}) is {found.item():g} and no error"
        raise Violation(msg, advice="Times outside [0, 1] are refused there, for all methods at once.")


def require_helpers(process: LinearGaussianProcess, example: Example) -> None:
    """Require the helpers to hand on the coefficients of two times, alone and together."""
    alone, pair = as_time(process, example.t), as_time(process, *example.pair)
    for t in (alone, pair):
        require_helped(process, "as_times(t)", process.as_times(t), t)
        shape = (*t.shape, *(1,) * len(process.shape)) if t.ndim else ()
        require_helped(process, "expand_times(t)", process.expand_times(t), t.reshape(shape))
        for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
            expected = widen(process, method(t), t)
            require_helped(process, f"batched_{name}(t)", getattr(process, f"batched_{name}")(t), expected)
            require_helped(process, f"at(t).{name}", getattr(process.at(t), name), expected)
    s, t = process.ordered_levels(*example.pair)
    for name, level, time in (("s", s, example.pair[0]), ("t", t, example.t)):
        require_helped(process, f"ordered_levels(s, t)'s level {name}'s time", level.t, as_time(process, time))
        expected = widen(process, process.log_sigma(as_time(process, time)), as_time(process, time))
        require_helped(process, f"ordered_levels(s, t)'s log_sigma at {name}", level.log_sigma, expected)


def require_helped(process: LinearGaussianProcess, what: str, actual: Tensor, expected: Tensor) -> None:
    """Require the same numbers, in a shape that broadcasts to the expected one with all of its axes."""
    fits = actual.ndim == expected.ndim and all(
        size in (1, most) for size, most in zip(actual.shape, expected.shape, strict=True)
    )
    if not fits:
        msg = f"{what} has shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
        raise Violation(msg)
    # An axis of times is no axis of coefficients.
    rank = len(process.shape) if expected.ndim > 1 else 0
    require_equal(what, actual.to(torch.float64), expected.to(torch.float64), rank=rank, relative=1e-12)


LAWS = (helpers,)
