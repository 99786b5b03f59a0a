"""Joint paths of latents against the dense joint covariance, and the score against densities."""

import numpy as np
import pytest
import torch
from dense_reference import Dense
from hypothesis import given, settings
from hypothesis import strategies as st
from support import COUPLINGS, TINY, draw, every_coupling, seeded
from zoo import EVERY_PROCESS, every_process

from unmelt.degradations import (
    Deterministic,
    Independent,
    Markov,
)

TIMES = [0.15, 0.4, 0.85]
SAMPLES = 40_000


def joint_covariance(process, times, coupling):
    """Covariance of the noises of all levels: blocks of neighbours by definition, of others through those between.

    Each level is drawn from the next one alone, so that the levels are a Markov chain whatever the coupling:
    C_ik = C_ij Sigma_j^-1 C_jk.
    """
    dense, count = Dense(process), len(times)
    blocks = [[None] * count for _ in range(count)]
    for i in range(count):
        blocks[i][i] = dense.covariance(times[i])
        for k in range(i + 1, count):
            cross = dense.cross_covariance(times[k - 1], times[k], coupling)
            between = blocks[i][k - 1] @ torch.linalg.inv(dense.covariance(times[k - 1]))
            blocks[i][k] = between @ cross
            blocks[k][i] = blocks[i][k].T
    return torch.cat([torch.cat(row, 1) for row in blocks])


def sampled(process, coupling):
    """Noises of all levels side by side, (samples, times * n)."""
    x = draw(process.shape, batch=1).expand(SAMPLES, *process.shape)
    path = process.sample_path(x, TIMES, coupling, generator=seeded(7))
    noises = path - torch.stack(process.degrade(x, *TIMES))
    return torch.cat([noise.flatten(1) for noise in noises], 1).numpy()


@every_coupling
@pytest.mark.parametrize("name", TINY)
def test_the_joint_distribution_of_a_path_is_the_dense_one(name, coupling):
    """Means, marginals, neighbours and non-neighbours, all at once."""
    process = TINY[name]
    noises, expected = sampled(process, coupling), joint_covariance(process, TIMES, coupling).numpy()
    variances = np.diag(expected)
    # The standard error of a covariance of Gaussians is sqrt((C_ii C_kk + C_ik^2) / N); of the 78 to 45 different ones
    # none is beyond 4.5 of them but once in 2000 seeds.
    error = np.sqrt((np.outer(variances, variances) + expected**2) / SAMPLES)
    assert (np.abs(noises.T @ noises / SAMPLES - expected) <= 4.5 * error).all()
    assert (np.abs(noises.mean(0)) <= 4.5 * np.sqrt(variances / SAMPLES)).all()


@pytest.mark.parametrize("name", TINY)
def test_levels_apart_are_correlated_as_in_the_markov_chain(name):
    """For the forward chain, any two levels are joined by the transition between them, whatever lies between."""
    dense = Dense(TINY[name])
    expected = dense.cross_covariance(TIMES[0], TIMES[2], Markov())
    n = len(expected)
    joint = joint_covariance(TINY[name], TIMES, Markov())
    torch.testing.assert_close(joint[:n, 2 * n :], expected, rtol=1e-10, atol=1e-12)


@every_process()
@every_coupling
def test_paths_of_every_process_are_finite_from_end_to_end(name, coupling):
    process = EVERY_PROCESS[name]
    path = process.sample_path(draw(process.shape), [0.0, 0.0, 0.3, 0.5, 1.0, 1.0], coupling)
    assert path.shape == (6, 2, *process.shape)
    assert path.isfinite().all()
    if not isinstance(coupling, Independent):
        # No time between: no change between. Rounding grows with sigma, up to 80 here.
        torch.testing.assert_close(path[0], path[1], rtol=0, atol=1e-12)
        torch.testing.assert_close(path[4], path[5], rtol=0, atol=1e-11)


@given(seed=st.integers(0, 99), times=st.lists(st.floats(0.01, 1), min_size=1, max_size=5).map(sorted))
def test_deterministic_carries_one_noise_through_all_levels(seed, times):
    process = TINY["blurring"]
    x = draw(process.shape, seed=seed)
    path = process.sample_path(x, times, Deterministic(), generator=seeded(seed))
    noise = torch.randn(x.shape, generator=seeded(seed), dtype=torch.float64)
    for z, t in zip(path, times, strict=True):
        q = process.marginal(x, t)
        expected = q.mean + process.basis.inverse(q.spectral_stddev * noise)
        torch.testing.assert_close(z, expected, rtol=0, atol=1e-13)


def test_without_noise_a_path_is_the_degradation():
    process = EVERY_PROCESS["cold"]
    x = draw(process.shape)
    for coupling in COUPLINGS:
        path = process.sample_path(x, [0.0, 0.5, 1.0], coupling)
        for z, degraded in zip(path, process.degrade(x, 0.0, 0.5, 1.0), strict=True):
            torch.testing.assert_close(z, degraded, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_shapes_and_dtypes(dtype):
    process = TINY["heat"]
    x = draw(process.shape, batch=3).to(dtype)
    for times in ([0.2, 0.9], torch.tensor([0.2, 0.9]), torch.tensor([0.2, 0.9], dtype=torch.float64)):
        path = process.sample_path(x, times)
        assert path.shape == (2, 3, 1, 3)
        assert path.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert process.sample_path(x, [0.5]).shape == (1, 3, 1, 3)
    assert process.sample_path(x[:0], [0.5, 0.6]).shape == (2, 0, 1, 3)


def test_a_generator_makes_a_path_reproducible():
    process, x = TINY["blurring"], draw((1, 2, 2))
    first, second = (process.sample_path(x, TIMES, generator=seeded(5)) for _ in range(2))
    other = process.sample_path(x, TIMES, generator=seeded(6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(first, process.sample_path(x, TIMES, Markov(), generator=seeded(5)))


# ---- the score ----------------------------------------------------------------------------------------------

NOISY = [name for name in EVERY_PROCESS if name not in ("cold", "no noise")]


@every_process(NOISY)
@settings(max_examples=10)
@given(t=st.floats(0.05, 1), seed=st.integers(0, 99))
def test_the_score_is_the_gradient_of_the_log_density(name, t, seed):
    process = EVERY_PROCESS[name]
    x, z = draw(process.shape, seed=seed), draw(process.shape, seed=seed + 1).requires_grad_()
    (gradient,) = torch.autograd.grad(process.marginal(x, t).log_prob(z).sum(), z)
    score = process.score(z.detach(), x, t)
    # Residuals over sigma^2, summed up in a transform of 48 numbers.
    torch.testing.assert_close(score, gradient, rtol=0, atol=1e-13 * score.abs().max().item())


@pytest.mark.parametrize("name", TINY)
@given(t=st.floats(0.05, 1), seed=st.integers(0, 99))
def test_the_score_is_the_dense_normals(name, t, seed):
    process = TINY[name]
    x, z = draw(process.shape, seed=seed), draw(process.shape, seed=seed + 1).requires_grad_()
    dense = Dense(process).marginal(x.flatten(1), t).torch()
    (expected,) = torch.autograd.grad(dense.log_prob(z.flatten(1)).sum(), z)
    torch.testing.assert_close(process.score(z.detach(), x, t), expected, rtol=1e-10, atol=1e-10)


def test_the_score_of_each_example_has_its_own_time():
    process = TINY["blurring"]
    x, z = draw((1, 2, 2)), draw((1, 2, 2), seed=1)
    together = process.score(z, x, torch.tensor([0.2, 0.9], dtype=torch.float64))
    for i, t in enumerate((0.2, 0.9)):
        torch.testing.assert_close(
            together[i : i + 1], process.score(z[i : i + 1], x[i : i + 1], t), rtol=1e-13, atol=0
        )


def test_levels_without_noise_have_no_score():
    x = draw((2, 4, 6))
    for name, t in (("cold", 0.5), ("linear", 0.0), ("rectified flow", 0.0)):
        with pytest.raises(ValueError, match="score needs a density.*standard deviation here is 0"):
            EVERY_PROCESS[name].score(x, x, t)
