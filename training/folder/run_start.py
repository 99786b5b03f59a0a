"""A run's folder at the start: new, or resumed. Whoever calls holds the folder's lock."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import nn

from ...core.tensor_files import write_state
from ..run_config import RunConfig
from .checkpoints import clear_up, is_whole, list_checkpoints
from .run_folder import RunFolder


@contextmanager
def begun(run: RunFolder, *, room_for: Sequence[nn.Module]) -> Generator[RunFolder, None, None]:
    """Yield a folder to write a new run into; if that fails, nothing of it stays.

    Args:
        run: the folder; what a run without a checkpoint left in it is removed.
        room_for: modules whose parameters a checkpoint holds.

    Raises:
        FileExistsError: it holds something else.
        OSError: there is no room for a checkpoint.
    """
    run.clear()
    try:
        _check_room(run.path, sum(p.numel() * p.element_size() for module in room_for for p in module.parameters()))
        run.make_folders()
        yield run
    except BaseException:
        # The first error is the one to tell.
        with suppress(OSError):
            run.remove()
        raise


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path).free
    if free < needed:
        msg = (
            f"{path} has {free / 1e6:.1f} MB left, and a checkpoint takes more than {needed / 1e6:.1f} MB: make room,"
            " or choose another --root"
        )
        raise OSError(msg)


def go_on(run: RunFolder, restored: Path, config: RunConfig, records: Mapping[Path, object]) -> None:
    """Clear up what was left half-written, and make a configuration the run's.

    Args:
        run: the folder.
        restored: the checkpoint that was restored.
        config: what the run goes on under.
        records: what is kept in which file, for a folder that lacks the file.

    Raises:
        BlockingIOError: another process has trained it meanwhile.
    """
    if any(path.name > restored.name and is_whole(path) for path in list_checkpoints(run.checkpoints)):
        msg = f"{run.path} has been trained by another process meanwhile: start again"
        raise BlockingIOError(msg)
    clear_up(run.checkpoints, restored)
    run.clear_temporary()
    run.make_folders()
    for path, record in records.items():
        if not path.is_file():
            write_state(path, record)
    run.store_config(config)
