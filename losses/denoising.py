r"""The denoising loss: one path for every process, prediction and weighting.

A network trained to put out y on the latent z_t is off by e_y = y - y_hat. Its estimate of the noise is then off by
e_eps = (output_y / sigma_t) e_y per coefficient, `output_y` being that of its prediction's conversion to alpha_t u
(see `unmelt.losses.weightings.base`). With a weight w_k(t) on the squared epsilon-error the loss of an example is

    L(x) = r sum_k w_k e_{eps,k}^2 = r sum_k (gain_k e_{y,k})^2,    gain = sqrt(w) |output_y| / sigma_t,

r being 1 (`SumOverDimensions`) or 1 / n for n coefficients (`MeanOverDimensions`). It does not depend on what the
network predicts, except by default: then the network's own error is weighed by 1. What papers train with are settings:

| training loss | process | prediction | weighting |
|---|---|---|---|
| Rissanen et al. (2023); r = 1 | heat | less degraded | `SimpleWeighting()` |
| Ho et al. (2020), eq. 14, as released; r = 1 / n | isotropic, linear | epsilon | `SimpleWeighting()` |
| Hoogeboom & Salimans (2023), sec. 4; r = 1 / n | blurring | epsilon | `SimpleWeighting()` |
| Salimans & Ho (2022), "SNR + 1" | isotropic, cosine | any | `SimpleWeighting(PredictV())` |
| Kingma et al. (2021), continuous time; r = 1 | isotropic | epsilon | `BoundWeighting()` |
| Choi et al. (2022) | isotropic | epsilon | `P2Weighting()` |
| Karras et al. (2022) | isotropic, EDM | x | `EDMWeighting()` |
| Hang et al. (2023) | isotropic | any | `MinSNRWeighting()` |
| Kingma & Gao (2023); Hoogeboom et al. (2024) | isotropic | any | `SigmoidWeighting(bias)` |
| Karras et al. (2024) | isotropic, EDM | x | `EDMWeighting()`, with `uncertainty=LearnedLogVariance(process)` |

Each is the bound's term at time t times a ratio. In continuous time the ratio is r w over 1/2 (-dl/dt), which the table
of `unmelt.losses.weightings.base` lists. For one step of a grid, s < t, the unweighted losses are

| prediction | coupling of the bound | loss over the bound's term |
|---|---|---|
| less degraded, heat | independent, reverse standard deviation delta | 2 r delta^2 |
| epsilon | Markov | 2 r / expm1(l_s - l_t), per coefficient |
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..core.checks import check_instance, check_signal
from ..core.precision import to_compute_dtype
from ..core.randomness import white_noise
from ..degradations import LinearGaussianProcess
from ..degradations.agreement import check_same_process
from ..degradations.process import Time
from ..models import AbstractDenoiser, Denoiser
from .reduction import Reduction, SumOverDimensions
from .times import LevelTimes, TimeDistribution, UniformTimes
from .weightings import LearnedLogVariance, SimpleWeighting, Weighting


class DenoisingLoss(nn.Module):
    """Weighted squared error of a denoiser's network at random times, per example.

    Args:
        process: the forward process.
        times: law of the training times; levels 1..K of a process with levels, else uniform in (0, 1].
        weighting: how much each coefficient's squared error counts at each time; `SimpleWeighting()`, the network's own
            error as it is, if None.
        reduction: how squared errors add up over an example; `SumOverDimensions()` if None.
        uncertainty: learned scale of the loss at each time, of the same process; its parameters are this module's.

    Raises:
        TypeError: `weighting` or `uncertainty` is of the wrong kind.
        ValueError: the weighting is not defined for `process`, or `uncertainty` was made for another one.
    """

    def __init__(
        self,
        process: LinearGaussianProcess,
        *,
        times: TimeDistribution | None = None,
        weighting: Weighting | None = None,
        reduction: Reduction | None = None,
        uncertainty: LearnedLogVariance | None = None,
    ) -> None:
        super().__init__()
        weighting = weighting or SimpleWeighting()
        check_instance("weighting", weighting, Weighting, "MinSNRWeighting() for example")
        weighting.require_defined(process)
        if uncertainty is not None:
            check_instance("uncertainty", uncertainty, LearnedLogVariance, "LearnedLogVariance(process)")
            check_same_process(process, uncertainty.process, whose="the uncertainty", where="this loss")
        if times is not None:
            check_instance("times", times, TimeDistribution, "Stratified(UniformTimes()) for example")
        if reduction is not None:
            check_instance("reduction", reduction, Reduction, "MeanOverDimensions() for example")
        self.process = process
        self.times = times or (LevelTimes(process.levels) if process.levels else UniformTimes())
        self.reduction = reduction or SumOverDimensions()
        self.weighting = weighting
        self.uncertainty = uncertainty

    def forward(
        self,
        denoiser: AbstractDenoiser,
        x: Float[Tensor, "batch ..."],
        *,
        t: Time | None = None,
        labels: Int[Tensor, " batch"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return the loss of each example, (batch,).

        Times that are drawn here tell `times` their losses in training mode, and are corrected for where `times`
        prefers some of them, so that the mean loss is that of its law; times that are given are neither.

        Args:
            denoiser: denoiser of the same process; its network is called once.
            x: data, (batch, *shape), floating-point.
            t: times in [0, 1], a number, () or (batch,); drawn from `times` if None.
            labels: label of each example, (batch,), for a `Denoiser` whose network knows classes; None if none has one.
                `unmelt.models.drop_labels` leaves some of them out.
            generator: source of the times' and the noise's randomness; torch's default if None.

        Raises:
            TypeError: `x` is not floating-point, or labels are given to a denoiser that is no `Denoiser`.
            ValueError: a shape is wrong, a time lies outside [0, 1], the denoiser's process is another one, its network
                takes no labels but some are given, or the weight of its error is not finite at a time (where values are
                free to read; elsewhere the loss is not).
        """
        process = self.process
        check_signal("x", x, process.shape)
        check_same_process(process, denoiser.process, whose="the denoiser", where="this loss")
        drawn = t is None
        if drawn:
            times = process.to_schedule_dtype(self.times.sample(len(x), device=x.device, generator=generator))
        else:
            times = process.as_times(t, batch=len(x)).expand(len(x))
        x = to_compute_dtype(x)
        noise = white_noise(x.shape, like=x, generator=generator)
        z_t, target = denoiser.prediction.training_pair(process, x, noise, times)
        error = target - _output(denoiser, z_t, times, labels)
        error = self.weighting.weighted_error(process, denoiser.prediction, times, error)
        loss = self.reduction.weight(error[0].numel()) * error.square().flatten(1).sum(1)
        objective = loss if self.uncertainty is None else self.uncertainty.scaled(loss, times)
        if not drawn:
            return objective
        # Before the update: of the law that the times were drawn from.
        correction = self.times.correction(times)
        if self.training:
            self.times.update(times, loss.detach())
        return objective * correction.to(objective.dtype)


def _output(denoiser: AbstractDenoiser, z_t: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
    """Return the denoiser's raw output, with the labels if there are any."""
    if labels is None:
        return denoiser.output(z_t, times)
    check_instance("denoiser", denoiser, Denoiser, "as the one that is called with labels")
    return cast("Denoiser", denoiser).output(z_t, times, labels)
