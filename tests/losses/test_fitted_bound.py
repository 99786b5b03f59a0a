"""Fitted standard deviations: no other ones give a lower bound, and they are stored without the network."""

import pytest
import torch
from bound_cases import LEVELS, SHAPE, exact, heat, wobbly
from hypothesis import given, settings
from hypothesis import strategies as st
from support import seeded
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Eta,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
)
from unmelt.models import (
    ConstantStd,
    DiscretisedGaussianDecoder,
    FittedStd,
    ForwardStd,
    GaussianDecoder,
    PosteriorStd,
)
from unmelt.models.priors import blocks
from unmelt.testing.strategies import random_images, seeds

COUPLINGS = [Markov(), Independent(), Eta(0.5)]


def integers(process, stddev=None):
    return DiscretisedGaussianDecoder(process, LEVELS, stddev)


@settings(max_examples=15)
@given(
    name=st.sampled_from(["heat", "blurring", "cosine", "pixelation", "heat flow"]),
    coupling=st.sampled_from(COUPLINGS),
    seed=seeds(),
)
def test_no_standard_deviation_gives_a_lower_bound_than_the_fitted_one(name, coupling, seed):
    process = EVERY_PROCESS[name]
    first = 0.02 if process.sigma(0.0).min() == 0 else 0.0
    x = random_images(SHAPE, batch=6, seed=seed)
    settings = {"coupling": coupling, "steps": 4, "first": first, "decoder": GaussianDecoder(process, 0.2)}
    # The same noise for all: on these data, with these latents, nothing is lower.
    best = wobbly(process, **settings).fitted(x, generator=seeded(seed))
    least = best(x, generator=seeded(seed))
    assert isinstance(best.reverse_std, FittedStd)
    others = [PosteriorStd()]
    others += [ConstantStd(0.05), ConstantStd(0.3), ForwardStd()] if name == "cosine" else []
    others += [FittedStd(best.reverse_std.times, best.reverse_std.log_stddev + shift) for shift in (0.01, -0.01)]
    for other in others:
        found = wobbly(process, **settings, reverse_std=other)(x, generator=seeded(seed))
        assert (least.terms.mean(0) <= found.terms.mean(0) * (1 + 1e-9) + 1e-9).all()
        assert least.reconstruction.mean() <= found.reconstruction.mean()
        assert least.total.mean() < found.total.mean()


def test_a_fitted_density_is_the_best_one_in_every_coefficient():
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0, schedule=CosineSchedule(-6.0, 4.0))
    x = random_images(SHAPE, batch=7)
    best = wobbly(process, steps=2).fitted(x, generator=seeded(1)).decoder.stddev
    # A random tenth up or down in each coefficient: dearer by r^2 each, on the same noise.
    factors = [torch.ones(SHAPE).double()] + [
        0.9 + 0.2 * torch.rand(SHAPE, generator=seeded(k)).round() for k in (2, 3)
    ]
    costs = [
        wobbly(process, steps=2, decoder=GaussianDecoder(process, factor * best))(
            x, generator=seeded(1)
        ).reconstruction.mean()
        for factor in factors
    ]
    # expm1(-2 log 0.9) / 2 + log 0.9 = 0.0119 and for 1.1 0.0086, for each of 48 coefficients.
    for cost in costs[1:]:
        assert 48 * 0.008 < cost - costs[0] < 48 * 0.0125


def test_a_fitted_decoder_of_integers_is_the_best_one():
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0))
    x = torch.randint(0, 17, (8, *SHAPE), generator=seeded(0), dtype=torch.uint8)
    width = wobbly(process, steps=2, decoder=integers(process)).fitted(x, generator=seeded(1)).decoder.stddev.item()
    costs = []
    for factor in (0.9, 0.99, 1.0, 1.01, 1.1):
        bound = wobbly(process, steps=2, decoder=integers(process, factor * width))
        costs.append(bound(x, generator=seeded(1)).reconstruction.mean().item())
    assert min(costs) == costs[2]


@pytest.mark.parametrize("decoder", [GaussianDecoder, integers])
def test_a_fitted_bound_is_stored_without_its_network(decoder, tmp_path):
    process = heat(levels=6)
    x = LEVELS.values(torch.randint(0, 17, (3, *SHAPE), generator=seeded(0)))

    def made():
        return wobbly(process, coupling=Independent(), decoder=decoder(process))

    plain = made()
    best = plain.fitted(x, generator=seeded(0))
    state = best.fitted_state()
    assert set(state) == {"reverse_std.times", "reverse_std.log_stddev", "decoder.stddev"}
    torch.save(state, tmp_path / "bound.pt")
    restored = made()
    assert not torch.equal(restored(x, generator=seeded(1)).total, best(x, generator=seeded(1)).total)
    restored.load_fitted_state(torch.load(tmp_path / "bound.pt"))
    assert torch.equal(restored(x, generator=seeded(1)).total, best(x, generator=seeded(1)).total)
    # The bound that was fitted is another object; this one is as it was, and both ask one network.
    assert isinstance(plain.reverse_std, PosteriorStd)
    assert plain.decoder.stddev is None
    assert best.denoiser is plain.denoiser
    # Fitted again, and moved to another precision, its grid is still the grid.
    assert best.half().fitted(x, generator=seeded(0)).fitted_state().keys() == state.keys()


def test_fitting_goes_batch_by_batch():
    bound, x = exact(heat(levels=6), coupling=Independent()), random_images(SHAPE, batch=400)
    whole = bound.fitted(x, generator=seeded(0))
    parts = bound.fitted([x[:150], x[150:]], generator=seeded(1))
    # A standard deviation from 400 examples is right to 1 / sqrt(800), other noise on the same data to less.
    torch.testing.assert_close(
        whole.reverse_std.log_stddev, parts.reverse_std.log_stddev, rtol=0, atol=5 * (2 / 800) ** 0.5
    )


def test_no_tensor_of_a_fit_to_large_images_holds_more_than_a_block(monkeypatch):
    """Two images at 32 levels would make tensors of 2^15 numbers at once; what is fitted has 2^14 itself."""
    monkeypatch.setattr(blocks, "LARGEST", 2**14)
    process = HeatDissipation((2, 16, 16), levels=32)
    bound, largest = wobbly(process, coupling=Independent()), 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            made = function(*args, **(kwargs or {}))
            largest = max([largest, *(t.untyped_storage().nbytes() for t in tree_leaves(made) if torch.is_tensor(t))])
            return made

    with Sizes():
        bound.fitted(torch.rand(2, 2, 16, 16, generator=seeded(0)))
    # Numbers of float64, as what is fitted has.
    assert largest == 8 * 2**14


class Told(torch.nn.Module):
    """Returns what it is told."""

    def forward(self, z, t, condition):
        return condition["image"]


def test_conditions_come_with_their_batches():
    process = heat(levels=4)
    x, error = random_images(SHAPE, batch=10), 0.1 * torch.randn(10, *SHAPE, generator=seeded(0))
    bound = wobbly(process, Told(), coupling=Independent())
    told = x + error
    fitted = bound.fitted([(x[:7], {"image": told[:7]}), (x[7:], {"image": told[7:]})]).reverse_std
    # The estimate is wrong by `error` at every level. The spectra's float32 sums are right to SHAPE's rounding.
    squares = process.basis.forward(error).double().square().mean(0)
    for k, found in enumerate(fitted.log_stddev.double()):
        posterior = process.posterior_coefficients(bound.times[k], bound.times[k + 1], Independent())
        alpha = process.at(bound.times[k]).alpha
        variance = posterior.stddev.square() + (posterior.signal * alpha).square() * squares
        torch.testing.assert_close(found.exp(), variance[0].sqrt(), rtol=1e-4, atol=0)
