"""Two processes against one at equal work: the same images in each step, and the same losses but for rounding."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

from programs import Place
from rows import Case, Lab, Row

from unmelt.training import RunFolder
from unmelt.training.folder.records import read_metrics

_SCRIPT = Path(__file__).with_name("fixed_noise.py")
_STEPS, _BATCH = 40, 16
# Sums of float32 in another order, which forty of Adam's steps amplify.
_FIRST, _ALL = 1e-5, 2e-3


def _trained(row: Row, place: Place, name: str, *, two: bool, steps: int = _STEPS, batch: int = _BATCH) -> list[float]:
    """Train by the script, on if there is a run; return the losses."""
    shutil.copy(_SCRIPT, place.path)
    program = (
        place.python(_SCRIPT.name, name, steps, batch, "--resume", two=two)
        if _run(place, name).is_begun
        else (place.python(_SCRIPT.name, name, steps, batch, two=two))
    )
    row.ended(program.end(), 0, told=False)
    return [line["loss"] for line in read_metrics(_run(place, name).metrics)]


def _run(place: Place, name: str) -> RunFolder:
    return RunFolder(place.path / "runs" / name)


def _seen(place: Place, name: str, *, two: bool) -> list[list[int]]:
    parts = [json.loads((place.path / f"{name}_{rank}.json").read_text()) for rank in range(1 + two)]
    return [[i for part in step for i in part] for step in zip(*parts, strict=True)]


def _largest(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def two_against_one(row: Row, lab: Lab) -> None:
    """Train on a batch in two processes, in one, and on half of it in one."""
    place = lab.place()
    two, one = (_trained(row, place, name, two=name == "two") for name in ("two", "one"))
    half = _trained(row, place, "half", two=False, batch=_BATCH // 2)
    same = sum(a == b for a, b in zip(_seen(place, "two", two=True), _seen(place, "one", two=False), strict=True))
    row.expect(same == _STEPS, f"the images are the same in {same} of {_STEPS} steps only")
    _told(row, two, one)
    row.say(f"one process with half of the batch: losses {_largest(half, one):.1g} away")
    row.expect(_largest(half, one) > 10 * _ALL, "another batch gives the same losses: nothing is shown")


def another_number(row: Row, lab: Lab, *, first_two: bool) -> None:
    """Train half of the steps with one number of processes, and go on with the other."""
    place = lab.place()
    one = _trained(row, place, "one", two=False)
    _trained(row, place, "broken", two=first_two, steps=_STEPS // 2)
    broken = _trained(row, place, "broken", two=not first_two)
    seen = _seen(place, "broken", two=not first_two)
    row.expect(seen == _seen(place, "one", two=False)[_STEPS // 2 :], "other images")
    _told(row, broken, one)


def _told(row: Row, ours: list[float], theirs: list[float]) -> None:
    row.expect(len(ours) == len(theirs) == _STEPS, f"{len(ours)} and {len(theirs)} steps")
    first, every = _largest(ours[:1], theirs[:1]), _largest(ours, theirs)
    row.say(f"the same images in every step; loss of the first step {first:.1g} apart, of all {_STEPS} {every:.1g}")
    row.expect(first <= _FIRST and every <= _ALL, "losses differ by more than rounding")
    row.equal = "but for rounding of sums in float32"


CASES: dict[str, Case] = {
    "equal work: two processes against one, fixed times and noise": two_against_one,
    "equal work: 20 steps in two processes, 20 in one": partial(another_number, first_two=True),
    "equal work: 20 steps in one process, 20 in two": partial(another_number, first_two=False),
}
