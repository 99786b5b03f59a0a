"""Trees of samples: who descends from whom, by which distribution, and the same from the same seed."""

import pytest
import torch
from sampler_support import SHAPE, Silence, data_prior, heat, latents, made, seeded, soft
from torch import nn

from unmelt.degradations import ColdBlur, Deterministic, Eta, IsotropicDiffusion, PredictX
from unmelt.models import ConstantStd, Denoiser, GaussianOracle, MarginalStd
from unmelt.samplers import Posterior, branch
from unmelt.testing.strategies import random_images

PROCESS = heat(levels=10, sigma=0.1)


def sampler(denoiser=None):
    return made(denoiser or soft(PROCESS), prior=data_prior(PROCESS))


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
    assert tree.ancestry(4) == [0, 1, 4, 4]
    for generation in tree.generations[:-1]:
        expected = ours.denoiser(generation.states, generation.time)
        torch.testing.assert_close(generation.predictions, expected)
    assert torch.equal(tree.generations[-1].predictions, tree.samples)
    # Siblings differ.
    assert len(tree.samples.flatten(1).unique(dim=0)) == 6


def test_children_are_drawn_as_the_sampler_draws_from_their_own_parent():
    """An affine sampler: the mean of many children is the run of their parent without noise."""
    ours, count = sampler(GaussianOracle(PROCESS, latents(1)[0], torch.full(SHAPE, 0.3))), 3000
    start = latents(1, seed=1)
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
        # Siblings are independent: neighbours in the family are uncorrelated.
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


class Classes(nn.Module):
    """Says the class of each row, as the image's brightness."""

    def forward(self, z, t, condition=None):
        return (0.0 * z) + condition.reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_tree_grows_under_its_one_condition(batch_size):
    ours = made(Denoiser(Classes(), IsotropicDiffusion(SHAPE), prediction=PredictX()), steps=6)
    tree = branch(ours, times=(0.8, 0.5), children=(2, 3), condition=torch.tensor([3]), batch_size=batch_size)
    assert tree.samples.shape == (6, *SHAPE)
    assert (tree.samples == 3).all()
    assert all((generation.predictions == 3).all() for generation in tree.generations)


def test_samplers_know_whether_they_draw_noise():
    still, frozen = soft(IsotropicDiffusion(SHAPE)), soft(ColdBlur(SHAPE))
    assert made(still).draws_noise
    assert made(still, Posterior(reverse_std=MarginalStd(1.25))).draws_noise
    assert made(frozen, Posterior(reverse_std=ConstantStd(0.1))).draws_noise
    for silent in (
        made(still, Posterior(Deterministic())),
        made(still, Posterior(Eta(0.0))),
        made(still, Posterior(reverse_std=ConstantStd(0.0))),
        made(still, Posterior(reverse_std=MarginalStd(0.0))),
        made(frozen, Posterior(reverse_std=MarginalStd(1.25))),
        made(frozen),
    ):
        assert not silent.draws_noise
        with pytest.raises(ValueError, match="steps of Posterior.* add no noise.*all children.*the same"):
            branch(silent, times=(0.5,), children=(2,))


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
            tree.ancestry(index)
    with pytest.raises(ValueError, match=r"initial must be the one latent.*got 2"):
        branch(sampler(), times=(0.5,), children=(2,), initial=random_images(SHAPE, batch=2))
