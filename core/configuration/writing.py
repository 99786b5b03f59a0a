"""Values as text: the call that makes a value, as `Reader` reads it back.

    write(later(HeatDissipation, levels=50))                   HeatDissipation(levels=50)
    write(Eta(eta=0.5))                                        Eta(eta=0.5)
    write(later(HeatDissipation, levels=50), complete=True)    HeatDissipation(blur_sigma_max=24.0, ..., levels=50, ...)

Numbers are written exactly. What keeps no settings that a call could be made of (a network, a tensor) has no text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any, cast

from .hints import deferred, element_hints, options, settings_of, takes_text
from .later import Later, same
from .public_names import name_of
from .signatures import defaults, hints, is_named


def write(value: object, hint: Any = Any, *, complete: bool = False) -> str:
    """Return the text that `Reader.read` reads as an equal value.

    Args:
        value: a number, string, path, truth value, None, enum member, tuple, frozen dataclass, `Later`, class or
            function, and tuples and settings of these.
        hint: the type that the text will be read for. Where nothing but text is expected a string is written as it
            stands; elsewhere, and inside calls, strings are in quotes.
        complete: write all settings, those left out with their defaults, so that the text means the same for ever.

    Raises:
        TypeError: the value does not know its settings; the message says what to give instead.
    """
    if isinstance(value, str | PurePath) and (hint is Any or takes_text(hint) == options(hint)):
        return str(value)
    return _text(value, hint, complete=complete)


def shown(value: object, hint: Any = Any) -> str:
    """Return the text of a call, and where a value has none something that tells what it is but is not a call."""
    try:
        return _text(value, hint, complete=False)
    except TypeError:
        call = taken_apart(value)
        if call is None:
            return f"<{type(value).__name__}>"
        made, settings = call
        return f"{made.__qualname__}({', '.join(f'{name}={shown(inner)}' for name, inner in settings.items())})"


def taken_apart(value: object) -> tuple[Callable[..., object], dict[str, object]] | None:
    """Return what makes a value and the settings that it is made with, or None where it does not know them."""
    if isinstance(value, Later):
        call = cast("Later[..., object]", value)
        return call.make, dict(call.settings)
    if is_named(value):
        return cast("Callable[..., object]", value), {}
    if dataclasses.is_dataclass(value):
        return type(value), {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    return None


def _text(value: object, hint: Any, *, complete: bool) -> str:
    if isinstance(value, Enum):
        # Where this choice is expected the member's name says all.
        return value.name if type(value) in options(hint) else f"{name_of(type(value))}.{value.name}"
    if isinstance(value, str | PurePath):
        return repr(str(value))
    kinds: tuple[Any, ...] = (bool, int, float, type(None))
    for kind in kinds:
        if isinstance(value, kind):
            # Not the representation of a subclass, such as numpy's floats have.
            return kind.__repr__(value)
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        items = cast("Sequence[object]", value)
        within = next(filter(None, (element_hints(option, len(items)) for option in options(hint))), [Any] * len(items))
        texts = [_text(item, of, complete=complete) for item, of in zip(items, within, strict=True)]
        return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"
    # A class stands for itself where one is expected, and for the call of it where something is made later.
    if is_named(value):
        if not complete or not any(deferred(option) for option in options(hint)):
            return name_of(cast("Any", value))
        value = Later(cast("Any", value), {})
    return _call(value, hint, complete=complete)


def _call(value: object, hint: Any, *, complete: bool) -> str:
    apart = taken_apart(value)
    if apart is None:
        raise TypeError(_remedy(value))
    make, given = apart
    settings, known = given, defaults(make)
    if isinstance(value, Later) and complete:
        asked = (option for option in options(hint) if (call := deferred(option)) and call.first is not None)
        there = {*given, *settings_of(make, next(asked, Callable[[Any], Any]))}
        complete_call = cast("Later[..., object]", value).complete()
        settings = {name: inner for name, inner in complete_call.items() if name in there}
    elif not isinstance(value, Later) and not complete:
        settings = {name: inner for name, inner in given.items() if name not in known or not same(inner, known[name])}
    types_of, texts = hints(make), list[str]()
    for name, inner in settings.items():
        try:
            texts.append(f"{name}={_text(inner, types_of.get(name, Any), complete=complete)}")
        except TypeError as error:
            # A default that has no text will be the default again.
            if name in given:
                msg = f"{make.__qualname__}({name}=...): {error}"
                raise TypeError(msg) from None
    return f"{name_of(make)}({', '.join(texts)})"


def _remedy(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, partial):
        name = getattr(value.func, "__name__", "...")
        return f"a {kind} cannot be compared or stored: give later({name}, ...)"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"a {kind} has no text: give what computes it, a function or a frozen dataclass"
    return (
        f"{kind} does not know its settings, so they cannot be stored: make it a frozen dataclass, or give "
        f"later({kind}, ...) where it can be made later"
    )
