"""Rows of the table: what was done to a run, what it lost, and whether it then equals one that nothing was done to."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from programs import Ended, Place
from torch import Tensor

from unmelt.training import RunFolder
from unmelt.training.folder.checkpoints import is_whole, list_checkpoints, read_checkpoint
from unmelt.training.folder.records import read_metrics

# What depends on the machine's speed.
_TIMED = {"images_per_second", "memory_gib", "hours_left"}
_LONGEST_MESSAGE = 260


@dataclass
class Row:
    """A line of the table.

    Attributes:
        fault: what goes wrong.
        done: what the program said and how it ended.
        lost: what the fault took away.
        equal: whether the run that went on equals an uninterrupted one.
        wrong: all that is not as it should be.
    """

    fault: str
    done: str = ""
    lost: str = "nothing"
    equal: str = "-"
    wrong: list[str] = field(default_factory=list[str])

    def expect(self, holds: object, otherwise: str) -> None:
        """Note what is wrong unless something holds."""
        if not holds:
            self.wrong.append(shortened(otherwise))

    def say(self, text: str) -> None:
        """Add to what was done."""
        self.done = f"{self.done}; {text}" if self.done else text

    def ended(self, ended: Ended, code: int, *words: str, told: bool = True) -> None:
        """Check that a program ended in one line with certain words in it, and not by a traceback.

        Args:
            ended: the program.
            code: its exit code.
            words: what the line says; the line with the first of them is shown in the table.
            told: show it, and the exit code.
        """
        tail = ended.said.strip().splitlines()[-1:] or ["nothing"]
        self.expect(not ended.hung, "hang")
        self.expect(ended.code == code, f"{ended.how} instead of exit {code}, it said: {tail[0][:_LONGEST_MESSAGE]}")
        self.expect("Traceback" not in ended.said, f"a traceback: {tail[0][:_LONGEST_MESSAGE]}")
        for word in words:
            self.expect(word in ended.said, f"nothing says '{word}': {tail[0][:_LONGEST_MESSAGE]}")
        if told:
            said = f'"{shortened(ended.line(words[0]))}", ' if words and ended.line(words[0]) else ""
            self.say(f"{said}{ended.how}")

    def compare(self, run: RunFolder, other: RunFolder) -> None:
        """Compare a run's newest checkpoint, and its metrics up to there, with those of another at the same step."""
        there = list_checkpoints(run.checkpoints)
        if not there:
            self.equal = "no checkpoint"
            self.expect(there, "no checkpoint")
            return
        for path in there:
            self.expect(is_whole(path), f"{path.name} is damaged")
        different, count = differences(run, other)
        self.equal = f"yes ({count})" if not different else f"NO: {len(different)} of {count} differ ({different[0]})"
        self.expect(not different, "differs from an uninterrupted run")


Case = Callable[[Row, "Lab"], None]
Cases = Mapping[str, Case]


class Lab:
    """Where faults are tried.

    Args:
        path: an empty folder.
        repeat: how often what depends on the moment is tried.
    """

    def __init__(self, path: Path, repeat: int) -> None:
        self._path, self.repeat, self._count = path, repeat, 0
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._straight: dict[tuple[object, ...], Place] = {}

    def place(self) -> Place:
        """Return a new user's folder."""
        with self._lock:
            self._count += 1
            return Place(self._path / f"place{self._count}")

    def straight(self, *flags: object, two: bool = False) -> RunFolder:
        """Return an uninterrupted run under such flags, to compare with."""
        with self._making:
            if (flags, two) not in self._straight:
                place = self.place()
                ended = place.train(*flags, two=two)
                if ended.code != 0:
                    msg = f"the uninterrupted run failed: {ended.said[-200:]}"
                    raise RuntimeError(msg)
                self._straight[flags, two] = place
            return self._straight[flags, two].run

    @property
    def long(self) -> tuple[object, ...]:
        """Flags of a run with room for all stops, and no checkpoint but those that it makes when it is stopped."""
        return ("--training.steps", 40 + 40 * self.repeat, "--training.checkpoint-every", 1000)

    def each_step(self, *flags: object, two: bool = False) -> RunFolder:
        """Return an uninterrupted run with a checkpoint of each step, to compare with wherever a run was stopped."""
        kept = ("--training.checkpoint-every", 1, "--training.keep-checkpoints", 1000)
        return self.straight(*(flags or self.long), *kept, two=two)

    def stopped(self) -> Place:
        """Return a folder with a run of 60 steps as a kill after step 47 leaves it: checkpoints of steps 20 and 40.

        A file of the user's is in it, and a checkpoint that they have set aside.
        """
        place = self.place()
        shutil.copytree(self.straight().path, place.run.path)
        shutil.rmtree(place.run.checkpoints / "step_00000060")
        lines = place.run.metrics.read_text().splitlines(keepends=True)
        place.run.metrics.write_text("".join(lines[:47]))
        (place.run.path / "notes.txt").write_text("mine")
        shutil.copytree(newest(place.run), place.run.checkpoints / "step_00000040_mine")
        return place


def newest(run: RunFolder) -> Path:
    """Return the folder of the newest checkpoint."""
    return list_checkpoints(run.checkpoints)[-1]


def kept(row: Row, place: Place) -> None:
    """Check that the user's files in a run of `Lab.stopped` are still there."""
    row.expect((place.run.path / "notes.txt").read_text() == "mine", "the user's file is lost")
    row.expect(read_checkpoint(place.run.checkpoints / "step_00000040_mine").step == 40, "the user's copy is lost")


def differences(run: RunFolder, other: RunFolder) -> tuple[list[str], int]:
    """Return names of what differs between two runs at the newest checkpoint of the first; and how much there is."""
    step = newest(run).name
    ours, theirs = dict(_all(run, step)), dict(_all(other, step))
    # Held-out images are measured where there is a checkpoint, which the other run may have at more steps.
    names = list({**ours, **{name: 0 for name in theirs if "held_out" not in name}})
    return [name for name in names if not _same(ours.get(name), theirs.get(name))], len(names)


def _all(run: RunFolder, name: str) -> Iterator[tuple[str, object]]:
    checkpoint = read_checkpoint(run.checkpoints / name)
    yield from _flat("facts", checkpoint.facts)
    yield from _flat("parts", checkpoint.parts)
    lines = [line for line in read_metrics(run.metrics) if line["step"] <= checkpoint.step]
    for number, line in enumerate(lines, 1):
        yield from ((f"line {number} of metrics, {key}", value) for key, value in line.items() if key not in _TIMED)


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        for key, inner in enumerate(value):
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and torch.equal(_bits(one), _bits(other))
    return type(one) is type(other) and json.dumps(one, default=str) == json.dumps(other, default=str)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).contiguous().view(torch.uint8)


def shortened(text: str) -> str:
    """Return a message as it goes into the table."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE - 4]} ..."
