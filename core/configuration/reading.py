"""Texts as values: calls of constructors, read for the type that is expected where they stand.

    reader = Reader()
    reader.read("HeatDissipation(levels=50)", Callable[[Shape], LinearGaussianProcess])    # a Later
    reader.read("Eta(eta=0.5)", Coupling)                                                  # Eta(eta=0.5)

A text is parsed, not run. A name is looked up among the public ones, and called only if it makes what is expected, from
what is expected: a text that comes with somebody's run chooses among values, and can do nothing else.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from .calls import Call, LackingError, LocatedError, Setting, choices, fitting_members, why_not
from .changes import Change
from .expressions import constant, display, dotted, expression
from .hints import choice_called, convert, deferred, describe, element_hints, options, takes_text
from .later import Later
from .public_names import Names
from .signatures import defaults, guess
from .writing import shown, taken_apart


class Reader:
    """Reads values from texts.

    Args:
        trust_code: let texts name classes of the user's, whose code is then run: `own.Haze`, `path/to/file.py:Haze`.
            Without it nothing but unmelt's packages and torch's optimizers is imported.
        known: names of the user's that may be used all the same, since what they stand for is imported already.
        copies: folder of copies of the user's modules, which count before the modules themselves.
    """

    def __init__(self, *, trust_code: bool = False, known: Iterable[str] = (), copies: Path | None = None) -> None:
        self._names = Names(trust_code=trust_code, known=known, copies=copies)

    def read(self, text: str, hint: Any) -> Any:
        """Return what `text` stands for where `hint` is expected.

        Where a string or path is expected the text is taken as it stands; inside calls strings are in quotes.

        Args:
            text: such as `0.5`, `(1, 2)`, `None`, `Eta(eta=0.5)`, `Eta(0.5)`, `Markov`, `own.Haze(strength=3)`.
            hint: a type. Where it is a `Callable` the call is to be finished later, and a `Later` is returned.

        Raises:
            ValueError: the text stands for nothing, or for something else; one line that says what there is.
        """
        try:
            if takes_text(hint):
                return _as_it_stands(text, hint)
            words = [a for option in options(hint) if get_origin(option) is Literal for a in get_args(option)]
            return text.strip() if text.strip() in words else self._value(expression(text), hint)
        except RecursionError:
            msg = f"{text!r:.80} is nested too deeply"
            raise ValueError(msg) from None

    def apply(self, old: object, hint: Any, change: Change) -> Any:
        """Return `old` changed in several places at once: at each a whole value first, then the settings inside it.

        Args:
            old: a value; or the very class that `hint` is, for a first value of it.
            hint: the type expected of the whole.
            change: what is asked for.

        Raises:
            ValueError: there is no such setting, or as `read`; the message begins with the labels of what is wrong.
        """
        try:
            if change.within or (inspect.isclass(old) and old in options(hint)):
                return self._changed(old, hint, change)
            if isinstance(change.given, str):
                return self.read(change.given, hint)
            return old if change.given is None else self._value(change.given, hint)
        except LocatedError:
            raise
        except ValueError as error:
            raise LocatedError(_located(change.labels(), error)) from error

    def choices(self, hint: Any) -> dict[str, Any]:
        """Return the public names of what can be given where `hint` is expected, with what they stand for."""
        return choices(self._names.all(), hint)

    def call_of(self, text: str, hint: Any) -> Call:
        """Return the call that a text is, for what `hint` expects, before it is made.

        Raises:
            ValueError: it is none; one line that says what there is.
        """
        return self._calls(expression(text), hint)[0]

    def _changed(self, old: object, hint: Any, change: Change) -> Any:
        """Return `old`, or what is given instead, with changed settings."""
        if isinstance(change.given, ast.expr):
            made = self._calls(change.given, hint)[0]
        else:
            made = call_that_made(old, hint) if change.given is None else self.call_of(change.given, hint)
        for name, inner in change.within.items():
            try:
                made.check_name(name)
            except ValueError as error:
                raise LocatedError(_located(inner.labels(), error)) from None
            before = made.settings.get(name) or partial(_default, made.make, name)
            made.settings[name] = partial(self._setting, before, inner)
        try:
            return self._finished(made)
        except LackingError as error:
            # What is missing has no label of its own.
            raise LocatedError(_located(change.label, error)) from None

    def _finished(self, made: Call) -> Any:
        try:
            return made.finish()
        except LackingError as error:
            msg = f"{error}{_there_are(self.choices(error.hint))}"
            raise LackingError(msg, error.hint) from None

    def _setting(self, before: Setting, change: Change, hint: Any) -> Any:
        return self.apply(before(hint) if change.given is None else None, hint, change)

    def _value(self, node: ast.expr, hint: Any) -> Any:
        name = dotted(node)
        choice = choice_called(name, hint) if name else None
        if choice is not None:
            return choice
        plain = constant(node)
        if plain is not None:
            try:
                return convert(plain.value, hint)
            except ValueError as error:
                msg = f"{error}{_there_are(self.choices(hint))}"
                raise ValueError(msg) from None
        if isinstance(node, ast.Tuple | ast.List):
            return self._elements(node, hint)
        if not isinstance(node, ast.Name | ast.Attribute | ast.Call):
            remedy = "write text in quotes" if takes_text(hint) else "it is not a number, text, tuple or call"
            msg = f"expected {describe(hint)}, got {display(node)}: {remedy}"
            raise ValueError(msg)  # noqa: TRY004 - texts are values
        # The first option that it fits and that has no objection.
        calls = self._calls(node, hint)
        for made in calls[:-1]:
            try:
                return made.finish()
            except ValueError:
                continue
        return self._finished(calls[-1])

    def _calls(self, node: ast.expr, hint: Any) -> list[Call]:
        """Return a call for each option of a hint that it fits, at least one."""
        name = dotted(node.func if isinstance(node, ast.Call) else node)
        if name is None:
            msg = f"expected {describe(hint)}, got {display(node)}: only names are called, as in Name(setting=1)"
            raise ValueError(msg)
        make = self._names.find(name)
        if make is None or isinstance(make, Enum):
            there, last = self.choices(hint), name.rpartition(".")[2]
            remedy = ": write text in quotes" if takes_text(hint) else ""
            what = f"expected {describe(hint)}, got {name}{remedy}"
            if there and make is None:
                what = f"no {name!r}{guess(last, there)}"
            raise ValueError(what + _there_are(there))
        objections = {option: why_not(make, name, option) for option in options(hint)}
        fitting = [option for option, reason in objections.items() if reason is None]
        if not fitting:
            ways = " or ".join(f"{name}.{part}" for part in fitting_members(make, name, hint))
            # That it makes something else says least.
            telling = [reason for reason in objections.values() if reason and " makes no " not in reason]
            wanted = " or ".join(dict.fromkeys(describe(o) for o in objections if o is not type(None)))
            remedy = f": write {ways}" if ways else _there_are(self.choices(hint))
            raise ValueError([*telling, f"{name} makes no {wanted}"][0] + remedy)
        arguments, keywords = (node.args, node.keywords) if isinstance(node, ast.Call) else ([], [])
        settings: dict[str, Setting] = {str(key.arg): partial(self._value, key.value) for key in keywords}
        if any(key.arg is None for key in keywords) or len(settings) < len(keywords):
            msg = f"{name}: give every setting once and by its name, got {display(node)}"
            raise ValueError(msg)
        by_position = [partial(self._value, argument) for argument in arguments]
        return [Call(make, option, by_position, dict(settings)) for option in fitting]

    def _elements(self, node: ast.Tuple | ast.List, hint: Any) -> Any:
        for option in options(hint):
            inner = element_hints(option, len(node.elts))
            if inner is not None:
                values = [self._value(element, of) for element, of in zip(node.elts, inner, strict=True)]
                return values if list in (option, get_origin(option)) else tuple(values)
        msg = f"expected {describe(hint)}, got {display(node)}"
        raise ValueError(msg)


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
    return Call(make, [*fitting, make][0], (), {name: partial(_kept, value) for name, value in settings.items()})


def _kept(value: object, _: Any) -> object:
    return value


def _default(make: Any, name: str, hint: Any) -> object:
    """Return what a setting that is not given is changed from: its default, or the dataclass that is expected."""
    dataclass = next((o for o in options(hint) if inspect.isclass(o) and dataclasses.is_dataclass(o)), None)
    return defaults(make).get(name, dataclass)


def _as_it_stands(text: str, hint: Any) -> Any:
    """Return a text as a string or path, or the number, truth value or None that it says where a hint expects one."""
    texts = takes_text(hint)
    try:
        value = constant(expression(text)) if len(texts) < len(options(hint)) else None
        return convert(value.value, hint) if value else texts[0](text)
    except ValueError:
        return texts[0](text)


def _there_are(names: Collection[str]) -> str:
    return f"; there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else ""


def _located(labels: str, error: ValueError) -> str:
    return f"{labels}: {error}" if labels else str(error)
