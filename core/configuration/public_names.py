"""The names that calls in texts may use: what unmelt's packages and `torch.optim` make public, and what is trusted.

A text that comes with a run may be somebody else's. It names what is public here, and nothing else is imported for it.
Modules of the user's are looked into where they are trusted: by whoever types their name, or by a list.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from . import user_modules
from .later import guess
from .signatures import made_by

PACKAGES = (
    "unmelt.core",
    "unmelt.degradations",
    "unmelt.models",
    "unmelt.losses",
    "unmelt.samplers",
    "torch.optim",
    "unmelt.training.data",
)


class Names:
    """What can be named in a text.

    Args:
        trusted: modules and files of the user's that may be imported: `own`, `package.module`, `path/to/file.py`. What
            lies in a trusted package is trusted.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = [place for name in trusted for place in [user_modules.split(name)[0] or name]]

    def find(self, name: str) -> Any:
        """Return the class, function, classmethod or enum member called `name`, or None for an unknown simple name.

        Raises:
            ValueError: part of the name is found and the rest is not, or its module is not trusted or not importable.
        """
        package = next((package for package in PACKAGES if name.startswith(f"{package}.")), "")
        head, *rest = name.removeprefix(f"{package}.").split(".")
        found = next((names[head] for _, names in self._packages(package) if head in names), None)
        if found is None and package:
            msg = f"{package} has no {head!r}{guess(head, list(dict(self._packages(package)).get(package, {})))}"
            raise ValueError(msg)
        if found is not None:
            within = head
        elif self._is_trusted(name):
            found, rest = user_modules.locate(name)
            within = name[: -len(".".join(rest))].rstrip(".:")
            if not rest:
                msg = f"{name} is a module: name a class in it, such as {name}.{_example(found)}"
                raise ValueError(msg)
        elif rest or user_modules.split(name)[0]:
            place = user_modules.split(name)[0] or head
            msg = (
                f"{name!r} is not one of unmelt's names, and nothing else is imported unless it is trusted: "
                f"trusted=({place!r},) in Python, --trust {place} in a command"
            )
            raise ValueError(msg)
        else:
            return None
        for part in rest:
            found = self._member(found, part, within)
            within = f"{within}.{part}"
        return found

    def all(self) -> dict[str, Any]:
        """Return all public names with what they stand for, classmethods as `Class.method` after their class."""
        found: dict[str, Any] = {}
        for _, names in self._packages():
            for name, thing in names.items():
                found.setdefault(name, thing)
        inner = {
            f"{name}.{part}": value
            for name, thing in found.items()
            if inspect.isclass(thing) and not issubclass(thing, Enum)
            for part, value in user_modules.members(thing).items()
            # Inherited ones too, if they make the class that they are called on.
            if inspect.ismethod(value) and (part in vars(thing) or made_by(value) is thing)
        }
        return dict(sorted((found | inner).items()))

    def _packages(self, only: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        for package in PACKAGES:
            if not only or package == only:
                try:
                    module = importlib.import_module(package)
                except ImportError:
                    # It, or an extra that it needs, is not installed: its names are not there.
                    continue
                yield package, _public(module)

    def _is_trusted(self, name: str) -> bool:
        file, _ = user_modules.split(name)
        if file:
            path = Path(file).expanduser().resolve()
            return any(Path(place).expanduser().resolve() == path for place in self._trusted)
        return any(f"{name}.".startswith(f"{place}.") for place in self._trusted)

    def _member(self, owner: object, part: str, within: str) -> object:
        if inspect.isclass(owner) and issubclass(owner, Enum):
            there = owner.__members__
            if part in there:
                return there[part]
            msg = f"{within} has no {part!r}{guess(part, [*there])}; there are {', '.join(there)}"
            raise ValueError(msg)
        return user_modules.member(owner, part, within)


def name_of(thing: Callable[..., object]) -> str:
    """Return the name by which `Names.find` finds a class, function or classmethod: the public one where it has one.

    Raises:
        TypeError: it cannot be found by any name.
    """
    owner = getattr(thing, "__self__", None)
    if inspect.ismethod(thing) and inspect.isclass(owner):
        return f"{name_of(owner)}.{thing.__name__}"
    return public_name(thing) or user_modules.name_of(thing)


def public_name(thing: object) -> str | None:
    """Return the name that a class or function is public by, or None."""
    # Packages that are not imported yet have made nothing that could be asked for.
    imported = [(package, _public(sys.modules[package])) for package in PACKAGES if package in sys.modules]
    name = getattr(thing, "__name__", "")
    for index, (package, names) in enumerate(imported):
        if names.get(name) is thing:
            clash = any(name in earlier for _, earlier in imported[:index])
            return f"{package}.{name}" if clash else name
    return None


def _public(module: Any) -> dict[str, Any]:
    # A package that is being imported has no list yet, and some list modules: those are not constructors.
    names = {name: getattr(module, name, None) for name in getattr(module, "__all__", ())}
    return {name: thing for name, thing in names.items() if inspect.isclass(thing) or inspect.isroutine(thing)}


def _example(module: object) -> str:
    return next((name for name, value in user_modules.members(module).items() if inspect.isclass(value)), "Name")
