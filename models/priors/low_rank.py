r"""The Gaussian prior of what little is left: a few correlated directions over independent noise.

    p(z_1) = N(V m, V Sigma V^T),    Sigma = F F^T + diag(n^2),    n^2 = sigma_1^2 + remainder,

in the process's basis V, F having few columns, as in factor analysis. With G = diag(1 / n) F, the Cholesky factor
L L^T = I + G^T G, and B = L^-1 G^T, which has as many rows as there are directions (Woodbury, 1950),

    Sigma^-1       = diag(1 / n) (I - B^T B) diag(1 / n),
    log det Sigma  = sum_k log n_k^2 + 2 sum_j log L_jj.

For q = N(mu, s^2), diagonal in V, with w = (mu - m) / n and r = s / n, KL(q || p) is the divergence of diagonal
Gaussians less what the directions explain, plus their volume,

    1/2 [ sum_k (w_k^2 + r_k^2 - 1 - log r_k^2)  -  |B w|^2 - sum_k r_k^2 |B_k|^2  +  2 sum_j log L_jj ].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from ...core.precision import full_precision
from ...core.randomness import white_noise
from ...degradations import LinearGaussianProcess, SpectralGaussian
from .base import Prior
from .blocks import Data, check_data
from .principal import PrincipalParts, principal_parts


class LowRankGaussianPrior(Prior):
    """A Gaussian fitted to degraded data, correlated in the few coefficients that survive the degradation.

    It has the mean and the variance of the degraded data in every coefficient, as `GaussianPrior` does, and their
    correlations too, those of colours say. It keeps no images and holds no draw of one: four small tables are its
    `state_dict`. It is Gaussian: where degraded data fall into clusters, it draws between them too.

    Args:
        process: the forward process.
        indices: the coefficients that data still have a mean or variance in, along the flattened spectrum, (active,).
        mean: their mean at t = 1, in the data's units, (active,).
        remainder: their variance at t = 1 outside the directions and without the process's noise, (active,).
        factor: the directions F in the first `correlated` of these coefficients, in the data's units,
            (correlated, rank).

    Raises:
        ValueError: the tables do not fit each other or the process, or a variance is negative or not finite.
    """

    tables = PrincipalParts._fields
    indices: Tensor
    mean: Tensor
    remainder: Tensor
    factor: Tensor

    def __init__(
        self,
        process: LinearGaussianProcess,
        indices: Int[Tensor, " active"],
        mean: Float[Tensor, " active"],
        remainder: Float[Tensor, " active"],
        factor: Float[Tensor, "correlated rank"],
    ) -> None:
        super().__init__(process)
        _check_tables(process, PrincipalParts(indices, mean, remainder, factor))
        # Not `register_constant`: these are fitted, and a run is restored from its state_dict.
        self.register_buffer("indices", indices.detach().to(process.device, copy=True))
        for name, table in (("mean", mean), ("remainder", remainder), ("factor", factor)):
            self.register_buffer(name, process.to_schedule_dtype(table.detach()).clone())
        self._has_density = bool((process.sigma(1.0) > 0).all())

    @classmethod
    def fit(
        cls,
        process: LinearGaussianProcess,
        data: Data,
        *,
        negligible: float = 1e-3,
        share: float = 1e-2,
        most: int | None = None,
        correlated: int = 2048,
    ) -> LowRankGaussianPrior:
        """Return the prior with mean and variance of `data` degraded to t = 1, and the directions that matter.

        Data are gone through twice, a block at a time. Which coefficients survive is the process's and the data's
        business: a few dozen after heat, whatever the size of the image.

        Args:
            process: the forward process.
            data: all of the data in one tensor, (count, *shape), or batches of it, which can be gone through twice.
            negligible: coefficients whose root mean square at t = 1 is at most this share of the noise's standard
                deviation are taken as noise alone, which costs less than its square in nats for each of them.
            share: directions whose variance exceeds this share of the noise's are kept, and where a coefficient has no
                noise, all that the data have. Of each other direction the variance is kept, per coefficient.
            most: the largest number of directions; None for no limit.
            correlated: the largest number of coefficients that directions are looked for in; further ones, of least
                spread in units of the noise, are independent. The largest matrix has this many rows and columns.

        Raises:
            TypeError: the data are not floating-point, or can be gone through only once.
            ValueError: there are fewer than two examples, they have another shape, or a setting is out of range.
        """
        check_data(process, data)
        parts = principal_parts(process, data, negligible=negligible, share=share, most=most, correlated=correlated)
        return cls(process, *parts)

    @property
    def rank(self) -> int:
        """Number of directions."""
        return self.factor.shape[1]

    @property
    def spectral_mean(self) -> Float[Tensor, "..."]:
        """The mean m of every coefficient in the data's units, of a signal's shape."""
        return self._spread(self.mean).reshape(self.process.shape)

    @property
    def spectral_variance(self) -> Float[Tensor, "..."]:
        """The variance of every coefficient in squared data units, of a signal's shape."""
        correlated = self._spread(self.factor.square().sum(1))
        return self._independent_variance() + correlated.reshape(self.process.shape)

    def extra_repr(self) -> str:
        """Show sizes."""
        return f"rank={self.rank}, correlated={len(self.factor)}, active={len(self.indices)}"

    @override
    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        like = torch.empty(0, device=self.factor.device, dtype=torch.float32)
        noise = white_noise((count, *self.process.shape), like=like, generator=generator)
        along = white_noise((count, self.rank), like=like, generator=generator)
        u = self.spectral_mean.float() + self._independent_variance().sqrt().float() * noise
        chosen = self.indices[: len(self.factor)]
        # In the factor's dtype, float64: neither autocast nor TensorFloat-32 rounds that.
        with full_precision(u.device):
            correlated = (along.to(self.factor) @ self.factor.mT).float()
        u = u.flatten(1).index_add(1, chosen, correlated).reshape(u.shape)
        return self.process.basis.inverse(u)

    @override
    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        self._require_density("log_prob")
        parts, u = self._parts(), self.process.basis.forward(self._latent(z))
        w = ((u - self.spectral_mean) / parts.stddev).flatten(1)
        volume = parts.stddev.log().sum() + w.shape[1] * math.log(2 * math.pi) / 2 + parts.log_volume
        return (self._explained(w, parts) - w.square().sum(1)) / 2 - volume

    @override
    def divergence(self, q: SpectralGaussian, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        self._require_density("divergence")
        q, parts = self._widened(q), self._parts()
        mean = self.spectral_mean.expand_as(q.spectral_mean)
        apart = q.kl_divergence(SpectralGaussian(self.process.basis, mean, parts.stddev))
        w = ((q.spectral_mean - mean) / parts.stddev).flatten(1)
        ratio = (q.spectral_stddev / parts.stddev).expand_as(q.spectral_mean).flatten(1)[:, parts.chosen]
        traced = ratio.square() @ parts.mixing.square().sum(0)
        return apart - (self._explained(w, parts) + traced) / 2 + parts.log_volume

    def _explained(self, w: Tensor, parts: _Parts) -> Tensor:
        """Return |B w|^2, (batch,)."""
        return (w[:, parts.chosen] @ parts.mixing.mT).square().sum(1)

    def _parts(self) -> _Parts:
        """Return what densities are made of, computed each time: tables may have been loaded since."""
        chosen = self.indices[: len(self.factor)]
        stddev = self._independent_variance().sqrt()
        whitened = self.factor / stddev.flatten()[chosen, None]
        gram = torch.eye(self.rank, dtype=whitened.dtype, device=whitened.device) + whitened.mT @ whitened
        lower = torch.linalg.cholesky(gram)
        mixing = torch.linalg.solve_triangular(lower, whitened.mT, upper=False)
        return _Parts(chosen, stddev, mixing, lower.diagonal().log().sum())

    def _independent_variance(self) -> Tensor:
        """Return n^2, of a signal's shape."""
        return self.process.sigma(1.0)[0].square() + self._spread(self.remainder).reshape(self.process.shape)

    def _spread(self, values: Tensor) -> Tensor:
        """Return numbers of the first active coefficients, 0 in all others, (coefficients,)."""
        flat = values.new_zeros(torch.Size(self.process.shape).numel())
        return flat.index_copy(0, self.indices[: len(values)], values)

    def _require_density(self, verb: str) -> None:
        if not self._has_density:
            msg = (
                f"{verb} needs a density, but {self.process.called} has no noise in some coefficient at t = 1:"
                " give the process noise (WithNoise)"
            )
            raise ValueError(msg)


class _Parts(NamedTuple):
    """What densities are made of.

    Attributes:
        chosen: the correlated coefficients, (correlated,).
        stddev: n, of a signal's shape.
        mixing: B, (rank, correlated).
        log_volume: sum_j log L_jj, ().
    """

    chosen: Tensor
    stddev: Tensor
    mixing: Tensor
    log_volume: Tensor


def _check_tables(process: LinearGaussianProcess, tables: PrincipalParts) -> None:
    """Check that the tables fit each other and the process."""
    shapes = {name: tuple(table.shape) for name, table in tables._asdict().items()}
    active = len(tables.indices)
    if not (
        tables.indices.ndim == tables.mean.ndim == tables.remainder.ndim == 1
        and len(tables.mean) == len(tables.remainder) == active
        and tables.factor.ndim == 2
        and len(tables.factor) <= active
    ):
        msg = (
            "indices, mean and remainder must have shape (active,), and factor (correlated, rank) with at most as many"
            f" rows, got {shapes}"
        )
        raise ValueError(msg)
    count = torch.Size(process.shape).numel()
    indices = tables.indices
    inside = bool(((indices >= 0) & (indices < count)).all())
    if not inside or len(indices.unique()) != active:
        msg = (
            f"indices must be different numbers of the {count} coefficients of {process.called}{process.shape}"
            ": the tables were fitted to another process"
        )
        raise ValueError(msg)
    for name in ("mean", "remainder", "factor"):
        if not bool(getattr(tables, name).isfinite().all()):
            msg = f"{name} must be finite: the data hold NaN or infinity, or the tables were spoilt"
            raise ValueError(msg)
    if bool((tables.remainder < 0).any()):
        msg = f"remainder holds variances, at least 0, got {tables.remainder.min().item():g}"
        raise ValueError(msg)
