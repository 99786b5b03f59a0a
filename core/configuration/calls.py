"""Calls as they are read: a constructor and how to find its settings; then made at once, or kept to be made later."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any, get_origin

from .fitting import check_name, required, settings_of, why_not
from .from_data import FromData
from .hints import deferred, describe, is_tensor, options
from .later import Later
from .signatures import hints, parameters, positional
from .writing import shown, taken_apart

# How a setting's value is found once the type that it is for is known.
Setting = Callable[[Any], Any]


class LocatedError(ValueError):
    """An error that says already where in the input it is."""


class LackingError(ValueError):
    """A setting that a call cannot do without is missing."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A call that `why_not` has no objection to.

    Attributes:
        make: a class, a function or a classmethod.
        option: the option of a hint that it is for.
        arguments: arguments by position.
        settings: arguments by name.
    """

    make: Any
    option: Any
    arguments: Sequence[Setting]
    settings: dict[str, Setting]

    def finish(self) -> Any:
        """Return what the call makes; or a `Later`, where the option expects it to be finished later; or the class.

        Raises:
            ValueError: a setting is unknown, missing or of another type, or the constructor refuses it.
        """
        make, option = self.make, self.option
        if type in (option, get_origin(option)):
            if not self.arguments and not self.settings:
                return make
            msg = f"expected {describe(option)} and not what it makes: write {make.__qualname__} alone"
            raise ValueError(msg)
        for name in self.settings:
            check_name(make, option, name)
        later = deferred(option) is not None
        if later and self.arguments:
            msg = f"{make.__qualname__}: what has no name comes later, so give settings by name; "
            raise ValueError(msg + settings_of(make, option))
        types_of = hints(make)
        if not later:
            return self._at_once(types_of)
        settings = {name: _value(make, name, get, types_of) for name, get in self.settings.items()}
        _check_complete(self)
        return Later(make, settings)

    def _at_once(self, types_of: Mapping[str, Any]) -> Any:
        make = self.make
        try:
            bound = inspect.signature(make).bind_partial(*self.arguments, **self.settings)
        except TypeError as error:
            msg = f"{make.__qualname__}: {error}; {settings_of(make, self.option)}"
            raise ValueError(msg) from None
        for name, get in bound.arguments.items():
            kind = parameters(make)[name].kind
            if kind is Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(_value(make, name, inner, types_of) for inner in get)
            elif kind is Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: _value(make, key, inner, types_of) for key, inner in get.items()}
            else:
                bound.arguments[name] = _value(make, name, get, types_of)
        _check_complete(self)
        try:
            return make(*bound.args, **bound.kwargs)
        except (TypeError, ValueError) as error:
            raise ValueError(" ".join(str(error).split())) from error


def call_that_made(old: object, hint: Any) -> Call:
    """Return the call that made a value, with the settings that it has.

    Args:
        old: a frozen dataclass, a `Later`, or a class or function.
        hint: the type that was expected.

    Raises:
        ValueError: the value does not know its settings.
    """
    apart = taken_apart(old)
    if apart is None:
        msg = f"it is {shown(old)} so far, which has no settings: give the whole of it first, as Name(setting=...)"
        raise ValueError(msg)
    make, settings = apart
    fitting = [option for option in options(hint) if why_not(make, make.__qualname__, option) is None]
    if isinstance(old, Later):
        fitting = [*filter(deferred, fitting), Callable[..., Any]]
    return Call(make, [*fitting, make][0], [], {name: _kept(value) for name, value in settings.items()})


def _kept(value: object) -> Setting:
    return lambda _: value


def first_value(hint: Any) -> object:
    """Return what a value that has none yet is changed from: a dataclass, if that is what is expected."""
    return next((o for o in options(hint) if inspect.isclass(o) and dataclasses.is_dataclass(o)), None)


def _check_complete(call: Call) -> None:
    expected = deferred(call.option)
    if expected is not None and expected.first is None:
        return
    given = {*positional(call.make)[: len(call.arguments)], *call.settings}
    lacking = [name for name in required(call.make, call.option) if name not in given]
    if lacking:
        name, title = lacking[0], call.make.__qualname__
        there = options(hints(call.make)[name])
        remedy = f"write {title}({name}=...)"
        if any(is_tensor(option) for option in there) and FromData in there:
            remedy = f"a tensor is read from a file, {title}({name}=FromFile('table.npy'))"
        elif all(is_tensor(option) for option in there):
            remedy = f"no text can give a tensor, so write a function that calls {title}"
        msg = f"{title} lacks {', '.join(lacking)}: {remedy}"
        raise LackingError(msg)


def _value(make: Any, name: str, get: Setting, types_of: Mapping[str, Any]) -> Any:
    try:
        return get(types_of.get(name, Any))
    except LocatedError:
        raise
    except ValueError as error:
        msg = f"{make.__qualname__}({name}=...): {error}"
        raise ValueError(msg) from None
