"""What a constructor says of itself: its parameters, their defaults and types, and what it makes.

Python knows all of it already; here it is put into one form for classes, dataclasses, functions and classmethods. A
hint that cannot be resolved (its name is imported for type checkers only, say) becomes `Any` and leaves the others be.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from inspect import Parameter
from typing import Any, Self, TypeVar, get_type_hints

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
# Most names that a mistyped one is taken for.
_GUESSES = 3
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def is_named(make: object) -> bool:
    """Tell whether `make` is a class, function or method, all of which have names, and no other callable object."""
    return inspect.isclass(make) or inspect.isroutine(make)


# Asked for again and again, at every name that is looked up.
@lru_cache(maxsize=1024)
def parameters(make: Callable[..., object]) -> Mapping[str, Parameter]:
    """Return the parameters of a class or function, in order."""
    found = dict(inspect.signature(make).parameters)
    for field in dataclasses.fields(make) if inspect.isclass(make) and dataclasses.is_dataclass(make) else ():
        # A signature shows a marker where a field's default is made by a factory.
        if field.name in found and field.default_factory is not dataclasses.MISSING:
            found[field.name] = found[field.name].replace(default=field.default_factory())
    return found


def positional(make: Callable[..., object]) -> list[str]:
    """Return the names of the parameters that can be given by position, in order."""
    return [name for name, parameter in parameters(make).items() if parameter.kind in _POSITIONAL]


def named(make: Callable[..., object], *, first: int = 0) -> dict[str, Parameter]:
    """Return the parameters that can be given by name, without the `first` positional ones."""
    later = positional(make)[:first]
    return {name: p for name, p in parameters(make).items() if p.kind in _NAMED and name not in later}


def has_kind(make: Callable[..., object], kind: Any) -> bool:
    """Tell whether there is a parameter of a kind, such as `Parameter.VAR_KEYWORD`: settings of any name."""
    return any(parameter.kind is kind for parameter in parameters(make).values())


def defaults(make: Callable[..., object]) -> dict[str, object]:
    """Return the settings that have a default, with it."""
    return {name: p.default for name, p in named(make).items() if p.default is not Parameter.empty}


def why_no_setting(make: Callable[..., object], name: str, there: Iterable[str]) -> str | None:
    """Return why a call has no setting of this name, or None where it has one.

    Args:
        make: what is called.
        name: the name.
        there: the settings of the call; parameters that are not among them come later.
    """
    if name in there or (has_kind(make, Parameter.VAR_KEYWORD) and name not in parameters(make)):
        return None
    if name in named(make):
        return f"{make.__qualname__}: {name} comes later, when it is called; {listed(there)}"
    return f"{make.__qualname__} has no setting {name!r}{guess(name, there)}; {listed(there)}"


def listed(settings: Iterable[str]) -> str:
    """Return the names of settings in words."""
    names = ", ".join(settings)
    return f"its settings are {names}" if names else "it has no settings"


def guess(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" with the known names that a name begins, or the closest one; or nothing."""
    lower = {other.lower(): other for other in reversed([*known])}
    longer = [other for other in reversed([*lower]) if other.startswith(name.lower())][:_GUESSES]
    close = longer or difflib.get_close_matches(name.lower(), lower, 1)
    return f" (did you mean {' or '.join(lower[other] for other in close)}?)" if close else ""


def hints(make: Callable[..., object]) -> dict[str, Any]:
    """Return the types of the parameters; of those that have none, or one that cannot be resolved, `Any`."""
    found = _resolved(make.__init__ if inspect.isclass(make) else make)
    # A field's type is to be read where the field was written, which may be a base class's module.
    for base in reversed(make.__mro__) if inspect.isclass(make) and dataclasses.is_dataclass(make) else ():
        found = {**found, **_resolved(base)}
    return {name: found.get(name, Any) for name in parameters(make)}


def made_by(make: Callable[..., object]) -> Any:
    """Return the type of what a class or function makes; `Parameter.empty` where a function does not say."""
    if inspect.isclass(make):
        return make
    made = _resolved(make).get("return", Parameter.empty)
    return getattr(make, "__self__", Parameter.empty) if made is Self or isinstance(made, TypeVar) else made


@lru_cache(maxsize=1024)
def _resolved(annotated: Any) -> Mapping[str, Any]:
    """Return the types that a function or class is annotated with, of strings those that they say."""
    annotated = inspect.unwrap(annotated)
    module = sys.modules.get(getattr(annotated, "__module__", None) or "")
    names = getattr(annotated, "__globals__", None) or (vars(module) if module else {})
    found: dict[str, Any] = {}

    # `get_type_hints` wants something that carries annotations; one by one, since any may fail.
    def holder() -> None: ...

    for name, annotation in inspect.get_annotations(annotated).items():
        holder.__annotations__ = {name: annotation}
        try:
            found |= get_type_hints(holder, dict(names), dict(vars(annotated)))
        except Exception:
            # An annotation is any expression, and may fail in any way.
            found[name] = Any
    return found
