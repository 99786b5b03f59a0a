r"""What a loss weighting is: a number w_k(t) >= 0 on the squared epsilon-error of every coefficient.

A network that puts out y is off by e_y. Its estimate of the degraded signal is then off by alpha_t (u - u_hat) =
output_y e_y, with `output_y` from the prediction's conversion to alpha_t u (`unmelt.degradations.predictions`), and, up
to a sign, its estimate of the noise by

    e_eps = (alpha_t / sigma_t) (u - u_hat) = (output_y / sigma_t) e_y.

Both factors stay in range where alpha_t underflows, which u itself from epsilon does not. So one weight per
coefficient on e_eps^2 says what the loss is, whatever the network predicts:

    sum_k w_k e_{eps,k}^2 = sum_k (scale_k e_{y,k})^2,    scale = sqrt(w) |output_y| / sigma_t.

In continuous time the variational bound weighs e_eps^2 by 1/2 (-dl/dt), l = log alpha_t^2 - log sigma_t^2 being the
log-SNR of the coefficient, and SNR = exp(l). With t uniform in [0, 1] a weighting is the bound's term times a ratio:

| weighting | w on e_eps^2 | its form on (u - u_hat)^2 | w over the bound's 1/2 (-dl/dt) |
|---|---|---|---|
| `BoundWeighting` | 1/2 (-dl/dt) | 1/2 (-dSNR/dt) | 1 |
| `SigmoidWeighting` | 1/2 (-dl/dt) sigmoid(b - l) | 1/2 (-dl/dt) e^b sigmoid(l - b) | sigmoid(b - l) |
| `SimpleWeighting(PredictEpsilon())` | 1 | SNR | 2 / (-dl/dt) |
| `SimpleWeighting(PredictX())` | 1 / SNR | 1 | 2 / (SNR (-dl/dt)) |
| `SimpleWeighting(PredictV())` | (alpha^2 + sigma^2)^2 / alpha^2 | (alpha^2 + sigma^2)^2 / sigma^2 | 2 w / (-dl/dt) |
| `SimpleWeighting(PredictScore())` | 1 / sigma^2 | SNR / sigma^2 | 2 / (sigma^2 (-dl/dt)) |
| `MinSNRWeighting` | min(1, gamma / SNR) | min(SNR, gamma) | 2 min(1, gamma / SNR) / (-dl/dt) |
| `P2Weighting` | (k + SNR)^-gamma | SNR (k + SNR)^-gamma | 2 (k + SNR)^-gamma / (-dl/dt) |
| `EDMWeighting` | 1 + 1 / (d^2 SNR) | SNR + 1 / d^2 | 2 (1 + 1 / (d^2 SNR)) / (-dl/dt) |

The papers had one SNR for the whole image. Here each coefficient has its own, so that under blurring and heat every
weighting is one of frequencies as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import values_are_readable
from ...core.rates import root_times
from ...degradations import Level, LinearGaussianProcess, Prediction

# Between the ends of the time axis, where a process has noise if it has any.
_MIDDLE = 0.5


class Weighting(ABC):
    """How much the squared error of each coefficient counts at each time. A subclass writes `weight`."""

    @abstractmethod
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        """Return w_k(t) >= 0, the weight of a coefficient's squared epsilon-error.

        Args:
            at: the level, at times () or (batch,).

        Returns:
            A tensor that broadcasts to (batch, *shape), in the schedule dtype.
        """

    def bind(self, process: LinearGaussianProcess) -> Weighting:
        """Return this weighting for one process: itself, unless it needs constants of the process.

        Raises:
            ValueError: the weighting is not defined for `process`.
        """
        self.require_defined(process)
        return self

    def error_scale(self, prediction: Prediction, at: Level) -> Float[Tensor, "..."]:
        """Return the factor sqrt(w) |output| / sigma_t on the error of `prediction`, whose square it weighs.

        Where the formula is 0 times infinity, as at the ends of a process without noise at t = 0 or without signal at
        t = 1, this is its limit from within [0, 1].

        Args:
            prediction: what the network puts out.
            at: the level, at times () or (batch,).

        Returns:
            A tensor that broadcasts to (batch, *shape); infinite or NaN where the error has no finite weight.

        Raises:
            ValueError: `weight` returned another number of axes than (batch, *shape) has.
        """

        def ratio(at: Level) -> Tensor:
            return prediction.conversion(at, at.log_alpha).output.abs() / at.sigma

        # The ratio's own limit comes first, so that an infinite weight of it stays infinite.
        return limits(lambda at: root_times(self._batched_weight(at), limits(ratio, at)), at)

    def _batched_weight(self, at: Level) -> Tensor:
        """Return the weight, checked not to have numbers of examples where axes of signals are."""
        weight, shape = self.weight(at), at.process.shape
        if weight.ndim not in (0, len(shape) + 1):
            msg = (
                f"{type(self).__name__}.weight(at) returned shape {tuple(weight.shape)} for times of shape"
                f" {tuple(at.t.shape)}; it must broadcast to {('batch', *shape)}, as at.log_snr does"
            )
            raise ValueError(msg)
        return weight

    def require_defined(self, process: LinearGaussianProcess) -> None:
        """Check that `process` has what this weighting speaks of, here noise in every coefficient.

        Raises:
            ValueError: it has not; the message says what to use instead.
        """
        if bool((process.at(_MIDDLE).log_sigma == -torch.inf).any()):
            msg = (
                f"{type(self).__name__} weighs errors of the noise, and {process.called} has none (sigma = 0 in"
                f" some coefficient at t = {_MIDDLE}): use SimpleWeighting() or"
                " SimpleWeighting(in_terms_of=PredictX()), or a process with sigma > 0"
            )
            raise ValueError(msg)

    def weighted_error(
        self, prediction: Prediction, at: Level, error: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        """Return V diag(scale) V^T `error`, whose squared norm is the weighted loss, (batch, *shape).

        A scale that is one number per example needs no transform.

        Args:
            prediction: what the network puts out.
            at: the level, at times (batch,).
            error: the network's error, (batch, *shape).

        Raises:
            ValueError: a scale, or its square, is not finite in the error's dtype (where values are readable;
                elsewhere infinities and NaN travel to the loss).
        """
        scale = self.error_scale(prediction, at)
        if values_are_readable(scale):
            self.check_scale(scale, prediction, at, error.dtype)
        return at.process.basis.combine((error, scale))

    def check_scale(self, scale: Float[Tensor, "..."], prediction: Prediction, at: Level, dtype: torch.dtype) -> None:
        """Check that the scale of errors at a level has a square in `dtype`, the error's.

        Raises:
            ValueError: it has none; the message names time and coefficient and what to do.
        """
        most = torch.finfo(dtype).max ** 0.5
        allowed = scale.abs() <= most
        if bool(allowed.all()):
            return
        index = tuple((~allowed).nonzero()[0].tolist())
        # What does not depend on the time has one row for all times.
        times = at.t.reshape(-1)
        time = times[index[0]].item() if len(scale) == len(times) else times[0].item()
        msg = (
            f"{type(self).__name__} multiplies the error of {type(prediction).__name__} by {scale[index].item():.3g} at"
            f" t = {time:.6g}, coefficient {index[1:]} of {at.process.called}: signal or noise vanishes there,"
            f" or the log-SNR falls infinitely fast, and {most:.3g} is the most whose square is a number of the error's"
            " dtype. Draw times away from that end, or use another prediction or a bounded weighting, such as"
            " SimpleWeighting() or MinSNRWeighting()"
        )
        raise ValueError(msg)


def limits(factor: Callable[[Level], Tensor], at: Level) -> Float[Tensor, "..."]:
    """Return factor(at), and where that is not a number its limit from within [0, 1]."""
    value = factor(at)
    if values_are_readable(value) and not bool(value.isnan().any()):
        return value
    return torch.where(value.isnan(), factor(at.nudged_inside()), value)
