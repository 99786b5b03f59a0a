"""The wheel that users install: whole, typed, with one name at the top, importable with no source beside it."""

import ast
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from built import needs_build, run

import unmelt

ROOT = Path(unmelt.__file__).parent
ASIDE = {"tests", "benchmarks", "docs", "build", "dist", "runs", "data"}

pytestmark = [pytest.mark.full, needs_build]


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """Install it into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", str(folder), str(wheel))
    return folder


def python(site, code, cwd):
    """Run `code` with the installed package and nothing of this repository on the path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    prologue = f"import sys; sys.path.insert(0, {str(site)!r})\n"
    return run(sys.executable, "-I", "-c", prologue + code, cwd=cwd, env=environment)


class TestWheel:
    def test_it_has_one_name_at_the_top(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            tops = {name.split("/")[0] for name in archive.namelist()}
        assert tops == {"unmelt", f"unmelt-{unmelt.__version__}.dist-info"}

    def test_it_holds_every_module_of_the_library_and_nothing_else_of_the_repository(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            held = {name for name in archive.namelist() if name.startswith("unmelt/")}
        expected = {"unmelt/__init__.py", "unmelt/__main__.py", "unmelt/py.typed"}
        for folder in ROOT.iterdir():
            if (folder / "__init__.py").is_file() and folder.name not in ASIDE:
                files = [path for path in folder.rglob("*.py") if (path.parent / "__init__.py").is_file()]
                expected |= {f"unmelt/{path.relative_to(ROOT).as_posix()}" for path in files}
        page = ROOT / "evaluation" / "gallery" / "template"
        expected |= {f"unmelt/{path.relative_to(ROOT).as_posix()}" for path in page.iterdir()}
        assert held == expected
        assert not {name.split("/")[1] for name in held} & ASIDE

    def test_its_metadata_names_licence_and_extras(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        assert any("LICENSE" in name for name in names)
        assert "License-Expression: MIT" in metadata
        for extra in ("recipes", "evaluation", "test"):
            assert f"Provides-Extra: {extra}" in metadata


class TestInstalled:
    def test_every_public_name_can_be_imported(self, site, tmp_path):
        code = """
import importlib, pkgutil
from pathlib import Path
import unmelt
assert Path(unmelt.__file__).is_relative_to(sys.path[0]), unmelt.__file__
count = 0
for info in pkgutil.walk_packages(unmelt.__path__, "unmelt."):
    module = importlib.import_module(info.name)
    assert Path(module.__file__).is_relative_to(sys.path[0]), module.__file__
    for name in getattr(module, "__all__", []):
        exec(f"from {info.name} import {name}")
        count += 1
print(count)
"""
        public = 0
        for path in ROOT.rglob("__init__.py"):
            parts = path.relative_to(ROOT).parts
            if not (set(parts) & ASIDE - {"data"} or parts[0].startswith(".")):
                public += sum(
                    len(node.value.elts)
                    for node in ast.parse(path.read_text()).body
                    if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
                )
        assert public > 50
        assert int(python(site, code, tmp_path)) == public

    def test_the_core_needs_none_of_the_extras(self, site, tmp_path):
        code = """
import importlib.abc
EXTRAS = {"accelerate", "datasets", "matplotlib", "PIL", "skimage", "sklearn", "tensorboard", "tqdm",
          "hypothesis", "beartype", "scipy", "pytest", "huggingface_hub", "pandas", "torchdiffeq"}
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import unmelt.core, unmelt.degradations, unmelt.models, unmelt.losses, unmelt.samplers
print("whole")
"""
        assert python(site, code, tmp_path).strip() == "whole"

    def test_its_program_does_everything_with_a_run_from_another_folder(self, site, tmp_path):
        """Train, sample, restore, export, load back: with the wheel alone, and the run's folder alone."""
        here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
        here.mkdir()
        elsewhere.mkdir()
        command = "from unmelt.commands import main; main({})"

        def unmelt(*words, cwd):
            return python(site, command.format(list(words)), cwd)

        unmelt("train", "cifar10_pixelation", "--smoke", "--name", "tiny", "--pictures.count", "2", cwd=here)
        folder = str(here / "runs" / "tiny")
        unmelt("sample", folder, "--count", "2", cwd=elsewhere)
        unmelt("restore", folder, "samples.png", "--shrink", "2", "--degrade", "--count", "2", cwd=elsewhere)
        unmelt("export", folder, "--out", "model", cwd=elsewhere)
        assert {path.name for path in elsewhere.iterdir()} == {"samples.png", "samples_restored", "model"}
        shutil.rmtree(here)
        assert "steps        4" in unmelt("info", "model", cwd=elsewhere)
        code = "from unmelt import load_run; run = load_run('model'); print(*run.sample(1, generator=[0]).shape)"
        assert python(site, code, elsewhere).strip() == "1 3 32 32"

    def test_its_commit_is_not_that_of_the_project_it_is_installed_in(self, wheel, tmp_path):
        # A virtual environment inside someone's repository: that repository's commit says nothing of unmelt's.
        project = tmp_path / "project"
        project.mkdir()
        git = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        run(*git, "init", "--quiet", cwd=project)
        run(*git, "commit", "--quiet", "--allow-empty", "--message", "Theirs", cwd=project)
        site = project / ".venv" / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        code = "from unmelt.training.folder.manifest import _commit; print(_commit())"
        assert python(site, code, project).strip() == "None"
