r"""The denoising loss: one path for every process, prediction and weighting.

A network trained to put out y on the latent z_t is off by e_y = y - y_hat. Its estimate of the noise is then off by
e_eps = (output_y / sigma_t) e_y per coefficient, `output_y` being that of its prediction's conversion to alpha_t u
(see `unmelt.losses.weightings.base`). With a weight w_k(t) on the squared epsilon-error the loss of an example is

    L(x) = r sum_k w_k e_{eps,k}^2 = r sum_k (scale_k e_{y,k})^2,    scale = sqrt(w) |output_y| / sigma_t,

r being 1 (`SumOverDimensions`) or 1 / n for n coefficients (`MeanOverDimensions`). It does not depend on what the
network predicts, except by default: then the network's own error is weighed by 1. What papers train with are settings:

| training loss | process | prediction | weighting |
|---|---|---|---|
| Rissanen et al. (2023); r = 1 | heat | previous level | `SimpleWeighting()` |
| Ho et al. (2020), as released; r = 1 / n | isotropic, linear | epsilon | `SimpleWeighting()` |
| Hoogeboom & Salimans (2023), sec. 4; r = 1 / n | blurring | epsilon | `SimpleWeighting()` |
| Salimans & Ho (2022), "SNR + 1" | isotropic, cosine | any | `SimpleWeighting(in_terms_of=PredictV())` |
| Kingma et al. (2021), continuous time; r = 1 | isotropic | epsilon | `BoundWeighting()` |
| Choi et al. (2022) | isotropic | epsilon | `P2Weighting()` |
| Karras et al. (2022) | isotropic, EDM | x | `EDMWeighting()` |
| Hang et al. (2023) | isotropic | any | `MinSNRWeighting()` |
| Kingma & Gao (2023); Hoogeboom et al. (2024) | isotropic | any | `SigmoidWeighting(bias)` |
| Karras et al. (2024) | isotropic, EDM | x | `EDMWeighting()`, with `log_variance=LearnedLogVariance()` |

Each is the bound's term at time t times a ratio. In continuous time the ratio is r w over 1/2 (-dl/dt), which the table
of `unmelt.losses.weightings.base` lists. For one step of a grid, s < t, the unweighted losses are

| prediction | coupling of the bound | loss over the bound's term |
|---|---|---|
| previous level, heat | independent, reverse standard deviation delta | 2 r delta^2 |
| epsilon | Markov | 2 r / expm1(l_s - l_t), per coefficient |

Where numbers of x are missing, the sum runs over the others, and n counts them. In the basis of pixels (isotropic
diffusion, `PixelMask`) a number has its own coefficient, target and weight: of what is missing nothing enters the loss,
and what is not is weighed as ever. In other bases each coefficient is made of all pixels. There x is completed before
it is degraded, and the error of the completed pixels is left out before it is weighed, which is an approximation: the
latents, and through them the targets of pixels that are known, hold some of what was filled in. The network sees the
completed x degraded in either case; which pixels are true it learns from a mask among its conditions.
"""

from __future__ import annotations

from types import NoneType

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from ..core.checks import (
    broadcast_to,
    check_instance,
    check_mask,
    check_not_empty,
    check_number,
    check_signal,
    values_are_readable,
)
from ..core.precision import schedule_dtype, to_compute_dtype
from ..core.randomness import white_noise
from ..degradations import Level, PixelBasis
from ..degradations.process import Time
from ..models import AbstractDenoiser
from ..models.centred_denoiser import centred, check_tied
from ..models.conditions import Condition, check_rows
from .reduction import Reduction, SumOverDimensions
from .times import TimeDistribution, default_times
from .weightings import LearnedLogVariance, SimpleWeighting, Weighting

_SUM = SumOverDimensions()


class DenoisingLoss(nn.Module):
    """Weighted squared error of a denoiser's network at random times, per example: what is compiled and distributed.

    Of a process with a known end the loss is that of the latents z_t - beta_t y (see `CentredDenoiser`).

    Args:
        denoiser: the denoiser that is trained; its parameters are this module's.
        times: distribution of the training times; levels 1..K of a process with levels, else uniform in (0, 1].
        weighting: how much each coefficient's squared error counts at each time; `SimpleWeighting()`, the network's own
            error as it is, if None.
        reduction: how squared errors add up over an example; `SumOverDimensions()` if None.
        log_variance: learned scale of the loss at each time; its parameters are this module's.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: times or weighting are not defined for the denoiser's process.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        times: TimeDistribution | None = None,
        weighting: Weighting | None = None,
        reduction: Reduction | None = None,
        log_variance: LearnedLogVariance | None = None,
    ) -> None:
        super().__init__()
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        weighting, reduction = weighting or SimpleWeighting(), reduction or _SUM
        times = times or default_times(denoiser.process.levels)
        check_instance("times", times, TimeDistribution, "Stratified(UniformTimes()) for example")
        check_instance("weighting", weighting, Weighting, "MinSNRWeighting() for example")
        check_instance("reduction", reduction, Reduction, "MeanOverDimensions() for example")
        check_instance("log_variance", log_variance, (LearnedLogVariance, NoneType), "LearnedLogVariance()")
        self.denoiser = centred(denoiser)
        self.times = times.bind(self.denoiser.process)
        self.weighting = weighting.bind(self.denoiser.process)
        self.reduction = reduction
        self.log_variance = log_variance

    def __repr__(self) -> str:
        """Show the settings in a line, without the network that torch would list."""
        of = f"{type(self.denoiser).__name__} of {self.denoiser.process.called}"
        return f"DenoisingLoss({of}, {self.extra_repr()})"

    @override
    def extra_repr(self) -> str:
        """Show how errors are weighed."""
        parts = (self.times, self.weighting, self.reduction, self.log_variance)
        names = [
            type(part).__name__ if isinstance(part, nn.Module) else str(part) for part in parts if part is not None
        ]
        return f"{self.denoiser.prediction}, {', '.join(names)}"

    def forward(
        self,
        x: Float[Tensor, "batch ..."],
        *,
        condition: Condition | None = None,
        given: Float[Tensor, "batch ..."] | None = None,
        t: Time | None = None,
        drawn: Time | None = None,
        visible: Bool[Tensor, "..."] | None = None,
        fill: Float[Tensor, "..."] | float | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return the loss of each example, (batch,).

        In training mode, `times` learn from the losses at times that are drawn here; where they prefer some times, the
        losses are corrected, so that their mean keeps its expectation. Times that are given as `t` are neither.

        Args:
            x: data, (batch, *shape), floating-point. The network is called once.
            condition: the network's condition, one row per example; None if it takes none. (Labels of which some are
                left out: `unmelt.models.drop_labels`.)
            given: the known end y of each example, (batch, *shape), where the denoiser's process has one.
            t: times in [0, 1], a number, () or (batch,); drawn from `times` if None.
            drawn: times that the caller has drawn from `times` (`loss.times.sample`), so that it knows them; treated as
                those that are drawn here.
            visible: True where a number of x is known, broadcastable to it; where it is missing x may hold anything,
                NaN too, and neither the loss nor its gradient depends on that. All are known if None.
            fill: what stands for missing numbers before x is degraded: a number, or a tensor that broadcasts to x (the
                mean of the data, say). 0 in the basis of pixels; in others, where the loss is an approximation (see
                above), it has to be given.
            generator: source of the times' and the noise's randomness; torch's default if None.

        Raises:
            TypeError: `x` or `given` is not floating-point, or `visible` not boolean.
            ValueError: `x` holds no example, or one of which nothing is visible (where values are readable; elsewhere
                its loss is NaN); `fill` is missing, not wanted or not finite; a known end is missing or not wanted; `t`
                and `drawn` are both given; a shape is wrong, a time lies outside [0, 1], or the weight of its error is
                not finite at a time (where values are readable; elsewhere the loss is not).
        """
        process = self.denoiser.process
        check_signal("x", x, process.shape)
        check_not_empty("x", x, "a loss")
        check_rows("condition", condition, len(x))
        check_tied(self.denoiser, given, len(x))
        if t is None:
            times = self.times.sample(len(x), device=x.device, generator=generator) if drawn is None else drawn
        elif drawn is None:
            times = t
        else:
            msg = (
                "t and drawn are both times of the examples, and only one can be given: drawn if they come from"
                " loss.times.sample, t if they were chosen otherwise"
            )
            raise ValueError(msg)
        at = process.at(times, batch=len(x)).expand(len(x))
        x = to_compute_dtype(x)
        if visible is not None:
            visible = broadcast_to("visible", check_mask("visible", visible), tuple(x.shape), "the data's")
        x = self._completed(x, visible, fill)
        noise = white_noise(x.shape, like=x, generator=generator)
        error = self.weighted_error(x, at, noise, condition, given, visible)
        weight = self.reduction.weight(error[0].numel()) if visible is None else self._weight_of(visible).to(error)
        loss = weight * error.square().flatten(1).sum(1)
        objective = loss if self.log_variance is None else self.log_variance.scaled(loss, at)
        if t is not None:
            return objective
        # Before the update: of the distribution that the times were drawn from.
        correction = self.times.correction(at.t)
        if self.training:
            self.times.update(at.t, loss.detach())
        return objective * correction.to(objective.dtype)

    def weighted_error(
        self,
        x: Float[Tensor, "batch ..."],
        at: Level,
        noise: Float[Tensor, "batch ..."],
        condition: Condition | None = None,
        given: Float[Tensor, "batch ..."] | None = None,
        visible: Bool[Tensor, "batch ..."] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return the network's error at a level, weighted: the sum of its squares is the loss, up to the reduction.

        Args:
            x: data, (batch, *shape), float32 or float64.
            at: the level, at times (batch,).
            noise: white noise in the data's axes, (batch, *shape).
            condition: the network's condition, one row per example; None if it takes none.
            given: the known end y of each example, where the denoiser's process has one.
            visible: True where the error counts, (batch, *shape); everywhere if None.

        Returns:
            A signal, (batch, *shape); `process.basis` turns it into weighted errors of coefficients, whose squares have
            the same sum.

        Raises:
            ValueError: the weight is not finite at a time (where values are readable; elsewhere the error is not).
        """
        prediction = self.denoiser.prediction
        z_t, target = prediction.training_pair(at, x, noise)
        output = self.denoiser.output(z_t, at.t, condition, given)
        error = target - output if visible is None else torch.where(visible, target - output, 0.0)
        return self.weighting.weighted_error(prediction, at, error)

    def _completed(
        self, x: Tensor, visible: Tensor | None, fill: Float[Tensor, "..."] | float | None
    ) -> Float[Tensor, "batch ..."]:
        """Return x with what is missing filled."""
        if visible is None:
            if fill is not None:
                msg = (
                    "fill stands for numbers that are missing: give visible=, which of them are known, or leave it out"
                )
                raise ValueError(msg)
            return x
        process = self.denoiser.process
        if fill is None:
            if not isinstance(process.basis, PixelBasis):
                msg = (
                    f"{process.called} is diagonal in {type(process.basis).__name__}, where each coefficient is"
                    " made of all pixels, so that missing ones have to be something: give fill=, the data's mean for"
                    " example; the loss is then an approximation"
                )
                raise ValueError(msg)
            fill = 0.0
        if isinstance(fill, Tensor):
            fill = broadcast_to("fill", fill.to(x), tuple(x.shape), "the data's")
        else:
            check_number("fill", fill, "(-inf, inf)", "what stands for missing numbers, in the data's units")
        return torch.where(visible, x, fill)

    def _weight_of(self, visible: Bool[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """Return the reduction's weight of examples of which this much is visible."""
        count = visible.flatten(1).sum(1)
        if values_are_readable(count) and not bool(count.all()):
            msg = f"nothing of example {int(count.argmin())} is visible: leave it out of the batch"
            raise ValueError(msg)
        weight = self.reduction.weight(count.to(schedule_dtype(count.device)))
        return torch.where(count == 0, torch.nan, weight)
