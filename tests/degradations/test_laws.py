"""Marginals, transitions, posteriors and couplings of every family, against dense linear algebra."""

import torch
from dense_reference import Dense, covariance_of, vectors
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.distributions import kl_divergence

from unmelt.degradations import Markov
from unmelt.testing.strategies import (
    couplings,
    dtypes,
    ordered_times,
    processes,
    random_images,
)


def single(x, dtype):
    return x.to(dtype)


def bound(dtype, scale=1.0):
    """What n <= 50 products of numbers up to `scale` are off by in the given dtype, the reference being exact."""
    # 64-bit references invert matrices with condition numbers up to 1e6, hence their 1e-10.
    return max(1e-9, 64 * torch.finfo(dtype).eps) * max(scale, 1.0)


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)


def moderate(process, t):
    """Keep the dense reference itself accurate: it inverts A_s and Sigma_t. Extremes have tests of their own."""
    alpha, sigma = vectors(process, t)
    return alpha.min() > 1e-3 and sigma.min() > 1e-3


@given(process=processes(), t=st.floats(0, 1), seed=st.integers(0, 99), dtype=dtypes())
def test_marginal_equals_the_dense_reference(process, t, seed, dtype):
    x = random_images(process.shape, seed=seed)
    expected = Dense(process).marginal(x.flatten(1), t)
    q = process.marginal(single(x, dtype), t)
    scale = vectors(process, t)[1].max().item()
    close(q.mean.flatten(1), expected.mean, bound(dtype))
    close(covariance_of(q), expected.covariance.expand(2, -1, -1), bound(dtype, scale**2))


@given(process=processes(), times=ordered_times(2), seed=st.integers(0, 99), dtype=dtypes())
def test_transition_equals_the_dense_reference(process, times, seed, dtype):
    s, t = times
    assume(moderate(process, s))
    z = random_images(process.shape, seed=seed)
    expected = Dense(process).transition(z.flatten(1), s, t)
    q = process.transition(single(z, dtype), s, t)
    scale = vectors(process, t)[1].max().item()
    close(q.mean.flatten(1), expected.mean, bound(dtype, (1 / vectors(process, s)[0].min()).item()))
    close(covariance_of(q), expected.covariance.expand(2, -1, -1), bound(dtype, scale**2))


@settings(max_examples=60)
@given(process=processes(), times=ordered_times(2), coupling=couplings(), seed=st.integers(0, 99), dtype=dtypes())
def test_posterior_equals_conditioning_the_dense_joint(process, times, coupling, seed, dtype):
    s, t = times
    assume(moderate(process, s) and moderate(process, t))
    x, z = random_images(process.shape, seed=seed), random_images(process.shape, seed=seed + 100)
    expected = Dense(process).posterior(z.flatten(1), x.flatten(1), s, t, coupling)
    q = process.posterior(single(z, dtype), single(x, dtype), s, t, coupling)
    (_, sigma_s), (_, sigma_t) = vectors(process, s), vectors(process, t)
    close(q.mean.flatten(1), expected.mean, bound(dtype, (sigma_s / sigma_t).max().item()))
    # The reference subtracts covariances; ours never does.
    close(covariance_of(q), expected.covariance.expand(2, -1, -1), bound(dtype, (sigma_s**2).max().item()))


@given(process=processes(), times=ordered_times(3), seed=st.integers(0, 99), dtype=dtypes())
def test_chapman_kolmogorov(process, times, seed, dtype):
    """Going from r to t directly is going from r to s and then, whatever came out, from s to t."""
    r, s, t = times
    z = single(random_images(process.shape, seed=seed), dtype)
    direct, first = process.transition(z, r, t), process.transition(z, r, s)
    second = process.transition(first.mean, s, t)
    scale = process.alpha(t).div(process.alpha(s)).double()
    variance = scale**2 * first.spectral_stddev.double() ** 2 + second.spectral_stddev.double() ** 2
    close(second.mean, direct.mean.double(), bound(dtype))
    close(
        variance.expand_as(z), (direct.spectral_stddev.double() ** 2).expand_as(z), bound(dtype, variance.max().item())
    )


@given(process=processes(), times=ordered_times(2), seed=st.integers(0, 99), dtype=dtypes())
def test_transitions_carry_marginals_to_marginals(process, times, seed, dtype):
    s, t = times
    x = single(random_images(process.shape, seed=seed), dtype)
    early, late = process.marginal(x, s), process.marginal(x, t)
    step = process.transition(early.mean, s, t)
    scale = process.alpha(t).div(process.alpha(s)).double()
    variance = scale**2 * early.spectral_stddev.double() ** 2 + step.spectral_stddev.double() ** 2
    close(step.mean, late.mean.double(), bound(dtype))
    expected = (late.spectral_stddev.double() ** 2).expand_as(x)
    close(variance.expand_as(x), expected, bound(dtype, expected.max().item()))


@given(process=processes(), times=ordered_times(2), seed=st.integers(0, 99))
def test_bayes_rule_by_densities(process, times, seed):
    """q(z_s | z_t, x) q(z_t | x) = q(z_t | z_s) q(z_s | x) at any point, for the Markov coupling."""
    s, t = times
    x, z_s, z_t = (random_images(process.shape, seed=seed + k) for k in range(3))
    posterior, transition = process.posterior(z_t, x, s, t, Markov()), process.transition(z_s, s, t)
    # Coefficients that never change (the mean of heat) have no transition noise, hence no density.
    assume(bool((posterior.spectral_stddev > 0).all()) and bool((transition.spectral_stddev > 0).all()))
    left = posterior.log_prob(z_s) + process.marginal(x, t).log_prob(z_t)
    right = transition.log_prob(z_t) + process.marginal(x, s).log_prob(z_s)
    # Each term sums up to 50 squares ((z - m) / s)^2; near-deterministic steps make single terms huge.
    scale = max(1.0, *(term.abs().max().item() for term in (left, right, transition.log_prob(z_t))))
    torch.testing.assert_close(left, right, rtol=0, atol=1e-9 * scale)


@settings(max_examples=60)
@given(process=processes(), times=ordered_times(2), coupling=couplings(), seed=st.integers(0, 99), dtype=dtypes())
def test_every_coupling_keeps_the_marginals(process, times, coupling, seed, dtype):
    """Integrating z_t out of q(z_s | z_t, x) q(z_t | x) leaves q(z_s | x)."""
    s, t = times
    x = single(random_images(process.shape, seed=seed), dtype)
    late, early = process.marginal(x, t), process.marginal(x, s)
    averaged = process.posterior(late.mean, x, s, t, coupling)
    latent = process.posterior_coefficients(s, t, coupling).latent.double()
    variance = averaged.spectral_stddev.double() ** 2 + latent**2 * late.spectral_stddev.double() ** 2
    expected = (early.spectral_stddev.double() ** 2).expand_as(x)
    close(averaged.mean, early.mean.double(), bound(dtype, latent.max().item()))
    close(variance.expand_as(x), expected, bound(dtype, expected.max().item()))


@given(process=processes(), times=ordered_times(2, gap=0.1), coupling=couplings(), seed=st.integers(0, 99))
def test_posterior_divergence_equals_torch_distributions(process, times, coupling, seed):
    """The KL between posteriors of two data points, the sampler's loss, on the dense problem."""
    s, t = times
    assume(moderate(process, s) and moderate(process, t))
    x, other, z = (random_images(process.shape, seed=seed + k) for k in range(3))
    p, q = (process.posterior(z, data, s, t, coupling) for data in (x, other))
    deviation = p.spectral_stddev
    assume(bool((deviation > 1e-2 * process.sigma(s)).all()))
    dense = Dense(process)
    expected = kl_divergence(
        *(dense.posterior(z.flatten(1), data.flatten(1), s, t, coupling).torch() for data in (x, other))
    )
    # The reference conditions by subtraction: its variances keep 1e-16 / (1e-2)^2, amplified by condition numbers.
    torch.testing.assert_close(p.kl_divergence(q), expected, rtol=1e-5, atol=1e-6)


@given(process=processes(), times=ordered_times(2), seed=st.integers(0, 99))
def test_times_per_example_equal_times_alone(process, times, seed):
    s, t = torch.tensor(times, dtype=torch.float64)
    x, z = random_images(process.shape, seed=seed), random_images(process.shape, seed=seed + 1)
    early, late = torch.stack([s, s / 2]), torch.stack([t, s])
    together = process.posterior(z, x, early, late)
    for i in range(2):
        alone = process.posterior(z[i : i + 1], x[i : i + 1], early[i], late[i].item())
        close(together.mean[i], alone.mean[0], 1e-12)
        close(together.spectral_stddev.expand_as(x)[i], alone.spectral_stddev.expand(1, *process.shape)[0], 1e-12)


@given(process=processes(), t=st.floats(0, 1), seed=st.integers(0, 99))
def test_degrade_is_the_mean_of_the_marginal(process, t, seed):
    x = random_images(process.shape, seed=seed)
    degraded, again = process.degrade(x, t, torch.tensor([t, t / 2], dtype=torch.float64))
    close(degraded, process.marginal(x, t).mean, 1e-12)
    close(again[0], degraded[0], 1e-12)
    close(again[1:], process.marginal(x[1:], t / 2).mean, 1e-12)


@given(process=processes(), t=st.floats(0, 1), seed=st.integers(0, 99))
def test_corrupt_adds_white_noise_with_the_marginals_width(process, t, seed):
    x, noise = random_images(process.shape, seed=seed), random_images(process.shape, seed=seed + 1)
    dense = Dense(process)
    sigma = dense.operator(vectors(process, t)[1])
    expected = x.flatten(1) @ dense.degradation(t).T + noise.flatten(1) @ sigma.T
    close(process.corrupt(x, noise, t).flatten(1), expected, 1e-11)
