"""Two-way variance components: against sums whose parts are known, and against a sampler that draws no noise."""

import pytest
import torch

from unmelt.degradations import Deterministic, HeatDissipation, Independent
from unmelt.evaluation.disentanglement import draw_crossed, variance_shares
from unmelt.models import GaussianOracle, GaussianPrior
from unmelt.samplers import Posterior, Sampler, UniformGrid

SHAPE = (3, 8, 8)


def parts(states, noises, *scales, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(states, 1), (1, noises), (states, noises)]
    return sum(
        scale * torch.randn(*shape, *SHAPE, generator=generator, dtype=torch.float64)
        for scale, shape in zip(scales, shapes, strict=True)
    )


@pytest.mark.parametrize("scales", [(2, 1, 0.5), (0.0, 1.0, 0.0), (1.0, 0.0, 1.0)])
def test_known_parts_are_found_again_without_bias(scales):
    found = [variance_shares(parts(5, 4, *scales, seed=seed)) for seed in range(60)]
    total = sum(scale**2 for scale in scales)
    last = [shares[-1] for shares in found]
    assert last[0].colours == "colour"
    for name, scale in zip(("state", "noise", "both"), scales, strict=True):
        values = torch.tensor([getattr(share, name) * share.variance for share in last], dtype=torch.float64)
        error = values.std() / len(values) ** 0.5
        # Plain sums of squares would add var both / J to the first two: 0.06 of 5.25 in the first case.
        assert abs(values.mean() - scale**2) < 4 * error + 1e-12 * total


def test_luminance_and_colour_are_told_apart():
    grey = torch.randn(4, 1, 1, 8, 8, dtype=torch.float64).expand(4, 3, 3, 8, 8)
    found = {(share.colours, share.frequency > 0): share for share in variance_shares(grey)}
    assert found["luminance", True].state == pytest.approx(1)
    assert found["luminance", True].variance > 1
    assert found["colour", True].variance < 1e-20
    assert {share.colours for share in variance_shares(grey[:, :, :1])} == {"all"}


def test_without_noise_the_state_decides_all_and_with_it_not():
    process = HeatDissipation((1, 4, 4), levels=10, sigma=0.1)
    mean, variance = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    oracle = GaussianOracle(process, mean, variance)
    prior = GaussianPrior(process, mean, variance)
    for coupling, least in ((Deterministic(), 1.0), (Independent(), 0.0)):
        sampler = Sampler(oracle, Posterior(coupling), grid=UniformGrid(10), prior=prior)
        drawn = draw_crossed(sampler, 6, 3)
        assert drawn.shape == (6, 3, 1, 4, 4)
        fine = variance_shares(drawn)[-1]
        if least:
            assert fine.state == pytest.approx(1, abs=1e-6)
        else:
            assert fine.noise > 0.5
    # The same state in a row, the same noise in a column.
    assert torch.equal(draw_crossed(sampler, 2, 2)[:, 0], draw_crossed(sampler, 2, 1)[:, 0])


def test_one_of_either_says_nothing():
    with pytest.raises(ValueError, match=r"states must be at least 2 \(for a variance\), got 1"):
        variance_shares(torch.zeros(1, 3, 1, 4, 4))
    with pytest.raises(ValueError, match="noises"):
        variance_shares(torch.zeros(3, 1, 1, 4, 4))
