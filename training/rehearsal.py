"""A rehearsal on two images: what fails in the first step, or when samples are drawn, fails before a run is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ..core.evaluation_mode import evaluating
from ..models import Denoiser
from ..samplers import Sampler
from .data import Examples
from .known import Known

_IMAGES = 2
# Share of the first step that is taken.
_SHORT = 1e-3


@torch.no_grad()
def rehearse(denoiser: Denoiser, sampler: Sampler, examples: Examples, known: Known | None = None) -> None:
    """Call the network on two images, draw two latents from the prior, and take a short step and the last one.

    Nothing is changed by it: networks are in evaluation mode, and the state of random numbers is restored.

    Args:
        denoiser: what is trained.
        sampler: what samples are drawn with.
        examples: what it is trained on.
        known: what is known of each of them; nothing if None.

    Raises:
        ValueError: the network's output, or the prior's draw, has another shape than the latents.
        Exception: whatever a part of the user's raises.
    """
    process, times = denoiser.process, sampler.times
    labels = None if denoiser.classes is None else torch.arange(_IMAGES, device=process.device) % denoiser.classes
    expected = (_IMAGES, *process.shape)
    devices = [process.device] if process.device.type == "cuda" else []
    with torch.random.fork_rng(devices), evaluating(denoiser), evaluating(sampler.denoiser):
        x = examples.fetch(range(_IMAGES)).x.to(process.device)
        condition, given = known.seen(labels, known.observe(x)) if known else (labels, None)
        denoiser(process.corrupt(x, torch.randn_like(x), 0.5, given=given), 0.5, condition, given)
        z = sampler.initial_latents(_IMAGES, given=given)
        if z.shape != expected:
            msg = f"{type(sampler.prior).__name__}.sample({_IMAGES}) must return shape {expected}, got {tuple(z.shape)}"
            raise ValueError(msg)
        # A short step first: one that follows the flow to the next time, by a network that is not trained, may not end.
        for t, s in ((times[0], torch.lerp(times[0], times[1], _SHORT)), times[-2:]):
            z = sampler.step(z, t, s, condition=condition, given=given)
            if z.shape != expected:
                msg = f"a step of {sampler.stepper} must leave latents of shape {expected}, got {tuple(z.shape)}"
                raise ValueError(msg)


def rehearse_optimizer(make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]) -> None:
    """Take a step of an optimizer, on a parameter of its own.

    Args:
        make: makes the optimizer of parameters.

    Raises:
        ValueError: it cannot take one as training does: without a closure, by a dense gradient.
    """
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    try:
        make([parameter]).step()
    except (RuntimeError, TypeError) as error:
        msg = f"{make} cannot take a step of training ({error}): take another optimizer, AdamW for example"
        raise ValueError(msg) from error
