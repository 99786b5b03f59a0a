"""Trajectories as frames, strips and files."""

import pytest
import torch
from PIL import Image

from unmelt.core.pictures import grid
from unmelt.samplers import Trajectory, save_trajectory, trajectory_frames, trajectory_strip

RANGE = (-1.0, 3.0)


def trajectory(steps, count=3, shape=(1, 32, 32)):
    states = torch.rand(steps + 1, count, *shape, generator=torch.Generator().manual_seed(0)) * 4 - 1
    return Trajectory(torch.linspace(1, 0, steps + 1), states, states[1:])


@pytest.mark.parametrize("steps", [1, 5, 9, 200])
def test_a_strip_has_a_row_for_each_sample_from_the_prior_to_the_sample(steps):
    path = trajectory(steps)
    strip = trajectory_strip(path, RANGE)
    columns = min(10, steps + 1)
    rows = [[int(place) for place in torch.linspace(0, steps, columns).round()]] * 3
    expected = torch.stack([path.states[place, row] for row in range(3) for place in rows[row]])
    assert torch.equal(strip, grid(expected, RANGE, columns=columns))
    assert torch.equal(
        trajectory_strip(path, RANGE, columns=2),
        grid(path.states[[0, -1]].transpose(0, 1).flatten(0, 1), RANGE, columns=2),
    )


def test_frames_are_at_most_sixty_with_both_ends():
    path = trajectory(200)
    frames = trajectory_frames(path, RANGE, columns=3)
    assert len(frames) == 60
    assert torch.equal(frames[0], grid(path.states[0], RANGE, columns=3))
    assert torch.equal(frames[-1], grid(path.states[-1], RANGE, columns=3))


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 16, 24), (2, 40), (1, 4, 8, 8), (5, 16, 16)])
def test_files_hold_what_their_names_say(tmp_path, shape):
    path = trajectory(6, shape=shape)
    save_trajectory(tmp_path / "a.png", path, RANGE)
    assert Image.open(tmp_path / "a.png").size[::-1] == tuple(trajectory_strip(path, RANGE).shape[:2])
    save_trajectory(tmp_path / "a.GIF", path, RANGE, columns=3)
    assert Image.open(tmp_path / "a.GIF").n_frames == 7
    with pytest.raises(ValueError, match=r"a.jpg: its name must end in .gif or .mp4 for an animation, or .png"):
        save_trajectory(tmp_path / "a.jpg", path, RANGE)
    with pytest.raises(ValueError, match="columns must be at least 2"):
        save_trajectory(tmp_path / "b.png", path, RANGE, columns=1)


def test_a_film_is_written_where_its_library_is_there(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    save_trajectory(tmp_path / "a.mp4", trajectory(6), RANGE)
    assert (tmp_path / "a.mp4").stat().st_size > 500
