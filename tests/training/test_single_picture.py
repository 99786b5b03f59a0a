"""One picture or mask of a file, of any kind and size, at a model's shape."""

import numpy as np
import pytest
import torch
from PIL import Image

from unmelt.training.data.single_picture import read_mask, read_picture


def saved(path, array, mode=None):
    Image.fromarray(np.asarray(array, dtype=np.uint8), mode).save(path)
    return path


@pytest.fixture
def grey(tmp_path):
    return saved(tmp_path / "grey.png", np.arange(16).reshape(4, 4) * 17)


def test_levels_become_numbers_of_the_data_s_range(grey):
    image, told = read_picture(grey, (1, 4, 4), (-1.0, 1.0))
    assert torch.allclose(image, -1 + 2 * torch.arange(16).reshape(1, 4, 4) / 15, atol=1e-6)
    assert told == []


def test_the_central_part_is_taken_and_resized(tmp_path):
    """Its sides are of another shade, and so would be an image that they came into, or that was squeezed."""
    path = saved(tmp_path / "wide.png", np.pad(np.full((40, 40), 60), ((0, 0), (30, 30)), constant_values=255))
    image, told = read_picture(path, (1, 2, 2), (0.0, 255.0))
    assert told == ["the central 40 x 40 of its 40 x 100 pixels, resized to 2 x 2"]
    # The filter reaches a little beyond; squeezed, it would be 177 throughout.
    assert image.flatten().tolist() == pytest.approx([60] * 4, abs=10)
    _, told = read_picture(path, (1, 4, 10), (0.0, 1.0))
    assert told == ["all of its 40 x 100 pixels, resized to 4 x 10"]


def test_colours_fit_the_run(tmp_path, grey):
    colours = np.zeros((4, 4, 3))
    colours[..., 0] = 255
    path = saved(tmp_path / "red.png", colours)
    image, told = read_picture(path, (3, 4, 4), (0.0, 1.0))
    assert image[:, 0, 0].tolist() == [1, 0, 0]
    assert told == []
    image, told = read_picture(path, (1, 4, 4), (0.0, 1.0))
    # The luma of red by ITU-R BT.601, a level wide.
    assert image.unique().item() == pytest.approx(0.299, abs=1 / 255)
    assert told == ["read as grey"]
    image, told = read_picture(grey, (3, 4, 4), (0.0, 1.0))
    assert torch.equal(image[0], image[2])
    assert told == ["grey, read as equal colours"]
    clear = np.zeros((4, 4, 4))
    clear[..., 3] = [0, 0, 255, 255]
    image, told = read_picture(saved(tmp_path / "clear.png", clear), (3, 4, 4), (0.0, 1.0))
    assert image[:, 0].unique(dim=0).tolist() == [[1, 1, 0, 0]]
    assert told == ["what is transparent laid on white"]


def test_what_cannot_be_read_is_told_in_a_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.png cannot be read \(No such file or directory\)"):
        read_picture(tmp_path / "none.png", (1, 4, 4), (0.0, 1.0))
    (tmp_path / "text.png").write_text("text")
    for read in (
        lambda path: read_picture(path, (1, 4, 4), (0.0, 1.0)),
        lambda path: read_mask(path, (4, 4), path),
    ):
        with pytest.raises(ValueError, match=r"text.png cannot be read as a picture"):
            read(tmp_path / "text.png")


def test_white_is_known(tmp_path, grey):
    mask = np.full((4, 4), 255)
    mask[1:3, 2:] = 0
    # JPEG's white is not always 255.
    mask[0, 0] = 250
    path = saved(tmp_path / "mask.png", mask)
    assert torch.equal(read_mask(path, (4, 4), grey), torch.from_numpy(mask > 0))


def test_a_mask_of_the_picture_s_size_is_cut_as_it_is(tmp_path):
    """Both lose their sides, and a hole lies where the picture's black lies."""
    shades = np.full((40, 100), 255)
    shades[20:, 60:] = 0
    picture = saved(tmp_path / "picture.png", shades)
    known = read_mask(saved(tmp_path / "mask.png", shades), (4, 4), picture)
    # Of the central 40 columns the last ten are dark; of all 100 it would be the last two of four.
    assert known.tolist() == [[True] * 4] * 2 + [[True, True, True, False]] * 2
    image, _ = read_picture(picture, (1, 4, 4), (0.0, 1.0))
    assert torch.equal(known, image[0] > 0.5)


def test_masks_that_fit_nothing_are_refused(tmp_path, grey):
    with pytest.raises(ValueError, match=r"mask.png is of 5 x 6 pixels: give a mask of the run's 8 x 8, or of"):
        read_mask(saved(tmp_path / "mask.png", np.full((5, 6), 255)), (8, 8), grey)
    with pytest.raises(ValueError, match="black.png has no white"):
        read_mask(saved(tmp_path / "black.png", np.zeros((8, 8))), (8, 8), grey)
