"""`unmelt train`."""

import json

import pytest

from unmelt import load_run
from unmelt.commands import main
from unmelt.commands.train import named, summaries

TINY = ["--training.steps=2", "--network.channels=4", "--process.levels=2", "--pictures.count=2", "--training.cpu"]
MINE = """
from dataclasses import replace

from unmelt.recipes.digits_heat import RECIPE as DIGITS

RECIPE = replace(DIGITS, name="mine")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_help_lists_all_recipes_a_line_each(capsys):
    main(["train", "--help"])
    shown = capsys.readouterr().out
    assert {"cifar10_heat", "folder", "churches128_blurring"} <= summaries().keys()
    for name, what in summaries().items():
        assert f"\n  {name} " in shown
        assert 10 < len(what) < 80
        assert named(name, trust_code=False)[0].name == name


@pytest.mark.full
def test_a_recipe_is_trained_gone_on_with_and_taken_from_its_record(here, capsys):
    main(["train", "digits_heat", "--name", "one", *TINY])
    with pytest.raises(SystemExit, match="error: runs/one is a run: --resume runs/one goes on with it"):
        main(["train", "runs/one"])
    capsys.readouterr()
    main(["train", "--resume", "runs/one"])
    assert "\nall 2 steps are done: only its pictures are drawn, again\n" in capsys.readouterr().out
    main(["train", "--resume", "runs/one", "--training.steps", "3"])
    assert load_run("runs/one").checkpoint.name == "step_00000003"
    main(["train", "runs/one/config.json", "--name", "two", "--training.steps", "1"])
    assert load_run("runs/two").config.process == load_run("runs/one").config.process
    with pytest.raises(SystemExit) as ended:
        main(["train", "digits_heat", "--help"])
    assert not ended.value.code
    assert "usage: unmelt train digits_heat [--FIELD VALUE]" in capsys.readouterr().out


def test_a_file_of_the_user_s_is_a_recipe(here):
    (here / "own_recipe.py").write_text(MINE)
    (here / "own_nothing.py").write_text("RECIPE = 3")
    assert named("own_recipe.py", trust_code=False)[0].name == "mine"
    with pytest.raises(SystemExit, match=r"error: own_nothing.py has no RECIPE"):
        main(["train", "own_nothing.py"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_recipe"], r"error: there is no recipe 'no_recipe', and no file; there are .*cifar10_heat"),
        (["cifar10_haet"], r"error: there is no recipe 'cifar10_haet' \(did you mean cifar10_heat\?\), and no file"),
        (["--name", "x"], r"error: name a recipe before --name, or a run to go on with"),
        (["broken.json"], r"error: broken.json: "),
        (["own.json"], r"error: own.json: process: 'own.Fog' is not one of .* --trust-code"),
        (["digits_heat", "--training.step", "3"], r"2"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(here, capsys, arguments, message):
    (here / "broken.json").write_text("{")
    record = {"name": "x", "data": "Digits()", "process": "own.Fog()", "network": "UNet()", "prediction": "PredictX()"}
    (here / "own.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit, match=message):
        main(["train", *arguments])
    assert not (here / "runs").exists()
