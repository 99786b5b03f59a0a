r"""Degradations around a known mean: what is left of the signal fades towards y, not towards 0.

    z_t = y + alpha_t (x - y) + sigma_t noise:    beta_t = 1 - alpha_t.

The Ornstein-Uhlenbeck processes of speech enhancement and image restoration, residual shifting, and diffusions whose
prior has a mean that depends on the data are of this kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import as_shape, check_instance
from ...core.makers import made
from ..composition import MakesProcess
from ..process import LinearGaussianProcess, Time
from ..schedules import OUVESchedule, ResidualShiftSchedule, Schedule
from .isotropic import IsotropicDiffusion

_BASE = "IsotropicDiffusion(shape) for example"


class TowardsMean(LinearGaussianProcess):
    """Another process of x - y, with y added: the signal fades to a mean that is given.

    Of an isotropic process with `ScaledNoise` this is IR-SDE (Luo et al., 2023): alpha = e^-theta and sigma^2 =
    lambda^2 (1 - e^-2theta). With a noise spectrum (`SpectralDiffusion`) it is PriorGrad (Lee et al., 2022),
    whose prior N(y, Sigma) depends on the data.

    Args:
        process: what happens to x - y; its alpha must not exceed 1.

    Raises:
        ValueError: `process` has a known end of its own, or an alpha above 1.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        check_instance("process", process, LinearGaussianProcess, _BASE)
        super().__init__(process.basis)
        if process.known_end:
            msg = f"{process.called} has a known end already: take the process that it was made of"
            raise ValueError(msg)
        largest = process.at(0.0).alpha.max().item()
        if largest > 1:
            msg = f"process must keep alpha in [0, 1], so that y's share 1 - alpha is none below 0, got {largest:g}"
            raise ValueError(msg)
        self.process, self.levels = process, process.levels

    @classmethod
    def of(cls, shape: Sequence[int], *, process: MakesProcess) -> TowardsMean:
        """Return `TowardsMean(process(shape))`."""
        return cls(made("process", process, as_shape(shape), LinearGaussianProcess, _BASE))

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        return self.process.batched_log_alpha(t)

    @override
    def log_beta(self, t: Time) -> Float[Tensor, "..."]:
        return torch.log(-torch.expm1(self.process.batched_log_alpha(t)))

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.process.batched_log_sigma(t)


class ResidualShift(TowardsMean):
    """z_t = x + eta_t (y - x) + kappa sqrt(eta_t) noise: the residual y - x is shifted in, step by step.

    Source: Yue, Wang & Loy (2023), ResShift. Their steps back are those of
    `RandomWalk()`, whose noise is a random walk; `Markov()` takes others from the same marginals.

    Args:
        shape: shape of one signal, such as (3, 64, 64). Data is scaled to [-1, 1] there, in an autoencoder's latents.
        schedule: eta_t and kappa; `ResidualShiftSchedule()` if None, whose levels are the process's.
    """

    def __init__(self, shape: Sequence[int], schedule: ResidualShiftSchedule | None = None) -> None:
        schedule = schedule or ResidualShiftSchedule()
        check_instance("schedule", schedule, ResidualShiftSchedule, "ResidualShiftSchedule(kappa=2.0)")
        super().__init__(IsotropicDiffusion(shape, schedule))
        self.levels = schedule.levels


class OrnsteinUhlenbeck(TowardsMean):
    """dz = gamma (y - z) dt + g(t) dw with g growing geometrically: noisy speech y, clean speech x.

    Source: Richter, Welker, Lemercier, Lay & Gerkmann (2023), Speech enhancement and dereverberation with
    diffusion-based generative models (SGMSE+).

    Args:
        shape: shape of one signal, such as (2, 256, 256) for a spectrogram's real and imaginary parts.
        schedule: gamma and g; `OUVESchedule()` if None.
    """

    def __init__(self, shape: Sequence[int], schedule: Schedule | None = None) -> None:
        super().__init__(IsotropicDiffusion(shape, schedule or OUVESchedule()))
