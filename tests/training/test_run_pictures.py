"""The pictures of a run: images melting, and samples on their way."""

import pytest
import torch
from small_runs import begin

from unmelt.core.pictures import grid, to_pixels
from unmelt.samplers import Sampler, UniformGrid, trajectory_frames
from unmelt.training.run_pictures import forward_strip

UNIT = (0.0, 1.0)


@pytest.fixture
def trainer(config, splits):
    return begin(config, splits)


def test_the_forward_strip_shows_images_melting_from_clean_to_the_last_level(trainer, splits):
    images, levels = splits.test.read(slice(0, 4)), splits.test.range
    strip = forward_strip(trainer.denoiser.process, images, levels)
    # Four rows of ten tiles of 4 x 4 pixels, sixteen times enlarged, with gaps as wide.
    assert strip.shape == (4 * (64 + 16) + 16, 10 * (64 + 16) + 16, 3)
    tiles = strip[16:, 16:].unfold(0, 64, 80).unfold(1, 64, 80)[:, :, :, ::16, ::16]
    clean = to_pixels(images, UNIT).permute(0, 3, 1, 2)
    assert torch.equal(tiles[:, 0], clean)
    # Blurred by three pixels, an image of four pixels keeps its mean and hardly more: noise of 0.03 remains.
    assert (tiles[:, -1].float().std((-1, -2)) < 3 * 0.03 * 255).all()
    assert (tiles[:, 0].float().std((-1, -2)) > 3 * 0.03 * 255).all()


@pytest.mark.filterwarnings("ignore::unmelt.models.OffLevelsWarning")
@pytest.mark.parametrize("steps", [1, 8, 200])
def test_a_trajectory_has_at_most_sixty_frames_with_both_ends(trainer, steps):
    sampler = Sampler(trainer.ema.model, trainer.config.sampler, grid=UniformGrid(steps), prior=trainer.prior)
    path = sampler.run(2, generator=torch.Generator().manual_seed(0)).trajectory
    frames = trajectory_frames(path, trainer.data.train.range)
    assert len(frames) == min(60, steps + 1)
    assert torch.equal(frames[0], grid(path.states[0], UNIT))
    assert torch.equal(frames[-1], grid(path.states[-1], UNIT))
