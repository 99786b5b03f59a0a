"""Copies of the user's code in a run's folder, so that the run can be loaded when the originals are edited or gone.

Copied are the files that the configuration's classes and functions come from, and those beside them that they import,
to the same places: `pictures/fog.py`, imported as `pictures.fog`, becomes `code/pictures/fog.py`. Imports are read in
the source; nothing is run to find them. `config.json` names classes as always, `pictures.fog.Fog` or `fog.py:Fog`, and
`load_run(folder, trust_code=True)` looks for the names among the copies first.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from enum import Enum
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from typing import Any, cast

from ...core import Later
from ...core.configuration.copied_modules import NOT_IMPORTED
from ...core.configuration.user_modules import COPY_OF, import_name
from ...core.configuration.writing import taken_apart

CODE = "code"
_LARGEST = 2**20
_GUARD = 'if __name__ == "__main__":'
_COMPILED = (*EXTENSION_SUFFIXES, *BYTECODE_SUFFIXES)
# What every run needs is found wherever a run can be loaded at all.
_NEEDED_ANYWAY = {"unmelt", "torch"}
_INSTALLED = {"site-packages", "dist-packages"}
_PYTHON = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}


def keep_code(config: object, folder: Path) -> list[str]:
    """Copy the user's files that a configuration's parts come from, and what these import beside them.

    Args:
        config: the configuration, a frozen dataclass.
        folder: the run's folder; the copies go to `code/` in it, which is made if there is anything to copy.

    Returns:
        What could not be copied, or not be used as it is, a line each: a module that lies neither beside the file that
        imports it nor where packages are installed, a compiled one, a file over 1 MiB, a script that trains whenever
        it is imported.
    """
    importlib.invalidate_caches()
    keeper = _Keeper(folder / CODE)
    names = dict.fromkeys(getattr(thing, "__module__", None) for thing in _named_in(config))
    for module in filter(None, map(sys.modules.get, filter(None, names))):
        file, name = getattr(module, "__file__", None), import_name(module)
        if file is not None and name.partition(".")[0] not in _NEEDED_ANYWAY and not _is_installed(Path(file)):
            keeper.keep_file(name, Path(file).absolute(), copied=hasattr(module, COPY_OF))
    return keeper.lacking


def _named_in(value: object) -> Iterator[Any]:
    """Yield the classes and functions that a value's record names."""
    if isinstance(value, Enum):
        yield type(value)
    elif isinstance(value, tuple | list):
        for item in cast("Sequence[object]", value):
            yield from _named_in(item)
    elif (apart := taken_apart(value)) is not None:
        make, settings = apart
        yield make.__self__ if inspect.ismethod(make) else make
        whole = cast("Later[..., object]", value).complete() if isinstance(value, Later) else settings
        for setting in whole.values():
            yield from _named_in(setting)


class _Keeper:
    """Copies modules, and what they import, into a folder.

    `_root` is the folder that names are looked up in while a file is copied, and `_path` all that are searched.
    """

    def __init__(self, code: Path) -> None:
        self._code, self._kept, self._seen = code, dict[Path, Path](), set[Path]()
        self._told, self._elsewhere = list[str](), dict[Path, str]()
        self._root, self._path = Path(), list[str]()

    @property
    def lacking(self) -> list[str]:
        """What could not be copied, in words."""
        # What one file imports from afar may be named by the configuration itself.
        return [*self._told, *(words for file, words in self._elsewhere.items() if file not in self._seen)]

    def keep_file(self, name: str, file: Path, *, copied: bool) -> None:
        """Copy a file, the packages that it is in, and what it imports.

        Args:
            name: the name that it is imported by.
            file: the file.
            copied: it is a copy itself, which finds other copies before anything else.
        """
        depth = name.count(".") + (file.name == "__init__.py")
        if depth < len(file.parents):
            self._root = file.parents[depth]
            self._path = [str(self._root), *sys.path] if copied else [*sys.path, str(self._root)]
            self._keep(name)
        if file not in self._seen:
            self._told.append(
                f"{file} was not copied, as it does not lie where {name} is imported from: it must be there where the"
                " run is loaded"
            )

    def _keep(self, name: str) -> None:
        """Copy what a name stands for: packages, and modules in them."""
        base = self._root
        for part in name.split("."):
            base /= part
            package, file = base / "__init__.py", base.with_name(f"{part}.py")
            compiled = [base.with_name(f"{part}{suffix}") for suffix in _COMPILED]
            if package.is_file() or file.is_file():
                self._copy(package if package.is_file() else file)
            elif (found := next(filter(Path.is_file, compiled), None)) is not None and found not in self._seen:
                self._seen.add(found)
                self._told.append(
                    f"{found} was not copied, as it is compiled: it must be there where the run is loaded"
                )

    def _copy(self, file: Path) -> None:
        self._seen.add(file)
        place, source = file.relative_to(self._root), file.read_bytes()
        if (before := self._kept.get(place)) is not None:
            if before.read_bytes() != source:
                self._told.append(f"{file} was not copied: {before} is kept under that name; rename one of them")
            return
        self._kept[place], to = file, self._code / place
        if len(source) > _LARGEST:
            self._told.append(f"{file} was not copied: it has over {_LARGEST} bytes; keep it with the run yourself")
            return
        tree = _parsed(source)
        if _is_run(file) and not _is_guarded(tree):
            self._told.append(
                f"{file} trains whenever it is imported, so that the run cannot be loaded with the classes in it: put"
                f" what it does under `{_GUARD}`, or the classes into a file of their own"
            )
            to = to.with_name(f"{to.name}{NOT_IMPORTED}")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(source)
        for name in _imports(tree, place):
            self._follow(name, file)

    def _follow(self, name: str, by: Path) -> None:
        """Copy a module that is imported, if it lies beside what imports it."""
        head = name.partition(".")[0]
        spec = None if head in _NEEDED_ANYWAY else PathFinder.find_spec(head, self._path)
        # What is on no path is installed in a way of its own; or it is not there, and was not needed.
        found = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if found is None:
            return
        module = Path(found)
        if (module.parent if module.name == "__init__.py" else module).parent == self._root:
            self._keep(name)
        elif not _is_installed(module):
            self._elsewhere[module] = (
                f"{module}, which {by} imports, was not copied: it lies neither beside that file nor where packages are"
                " installed, and must be found where the run is loaded"
            )


def _parsed(source: bytes) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        # Of a file that nobody has imported so far, or it would have been noticed.
        return ast.Module([], [])


def _imports(tree: ast.Module, place: Path) -> Iterator[str]:
    """Yield the names of what may be modules among all that a source imports, be it inside functions.

    Args:
        tree: the source.
        place: its file in the folder that it is imported from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # One level is the package that the file is in, each further one the package around.
            around = place.parts[: -node.level] if node.level else ()
            base = [*around, *filter(None, [node.module])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def _is_run(file: Path) -> bool:
    """Tell whether a file is the script that was started."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    return main is not None and Path(main).resolve() == file.resolve()


def _is_guarded(tree: ast.Module) -> bool:
    tests = (node.test for node in tree.body if isinstance(node, ast.If))
    return any(isinstance(name, ast.Name) and name.id == "__name__" for test in tests for name in ast.walk(test))


def _is_installed(file: Path) -> bool:
    return not _INSTALLED.isdisjoint(file.parts) or any(file.is_relative_to(place) for place in _PYTHON)
