"""Damaged checkpoints: every file of the newest one, in every way; weights that are not finite; stale halves."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rows import Case, Lab, Row, kept, newest, shortened

from unmelt.training.folder.checkpoints import list_checkpoints, read_checkpoint, write_checkpoint

Damage = Callable[[Path], object]
FILES = ("state.json", "model.safetensors", "average_0.999.safetensors", "optimizer.safetensors")
ALL_FILES = (*FILES, "process_0.safetensors")


class Marking:
    """What makes a file when it is unpickled: proof that something was executed.

    Args:
        marker: the file.
    """

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._marker),)


def halve(path: Path) -> None:
    """Cut a file in half."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def prepare(path: Path) -> None:
    """Put a pickle in a file's place that makes a folder `executed` beside it."""
    path.write_bytes(pickle.dumps(Marking(path.with_name("executed"))))


_DAMAGES: dict[str, Damage] = {
    "cut in half": halve,
    "emptied": lambda path: os.truncate(path, 0),
    "removed": Path.unlink,
    "with one bit flipped": flip,
    "replaced by a pickle": prepare,
}


def one_file(row: Row, lab: Lab, damage: Damage) -> None:
    """Damage each file of the newest of two checkpoints; go on."""
    example = ""
    for name in ALL_FILES:
        place = lab.stopped()
        damage(newest(place.run) / name)
        ended = place.resume()
        row.ended(ended, 0, told=False)
        example = ended.line("warning:")
        row.expect(name in example and "going on from step_00000020" in example, f"{name}: the warning is {example!r}")
        row.expect(not list(place.run.checkpoints.rglob("executed")), f"{name}: it was executed")
        row.expect((place.run.checkpoints / "damaged_step_00000040").is_dir(), f"{name}: it is not kept aside")
        kept(row, place)
        row.compare(place.run, lab.straight())
    row.say(f'each of {len(ALL_FILES)} files in turn: "{shortened(example)}", exit 0')
    row.lost = "27 steps, those since the checkpoint before"


def whole_folder(row: Row, lab: Lab) -> None:
    """Empty the newest checkpoint."""
    place = lab.stopped()
    for file in newest(place.run).iterdir():
        file.unlink()
    row.ended(place.resume(), 0, "going on from step_00000020")
    kept(row, place)
    row.lost = "27 steps, those since the checkpoint before"
    row.compare(place.run, lab.straight())


def not_finite(row: Row, lab: Lab, part: str) -> None:
    """Put one NaN among the weights, with a checksum that agrees."""
    place = lab.stopped()
    _, facts, parts = read_checkpoint(newest(place.run))
    next(value for value in parts[part].values() if value.is_floating_point()).view(-1)[0] = torch.nan
    facts.pop("step")
    write_checkpoint(place.run.checkpoints, 40, parts, facts, keep=3)
    row.ended(place.resume(), 0, "NaN")
    kept(row, place)
    row.lost = "27 steps, those since the checkpoint before"
    row.compare(place.run, lab.straight())


def all_of_them(row: Row, lab: Lab) -> None:
    """Damage both checkpoints, then restore one."""
    place = lab.stopped()
    saved = shutil.copytree(newest(place.run), place.path / "saved")
    for checkpoint in list_checkpoints(place.run.checkpoints):
        flip(checkpoint / "model.safetensors")
    before = place.files()
    row.ended(place.resume(), 1, "no whole checkpoint under")
    row.expect(place.files() == before, "files have changed")
    for checkpoint in list_checkpoints(place.run.checkpoints):
        shutil.rmtree(checkpoint)
    saved.rename(place.run.checkpoints / "step_00000040")
    row.ended(place.resume(), 0, told=False)
    row.say("after one was restored it went on")
    row.lost = "nothing is touched; without a copy, all steps"
    kept(row, place)
    row.compare(place.run, lab.straight())


def stale_halves(row: Row, lab: Lab) -> None:
    """Leave half a checkpoint, half of one that was being deleted, half a configuration, as killed processes do."""
    place = lab.stopped()
    shutil.copytree(newest(place.run), place.run.checkpoints / ".step_00000047")
    shutil.copytree(newest(place.run), place.run.checkpoints / ".removed_step_00000010")
    (place.run.path / ".config.json.4711").write_text("{")
    row.ended(place.resume(), 0, told=False)
    left = [path.name for folder in (place.run.path, place.run.checkpoints) for path in folder.glob(".*")]
    row.expect(left in ([], [".lock"]), f"left: {left}")
    row.say("--resume clears them, exit 0")
    row.lost = "7 steps, those since the last checkpoint"
    kept(row, place)
    row.compare(place.run, lab.straight())


def forged(row: Row, lab: Lab) -> None:
    """Claim another step in `state.json`: its own checksum tells."""
    place = lab.stopped()
    state = newest(place.run) / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"step": 50}))
    row.ended(place.resume(), 0, "going on from step_00000020")
    kept(row, place)
    row.lost = "27 steps, those since the checkpoint before"
    row.compare(place.run, lab.straight())


CASES: dict[str, Case] = {
    **{
        f"a file of the newest checkpoint {name}": partial(one_file, damage=damage) for name, damage in _DAMAGES.items()
    },
    "the newest checkpoint emptied": whole_folder,
    "NaN in the average of the newest checkpoint": partial(not_finite, part="average_0.999"),
    "NaN in the network of the newest checkpoint": partial(not_finite, part="model"),
    "another step in `state.json` of the newest checkpoint": forged,
    "all checkpoints damaged": all_of_them,
    "halves that killed processes left": stale_halves,
}
