"""What a constructor says of itself: its parameters, their defaults and types, and what it makes.

Python knows all of it already; here it is put into one form for classes, dataclasses, functions and classmethods. A
hint that cannot be resolved (its name is imported for type checkers only, say) becomes `Any` and leaves the others be.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import Parameter
from types import FunctionType
from typing import Any, Self, TypeVar, get_type_hints

_NOTHING = (lambda: None).__code__
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


# Asked for again and again, at every name that is looked up.
_signature = lru_cache(maxsize=1024)(inspect.signature)


def parameters(make: Callable[..., object]) -> dict[str, Parameter]:
    """Return the parameters of a class or function; of one that tells none, as some builtins, any at all."""
    try:
        found = dict(_signature(make).parameters)
    except (TypeError, ValueError):
        return {kind.name: Parameter(kind.name, kind) for kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)}
    for field in dataclasses.fields(make) if inspect.isclass(make) and dataclasses.is_dataclass(make) else ():
        # A signature shows a marker where a field's default is made by a factory.
        if field.name in found and field.default_factory is not dataclasses.MISSING:
            found[field.name] = found[field.name].replace(default=field.default_factory())
    return found


def positional(make: Callable[..., object]) -> list[str]:
    """Return the names of the parameters that can be given by position, in order."""
    return [name for name, parameter in parameters(make).items() if parameter.kind in _POSITIONAL]


def takes_any_number(make: Callable[..., object]) -> bool:
    """Tell whether any number of arguments can be given by position."""
    return any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters(make).values())


def named(make: Callable[..., object], *, first: int = 0) -> dict[str, Parameter]:
    """Return the parameters that can be given by name, without the `first` positional ones."""
    later = set(positional(make)[:first])
    return {name: p for name, p in parameters(make).items() if p.kind in _NAMED and name not in later}


def takes_any_name(make: Callable[..., object]) -> bool:
    """Tell whether a function takes settings of any name (`**settings`)."""
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters(make).values())


def defaults(make: Callable[..., object], *, first: int = 0) -> dict[str, object]:
    """Return the settings that have a default, with it, without the `first` positional parameters."""
    return {name: p.default for name, p in named(make, first=first).items() if p.default is not Parameter.empty}


def hints(make: Callable[..., object]) -> dict[str, Any]:
    """Return the types of the parameters; of those that have none, or one that cannot be resolved, `Any`."""
    if not inspect.isclass(make):
        found = _of_function(make)
    elif dataclasses.is_dataclass(make):
        # A field's type is to be read where the field was written, which may be a base class's module.
        found = _of_class(make) | _own_initialiser(make)
    elif make.__init__ is not object.__init__:
        found = _of_function(make.__init__)
    else:
        found = _of_class(make) | _of_function(make.__new__)
    return {name: found.get(name, Any) for name in parameters(make)}


def made_by(make: Callable[..., object]) -> Any:
    """Return the type of what a class or function makes; `Parameter.empty` where a function does not say."""
    if inspect.isclass(make):
        return make
    made = _of_function(make).get("return", Parameter.empty)
    return getattr(make, "__self__", Parameter.empty) if made is Self or isinstance(made, TypeVar) else made


def _own_initialiser(make: type) -> dict[str, Any]:
    """Return the types of a dataclass's own `__init__`, where it is none that was generated from the fields."""
    fields = {field.name: field.type for field in dataclasses.fields(make)}
    written: Mapping[str, Any] = getattr(make.__init__, "__annotations__", {})
    found = _of_function(make.__init__)
    return {name: hint for name, hint in found.items() if name not in fields or written.get(name) != fields[name]}


def _of_class(make: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(make.__mro__):
        module = sys.modules.get(base.__module__)
        found |= _resolved(inspect.get_annotations(base), vars(module) if module else {}, dict(vars(base)))
    return found


def _of_function(make: Callable[..., object]) -> dict[str, Any]:
    whole = inspect.unwrap(make)
    return _resolved(getattr(whole, "__annotations__", {}), getattr(whole, "__globals__", {}), {})


def _resolved(written: Mapping[str, Any], names: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """Return types for annotations, which are strings where a module postpones them."""
    # `get_type_hints` wants something that carries annotations.
    holder = FunctionType(_NOTHING, {})
    try:
        holder.__annotations__ = dict(written)
        return get_type_hints(holder, names, inner)
    except Exception:
        # An annotation is any expression, and may fail in any way.
        found: dict[str, Any] = {}
        for name, annotation in written.items():
            holder.__annotations__ = {name: annotation}
            try:
                found |= get_type_hints(holder, names, inner)
            except Exception:
                found[name] = Any
        return found
