"""`unmelt draw`."""

import re
import sys
import wave

import numpy as np
import pytest
import torch
from PIL import Image

from unmelt.commands import main
from unmelt.commands.draw import _scaled
from unmelt.commands.signal_files import Signal, read_image, read_signal
from unmelt.degradations import HeatDissipation, IsotropicDiffusion

# A process of any shape; one whose table is of a single axis; one of volumes only; and one with a mistake.
OWN = """
from unmelt.degradations import CosineBasis, LinearGaussianProcess


class Mist(LinearGaussianProcess):
    def __init__(self, shape, *, thickness: float = 1.0):
        super().__init__(CosineBasis(shape))
        self.thickness = thickness

    def log_alpha(self, t):
        return -self.thickness * t

    def log_sigma(self, t):
        return t - 3


class Line(Mist):
    def __init__(self, shape):
        super().__init__(shape)
        self.register_constant("rate", self.basis.axis_eigenvalues()[0])

    def log_alpha(self, t):
        return -self.rate * self.expand_times(t)


class Cube(Line):
    def __init__(self, shape):
        super().__init__(shape)
        depth, rows, columns = self.basis.axis_eigenvalues()
        self.register_constant("rate", depth[:, None, None] + rows[:, None] + columns)


class Wrong(Mist):
    def log_alpha(self, t):
        return -self.thicknes * t
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, with the processes above in a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "of_a_user.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("of_a_user", None)


def save_sound(path, numbers, width):
    """Write numbers in [-1, 1), (channels, length), as a .wav of so many bytes."""
    levels = np.round(numbers * 2.0 ** (8 * width - 1)).astype("<i4") + (128 if width == 1 else 0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(numbers))
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(np.ascontiguousarray(levels.T).view(np.uint8).reshape(-1, 4)[:, :width].tobytes())


class TestCommand:
    def test_it_draws_a_family_with_settings_on_a_picture(self, tmp_path, capsys):
        Image.new("RGB", (30, 20), "orange").save(tmp_path / "orange.png")
        out = tmp_path / "new" / "heat.png"
        main(["draw", "HeatDissipation(levels=9)", "--image", str(tmp_path / "orange.png"), "--out", str(out)])
        told = f"wrote {out}: HeatDissipation(levels=9) on orange.png, (3, 20, 30)\n"
        assert capsys.readouterr().out == told
        assert Image.open(out).size[0] > 500

    @pytest.mark.parametrize("image", [True, False])
    def test_it_draws_a_process_with_a_known_end(self, folder, capsys, image):
        Image.new("RGB", (30, 20), "orange").save("orange.png")
        main(["draw", "BrownianBridge", *(["--image", "orange.png"] if image else [])])
        assert "wrote BrownianBridge.png: BrownianBridge on " in capsys.readouterr().out
        assert (folder / "BrownianBridge.png").is_file()

    @pytest.mark.full
    @pytest.mark.parametrize(
        ("name", "refused", "drawn"),
        [
            ("Mist", [], "image, (3, 64, 96)"),
            ("Line", ["image"], "signal, (1, 256)"),
            ("Cube", ["image", "signal"], "volume, (1, 16, 24, 32)"),
        ],
    )
    def test_without_a_file_it_draws_on_the_first_example_that_the_process_takes(
        self, folder, capsys, name, refused, drawn
    ):
        main(["draw", f"of_a_user.py:{name}"])
        *notes, last = capsys.readouterr().out.splitlines()
        assert [re.search(f"{name} takes no (image|signal)", note).group(1) for note in notes] == refused
        assert last == f"wrote {name}.png: {name} on a built-in {drawn}"
        assert (folder / f"{name}.png").is_file()

    def test_a_process_of_volumes_says_why_it_takes_no_picture_and_how_to_draw_it(self, folder):
        Image.new("L", (8, 8), 99).save("grey.png")
        where = r"\(ValueError: not enough values to unpack \(expected 3, got 2\), \S*of_a_user.py line \d+\)"
        message = (
            rf"^error: Cube takes no image of shape \(1, 8, 8\) {where}; --shape .* without a file: 1,256 for a signal"
        )
        with pytest.raises(SystemExit, match=message):
            main(["draw", "of_a_user.py:Cube", "--image", "grey.png"])

    @pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
    def test_a_process_is_drawn_on_the_signal_that_is_given(self, folder, capsys, suffix, start):
        np.save("signal.npy", np.arange(8.0)[None])
        main(["draw", "of_a_user.py:Line", "--signal", "signal.npy", "--out", f"line{suffix}"])
        assert capsys.readouterr().out == f"wrote line{suffix}: Line on signal.npy, (1, 8)\n"
        assert (folder / f"line{suffix}").read_bytes().startswith(start)

    def test_nothing_is_overwritten_unless_asked_for(self, folder):
        (folder / "Pixelation.png").write_text("mine")
        with pytest.raises(SystemExit, match="Pixelation.png is there already: .* --force"):
            main(["draw", "Pixelation", "--shape", "1,8,8"])
        assert (folder / "Pixelation.png").read_text() == "mine"
        main(["draw", "Pixelation", "--shape", "1,8,8", "--force"])
        assert Image.open("Pixelation.png").format == "PNG"

    @pytest.mark.full
    def test_a_class_of_one_s_own_is_found_in_the_current_directory(self, folder):
        for name in ("of_a_user.Mist(thickness=2)", "of_a_user.py:Mist(thickness=3)"):
            main(["draw", name, "--shape", "8"])
        assert {path.name for path in folder.glob("*.png")} == {
            "of_a_user_Mist_thickness_2.png",
            "Mist_thickness_3.png",
        }

    def test_black_is_found_from_the_noise_or_given(self):
        grey = Signal(torch.tensor([[[0.0, 0.25]]]), from_black_to_white=True, told="grey")
        heat, isotropic = HeatDissipation((1, 1, 2)), IsotropicDiffusion((1, 1, 2))
        for process, black, low, expected in [
            (heat, None, 0.0, [0.0, 0.25]),
            (isotropic, None, -1.0, [-1.0, -0.5]),
            (heat, -1.0, -1.0, [-1.0, -0.5]),
        ]:
            x, data_range = _scaled(process, grey, black)
            assert data_range == (low, 1.0)
            assert x.flatten().tolist() == expected

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["HeatDisipation"], r"no 'HeatDisipation' \(did you mean HeatDissipation\?\); there are "),
            (["HeatDissipation(levels)"], "give settings by name; its settings are blur_sigma_max"),
            (["HeatDissipation(levels=many)"], r"HeatDissipation\(levels=...\): expected int, got many"),
            (["GraphHeat"], r"GraphHeat lacks laplacian: a tensor is read from a file, GraphHeat\(laplacian=FromFile"),
            (["builtins.list"], "list.* makes no LinearGaussianProcess|list does not say what it makes"),
            (["nowhere.Fog"], "there is no module 'nowhere' in the current directory or installed"),
            (["HeatDissipation(levels=1)"], "^error: levels must be at least 2"),
            (["ChannelGroups.of"], "ChannelGroups.of lacks channels, processes"),
            (["SpectralDiffusion.equal_snr"], "SpectralDiffusion has no 'equal_snr'; there is power_law"),
            (
                ["SpectralDiffusion(noise=EqualSNR(FittedSpectrum()))"],
                r"FittedSpectrum\(.* is fitted to data, and there are none",
            ),
            (
                ["of_a_user.py:Wrong"],
                r"^error: AttributeError: .* no attribute 'thicknes'.*, \S*of_a_user.py line \d+$",
            ),
            (["PixelMask(onset=FromFile('table.npy'))"], r"on \(3, 64, 96\): .*; \(1, 256\): .*--shape gives another"),
            (["HeatDissipation", "--image", "nowhere.png"], "nowhere.png"),
            (["HeatDissipation", "--image", "of_a_user.py"], "of_a_user.py cannot be read as a picture"),
            (["HeatDissipation", "--signal", "photo.jpg"], r"read from .npy or .wav; a picture is given by --image"),
            (["HeatDissipation", "--signal", "table.npy", "--black", "0"], "--black 0: the numbers of table.npy"),
            (["HeatDissipation", "--signal", "table.npy", "--image", "x.png"], "not allowed with argument"),
            (["HeatDissipation", "--black", "2"], "argument --black: invalid choice: 2.0"),
            (["HeatDissipation", "--shape", "1,a"], "--shape 1,a: give the sizes of all axes"),
            (["HeatDissipation", "--shape", "1,2,2,2,2"], "a volume, CHANNELS,DEPTH,HEIGHT,WIDTH, got 5 sizes"),
            (["HeatDissipation", "--out", "heat.gif"], r"--out heat.gif: its name must end in .*\.png, \.pdf, \.svg"),
            (["HeatDissipation", "--out", "of_a_user.py/heat.png"], "of_a_user.py is a file"),
            (["HeatDissipation", "--out", "folder.png", "--force"], "folder.png is a folder: name a file"),
            (["Pixelation", "--shape", "3,9,9"], "divide by 2"),
        ],
    )
    def test_mistakes_are_explained_in_one_line_and_nothing_is_written(self, arguments, message, folder, capsys):
        np.save("table.npy", np.linspace(0, 1, 5))
        (folder / "folder.png").mkdir()
        before = sorted(folder.iterdir())
        with pytest.raises(SystemExit) as stop:
            main(["draw", *arguments])
        told = stop.value.code if isinstance(stop.value.code, str) else capsys.readouterr().err
        assert re.search(message, told.strip())
        assert len(told.strip().splitlines()) == 1
        assert sorted(path for path in folder.iterdir() if path.name != "__pycache__") == before


class TestFiles:
    def test_a_large_photograph_is_shrunk_or_cut_to_a_shape(self, tmp_path):
        Image.new("RGB", (2000, 1500), "orange").save(tmp_path / "large.jpg")
        assert read_image(tmp_path / "large.jpg", None).values.shape == (3, 192, 256)
        assert read_image(tmp_path / "large.jpg", (1, 30, 40)).values.shape == (1, 30, 40)

    def test_pictures_are_read_as_levels_from_0_to_1(self, tmp_path):
        levels = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
        Image.fromarray(levels).save(tmp_path / "grey.png")
        Image.fromarray((levels.astype(np.uint16) + 16) * 257).save(tmp_path / "deep.png")
        found = read_image(tmp_path / "grey.png", None)
        assert found.from_black_to_white
        torch.testing.assert_close(found.values, torch.from_numpy(levels)[None] / 255, rtol=0, atol=1e-6)
        deep = read_image(tmp_path / "deep.png", None).values
        torch.testing.assert_close(deep, (torch.from_numpy(levels)[None] + 16.0) / 255, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("width", [1, 2, 3, 4])
    def test_sounds_of_any_width_are_read_as_numbers_from_minus_1_to_1(self, tmp_path, width):
        numbers = np.random.default_rng(0).uniform(-0.99, 0.99, (2, 50))
        save_sound(tmp_path / "sound.wav", numbers, width)
        found = read_signal(tmp_path / "sound.wav", None)
        assert not found.from_black_to_white
        # Half a level, and float32's own rounding.
        bound = 0.5 / 2 ** (8 * width - 1) + 2**-24
        assert (found.values.double() - torch.from_numpy(numbers)).abs().max() <= bound

    def test_the_middle_of_a_long_sound_is_taken_and_told(self, tmp_path):
        save_sound(tmp_path / "sound.wav", np.linspace(-0.5, 0.5, 2000)[None], 2)
        whole = read_signal(tmp_path / "sound.wav", (1, 2000)).values
        for shape, start, size in ((None, 488, 1024), ((1, 100), 950, 100)):
            found = read_signal(tmp_path / "sound.wav", shape)
            assert torch.equal(found.values, whole[:, start : start + size])
            assert found.told == f"sound.wav, (1, {size}), samples {start} to {start + size - 1} of 2000"

    def test_arrays_are_taken_as_they_are_but_8_bits(self, tmp_path):
        path = tmp_path / "array.npy"
        for shape in ((7,), (2, 7), (1, 5, 6), (1, 3, 4, 5)):
            numbers = np.random.default_rng(0).normal(size=shape)
            np.save(path, numbers)
            found = read_signal(path, None)
            assert not found.from_black_to_white
            # One channel where there is a length alone.
            expected = torch.from_numpy(numbers).float()
            assert torch.equal(found.values, expected[None] if len(shape) == 1 else expected)
        np.save(path, np.full((4, 6), 51, np.uint8))
        found = read_image(path, None)
        assert found.from_black_to_white
        torch.testing.assert_close(found.values, torch.full((1, 4, 6), 0.2))

    @pytest.mark.parametrize(
        ("read", "array", "shape", "message"),
        [
            (
                read_image,
                np.zeros((1, 2, 3, 4)),
                None,
                r"array.npy has shape \(1, 2, 3, 4\), .* give others by --signal",
            ),
            (read_signal, np.zeros((1, 4)), (1, 3), r"--shape 1,3: .*array.npy has shape \(1, 4\).*leave --shape out"),
            (read_signal, np.zeros((1, 4), np.int16), None, "holds int16: save floating-point numbers"),
            (read_signal, np.array([[0.0, np.nan]]), None, "holds NaN or infinity"),
            (read_signal, np.zeros((1, 0)), None, "holds no numbers"),
            (read_signal, np.ones((1, 4)), None, r"array.npy, \(1, 4\), is 1 everywhere"),
            (read_signal, np.array([None]), None, "cannot be read as .npy"),
        ],
    )
    def test_arrays_that_cannot_be_drawn_are_refused(self, tmp_path, read, array, shape, message):
        np.save(tmp_path / "array.npy", array)
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "array.npy", shape)

    def test_shapes_that_a_file_cannot_be_cut_to_are_refused(self, tmp_path):
        save_sound(tmp_path / "sound.wav", np.zeros((2, 20)), 2)
        for shape in ((1, 10), (2, 21), (2, 4, 5)):
            with pytest.raises(ValueError, match="sound.wav has 2 channels of 20 samples, write 2,LENGTH"):
                read_signal(tmp_path / "sound.wav", shape)
        Image.new("L", (4, 4)).save(tmp_path / "grey.png")
        with pytest.raises(ValueError, match="--shape 2,4,4: a picture is drawn as 1,HEIGHT,WIDTH"):
            read_image(tmp_path / "grey.png", (2, 4, 4))
        (tmp_path / "empty.wav").write_bytes(b"RIFF")
        with pytest.raises(ValueError, match="empty.wav cannot be read .*PCM"):
            read_signal(tmp_path / "empty.wav", None)
