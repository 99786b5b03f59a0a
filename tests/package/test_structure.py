"""How the source hangs together: public names, imports that run one way, and relative imports inside the library."""

import ast
import importlib
from pathlib import Path

import pytest

import unmelt

ROOT = Path(unmelt.__file__).parent
ASIDE = {"tests", "recipes", "benchmarks", "docs", "build", "dist", "runs", "data"}


# Names that mean the same in every folder.
SHARED = {
    "__init__": "the folder",
    "__main__": "`python -m` of the package",
    "base": "the abstract class that its files derive from",
    "gaussian": "the Gaussian one of its kind",
}


# Folders that users import from by name, as in `from unmelt.samplers.guidance import ...`.
BY_THEIR_OWN_NAME = {"guidance", "configuration", "data", "gallery"}


def library_files():
    """Return the Python files of the installed package, and no others of the repository."""
    files = [ROOT / "__init__.py"]
    for folder in sorted(ROOT.iterdir()):
        if (folder / "__init__.py").is_file() and folder.name not in ASIDE:
            files += sorted(folder.rglob("*.py"))
    return files


FILES = library_files()
PACKAGES = [path.parent for path in FILES if path.name == "__init__.py" and path.parent != ROOT]


def name_of(path):
    """Return the dotted name of a module, without the package's own."""
    return path.relative_to(ROOT).with_suffix("").parts


def imports(path):
    """Return (level, dotted name) of all that a file imports, however deep inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [
                (node.level, f"{node.module}.{alias.name}" if node.module else alias.name) for alias in node.names
            ]
    return found


def packages_used(path):
    """Return the sub-packages of unmelt that a file imports from."""
    used = set()
    here = name_of(path)
    for level, name in imports(path):
        if level:
            # One level is the file's own package, each further one its parent.
            absolute = (*here[:-level], *name.split("."))
            used.add(absolute[0])
        elif name.split(".")[0] == "unmelt" and "." in name:
            used.add(name.split(".")[1])
    return used


def test_the_root_is_short():
    """What a reader sees first: about a dozen folders, each with a word on what it is."""
    folders = {path.parent.name for path in ROOT.glob("*/*") if path.suffix == ".py" and path.parent.name[0] != "."}
    assert set(FLOORS) <= folders
    assert len(folders) <= 14
    for package in FLOORS:
        assert len((ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or "").split()) > 3


def test_no_two_files_of_one_name_mean_different_things():
    """`base` is the abstract class of its folder, and `gaussian` the Gaussian one of its kind."""
    homes: dict[str, list[str]] = {}
    for path in FILES:
        # The file of a command has the command's name.
        if path.parent.name == "commands":
            continue
        homes.setdefault(path.stem, []).append(str(path.parent.relative_to(ROOT)))
    twice = {name: places for name, places in homes.items() if len(places) > 1}
    assert twice.keys() <= SHARED.keys(), {name: twice[name] for name in twice.keys() - SHARED.keys()}


def test_there_are_files_to_look_at():
    names = {path.parent.name for path in FILES}
    assert {"degradations", "bases", "models", "losses", "samplers", "training", "evaluation"} <= names
    assert len(FILES) > 30


class TestPublicNames:
    @pytest.mark.parametrize("package", PACKAGES, ids=lambda path: ".".join(path.relative_to(ROOT).parts))
    def test_every_name_can_be_imported_and_they_are_sorted(self, package):
        module = importlib.import_module(".".join(("unmelt", *package.relative_to(ROOT).parts)))
        names = module.__all__
        assert names
        assert all(hasattr(module, name) for name in names)
        assert len(set(names)) == len(names)
        assert not any(name.startswith("_") for name in names)
        # As isort does: constants and acronyms, classes, functions.
        assert list(names) == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))

    @pytest.mark.parametrize("package", PACKAGES, ids=lambda path: ".".join(path.relative_to(ROOT).parts))
    def test_a_package_lists_its_public_names_and_nothing_else(self, package):
        tree = ast.parse((package / "__init__.py").read_text())
        imported = {
            alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        assert ast.get_docstring(tree)
        kinds = [type(node) for node in tree.body[1:]]
        assert set(kinds) <= {ast.ImportFrom, ast.Assign}
        assert kinds.count(ast.Assign) == 1
        module = importlib.import_module(".".join(("unmelt", *package.relative_to(ROOT).parts)))
        assert imported == set(module.__all__)

    def test_what_a_folder_exports_its_package_exports_too(self):
        """Else a new part could neither be imported as the others are nor named in a flag."""
        inner = [package for package in PACKAGES if package.parent != ROOT and package.name not in BY_THEIR_OWN_NAME]
        assert len(inner) > 10
        for package in inner:
            own, outer = (
                set(importlib.import_module(".".join(("unmelt", *path.relative_to(ROOT).parts))).__all__)
                for path in (package, package.parent)
            )
            missing = own - outer - {"default_times"}
            assert not missing, f"export {missing} from {package.parent.name}/__init__.py, too"


# Imports run one way: from each of these only the ones before it are used, and `core` by all.
FLOORS = ("core", "degradations", "models", "samplers", "losses", "training", "evaluation", "commands")

# What they use beside them.
AND = {"commands": {"recipes", "testing"}}


class TestImports:
    @pytest.mark.parametrize("package", [*FLOORS, "testing"])
    def test_they_run_one_way(self, package):
        below = FLOORS[: FLOORS.index(package)] if package in FLOORS else FLOORS[:3]
        files = [path for path in FILES if name_of(path)[0] == package]
        assert files
        for path in files:
            # The package itself, and its version.
            assert packages_used(path) <= {*below, package, "__version__"} | AND.get(package, set()), path

    @pytest.mark.parametrize("path", FILES, ids=lambda path: ".".join(name_of(path)))
    def test_the_library_imports_itself_relatively(self, path):
        assert not [name for level, name in imports(path) if level == 0 and name.split(".")[0] == "unmelt"]

    def test_recipes_and_tests_import_as_users_do(self):
        outside = [
            *(ROOT / "recipes").glob("*.py"),
            *(ROOT / "tests").rglob("*.py"),
            *(ROOT / "benchmarks").glob("*.py"),
        ]
        assert outside
        for path in outside:
            assert not [name for level, name in imports(path) if level], path

    def test_the_checks_see_an_import_that_goes_the_wrong_way(self, tmp_path, monkeypatch):
        monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
        (tmp_path / "degradations" / "bases").mkdir(parents=True)
        wrong = tmp_path / "degradations" / "bases" / "wrong.py"
        wrong.write_text(
            "def late():\n    from ...models import UNet\n    from ..process import Time\n    from . import base"
        )
        assert packages_used(wrong) == {"models", "degradations"}
        wrong.write_text("from unmelt.losses import Prior")
        assert packages_used(wrong) == {"losses"}
