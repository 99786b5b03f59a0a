"""Losses of data with missing pixels: nothing of them enters, and the others count as ever."""

import math

import pytest
import torch
from problems import Wobbly
from support import SoftNetwork, refusals, seeded

from unmelt.degradations import (
    BrownianBridge,
    HeatDissipation,
    IsotropicDiffusion,
    PixelMask,
    PredictEpsilon,
    PredictV,
    PredictX,
)
from unmelt.losses import DenoisingLoss, LearnedLogVariance, MeanOverDimensions, MinSNRWeighting, SumOverDimensions
from unmelt.models import Denoiser
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 3)
PROCESSES = {
    "isotropic": lambda: IsotropicDiffusion(SHAPE),
    "pixel mask": lambda: PixelMask(SHAPE),
    "bridge": lambda: BrownianBridge(SHAPE),
    "heat": lambda: HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=10),
}
IN_PIXELS = ["isotropic", "pixel mask", "bridge"]
REDUCTIONS = [SumOverDimensions(), MeanOverDimensions()]
X = random_images(SHAPE, batch=5)
# From all to a quarter of an example.
SEEN = torch.rand(X.shape, generator=seeded(3)) < torch.tensor([1.1, 0.9, 0.7, 0.5, 0.25]).reshape(-1, 1, 1, 1)
NOTHING = {"NaN": math.nan, "infinity": math.inf, "far": 1e6, "zero": 0.0}


def loss_of(process, network=None, prediction=None, **settings):
    network = network or Wobbly().double()
    return DenoisingLoss(Denoiser(network, process, prediction=prediction or PredictX()), **settings)


def end_of(name):
    return {"given": random_images(SHAPE, batch=5, seed=9)} if name == "bridge" else {}


def value_and_slopes(loss, x, **settings):
    """The loss of each example, and its sum's gradient by the network's parameters and by x."""
    x = x.clone().requires_grad_()
    value = loss(x, generator=seeded(7), **settings)
    slopes = torch.autograd.grad(value.sum(), [*loss.parameters(), x])
    return [value, *slopes]


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
@pytest.mark.parametrize("name", PROCESSES)
def test_what_is_missing_changes_nothing(name, reduction):
    """Bit for bit, in the loss and in its gradient, whatever stands there; nor is there a gradient of it."""
    loss = loss_of(PROCESSES[name](), reduction=reduction)
    more = end_of(name) | ({} if name in IN_PIXELS else {"fill": 0.3})
    first = value_and_slopes(loss, X, visible=SEEN, **more)
    assert all(each.isfinite().all() for each in first)
    for value in NOTHING.values():
        again = value_and_slopes(loss, torch.where(SEEN, X, value), visible=SEEN, **more)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert (first[-1][~SEEN] == 0).all()
    assert (first[-1][SEEN] != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
@pytest.mark.parametrize("name", PROCESSES)
def test_a_full_mask_is_no_mask_bit_for_bit(name, reduction, dtype):
    loss, x = loss_of(PROCESSES[name](), reduction=reduction), X.to(dtype)
    plain = value_and_slopes(loss, x, **end_of(name))
    full = value_and_slopes(loss, x, visible=torch.ones(X.shape, dtype=torch.bool), fill=0.7, **end_of(name))
    assert all(torch.equal(a, b) for a, b in zip(plain, full, strict=True))


@pytest.mark.parametrize("weighting", [None, MinSNRWeighting()], ids=str)
@pytest.mark.parametrize(
    ("name", "prediction"),
    [*((name, PredictX()) for name in IN_PIXELS), ("isotropic", PredictEpsilon()), ("isotropic", PredictV())],
    ids=str,
)
def test_in_pixels_the_others_count_as_ever(name, prediction, weighting):
    """With a network that sees pixels one by one: the sum, or the mean, of the unmasked loss's own visible terms."""
    process = PROCESSES[name]()
    sums, means = (
        loss_of(process, SoftNetwork().double(), prediction, weighting=weighting, reduction=each) for each in REDUCTIONS
    )
    t, given = torch.linspace(0.2, 0.8, 5, dtype=torch.float64), end_of(name)
    noise = torch.randn(X.shape, generator=seeded(7), dtype=X.dtype)
    terms = sums.weighted_error(X, sums.denoiser.process.at(t, batch=5), noise, **given).square()
    expected = torch.where(SEEN, terms, 0.0).flatten(1).sum(1)
    for fill in (None, 5.0):
        found = sums(X, t=t, visible=SEEN, fill=fill, generator=seeded(7), **given)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
        mean = means(X, t=t, visible=SEEN, fill=fill, generator=seeded(7), **given)
        torch.testing.assert_close(mean, expected / SEEN.flatten(1).sum(1), rtol=1e-13, atol=0)


def test_where_pixels_mix_the_loss_is_that_of_completed_data_without_the_error_there():
    """One missing pixel is in every coefficient, so what stands for it matters: an approximation, and said so."""
    process = PROCESSES["heat"]()
    loss = loss_of(process, SoftNetwork().double())
    t, mean = torch.full((5,), 0.5, dtype=torch.float64), random_images(SHAPE, batch=1, seed=4)[0]
    completed, noise = torch.where(SEEN, X, mean), torch.randn(X.shape, generator=seeded(7), dtype=X.dtype)
    at = process.at(t)
    latent = process.corrupt(completed, noise, t)
    error = torch.where(SEEN, completed - loss.denoiser.network(latent, t.float(), None), 0.0)
    expected = error.square().flatten(1).sum(1)
    torch.testing.assert_close(
        loss(torch.where(SEEN, X, math.nan), t=t, visible=SEEN, fill=mean, generator=seeded(7)),
        expected,
        rtol=1e-13,
        atol=0,
    )
    other = loss(X, t=t, visible=SEEN, fill=0.0, generator=seeded(7))
    assert (other - expected).abs().max() > 0.01
    assert loss.weighted_error(completed, at, noise, visible=SEEN)[~SEEN].abs().max() == 0


def test_masks_broadcast_and_fit_the_other_settings():
    loss = loss_of(PROCESSES["isotropic"](), log_variance=LearnedLogVariance())
    visible = torch.tensor([True, False, True])
    found = loss(X, visible=visible, generator=seeded(7))
    assert torch.equal(found, loss(X, visible=visible.expand(X.shape), generator=seeded(7)))
    assert found.isfinite().all()


def test_nothing_visible_is_seen_where_values_are_not_read(monkeypatch):
    monkeypatch.setattr("unmelt.losses.denoising.values_are_readable", lambda tensor: False)
    visible = SEEN.clone()
    visible[2] = False
    found = loss_of(PROCESSES["isotropic"]())(X, visible=visible, generator=seeded(7))
    assert found.isnan().tolist() == [False, False, True, False, False]


ISOTROPIC, HEAT = loss_of(PROCESSES["isotropic"]()), loss_of(PROCESSES["heat"]())
NONE_OF_ONE = SEEN & (torch.arange(5) != 3).reshape(-1, 1, 1, 1)


@pytest.mark.usefixtures("as_in_production")
@refusals(
    *(
        (
            lambda dtype=dtype, white=white: ISOTROPIC(X, visible=(white * SEEN).to(dtype)),
            TypeError,
            f"visible must be boolean, True where a number is seen, got {dtype}: pass visible != 0",
        )
        for dtype, white in ((torch.uint8, 255), (torch.float32, 255), (torch.float32, 1))
    ),
    (
        lambda: ISOTROPIC(X, visible=SEEN[:, :, :2]),
        ValueError,
        r"visible must broadcast to the data's shape \(5, 2, 4, 3\), got \(5, 2, 2, 3\)",
    ),
    (lambda: ISOTROPIC(X, visible=NONE_OF_ONE), ValueError, "nothing of example 3 is visible: leave it out"),
    (
        lambda: HEAT(X, visible=SEEN),
        ValueError,
        "HeatDissipation is diagonal in CosineBasis.*give fill=.*the loss is then an approximation",
    ),
    (lambda: ISOTROPIC(X, fill=0.0), ValueError, "fill stands for numbers that are missing: give visible="),
    (lambda: HEAT(X, visible=SEEN, fill=math.nan), ValueError, "fill must be finite.*got nan"),
    (
        lambda: HEAT(X, visible=SEEN, fill=torch.ones(4)),
        ValueError,
        r"fill must broadcast to the data's shape \(5, 2, 4, 3\), got \(4,\)",
    ),
)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
