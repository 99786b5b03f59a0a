"""The page on extending: every row of its table is true, and every example is used by what it extends."""

import contextlib
import io
import json
import re
import sys
from pathlib import Path

import pytest

from unmelt.commands import main
from unmelt.core.configuration import parse
from unmelt.degradations import Step
from unmelt.recipes.digits_heat import RECIPE
from unmelt.training import launch

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
PARTS = [
    *("process", "basis", "schedule", "coupling", "prediction", "weighting", "time distribution", "prior", "decoder"),
    *("stepper", "grid", "network", "data set", "metric"),
]


def rows():
    (table,) = re.findall(r"(\| part \|.*?)\n\n", PAGE, re.DOTALL)
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {re.findall(r"\[(.+)\]", part)[0]: cells for part, *cells in found}


ROWS = rows()


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def example(part):
    """Return the class of a part's section, with the imports above it."""
    return blocks(SECTIONS[part.capitalize()])[0]


@pytest.fixture(scope="module")
def names():
    """What the page's code leaves, run from top to bottom in a module of its own: classes are pickled by their name."""
    module = type(sys)("extending_page")
    sys.modules["extending_page"] = module
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks(PAGE):
            exec(compile(block, "extending.md", "exec"), module.__dict__)  # noqa: S102
    yield {**module.__dict__, "printed": printed.getvalue()}
    del sys.modules["extending_page"]


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A file with all classes of the page, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    Path("my_parts.py").write_text("\n".join(example(part) for part in PARTS))


def test_the_table_lists_every_part():
    assert list(ROWS) == PARTS
    assert [*SECTIONS] == [part.capitalize() for part in PARTS]


@pytest.mark.parametrize("part", PARTS)
def test_base_class_file_and_methods_exist(part):
    bases, methods, _, _ = ROWS[part]
    (file,) = re.findall(r"`([\w/]+\.py)`", bases)
    text = (ROOT / file).read_text()
    for base in re.findall(r"`(\w+)`", bases):
        assert re.search(rf"class {base}\b", text), base
    found = re.findall(r"`(\w+)\(", methods)
    # What `coefficients.py` says of a process's curves; `fit` is each prior's own.
    found = [method for method in found if method != "fit"]
    text += (ROOT / "degradations" / "coefficients.py").read_text() if part == "process" else ""
    assert found
    for method in found:
        assert f"def {method}(" in text, method
        assert f"def {method}(" in example(part) or f"{method} = " in example(part), method


@pytest.mark.parametrize("part", PARTS)
def test_the_lines_are_counted(part):
    code = re.sub(r".*?(?=^(@dataclass|class ))", "", example(part), count=1, flags=re.DOTALL | re.MULTILINE)
    counted = [line for line in code.splitlines() if line.strip() and not line.startswith("@dataclass")]
    assert len(counted) == int(ROWS[part][2])


@pytest.mark.full
def test_nobody_ships_the_examples(names):
    classes = [re.findall(r"class (\w+)", example(part))[0] for part in PARTS]
    assert len({*classes}) == len(PARTS)
    for name in classes:
        assert names[name].__module__ == "extending_page"
        own = [path for path in ROOT.glob("[a-z]*/**/*.py") if "tests" not in path.parts]
        assert not [path for path in own if f"class {name}(" in path.read_text()]


def test_the_code_runs_and_every_part_does_something(names):
    assert names["printed"].count("laws hold") == 3
    for name in ("redegraded", "coupled", "quadratic"):
        assert names[name].shape == (4, 1, 8, 8)
        assert names[name].isfinite().all()
    assert names["bound"].total.isfinite().all()
    assert (len(names["stripes"].train), len(names["stripes"].test)) == (400, 100)
    # Steps: q is the posterior of a Markov chain late, and deterministic early.
    process = names["process"]
    coupling = names["MarkovUntil"]()
    late, early = (Step.between(process.at(s), process.at(t), coupling) for s, t in ((0.4, 0.5), (0.1, 0.2)))
    assert (late.posterior.stddev > 0).all()
    assert (early.posterior.stddev == 0).all()


def test_the_report_has_the_metric_beside_its_floor(names):
    (line,) = [line for line in names["printed"].splitlines() if line.startswith("Brightness()")]
    value, floor = map(float, re.findall(r"Brightness\(\) ([\d.]+), floor ([\d.]+)", line)[0])
    # The mean of x^2 is 1/3 where that of x is 1/2, and means of 64 numbers are off by 0.04.
    assert abs(value - 1 / 6) < 0.04
    assert floor < 0.04


FLAGS = {
    "process": ["--process", "my_parts.py:Etching"],
    "basis": ["--process", "ChangedBasis.of(process=IsotropicDiffusion, basis=my_parts.py:WalshBasis)"],
    "schedule": ["--process", "IsotropicDiffusion(schedule=my_parts.py:PolynomialSchedule())"],
    "coupling": ["--sampler", "Posterior(coupling=my_parts.py:MarkovUntil(until=0.2))"],
    "prediction": ["--prediction", "my_parts.py:PredictEDM", "--prediction.data-std", "0.3"],
    "weighting": ["--weighting", "my_parts.py:BandWeighting(width=3.0)"],
    "time distribution": ["--times", "my_parts.py:PowerTimes"],
    "prior": ["--prior", "my_parts.py:MeanPrior.fit"],
    "stepper": ["--sampler", "my_parts.py:Redegrade"],
    "grid": ["--grid", "my_parts.py:QuadraticGrid(steps=3)"],
    "network": ["--network", "my_parts.py:PlainNetwork", "--network.width", "16"],
    "data set": ["--data", "my_parts.py:Stripes", "--data.count", "500"],
}


@pytest.mark.parametrize("part", [part for part in PARTS if part not in {"decoder", "metric"}])
def test_a_recipe_takes_it_by_its_place(part, parts):
    (name,) = re.findall(r"class (\w+)", example(part))
    taken = ROWS[part][3]
    assert FLAGS[part][0] in taken or taken.startswith("part of")
    assert name in repr(parse(RECIPE, FLAGS[part]))


@pytest.mark.full
def test_evaluate_takes_a_metric(parts):
    tiny = ["--training.steps", "2", "--network.channels", "8", "--pictures.count", "4", "--name", "tiny"]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        launch(RECIPE, arguments=[*tiny, "--grid", "UniformGrid(steps=3)"])
        main(["evaluate", "runs/tiny", "--images", "0", "--samples", "16", "--metric", "my_parts.py:Brightness"])
    assert "Brightness() " in told.getvalue()
    assert json.loads(Path("runs/tiny/samples.json").read_text())["others"]["Brightness()"]["floor_count"] == 16
