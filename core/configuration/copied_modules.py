"""Copies of the user's modules in a folder, as a run keeps them: found by the names of the originals, imported apart.

    own.Haze    package.module.Haze    path/to/file.py:Haze        own.py    package/module.py    file.py

A copy is imported under a name of its own: the program's imports never find it, and it is never mistaken for another
module of that name. What it imports itself it finds among the copies first. Where the program has imported the very
same sources already, these are used, so that a class is the class that the program knows.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from typing_extensions import override

from .user_modules import COPY_OF, import_name, split, why_not_imported

# A script that does its work whenever it is imported is kept as `NAME.py.txt`: to be read, not to be imported.
NOT_IMPORTED = ".txt"
_PREFIX = "unmelt_copies_"


def locate(name: str, folder: Path) -> tuple[ModuleType, str, list[str]] | None:
    """Return the copy that a name begins with, imported; what it is called; and the names that follow.

    Args:
        name: `module.Name`, `package.module.Name` or `path/to/file.py:Name`.
        folder: where the copies are.

    Returns:
        None where there is no copy.

    Raises:
        ValueError: it cannot be imported; the message says why.
    """
    file, rest = split(name)
    place = Path(file)
    # A package is kept as one.
    path, parts = [place.stem if place.stem != "__init__" else place.parent.name] if file else [], rest.split(".")
    while not file and len(parts) > 1 and _is_there(folder.joinpath(*path, parts[0])):
        path.append(parts.pop(0))
    if not path or not _is_there(folder.joinpath(*path)):
        return None
    module = _imported_alike(".".join(path), folder) or _imported(path, folder, file)
    return module, file or ".".join(path), parts


def _is_there(base: Path) -> bool:
    return base.is_dir() or _source(base).is_file() or _source(base, NOT_IMPORTED).is_file()


def _source(base: Path, suffix: str = "") -> Path:
    return base.with_name(f"{base.name}.py{suffix}")


def _imported_alike(name: str, folder: Path) -> ModuleType | None:
    """Return the program's own module of this name, if it, and those of the other copies' names, have their sources."""
    main = sys.modules["__main__"]
    there = {**sys.modules, **({import_name(main): main} if hasattr(main, "__file__") else {})}
    for copy in folder.rglob("*.py"):
        parts = copy.relative_to(folder).with_suffix("").parts
        own = there.get(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        if own is not None and not _has_source(own, copy):
            return None
    return there.get(name)


def _has_source(module: ModuleType, copy: Path) -> bool:
    try:
        return Path(module.__file__ or "").read_bytes() == copy.read_bytes()
    except (AttributeError, OSError):
        return False


def _imported(path: Sequence[str], folder: Path, file: str) -> ModuleType:
    base = folder.joinpath(*path)
    script = _source(base, NOT_IMPORTED)
    if script.is_file() and not _source(base).is_file():
        msg = (
            f"{script} is the script that made the run, and would make it again if it was imported: put what it does"
            f' under `if __name__ == "__main__":` there, and rename it to {_source(base).name}'
        )
        raise ValueError(msg)
    try:
        module = importlib.import_module(".".join([_package(folder), *path]))
    except Exception as error:
        raise ValueError(why_not_imported(str(base), error)) from error
    # As it is named in the record: so it is written again.
    setattr(module, COPY_OF, file or ".".join(path))
    return module


def _package(folder: Path) -> str:
    """Return the name of the package that the copies are imported in: another when they have changed."""
    whole, known = folder.resolve(), hashlib.sha256()
    for part in (str(whole).encode(), *(f"{p}".encode() + p.read_bytes() for p in sorted(whole.rglob("*.py")))):
        known.update(hashlib.sha256(part).digest())
    name = f"{_PREFIX}{known.hexdigest()[:16]}"
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(whole)]
        sys.modules[name] = package
    return name


class _Finder(MetaPathFinder):
    @override
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        specs = (FileFinder(entry, (_Loader, [".py"])).find_spec(fullname) for entry in path or ())
        return next(filter(None, specs), None)


class _Loader(SourceFileLoader):
    """Runs the source as it is, and leaves bytecode be, which could be that of anything."""

    @override
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    @override
    def exec_module(self, module: ModuleType) -> None:
        package, _, name = module.__name__.partition(".")
        setattr(module, COPY_OF, name)
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _importer(package)}
        super().exec_module(module)


def _importer(package: str) -> Callable[..., Any]:
    """Return what `import` does in a copy: copies first."""
    (folder,) = sys.modules[package].__path__

    def find(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:  # noqa: A002
        head = name.partition(".")[0]
        if level or not _is_there(Path(folder, head)):
            return builtins.__import__(name, globals, locals, fromlist, level)
        found = builtins.__import__(f"{package}.{name}", globals, locals, fromlist, 0)
        return found if fromlist else sys.modules[f"{package}.{head}"]

    return find


sys.meta_path.insert(0, _Finder())
