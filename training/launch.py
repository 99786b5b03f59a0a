"""What a recipe calls: command line, data, training, pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..core.command_line import cli
from .run_config import RunConfig
from .run_pictures import draw_pictures
from .trainer import Trainer

_RESUME = "--resume"
_NOTE = f"{_RESUME} goes on with the newest checkpoint of the run of this name."


def launch(default: RunConfig, description: str | None = None, arguments: Sequence[str] | None = None) -> Trainer:
    """Train what a recipe and its command line describe, draw the run's pictures and say where they are.

    An error in what the user gave (a missing data set, an existing run, a setting out of range) is printed as one
    message and ends the program with status 1, a misspelt flag with status 2.

    Args:
        default: the recipe's settings.
        description: shown by --help.
        arguments: command-line arguments; the program's own if None.

    Returns:
        The trainer after its last step.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    flags = [argument for argument in given if argument != _RESUME]
    config = cli(default, "\n\n".join(filter(None, (description, _NOTE))), arguments=flags)
    try:
        trainer = Trainer(config, config.data.load(), resume=_RESUME in given)
    except (ConnectionError, FileExistsError, FileNotFoundError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    try:
        run = trainer.train()
    except (FloatingPointError, KeyboardInterrupt) as error:
        sys.exit(f"error: {error}")
    if trainer.accelerator.is_main_process:
        draw_pictures(trainer, run)
    return trainer
