"""Classes and functions of the user's: found by name in the current directory, or in a file; and named so again.

    own.Haze    package.module.Haze    path/to/file.py:Haze    file.py:Haze.fitted

A module is imported as `python -m` would do it, with the current directory on the path. A file is imported under its
stem, so that its classes can be pickled, and may import what lies beside it. Neither is run a second time, be it the
script that was started itself.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import traceback
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from .signatures import guess, is_named

# What a copy of a module keeps: the name, or the file, by which the original is found.
COPY_OF = "__copy_of__"
_IN_FILE = ".py:"


def split(name: str) -> tuple[str, str]:
    """Return the file and what is looked for in it, of a name such as `file.py:Haze`; the file is "" where none is."""
    file, colon, rest = name.partition(_IN_FILE)
    return (file + _IN_FILE[:-1], rest) if colon else ("", name)


def locate(name: str) -> tuple[ModuleType, str, list[str]]:
    """Return the module that a name begins with, imported; that part of the name; and the names that follow.

    Args:
        name: `module.Name`, `package.module.Name` or `path/to/file.py:Name`.

    Raises:
        ValueError: there is no such module or file, it cannot be imported, or no name follows; the message says why.
    """
    file, rest = split(name)
    if file:
        return _of_file(Path(file)), file, rest.split(".")
    head, *parts = rest.split(".")
    module = _imported(head)
    # A package's own modules are on the way to a class; what a module has imported for itself is not.
    while parts and hasattr(module, "__path__") and isinstance(getattr(module, parts[0], module), ModuleType):
        if importlib.util.find_spec(f"{module.__name__}.{parts[0]}") is None:
            break
        module = _imported(f"{module.__name__}.{parts.pop(0)}")
    if not parts:
        msg = f"{name} is a module: name a class in it, as {name}.Name"
        raise ValueError(msg)
    return module, module.__name__, parts


def member(owner: object, part: str, within: str) -> object:
    """Return what is called `part` in a module or class: a class, a function or classmethod, a member of an enum.

    Args:
        owner: a module or a class.
        part: the name.
        within: what the owner is called in messages.

    Raises:
        ValueError: there is nothing of that name, or something else.
    """
    there = members(owner)
    if part not in there:
        # What a module has imported can be named too, but is not offered.
        there = {name: value for name, value in there.items() if _is_own(owner, value)} or there
        what = f"there {'is' if len(there) == 1 else 'are'} {', '.join(there) or 'no classes and functions in it'}"
        msg = f"{within} has no {part!r}{guess(part, there)}; {what}"
        raise ValueError(msg)
    return there[part]


def members(owner: object) -> dict[str, object]:
    """Return what can be named in a module or class, by name: no methods that need an object, nothing private."""
    if isinstance(owner, ModuleType):
        named = {name: value for name, value in vars(owner).items() if is_named(value) and not name.startswith("__")}
        # What the module has itself comes first; what it imports may be named too.
        own = {name: value for name, value in named.items() if _is_own(owner, value)}
        return own | named
    if inspect.isclass(owner) and issubclass(owner, Enum):
        return dict(owner.__members__)
    named = {name: getattr(owner, name) for name in dir(owner) if inspect.isclass(owner) and not name.startswith("_")}
    return {name: value for name, value in named.items() if inspect.ismethod(value)}


def _is_own(owner: object, value: object) -> bool:
    return not isinstance(owner, ModuleType) or getattr(value, "__module__", "") == owner.__name__


def import_name(module: ModuleType) -> str:
    """Return the name by which a module is imported from the folder, or the package's folder, that its file lies in.

    Of a script that was run, the name under which it would be imported; of a copy, that of the original.
    """
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if module.__name__ == "__main__":
        return spec.name if spec is not None else Path(file or "").stem
    return module.__name__.partition(".")[2] if hasattr(module, COPY_OF) else module.__name__


def name_of(thing: Any) -> str:
    """Return the name by which `locate` and `member` find a class or a function again.

    Raises:
        TypeError: it cannot be found by name: it was made inside a function or a class, or in no file.
    """
    name, module = thing.__qualname__, sys.modules.get(thing.__module__ or "")
    file, spec = getattr(module, "__file__", None), getattr(module, "__spec__", None)
    if module is None or getattr(module, name, None) is not thing or (file is None and module.__name__ == "__main__"):
        what = "a lambda" if "<lambda>" in name else thing.__name__
        msg = f"{what} cannot be found by a name: define it at the top of a module's file, as a class or with def"
        raise TypeError(msg)
    if (original := getattr(module, COPY_OF, None)) is not None:
        return f"{original}:{name}" if original.endswith(".py") else f"{original}.{name}"
    if module.__name__ == "__main__" and spec is not None:
        return f"{spec.name}.{name}"
    if file is None or "." in module.__name__:
        return f"{module.__name__}.{name}"
    return _name_in_file(Path(file), module.__name__, name)


def recorded(name: str) -> str:
    """Return a name as records have it: what is typed as `./file.py:Haze` may be `file.Haze` there."""
    file, rest = split(name)
    return _name_in_file(Path(file).expanduser(), Path(file).stem, rest) if file else name


def _name_in_file(file: Path, module: str, name: str) -> str:
    if _is_on_path(module, file):
        return f"{module}.{name}"
    path, here = file.resolve(), Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{name}"


def _is_on_path(name: str, file: Path) -> bool:
    """Tell whether a module is found from the current directory, by programs other than a script beside it as well."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    aside = Path(main).resolve().parent if main else None
    path = [str(Path.cwd()), *(entry for entry in sys.path if Path(entry).resolve() != aside)]
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file.resolve()


def _imported(name: str) -> ModuleType:
    # As `python -m` does: what lies in the current directory can be imported, also later on by what is imported now.
    here = Path.cwd()
    if "" not in sys.path and str(here) not in sys.path:
        sys.path.insert(0, str(here))
    importlib.invalidate_caches()
    try:
        if name not in sys.modules:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin is not None and (loaded := _loaded(Path(spec.origin))) is not None:
                return loaded
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            msg = f"there is no module {name!r} in the current directory or installed"
            raise ValueError(msg) from None
        raise ValueError(why_not_imported(f"module {name}", error)) from error


def _of_file(file: Path) -> ModuleType:
    path = file.expanduser().resolve()
    if not path.is_file():
        msg = f"there is no file {file}"
        raise ValueError(msg)
    if (loaded := _loaded(path)) is not None:
        return loaded
    name = path.stem
    taken = sys.modules.get(name)
    if taken is not None or name in sys.stdlib_module_names or not name.isidentifier():
        other = getattr(taken, "__file__", None) or "of Python"
        why = f"there is another module {name} ({other})" if name.isidentifier() else f"{name} is not a module name"
        msg = f"{file} cannot be imported: {why}; rename the file"
        raise ValueError(msg)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # What lies beside it can be imported meanwhile, as by `python FILE`, but hides nothing.
    sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise ValueError(why_not_imported(str(file), error)) from error
    finally:
        # The last of that name: the path may hold it for somebody else.
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(str(path.parent))]
    return module


def _loaded(path: Path) -> ModuleType | None:
    """Return the module that a file has been imported as, or run as, whatever its name."""
    files = ((module, getattr(module, "__file__", None)) for module in list(sys.modules.values()))
    # The names first: links are followed for a few files instead of thousands.
    alike = ((module, file) for module, file in files if isinstance(file, str) and file.endswith(path.name))
    return next((module for module, file in alike if Path(file).resolve() == path.resolve()), None)


def why_not_imported(what: str, error: Exception) -> str:
    """Return one line that says why an import failed, and at which line of the user's file."""
    machinery = (__file__, importlib.__file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in machinery]
    frames = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    where = f", {frames[-1].filename} line {frames[-1].lineno}" if frames else ""
    return f"{what} cannot be imported ({type(error).__name__}: {' '.join(str(error).split())}{where})"
