"""The page on custom degradations: its files are about ten lines, and recipes and commands take them."""

import os
import re
import subprocess
import sys

import pytest
from documentation import DOCS, ROOT, SHORT, python

from unmelt import degradations
from unmelt.commands import main
from unmelt.core.configuration import parse
from unmelt.recipes.digits_heat import RECIPE

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
