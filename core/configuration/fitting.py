"""Whether a class or function fits: makes what is expected of the arguments that will be there; and its settings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from enum import Enum
from inspect import Parameter
from typing import Any, get_args, get_origin

from .from_data import FromData
from .hints import Deferred, accepts, deferred, describe, is_protocol, is_tensor, options
from .later import guess
from .signatures import hints, made_by, named, parameters, positional, takes_any_name, takes_any_number

_PLAIN = (bool, float, int, str, type(None))


def why_not(make: Any, name: str, option: Any) -> str | None:
    """Return why what is called `name` cannot be called for what an option expects, or None where it can.

    Args:
        make: a class, a function or a classmethod.
        name: what messages call it.
        option: one option of a hint.
    """
    if inspect.isclass(make) and issubclass(make, Enum):
        return f"{name} is a choice: give {' or '.join(f'{name}.{member}' for member in make.__members__)}"
    owner = make.__self__ if inspect.ismethod(make) else make
    if inspect.isabstract(owner) or is_protocol(owner):
        return f"{name} is abstract"
    if type in (option, get_origin(option)):
        fits = inspect.isclass(make) and all(accepts(inner, make) for inner in get_args(option))
        return None if fits else f"{name} is not {describe(option)}"
    if is_tensor(option):
        return f"{name} is not a tensor, and a computed one could not be written down again"
    # Where nothing is known of what is expected, plain values are harmless.
    call = Deferred((), frozenset(), object) if option is Any else deferred(option)
    if option is Any and not dataclasses.is_dataclass(make):
        return f"it is not known whether {name} makes what is expected"
    return _why_not_made(make, name, call.result if call else option) or _why_not_from(make, name, call)


def _why_not_made(make: Any, name: str, result: Any) -> str | None:
    """Return why a call does not make this result, or None where it does."""
    made = made_by(make)
    said = made is not Parameter.empty and Any not in options(made)
    # What is fitted to data later on stands where what it then builds is expected.
    built = made_by(make.build) if inspect.isclass(make) and issubclass(make, FromData) else made
    if Any in options(result) or (said and (accepts(result, made) or accepts(result, built))):
        return None
    if not said:
        return f"{name} does not say what it makes: give it the return annotation -> {describe(result)}"
    return f"{name} makes no {describe(result)}"


def _why_not_from(make: Any, name: str, call: Deferred | None) -> str | None:
    """Return why a call cannot take the first arguments that come later, or None where it can."""
    first = (call.first if call else None) or ()
    places, types_of = positional(make), hints(make)
    if len(places) < len(first) and not takes_any_number(make):
        return f"{name} is made from {_listed(places)}, not from {_listed([describe(given) for given in first])}"
    for place, given in zip(places, first, strict=False):
        if not accepts(types_of[place], given):
            return f"{name} is made from {place}, {describe(types_of[place])}, not from {describe(given)}"
    return None


def check_name(make: Any, option: Any, name: str) -> None:
    """Check that a call has a setting of this name.

    Raises:
        ValueError: it has none, or what is called so comes later.
    """
    there = allowed(make, option)
    if name in there or (takes_any_name(make) and name not in parameters(make)):
        return
    if name in named(make):
        msg = f"{make.__qualname__}: {name} comes later, when it is called; {settings_of(make, option)}"
    else:
        msg = f"{make.__qualname__} has no setting {name!r}{guess(name, [*there])}; {settings_of(make, option)}"
    raise ValueError(msg)


def settings_of(make: Any, option: Any) -> str:
    """Return a list of a call's settings, in words."""
    there = [*allowed(make, option)]
    return f"its settings are {', '.join(there)}" if there else "it has no settings"


def required(make: Any, option: Any) -> list[str]:
    """Return the settings that a call cannot do without."""
    return [name for name, p in allowed(make, option).items() if p.default is Parameter.empty]


def choices(names: Mapping[str, Any], hint: Any) -> dict[str, Any]:
    """Return those among named classes and functions that can be given, as text, where a hint is expected."""
    found: dict[str, Any] = {}
    for option in options(hint):
        call = deferred(option)
        result = call.result if call else option
        # Where anything will do there is nothing to choose, nor is a function that makes a number a choice of numbers.
        if Any in options(result) or option in _PLAIN:
            continue
        classes, here = type in (option, get_origin(option)), dict[str, Any]()
        for name, make in names.items():
            # Most classes are something else altogether; that is found out before all the rest.
            if not classes and inspect.isclass(make) and not accepts(result, make):
                continue
            if why_not(make, name, option) is None and not _is_base(make, result) and not _needs_tensor(make, option):
                here[name] = make
        if not classes and not any(kind in names.values() for kind in options(result)):
            here = {name: make for name, make in here.items() if not _is_of_another_kind(make, names)}
        found |= here
    return found


def _is_of_another_kind(make: Any, names: Mapping[str, Any]) -> bool:
    """Tell whether something is named by a kind of unmelt's, where just any module is expected, a network say.

    Processes, bases and schedules are modules, and are not looked for there; nor is what they derive from.
    """
    kinds = [kind for kind in names.values() if inspect.isclass(kind)]
    bases = [kind for kind in kinds if any(other is not kind and issubclass(other, kind) for other in kinds)]
    made = made_by(make)
    return inspect.isclass(made) and any(issubclass(made, kind) for kind in bases)


def _is_base(make: Any, result: Any) -> bool:
    """Tell whether a class is the very one that is expected, and no choice beside those derived from it."""
    return make in options(result) and bool(type.__subclasses__(make))


def _needs_tensor(make: Any, option: Any) -> bool:
    types_of = hints(make)
    return any(all(map(is_tensor, options(types_of[name]))) for name in required(make, option))


def allowed(make: Any, option: Any) -> dict[str, Parameter]:
    """Return the parameters that are settings of a call, and not arguments that come later."""
    expected = deferred(option)
    if expected is None:
        return named(make)
    first = len(expected.first) if expected.first is not None else 0
    return {name: p for name, p in named(make, first=first).items() if name not in expected.keywords}


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "nothing"
