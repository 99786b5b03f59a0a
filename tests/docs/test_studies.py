"""The scripts that write tables and pictures of pages: they can be run, and pages have a place for each table."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "recipes" / "studies"
MAKEFILE = (ROOT / "Makefile").read_text()
NAMES = ("pages", "likelihood", "sampling_models", "sampling_pictures", "sampling", "priors", "restoration")


@pytest.fixture
def modules(monkeypatch):
    """Import the studies as their own scripts do: from the folder that they lie in."""
    monkeypatch.syspath_prepend(str(STUDIES))
    yield {name: __import__(name) for name in NAMES}
    for name in NAMES:
        del sys.modules[name]


def test_no_script_of_the_documentation_trains_a_model():
    for script in (ROOT / "docs").rglob("*.py"):
        assert "unmelt.training" not in script.read_text()


@pytest.mark.parametrize("name", ["likelihood", "sampling", "priors", "restoration"])
def test_each_has_its_target(name):
    assert f"python recipes/studies/{name}.py" in MAKEFILE
    assert re.search(rf"^{name}:", MAKEFILE, re.MULTILINE)


def test_the_files_of_all_targets_are_there():
    scripts = re.findall(r"\$\(BIN\)/python ([\w/]+\.py)", MAKEFILE)
    assert len(scripts) > 5
    assert all((ROOT / script).is_file() for script in scripts)


def test_their_models_can_be_built(modules):
    likelihood, sampling = modules["likelihood"], modules["sampling_models"]
    for config in (*likelihood.MODELS.values(), sampling.X, sampling.LESS):
        assert config.process((1, 8, 8)).shape == (1, 8, 8)
        assert config.folder.parent == ROOT / "runs"
    assert len(likelihood.rows((1, 8, 8))) == 14
    assert len(sampling.METHODS) + len(sampling.FEW) == 9


@pytest.mark.parametrize(
    ("page", "tables"),
    [
        ("concepts/likelihood", ["oracles", "models"]),
        ("concepts/sampling", ["restarts", "distances", "qualities"]),
        ("concepts/priors", ["digits", "photographs"]),
        ("how_to/restoration", ["restorations", "guidances"]),
    ],
)
def test_pages_have_a_place_for_their_tables(page, tables, modules, tmp_path):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    copy = tmp_path / "page.md"
    for table in tables:
        copy.write_text(text)
        modules["pages"].write_table(copy, table, "| new |")
        assert f"<!-- {table} -->\n\n| new |\n\n<!-- end of {table} -->" in copy.read_text()
    with pytest.raises(ValueError, match="no place"):
        modules["pages"].write_table(copy, "weather", "")


@pytest.mark.full
def test_a_model_is_trained_once(modules, tmp_path):
    full = modules["sampling"].X
    short = replace(full.training, steps=2, checkpoint_every=2, sample_every=2)
    config = replace(full, root=tmp_path, training=short)
    folder = modules["pages"].trained(config)
    (checkpoint,) = (folder / "checkpoints").iterdir()
    trained = checkpoint.stat().st_mtime
    assert modules["pages"].trained(config) == folder
    assert checkpoint.stat().st_mtime == trained
