"""From data up to latents at t = 1, along the probability flow, and back with a sampler."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_instance, check_number, check_signal
from ...core.evaluation_mode import evaluating
from ...core.precision import to_compute_dtype
from ...models.centred_denoiser import centred, moved_from_end
from ...models.conditions import Condition, check_rows
from ..noise import GeneratorNoise
from ..sampler import Sampler
from ..spectral import Spectral
from ..state import SamplerState
from ..steppers import Adaptive


@torch.no_grad()
def encode(
    sampler: Sampler,
    z: Float[Tensor, "batch ..."],
    *,
    t: float | None = None,
    condition: Condition | None = None,
    given: Condition | None = None,
) -> Float[Tensor, "batch ..."]:
    """Return the latents at t = 1, (batch, *shape), to which the flow carries latents at `t`, up instead of down.

    `sampler.sample(len(z), initial=latents, stop=t)` carries them back, nearer the smaller the tolerances are: the flow
    magnifies errors on its way, that of heat most, where all but a few coefficients are below the noise.

    Args:
        sampler: a sampler that steps with `Adaptive`.
        z: latents, (batch, *shape). Data may stand for latents at a time with hardly any noise.
        t: their time in [0, 1); the grid's last but one if None.
        condition: the network's condition, one row per latent; None if it takes none.
        given: what the estimate is conditioned on in each row, or the known end of the process.

    Raises:
        TypeError: `z` is not floating-point, or the sampler steps otherwise.
        ValueError: a shape is wrong, `t` lies outside [0, 1), or has no noise in some coefficient, or the process is
            pinned to a known end, which every latent would be carried to.
        RuntimeError: the tolerances cannot be met, or not within `most_calls`.
    """
    check_instance("sampler", sampler, Sampler, "Sampler(denoiser, Adaptive()) for example")
    check_instance("sampler.stepper", sampler.stepper, Adaptive, "Sampler(denoiser, Adaptive()) for example")
    process, stepper = sampler.process, cast("Adaptive", sampler.stepper)
    check_signal("z", z, process.shape)
    check_rows("condition", condition, len(z))
    check_rows("given", given, len(z))
    start = sampler.times[-2].item() if t is None else float(t)
    check_number("t", start, "[0, 1)", "from where the flow goes to 1")
    if bool((process.at(start).log_sigma == -torch.inf).any()):
        noisy = bool((process.at(1.0).log_sigma > -torch.inf).all())
        remedy = "encode at a later time, such as t=1e-3" if noisy else "take a process with noise at t = 1"
        msg = (
            f"{process.called} has no noise in some coefficient at t = {start}, where the flow is not defined: {remedy}"
        )
        raise ValueError(msg)
    if process.at(1.0).pinned:
        msg = f"{process.called} ends in the known signal y whatever its latents: there is nothing to encode in"
        raise ValueError(msg)
    denoiser = centred(sampler.denoiser)
    z = moved_from_end(denoiser, to_compute_dtype(z).to(process.device), start, given)
    latent = Spectral(process.basis, signal=z)
    state = SamplerState(denoiser, latent, GeneratorNoise().stream(slice(None)), condition, given)
    with evaluating(sampler.denoiser):
        return moved_from_end(denoiser, stepper.solved(state, start, 1.0).signal, 1.0, given, back=True)
