"""Values as text: the call that makes a value, as `Reader` reads it back.

    write(later(HeatDissipation, levels=50))                   HeatDissipation(levels=50)
    write(Eta(eta=0.5))                                        Eta(eta=0.5)
    write(later(HeatDissipation, levels=50), complete=True)    HeatDissipation(blur_sigma_max=24.0, ..., levels=50, ...)

Numbers are written exactly. What keeps no settings that a call could be made of (a network, a tensor) has no text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any, cast

from .expressions import says_something
from .hints import deferred, element_hints, options, takes_text
from .later import Later, is_named, same
from .public_names import name_of
from .signatures import defaults, hints, named


def write(value: object, hint: Any = None, *, complete: bool = False) -> str:
    """Return the text that `Reader.read` reads as an equal value.

    Args:
        value: a number, string, path, truth value, None, enum member, tuple, frozen dataclass, `Later`, class or
            function, and tuples and settings of these.
        hint: the type that the text will be read for. A string is written as it stands unless that expects something
            else than text; inside calls strings are in quotes.
        complete: write all settings, those left out with their defaults, so that the text means the same for ever.

    Raises:
        TypeError: the value does not know its settings; the message says what to give instead.
    """
    if isinstance(value, str | PurePath) and (hint is None or takes_text(hint)):
        return repr(str(value)) if len(options(hint)) > 1 and says_something(str(value)) else str(value)
    return _text(value, hint, complete=complete)


def shown(value: object) -> str:
    """Return `write`'s text, and where a value has none something that tells what it is but is not a call."""
    try:
        return _text(value, None, complete=False)
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
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value), {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value), cast("Any", value)._asdict()
    return None


def _text(value: object, hint: Any, *, complete: bool) -> str:
    plain = _plain(value)
    if plain is not None:
        return plain
    if isinstance(value, Enum):
        if value.name not in type(value).__members__:
            msg = f"{value!r} is a mixture of members: give one of {', '.join(type(value).__members__)}"
            raise TypeError(msg)
        # Where this choice is expected the member's name says all.
        return value.name if type(value) in options(hint) else f"{name_of(type(value))}.{value.name}"
    # A class stands for itself where one is expected, and for the call of it where something is made later.
    stands = is_named(value) and not (complete and any(deferred(option) for option in options(hint)))
    if stands:
        return name_of(cast("Any", value))
    call = taken_apart(value)
    if call is not None:
        return _call(*call, hint, complete=complete, later=isinstance(value, Later) or is_named(value))
    if isinstance(value, tuple | list):
        items = cast("list[object]", value)
        texts = [_text(item, of, complete=complete) for item, of in zip(items, _hints_within(hint, items), strict=True)]
        return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"
    raise TypeError(_remedy(value))


def _hints_within(hint: Any, items: Sequence[object]) -> list[Any]:
    """Return the types that the elements of a sequence are expected to have; None where that is not known."""
    for option in options(hint):
        try:
            found = element_hints(option, len(items))
        except ValueError:
            continue
        if found is not None:
            return found
    return [None] * len(items)


def _plain(value: object) -> str | None:
    """Return the text of a number, string, truth value or None."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, Enum):
        return None
    if isinstance(value, str | PurePath):
        return repr(str(value))
    if isinstance(value, int):
        # Not the representation of a subclass, such as numpy's floats have.
        return int.__repr__(value)
    return float.__repr__(value) if isinstance(value, float) else None


def _call(make: Any, settings: Mapping[str, object], hint: Any, *, complete: bool, later: bool) -> str:
    types_of = hints(make)
    texts: dict[str, str] = {}
    for name, value in settings.items():
        if not complete and not later and name in (known := defaults(make)) and same(value, known[name]):
            continue
        try:
            texts[name] = _text(value, types_of.get(name), complete=complete)
        except TypeError as error:
            msg = f"{make.__qualname__}({name}=...): {error}"
            raise TypeError(msg) from None
    if complete and later:
        texts = _in_order(make, texts | _defaults(make, hint, settings))
    return f"{name_of(make)}({', '.join(f'{name}={text}' for name, text in texts.items())})"


def _defaults(make: Any, hint: Any, given: Mapping[str, object]) -> dict[str, str]:
    """Return the texts of the settings left out; a default that has no text will be the default again."""
    calls = [call for option in options(hint) if (call := deferred(option)) is not None]
    first = next((len(call.first) for call in calls if call.first is not None), 1)
    types_of = hints(make)
    texts: dict[str, str] = {}
    for name, value in defaults(make, first=first).items():
        try:
            if name not in given:
                texts[name] = _text(value, types_of.get(name), complete=True)
        except TypeError:
            continue
    return texts


def _in_order(make: Any, texts: dict[str, str]) -> dict[str, str]:
    """Return settings in the order of the parameters, whatever order they were given in."""
    order = [name for name in named(make) if name in texts]
    return {name: texts[name] for name in [*order, *(name for name in texts if name not in order)]}


def _remedy(value: object) -> str:
    kind = type(value).__name__
    if hasattr(value, "func") and hasattr(value, "keywords"):
        name = getattr(cast("Any", value).func, "__name__", "...")
        return f"a {kind} cannot be compared or stored: give later({name}, ...)"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"a {kind} has no text: give what computes it, a function or a frozen dataclass"
    return (
        f"{kind} does not know its settings, so they cannot be stored: make it a frozen dataclass, or give "
        f"later({kind}, ...) where it can be made later"
    )
