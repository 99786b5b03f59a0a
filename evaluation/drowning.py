r"""When noise covers each frequency of the data: what a process does to a spectrum, and the order it generates in.

At time t the coefficients of frequency f have the signal's variance alpha(t)^2 S(f) and the noise's sigma(t)^2. A
frequency drowns when the first falls below the second; backwards in time it is then that a model can begin to draw it.
The power of photographs falls steeply with frequency: under white noise what is coarse drowns last, so that diffusion
draws images from coarse to fine although nothing in it blurs (Rissanen, Heinonen & Solin, 2023, and Dieleman, 2024, see
in it what a blur does by design). Under noise with the data's own spectrum all frequencies drown at once (Falck et al.,
2025).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import DataSpectrum, LinearGaussianProcess
from ..degradations.bands import Bands, band_groups, drowned_at, log_snr_bands

_TIMES = 513


class Drowning(NamedTuple):
    """When each band of frequencies drowns.

    Attributes:
        bands: log of the signal's variance over the noise's, at `times`.
        times: times in [0, 1], (times,).
        drowned_at: the time from which noise prevails, (bands,): 0 where it does from the start, infinity where it
            never does.
    """

    bands: Bands
    times: Float[Tensor, " times"]
    drowned_at: Float[Tensor, " bands"]


def drowning(process: LinearGaussianProcess, spectrum: DataSpectrum) -> Drowning:
    """Return when each band of frequencies of data drowns in the noise of a process.

    Args:
        process: the process.
        spectrum: the data's, in the process's basis, or any where the process treats all coefficients alike.

    Raises:
        ValueError: the spectrum is in another basis than the process's, which treats coefficients differently.
    """
    times = torch.linspace(0, 1, _TIMES, dtype=torch.float64)
    bands = log_snr_bands(process, times, spectrum)
    return Drowning(bands, times, drowned_at(times, bands.log_snr))


class Variances(NamedTuple):
    """Variances of latents in bands of frequencies, in squared data units.

    Attributes:
        label: what distinguishes the bands.
        positions: where they lie, (bands,).
        signal: alpha(t)^2 S, at each time, (times, bands).
        noise: sigma(t)^2, likewise.
    """

    label: str
    positions: Float[Tensor, " bands"]
    signal: Float[Tensor, "times bands"]
    noise: Float[Tensor, "times bands"]


def latent_variances(
    process: LinearGaussianProcess, spectrum: DataSpectrum, times: Float[Tensor, " times"]
) -> Variances:
    """Return what the variance of latents is made of, by frequency.

    Args:
        process: the process.
        spectrum: as in `drowning`.
        times: times in [0, 1], (times,).

    Raises:
        ValueError: as `drowning`.
    """
    groups, signal, noise = band_groups(process, spectrum), list[Tensor](), list[Tensor]()
    for t in times.tolist():
        alpha, sigma = (part[0].cpu().expand(process.shape) for part in (process.alpha(t), process.sigma(t)))
        signal.append(groups.means(alpha.square() * spectrum.variance.cpu()))
        noise.append(groups.means(sigma.square()))
    return Variances(groups.label, groups.positions, torch.stack(signal), torch.stack(noise))
