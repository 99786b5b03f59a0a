r"""Bridges: a process tied to x at t = 0 and to a known y at t = 1.

A Markov process with marginals N(alpha_t u, sigma_t^2) that is started at z_0 = x and conditioned on z_1 = y is, with
rho_t = sigma_t / alpha_t and h_t = (rho_t^2 - rho_0^2) / (rho_1^2 - rho_0^2), which grows from 0 to 1,

    z_t = alpha_t / alpha_0 (1 - h_t) x + alpha_t / alpha_1 h_t y + alpha_t sqrt((rho_t^2 - rho_0^2) (1 - h_t)) noise

per coefficient. With rho_0 = 0 these are the bridges of Zhou, Lou, Khanna & Ermon (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import as_shape, check_instance
from ...core.makers import made
from ..composition import MakesProcess
from ..level import log_ratio
from ..process import LinearGaussianProcess, Time
from ..schedules import Schedule, SymmetricNoise, WienerNoise
from .isotropic import IsotropicDiffusion

_BASE = "IsotropicDiffusion(shape, LinearSchedule()) for example"


class _Logs(NamedTuple):
    """Of the process that is tied: log alpha_t, log (rho_t^2 - rho_0^2), and log h_t <= 0."""

    log_alpha: Tensor
    log_growth: Tensor
    log_share: Tensor


class DiffusionBridge(LinearGaussianProcess):
    """A process conditioned to end in y: denoising diffusion bridges (Zhou, Lou, Khanna & Ermon, 2024).

    With `IsotropicDiffusion(shape, LinearSchedule())` it is their variance-preserving bridge, with `EDMSchedule` their
    variance-exploding one. Both ends are exact: z_0 = x and z_1 = y. Where the base process leaves nothing of the
    signal, nothing of y is seen before t = 1.

    Args:
        process: the process that is tied; every coefficient's log-SNR must fall.

    Raises:
        ValueError: `process` has a known end already, or a coefficient whose log-SNR stands still, so that no noise
            leads from x to y, such as the mean under `HeatDissipation` (`HeatBridge` has noise there).
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        check_instance("process", process, LinearGaussianProcess, _BASE)
        super().__init__(process.basis)
        name = process.called
        if process.known_end:
            msg = f"{name} has a known end already: take the process that it was made of"
            raise ValueError(msg)
        first, last = (process.at(t).log_snr.expand(1, *process.shape)[0] for t in (0.0, 1.0))
        still = ~(last < first)
        if bool(still.any()):
            index = tuple(int(i) for i in still.nonzero()[0])
            msg = (
                f"no bridge leads from x to y where a log-SNR does not fall: {name}'s is {first[index].item():.4g} at"
                f" t = 0 and {last[index].item():.4g} at t = 1 for coefficient {index}; take noise that grows, with"
                " WithNoise for example, or HeatBridge for heat"
            )
            raise ValueError(msg)
        self.process, self.levels = process, process.levels

    @classmethod
    def of(cls, shape: Sequence[int], *, process: MakesProcess) -> DiffusionBridge:
        """Return `DiffusionBridge(process(shape))`."""
        return cls(made("process", process, as_shape(shape), LinearGaussianProcess, _BASE))

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        at = self._logs(t)
        return at.log_alpha - self.process.batched_log_alpha(0.0) + _log_of_rest(at.log_share)

    @override
    def log_beta(self, t: Time) -> Float[Tensor, "..."]:
        at = self._logs(t)
        growth = log_ratio(at.log_alpha, self.process.batched_log_alpha(1.0)) + at.log_share
        return torch.where(at.log_share == -torch.inf, -torch.inf, growth)

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        at = self._logs(t)
        noise = at.log_growth + 2 * at.log_alpha
        # Where the base process keeps no signal, that is infinite over zero: its own noise.
        noise = torch.where(at.log_growth == torch.inf, 2 * self.process.batched_log_sigma(t), noise)
        return (noise + _log_of_rest(at.log_share)) / 2

    def _logs(self, t: Time) -> _Logs:
        log_alpha, growth = self.process.batched_log_alpha(t), self._log_growth(t)
        return _Logs(log_alpha, growth, log_ratio(growth, self._log_growth(1.0)))

    def _log_growth(self, t: Time) -> Tensor:
        """Return log (rho_t^2 - rho_0^2), without subtracting squares."""
        log_snr, first = (
            2 * log_ratio(self.process.batched_log_alpha(time), self.process.batched_log_sigma(time))
            for time in (t, 0.0)
        )
        return -log_snr + _log_of_rest(log_ratio(log_snr, first))


class BrownianBridge(DiffusionBridge):
    """z_t = (1 - t) x + t y + sigma sqrt(t (1 - t)) noise.

    Source: Li, Xue, Liu & Lai (2023), BBDM, where the variance is 2 s (t - t^2): sigma^2 = 2 s.

    Args:
        shape: shape of one signal, such as (3, 64, 64).
        sigma: standard deviation of a Brownian motion at t = 1, in the data's units; the bridge's largest is half.

    Raises:
        ValueError: sigma is not positive.
    """

    def __init__(self, shape: Sequence[int], *, sigma: float = 1.0) -> None:
        super().__init__(IsotropicDiffusion(shape, WienerNoise(sigma)))


class SchrodingerBridge(DiffusionBridge):
    """A Brownian bridge on a clock that is slow at both ends: image-to-image Schroedinger bridges (I2SB).

    Source: Liu, Vahdat, Huang, Theodorou, Nie & Anandkumar (2023), I2SB, with their symmetric schedule.

    Args:
        shape: shape of one signal, such as (3, 64, 64). Data is scaled to [-1, 1] there.
        noise: sigma_t of the Brownian motion; `SymmetricNoise()` if None.
    """

    def __init__(self, shape: Sequence[int], noise: Schedule | None = None) -> None:
        super().__init__(IsotropicDiffusion(shape, noise or SymmetricNoise()))


def _log_of_rest(log_share: Tensor) -> Tensor:
    """Return log (1 - e^x) for x <= 0."""
    # Rounding may leave a share just above 1 close to t = 1.
    return torch.log(-torch.expm1(log_share.clamp(max=0.0)))
