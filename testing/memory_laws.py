"""Laws of what log_alpha, log_sigma and the basis must leave alone: times, tables, torch's random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import tell_apart
from .law import Example, Violation, law, law_at_once
from .plain import as_time, signals

SEED = 7919


@law_at_once(
    "tables are made in the constructor",
    "Register them in __init__: a table made by the first call was not there when the process was copied or compared "
    "with another, so that it no longer agrees with a fresh one of its own.",
)
def made_at_first(process: LinearGaussianProcess) -> None:
    """The first call makes no buffer and no parameter."""
    before = set(tensors(process))
    for name, call in calls(process).items():
        # What cannot be called is other laws' business.
        with contextlib.suppress(Exception):
            call()
        for key in tensors(process):
            if key not in before:
                msg = f"{name} makes the table {key}"
                raise Violation(msg)


@law(
    "the times are left alone",
    "Write t = t * t for t *= t, and leave out methods that end in an underscore: t is the caller's, and "
    "self.expand_times(t) may be the same memory.",
)
def untouched(process: LinearGaussianProcess, example: Example) -> None:
    """The tensor t is the same after log_alpha(t) and log_sigma(t)."""
    for count in (1, 2):
        for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
            t = as_time(process, *[example.t] * count)
            before = t.clone()
            method(t)
            if not torch.equal(t, before):
                is_now = tell_apart(t.flatten()[0], before.flatten()[0])[0]
                msg = f"{name} changes the tensor of times that it gets, whose first becomes {is_now}"
                raise Violation(msg)


@law_at_once(
    "tables are left alone",
    "Write rate = rate * t for rate *= t, and leave out methods that end in an underscore: self.rate is the table "
    "itself, and what is written into it is there at the next call.",
)
def tables_untouched(process: LinearGaussianProcess) -> None:
    """No buffer or parameter is another after a call."""
    for name, call in calls(process).items():
        before = {key: table.clone() for key, table in tensors(process).items()}
        call()
        for key, table in tensors(process).items():
            if key in before and not torch.equal(table, before[key]) and not bool(table.isnan().any()):
                msg = f"{name} changes the table {key}"
                raise Violation(msg)


def tensors(process: LinearGaussianProcess) -> dict[str, Tensor]:
    """Return the process's buffers and parameters by their names."""
    return {**dict(process.named_buffers()), **dict(process.named_parameters())}


def calls(process: LinearGaussianProcess) -> dict[str, Callable[[], Tensor]]:
    """Return a call of each of the functions that a subclass or a basis writes."""
    x = signals(process, Example())
    return {
        "log_alpha": lambda: process.log_alpha(as_time(process, 0.3)),
        "log_sigma": lambda: process.log_sigma(as_time(process, 0.3)),
        "basis.forward": lambda: process.basis.forward(x.clone()),
        "basis.inverse": lambda: process.basis.inverse(x.clone()),
    }


@law_at_once(
    "random numbers are left alone",
    "Draw what is random in __init__, from a torch.Generator of its own: seeds set or numbers drawn here come back in "
    "the data's order and in the noise of training.",
)
def random_untouched(process: LinearGaussianProcess) -> None:
    """Torch's random state is the same after a call."""
    for name, call in calls(process).items():
        outside = torch.get_rng_state()
        try:
            # A seed that nobody sets, so that a seed set again is seen.
            before = torch.default_generator.manual_seed(SEED).get_state()
            call()
            if not torch.equal(torch.get_rng_state(), before):
                msg = f"{name} changes the state of torch's random numbers"
                raise Violation(msg)
        finally:
            torch.set_rng_state(outside)


FIRST_LAWS = (made_at_first,)
LAWS = (untouched, tables_untouched)
# Random coefficients change by themselves, too, which says more of them.
LATER_LAWS = (random_untouched,)
