"""What a recipe calls: command line, data, training, pictures."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from ..core.configuration import cli
from .data.examples import DataError
from .run_config import RunConfig
from .run_pictures import draw_pictures
from .trainer import Trainer

_RESUME, _PARAGRAPH = "--resume", "\n\n"
_NOTE = f"{_RESUME} goes on with the newest checkpoint of the run of this name."


def launch(default: RunConfig, description: str | None = None, arguments: Sequence[str] | None = None) -> Trainer:
    """Train what a recipe and its command line describe, draw the run's pictures and say where they are.

    An error in what the user gave is one line and ends the program: a misspelt flag or a value of the wrong kind with
    status 2, what turns out when everything is made (a missing data set, an existing run) with status 1.

    Args:
        default: the recipe's settings.
        description: shown by --help, up to its first empty line.
        arguments: command-line arguments; the program's own if None.

    Returns:
        The trainer after its last step.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    flags = [argument for argument in given if argument != _RESUME]
    config = cli(default, _described(description), arguments=flags)
    try:
        data = config.data.load()
        if os.environ.get("RANK", "0") == "0":
            print(data.told)  # noqa: T201
        trainer = Trainer(config, data, resume=_RESUME in given)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        # Raised by a class of the user's, or by torch in it, some are mistakes whose place matters.
        if not isinstance(error, OSError | ValueError) and not _raised_here(error):
            raise
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        sys.exit(f"error: {error}{notes}")
    try:
        run = trainer.train()
    except (FloatingPointError, KeyboardInterrupt, DataError) as error:
        sys.exit(f"error: {error}")
    if trainer.accelerator.is_main_process:
        draw_pictures(trainer, run)
    return trainer


def _described(description: str | None) -> str:
    return f"{(description or '').partition(_PARAGRAPH)[0]} {_NOTE}".strip()


def _raised_here(error: Exception) -> bool:
    """Tell whether it was unmelt that raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_globals["__name__"].partition(".")[0] == __name__.partition(".")[0]
