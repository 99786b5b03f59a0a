"""Trees of samples: who descends from whom, by which law, and the same from the same seed."""

import pytest
import torch
from torch import nn

from unmelt.degradations import (
    Deterministic,
    HeatDissipation,
    Markov,
    PredictX,
)
from unmelt.models import DegradedDataPrior, Denoiser, GaussianOracle
from unmelt.samplers import Noise, PosteriorSampler, branch

SHAPE = (1, 4, 4)


def images():
    return torch.rand((6, *SHAPE), generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class Soft(nn.Module):
    """A bounded, curved function of latent and time."""

    def forward(self, z, t):
        return torch.tanh(2 * z) * (1 - 0.3 * t.to(z.dtype)[:, None, None, None])


PROCESS = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.1)


def affine():
    return GaussianOracle(PROCESS, PROCESS.basis.forward(images()).mean(0), torch.full(SHAPE, 0.3))


def sampler(denoiser=None, coupling=None):
    denoiser = denoiser or Denoiser(Soft(), PROCESS, prediction=PredictX())
    return PosteriorSampler(denoiser, coupling=coupling or Markov(), prior=DegradedDataPrior(PROCESS, images()))


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


class Silence(Noise):
    """No noise at all: what is left of an affine sampler is its mean."""

    def stream(self, rows):
        return torch.zeros_like


def test_generations_and_parents():
    ours = sampler()
    # 0.55 does not lie on the grid of tenths.
    tree = branch(ours, times=(0.8, 0.55, 0.2), children=(2, 3, 1), generator=seeded())
    assert [generation.time for generation in tree.generations] == [0.8, 0.55, 0.2, 0.0]
    assert [len(generation.states) for generation in tree.generations] == [1, 2, 6, 6]
    assert [generation.parents.tolist() for generation in tree.generations] == [
        [0], [0, 0], [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5],
    ]  # fmt: skip
    assert tree.samples is tree.generations[-1].states
    assert tree.line(4) == [0, 1, 4, 4]
    for generation in tree.generations[:-1]:
        expected = ours.denoiser(generation.states, generation.time)
        torch.testing.assert_close(generation.predictions, expected)
    assert torch.equal(tree.generations[-1].predictions, tree.samples)
    # Brothers differ.
    assert len(tree.samples.flatten(1).unique(dim=0)) == 6


def test_children_follow_the_samplers_law_from_their_own_parent():
    """An affine sampler: the mean of many children is the run of their parent without noise."""
    ours, count = sampler(affine()), 3000
    start = torch.randn((1, *SHAPE), generator=seeded(1), dtype=torch.float64)
    tree = branch(ours, times=(1.0, 0.5), children=(2, count), initial=start, generator=seeded())
    root, parents, leaves = tree.generations
    assert torch.equal(root.states, start)
    for k, family in enumerate(leaves.states.split(count)):
        parent = parents.states[k : k + 1]
        mean = ours.sample(1, initial=parent, start=0.5, noise=Silence())[0]
        alone = ours.sample(count, initial=parent.expand(count, *SHAPE), start=0.5, generator=seeded(2))
        # Six standard errors of means and of ratios of variances of 3000 independent draws, 16 of each.
        error = 6 * alone.std(0) / count**0.5
        assert bool(((family.mean(0) - mean).abs() < error).all())
        torch.testing.assert_close(
            family.var(0) / alone.var(0), torch.ones(SHAPE, dtype=torch.float64), rtol=0, atol=6 * (4 / count) ** 0.5
        )
        # Brothers are independent: neighbours in the family are uncorrelated.
        z = (family - family.mean(0)) / family.std(0)
        assert (z[1:] * z[:-1]).mean(0).abs().max() < 6 / count**0.5
    # Cousins too: the same place in two families had other noise.
    a, b = ((f - f.mean(0)) / f.std(0) for f in leaves.states.split(count))
    assert (a * b).mean(0).abs().max() < 6 / count**0.5
    # And two children of one state are two.
    assert (parents.states[0] - parents.states[1]).abs().max() > 0.01


def test_the_trunk_runs_from_the_prior_to_the_first_branching(monkeypatch):
    ours, draws, runs = sampler(), [], []
    draw, run = ours.prior.sample, ours.sample
    monkeypatch.setattr(ours.prior, "sample", lambda *a, **k: draws.append(draw(*a, **k)) or draws[-1])
    monkeypatch.setattr(ours, "sample", lambda *a, **k: runs.append(k) or run(*a, **k))
    branch(ours, times=(0.5, 0.2), children=(2, 2), generator=seeded())
    (first,) = draws
    trunk, branches, twigs = runs
    assert torch.equal(trunk["initial"], first)
    assert (trunk.get("start", 1.0), trunk["stop"]) == (1.0, 0.5)
    assert (branches["start"], branches["stop"]) == (0.5, 0.2)
    assert (twigs["start"], twigs["stop"]) == (0.2, 0.0)
    # The trunk, two branches and four twigs have noise of their own.
    assert len({seed for run in runs for seed in run["generator"]}) == 7


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_same_tree_from_the_same_seed_whatever_the_batches(size):
    settings = {"times": (0.7, 0.3), "children": (2, 3)}
    before = torch.get_rng_state()
    whole = branch(sampler(), **settings, generator=seeded())
    split = branch(sampler(), **settings, generator=seeded(), batch_size=size)
    other = branch(sampler(), **settings, generator=seeded(12))
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(whole.generations, split.generations, strict=True):
        # Single precision, as the prior draws, over ten steps of a bounded network.
        torch.testing.assert_close(a.states, b.states, rtol=0, atol=1e-5)
        torch.testing.assert_close(a.predictions, b.predictions, rtol=0, atol=1e-5)
    assert not torch.allclose(whole.samples, other.samples, atol=1e-3)


def test_the_denoiser_is_left_in_the_mode_it_was_in():
    ours = sampler()
    ours.denoiser.train()
    branch(ours, times=(0.5,), children=(2,), generator=seeded())
    assert ours.denoiser.training


def test_samplers_without_noise_are_refused():
    with pytest.raises(ValueError, match="PosteriorSampler add no noise.*all children.*the same"):
        branch(sampler(coupling=Deterministic()), times=(0.5,), children=(2,))


def test_what_is_no_tree_is_refused():
    for times in ((), (0.5, 0.5), (0.3, 0.5), (1.2,), (0.5, 0.0), (float("nan"),)):
        with pytest.raises(ValueError, match=r"times must fall within \(0, 1\]"):
            branch(sampler(), times=times, children=(2,) * len(times))
    for children in ((2,), (2, 0), (2, 2, 2)):
        with pytest.raises(ValueError, match="children must give a number, at least 1, for each of the 2"):
            branch(sampler(), times=(0.6, 0.3), children=children)
    tree = branch(sampler(), times=(0.5,), children=(2,), generator=seeded())
    for index in (-1, 2):
        with pytest.raises(ValueError, match=r"sample must lie in 0\.\.1"):
            tree.line(index)
