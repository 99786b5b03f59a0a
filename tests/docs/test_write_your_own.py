"""The page on degradations of one's own: its files are about ten lines, and recipes and commands take them."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documentation import DOCS, ROOT, SHORT, python

from unmelt import degradations
from unmelt.commands import main
from unmelt.core.configuration import parse
from unmelt.recipes.digits_heat import RECIPE
from unmelt.training import launch

PAGE = DOCS / "how_to" / "write_your_own.md"
OWN = PAGE.read_text()


def file_of(name):
    """Return the code that the page puts into the file `name`."""
    (code,) = (block for block in python(PAGE) if block.startswith(f"# {name}\n"))
    return code


@pytest.mark.parametrize("name", ["fog.py", "radial.py", "colour_first.py", "star.py"])
def test_each_example_is_about_ten_lines_and_nobody_ships_it(name):
    code = file_of(name)
    body = [line for line in code[code.index("class") :].splitlines() if line.strip()]
    assert len(body) <= 14
    (cls,) = re.findall(r"class (\w+)", code)
    assert not hasattr(degradations, cls)


@pytest.mark.parametrize("name", ["edm.py", "redegrade.py", "stripes.py"])
def test_each_other_part_is_about_ten_lines(name):
    code = file_of(name)
    assert len([line for line in code[code.index("@dataclass") :].split("\n\n\n")[0].splitlines() if line]) <= 12


def test_the_table_of_parts_names_their_files_and_methods():
    (table,) = re.findall(r"(\| part \|.*?)\n\n", OWN, re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert len(rows) == 9
    for _, bases, file, methods in rows:
        text = (ROOT / file.strip("`")).read_text()
        for method in re.findall(r"`(\w+)\(", methods):
            assert f"def {method}(" in text, (file, method)
        for base in re.findall(r"`(\w+)`", bases):
            assert base in text, (file, base)


@pytest.mark.full
def test_a_recipe_takes_the_other_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("edm", "redegrade", "stripes"):
        Path(f"{name}.py").write_text(file_of(f"{name}.py").split("\n\n\nguess")[0].split("\n\n\nred")[0])
    parts = re.findall(r"`(--prediction edm[^`]+|--data stripes[^`]+)`", OWN)
    assert len(parts) == 2
    words = shlex.split(f"{' '.join(parts)} --data.count 300 --sampler redegrade.py:Redegrade")
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = launch(RECIPE, arguments=[*words, *SHORT])
    assert str(trainer.config.prediction) == "PredictEDM(data_std=0.3)"
    assert trainer.draw(2, seed=0).isfinite().all()


@pytest.mark.full
def test_an_existing_recipe_trains_it_unchanged(tmp_path):
    (tmp_path / "fog.py").write_text(file_of("fog.py"))
    (command,) = re.findall(r"python (recipes/digits_heat\.py --process fog\.py:Fog --name fog)\n", OWN)
    script, *arguments = command.split()
    finished = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments, *SHORT],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert "recognised" in finished.stdout
    assert (tmp_path / "runs" / "fog" / "samples.png").is_file()
    assert '"process": "fog.Fog()"' in (tmp_path / "runs" / "fog" / "config.json").read_text()


def test_the_recipes_setting_takes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fog.py").write_text(file_of("fog.py"))
    for name in ("fog.py:Fog", "fog.Fog"):
        process = parse(RECIPE, ["--process", name]).process((1, 8, 8))
        assert type(process).__name__ == "Fog"


def test_its_command_draws_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "fog", raising=False)
    (tmp_path / "fog.py").write_text(file_of("fog.py"))
    assert "unmelt draw fog.py:Fog --image photo.jpg" in OWN
    main(["draw", "fog.py:Fog", "--shape", "3,12,12"])
    assert (tmp_path / "Fog.png").is_file()
