"""Pictures of processes."""

import math

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from unmelt.degradations import (
    ChangedBasis,
    ConstantNoise,
    CosineBasis,
    DirectionalBlur,
    EDMSchedule,
    GaussianBlur,
    GraphHeat,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    Pixelation,
    PixelMask,
    PowerBlur,
    SequentialMasking,
    SineBasis,
    draw_process,
)
from unmelt.degradations.bands import log_snr_along, log_snr_bands
from unmelt.degradations.drawing import draw_forward, draw_log_snr_map
from unmelt.degradations.patterns import pattern

TIMES = torch.linspace(0, 1, 11, dtype=torch.float64)


class TestBands:
    def test_heat_has_frequencies_and_each_line_is_that_of_its_coefficient(self):
        process = HeatDissipation((1, 6, 1), blur_sigma_max=3.0, levels=10)
        bands = log_snr_bands(process, TIMES)
        # Half a wave over 6 pixels is 1 / 12 of a cycle per pixel.
        torch.testing.assert_close(bands.positions, torch.arange(6, dtype=torch.float64) / 12, rtol=0, atol=1e-6)
        for n in range(6):
            torch.testing.assert_close(bands.log_snr[n], process.log_snr(TIMES)[:, 0, n, 0], rtol=1e-12, atol=0)
        assert "cycles per pixel" in bands.label

    def test_many_frequencies_are_put_into_48_rising_bands(self):
        bands = log_snr_bands(HeatDissipation((1, 64, 64)), TIMES)
        assert len(bands.positions) == len(bands.log_snr) == 48
        assert (bands.positions.diff() > 0).all()
        # Higher bands drown earlier.
        assert (bands.log_snr.diff(dim=0) <= 1e-9).all()

    def test_scales_eigenvalues_and_orders(self):
        assert len(log_snr_bands(Pixelation((3, 8, 8)), TIMES).positions) == 4
        path = torch.diag(torch.tensor([1.0, 2, 1])) - torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
        graph = log_snr_bands(GraphHeat((2, 3), path.double()), TIMES)
        torch.testing.assert_close(graph.positions, torch.tensor([0.0, 1, 3], dtype=torch.float64), rtol=0, atol=1e-6)
        mask = log_snr_bands(PixelMask((1, 4, 5)), TIMES)
        assert "most durable first" in mask.label
        # Pixels as far from the middle are equal but for rounding.
        assert (mask.log_snr[1:] <= mask.log_snr[:-1] + 1e-9).all()
        assert len(log_snr_bands(IsotropicDiffusion((1, 4, 4)), TIMES).positions) == 1

    def test_infinite_values_keep_their_place(self):
        process = SequentialMasking(CosineBasis((1, 4)), torch.tensor([0.9, 0.6, 0.3, 0.0]), duration=0.1)
        bands = log_snr_bands(process, TIMES)
        assert (bands.log_snr[3, 2:] == -torch.inf).all()
        assert bands.log_snr[0, :10].isfinite().all()


class TestFigures:
    def test_the_strip_shows_the_image_at_every_time(self):
        process, image = HeatDissipation((3, 8, 8), sigma=0.0), torch.rand(3, 8, 8)
        axes = list(Figure().subplots(1, 3))
        draw_forward(axes, process, image, (0.0, 1.0))
        shown = [torch.as_tensor(axis.get_images()[0].get_array()).permute(2, 0, 1).float() for axis in axes]
        expected = [image, *(z[0] for z in process.degrade(image[None], 0.5, 1.0))]
        for ours, theirs in zip(shown, expected, strict=True):
            torch.testing.assert_close(ours, theirs.clamp(0, 1), rtol=0, atol=1e-6)

    def test_black_is_black_in_either_range_and_the_first_image_has_the_noise_of_time_0(self):
        axes = list(Figure().subplots(1, 2))
        draw_forward(axes, IsotropicDiffusion((1, 4, 4)), torch.full((1, 4, 4), -1.0), (-1.0, 1.0))
        # Black and half a unit of range; sigma at t = 0 is exp(-5).
        assert 0 < float(axes[0].get_images()[0].get_array().max()) < 4 * math.exp(-5) / 2

    def test_a_process_with_a_direction_gets_a_map_for_each(self):
        plain, slanted = (HeatDissipation((1, 8, 6), anisotropy=a) for a in (None, (1.0, 0.2)))
        drawn = [draw_process(p, torch.rand(1, 8, 6)) for p in (plain, slanted)]
        titles = [[axis.get_title() for axis in figure.get_axes()] for figure in drawn]
        assert "detail across" not in titles[0]
        assert {"detail up and down", "detail across"} <= set(titles[1])
        across = log_snr_along(slanted, TIMES, (0, 1))
        torch.testing.assert_close(across.positions, torch.arange(6, dtype=torch.float64) / 12, rtol=0, atol=1e-6)
        torch.testing.assert_close(across.log_snr, slanted.log_snr(TIMES)[:, 0, 0].T, rtol=1e-12, atol=0)

    def test_a_direction_counts_its_own_frequency_where_the_lowest_of_the_other_axis_is_not_0(self):
        process = GaussianBlur((1, 8, 6), PowerBlur(2.0), ConstantNoise(0.1), boundary=SineBasis)
        # Half a wave over 8 pixels, two, three, ...
        expected = torch.arange(1, 9, dtype=torch.float64) / 16
        torch.testing.assert_close(log_snr_along(process, TIMES, (1, 0)).positions, expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("angle", [45.0, -45.0])
    def test_a_process_with_a_slanted_direction_gets_a_map_for_each_diagonal(self, angle):
        process = DirectionalBlur((1, 8, 6), angle=angle)
        figure = draw_process(process, torch.rand(1, 8, 6))
        assert {"detail to the upper right", "detail to the lower right"} <= {a.get_title() for a in figure.get_axes()}
        upper, lower = (log_snr_along(process, TIMES, step) for step in ((-1, 1), (1, 1)))
        log_snr = process.log_snr(TIMES)[:, 0]
        for n in range(4):
            torch.testing.assert_close(upper.log_snr[n], log_snr[:, -n, n], rtol=1e-12, atol=0)
            torch.testing.assert_close(lower.log_snr[n], log_snr[:, n, n], rtol=1e-12, atol=0)
        # One turn more over 8 pixels down and 6 across.
        expected = torch.arange(4, dtype=torch.float64) * math.hypot(1 / 8, 1 / 6)
        torch.testing.assert_close(upper.positions, expected, rtol=0, atol=1e-6)

    def test_without_noise_the_map_says_so(self):
        figure = draw_process(HeatDissipation((1, 4, 4), sigma=0.0), torch.rand(1, 4, 4))
        assert "no noise: infinite" in [text.get_text() for axis in figure.get_axes() for text in axis.texts]

    @pytest.mark.parametrize(
        "process",
        [
            pytest.param(HeatDissipation((1, 8, 8)), marks=pytest.mark.full),
            pytest.param(IsotropicDiffusion((1, 8, 8)), marks=pytest.mark.full),
            pytest.param(Pixelation((1, 8, 8)), marks=pytest.mark.full),
            PixelMask((1, 8, 8)),
            ChangedBasis(Pixelation((1, 8, 8)), CosineBasis((1, 8, 8))),
            pytest.param(HeatDissipation((1, 8, 8), sigma=0.0), marks=pytest.mark.full),
        ],
    )
    def test_the_map_has_a_cell_for_every_band_and_time(self, process, tmp_path):
        figure = draw_process(process, torch.rand(1, 8, 8))
        figure.savefig(tmp_path / "process.png")
        assert Image.open(tmp_path / "process.png").size[0] > 500

    def test_the_line_marks_where_signal_equals_noise(self):
        axis = Figure().subplots()
        times = torch.linspace(0, 1, 201, dtype=torch.float64)
        draw_log_snr_map(axis, log_snr_bands(IsotropicDiffusion((1, 4, 4)), times), times)
        (line,) = axis.get_lines()
        # The cosine schedule is symmetric: log-SNR 0 at t = 1/2.
        assert line.get_xdata()[0] == pytest.approx(0.5, abs=0.006)
        # And so are the colours, those of cells between two times.
        colours = torch.as_tensor(axis.collections[0].get_array()).flatten()
        torch.testing.assert_close(colours, -colours.flip(0), rtol=0, atol=1e-6)

    def test_a_signal_is_drawn_as_the_curves_of_its_channels(self):
        process, x = HeatDissipation((2, 12), sigma=0.0, blur_sigma_max=3.0), torch.randn(2, 12)
        axes = [axis for axis in draw_process(process, x).get_axes() if axis.get_ylabel().startswith("t = ")]
        states = process.degrade(x[None], *torch.linspace(0, 1, 6).tolist())
        for axis, z in zip(axes, states, strict=True):
            for line, channel in zip(axis.get_lines(), z[0], strict=True):
                torch.testing.assert_close(torch.as_tensor(line.get_ydata()), channel, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("schedule", [EDMSchedule(), LinearSchedule()])
    def test_no_curve_leaves_its_frame_and_data_keep_their_scale(self, schedule):
        process, x = IsotropicDiffusion((1, 40), schedule), torch.linspace(-2, 1, 40)[None]
        for figure, (low, high) in [
            (draw_process(process, x), (-2.0, 1.0)),
            (draw_process(process, x, data_range=(-5.0, 9.0)), (-5.0, 9.0)),
        ]:
            for axis in figure.get_axes()[:6]:
                bottom, top = axis.get_ylim()
                y = axis.get_lines()[0].get_ydata()
                assert bottom <= min(y.min(), low)
                assert max(y.max(), high) <= top
            # A tenth wider than the data, at the beginning.
            bottom, top = figure.get_axes()[0].get_ylim()
            assert top - bottom == pytest.approx(1.1 * (high - low), rel=0.05)

    def test_noise_is_the_same_in_every_call(self):
        first, second = (draw_process(IsotropicDiffusion((9,)), torch.arange(9.0)).get_axes()[3] for _ in range(2))
        assert (first.get_lines()[0].get_ydata() == second.get_lines()[0].get_ydata()).all()

    @pytest.mark.parametrize(("depth", "slices"), [(12, [2, 6, 10]), (2, [0, 1]), (1, [0])])
    def test_slices_of_a_volume_are_drawn_at_every_time(self, depth, slices):
        process = HeatDissipation((1, depth, 4, 5), sigma=0.0, blur_sigma_max=2.0)
        x = torch.rand(1, depth, 4, 5)
        pictures = [axis for axis in draw_process(process, x, data_range=(0.0, 1.0)).get_axes() if axis.get_images()]
        states = process.degrade(x[None], *torch.linspace(0, 1, 8).tolist())
        expected = [z[0, 0, place] for place in slices for z in states]
        assert [text.get_text() for axis in pictures for text in axis.texts] == [
            f"slice {k + 1} of {depth}" for k in slices
        ]
        for axis, theirs in zip(pictures, expected, strict=True):
            ours = torch.as_tensor(axis.get_images()[0].get_array())
            torch.testing.assert_close(ours, theirs.clamp(0, 1), rtol=0, atol=1e-6)

    def test_of_other_channels_than_one_or_three_the_mean_is_shown_from_the_lowest_number_to_the_highest(self):
        process, x = HeatDissipation((2, 4, 4), sigma=0.0), torch.randn(2, 4, 4)
        first = torch.as_tensor(draw_process(process, x).get_axes()[0].get_images()[0].get_array())
        torch.testing.assert_close(first, ((x - x.min()) / (x.max() - x.min())).mean(0), rtol=0, atol=1e-6)

    def test_a_volume_gets_a_map_for_each_direction_that_differs(self):
        names = {"detail in depth", "detail up and down", "detail across"}
        for anisotropy, expected in ((None, set()), ((1.0, 1.0, 0.2), names), ((0.2, 1.0, 1.0), names)):
            process = HeatDissipation((1, 4, 4, 4), anisotropy=anisotropy, blur_sigma_max=2.0)
            titles = {axis.get_title() for axis in draw_process(process, torch.rand(1, 4, 4, 4)).get_axes()}
            assert titles & names == expected

    @pytest.mark.parametrize(("shape", "unit"), [((1, 6), "sample"), ((1, 4, 6), "pixel"), ((1, 2, 4, 6), "voxel")])
    def test_frequencies_have_the_unit_of_the_signal(self, shape, unit):
        labels = {axis.get_ylabel() for axis in draw_process(HeatDissipation(shape), torch.rand(shape)).get_axes()}
        assert f"frequency (cycles per {unit})" in labels

    @pytest.mark.parametrize(
        ("shape", "x", "data_range", "message"),
        [
            ((1, 6), torch.rand(1, 5), None, r"process's shape \(1, 6\), without a batch axis, got \(1, 5\)"),
            ((1, 6), torch.rand(1, 1, 6), None, r"without a batch axis, got \(1, 1, 6\)"),
            (
                (1, 2, 2, 2, 2),
                torch.rand(1, 2, 2, 2, 2),
                None,
                r"a volume \(channels, depth.*got shape \(1, 2, 2, 2, 2\)",
            ),
            ((1, 2), torch.tensor([[0.0, torch.nan]]), None, "x must be finite, got nan"),
            ((1, 2), torch.ones(1, 2), None, "all of x is 1: give data_range"),
            ((1, 2), torch.rand(1, 2), (1.0, 0.0), r"got data_range=\(1, 0\)"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused(self, shape, x, data_range, message):
        with pytest.raises(ValueError, match=message):
            draw_process(IsotropicDiffusion(shape), x, data_range=data_range)


class TestPatterns:
    @pytest.mark.parametrize("shape", [(256,), (2, 256), (1, 64, 96), (3, 64, 96), (2, 16, 16), (1, 16, 24, 32)])
    def test_they_fill_their_range_and_hold_low_and_high_frequencies(self, shape):
        x = pattern(shape)
        assert x.shape == shape
        low, high = (-1, 1) if len(shape) <= 2 else (0, 1)
        assert x.min() >= low
        assert x.max() <= high
        assert x.max() - x.min() > 0.75 * (high - low)
        # Power of the lowest eighth of frequencies along the rows, and of the highest half.
        power = torch.fft.rfft((x - x.mean()).reshape(-1, shape[-1])).abs().square().sum(0)
        for part in (power[: len(power) // 8], power[len(power) // 2 :]):
            assert part.sum() > 0.005 * power.sum()

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match="a volume, CHANNELS,DEPTH,HEIGHT,WIDTH, got 5 sizes: 1,2,2,2,2"):
            pattern((1, 2, 2, 2, 2))
