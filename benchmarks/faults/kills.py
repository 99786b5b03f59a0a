"""kill -9: at any moment, while a checkpoint is written, before the first one, while a run begins."""

from __future__ import annotations

import random
import signal
import time
from functools import partial

from programs import Place, Program
from rows import Case, Lab, Row

_EACH_STEP = ("--training.checkpoint-every", 1)
_NEVER = ("--training.checkpoint-every", 1000)


def at_any_moment(row: Row, lab: Lab) -> None:
    """Kill one run again and again, a checkpoint being written at every step."""
    place, chance = lab.place(), random.Random(0)  # noqa: S311
    kills = at = 0
    most = 0
    while kills < 3 * lab.repeat and place.saved < 50:
        before = place.saved
        program = place.start("--resume", *_EACH_STEP)
        program.until(lambda before=before: place.saved > before)
        time.sleep(chance.uniform(0, 0.3))
        program.send(signal.SIGKILL)
        program.end()
        kills, at = kills + 1, place.saved
        row.expect(at > before, f"no step done between two kills, at step {before}")
        most = max(most, place.step - place.saved)
    row.ended(place.resume(*_EACH_STEP), 0, told=False)
    row.say(f"{kills} kills up to step {at} of 60, each time gone on with by --resume")
    row.lost = "at most the step that it was at"
    row.expect(most <= 1, "more than a step lost, with a checkpoint at each")
    row.compare(place.run, lab.straight(*_EACH_STEP))


def in_a_checkpoint(row: Row, lab: Lab) -> None:
    """Kill a run whenever half a checkpoint is there."""
    place = lab.place()
    halves = 0
    kills = lab.repeat
    for _ in range(kills):
        before = place.saved
        program = place.start("--resume", *_EACH_STEP)
        program.until(lambda before=before: place.saved > before)
        program.until(lambda: _half(place), every=0)
        program.send(signal.SIGKILL)
        program.end()
        halves += _half(place)
    row.expect(halves, "no kill has met a checkpoint that was being written")
    row.ended(place.resume(*_EACH_STEP), 0, told=False)
    row.expect(not _half(place), "half a checkpoint is still there after going on")
    row.say(f"{kills} kills, {halves} of them left half a checkpoint, which --resume cleared")
    row.lost = "nothing but the step that it was at"
    row.compare(place.run, lab.straight(*_EACH_STEP))


def _half(place: Place) -> bool:
    return any(place.run.checkpoints.glob(".step_*"))


def before_the_first(row: Row, lab: Lab, flags: tuple[str, ...]) -> None:
    """Kill a run that has trained and saved nothing; start it again."""
    place = lab.place()
    program = place.start(*_NEVER)
    program.until(lambda: place.step >= 5)
    _kill_and_start(row, place, program, flags)
    row.lost = "all steps, as there was no checkpoint"
    row.compare(place.run, lab.straight(*_NEVER))


def while_it_begins(row: Row, lab: Lab, flags: tuple[str, ...]) -> None:
    """Kill a run as soon as its folder, or its configuration, is there; start it again."""
    for number in range(lab.repeat):
        place = lab.place()
        program = place.start()
        wanted = (place.run.path, place.run.prior, place.run.config)[number % 3]
        program.until(wanted.exists, every=0)
        _kill_and_start(row, place, program, flags, told=not number)
        row.compare(place.run, lab.straight())


def _kill_and_start(row: Row, place: Place, program: Program, flags: tuple[str, ...], *, told: bool = True) -> None:
    program.send(signal.SIGKILL)
    program.end()
    row.expect(not place.saved, "it had a checkpoint already")
    ended = place.train(*flags, *(_NEVER if place.step else ()))
    row.ended(ended, 0, told=False)
    if told:
        row.say(f"started again {'with' if flags else 'without'} --resume: it starts over, {ended.how}")


CASES: dict[str, Case] = {
    "kill -9 at random moments, a checkpoint at every step": at_any_moment,
    "kill -9 while a checkpoint is written": in_a_checkpoint,
    "kill -9 before the first checkpoint, then the same command": partial(before_the_first, flags=()),
    "kill -9 before the first checkpoint, then --resume": partial(before_the_first, flags=("--resume",)),
    "kill -9 while the folder is made, then the same command": partial(while_it_begins, flags=()),
    "kill -9 while the folder is made, then --resume": partial(while_it_begins, flags=("--resume",)),
}
