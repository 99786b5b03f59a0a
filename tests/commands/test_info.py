"""`unmelt info`."""

import json
import re
import shutil

import pytest
from small_runs import images, small_run, train

from unmelt import load_run
from unmelt.commands import main
from unmelt.training import describe_run, export_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(small_run(tmp_path_factory.mktemp("runs"), steps=4, checkpoint_every=2), images()).run.path


def shown(folder, capsys, *, status=0):
    if status:
        with pytest.raises(SystemExit) as caught:
            main(["info", str(folder)])
        assert caught.value.code == status
    else:
        main(["info", str(folder)])
    return capsys.readouterr().out


def test_a_run_is_told_in_some_lines(trained, capsys):
    text = shown(trained, capsys)
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines()[1:])) <= 110
    for words in (
        "  name         small\n",
        "  process      HeatDissipation(blur_sigma_max=3.0",
        "  examples     22, 6 held out; 1 x 4 x 4, 256 levels in [0, 1]\n",
        "  steps        4 of 4, 4 examples in each\n",
        "  checkpoint   step_00000004, whole (of 2)\n",
        "  averages     of decay 0.9\n",
    ):
        assert words in text
    assert re.search(r"last numbers step 4, loss [\d.e-]+, .*images_per_second", text)
    assert "own code" not in text
    assert "fault" not in text


def test_an_exported_model_is_told_too(trained, tmp_path, capsys):
    text = shown(export_run(load_run(trained), tmp_path / "out"), capsys)
    assert "out: exported model\n" in text
    assert "  average      of decay 0.9\n" in text


def test_damage_is_told(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "checkpoints" / "step_00000004" / "state.json").write_text("{}")
    text = shown(run, capsys, status=1)
    assert "step_00000004, DAMAGED; the newest whole one: step_00000002 (of 2)" in text
    assert "  fault" in text
    (run / "prior.safetensors").unlink()
    assert "prior.safetensors, which samples start from" in " ".join(shown(run, capsys, status=1).split())
    (run / "manifest.json").write_text("{")
    (run / "config.json").unlink()
    text = shown(run, capsys, status=1)
    assert "last numbers step 4" in text
    assert text.count("  fault") == 4


def test_settings_that_make_no_run_and_lines_that_hold_no_numbers_are_faults(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write("nonsense\nmore of it\ncut o")
    # The last one is what a crash leaves.
    assert "metrics.jsonl: 2 lines are damaged" in " ".join(shown(run, capsys, status=1).split())
    record = json.loads((run / "config.json").read_text())
    record["process"] = record["process"].replace("blur_sigma_max", "blur_sigma_mix")
    (run / "config.json").write_text(json.dumps(record))
    assert "blur_sigma_mix" in shown(run, capsys, status=1).partition("  fault")[2]
    (run / "config.json").write_text("{}")
    assert "RunConfig lacks name" in " ".join(shown(run, capsys, status=1).split())


def test_a_folder_gives_the_terminal_no_orders(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((run / "config.json").read_text())
    record["process"] = "evil.Fog(\x1b[2J)"
    (run / "config.json").write_text(json.dumps(record))
    text = shown(run, capsys, status=1)
    assert "\x1b" not in text
    assert "evil.Fog(?[2J)" in text


def test_programs_get_json(trained, capsys):
    main(["info", str(trained), "--json"])
    assert json.loads(capsys.readouterr().out) == describe_run(trained)


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(SystemExit, match="error: .* holds no run"):
        main(["info", str(tmp_path)])
