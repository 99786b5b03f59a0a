"""The arithmetic that a dry run tells of a run's network."""

import pytest
from small_runs import begin, images, small_run

from unmelt.core import later
from unmelt.degradations import HeatBridge, IsotropicDiffusion, PowerBlur, PredictX
from unmelt.models import DiT, UNet
from unmelt.samplers import Posterior
from unmelt.samplers.guidance import LinearObservation
from unmelt.training.dry_run import operations_of_a_call

SMALL = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "attention_levels": ()}
BLUR = later(LinearObservation.blur, width=1.0, noise_std=0.1)


@pytest.fixture
def counted(tmp_path):
    """Return the operations of one call of a small run's network."""
    return lambda **changes: operations_of_a_call(begin(small_run(tmp_path / "runs", **changes), images()))


def test_attention_counts_on_every_device(counted):
    width, depth, tokens = 4, 6, 16
    # Per token: queries, keys, values and output, 4 width^2; the feed-forward network, 8 width^2; attention, two
    # products of all tokens. Once an image: modulations of 6 width, 2 width at the end; the time's embedding.
    block = tokens * (12 * width**2 + 2 * tokens * width) + 6 * width**2
    other = tokens * 2 * width + 2 * width**2 + (256 * width + width**2)
    assert counted(network=later(DiT, patch=1, width=width, depth=depth, heads=1)) == 2 * (depth * block + other)


@pytest.mark.parametrize("process", [later(HeatBridge, blur=PowerBlur(2.0)), later(IsotropicDiffusion)])
def test_a_run_that_starts_from_observations_is_counted(counted, process):
    plain = {"prediction": PredictX(), "sampler": Posterior()}
    found = counted(process=process, network=later(UNet, **SMALL, image_channels=1), given=BLUR, **plain)
    unseen = counted(process=later(IsotropicDiffusion), network=later(UNet, **SMALL), **plain)
    # The first layer sees the image beside the latent: 3 x 3 weights of 4 features at 16 places.
    assert found - unseen == 2 * 9 * 4 * 16
