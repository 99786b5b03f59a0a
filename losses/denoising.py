r"""The denoising loss: one path for every process and every prediction.

A network trained to put out y on the latent z_t is off by e_y = y_hat - y. Per coefficient its estimate of the data is
then off by e_u = output_y e_y (see `unmelt.degradations.predictions`), so the error of *another* prediction m made
from it is e_m = (output_y / output_m) e_y. The loss is

    L(x) = w sum_k (rate_k e_{y,k})^2,    rate = output_y / output_m,

with the measure m the network's own prediction unless another is asked for. What the papers train with are settings
of it, and each is the corresponding term of the variational bound times a weight:

| training loss | process | prediction | w | bound term at level t, divided into it |
|---|---|---|---|---|
| Rissanen et al. (2023), eq. 8 | heat | less degraded | 1 | 2 delta^2 |
| Ho et al. (2020), eq. 14 | isotropic | epsilon | 1 / n | 2 / (n expm1(l_s - l_t)) |
| Hoogeboom & Salimans (2023), sec. 4 | blurring | epsilon | 1 / n | the same, per frequency |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..degradations import LinearGaussianProcess, Prediction
from ..degradations.bases.base import compute_precision
from ..degradations.checks import check_signal
from ..degradations.process import Time
from ..degradations.randomness import white_noise
from ..models import AbstractDenoiser
from .times import LevelTimes, TimeSampling, UniformTimes


@dataclass(frozen=True)
class Reduction:
    """How squared errors add up over the n coefficients of one example: their sum times `weight(n)`."""

    def weight(self, coefficients: int) -> float:
        """Return w for signals of this many coefficients."""
        del coefficients
        return 1.0


@dataclass(frozen=True)
class SumOverDimensions(Reduction):
    """w = 1: squared norm of the error, as in the released code of inverse heat dissipation."""


@dataclass(frozen=True)
class MeanOverDimensions(Reduction):
    """w = 1 / n: mean squared error, as DDPM and most code after it trains."""

    def weight(self, coefficients: int) -> float:
        """Return 1 / n."""
        return 1.0 / coefficients


class DenoisingLoss(nn.Module):
    """Weighted squared error of a denoiser's network at random times, per example.

    Args:
        process: the forward process.
        times: law of the training times; levels 1..K of a process with levels, else uniform in (0, 1].
        reduction: how squared errors add up over an example.
        measure: prediction in whose terms the error is measured; the network's own if None.

    Raises:
        ValueError: `process` cannot convert `measure` stably.
    """

    def __init__(
        self,
        process: LinearGaussianProcess,
        *,
        times: TimeSampling | None = None,
        reduction: Reduction | None = None,
        measure: Prediction | None = None,
    ) -> None:
        super().__init__()
        if measure is not None:
            measure.require_stable(process)
        self.process = process
        self.times = times or (LevelTimes(process.levels) if process.levels else UniformTimes())
        self.reduction = reduction or SumOverDimensions()
        self.measure = measure

    def forward(
        self,
        denoiser: AbstractDenoiser,
        x: Float[Tensor, "batch ..."],
        *,
        t: Time | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return the loss of each example, (batch,).

        Args:
            denoiser: denoiser of the same process; its network is called once.
            x: data, (batch, *shape), floating-point.
            t: times in [0, 1], a number, () or (batch,); drawn from `times` if None.
            generator: source of the times' and the noise's randomness; torch's default if None.

        Raises:
            TypeError: `x` is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], or the denoiser's process is another one.
        """
        process = self.process
        check_signal("x", x, process.shape)
        _check_process(denoiser, process)
        if t is None:
            times = process.in_schedule_dtype(self.times.sample(len(x), device=x.device, generator=generator))
        else:
            times = process.as_times(t, batch=len(x)).expand(len(x))
        x = compute_precision(x)
        noise = white_noise(x.shape, like=x, generator=generator)
        z_t, target = denoiser.prediction.training_pair(process, x, noise, times)
        error = target - denoiser.output(z_t, times)
        if self.measure is not None and self.measure != denoiser.prediction:
            error = self._converted(error, denoiser.prediction, self.measure, times)
        return self.reduction.weight(error[0].numel()) * error.square().flatten(1).sum(1)

    def _converted(self, error: Tensor, prediction: Prediction, measure: Prediction, t: Tensor) -> Tensor:
        """Return the error in terms of `measure` that an error in terms of `prediction` amounts to."""
        theirs, ours = prediction.conversion(self.process, t).output, measure.conversion(self.process, t).output
        return self.process.basis.combine((error, theirs / ours))


def _check_process(denoiser: AbstractDenoiser, process: LinearGaussianProcess) -> None:
    if not process.agrees_with(denoiser.process):
        msg = (
            f"the denoiser was made for another process ({type(denoiser.process).__name__} of shape"
            f" {denoiser.process.shape}) than this loss ({type(process).__name__} of shape {process.shape}), or with"
            " other settings: build both from one process"
        )
        raise ValueError(msg)
