"""Processes made of processes, against the matrices they stand for."""

import copy
import math
import pickle

import pytest
import torch
from dense_reference import Dense, matrix, vectors
from hypothesis import given
from hypothesis import strategies as st
from zoo import SHAPE, colour_groups, draw

from unmelt.degradations import (
    BlurringDiffusion,
    ChangedBasis,
    ChannelGroups,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    FourierBasis,
    GaussianBlur,
    HaarBasis,
    HeatDissipation,
    HeatFlow,
    IsotropicDiffusion,
    LinearSchedule,
    MatrixBasis,
    PixelBasis,
    ProductBasis,
    RectifiedFlowSchedule,
    SineBlur,
    WithNoise,
    opponent_colours,
)

TIMES = st.floats(0, 1)
HEAT = HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20)
BLURRING = BlurringDiffusion(SHAPE, blur_sigma_max=3.0)


def same(ours, theirs, t, *, rtol=1e-13, atol=0.0):
    for coefficient in ("alpha", "sigma"):
        a, b = (getattr(p, coefficient)(t)[0].expand(p.shape) for p in (ours, theirs))
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


# ---- another noise ------------------------------------------------------------------------------------------


@given(t=TIMES, sigma=st.floats(0, 2))
def test_noise_that_leaves_the_signal_alone_keeps_the_degradation(t, sigma):
    process = WithNoise(HEAT, ConstantNoise(sigma))
    assert torch.equal(process.alpha(t), HEAT.alpha(t))
    assert process.sigma(t).item() == pytest.approx(sigma, rel=1e-14)
    x = draw(SHAPE)
    torch.testing.assert_close(process.degrade(x, t)[0], HEAT.degrade(x, t)[0], rtol=0, atol=1e-13)


@given(t=TIMES)
def test_blurring_diffusion_is_a_blur_under_cosine_noise(t):
    """But for its floor d_min, which leaves at most d_min of what the blur alone would have taken."""
    tiny = 1e-9
    blurring = BlurringDiffusion(SHAPE, blur_sigma_max=3.0, min_scale=tiny)
    alone = BlurringDiffusion(SHAPE, blur_sigma_max=3.0, min_scale=tiny, schedule=ConstantNoise(0.3))
    same(WithNoise(alone, CosineSchedule()), blurring, t)
    bare = WithNoise(GaussianBlur(SHAPE, SineBlur(3.0), ConstantNoise(0.0)), CosineSchedule())
    same(bare, blurring, t, rtol=1e-12, atol=2 * tiny)


@given(t=TIMES)
def test_the_inner_noise_does_not_matter(t):
    for sigma in (0.0, 0.7):
        inner = HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20, sigma=sigma)
        same(WithNoise(inner, RectifiedFlowSchedule()), WithNoise(HEAT, RectifiedFlowSchedule()), t)
    twice = WithNoise(WithNoise(HEAT, ConstantNoise(0.5)), LinearSchedule())
    same(twice, WithNoise(HEAT, LinearSchedule()), t)


def test_signals_fade_by_both_factors():
    process = WithNoise(BLURRING, RectifiedFlowSchedule())
    for t in (0.0, 0.3, 0.9):
        torch.testing.assert_close(process.alpha(t), BLURRING.alpha(t) * (1 - t), rtol=1e-13, atol=0)
    assert not process.alpha(1.0).any()


# ---- another basis ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", [FourierBasis(SHAPE), HaarBasis((2, 4, 6)), PixelBasis(SHAPE)], ids=str)
@given(t=TIMES)
def test_coefficients_in_another_basis_are_the_matrices_of_that_basis(basis, t):
    process = ChangedBasis(BLURRING, basis)
    alpha, sigma = vectors(BLURRING, t)
    v, x, noise = matrix(basis), draw(SHAPE), draw(SHAPE, seed=1)
    degraded = x.flatten(1) @ (v @ torch.diag(alpha) @ v.T).T
    torch.testing.assert_close(process.degrade(x, t)[0].flatten(1), degraded, rtol=0, atol=1e-13)
    corrupted = degraded + noise.flatten(1) @ (v @ torch.diag(sigma) @ v.T).T
    torch.testing.assert_close(process.corrupt(x, noise, t).flatten(1), corrupted, rtol=0, atol=1e-13)
    torch.testing.assert_close(Dense(process).covariance(t), v @ torch.diag(sigma**2) @ v.T, rtol=0, atol=1e-13)


@given(t=TIMES)
def test_a_process_s_basis_changes_nothing(t):
    same(ChangedBasis(HEAT, CosineBasis(SHAPE)), HEAT, t, rtol=0)


# ---- a process for each group of channels -------------------------------------------------------------------


@given(t=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_colours_are_rotated_degraded_group_by_group_and_rotated_back(t, seed):
    process = colour_groups()
    slow, fast = process.groups
    x, noise = draw((3, 4, 5), seed=seed), draw((3, 4, 5), seed=seed + 1)
    colours = opponent_colours()

    def by_hand(act, *signals):
        turned = [torch.einsum("rc,brhw->bchw", colours, signal) for signal in signals]
        parts = [act(group, *(s[:, channels] for s in turned)) for group, channels in ((slow, [0]), (fast, [1, 2]))]
        return torch.einsum("rc,bchw->brhw", colours, torch.cat(parts, 1))

    degraded = by_hand(lambda group, x: group.degrade(x, t)[0], x)
    torch.testing.assert_close(process.degrade(x, t)[0], degraded, rtol=0, atol=1e-13)
    corrupted = by_hand(lambda group, x, noise: group.corrupt(x, noise, t), x, noise)
    torch.testing.assert_close(process.corrupt(x, noise, t), corrupted, rtol=0, atol=1e-13)
    posterior = by_hand(lambda group, z, x: group.posterior(z, x, t / 2, t).mean, noise, x)
    torch.testing.assert_close(process.posterior(noise, x, t / 2, t).mean, posterior, rtol=0, atol=1e-11)


@given(times=st.lists(TIMES, min_size=3, max_size=3))
def test_groups_take_batches_of_times(times):
    """One group's sigma is one number, another's one per time, alpha one per coefficient."""
    process, batch = colour_groups(), torch.tensor(times, dtype=torch.float64)
    together = process.at(batch)
    for i, t in enumerate(times):
        alone = process.at(t)
        for whole, one in ((together.log_alpha, alone.log_alpha), (together.log_sigma, alone.log_sigma)):
            torch.testing.assert_close(whole.expand(3, 3, 4, 5)[i], one.expand(1, 3, 4, 5)[0], rtol=1e-14, atol=0)


@given(t=TIMES)
def test_one_group_of_all_channels_is_that_process(t):
    same(ChannelGroups(CosineBasis(SHAPE), [HEAT]), HEAT, t, rtol=0)


def test_groups_of_signals_with_one_axis():
    groups = ChannelGroups(PixelBasis((3,)), [IsotropicDiffusion((2,), LinearSchedule()), IsotropicDiffusion((1,))])
    expected = [IsotropicDiffusion((1,), s).alpha(0.4).item() for s in (LinearSchedule(), CosineSchedule())]
    assert groups.alpha(0.4)[0].tolist() == pytest.approx([expected[0], expected[0], expected[1]], rel=1e-14)


def test_levels_are_those_of_the_parts_where_they_agree():
    basis = CosineBasis((3, 4, 6))
    one, other = (HeatDissipation((1, 4, 6), levels=k) for k in (20, 30))
    assert ChannelGroups(basis, [one, HEAT]).levels == 20
    assert ChannelGroups(basis, [other, HEAT]).levels is None
    assert WithNoise(HEAT, LinearSchedule()).levels == ChangedBasis(HEAT, PixelBasis(SHAPE)).levels == 20
    assert WithNoise(BLURRING, LinearSchedule()).levels is None


# ---- compositions of compositions, and as modules -----------------------------------------------------------


def nested():
    """Flow's straight lines for luminance, in Haar's basis; renoised heat for colours; all under one more fade."""
    basis = ProductBasis(MatrixBasis((3,), opponent_colours()), HaarBasis((4, 6), axes=2))
    flow = ChangedBasis(HeatFlow((1, 4, 6), rate=0.2), HaarBasis((1, 4, 6)))
    melt = WithNoise(HEAT, CosineSchedule(-5.0, 5.0))
    return WithNoise(ChannelGroups(basis, [flow, melt]), RectifiedFlowSchedule(2.0))


COMPOSED = {
    "renoised": lambda: WithNoise(HEAT, CosineSchedule()),
    "in basis": lambda: ChangedBasis(BLURRING, FourierBasis(SHAPE)),
    "groups": colour_groups,
    "nested": nested,
}


def test_nested_compositions_multiply_out():
    process, t = nested(), 0.3
    shifted = 2 * t / (1 + t)
    rates = CosineBasis((4, 6), axes=2).laplacian_eigenvalues()
    luminance = (1 - t) ** (1 + 0.2 * rates) * (1 - shifted)
    colour = HEAT.alpha(t) * IsotropicDiffusion((1,), CosineSchedule(-5.0, 5.0)).alpha(t).item() * (1 - shifted)
    expected = torch.cat([luminance[None, None], colour.expand(1, 2, 4, 6)], 1)
    torch.testing.assert_close(process.alpha(t), expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(
        process.sigma(t).flatten(), torch.tensor([shifted], dtype=torch.float64), rtol=1e-13, atol=0
    )
    x = draw((3, 4, 6))
    alpha = vectors(process, t)[0]
    v = matrix(process.basis)
    by_matrix = x.flatten(1) @ (v @ torch.diag(alpha) @ v.T).T
    torch.testing.assert_close(process.degrade(x, t)[0].flatten(1), by_matrix, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", COMPOSED)
@pytest.mark.parametrize("again", [lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_agree(name, again):
    process = COMPOSED[name]()
    twin = again(process)
    assert twin is not process
    assert process.agrees_with(twin)
    assert twin.agrees_with(COMPOSED[name]())
    same(process, twin, 0.4, rtol=0)


@pytest.mark.parametrize("name", COMPOSED)
def test_compositions_keep_their_precision_and_stay_out_of_checkpoints(name):
    process, fresh = COMPOSED[name](), COMPOSED[name]()
    assert not process.state_dict()
    assert not list(process.parameters())
    same(copy.deepcopy(process).half(), fresh, 0.4, rtol=0)
    x = draw(process.shape)
    half = process.degrade(x.half(), 0.4)[0]
    assert half.dtype == torch.float32


def test_compositions_of_something_else_do_not_agree():
    for one, other in (
        (WithNoise(HEAT, LinearSchedule()), WithNoise(HEAT, CosineSchedule())),
        (WithNoise(HEAT, LinearSchedule()), WithNoise(BLURRING, LinearSchedule())),
        (ChangedBasis(HEAT, PixelBasis(SHAPE)), ChangedBasis(HEAT, FourierBasis(SHAPE))),
        (ChangedBasis(HEAT, PixelBasis(SHAPE)), HEAT),
        (colour_groups(), nested()),
    ):
        assert not one.agrees_with(other)


@pytest.mark.parametrize("name", COMPOSED)
def test_wrong_times_are_refused_by_compositions_as_by_their_parts(name):
    process = COMPOSED[name]()
    for t in (-0.1, math.nan):
        with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
            process.degrade(draw(process.shape), t)
