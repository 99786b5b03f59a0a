"""Pictures: exact sizes and colours, whatever the channels, and files that other programs read."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unmelt.core.pictures import (
    grid,
    save_gif,
    save_loss_curve,
    save_png,
    to_pixels,
)

UNIT = (0.0, 1.0)


class TestPixels:
    @pytest.mark.parametrize("data_range", [UNIT, (-1.0, 1.0), (2.0, 2.5)])
    def test_the_range_becomes_0_to_255_and_what_lies_outside_is_cut_off(self, data_range):
        low, high = data_range
        values = torch.tensor([low - 1, low, low + 0.2 * (high - low), high, high + 1])
        pixels = to_pixels(values.reshape(5, 1, 1, 1), data_range)
        assert pixels.dtype == torch.uint8
        assert pixels[:, 0, 0, 0].tolist() == [0, 0, 51, 255, 255]

    def test_eight_bit_images_come_back_exactly(self):
        levels = torch.arange(256, dtype=torch.float32).reshape(256, 1, 1, 1)
        for low, high in (UNIT, (-1.0, 1.0)):
            scaled = levels / 255 * (high - low) + low
            assert to_pixels(scaled, (low, high))[:, 0, 0, 0].tolist() == list(range(256))

    def test_colours_keep_their_places(self):
        image = torch.tensor([1.0, 0.6, 0.2]).reshape(1, 3, 1, 1).expand(2, 3, 4, 5)
        pixels = to_pixels(image, UNIT)
        assert pixels.shape == (2, 4, 5, 3)
        assert pixels[1, 2, 3].tolist() == [255, 153, 51]

    def test_grey_is_three_equal_channels(self):
        pixels = to_pixels(torch.full((1, 1, 2, 2), 0.2), UNIT)
        assert pixels.shape == (1, 2, 2, 3)
        assert pixels.unique().tolist() == [51]

    @pytest.mark.parametrize("channels", [2, 4, 7])
    def test_other_channels_are_shown_by_their_mean(self, channels):
        image = torch.linspace(0.2, 0.6, channels).reshape(1, channels, 1, 1).expand(1, channels, 2, 3)
        pixels = to_pixels(image, UNIT)
        assert pixels.shape == (1, 2, 3, 3)
        # The mean of 0.2 .. 0.6 of 255, each rounded before.
        assert (pixels.int() - 102).abs().max() <= 1

    def test_a_signal_is_a_curve_without_gaps_at_its_height(self):
        signal = torch.linspace(0, 1, 32).reshape(1, 1, 32)
        signal[..., 16:] = 0.25
        pixels = to_pixels(signal, UNIT)[0, :, :, 0]
        assert pixels.shape == (64, 32)
        dark = pixels < 128
        # The middle of what is drawn in a column; a row is a 63rd of the range.
        height = 1 - (dark * torch.arange(64.0)[:, None]).sum(0) / dark.sum(0) / 63
        assert (height[1:15] - signal[0, 0, 1:15]).abs().max() < 2 / 63
        assert (height[18:] - 0.25).abs().max() < 1 / 63
        assert (dark[:, :-1] & dark[:, 1:]).any(0).all()

    def test_of_a_volume_slices_are_shown_side_by_side(self):
        volume = torch.arange(8).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 5, 3) / 7
        pixels = to_pixels(volume, UNIT)[0, :, :, 0]
        assert pixels.shape == (5, 4 * 3)
        assert pixels[2, ::3].tolist() == [0, round(2 / 7 * 255), round(5 / 7 * 255), 255]

    def test_images_that_carry_gradients_can_be_shown(self):
        assert to_pixels(torch.zeros(1, 1, 2, 2, requires_grad=True), UNIT).shape == (1, 2, 2, 3)


class TestGrid:
    @given(
        count=st.integers(1, 12),
        channels=st.integers(1, 4),
        height=st.integers(1, 40),
        width=st.integers(1, 40),
        columns=st.none() | st.integers(1, 13),
    )
    def test_its_size_is_that_of_its_tiles_and_gaps(self, count, channels, height, width, columns):
        picture = grid(torch.rand(count, channels, height, width), UNIT, columns=columns)
        scale = max(1, round(64 / max(height, width)))
        gap = max(2, scale)
        across = columns or math.ceil(math.sqrt(count))
        down = math.ceil(count / across)
        assert picture.dtype == torch.uint8
        assert picture.shape == (down * (height * scale + gap) + gap, across * (width * scale + gap) + gap, 3)

    def test_images_lie_row_by_row_on_white(self):
        images = torch.tensor([0.0, 0.2, 0.4]).reshape(3, 1, 1, 1).expand(3, 1, 64, 64)
        picture = grid(images, UNIT, columns=2)
        corners = [2, 2 + 64 + 2]
        assert picture.shape == (134, 134, 3)
        for tile, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
            place = picture[corners[row] : corners[row] + 64, corners[column] : corners[column] + 64]
            assert place.unique().tolist() == [round(0.2 * tile * 255)]
        # The place that is left over, and every gap.
        assert picture[corners[1] :, corners[1] :].unique().tolist() == [255]
        for edge in (picture[:2], picture[:, :2], picture[66:68], picture[:, 66:68], picture[-2:], picture[:, -2:]):
            assert edge.unique().tolist() == [255]

    def test_small_images_are_enlarged_in_whole_pixels(self):
        image = torch.rand(1, 1, 8, 8)
        picture = grid(image, UNIT)
        # Eight times, with a gap as wide as a pixel has become.
        inner = picture[8:-8, 8:-8, 0]
        expected = to_pixels(image, UNIT)[0, :, :, 0]
        assert torch.equal(inner, expected.repeat_interleave(8, 0).repeat_interleave(8, 1))


class TestFiles:
    @pytest.mark.parametrize("channels", [1, 3, 5])
    def test_a_png_reads_back(self, tmp_path, channels):
        picture = grid(torch.rand(5, channels, 8, 8), UNIT)
        save_png(tmp_path / "grid.png", picture)
        with Image.open(tmp_path / "grid.png") as image:
            assert image.format == "PNG"
            assert image.mode == "RGB"
            assert torch.equal(torch.from_numpy(np.array(image)), picture)

    def test_a_gif_has_its_frames_and_starts_over(self, tmp_path):
        frames = [grid(torch.full((4, 1, 8, 8), i / 7), UNIT) for i in range(8)]
        save_gif(tmp_path / "path.gif", frames)
        with Image.open(tmp_path / "path.gif") as image:
            assert image.format == "GIF"
            assert image.n_frames == 8
            # 0 is for ever.
            assert image.info["loop"] == 0
            durations = []
            for i in range(8):
                image.seek(i)
                durations.append(image.info["duration"])
                assert torch.equal(torch.from_numpy(np.array(image.convert("RGB"))), frames[i])
        assert durations[-1] > 5 * max(durations[:-1])

    @pytest.mark.parametrize(("count", "duration"), [(2, 120), (24, 100), (60, 60)])
    def test_few_frames_of_a_gif_are_shown_longer(self, tmp_path, count, duration):
        # Equal frames would become one.
        save_gif(tmp_path / "path.gif", [grid(torch.full((1, 1, 4, 4), i / count), UNIT) for i in range(count)])
        with Image.open(tmp_path / "path.gif") as image:
            assert image.n_frames == count
            assert image.info["duration"] == duration

    def test_a_gif_of_one_frame(self, tmp_path):
        save_gif(tmp_path / "one.gif", [grid(torch.rand(1, 1, 8, 8), UNIT)])
        with Image.open(tmp_path / "one.gif") as image:
            assert image.n_frames == 1

    def test_a_loss_curve_reads_back(self, tmp_path):
        save_loss_curve(tmp_path / "loss.png", [{"step": step, "loss": 1.0 / step} for step in (1, 10, 100)])
        with Image.open(tmp_path / "loss.png") as image:
            image.load()
            assert min(image.size) > 300
            # Something is drawn.
            assert len(image.convert("L").getcolors(100_000)) > 10
