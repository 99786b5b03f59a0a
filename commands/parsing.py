"""What commands share: their help, and parts that are given as text."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

import torch
from typing_extensions import override

from ..core import Shape
from ..core.configuration import Reader


class Parser(argparse.ArgumentParser):
    """Arguments of a command.

    Args:
        command: its name.
        description: what it does, a sentence or two.
        epilog: lines shown after the list of arguments, as they are.
    """

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"unmelt {command}",
            description=description,
            epilog=epilog,
            formatter_class=_Layout,
            allow_abbrev=False,
        )

    def add_run(self) -> None:
        """Add the run that a command is for, and whether its code is trusted."""
        self.add_argument("run", metavar="RUN", help="folder of the run, runs/NAME, or of an exported model")
        self.add_argument("--trust-code", action="store_true", help="run code of yours that the run names classes of")

    @override
    def error(self, message: str) -> NoReturn:
        """End the program with status 2 and one line."""
        self.exit(2, f"error: {message}; {self.prog} --help tells more\n")


class _Layout(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


def part(flag: str, text: str, hint: Any) -> Any:
    """Return the part that a text describes, such as `Multistep(order=3)`. What is typed is trusted.

    Args:
        flag: what it was given by, for messages.
        text: a constructor's call.
        hint: the type that is expected.

    Raises:
        ValueError: the text is no such call; the message names the flag.
    """
    try:
        return Reader(trust_code=True).read(text, hint)
    except (TypeError, ValueError) as error:
        msg = f"{flag} {text}: {error}"
        raise ValueError(msg) from error


def shape(flag: str, text: str) -> Shape:
    """Return the shape of one signal that a text such as `3,64,64` gives.

    Raises:
        ValueError: it is none; the message names the flag.
    """
    sizes = text.replace("x", ",").strip("()").split(",")
    if not all(size.strip().isdecimal() and int(size) for size in sizes):
        msg = f"{flag} {text}: give the sizes of all axes without the batch, as in 3,64,64"
        raise ValueError(msg)
    return tuple(map(int, sizes))


def device(name: str | None) -> torch.device:
    """Return the device that `--device` names; an accelerator where there is one if None.

    Raises:
        ValueError: it is none, or is not there; the message names the flag.
    """
    try:
        # It may be known, and not be there.
        return torch.empty(0, device=name or ("cuda" if torch.cuda.is_available() else "cpu")).device
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        msg = f"--device {name}: {' '.join(str(error).split())[:200]}"
        raise ValueError(msg) from None
