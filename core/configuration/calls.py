"""Calls as they are read: whether a constructor fits where it stands, its settings, and what the call makes.

A constructor fits a hint's option if it makes what is expected there of the arguments that will be there.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from inspect import Parameter
from typing import Any, get_args

from . import user_modules
from .from_data import FromData
from .hints import PLAIN, accepts, deferred, describe, is_class, is_protocol, is_tensor, options, settings_of
from .later import Later
from .signatures import has_kind, hints, listed, made_by, positional, why_no_setting

# How a setting's value is found once the type that it is for is known.
Setting = Callable[[Any], Any]


class LocatedError(ValueError):
    """An error that says already where in the input it is."""


class LackingError(ValueError):
    """A setting that a call cannot do without is missing.

    Args:
        message: says which.
        hint: the type that is expected there.
    """

    def __init__(self, message: str, hint: Any) -> None:
        super().__init__(message)
        self.hint = hint


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
    arguments: Sequence[Setting] = ()
    settings: dict[str, Setting] = dataclasses.field(default_factory=dict[str, Setting])

    def allowed(self) -> dict[str, Parameter]:
        """Return the parameters that are settings, and not arguments that come later."""
        return settings_of(self.make, self.option)

    def required(self) -> list[str]:
        """Return the settings that the call cannot do without."""
        return [name for name, p in self.allowed().items() if p.default is Parameter.empty]

    def check_name(self, name: str) -> None:
        """Check that there is a setting of this name.

        Raises:
            ValueError: there is none, or what is called so comes later.
        """
        if (why := why_no_setting(self.make, name, self.allowed())) is not None:
            raise ValueError(why)

    def finish(self) -> Any:
        """Return what the call makes; or a `Later`, where the option expects it to be finished later; or the class.

        Raises:
            ValueError: a setting is unknown, missing or of another type, or the constructor refuses it.
        """
        make, expected = self.make, deferred(self.option)
        if is_class(self.option):
            if not self.arguments and not self.settings:
                return make
            msg = f"expected {describe(self.option)} and not what it makes: write {make.__qualname__} alone"
            raise ValueError(msg)
        types_of = hints(make)
        settings = {
            name: _value(make, name, get, types_of.get(name, Any)) for name, get in self._by_name(expected).items()
        }
        lacking = [name for name in self.required() if name not in settings]
        if lacking and (expected is None or expected.first is not None):
            there, title = options(types_of[lacking[0]]), make.__qualname__
            remedy = f"write {title}({lacking[0]}=...)"
            if FromData in there and any(map(is_tensor, there)):
                remedy = f"a tensor is read from a file, {title}({lacking[0]}=FromFile('table.npy'))"
            elif all(map(is_tensor, there)):
                remedy = f"no text can give a tensor, so write a function that calls {title}"
            msg = f"{title} lacks {', '.join(lacking)}: {remedy}"
            raise LackingError(msg, types_of[lacking[0]])
        if expected is not None:
            return Later(make, settings)
        try:
            return make(**settings)
        except (TypeError, ValueError) as error:
            raise ValueError(" ".join(str(error).split())) from error

    def _by_name(self, expected: object) -> dict[str, Setting]:
        """Return all arguments by name, those given by position first."""
        given = dict(zip(positional(self.make), self.arguments, strict=False)) | self.settings
        wrong = ""
        if expected is not None and self.arguments:
            wrong = "what has no name comes later, so give settings by name"
        elif len(given) < len(self.arguments) + len(self.settings):
            wrong = "more arguments than settings, or a setting given twice"
        if wrong:
            msg = f"{self.make.__qualname__}: {wrong}; {listed(self.allowed())}"
            raise ValueError(msg)
        for name in self.settings:
            self.check_name(name)
        return given


def _value(make: Any, name: str, get: Setting, hint: Any) -> Any:
    try:
        return get(hint)
    except LocatedError:
        raise
    except ValueError as error:
        msg = f"{make.__qualname__}({name}=...): {error}"
        raise ValueError(msg) from None


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
    if is_class(option):
        fits = inspect.isclass(make) and all(accepts(inner, make) for inner in get_args(option))
        return None if fits else f"{name} is not {describe(option)}"
    if is_tensor(option):
        return f"{name} is not a tensor, and a computed one could not be written down again"
    # Where nothing is known of what is expected, plain values are harmless.
    if option is Any:
        return None if dataclasses.is_dataclass(make) else f"it is not known whether {name} makes what is expected"
    call = deferred(option)
    return _why_not_made(make, name, call.result if call else option) or _why_not_from(
        make, name, (call and call.first) or ()
    )


def _why_not_made(make: Any, name: str, result: Any) -> str | None:
    """Return why a call does not make this result, or None where it does."""
    made = made_by(make)
    # What is fitted to data later on stands where what it then builds is expected.
    built = made_by(make.build) if inspect.isclass(make) and issubclass(make, FromData) else made
    if Any in options(result):
        return None
    if made is Parameter.empty or Any in options(made):
        return f"{name} does not say what it makes: give it the return annotation -> {describe(result)}"
    return None if accepts(result, made) or accepts(result, built) else f"{name} makes no {describe(result)}"


def _why_not_from(make: Any, name: str, first: Sequence[Any]) -> str | None:
    """Return why a call cannot take the first arguments that come later, or None where it can."""
    places, types_of = positional(make), hints(make)
    if len(places) < len(first) and not has_kind(make, Parameter.VAR_POSITIONAL):
        given = " and ".join(map(describe, first))
        return f"{name} takes {' and '.join(places) or 'nothing'}, and would be given {given}"
    for place, given in zip(places, first, strict=False):
        if not accepts(types_of[place], given):
            return f"{name} is made from {place}, {describe(types_of[place])}, not from {describe(given)}"
    return None


def fitting_members(make: Any, name: str, hint: Any) -> list[str]:
    """Return the names of the classmethods of a class that can be called where a hint is expected."""
    there = user_modules.members(make) if inspect.isclass(make) else {}
    return [
        part
        for part, method in there.items()
        if inspect.ismethod(method)
        and any(why_not(method, f"{name}.{part}", option) is None for option in options(hint) if option is not Any)
    ]


def choices(names: Mapping[str, Any], hint: Any) -> dict[str, Any]:
    """Return those among named classes and functions that can be given, as text, where a hint is expected."""
    classes = [kind for kind in names.values() if inspect.isclass(kind)]
    found: dict[str, Any] = {}
    for option in options(hint):
        call = deferred(option)
        # What is fitted or read stands for the other options.
        stands_for = [other for other in options(hint) if other is not FromData]
        results = options(call.result if call else option)
        # Where anything will do there is nothing to choose, nor is a function that makes a number a choice of numbers.
        if Any in results or option in PLAIN:
            continue
        # Where just any module is expected, a network say, those of unmelt's own kinds are not looked for.
        any_kind = not is_class(option) and not any(result in classes for result in results)
        for name, make in names.items():
            made = made_by(make)
            if why_not(make, name, option) is not None or (make in results and type.__subclasses__(make)):
                continue
            if option is FromData and not any(accepts(other, made_by(make.build)) for other in stands_for):
                continue
            if any_kind and any(kind is not made and (accepts(kind, made) or accepts(made, kind)) for kind in classes):
                continue
            types_of = hints(make)
            if not any(all(map(is_tensor, options(types_of[needed]))) for needed in Call(make, option).required()):
                found[name] = make
    return found
