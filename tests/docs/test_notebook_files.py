"""The notebooks of the documentation: what is stored is whole and small, and each runs from its source."""

import ast
import importlib
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 400_000
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_of(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def plain(cell):
    """Return a cell's code without the lines that are IPython's own."""
    return re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)


def test_there_are_five():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@each
def test_it_is_valid_and_small(path):
    nbformat.validate(read(path))
    assert path.stat().st_size <= LARGEST


@each
def test_every_cell_of_code_has_prose_before_it(path):
    kinds = [cell.cell_type for cell in read(path).cells]
    assert kinds[0] == kinds[-1] == "markdown"
    assert all(before == "markdown" for before, here in pairwise(kinds) if here == "code")


@each
def test_outputs_are_stored_and_none_is_an_error(path):
    outputs = [output for cell in code_of(path) for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert kinds & {"image/png", "text/html"}
    assert not [kind for kind in kinds if "widget" in kind]
    assert "error" not in {output.output_type for output in outputs}
    assert not [output for output in outputs if output.get("name") == "stderr"]


@each
def test_nothing_in_it_is_of_one_machine(path):
    notebook = read(path)
    # Pictures are letters and slashes, too.
    texts = re.sub(r"[A-Za-z0-9+/=\\n]{200,}", "", path.read_text())
    assert not re.search(r"/(home|root|tmp|work|Users|usr)/|file://|site-packages", texts)
    assert {*notebook.metadata} == {"kernelspec", "language_info"}
    assert {*notebook.metadata.language_info} == {"name"}
    for number, cell in enumerate(notebook.cells):
        assert cell.id == f"cell-{number}"
        assert not cell.metadata
        assert cell.get("execution_count") is None


@each
def test_every_name_that_it_imports_exists(path):
    found = [node for cell in code_of(path) for node in ast.walk(ast.parse(plain(cell)))]
    froms = [node for node in found if isinstance(node, ast.ImportFrom)]
    ours = [node for node in froms if (node.module or "").partition(".")[0] == "unmelt"]
    assert ours
    for node in ours:
        module = importlib.import_module(node.module or "")
        assert not [name.name for name in node.names if not hasattr(module, name.name)]


@each
def test_its_links_lead_somewhere(path):
    prose = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(([^)#\s]+)\)", prose)
    assert targets
    assert not [target for target in targets if not (path.parent / target).exists()]


@pytest.mark.slow
@each
def test_it_runs_from_its_source(path, tmp_path):
    from nbclient import NotebookClient  # noqa: PLC0415

    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    assert [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
