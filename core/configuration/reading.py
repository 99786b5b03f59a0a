"""Texts as values: calls of constructors, read for the type that is expected where they stand.

    reader = Reader()
    reader.read("HeatDissipation(levels=50)", Callable[[Shape], LinearGaussianProcess])    # a Later
    reader.read("Eta(eta=0.5)", Coupling)                                                  # Eta(eta=0.5)

A text is parsed, not run. A name is looked up among the public ones, and called only if it makes what is expected, from
what is expected: a text that comes with somebody's run chooses among values, and can do nothing else.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import partial, reduce
from operator import or_
from typing import Any, Literal, get_args, get_origin

from .calls import Call, LackingError, LocatedError, Setting, call_that_made, first_value
from .changes import Change, change_at
from .expressions import constant, display, dotted, expression
from .fitting import check_name, choices, why_not
from .hints import choice_called, convert, describe, element_hints, options, takes_text
from .later import guess
from .public_names import Names
from .signatures import defaults

_PLAIN = (bool, float, int, str, type(None))


class Reader:
    """Reads values from texts.

    Args:
        trusted: modules and files of the user's that texts may name classes of: `own`, `path/to/file.py`. Without it
            nothing but unmelt's packages and torch's optimizers is imported.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._names = Names(trusted)

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
                return self._text(text, hint)
            words = [a for option in options(hint) if get_origin(option) is Literal for a in get_args(option)]
            return text.strip() if text.strip() in words else self._value(expression(text), hint)
        except RecursionError:
            msg = f"{text!r:.80} is nested too deeply"
            raise ValueError(msg) from None

    def change(self, old: object, hint: Any, path: Sequence[str], text: str) -> Any:
        """Return `old` with the setting at `path` read from `text`, and everything else kept.

        Args:
            old: a frozen dataclass or a `Later`.
            hint: the type expected of the whole.
            path: names of settings from the outside in, ("schedule", "rho"); empty to replace the whole.
            text: see `read`.

        Raises:
            ValueError: there is no such setting, or as `read`.
        """
        return self.apply(old, hint, change_at([(path, text, "")]))

    def apply(self, old: object, hint: Any, change: Change) -> Any:
        """Return `old` changed in several places at once: at each a whole value first, then the settings inside it.

        Args:
            old: as in `change`; or the very class that `hint` is, for a first value of it.
            hint: the type expected of the whole.
            change: what is asked for.

        Raises:
            ValueError: as `change`; the message begins with the labels of what is wrong.
        """
        try:
            if change.within or (inspect.isclass(old) and old in options(hint)):
                return self._changed(old, hint, change)
            return old if change.given is None else self._given(change.given, hint)
        except LocatedError:
            raise
        except ValueError as error:
            raise LocatedError(_located(change, error)) from error

    def choices(self, hint: Any) -> dict[str, Any]:
        """Return the public names of what can be given where `hint` is expected, with what they stand for."""
        return choices(self._names.all(), hint)

    def call_of(self, name: str, hint: Any) -> Call:
        """Return the call of the class or function of that name, without settings, for what `hint` expects.

        Raises:
            ValueError: there is none; one line that says what there is.
        """
        return self._calls(expression(name), hint)[0]

    def _text(self, text: str, hint: Any) -> Any:
        """Return a text as it stands, or what it says where a hint expects something else as well."""
        plain = takes_text(hint)
        others = [option for option in options(hint) if option not in plain]
        as_it_stands = text if plain[0] is str else plain[0](text)
        try:
            node = expression(text)
        except ValueError:
            return as_it_stands
        value = constant(node)
        # Names are not looked up, but for public ones: nobody wants `--folder setup.py` to import a module.
        makes = [option for option in others if option not in _PLAIN]
        if makes and isinstance(node, ast.Call):
            return self._value(node, hint)
        if not others or (value is None and not (makes and isinstance(node, ast.Name))):
            return as_it_stands
        try:
            # A text in quotes is a text, whatever it says.
            return self._value(node, hint if value and isinstance(value.value, str) else reduce(or_, others))
        except ValueError:
            return as_it_stands

    def _given(self, given: str | ast.expr, hint: Any) -> Any:
        return self.read(given, hint) if isinstance(given, str) else self._value(given, hint)

    def _changed(self, old: object, hint: Any, change: Change) -> Any:
        """Return `old`, or what is given instead, with changed settings."""
        if change.given is None:
            made = call_that_made(old, hint)
        else:
            made = self._calls(expression(change.given) if isinstance(change.given, str) else change.given, hint)[0]
        for name, inner in change.within.items():
            try:
                check_name(made.make, made.option, name)
            except ValueError as error:
                raise LocatedError(_located(inner, error)) from None
            made.settings[name] = partial(self._change_setting, made, name, made.settings.get(name), inner)
        try:
            return made.finish()
        except LackingError as error:
            # What is missing has no label of its own.
            raise LocatedError(_located(Change(label=change.label), error)) from None

    def _change_setting(self, made: Call, name: str, before: Setting | None, change: Change, hint: Any) -> Any:
        if change.given is not None:
            return self.apply(None, hint, change)
        old = before(hint) if before else defaults(made.make).get(name, first_value(hint))
        return self.apply(old, hint, change)

    def _value(self, node: ast.expr, hint: Any) -> Any:
        name = dotted(node)
        choice = choice_called(name, hint) if name else None
        if choice is not None:
            return choice
        plain = constant(node)
        if plain is not None:
            return convert(plain.value, hint)
        if isinstance(node, ast.Tuple | ast.List):
            return self._elements(node, hint)
        if isinstance(node, ast.Name | ast.Attribute | ast.Call):
            return self._called(node, hint)
        remedy = "write text in quotes" if takes_text(hint) else "it is not a number, text, tuple or call"
        msg = f"expected {describe(hint)}, got {display(node)}: {remedy}"
        raise ValueError(msg)

    def _called(self, node: ast.expr, hint: Any) -> Any:
        """Return what a call makes, for the first option that it fits and that has no objection."""
        calls = self._calls(node, hint)
        for made in calls[:-1]:
            try:
                return made.finish()
            except ValueError:
                continue
        return calls[-1].finish()

    def _calls(self, node: ast.expr, hint: Any) -> list[Call]:
        """Return a call for each option of a hint that it fits, at least one."""
        name = dotted(node.func if isinstance(node, ast.Call) else node)
        if name is None:
            msg = f"expected {describe(hint)}, got {display(node)}: only names are called, as in Name(setting=1)"
            raise ValueError(msg)
        make = self._names.find(name)
        if make is None:
            there = [*self.choices(hint)]
            remedy = ": write text in quotes" if takes_text(hint) else ""
            what = f"no {name!r}{guess(name, there)}" if there else f"expected {describe(hint)}, got {name}{remedy}"
            raise ValueError("; ".join(filter(None, (what, _there_are(there)))))
        if isinstance(make, Enum):
            msg = f"expected {describe(hint)}, got {name}"
            raise ValueError(msg)  # noqa: TRY004 - texts are values
        objections = [(option, why_not(make, name, option)) for option in options(hint)]
        fitting = [option for option, reason in objections if reason is None]
        if not fitting:
            # That it makes something else says least.
            telling = [reason for _, reason in objections if reason and " makes no " not in reason]
            wanted = " or ".join(dict.fromkeys(describe(o) for o in options(hint) if o is not type(None)))
            reason = telling[0] if telling else f"{name} makes no {wanted}"
            raise ValueError("; ".join(filter(None, (reason, _there_are([*self.choices(hint)])))))
        arguments, settings = self._arguments(node, name) if isinstance(node, ast.Call) else ([], {})
        return [Call(make, option, arguments, dict(settings)) for option in fitting]

    def _arguments(self, node: ast.Call, name: str) -> tuple[list[Setting], dict[str, Setting]]:
        keys = [keyword.arg for keyword in node.keywords]
        if None in keys or len(set(keys)) < len(keys):
            msg = f"{name}: give every setting once and by its name, got {display(node)}"
            raise ValueError(msg)
        by_name: dict[str, Setting] = {str(key.arg): partial(self._value, key.value) for key in node.keywords}
        return [partial(self._value, argument) for argument in node.args], by_name

    def _elements(self, node: ast.Tuple | ast.List, hint: Any) -> Any:
        problems: list[ValueError] = []
        for option in options(hint):
            try:
                inner = element_hints(option, len(node.elts))
                if inner is not None:
                    values = [self._value(e, h) for e, h in zip(node.elts, inner, strict=True)]
                    return values if list in (option, get_origin(option)) else tuple(values)
            except ValueError as error:
                problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        msg = f"expected {describe(hint)}, got {display(node)}"
        raise ValueError(msg)


def _there_are(names: Sequence[str]) -> str:
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else ""


def _located(change: Change, error: ValueError) -> str:
    labels = change.labels()
    return f"{labels}: {error}" if labels else str(error)
