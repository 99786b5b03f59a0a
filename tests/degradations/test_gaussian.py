import math

import pytest
import torch
from dense_reference import Gaussian, covariance_of
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import kl_divergence

from unmelt.degradations import CosineBasis, PixelBasis, SpectralGaussian
from unmelt.testing.strategies import random_images, shapes


def draw(basis, seed, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn((2, *basis.shape), generator=generator, dtype=dtype)
    stddev = torch.rand(basis.shape, generator=generator, dtype=dtype) + 0.2
    return SpectralGaussian(basis, mean, stddev)


def dense(gaussian):
    return Gaussian(gaussian.mean.flatten(1), covariance_of(gaussian)).torch()


@given(shape=shapes(), seed=st.integers(0, 99), basis_type=st.sampled_from([CosineBasis, PixelBasis]))
def test_densities_equal_torch_distributions(shape, seed, basis_type):
    basis = basis_type(shape)
    p, q = draw(basis, seed), draw(basis, seed + 1)
    z = random_images(shape, seed=seed)
    # Cholesky factors of 50 x 50 matrices with condition number at most 36 are good to 12 digits.
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(p.log_prob(z), dense(p).log_prob(z.flatten(1)), **close)
    torch.testing.assert_close(p.entropy(), dense(p).entropy(), **close)
    torch.testing.assert_close(p.kl_divergence(q), kl_divergence(dense(p), dense(q)), **close)


@given(seed=st.integers(0, 99))
def test_single_precision_densities_lose_only_rounding(seed):
    basis = CosineBasis((2, 6, 5))
    p, q = draw(basis, seed), draw(basis, seed + 1)
    single = [SpectralGaussian(basis, g.spectral_mean.float(), g.spectral_stddev.float()) for g in (p, q)]
    z = random_images(basis.shape, seed=seed)
    # 60 terms of size up to (|z - m| / 0.2)^2 ~ 400.
    bound = {"rtol": 64 * torch.finfo(torch.float32).eps, "atol": 1e-3}
    torch.testing.assert_close(single[0].log_prob(z.float()).double(), p.log_prob(z), **bound)
    torch.testing.assert_close(single[0].kl_divergence(single[1]).double(), p.kl_divergence(q), **bound)


def test_divergence_of_nearly_equal_widths_does_not_cancel():
    basis = PixelBasis((1, 1, 1))
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    step = 1e-6
    p = SpectralGaussian(basis, zero, torch.full((1, 1, 1), 1 + step, dtype=torch.float64))
    q = SpectralGaussian(basis, zero, torch.ones(1, 1, 1, dtype=torch.float64))
    # KL = r^2 + O(r^3), r = log(1 + step) ~ 1e-6. Written as s^2 - 1 - 2 log s it would keep four digits at most.
    assert p.kl_divergence(q).item() == pytest.approx(step**2, rel=1e-4)


def test_samples_have_the_right_mean_and_covariance():
    basis = CosineBasis((1, 2, 3))
    p = draw(basis, 3)
    count = 40_000
    samples = p.sample((count,), generator=torch.Generator().manual_seed(1)).flatten(2)
    assert samples.shape == (count, 2, 6)
    covariance = covariance_of(p)[0]
    spread = covariance.diagonal().max().item()
    # Six standard errors: of a mean sqrt(v/n), of a covariance at most sqrt(2/n) v.
    torch.testing.assert_close(samples.mean(0), p.mean.flatten(1), rtol=0, atol=6 * math.sqrt(spread / count))
    for example in range(2):
        torch.testing.assert_close(
            samples[:, example].T.cov(), covariance, rtol=0, atol=6 * math.sqrt(2 / count) * spread
        )


def test_a_generator_makes_samples_repeatable():
    p = draw(CosineBasis((1, 4, 4)), 0)
    first, again, other = (p.sample(generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rsample_carries_gradients_and_sample_does_not():
    basis = PixelBasis((1, 2, 2))
    mean = torch.zeros(1, 1, 2, 2, requires_grad=True)
    p = SpectralGaussian(basis, mean, torch.ones(()))
    assert torch.equal(torch.autograd.grad(p.rsample().sum(), mean)[0], torch.ones_like(mean))
    assert not p.sample().requires_grad


@pytest.mark.parametrize("verb", ["log_prob", "entropy", "kl_divergence"])
def test_a_law_without_variance_has_no_density(verb):
    basis = PixelBasis((1, 2, 2))
    zero = torch.zeros(1, 1, 2, 2)
    p = SpectralGaussian(basis, zero, torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    arguments = {"log_prob": (zero,), "entropy": (), "kl_divergence": (p,)}[verb]
    with pytest.raises(ValueError, match=f"{verb} needs a density.*Deterministic.*use a stochastic coupling"):
        getattr(p, verb)(*arguments)
    assert torch.equal(p.sample()[..., 0, 0], zero[..., 0, 0])


def test_divergence_between_bases_is_refused():
    one, other = draw(CosineBasis((1, 3, 3)), 0), draw(PixelBasis((1, 3, 3)), 0)
    with pytest.raises(ValueError, match="in one basis, got CosineBasis.*PixelBasis"):
        one.kl_divergence(other)
    twin = draw(CosineBasis((1, 3, 3)), 0)
    assert one.kl_divergence(twin).abs().max() < 1e-12
