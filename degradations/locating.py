"""Processes by name: a family of unmelt, or a user's class in a module or a file."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from . import families
from .process import LinearGaussianProcess


def shape_families() -> list[str]:
    """Return the names of the families that need nothing but the shape of a signal."""
    named = {name: getattr(families, name) for name in families.__all__}
    return [name for name, cls in named.items() if inspect.isclass(cls) and _needs_only_a_shape(cls)]


def process_from_name(target: str, shape: Sequence[int]) -> LinearGaussianProcess:
    """Return the process that `target` names, made for signals of `shape`.

    Args:
        target: the name of a family such as `Pixelation` or `SpectralDiffusion.power_law`; or a user's class or
            function, as `module:Name` (importable from here or from the working directory) or `path/to/file.py:Name`.
            Settings follow in parentheses: `HeatDissipation(blur_sigma_max=12.0)`,
            `IsotropicDiffusion(schedule=EDMSchedule(rho=5))`. What is named is called with the shape and the settings.
        shape: shape of one signal, such as (3, 32, 32).

    Raises:
        ValueError: nothing is found under that name, it takes other arguments, or it does not make a
            `LinearGaussianProcess`; or what the process itself raises of its settings.
    """
    place, settings = _split(target)
    where, colon, name = place.rpartition(":")
    owner: object = _module(where, target) if colon else families
    found = owner
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is owner or not callable(found):
        places = f"{where} has no {name}" if colon else f"the families are {', '.join(shape_families())}"
        msg = f"no process called {target!r}: {places}; give a family, module:Class or path/to/file.py:Class"
        raise ValueError(msg)
    signature = _signature(found)
    try:
        signature.bind(shape, **settings)
        process = found(tuple(shape), **settings)
    except TypeError as error:
        arguments = (p.replace(annotation=p.empty) for p in signature.parameters.values())
        msg = (
            f"{name} cannot be made from a shape and {settings or 'nothing else'}: {error}; its arguments are "
            f"{', '.join(map(str, arguments))}"
        )
        raise ValueError(msg) from error
    if not isinstance(process, LinearGaussianProcess):
        msg = f"{target} makes a {type(process).__name__}, not a LinearGaussianProcess"
        raise ValueError(msg)  # noqa: TRY004
    return process


def _split(target: str) -> tuple[str, dict[str, object]]:
    """Return what is before the parentheses, and the settings in them."""
    place, parenthesis, rest = target.partition("(")
    if not parenthesis:
        return place, {}
    try:
        call = ast.parse(f"dict({rest}", mode="eval").body
        return place, _settings(call)
    except (SyntaxError, TypeError, ValueError) as error:
        msg = (
            f"cannot read the settings of {target!r} ({error}): write NAME=VALUE, separated by commas, each value a"
            " number, a tuple, or a call of a class of unmelt.degradations, such as schedule=EDMSchedule(rho=5)"
        )
        raise ValueError(msg) from error


def _settings(call: ast.expr) -> dict[str, object]:
    """Return the keyword arguments of a call that has no others."""
    if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
        msg = "a value without a name"
        raise ValueError(msg)
    return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}


def _value(node: ast.expr) -> object:
    """Return a literal, or what a class of unmelt.degradations makes of literals."""
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    public = importlib.import_module(__package__ or "")
    name = ast.unparse(node.func)
    if name not in public.__all__:
        msg = f"unmelt.degradations has no {name}"
        raise ValueError(msg)
    made: Callable[..., object] = getattr(public, name)
    settings = {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
    return made(*[_value(argument) for argument in node.args], **settings)


def _signature(made: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(made)
    except ValueError:
        # Some builtins tell nothing of theirs; calling them will tell.
        return inspect.Signature([inspect.Parameter("arguments", inspect.Parameter.VAR_POSITIONAL)])


def _needs_only_a_shape(cls: type) -> bool:
    first, *others = inspect.signature(cls).parameters.values()
    return first.name == "shape" and all(p.default is not p.empty for p in others)


def _module(where: str, target: str) -> ModuleType:
    """Return the module at a dotted name or a file's path."""
    path = Path(where)
    try:
        if path.suffix != ".py":
            # As `python -m` does: what lies in the working directory can be imported.
            if "" not in sys.path and str(Path.cwd()) not in sys.path:
                sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(where)
        if path.stem in sys.modules and getattr(sys.modules[path.stem], "__file__", None) == str(path.resolve()):
            return sys.modules[path.stem]
        spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Under its own name, so that its classes can be pickled.
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[path.stem]
            raise
    except (ImportError, OSError, ValueError) as error:
        msg = f"no process called {target!r}: {where} cannot be imported ({error}); give module:Class or file.py:Class"
        raise ValueError(msg) from error
    return module
