"""README is short, its code is run as it stands there, and what it names exists."""

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from unmelt.core.pictures import save_images
from unmelt.training import RunConfig, launch

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MOST_WORDS = 900
SHORT = [
    *("--training.steps", "2", "--training.batch-size", "2", "--training.cpu", "--training.workers", "0"),
    *("--network.channels", "8", "--network.blocks", "1", "--pictures.count", "2", "--grid", "UniformGrid(steps=2)"),
]


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def code_of(title):
    (code,) = re.findall(r"```python\n(.*?)```", section(title), re.DOTALL)
    return code


def lines(code):
    return [line for line in code.splitlines() if line.strip()]


def recipe(name):
    names = {"__name__": name}
    exec((ROOT / "recipes" / f"{name}.py").read_text(), names)  # noqa: S102
    return names["RECIPE"]


def test_it_takes_thirty_seconds():
    # As `wc -w` counts them.
    assert len(README.split()) <= MOST_WORDS
    (first_commands,) = re.findall(r"```\n(.*?)```", section("Train on my folder"), re.DOTALL)
    assert len(lines(first_commands)) <= 5
    assert len(lines(code_of("Draw from the run"))) <= 5
    code = code_of("A degradation of your own")
    assert len(lines(code[code.index("class") :])) <= 10


def test_one_sentence_and_a_moving_picture_come_first():
    top = README.split("\n## ")[0]
    (name,) = re.findall(r"!\[[^\]]+\]\((.+?)\)", top)
    assert (ROOT / name).stat().st_size < 1.5e6
    with Image.open(ROOT / name) as picture:
        assert picture.n_frames > 10
        assert picture.info["loop"] == 0
        durations = []
        for i in range(picture.n_frames):
            picture.seek(i)
            durations.append(picture.info["duration"])
    # It pauses at its end, on what is finished.
    assert durations[-1] >= 1500
    assert durations[-1] > 10 * max(durations[:-1])


def test_the_run_of_a_folder_is_drawn_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    save_images(Path("photos"), torch.rand(12, 3, 64, 64), (0.0, 1.0), 0)
    (words,) = re.findall(r"^unmelt train folder (.*)$", README, re.MULTILINE)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        launch(recipe("folder"), arguments=[*words.split(), *SHORT])
    names: dict[str, object] = {}
    exec(compile(code_of("Draw from the run").replace("steps=20", "steps=2"), "README.md", "exec"), names)  # noqa: S102
    assert names["x"].shape == names["few"].shape == (16, 3, 64, 64)


def test_the_example_of_a_degradation_is_a_valid_process():
    names: dict[str, object] = {}
    exec(compile(code_of("A degradation of your own"), "README.md", "exec"), names)  # noqa: S102
    process = names["Fog"]((1, 6, 5))
    grid = torch.linspace(0, 1, 33, dtype=torch.float64)
    assert (process.log_snr(grid).diff(dim=0) <= 0).all()


@pytest.mark.full
def test_the_recipe_that_it_names_trains_the_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fog.py").write_text(code_of("A degradation of your own"))
    (name, words) = re.findall(r"^unmelt train (\w+) (--process fog.*)$", README, re.MULTILINE)[0]
    # Another page's fog.py may have been imported, and is to be again.
    monkeypatch.delitem(sys.modules, "fog", raising=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer = launch(recipe(name), arguments=[*words.split(), *SHORT])
        assert type(trainer.denoiser.process).__name__ == "Fog"
    finally:
        sys.modules.pop("fog", None)


@pytest.mark.parametrize("name", re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(`\w+`.*?)\|", README, re.MULTILINE))))
def test_recipes_of_its_table_exist(name):
    assert isinstance(recipe(name), RunConfig)


def test_its_table_has_all_recipes():
    table = section("Recipes")
    here = {path.stem for path in (ROOT / "recipes").glob("*.py")} - {"__init__", "diffusers_ddim"}
    assert {name for name in here if f"`{name}`" not in table} == set()


def test_measured_and_published_numbers_are_those_of_the_page_of_recipes():
    """And what nobody measured here is marked as its paper's."""
    page = (ROOT / "docs" / "recipes.md").read_text()
    rows = [row.strip("|").split("|") for row in section("Recipes").splitlines() if row.startswith("|`")]
    for names, _, reach in rows:
        for number in re.findall(r"\d+\.\d+", reach):
            assert f"FID {number}" in page
            assert "the paper's" in reach
        if shares := re.findall(r"(\d+) %", reach):
            ours, real = shares
            (line,) = (line for line in page.splitlines() if line.startswith(f"| {names} | ") and " % " in line)
            assert f"{ours} % of samples recognised" in line
            assert re.search(rf"held-out digits: {real}\b", line)
            assert "measured" in reach


def test_files_that_are_named_exist():
    named = re.findall(r"`((?:[\w]+/)+[\w.]+|[A-Z]+(?:\.md)?|[\w]+\.txt)`", README)
    named += [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert len(named) > 25
    # Runs and the site are made by what is said beside them.
    missing = [path for path in named if not path.startswith(("runs/", "build/")) and not (ROOT / path).exists()]
    assert not missing


def test_the_two_commands_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target} " in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_it_has_a_licence_a_citation_and_the_papers():
    assert "MIT" in section("Licence and citation")
    assert "@software{unmelt," in section("Licence and citation")
    papers = set(re.findall(r"https://arxiv\.org/abs/(\d{4}\.\d{5})", README))
    # DDPM, blurring diffusion, DDIM, cold diffusion, inverse heat dissipation.
    assert papers == {"2006.11239", "2209.05557", "2010.02502", "2208.09392", "2206.13397"}
