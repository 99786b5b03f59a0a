r"""Learned weights of times: every time's loss in units of its mean.

With a learned number v(t) an example's loss L becomes

    L exp(-v(t)) + v(t),

which for a given network is least, over v, at v(t) = log E[L | t]. The network then sees every time's loss divided by
its mean: no time outweighs another by its scale alone (Karras et al., 2024, EDM2, after Kendall et al., 2018).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...core.checks import check_count
from ...core.precision import full_precision
from ...degradations import Level

# Log-SNRs within about this of 0, in nats, are told apart by a squashed one.
_LOG_SNR_SCALE = 10.0


class LearnedLogVariance(nn.Module):
    """The logarithm v(t) of the mean loss at each time: a linear function of cosines, 0 at first.

    Its features are cos(pi j p), j = 1, 2, ..., of two positions p in [0, 1], and a constant. One position is the time;
    the other the mean over coefficients of (1 + tanh(l / 10)) / 2, l being their log-SNR. EDM2 takes Fourier features
    of log sigma, which is -l / 2 there; under heat and the like the mean of l may be -10000 or infinite, and
    this mean of a squashed l is not.

    What v stands for depends on the loss's reduction. With `MeanOverDimensions` it is the logarithm of the mean squared
    weighted error of a coefficient, and L exp(-v) + v is, up to constants and a factor n / 2, the negative
    log-likelihood of errors of variance exp(v). With `SumOverDimensions` it is larger by log n, the logarithm of the
    whole example's loss; once learned, the network's gradients are the same.

    Args:
        features: number of cosines of each position.

    Raises:
        ValueError: features < 1.
    """

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        check_count("features", features)
        self.features = features
        self.linear = nn.Linear(2 * features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def extra_repr(self) -> str:
        """Show the number of features."""
        return f"features={self.features}"

    def forward(self, at: Level) -> Float[Tensor, "*batch"]:
        """Return v(t) at a level, of its times' shape, in the parameters' dtype."""
        t = at.t
        squashed = (1 + (at.log_snr / _LOG_SNR_SCALE).tanh()).flatten(1).mean(1) / 2
        positions = torch.stack([t.reshape(-1), squashed.expand(t.numel())], dim=1)
        orders = torch.arange(1, self.features + 1, dtype=t.dtype, device=t.device)
        cosines = (math.pi * positions[..., None] * orders).cos().flatten(1)
        # Autocast would round v, and with it every loss, to a few digits.
        with full_precision(t.device):
            return self.linear(cosines.to(self.linear.weight.dtype)).reshape(t.shape)

    def scaled(self, loss: Float[Tensor, " batch"], at: Level) -> Float[Tensor, " batch"]:
        """Return loss * exp(-v(t)) + v(t), in the loss's dtype, (batch,).

        Args:
            loss: losses of examples, at least 0, (batch,).
            at: their level, at times (batch,).
        """
        log_variance = self(at).to(loss.dtype)
        return loss * (-log_variance).exp() + log_variance
