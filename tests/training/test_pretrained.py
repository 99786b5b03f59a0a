"""Models by the methods of the hub's library: to a folder and back, without a network."""

import shutil
from pathlib import Path

import pytest
import torch
from small_runs import contents, images, small_run, train
from user_files import fog, lay

from unmelt import PretrainedModel, load_run
from unmelt.core.configuration import parse
from unmelt.degradations import PredictX
from unmelt.samplers import Posterior


def samples(model):
    return model.run.sample(3, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(small_run(tmp_path_factory.mktemp("runs"), steps=2), images()).run.path


@pytest.fixture
def model(trained):
    return PretrainedModel(load_run(trained))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Let a folder stand for the hub; return what was asked of it."""
    asked = {}

    class Hub:
        def __init__(self, **options):
            pass

        def create_repo(self, **options):
            asked.update(options)
            return type("Repository", (), options)

        def upload_folder(self, *, folder_path, repo_id, **options):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)
            return "https://hub/commit"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    return asked


@pytest.mark.full
def test_a_model_is_saved_to_a_folder_and_comes_back(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    again = PretrainedModel.from_pretrained(tmp_path / "saved")
    assert torch.equal(samples(again), samples(model))
    # What came back can be saved again; and a run is a folder too.
    again.save_pretrained(str(tmp_path / "again"))
    assert contents(tmp_path / "again") == contents(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text().startswith("---\n# license: mit\nlibrary_name: unmelt\n")
    assert torch.equal(samples(PretrainedModel.from_pretrained(model.run.folder.path)), samples(model))


def test_nothing_is_overwritten_least_of_all_itself(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    before = contents(tmp_path / "saved")
    with pytest.raises(FileExistsError, match="not overwritten"):
        PretrainedModel.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "saved")
    assert contents(tmp_path / "saved") == before


@pytest.mark.parametrize(("options", "private"), [({}, True), ({"private": False}, False)])
def test_it_is_pushed_whole_and_kept_private_unless_one_says_otherwise(model, hub, tmp_path, options, private):
    assert model.push_to_hub("somebody/small", **options) == "https://hub/commit"
    assert hub["private"] is private
    pushed = PretrainedModel.from_pretrained(tmp_path / "hub" / "somebody" / "small")
    assert torch.equal(samples(pushed), samples(model))


@pytest.mark.full
def test_a_repository_is_fetched_and_read(model, tmp_path, monkeypatch):
    """As links into a cache, which is how the hub's library keeps it."""
    model.save_pretrained(tmp_path / "blobs")
    cache = tmp_path / "cache" / "models--somebody--small"
    snapshot = cache / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    for file in (tmp_path / "blobs").iterdir():
        (snapshot / file.name).symlink_to(file)
    again = PretrainedModel.from_pretrained("somebody/small", cache_dir=tmp_path / "cache", local_files_only=True)
    assert torch.equal(samples(again), samples(model))
    with pytest.raises(OSError, match="annot find the requested files"):
        PretrainedModel.from_pretrained("somebody/else", cache_dir=tmp_path / "cache", local_files_only=True)


def test_an_option_that_it_has_not_is_refused(trained):
    with pytest.raises(TypeError, match="takes no map_location: only trust_code"):
        PretrainedModel.from_pretrained(trained, map_location="cpu")


def test_its_code_is_run_only_where_it_is_trusted(work, tmp_path):
    lay(work, {"own_fog.py": fog()})
    config = small_run(tmp_path / "runs", steps=1, prediction=PredictX(), sampler=Posterior())
    trained = train(parse(config, ["--process", "own_fog.Fog"]), images()).run.path
    PretrainedModel(load_run(trained, trust_code=True)).save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "code" / "own_fog.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'run')!r}).touch()\n" + fog()
    )
    with pytest.raises(ValueError, match="own_fog.Fog.* not run unless it is trusted"):
        PretrainedModel.from_pretrained(tmp_path / "saved")
    assert not (tmp_path / "run").exists()
    assert PretrainedModel.from_pretrained(Path(tmp_path, "saved"), trust_code=True).run.step == 1
    assert (tmp_path / "run").exists()
