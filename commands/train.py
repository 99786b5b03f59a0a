"""Train what a recipe or a configuration file says, or go on with a run."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import recipes
from ..core.configuration import from_record
from ..core.configuration.signatures import guess
from ..core.configuration.user_modules import locate
from ..training import RunConfig, launch

_FOLDER = Path(recipes.__file__).parent
# Where nothing but a run is named, its own settings take the place of all of these.
_ANY = "digits_heat"
# Where the first line of a recipe's description goes into detail.
_SHORT = re.compile(r": |, in the |, beside | that scikit-learn| \(|\.$")
_HELP = """\
usage: unmelt train RECIPE [--SETTING VALUE ...]
       unmelt train --resume runs/NAME

Trains a run in runs/RECIPE, or runs/NAME with --name NAME. RECIPE is one of these, a configuration file, config.json of
a run for example, or a Python file with a RunConfig called RECIPE in it:

{recipes}

unmelt train RECIPE --help lists the settings; --smoke tries a recipe in a minute, --dry-run tells what it takes."""


def run(arguments: Sequence[str]) -> None:
    """Train what is named, under the flags that follow."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        lines = (f"  {name:22}{what}" for name, what in summaries().items())
        print(_HELP.format(recipes="\n".join(lines)))  # noqa: T201
        return
    name, *flags = arguments if not arguments[0].startswith("--") else (_ANY, *arguments)
    if flags[:1] == [arguments[0]] and not any(flag.partition("=")[0] == "--resume" for flag in flags):
        msg = f"name a recipe before {flags[0]}, or a run to go on with, --resume runs/NAME: see unmelt train --help"
        raise ValueError(msg)
    recipe, description = named(name, trust_code="--trust-code" in flags)
    launch(recipe, description, flags, program=f"unmelt train {name}")


def summaries() -> dict[str, str]:
    """Return the names of the recipes that come along, with what each trains."""
    sources = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.py"))}
    # Some files there train nothing.
    texts = {name: ast.get_docstring(source) or "" for name, source in sources.items() if _has_recipe(source)}
    return {name: _SHORT.split(text.partition("\n")[0])[0] for name, text in texts.items()}


def named(name: str, *, trust_code: bool) -> tuple[RunConfig, str | None]:
    """Return a recipe and its description.

    Args:
        name: name of one that comes along, or a file.
        trust_code: let a configuration file name classes of the user's. A Python file that is named runs anyway.

    Raises:
        FileNotFoundError: there is no such recipe or file.
        IsADirectoryError: it is a run.
        ValueError: the file holds none.
    """
    if name in summaries():
        module: Any = importlib.import_module(f"{recipes.__name__}.{name}")
        return module.RECIPE, module.__doc__
    path = Path(name)
    if (path / "config.json").is_file():
        msg = f"{name} is a run: --resume {name} goes on with it, {path / 'config.json'} trains another like it"
        raise IsADirectoryError(msg)
    if not path.is_file():
        there = summaries()
        msg = f"there is no recipe {name!r}{guess(name, there)}, and no file; there are {', '.join(there)}"
        raise FileNotFoundError(msg)
    if path.suffix == ".py":
        module, _, _ = locate(f"{name}:RECIPE")
        recipe = getattr(module, "RECIPE", None)
        if not isinstance(recipe, RunConfig):
            msg = f"{name} has no RECIPE: call a RunConfig so in it"
            raise ValueError(msg)
        return recipe, module.__doc__
    try:
        return from_record(RunConfig, json.loads(path.read_text(encoding="utf-8")), trust_code=trust_code), None
    except ValueError as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from error


def _has_recipe(source: ast.Module) -> bool:
    """Tell whether a file has a RECIPE at its top."""
    assigned = (node.targets for node in source.body if isinstance(node, ast.Assign))
    return any(isinstance(target, ast.Name) and target.id == "RECIPE" for targets in assigned for target in targets)
