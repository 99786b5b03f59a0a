r"""What of a sample the initial state decides, and what the noise of the steps: two-way analysis of variance.

Every one of I initial states is drawn from with every one of J noises. A coefficient y_ij of the sample is then

    y_ij = m + a_i + b_j + r_ij,

a mean, a part of the state, a part of the noise, and what only both together decide. Their variances add up to the
variance of samples. They are estimated without bias by mean squares (Fisher, 1925; Searle, Casella & McCulloch, 1992):
E MS_r = var r, E MS_a = var r + J var a, E MS_b = var r + I var b. An estimate of a part that is 0 may be negative.

Inverse heat dissipation's initial state is a blurred image: colours and composition come from it, and the noise decides
shapes (Rissanen, Heinonen & Solin, 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_count
from ..degradations import CosineBasis, opponent_colours
from ..models import Condition
from ..samplers import Sampler
from ..samplers.noise import SharedNoise
from .power_spectrum import octaves


@dataclass(frozen=True)
class VarianceShares:
    """Shares of the variance of samples in an octave of frequencies.

    Attributes:
        frequency: mean frequency, in cycles per pixel; 0 is the mean of the image.
        colours: "luminance", "colour", or "all" for images that are not of three channels.
        state: share that the initial state decides.
        noise: share that the noise of the steps decides.
        both: share that only both together decide.
        variance: what these are shares of, per coefficient, in squared data units.
    """

    frequency: float
    colours: str
    state: float
    noise: float
    both: float
    variance: float


def draw_crossed(
    sampler: Sampler, states: int, noises: int, *, seed: int = 0, condition: int | None = None
) -> Float[Tensor, "states noises ..."]:
    """Return samples of every initial state with every noise, (states, noises, *shape).

    Args:
        sampler: draws them; of one whose steps draw no noise all columns are the same.
        states: number of initial states.
        noises: number of noises of the steps.
        seed: of all.
        condition: class of all samples, for a network that knows classes.

    Raises:
        ValueError: a count is too small.
    """
    check_count("states", states)
    check_count("noises", noises)
    initial = sampler.initial_latents(states, generator=torch.Generator().manual_seed(seed))
    given: Condition | None = None if condition is None else torch.full((states,), condition)
    columns = [
        sampler.sample(states, initial=initial, condition=given, noise=SharedNoise(seed + number), keep_on="cpu")
        for number in range(noises)
    ]
    return torch.stack(columns, dim=1)


def variance_shares(samples: Float[Tensor, "states noises ..."]) -> list[VarianceShares]:
    """Return what of the variance of samples the initial state and the noise decide, octave by octave.

    Args:
        samples: of every state with every noise, (states, noises, channels, ...); see `draw_crossed`.

    Raises:
        ValueError: there are fewer than two states or noises.
    """
    check_count("states", samples.shape[0], 2, "for a variance")
    check_count("noises", samples.shape[1], 2, "for a variance")
    basis = CosineBasis(samples.shape[2:])
    y = basis.forward(samples.double().flatten(0, 1)).unflatten(0, samples.shape[:2])
    parts = {"all": y}
    if y.shape[2] == 3:
        rotated = torch.einsum("snc...,cd->snd...", y, opponent_colours())
        parts = {"luminance": rotated[:, :, :1], "colour": rotated[:, :, 1:]}
    octave = octaves(basis)
    frequency = basis.laplacian_eigenvalues().sqrt() / (2 * torch.pi)
    found = list[VarianceShares]()
    for name, part in parts.items():
        for number in octave.unique().tolist():
            chosen = part[..., octave == number].flatten(2)
            state, noise, both = (value.mean().item() for value in _components(chosen))
            total = state + noise + both
            shares = [value / total if total else 0.0 for value in (state, noise, both)]
            here = frequency[octave == number].mean().item()
            found.append(VarianceShares(here, name, shares[0], shares[1], shares[2], total))
    return found


def _components(y: Float[Tensor, "states noises size"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the variances of the state's part, the noise's and the rest, of each coefficient."""
    states, noises = y.shape[:2]
    mean = y.mean((0, 1), keepdim=True)
    of_state, of_noise = y.mean(1, keepdim=True) - mean, y.mean(0, keepdim=True) - mean
    rest = y - mean - of_state - of_noise
    degrees = (states - 1) * (noises - 1)
    both = rest.square().sum((0, 1)) / degrees
    state = (noises * of_state.square().sum((0, 1)) / (states - 1) - both) / noises
    noise = (states * of_noise.square().sum((0, 1)) / (noises - 1) - both) / states
    return state, noise, both
