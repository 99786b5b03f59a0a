"""Priors of a process that is learned: gradients by its parameters, and nothing kept from before a step."""

import copy

import pytest
import torch
from support import LearnedHeat, derivatives, seeded

from unmelt.models import (
    DegradedDataPrior,
    GaussianOracle,
    GaussianPrior,
    KernelDivergence,
    LowRankGaussianPrior,
    OraclePrior,
)
from unmelt.testing.strategies import random_images

X = random_images((1, 4, 4), batch=5)
PRIORS = {
    "kernels": lambda process: DegradedDataPrior.fit(process, X),
    "kernels, bound": lambda process: DegradedDataPrior.fit(process, X, divergence=KernelDivergence.VARIATIONAL),
    "kernels of another width": lambda process: DegradedDataPrior.fit(process, X, stddev=0.2),
    "Gaussian": lambda process: GaussianPrior.fit(process, X),
    "low rank": lambda process: LowRankGaussianPrior.fit(process, X),
    "oracle": lambda process: OraclePrior(GaussianOracle(process, X[0], X[1])),
}


@pytest.mark.parametrize("build", PRIORS.values(), ids=PRIORS.keys())
def test_divergences_have_their_gradient_time_and_again(build):
    process = LearnedHeat()
    prior, parameters = build(process), list(process.parameters())

    def divergence():
        return prior.divergence(process.marginal(X, 1.0), generator=seeded()).sum()

    # Off by 1e-10 of a third derivative, and by 1e-11 of a value up to a hundred.
    expected = pytest.approx(derivatives(divergence, parameters), rel=1e-6, abs=1e-6)
    for _ in range(2):
        assert [gradient.item() for gradient in torch.autograd.grad(divergence(), parameters)] == expected


@pytest.mark.parametrize("build", PRIORS.values(), ids=PRIORS.keys())
def test_copies_and_draws_have_no_graph(build):
    prior = build(LearnedHeat())
    assert torch.equal(copy.deepcopy(prior).log_prob(X), prior.log_prob(X))
    assert not prior.sample(2).requires_grad


@pytest.mark.parametrize("name", ["kernels", "low rank", "oracle"])
def test_noise_that_was_learned_since_is_that_of_a_new_prior(name):
    process = LearnedHeat()
    prior = PRIORS[name](process)
    optimizer = torch.optim.SGD([process.log_noise], lr=0.05)
    prior.divergence(process.marginal(X, 1.0)).mean().backward()
    optimizer.step()
    again = PRIORS[name](process)
    # Which coefficients of a low rank are kept, and in which order, is measured by the noise that there was.
    torch.testing.assert_close(prior.log_prob(X), again.log_prob(X), rtol=1e-4, atol=1e-4)
    draws = [each.sample(3, generator=seeded()) for each in (prior, again)]
    torch.testing.assert_close(*draws, rtol=0, atol=1e-3)
    old = PRIORS[name](LearnedHeat())
    assert (old.log_prob(X) - prior.log_prob(X)).abs().max() > 0.1
