r"""The kernel density on degraded training data (Rissanen, Heinonen & Solin, 2023, section 2 and appendix).

    p(z) = 1/N sum_i p_i(z),    p_i = N(A_1 x_i, Delta),    Delta = delta^2 I or V diag(sigma_1^2) V^T.

In coordinates w = Delta^{-1/2} z every kernel is a unit ball, and density and divergences are one sum of exponentials,

    S(w) = log 1/N sum_i exp(-1/2 |w - w_i|^2),        log p(z) = S(w) - 1/2 log det(2 pi Delta).

Let q = N(mu, s^2) be diagonal in V too, r = s / delta per coefficient, and e its noise, w = w_mu + r e. A kernel moved
onto q's own mean is K = 1/2 sum_k (r_k^2 - 1 - 2 log r_k) nats from q, and KL(q || p_i) = K + 1/2 |w_mu - w_i|^2. Then

    KL(q || p) = K - E[ S(w_mu + r e) + 1/2 |r e|^2 ]  <=  K - S(w_mu) = -log 1/N sum_i exp(-KL(q || p_i)).

The equality is -H(q) - E log p with the square of the noise, the same in all kernels, integrated by hand. What is left
in brackets is log-sum-exp of functions linear in e, hence convex, so that the bound is Jensen's inequality. It is the
least of sum_i phi_i (KL_i + log phi_i + log N) over weights phi that add up to 1 (Hershey & Olsen, 2007), taken at
phi_i proportional to exp(-KL_i), so no weights need be fitted.

Of the images only the coefficients are kept that stand above the kernel: after heat, a few dozen of thousands. In the
others, unless the width is learned, all images are taken to be at their mean; together they lie less than a thousandth
of the kernel's width from it, which moves a log-density by about a thousandth of a nat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from ...core.checks import broadcast_to, check_instance, check_not_empty
from ...core.randomness import random_integers, white_noise
from ...degradations import LinearGaussianProcess, SpectralGaussian
from .base import Prior
from .blocks import Data, blocks, check_data, rows_of

# How far, in kernels' widths, an image may be moved by what is not kept of it.
_NEGLIGIBLE = 1e-3


class KernelDivergence(Enum):
    """How far a Gaussian is from a kernel density: one of two figures, neither of which stands for the other."""

    MONTE_CARLO = auto()
    """Unbiased estimate of the exact KL, from a draw of the noise and its mirror image."""

    VARIATIONAL = auto()
    """Upper bound in closed form, without randomness (Hershey & Olsen, 2007), as Rissanen et al. (2023) report."""


class DegradedDataPrior(Prior):
    """Training data degraded to t = 1, plus noise: a kernel density estimate (Rissanen et al., 2023, section 2).

    A draw is one of the images at random, degraded, plus Gaussian noise: without it the network would meet latents
    smoother than any it was trained on. Densities compare every latent with every image. What is left of the images
    is its state; make it with `fit`.

    Args:
        process: the forward process.
        deviations: of every image the coefficients that are kept of A_1 x_i, less their mean, (count, kept); kept in
            float32.
        indices: which coefficients these are, along the flattened spectrum, (kept,).
        mean: mean of every coefficient of A_1 x, of a signal's shape.
        kernel: standard deviation of the kernel in the data's units, at least 0: a number, or one per coefficient of
            the process's basis, broadcastable to the process's shape. None takes the process's sigma at t = 1, also as
            it is learned. (The released code of inverse heat dissipation takes delta, the noise of its steps, where it
            evaluates, and 0 where it shows samples.) With 0 there are draws, but no density.
        divergence: what `divergence` returns.
        rows: images compared with at a time; None takes as many as fit a tensor of 2^22 numbers (32 MB). Results do
            not depend on it, but for rounding. Where gradients are asked for, all blocks' are kept.

    Raises:
        ValueError: there are no images, tables do not fit each other or the process, a kernel is negative or not
            finite or does not fit, or rows < 1.
    """

    tables = ("deviations", "indices", "mean", "kernel")
    deviations: Tensor
    indices: Tensor
    mean: Tensor
    kernel: Tensor | None

    def __init__(
        self,
        process: LinearGaussianProcess,
        *,
        deviations: Float[Tensor, "count kept"],
        indices: Int[Tensor, " kept"],
        mean: Float[Tensor, "..."],
        kernel: float | Float[Tensor, "..."] | None = None,
        divergence: KernelDivergence = KernelDivergence.MONTE_CARLO,
        rows: int | None = None,
    ) -> None:
        super().__init__(process)
        check_instance("divergence", divergence, KernelDivergence, "such as KernelDivergence.MONTE_CARLO")
        _check_tables(process, deviations, indices, mean)
        if rows is not None and rows < 1:
            msg = f"rows must be at least 1, or None for as many as fit 32 MB, got {rows}"
            raise ValueError(msg)
        self.kernel_divergence = divergence
        self.rows = rows
        # Not `register_constant`: these are fitted, and a run is restored from its state_dict. Images are kept in
        # single precision, for memory is what limits this prior: at the released settings that moves log-densities of
        # 10^4 nats by up to 0.03.
        self.register_buffer("deviations", deviations.detach().to(process.device, torch.float32))
        self.register_buffer("indices", indices.detach().to(process.device, torch.int64))
        self.register_buffer("mean", process.to_schedule_dtype(mean.detach()).clone())
        self.register_buffer("kernel", None if kernel is None else _kernel(process, kernel))

    @classmethod
    def fit(
        cls,
        process: LinearGaussianProcess,
        data: Data,
        *,
        stddev: float | None = None,
        divergence: KernelDivergence = KernelDivergence.MONTE_CARLO,
        rows: int | None = None,
    ) -> DegradedDataPrior:
        """Return the kernel density on `data` degraded to t = 1.

        Data are gone through twice, a block at a time.

        Args:
            process: the forward process.
            data: all of the data in one tensor, (count, *shape), or batches of it that can be gone through more than
                once.
            stddev: standard deviation of the kernel in the data's units; None takes the process's sigma at t = 1.
            divergence: see the class.
            rows: see the class.

        Raises:
            TypeError: the data are not floating-point, or can be gone through only once; or as the class.
            ValueError: they have another shape or are too few; or as the class.
        """
        check_data(process, data)
        width = process.sigma(1.0) if stddev is None else _kernel(process, stddev)
        with torch.no_grad():
            count, mean, indices = _kept(process, data, width)
            # One table for all: small ones, kept from block to block, would keep the C allocator from giving the same
            # memory to the next block, and cost as much as the data.
            deviations, first = torch.empty(count, len(indices), dtype=torch.float32, device=process.device), 0
            for block in _spectra(process, data):
                last = first + len(block)
                deviations[first:last] = block.flatten(1)[:, indices] - mean.flatten()[indices]
                first = last
        return cls(
            process,
            deviations=deviations,
            indices=indices,
            mean=mean,
            kernel=stddev,
            divergence=divergence,
            rows=rows,
        )

    @property
    def degraded(self) -> Float[Tensor, "count ..."]:
        """The images degraded to t = 1, without noise, (count, *shape), in the schedule dtype."""
        return self._images(slice(None))

    @property
    def stddev(self) -> Float[Tensor, "..."]:
        """Standard deviation of the kernel in the data's units, (1, ...) of all axes of a signal."""
        return self.process.sigma(1.0) if self.kernel is None else self.kernel

    @override
    def get_extra_state(self) -> dict[str, str | int | None]:
        return {"divergence": self.kernel_divergence.name, "rows": self.rows}

    @override
    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.kernel_divergence, self.rows = KernelDivergence[state["divergence"]], state["rows"]

    @override
    def extra_repr(self) -> str:
        low, high = self.stddev.min().item(), self.stddev.max().item()
        width = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        kept = f"count={len(self.deviations)}, kept={len(self.indices)}"
        return f"{kept}, kernel={width}, divergence={self.kernel_divergence}"

    @override
    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        device = self.deviations.device
        chosen = random_integers(0, len(self.deviations), (count,), device=device, generator=generator)
        images = self._images(chosen).float()
        noise = white_noise(images.shape, like=images, generator=generator)
        return images + self.process.basis.combine((noise, self.stddev))

    @override
    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        # By log-sum-exp over all of the data.
        self._require_density("log_prob")
        z = self._latent(z)
        log_volume = (self.stddev.log() + math.log(2 * math.pi) / 2).expand(1, *self.process.shape).sum()
        return self._log_sum(z) - log_volume

    def divergence(self, q: SpectralGaussian, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """Return KL(q || prior), as `kernel_divergence` says: an unbiased estimate, or an upper bound.

        The estimate averages two draws of q whose noises mirror each other, in which the terms linear in the noise
        cancel. It never exceeds the bound, and both are exact for one image.

        Args:
            q: a batch of Gaussians diagonal in the process's basis, such as `process.marginal(x, 1.0)`.
            generator: source of the estimate's randomness; torch's default if None.

        Raises:
            TypeError: `q` is not a `SpectralGaussian`.
            ValueError: `q` is over another shape or in another basis, or `q` or the kernel has width 0.
        """
        self._require_density("divergence")
        q = self._widened(q)
        around = q.kl_divergence(SpectralGaussian(self.process.basis, q.spectral_mean, self.stddev))
        if self.kernel_divergence is KernelDivergence.VARIATIONAL:
            return around - self._log_sum(q.mean)
        # With 3072 pixels, sigma 0.01 and 4000 random images with the spectrum of photographs, blurred by 24 pixels,
        # the standard deviation of this estimate is about 1 nat on average, and nothing where one image is nearest by
        # far; that of one draw of -H(q) - log p(z) is about 70 nats.
        noise = q.spectral_stddev * white_noise(q.spectral_mean.shape, like=q.spectral_mean, generator=generator)
        mean, step = q.mean, self.process.basis.inverse(noise)
        above, below = self._log_sum(torch.cat([mean + step, mean - step])).chunk(2)
        return around - (above + below) / 2 - (noise / self.stddev).square().flatten(1).sum(1) / 2

    def _images(self, rows: Tensor | slice) -> Tensor:
        """Return some of the degraded images."""
        deviations = self.deviations[rows].to(self.mean.dtype)
        spectra = self.mean.flatten().repeat(len(deviations), 1)
        spectra[:, self.indices] += deviations
        return self.process.basis.inverse(spectra.reshape(-1, *self.process.shape))

    def _log_sum(self, z: Tensor) -> Tensor:
        """Return S = log 1/N sum_i exp(-1/2 |w - w_i|^2) of latents in the schedule dtype, (batch,)."""
        width = self.stddev.expand(1, *self.process.shape).flatten(1)
        w = (self.process.basis.forward(z) - self.mean).flatten(1) / width
        near, width = w[:, self.indices], width[:, self.indices]
        # In the coefficients that are not kept all images are at the mean.
        rest = w.index_fill(1, self.indices, 0.0).square().sum(1)
        parts = [
            torch.logsumexp(-_half_squares(near, block.to(z.dtype) / width), dim=1)
            for block in self.deviations.split(self.rows or rows_of(max(len(z), len(self.indices), 1)))
        ]
        return torch.logsumexp(torch.stack(parts), dim=0) - math.log(len(self.deviations)) - rest / 2

    def _require_density(self, verb: str) -> None:
        if not bool((self.stddev > 0).all()):
            msg = (
                f"{verb} needs a density, but the kernel has no width in some coefficient: give DegradedDataPrior a"
                " stddev > 0, such as that of the noise that a network was trained with"
            )
            raise ValueError(msg)


def _spectra(process: LinearGaussianProcess, data: Data) -> Iterator[Float[Tensor, "rows ..."]]:
    """Yield the spectra of the data degraded to t = 1, in the schedule dtype."""
    alpha = process.alpha(1.0)
    for block in blocks(process, data):
        yield alpha * process.to_schedule_dtype(process.basis.forward(block))


def _kept(process: LinearGaussianProcess, data: Data, width: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return how many images there are, the mean of every coefficient, and those that not all images have it in.

    What differs from the mean is seen beside the kernel's width.

    Raises:
        ValueError: there are no data.
    """
    count, mean, lowest, highest = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())
    for block in _spectra(process, data):
        if not count:
            mean, lowest, highest = torch.zeros_like(block[0]), block[0].clone(), block[0].clone()
        count += len(block)
        mean += (block - mean).sum(0) / count
        torch.minimum(lowest, block.amin(0), out=lowest)
        torch.maximum(highest, block.amax(0), out=highest)
    if not count:
        check_not_empty("data", torch.zeros(0, *process.shape), "a kernel density")
    if width.requires_grad:
        # However narrow it is learned to be, nothing must be missing.
        return count, mean, torch.arange(mean.numel(), device=mean.device)
    largest = torch.maximum(highest - mean, mean - lowest)
    # Without a kernel images are kept as well as single precision has them.
    rounding = torch.finfo(torch.float32).eps * torch.maximum(highest, -lowest).max() / _NEGLIGIBLE
    width = width.expand(1, *process.shape)[0]
    squares = (largest / torch.where(width > 0, width, rounding)).square().flatten()
    order = squares.argsort()
    dropped = squares[order].cumsum(0) <= _NEGLIGIBLE**2
    return count, mean, order[~dropped].sort().values


def _check_tables(process: LinearGaussianProcess, deviations: Tensor, indices: Tensor, mean: Tensor) -> None:
    """Check that tables fit each other and the process."""
    if deviations.ndim and not len(deviations):
        check_not_empty("data", deviations, "a kernel density")
    numbers = math.prod(process.shape)
    fit = deviations.ndim == 2 and indices.shape == deviations.shape[1:] and tuple(mean.shape) == process.shape
    if not fit or indices.dtype.is_floating_point or bool(((indices < 0) | (indices >= numbers)).any()):
        msg = (
            f"deviations, indices and mean must have shapes (count, kept), (kept,) and {process.shape}, indices below"
            f" {numbers}, got {tuple(deviations.shape)}, {tuple(indices.shape)} and {tuple(mean.shape)}: make them with"
            " DegradedDataPrior.fit"
        )
        raise ValueError(msg)


def _kernel(process: LinearGaussianProcess, kernel: float | Tensor) -> Tensor:
    """Return the kernel's standard deviation, checked, (1, ...) of all axes of a signal."""
    table = kernel.detach() if isinstance(kernel, Tensor) else torch.tensor(float(kernel), dtype=torch.float64)
    axes = 1 + len(process.shape)
    # A stored table has the axis of a batch already.
    broadcast_to("kernel", table[0] if table.ndim == axes and len(table) == 1 else table, process.shape, "one signal's")
    table = table.reshape(*(1,) * (axes - table.ndim), *table.shape)
    if not bool(((table >= 0) & table.isfinite()).all()):
        msg = f"stddev must be at least 0 and finite, in the data's units, got {table.min().item()}"
        raise ValueError(msg)
    # One number, whatever the process's noise is, needs no transform to be added.
    return process.to_schedule_dtype(table).clone()


def _half_squares(a: Tensor, b: Tensor) -> Tensor:
    """Return 1/2 |a_i - b_j|^2, (rows of a, rows of b).

    Kernels are narrow (0.01) and signals large (3072 pixels of size 1), so that these squares are differences of
    numbers around 10^6. In float64, around the data's mean, the product form is off by 10^-9 nats and is five times
    faster than differences; in float32 it would be off by tenths of nats, and differences are formed one by one.
    """
    if a.dtype == torch.float64:
        return (a.square().sum(1)[:, None] + b.square().sum(1)) / 2 - a @ b.mT
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square() / 2
