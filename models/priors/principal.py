r"""Principal directions of degraded data in the coefficients that survive, over a remainder that is independent.

A process leaves of the data the coefficients a_k = alpha_{1,k} u_k, most of them far below the noise sigma_{1,k} that
is added. With C the covariance of those that are not, W = diag(1 / sigma_1), and the eigenvectors e_j of W C W, whose
eigenvalues l_j are variances in units of the noise's, the covariance is split into

    C = F F^T + R,    F = W^-1 [sqrt(l_1) e_1, ..., sqrt(l_r) e_r],

and of R, what the left-out directions hold, the diagonal is kept: each coefficient keeps its variance, whatever r.
A direction left out wholly, of l times the noise's variance, would cost (l - log(1 + l)) / 2 nats, about l^2 / 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...core.moments import Moments
from ...degradations import LinearGaussianProcess
from .blocks import Data, blocks


class PrincipalParts(NamedTuple):
    """Mean and covariance of degraded data, of few numbers; coefficients are counted along the flattened spectrum.

    Attributes:
        indices: the coefficients that anything is known of, those that vary first, by falling spread in units of the
            noise.
        mean: their mean alpha_1 E[u], in the data's units.
        remainder: their variance outside the directions, in squared data units.
        factor: F of the first `correlated` of them, in the data's units.
    """

    indices: Int[Tensor, " active"]
    mean: Float[Tensor, " active"]
    remainder: Float[Tensor, " active"]
    factor: Float[Tensor, "correlated rank"]


@torch.no_grad()
def principal_parts(
    process: LinearGaussianProcess,
    data: Data,
    *,
    negligible: float,
    share: float,
    most: int | None,
    correlated: int,
) -> PrincipalParts:
    """Return the parts of A_1 x; arguments and errors are those of `LowRankGaussianPrior.fit`."""
    _check_settings(negligible, share, most, correlated)
    seen = _moments(process, data)
    alpha, sigma = (c[0].expand(process.shape).flatten() for c in (process.alpha(1.0), process.sigma(1.0)))
    mean, variance = alpha * seen.mean.flatten(), alpha.square() * seen.variance.flatten()
    active = (mean.square() + variance).sqrt() > negligible * sigma
    # Without noise there is no unit to measure a coefficient in but the data's.
    noisy = bool((sigma > 0).all())
    units = sigma if noisy else torch.ones_like(sigma)
    order = (variance.sqrt() / units).argsort(descending=True, stable=True)
    indices = order[active[order]]
    varying = variance[indices].sqrt() > negligible * sigma[indices]
    # By falling spread, those that vary come first, but for the ones without noise among others.
    indices = torch.cat([indices[varying], indices[~varying]])
    chosen = indices[: min(correlated, int(varying.sum()))]
    unit = units[chosen]
    eigenvalues, directions = _eigen(_residuals(process, data, seen, chosen, alpha[chosen] / unit), seen.count)
    # Directions that the data do not have at all are there by rounding.
    rounding = torch.finfo(eigenvalues.dtype).eps * max(seen.count, len(chosen))
    least = max(share if noisy else 0.0, rounding * eigenvalues.max().item() if len(chosen) else 0.0)
    rank = min(int((eigenvalues > least).sum()), len(chosen) if most is None else most)
    factor = unit[:, None] * (eigenvalues[:rank].sqrt() * directions[:, :rank])
    remainder = variance[indices]
    # Never negative but for rounding.
    remainder[: len(chosen)] = (remainder[: len(chosen)] - factor.square().sum(1)).clamp(min=0.0)
    return PrincipalParts(indices, mean[indices], remainder, factor)


def _check_settings(negligible: float, share: float, most: int | None, correlated: int) -> None:
    for name, value in (("negligible", negligible), ("share", share)):
        if not 0 <= value < float("inf"):
            msg = f"{name} must be at least 0 and finite, a share of the noise's size, got {value}"
            raise ValueError(msg)
    if most is not None and most < 0:
        msg = f"most must be at least 0 directions, or None for as many as `share` says, got {most}"
        raise ValueError(msg)
    if correlated < 0:
        msg = f"correlated must be at least 0 coefficients, got {correlated}"
        raise ValueError(msg)


def _moments(process: LinearGaussianProcess, data: Data) -> Moments:
    """Return the moments of the data's own coefficients, not yet degraded."""
    seen: Moments | None = None
    for u in _spectra(process, data):
        found = Moments.of(u)
        seen = found if seen is None else seen + found
    if seen is None or seen.count < 2:
        msg = f"a covariance needs at least 2 examples, got {0 if seen is None else seen.count}: give more data"
        raise ValueError(msg)
    if not bool((seen.mean.isfinite() & seen.deviations.isfinite()).all()):
        msg = "data hold NaN or infinity: look at what loads them"
        raise ValueError(msg)
    return seen


def _spectra(process: LinearGaussianProcess, data: Data) -> Iterator[Tensor]:
    """Yield the data's coefficients, (rows, *shape), in the schedule dtype."""
    for block in blocks(process, data):
        yield process.basis.forward(process.to_schedule_dtype(block))


def _residuals(
    process: LinearGaussianProcess, data: Data, seen: Moments, chosen: Tensor, scale: Tensor
) -> Iterator[Tensor]:
    """Yield deviations from the mean in the chosen coefficients, times `scale`, (rows, chosen)."""
    mean, count = seen.mean.flatten()[chosen], 0
    for u in _spectra(process, data):
        count += len(u)
        yield scale * (u.flatten(1)[:, chosen] - mean)
    if count != seen.count:
        msg = f"data gave {seen.count} examples the first time and {count} the second: give the same ones each time"
        raise ValueError(msg)


def _eigen(residuals: Iterator[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, falling, and eigenvectors of the unbiased covariance, by the smaller of two matrices."""
    kept: list[Tensor] = []
    covariance: Tensor | None = None
    device: torch.device | None = None
    for block in residuals:
        device = block.device
        if count < block.shape[1]:
            kept.append(block)
        else:
            part = block.mT @ block
            covariance = part if covariance is None else covariance + part
    # Decompositions are done where every one of them exists, and give the same there.
    if covariance is not None:
        values, vectors = torch.linalg.eigh(covariance.cpu() / (count - 1))
        values, vectors = values.flip(0), vectors.flip(1)
    else:
        _, singular, rows = torch.linalg.svd(torch.cat(kept).cpu(), full_matrices=False)
        values, vectors = singular.square() / (count - 1), rows.mT
    return values.clamp(min=0.0).to(device), vectors.to(device)
