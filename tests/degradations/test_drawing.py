"""Pictures of processes, and the command that draws them."""

import math
import re
import sys

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from unmelt.degradations import (
    ChangedBasis,
    ConstantNoise,
    CosineBasis,
    DirectionalBlur,
    GaussianBlur,
    GraphHeat,
    HeatDissipation,
    IsotropicDiffusion,
    Pixelation,
    PixelMask,
    PowerBlur,
    SequentialMasking,
    SineBasis,
)
from unmelt.degradations.__main__ import (
    _black,
    _image,
    _parser,
    main,
)
from unmelt.degradations.bands import log_snr_along, log_snr_bands
from unmelt.degradations.drawing import draw_forward, draw_log_snr_map, draw_process

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
        draw_forward(axes, process, image, 0.0)
        shown = [torch.as_tensor(axis.get_images()[0].get_array()).permute(2, 0, 1).float() for axis in axes]
        expected = [image, *(z[0] for z in process.degrade(image[None], 0.5, 1.0))]
        for ours, theirs in zip(shown, expected, strict=True):
            torch.testing.assert_close(ours, theirs.clamp(0, 1), rtol=0, atol=1e-6)

    def test_black_is_black_in_either_range_and_the_first_image_has_the_noise_of_time_0(self):
        axes = list(Figure().subplots(1, 2))
        draw_forward(axes, IsotropicDiffusion((1, 4, 4)), torch.zeros(1, 4, 4), -1.0)
        # Black and half a unit of range; sigma at t = 0 is exp(-5).
        assert 0 < float(axes[0].get_images()[0].get_array().max()) < 4 * math.exp(-5) / 2

    def test_a_process_with_a_direction_gets_a_map_for_each(self):
        plain, slanted = (HeatDissipation((1, 8, 6), anisotropy=a) for a in (None, (1.0, 0.2)))
        drawn = [draw_process(p, torch.rand(1, 8, 6), low=0.0, title="heat") for p in (plain, slanted)]
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
        figure = draw_process(process, torch.rand(1, 8, 6), low=0.0, title="blur")
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
        figure = draw_process(HeatDissipation((1, 4, 4), sigma=0.0), torch.rand(1, 4, 4), low=0.0, title="cold")
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
        figure = draw_process(process, torch.rand(1, 8, 8), low=0.0, title="a process")
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


MIST = """
from unmelt.degradations import CosineBasis, LinearGaussianProcess


class Mist(LinearGaussianProcess):
    def __init__(self, shape, *, thickness: float = 1.0):
        super().__init__(CosineBasis(shape))
        self.thickness = thickness

    def log_alpha(self, t):
        return -self.thickness * t

    def log_sigma(self, t):
        return t - 3
"""


class TestCommand:
    def test_it_draws_a_family_with_settings_on_a_file(self, tmp_path, capsys):
        Image.new("RGB", (30, 20), "orange").save(tmp_path / "orange.png")
        out = tmp_path / "heat.png"
        main(["HeatDissipation(levels=9)", "--image", str(tmp_path / "orange.png"), "--out", str(out)])
        assert f"wrote {out}" in capsys.readouterr().out
        assert Image.open(out).size[0] > 500

    def test_without_an_image_it_draws_its_own_pattern_beside_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        main(["SpectralDiffusion.power_law", "--size", "16"])
        assert (tmp_path / "SpectralDiffusion_power_law.png").is_file()

    def test_nothing_is_overwritten_unless_asked_for(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "Pixelation.png").write_text("mine")
        with pytest.raises(SystemExit):
            main(["Pixelation", "--size", "8"])
        assert "is there already" in capsys.readouterr().err
        assert (tmp_path / "Pixelation.png").read_text() == "mine"
        main(["Pixelation", "--size", "8", "--force"])
        assert Image.open("Pixelation.png").format == "PNG"

    def test_a_class_of_one_s_own_is_found_in_the_current_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [*sys.path])
        (tmp_path / "mist_of_a_user.py").write_text(MIST)
        for name in ("mist_of_a_user.Mist(thickness=2)", "mist_of_a_user.py:Mist(thickness=3)"):
            main([name, "--size", "8"])
        del sys.modules["mist_of_a_user"]
        assert len(list(tmp_path.glob("*.png"))) == 2

    def test_a_large_photograph_is_shrunk(self, tmp_path):
        Image.new("RGB", (2000, 1500), "orange").save(tmp_path / "large.jpg")
        assert _image(tmp_path / "large.jpg", None).shape == (3, 192, 256)
        assert _image(tmp_path / "large.jpg", 300).shape == (3, 300, 300)

    def test_black_is_found_from_the_noise_or_given(self):
        assert _black(HeatDissipation((1, 4, 4))) == 0.0
        assert _black(IsotropicDiffusion((1, 4, 4))) == -1.0
        assert _parser().parse_args(["Pixelation", "--black", "-1"]).black == -1.0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["HeatDisipation"], r"no 'HeatDisipation' \(did you mean HeatDissipation\?\); there are "),
            (["HeatDissipation(levels)"], "give settings by name; its settings are blur_sigma_max"),
            (["HeatDissipation(levels=many)"], r"HeatDissipation\(levels=...\): expected int, got many"),
            (["GraphHeat"], r"GraphHeat lacks laplacian: a tensor is read from a file, GraphHeat\(laplacian=FromFile"),
            (["builtins.list"], "list.* makes no LinearGaussianProcess|list does not say what it makes"),
            (["nowhere.Fog"], "there is no module 'nowhere' in the current directory or installed"),
            (["HeatDissipation(levels=1)"], "levels must be at least 2"),
            (["ChannelGroups.of"], "ChannelGroups.of lacks channels, processes"),
            (["SpectralDiffusion.equal_snr"], "SpectralDiffusion has no 'equal_snr'; there is power_law"),
            (
                ["SpectralDiffusion(noise=EqualSNR(FittedSpectrum()))"],
                r"FittedSpectrum\(.* is fitted to data, and there are none",
            ),
            (["HeatDissipation", "--image", "nowhere.png"], "nowhere.png"),
            (["HeatDissipation", "--size", "1"], "--size must be at least 2 .pixels., got 1"),
            (["Pixelation", "--size", "9"], "divide by 2"),
        ],
    )
    def test_mistakes_are_explained_and_nothing_is_written(self, arguments, message, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert re.search(message, capsys.readouterr().err)
        assert not list(tmp_path.iterdir())
