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
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import broadcast_to, check_instance, check_not_empty, check_signal
from ...core.randomness import random_integers, white_noise
from ...degradations import LinearGaussianProcess, SpectralGaussian
from ...degradations.bases.base import is_isotropic
from .base import Prior
from .blocks import Data, blocks, check_data, rows_of


class KernelDivergence(Enum):
    """How far a Gaussian is from a kernel density: one of two figures, neither of which stands for the other."""

    MONTE_CARLO = auto()
    """Unbiased estimate of the exact KL, from a draw of the noise and its mirror image."""

    VARIATIONAL = auto()
    """Upper bound in closed form, without randomness (Hershey & Olsen, 2007), as Rissanen et al. (2023) report."""


class DegradedDataPrior(Prior):
    """Training data degraded to t = 1, plus noise: a kernel density estimate (Rissanen et al., 2023, section 2).

    A draw is one of the images at random, degraded, plus Gaussian noise: without it the network would meet latents
    smoother than any it was trained on. Densities compare every latent with every image. The images are its state.

    Args:
        process: the forward process.
        degraded: A_1 x_i, (count, *shape), floating-point; kept in float32.
        kernel: standard deviation of the kernel in the data's units, at least 0: a number, or one per coefficient of
            the process's basis, broadcastable to the process's shape. None takes the process's sigma at t = 1, also as
            it is learned. (The released code of inverse heat dissipation takes delta, the noise of its steps, where it
            evaluates, and 0 where it shows samples.) With 0 there are draws, but no density.
        divergence: what `divergence` returns.
        rows: images compared with at a time; None takes as many as fit a tensor of 2^22 numbers (32 MB). Results do
            not depend on it, but for rounding. Where gradients are asked for, all blocks' are kept.

    Raises:
        TypeError: `degraded` is not floating-point.
        ValueError: `degraded` has another shape or is empty, a kernel is negative or not finite or does not fit, or
            rows < 1.
    """

    tables = ("degraded", "kernel")
    degraded: Tensor
    centre: Tensor
    kernel: Tensor | None

    def __init__(
        self,
        process: LinearGaussianProcess,
        *,
        degraded: Float[Tensor, "count ..."],
        kernel: float | Float[Tensor, "..."] | None = None,
        divergence: KernelDivergence = KernelDivergence.MONTE_CARLO,
        rows: int | None = None,
    ) -> None:
        super().__init__(process)
        check_signal("degraded", degraded, process.shape)
        check_instance("divergence", divergence, KernelDivergence, "such as KernelDivergence.MONTE_CARLO")
        check_not_empty("data", degraded, "a kernel density")
        if rows is not None and rows < 1:
            msg = f"rows must be at least 1, or None for as many as fit 32 MB, got {rows}"
            raise ValueError(msg)
        self.kernel_divergence = divergence
        self.rows = rows
        # Not `register_constant`: these are fitted, and a run is restored from its state_dict. Images are kept in
        # single precision, for memory is what limits this prior: at the released settings that moves log-densities of
        # 10^4 nats by up to 0.03.
        self.register_buffer("degraded", degraded.detach().to(process.device, torch.float32))
        self.register_constant("centre", process.to_schedule_dtype(self.degraded.mean(0)))
        self.register_buffer("kernel", None if kernel is None else _kernel(process, kernel))
        self._has_density = bool((self.stddev > 0).all())

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
        with torch.no_grad():
            degraded = [process.degrade(block, 1.0)[0].float() for block in blocks(process, data)]
        empty = torch.zeros((0, *process.shape))
        return cls(process, degraded=torch.cat(degraded or [empty]), kernel=stddev, divergence=divergence, rows=rows)

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
        return f"count={len(self.degraded)}, kernel={width}, divergence={self.kernel_divergence}"

    @override
    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        device = self.degraded.device
        images = self.degraded[random_integers(0, len(self.degraded), (count,), device=device, generator=generator)]
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

    def _log_sum(self, z: Tensor) -> Tensor:
        """Return S = log 1/N sum_i exp(-1/2 |w - w_i|^2) of latents in the schedule dtype, (batch,)."""
        w = self._whitened(z)
        parts = [
            torch.logsumexp(-_half_squares(w, self._whitened(block.to(z.dtype))), dim=1)
            for block in self.degraded.split(self.rows or rows_of(max(w.shape)))
        ]
        return torch.logsumexp(torch.stack(parts), dim=0) - math.log(len(self.degraded))

    def _whitened(self, z: Tensor) -> Tensor:
        """Return Delta^{-1/2} (z - centre) of signals in the schedule dtype, (batch, coefficients)."""
        residual = z - self.centre
        if not is_isotropic(self.stddev):
            residual = self.process.basis.forward(residual)
        return (residual / self.stddev).flatten(1)

    def _require_density(self, verb: str) -> None:
        if not self._has_density:
            msg = (
                f"{verb} needs a density, but the kernel has no width in some coefficient: give DegradedDataPrior a"
                " stddev > 0, such as that of the noise that a network was trained with"
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
