"""The bound of inverse heat dissipation, as published and as its released code adds it up."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from unmelt.degradations import HeatDissipation, Independent, PredictPreviousLevel
from unmelt.losses import ELBO
from unmelt.models import (
    ConstantStd,
    DegradedDataPrior,
    Denoiser,
    GaussianDecoder,
    KernelDivergence,
)

SHAPE, LEVELS, SIGMA, DELTA = (1, 4, 5), 6, 0.05, 0.06
COPIES = 4000
N = math.prod(SHAPE)


class Linear(torch.nn.Module):
    """A fixed tiny network, linear in the latent, another at each level: means over noise are known exactly."""

    def forward(self, z, t, condition=None):
        level = (t * LEVELS).double().reshape(-1, 1, 1, 1)
        return (0.02 * level * z.roll(1, -1) - 0.1 * z + 0.05 * z.flip(-2)).to(z.dtype)

    def matrix(self, level):
        """Return I + M of z + f(z) as a matrix on flattened images."""
        basis = torch.eye(N, dtype=torch.float64).reshape(N, *SHAPE)
        return (basis + self(basis, torch.full((N,), level / LEVELS))).reshape(N, N).T.numpy()


def blurred(images, level):
    """Images blurred to a level, once more in numpy and scipy."""
    if level == 0:
        return images
    width = np.exp(np.linspace(np.log(0.5), np.log(3.0), LEVELS))[level - 1]
    rates = sum(np.meshgrid(*[(np.pi * np.arange(n) / n) ** 2 for n in SHAPE[1:]], indexing="ij"))
    spectrum = dctn(images, axes=(-2, -1), norm="ortho") * np.exp(-rates * width**2 / 2)
    return idctn(spectrum, axes=(-2, -1), norm="ortho")


def squared_error(images, level, network):
    """Mean over noise of || A_{k-1} x - (z_k + f(z_k)) ||^2 for each image."""
    matrix = network.matrix(level)
    more, less = (blurred(images, k).reshape(len(images), N) for k in (level, level - 1))
    return ((less - more @ matrix.T) ** 2).sum(1) + SIGMA**2 * (matrix**2).sum()


def divergence(images, level, network):
    """KL between the level's posterior N(A_{k-1} x, sigma^2) and the reverse step, averaged over noise."""
    constant = N * (SIGMA**2 / DELTA**2 - 1 + 2 * math.log(DELTA / SIGMA))
    return (squared_error(images, level, network) / DELTA**2 + constant) / 2


def prior_bound(images, training):
    """The variational upper bound on the last level's divergence, image by image, in the paper's own form."""
    found = []
    for image in blurred(images, LEVELS):
        distance = ((blurred(training, LEVELS) - image) ** 2).sum((1, 2, 3))
        kl = (N * SIGMA**2 / DELTA**2 + distance / DELTA**2 - N + 2 * N * math.log(DELTA / SIGMA)) / 2
        share = np.exp(-(kl - kl.min()))
        share /= share.sum()
        found.append((share * (kl + np.log(share) + math.log(len(training)))).sum())
    return np.array(found)


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(0)
    training, images = generator.random((7, *SHAPE)), generator.random((2, *SHAPE))
    process = HeatDissipation(SHAPE, blur_sigma_min=0.5, blur_sigma_max=3.0, levels=LEVELS, sigma=SIGMA)
    network = Linear()
    return Denoiser(network, process, prediction=PredictPreviousLevel()), training, images, network


def ours(denoiser, training, **settings):
    process = denoiser.process
    prior = DegradedDataPrior.fit(
        process, torch.from_numpy(training), stddev=DELTA, divergence=KernelDivergence.VARIATIONAL
    )
    return ELBO(
        denoiser,
        prior=prior,
        decoder=GaussianDecoder(process, DELTA),
        coupling=Independent(),
        reverse_std=ConstantStd(DELTA),
        **settings,
    )


def test_the_bound_as_published_and_as_released(problem):
    """Published: every level k = 2..K once, and the reconstruction from level 1. Released: k = 1..K-1 instead."""
    denoiser, training, images, network = problem
    reconstruction = squared_error(images, 1, network) / (2 * DELTA**2) + N * math.log(DELTA * math.sqrt(2 * math.pi))
    last = prior_bound(images, training)
    levels = {k: divergence(images, k, network) for k in range(1, LEVELS + 1)}
    published = last + sum(levels[k] for k in range(2, LEVELS + 1)) + reconstruction
    released = last + sum(levels[k] for k in range(1, LEVELS)) + reconstruction

    # Many copies of each image, for a mean over noise.
    x = torch.from_numpy(images).repeat_interleave(COPIES, 0)
    found = ours(denoiser, training)(x, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(found.prior[::COPIES].numpy(), last, rtol=1e-5)
    # Five standard errors; a level too many or too few is hundreds of them.
    tolerance = 5 * found.total.reshape(2, COPIES).std(1).numpy() / math.sqrt(COPIES)
    assert (np.abs(found.total.reshape(2, COPIES).mean(1).numpy() - published) < tolerance).all()
    assert (np.abs(levels[1] - levels[LEVELS]) > 20 * tolerance).all()

    # The released figure leaves out the last level, which sampling starts from, and has level 1 twice: as the
    # reconstruction, and as a divergence towards a latent at level 0 that no bound has.
    from_zero = ours(denoiser, training, times=torch.arange(LEVELS + 1, dtype=torch.float64) / LEVELS)
    extra = from_zero(x, generator=torch.Generator().manual_seed(1)).terms[:, 0]
    as_released = (found.total - found.terms[:, -1] + extra).reshape(2, COPIES).mean(1).numpy()
    assert (np.abs(as_released - released) < 2 * tolerance).all()


def test_a_wider_step_than_the_noise_costs_a_constant_at_every_level():
    """1.25 times as wide: 0.0431 nats per dimension and level, 12.39 bits per dimension over 199 levels."""
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=200, sigma=0.01)
    data = torch.rand(1, *SHAPE, dtype=torch.float64)

    class Perfect(torch.nn.Module):
        def forward(self, z, t, condition=None):
            level = (t * 200).round().long()
            (less,) = process.degrade(data.expand(len(z), *SHAPE), (level - 1).double() / 200)
            return less.to(z.dtype) - z

    denoiser = Denoiser(Perfect(), process, prediction=PredictPreviousLevel())
    found = ELBO(
        denoiser,
        prior=DegradedDataPrior.fit(process, data),
        decoder=GaussianDecoder(process, 0.0125),
        coupling=Independent(),
        reverse_std=ConstantStd(0.0125),
    )(data)
    assert found.terms.shape == (1, 199)
    bits = found.diffusion.item() / (N * math.log(2))
    assert bits == pytest.approx(12.39, abs=0.005)
    assert found.terms[0, 0].item() / N == pytest.approx(0.0431, abs=5e-5)
