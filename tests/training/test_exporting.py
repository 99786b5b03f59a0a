"""A model as a folder to hand on: loaded as the run is, told when it is damaged, and beginning another run."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_runs import begin, changed, contents, images, parameters, small_run, train
from user_files import fog, lay

from unmelt import LoadedRun, load_run
from unmelt.core import later
from unmelt.core.configuration import parse
from unmelt.degradations import ConstantNoise, EqualVarianceBlur, GaussianBlur, PredictX
from unmelt.samplers import Posterior
from unmelt.training import ImageFolder, Splits, Trainer, export_run
from unmelt.training.folder.verified import DamagedError, seal

TENSORS = ["model.safetensors", "prior.safetensors", "fitted.safetensors", "spectrum.safetensors"]


def seeded():
    return torch.Generator().manual_seed(1)


def samples(run):
    return run.sample(3, generator=seeded())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with checkpoints of steps 2 and 4, two averages, and a process that was fitted to its images."""
    config = small_run(
        tmp_path_factory.mktemp("runs"),
        steps=4,
        checkpoint_every=2,
        # Another than the ramp of the first steps.
        ema_decay=(0.9, 0.1),
        process=later(GaussianBlur, blur=EqualVarianceBlur(3.0, levels=8), noise=ConstantNoise(0.1)),
        prediction=PredictX(),
        sampler=Posterior(),
    )
    return train(config, images()).run.path


@pytest.fixture
def exported(trained, tmp_path):
    return export_run(load_run(trained), tmp_path / "exported")


class TestExported:
    @pytest.mark.full
    def test_it_is_loaded_as_the_run_is_and_draws_the_same_samples(self, trained, exported, no_images):
        no_images()
        ours, theirs = load_run(exported), load_run(trained)
        assert isinstance(ours, LoadedRun)
        assert torch.equal(samples(ours), samples(theirs))
        assert (ours.step, ours.ema_decay, ours.checkpoint.name) == (4, 0.9, "model.safetensors")
        assert ours.denoiser.grey_levels == theirs.denoiser.grey_levels
        assert {path.name for path in exported.iterdir()} == {*TENSORS, "config.json", "manifest.json", "README.md"}

    def test_any_reader_of_such_files_reads_its_weights_by_their_plain_names(self, trained, exported):
        read = safetensors.torch.load_file(exported / "model.safetensors")
        assert read.keys() == load_run(trained).denoiser.state_dict().keys()
        assert {name: value.shape for name, value in read.items() if name.startswith("network.")}

    @pytest.mark.parametrize(("decay", "checkpoint"), [(0.1, None), (None, 2), (0.1, "step_00000002")])
    def test_it_is_of_the_average_and_checkpoint_asked_for(self, trained, tmp_path, decay, checkpoint):
        chosen = load_run(trained, ema_decay=decay, checkpoint=checkpoint)
        assert not torch.equal(samples(chosen), samples(load_run(trained)))
        again = load_run(export_run(chosen, tmp_path / "out"))
        assert torch.equal(samples(again), samples(chosen))
        assert (again.step, again.ema_decay) == (2 if checkpoint else 4, decay or 0.9)

    def test_what_it_has_not_is_told(self, exported):
        assert load_run(exported, ema_decay=0.9, checkpoint=4).step == 4
        with pytest.raises(ValueError, match=r"ema_decay=0.1: .* keeps averages of decay 0.9$"):
            load_run(exported, ema_decay=0.1)
        with pytest.raises(ValueError, match="is an exported model, of step 4 alone: leave checkpoint=2 out"):
            load_run(exported, checkpoint=2)

    def test_it_can_be_exported_again(self, exported, tmp_path):
        again = export_run(load_run(exported), tmp_path / "again")
        assert contents(again) == contents(exported)

    def test_it_says_nothing_of_this_machine(self, training, splits, tmp_path):
        place = tmp_path / "private" / "faces"
        config = training(steps=1, data=ImageFolder(place))
        train(config, splits)
        out = export_run(load_run(config.folder), tmp_path / "out")
        assert str(tmp_path).encode() in (config.folder / "config.json").read_bytes()
        assert not [name for name, content in contents(out).items() if str(tmp_path).encode() in (content or b"")]
        assert "command" not in json.loads((out / "manifest.json").read_text())
        assert load_run(out).config.data == ImageFolder(Path("faces"))


class TestDamage:
    @pytest.mark.parametrize("name", TENSORS)
    def test_a_damaged_or_missing_file_is_named(self, exported, name):
        file = exported / name
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(DamagedError, match=rf"{name} is damaged.*SHA-256.*export the run again"):
            load_run(exported)
        file.write_bytes(content[:-9])
        with pytest.raises(DamagedError, match=rf"{name} is damaged: \d+ bytes instead of"):
            load_run(exported)
        file.unlink()
        with pytest.raises(DamagedError, match=rf"{name} is missing"):
            load_run(exported)

    def test_a_manifest_that_does_not_tell_all_is_refused(self, exported):
        file = exported / "manifest.json"
        content = json.loads(file.read_text())
        del content["exported"]["files"]["model.safetensors"]
        file.write_text(json.dumps(content))
        with pytest.raises(DamagedError, match=r"exported: manifest.json is damaged.*model.safetensors"):
            load_run(exported)

    def test_weights_that_are_not_finite_are_not_exported(self, trained, tmp_path):
        run = load_run(trained)
        next(run.denoiser.parameters()).data.fill_(float("nan"))
        with pytest.raises(DamagedError, match="NaN or infinite"):
            export_run(run, tmp_path / "out")
        assert not list(tmp_path.iterdir())

    def test_nor_are_they_loaded(self, exported):
        """Whoever wrote them told what they are."""
        read = safetensors.torch.load_file(exported / "model.safetensors")
        next(iter(read.values())).fill_(float("inf"))
        content, file = safetensors.torch.save(read), exported / "manifest.json"
        manifest = json.loads(file.read_text())
        manifest["exported"]["files"]["model.safetensors"] = seal(content)
        file.write_text(json.dumps(manifest))
        (exported / "model.safetensors").write_bytes(content)
        with pytest.raises(DamagedError, match="model.safetensors holds weights that are NaN or infinite"):
            load_run(exported)

    def test_a_run_whose_prior_is_damaged_or_gone_is_not_exported(self, trained, tmp_path):
        run = shutil.copytree(trained, tmp_path / "run")
        file = run / "prior.safetensors"
        file.write_bytes(file.read_bytes()[:-9])
        with pytest.raises(ValueError, match=r"prior.safetensors: no whole safetensors file"):
            export_run(load_run(run), tmp_path / "out")
        file.unlink()
        with pytest.raises(FileNotFoundError, match=r"no .*prior.safetensors"):
            export_run(load_run(run), tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["run"]


class TestWriting:
    def test_nothing_is_overwritten_unless_it_is_forced(self, trained, exported):
        before = contents(exported)
        with pytest.raises(FileExistsError, match="exists and is not overwritten.*--force"):
            export_run(load_run(trained), exported)
        assert contents(exported) == before
        other = load_run(trained, ema_decay=0.1)
        export_run(other, exported, force=True)
        assert torch.equal(samples(load_run(exported)), samples(other))
        assert [path.name for path in exported.parent.iterdir()] == [exported.name]

    def test_what_is_no_export_is_never_removed(self, trained, exported, tmp_path):
        run = load_run(trained)
        (exported / "notes.txt").write_text("mine")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "config.json").write_text("{}")
        (tmp_path / "file").write_text("mine")
        before = contents(tmp_path), contents(trained)
        for folder, words in (
            (exported, "holds notes.txt, which no export writes"),
            (trained, "holds .*checkpoints"),
            (tmp_path / "mine", "is no exported model"),
            (tmp_path / "file", "is no exported model"),
        ):
            with pytest.raises(FileExistsError, match=words):
                export_run(run, folder, force=True)
        assert (contents(tmp_path), contents(trained)) == before

    def test_a_failure_leaves_what_was_there(self, trained, exported, monkeypatch):
        def full(*arguments, **options):
            msg = "no space left"
            raise OSError(msg)

        run, before = load_run(trained), contents(exported)
        monkeypatch.setattr("unmelt.training.exporting.model_card", full)
        with pytest.raises(OSError, match="no space left"):
            export_run(run, exported, force=True)
        with pytest.raises(OSError, match="no space left"):
            export_run(run, exported.parent / "other")
        assert contents(exported) == before
        assert [path.name for path in exported.parent.iterdir()] == [exported.name]

    def test_the_picture_and_the_figures_come_along(self, trained, tmp_path):
        run = shutil.copytree(trained, tmp_path / "run")
        (run / "samples" / "step_00000002.png").write_bytes(b"early")
        (run / "samples" / "step_00000004.png").write_bytes(b"late")
        figure = {"count": 6, "bits_per_dim": {"total": {"mean": 3.25, "stderr": 0.5}}}
        told = {"checkpoint": "step_00000004", "model_s_own": "fit", "bounds": {"fit": figure, "other": figure}}
        (run / "likelihood.json").write_text(json.dumps(told))
        # A first look, and an evaluation of another checkpoint.
        few = {"fit": {**figure, "count": 2}}
        (run / "likelihood_2.json").write_text(json.dumps({**told, "bounds": few}))
        many = {"fit": {**figure, "count": 90}}
        (run / "likelihood_90.json").write_text(json.dumps({**told, "checkpoint": "step_00000002", "bounds": many}))
        out = export_run(load_run(run), tmp_path / "out")
        assert (out / "samples.png").read_bytes() == b"late"
        card = (out / "README.md").read_text()
        assert "![samples](samples.png)" in card
        assert "| fit (the model's) | 3.2500 +- 0.5000 | 6 |\n| other | 3.2500 +- 0.5000 | 6 |\n" in card
        assert card.count("| fit") == 1
        (run / "samples.png").write_bytes(b"last")
        assert (export_run(load_run(run), tmp_path / "new") / "samples.png").read_bytes() == b"last"
        # That of an earlier checkpoint is its own.
        early = export_run(load_run(run, checkpoint=2), tmp_path / "early")
        assert (early / "samples.png").read_bytes() == b"early"


class TestCard:
    def test_it_begins_with_what_the_hub_reads_and_tells_what_the_model_is(self, trained, exported):
        from huggingface_hub import ModelCard  # noqa: PLC0415

        text = (exported / "README.md").read_text()
        head = ModelCard(text).data
        assert (head.library_name, head.tags, head.license) == ("unmelt", ["unmelt", "GaussianBlur"], None)
        count = load_run(trained).manifest.content["parameters"]
        for words in (f"{count:,} parameters", "4 of 4 steps, 4 images in a step; moving average of decay 0.9"):
            assert words in text
        assert "22 examples, 6 held out; 1 x 4 x 4, 256 levels in [0, 1]" in text

    def test_its_lines_of_code_draw_samples(self, exported):
        code = (exported / "README.md").read_text().split("```")[1].removeprefix("python\n")
        names = {}
        exec(code.replace("path/to/this/folder", str(exported)), names)  # noqa: S102  # of this test's own text
        assert names["x"].shape == (16, 1, 4, 4)


class TestGoingOn:
    def test_a_run_begins_with_its_weights(self, exported, trained, training, splits):
        like = load_run(trained)
        config = training("new", process=like.config.process, prediction=PredictX(), sampler=Posterior())
        new = begin(config, splits, init_from=exported)
        given = parameters(like.denoiser)
        assert all(torch.equal(value, given[name]) for name, value in parameters(new.denoiser).items())

    def test_it_is_not_resumed(self, exported, splits):
        config = load_run(exported).config
        config = changed(config, name=exported.name, root=exported.parent)
        before = contents(exported)
        with pytest.raises(ValueError, match="is an exported model.* --init-from .*exported --name OTHER"):
            begin(config, splits, resume=True)
        with pytest.raises(FileExistsError):
            Trainer(config, splits)
        assert contents(exported) == before


@pytest.mark.full
def test_code_of_the_user_s_comes_along_and_is_run_only_where_it_is_trusted(work, tmp_path):
    lay(work, {"own_fog.py": fog("3.0")})
    config = parse(
        small_run(tmp_path / "runs", steps=1, prediction=PredictX(), sampler=Posterior()),
        [
            *("--process", "own_fog.Fog"),
        ],
    )
    data = images()
    trained = train(config, Splits(data.train, data.test)).run.path
    run = load_run(trained, trust_code=True)
    expected, out = samples(run), export_run(run, tmp_path / "out")
    (work / "own_fog.py").write_text(fog("9.0"))
    with pytest.raises(ValueError, match="own_fog.Fog.* not run unless it is trusted"):
        load_run(out)
    assert torch.equal(samples(load_run(out, trust_code=True)), expected)
    assert (out / "code" / "own_fog.py").read_text() == fog("3.0")
    assert 'load_run("path/to/this/folder", trust_code=True)' in (out / "README.md").read_text()
