"""Interpolation: ends that the sampler itself gives, lines, arcs, and noise that stays white."""

import math

import pytest
import torch
from sampler_support import SHAPE, Silence, data_prior, heat, latents, made, seeded, soft

from unmelt.degradations import Deterministic, Independent, IsotropicDiffusion
from unmelt.models import ConstantStd, GaussianOracle, StandardNormalPrior
from unmelt.samplers import Blend, InterpolatedNoise, Posterior, SeedNoise, SharedNoise, interpolate, interpolate_seeds

# Rows of one batch and a row alone: float64 sums of 16 terms, over 12 steps.
CLOSE = {"rtol": 0, "atol": 1e-12}
HEAT = heat(sigma=0.1)


def heat_sampler(denoiser=None, stepper=None):
    return made(denoiser or soft(HEAT), stepper, prior=data_prior(HEAT))


def affine():
    return GaussianOracle(HEAT, torch.zeros(SHAPE), torch.full(SHAPE, 0.3))


def states():
    return latents(2, seed=3)


# ---- ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [1.0, 0.55])
def test_ends_are_what_the_sampler_gives(start):
    sampler, (first, second) = heat_sampler(), states()
    between = interpolate(sampler, first, second, points=5, seeds=(7, 8), start=start)
    assert between.shape == (5, *SHAPE)
    for end, state, seed in ((between[0], first, 7), (between[-1], second, 8)):
        alone = sampler.sample(1, initial=state[None], noise=SharedNoise(seed), start=start)[0]
        torch.testing.assert_close(end, alone, **CLOSE)
    # Not all alike: the test would see nothing otherwise.
    assert (between[0] - between[-1]).abs().max() > 0.1


def test_ends_of_seeds_are_the_samples_of_these_seeds():
    sampler = heat_sampler()
    between = interpolate_seeds(sampler, 3, 17, points=4)
    ends = sampler.sample(2, generator=[3, 17])
    # Single precision, as the prior draws: 2^-24, over a dozen steps of a bounded network.
    torch.testing.assert_close(between[[0, -1]], ends, rtol=0, atol=1e-5)
    assert (ends[0] - ends[1]).abs().max() > 0.1


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batches_do_not_matter(size):
    sampler, (first, second) = heat_sampler(), states()
    whole = interpolate(sampler, first, second, points=5, seeds=(7, 8))
    split = interpolate(sampler, first, second, points=5, seeds=(7, 8), batch_size=size)
    torch.testing.assert_close(split, whole, **CLOSE)
    torch.testing.assert_close(
        interpolate_seeds(sampler, 3, 17, points=5, batch_size=size),
        interpolate_seeds(sampler, 3, 17, points=5),
        rtol=0,
        atol=1e-5,
    )


# ---- what lies between, seen through a sampler that is affine in state and noise ---------------------------------


def test_states_move_along_a_line_where_noise_is_shared():
    sampler, (first, second) = heat_sampler(affine()), states()
    between = interpolate(sampler, first, second, points=5, seeds=(7, 7))
    torch.testing.assert_close(between[:1], sampler.sample(1, initial=first[None], noise=SharedNoise(7)), **CLOSE)
    w = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None, None, None]
    torch.testing.assert_close(between, (1 - w) * between[:1] + w * between[-1:], **CLOSE)


def test_noise_moves_along_a_quarter_of_a_circle():
    sampler, (state, _) = heat_sampler(affine()), states()
    mean = sampler.sample(1, initial=state[None], noise=Silence())
    between = interpolate(sampler, state, state, points=5, seeds=(7, 8))
    angle = torch.linspace(0, math.pi / 2, 5, dtype=torch.float64)[:, None, None, None]
    ends = between - mean
    torch.testing.assert_close(ends, angle.cos() * ends[:1] + angle.sin() * ends[-1:], **CLOSE)


def test_noise_of_seeds_moves_along_a_quarter_of_a_circle():
    """Its two streams are white and independent, so the deviation's variance is the same at every point."""
    sampler = heat_sampler(affine(), Posterior(Independent(), ConstantStd(0.1)))
    between = interpolate_seeds(sampler, 3, 17, points=3)
    first, second = (sampler.prior.sample(1, generator=seeded(s)) for s in (3, 17))
    middle = sampler.sample(1, initial=(first + second) / 2, noise=Silence())
    parts = [
        end - sampler.sample(1, initial=state, noise=Silence())[0]
        for end, state in ((between[0], first), (between[2], second))
    ]
    # Single precision over a dozen steps.
    torch.testing.assert_close(between[1] - middle[0], (parts[0] + parts[1]) * math.sqrt(0.5), rtol=0, atol=1e-5)


def test_arcs_go_evenly_along_the_circle():
    a, b = torch.zeros(2, *SHAPE, dtype=torch.float64)
    a[0, 0, 0] = 2.0
    # 60 degrees apart.
    b[0, 0, 0], b[0, 1, 1] = 1.0, math.sqrt(3.0)
    way = Blend.SPHERICAL.between(a, b, torch.linspace(0, 1, 7, dtype=torch.float64))
    angle = torch.arange(7, dtype=torch.float64) * (math.pi / 18)
    torch.testing.assert_close(way[:, 0, 0, 0], 2 * angle.cos())
    torch.testing.assert_close(way[:, 0, 1, 1], 2 * angle.sin())


def test_arcs_between_equal_states_stand_still():
    (state, _) = states()
    way = Blend.SPHERICAL.between(state, state, torch.linspace(0, 1, 3, dtype=torch.float64))
    torch.testing.assert_close(way, state.expand(3, *SHAPE))


def test_the_way_follows_from_what_samples_start_from():
    """A deterministic sampler in float64 is one function of its state: points are samples of the points between."""
    process = IsotropicDiffusion(SHAPE)
    white = made(soft(process), Posterior(Deterministic()), 6, prior=StandardNormalPrior(process))
    first, second = states()
    weights = torch.linspace(0, 1, 3, dtype=torch.float64)

    def samples(sampler, blend, start=1.0):
        initial = blend.between(first, second, weights)
        return sampler.sample(3, initial=initial, start=start)

    for sampler, start, blend in (
        (white, 1.0, Blend.SPHERICAL),
        (white, 0.7, Blend.LINEAR),
        (heat_sampler(stepper=Posterior(Deterministic())), 1.0, Blend.LINEAR),
    ):
        natural = interpolate(sampler, first, second, points=3, seeds=(0, 1), start=start)
        torch.testing.assert_close(natural, samples(sampler, blend, start), **CLOSE)
        other = Blend.LINEAR if blend is Blend.SPHERICAL else Blend.SPHERICAL
        chosen = interpolate(sampler, first, second, points=3, seeds=(0, 1), start=start, blend=other)
        torch.testing.assert_close(chosen, samples(sampler, other, start), **CLOSE)
        assert not torch.allclose(natural[1], chosen[1], rtol=0, atol=1e-3)


# ---- noise, and errors --------------------------------------------------------------------------------------


def test_noise_needs_seeds_where_there_is_noise():
    first, second = states()
    with pytest.raises(ValueError, match=r"steps add noise.*give seeds=\(0, 1\)"):
        interpolate(heat_sampler(), first, second, points=3)
    still = heat_sampler(stepper=Posterior(Deterministic()))
    torch.testing.assert_close(interpolate(still, first, second, points=3)[0], still.sample(1, initial=first[None])[0])


def test_shared_noise_is_not_what_its_seed_draws_first_latents_from():
    like = torch.empty(3, *SHAPE)
    shared = SharedNoise(5).stream(slice(0, 3))(like)
    first = torch.randn(like.shape, generator=seeded(5))
    assert abs(torch.corrcoef(torch.stack([shared[0].flatten(), first[0].flatten()]))[0, 1]) < 0.9
    assert torch.equal(shared[0], shared[2])
    assert torch.equal(shared, SharedNoise(5).stream(slice(0, 3))(like))
    assert not torch.equal(shared, SharedNoise(6).stream(slice(0, 3))(like))


def test_weights_are_one_for_each_sample():
    noise = InterpolatedNoise(0, 1, torch.linspace(0, 1, 4))
    drawn, alone = noise.stream(slice(0, 4))(torch.empty(4, *SHAPE)), SharedNoise(0).stream(slice(0, 1))
    assert torch.equal(drawn[:1], alone(torch.empty(1, *SHAPE)))
    with pytest.raises(ValueError, match="noise has 4 weights, one for each sample, but 5 samples are drawn"):
        heat_sampler().sample(5, noise=noise)
    # In batches too, each of which would find weights enough.
    with pytest.raises(ValueError, match="noise has 4 weights"):
        heat_sampler().sample(3, noise=noise, batch_size=1)
    with pytest.raises(ValueError, match="noise has 1 generators, one for each sample, but 3 samples are drawn"):
        heat_sampler().sample(3, noise=SeedNoise.of_seeds([7]))


def test_what_cannot_be_interpolated_is_refused():
    sampler, (first, second) = heat_sampler(), states()

    def between(*ends, points=3, **settings):
        return lambda: interpolate(sampler, *ends, points=points, seeds=(0, 1), **settings)

    for call, words in (
        (between(first, second, points=1), "points must be at least 2.*got 1"),
        (between(first, second[None]), r"second must be one initial state.*\(1, 4, 4\), got \(1, 1, 4, 4\)"),
        (lambda: interpolate_seeds(sampler, 3, 3, points=3), "must be two seeds, got 3 twice"),
        (between(first, -first, blend=Blend.SPHERICAL), "opposite directions"),
        (between(first, 0 * first, blend=Blend.SPHERICAL), r"an end is zero: take Blend\.LINEAR"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
