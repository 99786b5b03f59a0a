"""The law that methods do not write into what they are given."""

from __future__ import annotations

import contextlib

import torch

from ..degradations import LinearGaussianProcess
from .law import Example, Violation, law_at_once
from .plain import as_time, signals
from .signal_laws import methods

# Two times for each of two signals.
EARLY, LATE = (0.3, 0.35), (0.6, 0.65)


@law_at_once(
    "methods leave their arguments alone",
    "Write z = z * a for z *= a, copy before you write into a tensor, and leave out methods that end in an underscore: "
    "signals, noises and times are the caller's.",
)
def arguments_alone(process: LinearGaussianProcess) -> None:
    """Signals, latents and times are the same after every method."""
    example = Example((*EARLY, *LATE))
    every = methods(process, example)
    every["sample_path"] = lambda x, _z, _s, t: process.sample_path(x, t)
    for rate in ("drift", "log_snr_rate", "diffusion"):
        every[rate] = lambda _x, _z, _s, t, rate=rate: getattr(process, rate)(t)
    for name, method in every.items():
        arguments = {"x": signals(process, example), "z": signals(process, example, 1)}
        arguments |= {"s": as_time(process, *EARLY), "t": as_time(process, *LATE)}
        before = {key: value.clone() for key, value in arguments.items()}
        state = torch.get_rng_state()
        # A method that fails is other laws' business.
        with contextlib.suppress(Exception):
            method(*arguments.values())
        torch.set_rng_state(state)
        for key, value in arguments.items():
            if not torch.equal(value, before[key]):
                called = "noise" if (name, key) == ("corrupt", "z") else key
                msg = f"{name} changes the tensor {called} that it gets"
                raise Violation(msg)


LAWS = (arguments_alone,)
