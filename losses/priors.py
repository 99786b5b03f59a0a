r"""Priors: the law that sampling starts from, an approximation of the marginal at t = 1."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..degradations import DataSpectrum, LinearGaussianProcess, SpectralGaussian
from ..degradations.bases.base import compute_precision
from ..degradations.checks import check_instance, check_signal
from ..degradations.randomness import white_noise

# How far alpha_1 may be from 0 and sigma_1 from 1 for a standard normal to stand for the marginal at t = 1: a cosine
# schedule that ends at log-SNR -10 leaves alpha_1 = 0.0067.
_STANDARD_NORMAL_TOLERANCE = 0.05


class Prior(nn.Module, ABC):
    """A law over latents at t = 1.

    Args:
        process: the forward process whose last level it stands for.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__()
        self.process = process

    @abstractmethod
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """Draw `count` independent latents in float32 on the prior's device, (count, *shape)."""


class StandardNormalPrior(Prior):
    """N(0, I), for processes that end in pure noise of unit variance.

    Raises:
        ValueError: the process ends elsewhere; the message says where.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__(process)
        alpha, sigma = process.alpha(1.0), process.sigma(1.0)
        left, off = alpha.abs().max().item(), (sigma - 1).abs().max().item()
        if not (left <= _STANDARD_NORMAL_TOLERANCE and off <= _STANDARD_NORMAL_TOLERANCE):
            msg = (
                f"{type(process).__name__} does not end in standard normal noise: at t = 1 alpha reaches {left:.3g} and"
                f" sigma lies {off:.3g} away from 1; start from data degraded to t = 1 with"
                " DegradedDataPrior(process, images)"
            )
            raise ValueError(msg)

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """See `Prior.sample`."""
        like = torch.empty(0, device=self.process.device)
        return white_noise((count, *self.process.shape), like=like, generator=generator)


class DegradedDataPrior(Prior):
    """Training data degraded to t = 1, plus noise: a kernel density estimate (Rissanen et al., 2023, section 2).

    A draw is one of the images at random, degraded, plus Gaussian noise: without it the network would meet latents
    smoother than any it was trained on.

    Args:
        process: the forward process.
        data: training data, (count, *shape), floating-point.
        stddev: standard deviation of the kernel in the data's units; None takes the process's own sigma at t = 1.

    Raises:
        TypeError: `data` is not floating-point.
        ValueError: `data` has another shape or is empty, or stddev is negative.
    """

    degraded: Tensor

    def __init__(
        self, process: LinearGaussianProcess, data: Float[Tensor, "count ..."], *, stddev: float | None = None
    ) -> None:
        super().__init__(process)
        check_signal("data", data, process.shape)
        if len(data) == 0:
            msg = "data holds no example: a kernel density needs at least one"
            raise ValueError(msg)
        if stddev is not None and stddev < 0:
            msg = f"stddev must be at least 0 in the data's units, got {stddev}"
            raise ValueError(msg)
        data = compute_precision(data).to(process.device)
        with torch.no_grad():
            (degraded,) = process.degrade(data, 1.0)
        self.register_buffer("degraded", degraded.float(), persistent=False)
        self.stddev = stddev

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """See `Prior.sample`."""
        source = self.degraded.device if generator is None else generator.device
        chosen = torch.randint(len(self.degraded), (count,), generator=generator, device=source)
        images = self.degraded[chosen.to(self.degraded.device)]
        noise = white_noise(images.shape, like=images, generator=generator)
        stddev = self.process.sigma(1.0) if self.stddev is None else images.new_tensor(self.stddev)
        return images + self.process.basis.combine((noise, stddev))


class GaussianPrior(Prior):
    """A Gaussian fitted to degraded data, independent in each coefficient: N(alpha_1 m, alpha_1^2 v + sigma_1^2).

    With m and v the mean and variance of the data's coefficients it has those of the marginal at t = 1, and needs no
    training images. It is exact for Gaussian data whose coefficients are uncorrelated, and good wherever the process
    leaves little signal. Red, green and blue are correlated: after heat, which leaves the mean colour, use a basis
    whose channels are rotated (`opponent_colours`, or `PCABasis` of the channels), or `DegradedDataPrior`.

    Args:
        process: the forward process.
        spectrum: the data's spectrum in the process's basis; see `estimate_spectrum`.

    Raises:
        ValueError: the spectrum is in another basis.
    """

    spectral_mean: Tensor
    spectral_stddev: Tensor

    def __init__(self, process: LinearGaussianProcess, spectrum: DataSpectrum) -> None:
        super().__init__(process)
        check_instance("spectrum", spectrum, DataSpectrum, "estimate_spectrum(process.basis, data) makes one")
        if not process.basis.agrees_with(spectrum.basis):
            msg = (
                f"the spectrum is one of {type(spectrum.basis).__name__}{spectrum.basis.shape}, but the process is "
                f"diagonal in {type(process.basis).__name__}{process.shape}: use estimate_spectrum(process.basis, x)"
            )
            raise ValueError(msg)
        alpha, sigma = process.alpha(1.0)[0], process.sigma(1.0)[0]
        mean = alpha * spectrum.mean.to(alpha.device)
        variance = alpha.square() * spectrum.variance.to(alpha.device) + sigma.square()
        self.register_buffer("spectral_mean", mean.expand(process.shape).float())
        self.register_buffer("spectral_stddev", variance.sqrt().expand(process.shape).float())

    def law(self, count: int = 1) -> SpectralGaussian:
        """Return the prior as a batch of `count` equal Gaussians."""
        return SpectralGaussian(
            self.process.basis, self.spectral_mean.expand(count, *self.process.shape), self.spectral_stddev
        )

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """See `Prior.sample`."""
        return self.law(count).sample(generator=generator)

    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """Return the log-density at latents `z`, (batch, *shape), in nats, (batch,).

        Raises:
            TypeError: `z` is not floating-point.
            ValueError: `z` has another shape, or a coefficient has neither variance nor noise.
        """
        return self.law(len(z)).log_prob(z)
