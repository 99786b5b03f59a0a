"""What a recipe calls: command line, data, training, pictures."""

from __future__ import annotations

import itertools
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, NoReturn

from ..core.configuration import cli, known_names
from ..core.console import say
from .data.unreadable import DataError
from .dry_run import dry_run
from .folder.run_folder import RunFolder
from .loop.interrupts import STOPPED, StoppedError, stopping_at_once
from .loop.processes import OtherProcessError
from .run_config import RunConfig
from .run_pictures import draw_pictures
from .smoke import smoke
from .trainer import Trainer

_RESUME, _INIT_FROM, _TRUST_CODE = "--resume", "--init-from", "--trust-code"
_DRY_RUN, _SMOKE = "--dry-run", "--smoke"
_PARAGRAPH = "\n\n"
# How gloo and NCCL say that somebody is gone.
_OF_OTHERS = ("closed by peer", "reset by peer", "gloo", "NCCL")
_NOTE = (
    "--resume [runs/NAME] goes on with a run under its stored settings, or starts it if there is none;"
    " --init-from runs/NAME begins a new run with its weights; --dry-run tells what it would take;"
    " --smoke tries it tiny."
)


class _Asked(NamedTuple):
    """Flags that are no settings, and the rest.

    Attributes:
        resume: whether to go on with a run.
        folder: the run to go on with; None for the one that is named.
        init_from: the run whose weights a new one begins with.
        dry_run: only tell what training would take.
        smoke: train a tiny one.
        trust_code: run code that a stored run brings along.
        flags: all other arguments.
    """

    resume: bool
    folder: Path | None
    init_from: Path | None
    dry_run: bool
    smoke: bool
    trust_code: bool
    flags: list[str]


def launch(
    default: RunConfig,
    description: str | None = None,
    arguments: Sequence[str] | None = None,
    *,
    program: str | None = None,
) -> Trainer:
    """Train what a recipe and its command line describe, draw the run's pictures and say where they are.

    An error in what the user gave is one line and ends the program: a misspelt flag or a value of the wrong kind with
    status 2, what turns out when everything is made (a missing data set, an existing run) with status 1. A run that a
    signal stopped ends with status 75, after a checkpoint.

    Args:
        default: the recipe's settings.
        description: shown by --help, up to its first empty line.
        arguments: command-line arguments; the program's own if None.
        program: what --help calls it; the name of the script if None.

    Returns:
        The trainer after its last step.
    """
    asked = _asked(sys.argv[1:] if arguments is None else arguments)
    if asked.smoke:
        default = smoke(default)
    try:
        with stopping_at_once("before the first step; nothing was written"):
            trainer = _made(default, description, asked, program)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        # Raised by a class of the user's, or by torch in it, some are mistakes whose place matters.
        if not isinstance(error, OSError | ValueError) and not _raised_here(error):
            raise
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        sys.exit(f"error: {error}{notes}")
    except KeyboardInterrupt as error:
        _end(str(error), STOPPED)
    if asked.dry_run:
        dry_run(trainer)
        sys.exit(0)
    _train(trainer)
    return trainer


def _train(trainer: Trainer) -> None:
    """Train and draw pictures; end the program with one line where that is not to be."""
    processes = trainer.processes
    if trainer.progress.step >= trainer.config.training.steps and processes.main:
        say(f"all {trainer.progress.step} steps are done: only its pictures are drawn, again")
    try:
        run = trainer.train()
        # All wait for the one that draws: torchrun takes an early end of the others for one of all.
        with stopping_at_once("after the last step"), processes.together():
            if processes.main or trainer.divided:
                draw_pictures(trainer, run)
    except (FloatingPointError, DataError, OSError, OtherProcessError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as error:
        # A sampler that is interrupted says what it has; here nothing of that is wanted.
        told = isinstance(error, StoppedError) and "checkpoint" in str(error)
        whole = f"stopped; the last checkpoint is whole: --resume {trainer.run.path} goes on, or draws its pictures"
        _end(str(error) if told else whole, STOPPED)
    except RuntimeError as error:
        if processes.count == 1 or not any(words in str(error) for words in _OF_OTHERS):
            raise
        sys.exit(f"error: another process has ended; the last checkpoint is whole: --resume {trainer.run.path}")
    finally:
        processes.close()


def _made(default: RunConfig, description: str | None, asked: _Asked, program: str | None) -> Trainer:
    """Return the trainer of a new run, or of one that is to go on."""
    said = f"{(description or '').partition(_PARAGRAPH)[0]} {_NOTE}".strip()
    config = _place(default, asked)
    resume = asked.folder is not None or (asked.resume and RunFolder(config.folder).config.is_file())
    if not resume:
        config = cli(default, said, arguments=asked.flags, prog=program)
        # A --config file may have named it.
        resume = asked.resume and RunFolder(config.folder).config.is_file()
    run, began_in = RunFolder(config.folder), None
    if resume:
        # Where it lies now, not where it lay.
        stored = run.load_config(trust_code=asked.trust_code, known=known_names(default, asked.flags))
        began_in = run.began_in(stored)
        stored = replace(stored, name=config.name, root=config.root)
        config = cli(stored, said, arguments=asked.flags, prog=program)
        if config.folder != run.path:
            msg = f"{_RESUME} {run.path}: a run goes on in its own folder; leave --name and --root out"
            raise ValueError(msg)
    # Kept with the run, whose own place is another from here, too.
    config = replace(config, data=config.data.seen_from(began_in))
    data = config.data.load()
    if os.environ.get("RANK", "0") == "0":
        say(data.told)
    if asked.dry_run:
        # Of a run that goes on it takes what it takes of a new one, under a name that no run has.
        return Trainer(replace(config, name=f"{config.name}.dry_run.{os.getpid()}"), data)
    return Trainer(config, data, resume=resume, init_from=asked.init_from)


def _place(default: RunConfig, asked: _Asked) -> RunConfig:
    """Return the recipe under the name and root that are asked for: other flags may be for the run that is there."""
    if asked.folder is not None:
        return replace(default, name=asked.folder.name, root=asked.folder.parent)
    flags = list[str]()
    for word, follows in itertools.pairwise([*asked.flags, ""]):
        name, equals, _ = word.partition("=")
        if name in {"--name", "--root"}:
            flags += [word] if equals else [word, follows]
    return cli(default, arguments=flags)


def _asked(arguments: Sequence[str]) -> _Asked:
    """Return the flags that are no settings, taken out of the arguments; end the program where one is wrong."""
    left, rest = list(arguments), list[str]()
    found = dict[str, str | None]()
    while left:
        word = left.pop(0)
        flag, equals, text = word.partition("=")
        if flag in {_RESUME, _INIT_FROM}:
            follows = not equals and bool(left) and not left[0].startswith("--")
            found[flag] = text if equals else left.pop(0) if follows else None
        elif word in {_DRY_RUN, _SMOKE}:
            found[flag] = None
        else:
            rest.append(word)
    if found.get(_RESUME) == "" or not found.get(_INIT_FROM, "runs/NAME"):
        _end(f"error: {_RESUME if found.get(_RESUME) == '' else _INIT_FROM} needs the folder of a run, runs/NAME", 2)
    folders = {flag: _folder(found.get(flag)) for flag in (_RESUME, _INIT_FROM)}
    return _Asked(
        resume=_RESUME in found,
        folder=folders[_RESUME],
        init_from=folders[_INIT_FROM],
        dry_run=_DRY_RUN in found,
        smoke=_SMOKE in found,
        trust_code=_TRUST_CODE in rest,
        flags=rest,
    )


def _folder(text: str | None) -> Path | None:
    path = None if text is None else Path(text)
    # One without a name of its own, such as the present one, has one all the same.
    return path.resolve() if path is not None and path.name in {"", ".."} else path


def _end(text: str, status: int) -> NoReturn:
    say(text, stream=sys.stderr)
    sys.exit(status)


def _raised_here(error: Exception) -> bool:
    """Tell whether it was unmelt that raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_globals["__name__"].partition(".")[0] == __name__.partition(".")[0]
