r"""The prior of a process that ends in something known.

At t = 1 such a process is z_1 = alpha_1 x + beta_1 y + sigma_1 epsilon. A bridge is pinned there, alpha_1 = sigma_1 =
0 and z_1 is y itself. A residual shift has noise, and little or nothing of x; where something is left of it, y stands
for x, as in the published samplers of both kinds (Richter et al., 2023, who draw N(y, sigma_1^2); Yue, Wang & Loy,
2023). Here as everywhere, beta_1 y is left out: this is the distribution N(alpha_1 y, sigma_1^2) of z_1 - beta_1 y.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_signal
from ...core.randomness import white_noise
from ...degradations import LinearGaussianProcess, SpectralGaussian
from .base import Prior
from .blocks import Data


class KnownEndPrior(Prior):
    """N(alpha_1 y, sigma_1^2) for z_1 - beta_1 y, y being the known end: a point where the process is pinned to y.

    Before anything is asked of it, `given(y)` says what y is.

    Args:
        process: the process, or its `centred()` one.

    Attributes:
        end: y, (count, *shape), where it is known.
    """

    end: Tensor | None = None

    @classmethod
    def fit(cls, process: LinearGaussianProcess, data: Data) -> KnownEndPrior:
        """Return the prior of a process; it needs none of the data."""
        del data
        return cls(process)

    @override
    def given(self, end: Float[Tensor, "count ..."] | None) -> KnownEndPrior:
        if end is None:
            return self
        check_signal("given", end, self.process.shape)
        bound = copy.copy(self)
        bound.end = end.detach().to(self.process.device)
        return bound

    @override
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        mean, last = self._mean(count), self.process.at(1.0)
        noise = white_noise(mean.shape, like=mean, generator=generator)
        return (mean + self.process.basis.combine((noise, last.sigma))).float()

    @override
    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        return self._gaussian(len(z)).log_prob(self._latent(z))

    @override
    def divergence(self, q: SpectralGaussian, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """Return the exact KL(q || prior), 0 between equal points."""
        q = self._widened(q)
        p = self._gaussian(q.batch_shape[0])
        point = (q.spectral_stddev == 0) & (p.spectral_stddev == 0)
        apart = point & (q.spectral_mean != p.spectral_mean)
        # Of equal points, which cost nothing, any width and one mean say so.
        q = SpectralGaussian(q.basis, torch.where(point, 0.0, q.spectral_mean), _unless(point, q.spectral_stddev))
        p = SpectralGaussian(p.basis, torch.where(point, 0.0, p.spectral_mean), _unless(point, p.spectral_stddev))
        return torch.where(apart.flatten(1).any(1), torch.inf, q.kl_divergence(p))

    def _gaussian(self, count: int) -> SpectralGaussian:
        basis, wide = self.process.basis, self.process.to_schedule_dtype
        last = self.process.at(1.0)
        return SpectralGaussian(basis, last.alpha * basis.forward(wide(self._end(count))), last.sigma)

    def _mean(self, count: int) -> Tensor:
        return self.process.basis.combine((self._end(count), self.process.at(1.0).alpha))

    def _end(self, count: int) -> Tensor:
        end = self.end
        if end is None or len(end) not in {1, count}:
            what = "nothing" if end is None else f"{len(end)} of them"
            msg = f"the prior needs the known end y of each of {count} latents, and was given {what}: prior.given(y)"
            raise ValueError(msg)
        return end.expand(count, *self.process.shape)


def _unless(point: Tensor, stddev: Tensor) -> Tensor:
    return torch.where(point, 1.0, stddev)
