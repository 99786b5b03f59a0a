"""`unmelt gallery`: what the page holds is what the library computes, pixel for pixel and number for number."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import small_run

from unmelt import load_run
from unmelt.commands import main
from unmelt.core import later
from unmelt.core.pictures import to_pixels
from unmelt.degradations import Deterministic, PredictX
from unmelt.evaluation import nearest_neighbours, power_spectrum
from unmelt.evaluation.disentanglement import draw_crossed
from unmelt.evaluation.gallery import build_gallery
from unmelt.evaluation.gallery.between import between
from unmelt.evaluation.gallery.contents import CHAPTERS
from unmelt.evaluation.gallery.crossing import crossing
from unmelt.evaluation.gallery.curves import curves
from unmelt.evaluation.gallery.key_numbers import key_numbers
from unmelt.evaluation.gallery.measured import measured
from unmelt.evaluation.gallery.melting import melting
from unmelt.evaluation.gallery.nearest import nearest
from unmelt.evaluation.gallery.page import fill
from unmelt.evaluation.gallery.power import power
from unmelt.evaluation.gallery.record import record
from unmelt.evaluation.gallery.scales import scales
from unmelt.evaluation.gallery.sprites import how_shown, sheet_of, tiles_of
from unmelt.evaluation.gallery.subject import Subject
from unmelt.evaluation.gallery.unmelting import drawn, unmelting
from unmelt.models import UNet
from unmelt.samplers import Posterior
from unmelt.samplers.uses import branch
from unmelt.training import Trainer
from unmelt.training.data import ArrayFile, Channels
from unmelt.training.folder.records import read_metrics

COUNT, SEED = 5, 3


def trained(root, name="small", **changes):
    config = small_run(root, name, **changes)
    return Trainer(config, config.data.load()).train().path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def subject(folder):
    return Subject(load_run(folder), count=COUNT, seed=SEED)


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """A run on fields of five channels without levels, from -2 to 2 or so."""
    root = tmp_path_factory.mktemp("fields")
    values = np.random.default_rng(0).normal(size=(20, 5, 8, 8)).astype(np.float32)
    np.save(root / "fields.npy", values)
    return trained(root, "fields", data=ArrayFile(root / "fields.npy", channels=Channels.FIRST), flip=False)


def decoded(sheet):
    """Return the tiles of a sheet as a browser sees them, (count, height, width, 3)."""
    head, _, text = sheet.src.partition(",")
    assert head == "data:image/png;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
    h, w = sheet.height, sheet.width
    tiles = []
    for index in range(sheet.count):
        row, column = divmod(index, sheet.columns)
        tiles.append(picture[row * h : (row + 1) * h, column * w : (column + 1) * w])
    return torch.from_numpy(np.stack(tiles))


def content_of(page):
    (block,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    return json.loads(block)


def shown_by(page, section):
    (found,) = [s for s in content_of(page)["sections"] if s["name"] == section]
    return found["panels"]


class TestSheets:
    @pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (5, "L")])
    def test_they_lose_nothing(self, channels, mode):
        x = torch.rand(7, channels, 20, 30, generator=torch.Generator().manual_seed(0)) * 3 - 1
        expected = to_pixels(x, (-0.5, 1.5))
        sheet = sheet_of(tiles_of(x, (-0.5, 1.5)))
        assert torch.equal(decoded(sheet), expected)
        assert Image.open(io.BytesIO(base64.b64decode(sheet.src.partition(",")[2]))).mode == mode

    def test_few_colours_are_a_palette(self):
        x = torch.randint(0, 2, (4, 3, 9, 9), generator=torch.Generator().manual_seed(0)).float()
        sheet = sheet_of(tiles_of(x, (0.0, 1.0)))
        assert torch.equal(decoded(sheet), to_pixels(x, (0.0, 1.0)))
        assert Image.open(io.BytesIO(base64.b64decode(sheet.src.partition(",")[2]))).mode == "P"

    def test_no_picture_is_rescaled_by_itself(self):
        flat = torch.full((1, 1, 4, 4), 0.25)
        assert (tiles_of(flat, (0.0, 1.0)) == 64).all()

    def test_large_pictures_are_means_of_blocks_and_say_so(self):
        x = torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(0))
        blocks = to_pixels(x, (0.0, 1.0)).float().reshape(2, 96, 2, 96, 2, 3).mean((2, 4)).round()
        assert torch.equal(tiles_of(x, (0.0, 1.0)).float(), blocks)
        assert "means of 2 x 2 pixels" in how_shown((3, 192, 192), (0.0, 1.0))

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ((1, 8, 8), "Shown from -1 (black) to 1 (white);"),
            ((5, 8, 8), "Means of its 5 channels, from -1 (black) to 1 (white);"),
            ((2, 50), "Curves of its 2 channels, from -1 (below) to 1 (above);"),
            ((1, 8, 8, 8), "slices of the volume side by side"),
        ],
    )
    def test_what_is_shown_is_said(self, shape, words):
        assert words in how_shown(shape, (-1.0, 1.0))
        assert "no picture is rescaled by itself" in how_shown(shape, (-1.0, 1.0))


class TestSections:
    @pytest.mark.full
    def test_samples_are_those_of_their_seeds(self, subject):
        (figure,) = drawn(subject).figures
        expected = subject.run.sample(COUNT, generator=range(SEED, SEED + COUNT))
        assert torch.equal(decoded(figure.sheet), to_pixels(expected, (0.0, 1.0)))
        assert list(figure.tiles) == [f"seed {number}" for number in range(SEED, SEED + COUNT)]

    def test_the_way_is_the_sampler_s(self, subject):
        (figure,) = unmelting(subject).figures
        path = subject.sampler.run(COUNT, generator=range(SEED, SEED + COUNT)).trajectory
        states, estimates = (decoded(view.sheet) for view in figure.views)
        assert torch.equal(states, to_pixels(path.states.flatten(0, 1), (0.0, 1.0)))
        assert torch.equal(estimates[:-COUNT], to_pixels(path.predictions.flatten(0, 1), (0.0, 1.0)))
        assert torch.equal(estimates[-COUNT:], states[-COUNT:])
        assert len(figure.frames) == 9
        assert figure.frames[0] == "step 0 of 8, t = 1.000, blur 3.00 px"
        assert figure.frames[-1].startswith("step 8 of 8, t = 0.000")

    def test_the_forward_process_is_the_run_s(self, subject):
        (figure,) = melting(subject).figures
        process, held_out = subject.run.denoiser.process, subject.data.test
        x = held_out.read([k * len(held_out) // 6 for k in range(6)])
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(SEED))
        latents, signals = (decoded(view.sheet).unflatten(0, (41, 6)) for view in figure.views)
        for frame, t in ((0, 0.0), (10, 0.25), (40, 1.0)):
            assert torch.equal(latents[frame], to_pixels(process.corrupt(x, noise, t), (0.0, 1.0)))
            assert torch.equal(signals[frame], to_pixels(process.degrade(x, t)[0], (0.0, 1.0)))
            assert figure.frames[frame].startswith(f"t = {t:.3f}")

    def test_the_tree_is_the_library_s(self, subject):
        (figure,) = scales(subject).figures
        tree = branch(
            subject.sampler,
            times=[0.75, 0.5, 0.25],
            children=(3, 2, 2),
            generator=torch.Generator().manual_seed(SEED),
        )
        expected = torch.cat([generation.states for generation in tree.generations])
        assert torch.equal(decoded(figure.views[1].sheet), to_pixels(expected, (0.0, 1.0)))
        assert [len(parents) for parents in figure.parents] == [1, 3, 6, 12]
        assert figure.parents[2] == [0, 0, 1, 1, 2, 2]

    def test_states_and_noises_are_crossed(self, subject):
        (figure,) = crossing(subject).figures
        tiles = decoded(figure.sheet).unflatten(0, (5, 7))
        expected = draw_crossed(subject.sampler, 5, 6, seed=SEED)
        assert torch.equal(tiles[:, 1:].flatten(0, 1), to_pixels(expected.flatten(0, 1), (0.0, 1.0)))
        initial = subject.sampler.initial_latents(5, generator=torch.Generator().manual_seed(SEED))
        assert torch.equal(tiles[:, 0], to_pixels(initial, (0.0, 1.0)))

    def test_ways_between_seeds_end_in_their_samples(self, subject):
        (figure,) = between(subject).figures
        tiles = decoded(figure.sheet).unflatten(0, (4, 11))
        ends = to_pixels(subject.run.sample(8, generator=range(SEED, SEED + 8)), (0.0, 1.0)).unflatten(0, (4, 2))
        # Batches of other sizes round otherwise.
        assert (tiles[:, [0, -1]].int() - ends.int()).abs().max() <= 1
        assert figure.rows[1] == f"seeds {SEED + 2} to {SEED + 3}"

    def test_neighbours_are_the_nearest_training_examples(self, subject):
        figure, facts = nearest(subject).figures
        training = torch.cat(list(subject.data.train.blocks()))
        # The run mirrors half of them.
        training = torch.cat([training, training.flip(-1)])
        samples = subject.samples.clamp(0, 1)
        found = nearest_neighbours(samples, training, count=3)
        order = found.order()[:8]
        tiles = decoded(figure.sheet).unflatten(0, (8, 4))
        assert torch.equal(tiles[:, 0], to_pixels(samples[order], (0.0, 1.0)))
        assert torch.equal(tiles[:, 1], to_pixels(training[found.indices[order, 0]], (0.0, 1.0)))
        assert figure.notes[0] == ["", *(f"{d:#.3g}" for d in found.distances[order[0]].tolist())]
        assert "1437 training examples and their mirror images" in facts.says

    def test_spectra_are_the_library_s(self, subject):
        spectra, ratios = power(subject).figures
        train = subject.data.train
        expected = power_spectrum(train.read([k * len(train) // 512 for k in range(512)]))
        torch.testing.assert_close(torch.tensor(spectra.lines[0].y).double(), expected.power[1:], rtol=1e-6, atol=0)
        low = expected.power[1:] - 2 * expected.error[1:]
        torch.testing.assert_close(torch.tensor(spectra.lines[0].low).double(), low, rtol=1e-6, atol=0)
        assert len(ratios.lines[0].x) == len(ratios.lines[0].y) == len(ratios.lines[0].high)

    def test_curves_are_what_was_recorded(self, subject, folder):
        loss, *_ = curves(subject).figures
        lines = read_metrics(folder / "metrics.jsonl")
        assert list(zip(loss.lines[0].x, loss.lines[0].y, strict=True)) == [(m["step"], m["loss"]) for m in lines]
        assert loss.lines[1].y == tuple(m["held_out_loss"] for m in lines if "held_out_loss" in m)

    def test_of_a_long_record_some_points_are_drawn_and_it_says_so(self, folder, tmp_path):
        run = shutil.copytree(folder, tmp_path / "run")
        lines = [json.dumps({"step": step, "loss": 1 / step}) for step in range(1, 1202)]
        (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        (loss,) = curves(Subject(load_run(run), count=2, seed=0)).figures
        (line,) = loss.lines
        assert len(line.x) == 500
        assert (line.x[0], line.x[-1]) == (1, 1201)
        assert loss.says.startswith("As recorded, 500 points of 1201;")

    def test_the_record_names_no_folder_of_the_machine(self, subject, folder):
        facts, settings, manifest = record(subject).figures
        assert ("prediction", "PredictPreviousLevel(levels=None)") in facts.rows
        assert json.loads(manifest.text)["parameters"] == subject.run.manifest.content["parameters"]
        for text in (settings.text, manifest.text, str(facts.rows)):
            assert str(folder.parent) not in text


class TestMissing:
    @pytest.mark.full
    def test_without_its_data_a_run_says_what_is_left_out(self, fields, tmp_path, monkeypatch):
        run = shutil.copytree(fields, tmp_path / "fields")
        (fields.parent / "fields.npy").rename(tmp_path / "elsewhere.npy")
        try:
            with pytest.warns(UserWarning, match="fields is shown without its data: .*fields.npy"):
                page = build_gallery([load_run(run)], count=2)
            with_data = build_gallery([load_run(run)], count=2, places=[tmp_path / "elsewhere.npy"])
        finally:
            (tmp_path / "elsewhere.npy").rename(fields.parent / "fields.npy")
        for name in ("forward", "neighbours", "spectra"):
            (panel,) = shown_by(page, name)
            assert not panel["figures"]
            assert panel["missing"] == "Left out: it needs the data that the run was trained on, which are not at hand."
            assert shown_by(with_data, name)[0]["figures"]
        assert shown_by(page, "samples")[0]["figures"]
        for folder in (tmp_path, fields.parent):
            assert str(folder) not in page

    @pytest.mark.full
    def test_other_data_are_not_taken_for_those_of_the_run(self, fields, tmp_path):
        np.save(tmp_path / "others.npy", np.ones((20, 5, 8, 8), np.float32))
        with pytest.warns(UserWarning, match="trained on other images"):
            page = build_gallery([load_run(fields)], count=1, places=[tmp_path / "others.npy"])
        assert shown_by(page, "neighbours")[0]["missing"].endswith("which are other ones now.")

    @pytest.mark.full
    def test_a_sampler_without_noise_has_no_tree_and_nothing_to_share(self, tmp_path):
        run = trained(tmp_path, prediction=PredictX(), sampler=Posterior(coupling=Deterministic()))
        subject = Subject(load_run(run), count=2, seed=0)
        for panel in (scales(subject), crossing(subject)):
            assert "add no noise" in panel.missing
            assert not panel.figures
        assert between(subject).figures

    def test_an_export_has_no_curves(self, folder, tmp_path):
        main(["export", str(folder), "--out", str(tmp_path / "model")])
        subject = Subject(load_run(tmp_path / "model"), count=2, seed=0)
        assert curves(subject).missing.startswith("Left out: there is no metrics.jsonl")

    @pytest.mark.full
    def test_figures_of_another_checkpoint_or_half_a_file_are_not_shown(self, folder, tmp_path):
        run = shutil.copytree(folder, tmp_path / "run")
        subject = Subject(load_run(run), count=2, seed=0)
        assert "unmelt evaluate makes them" in measured(subject).missing
        path = run / "memorisation.json"
        told = {"checkpoint": "step_00000003", "seed": 0, "samples": 9, "held_out": 4, "training_images": 7}
        told |= {"median": 1.0, "held_out_median": 2.0, "quantile": 0.05, "share": 0.5, "share_error": 0.1}
        told |= {"copies": 0.25, "held_out_copies": 0.0}
        path.write_text(json.dumps(told))
        assert measured(subject).missing
        path.write_text(json.dumps({**told, "checkpoint": subject.run.checkpoint.name}))
        (facts,) = measured(subject).figures
        assert ("copies", "25.0% (held-out examples 0.0%)") in facts.rows
        assert "9 samples, 4 held-out examples, 7 training examples" in facts.says
        path.write_text(json.dumps({"checkpoint": subject.run.checkpoint.name}))
        (facts,) = measured(subject).figures
        assert "is not whole" in facts.rows[0][1]
        path.write_text("{")
        assert "memorisation.json is damaged" in measured(subject).missing

    @pytest.mark.full
    @pytest.mark.filterwarnings("ignore:a network that predicts the previous level")
    def test_key_numbers_are_those_of_most_examples_and_say_how_their_samples_were_drawn(self, folder, tmp_path):
        run = shutil.copytree(folder, tmp_path / "measured")
        for images, samples in ((30, 0), (8, 9)):
            few = ["--images", str(images), "--fit-images", "20", "--samples", str(samples), "--batch-size", "64"]
            main(["evaluate", str(run), *few])
        told = dict(key_numbers([Subject(load_run(run), count=COUNT, seed=SEED, steps=4)]))
        assert told["bits per dimension"][0].endswith(" (30 examples)")
        assert told["sampler"][0].endswith(", 4 steps")
        assert told["measured samples"] == ["9, drawn in 8 steps"]
        assert told["copies"][0].endswith(" of 9 samples, drawn in 8 steps")


class TestPage:
    def test_what_it_holds_cannot_break_out_of_it(self):
        nasty = "</script><script>alert(1)</script><!--[title]--><!--\u2028é"
        page = fill(title="<b>&", content={"runs": [nasty], "key": [], "sections": []})
        assert content_of(page)["runs"] == [nasty]
        assert "alert(1)</script>" not in page
        assert "<title>&lt;b&gt;&amp;: unmelt gallery</title>" in page
        assert page.count("<script") == 2

    @pytest.mark.full
    def test_it_asks_for_nothing_elsewhere(self, folder):
        page = build_gallery([load_run(folder)], count=2)
        assert "default-src 'none'" in page
        bare = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
        # The name of a language of drawings is no address.
        assert re.findall(r"https?://[^\"' ]+", bare) == ["http://www.w3.org/2000/svg"]
        assert "<!--[" not in bare
        assert "import " not in bare

    def test_channels_of_any_number_are_shown_in_the_declared_range(self, fields):
        run = load_run(fields)
        assert run.manifest.shape == (5, 8, 8)
        subject = Subject(run, count=2, seed=0)
        (figure,) = drawn(subject).figures
        expected = to_pixels(run.sample(2, generator=range(2)), run.manifest.data_range)
        assert torch.equal(decoded(figure.sheet), expected)
        assert "Means of its 5 channels" in figure.says

    @pytest.mark.full
    def test_signals_of_one_axis_have_every_section(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(30, 64)).astype(np.float32).cumsum(1)
        np.save(tmp_path / "signals.npy", values)
        data = ArrayFile(tmp_path / "signals.npy", channels=Channels.NONE)
        network = later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=())
        page = build_gallery([load_run(trained(tmp_path, data=data, network=network, flip=False))], count=2)
        for chapter in CHAPTERS:
            (panel,) = shown_by(page, chapter.name)
            assert panel["figures"] or chapter.name == "measured"

    @pytest.mark.full
    def test_runs_stand_side_by_side(self, folder, fields):
        page = build_gallery([load_run(folder), load_run(fields)], count=2)
        content = content_of(page)
        assert content["runs"] == ["small", "fields"]
        for section in content["sections"]:
            assert len(section["panels"]) == 2
        key = dict(content["key"])
        assert key["process"][0].startswith("HeatDissipation(")
        assert key["examples"][1].endswith("5 x 8 x 8")
        assert [s["name"] for s in content["sections"]] == [chapter.name for chapter in CHAPTERS]

    @pytest.mark.full
    def test_runs_of_one_name_are_numbered(self, folder):
        run = load_run(folder)
        assert content_of(build_gallery([run, run], count=1))["runs"] == ["small (1)", "small (2)"]

    @pytest.mark.full
    def test_its_steps_are_those_asked_for(self, tmp_path):
        run = load_run(trained(tmp_path, prediction=PredictX()))
        (panel,) = shown_by(build_gallery([run], count=1, steps=4), "trajectories")
        assert len(panel["figures"][0]["frames"]) == 5

    def test_as_many_places_as_runs(self, folder):
        run = load_run(folder)
        with pytest.raises(ValueError, match="2 places of data for 1 runs: give one for all of them, or one for each"):
            build_gallery([run], places=["a", "b"])
        with pytest.raises(ValueError, match="runs must be at least 1"):
            build_gallery([])


class TestCommand:
    @pytest.mark.full
    def test_it_writes_one_file_and_overwrites_none(self, folder, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        main(["gallery", str(folder), "--count", "2"])
        assert capsys.readouterr().out.startswith("wrote gallery.html (0.")
        assert [path.name for path in tmp_path.iterdir()] == ["gallery.html"]
        before = Path("gallery.html").read_text(encoding="utf-8")
        with pytest.raises(SystemExit, match="error: gallery.html is there already"):
            main(["gallery", str(folder)])
        assert Path("gallery.html").read_text(encoding="utf-8") == before
        main(["gallery", str(folder), "--count", "3", "--force"])
        assert len(shown_by(Path("gallery.html").read_text(encoding="utf-8"), "samples")[0]["figures"][0]["tiles"]) == 3

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--out", "page.pdf"], r"error: --out page.pdf: give a name that ends in .html"),
            (["--count", "0"], r"error: --count must be at least 1, got 0"),
            (["nowhere"], r"error: nowhere holds no run"),
        ],
    )
    def test_what_is_wrong_is_told_in_one_line(self, folder, tmp_path, monkeypatch, words, message):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit, match=message):
            main(["gallery", str(folder), *words])
        assert not list(tmp_path.iterdir())
