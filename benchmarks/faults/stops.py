"""Signals to one process, closed terminals and closed pipes."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from functools import partial

from programs import HANG, Ended, Place, Program
from rows import Case, Lab, Row

STOPPED = 75


def check_stop(row: Row, place: Place, ended: Ended, since: int) -> None:
    """Check that a run that was told to stop has a checkpoint of the step that it was at."""
    row.expect(place.saved >= max(since, 1), f"no checkpoint of the step that the signal came at, {since}")
    if place.step != place.saved:
        row.lost = f"the steps from {place.saved + 1} to {place.step}"
    row.expect(place.step == place.saved, f"stopped at step {place.step} with a checkpoint of {place.saved}")
    told = ended.line("stopped") or ended.said[-100:]
    row.expect(f"after step {place.saved}; checkpoint written" in ended.said, f"it said: {told}")


def again_and_again(row: Row, lab: Lab, number: signal.Signals) -> None:
    """Stop one run several times, at random steps."""
    place, chance = lab.place(), random.Random(int(number))  # noqa: S311
    for turn in range(lab.repeat):
        wanted = place.step + chance.randint(1, 15)
        program = place.start("--resume", *lab.long)
        program.until(lambda wanted=wanted: place.step >= wanted)
        since = place.step
        program.send(number)
        ended = program.end(longest=HANG)
        row.ended(ended, STOPPED, f"stopped by {number.name}", told=not turn)
        check_stop(row, place, ended, since)
        row.compare(place.run, lab.each_step())
        if row.wrong:
            break
    row.say(f"{lab.repeat} times in one run")


def twice(row: Row, lab: Lab) -> None:
    """Give Ctrl-C, wait, and give it again before the step that it was given in has ended."""
    place = lab.place()
    # A step of this network takes some seconds.
    large = ("--network.channels", 128, "--training.batch-size", 180)
    flags = (*large, "--training.steps", 5, "--training.checkpoint-every", 2)
    program = place.start(*flags)
    program.until(lambda: place.step >= 3)
    program.send(signal.SIGINT)
    # What comes within a second is the same Ctrl-C, handed on by a launcher.
    time.sleep(1.3)
    program.send(signal.SIGINT)
    row.ended(program.end(longest=HANG), STOPPED, "stopped at once by a second Ctrl-C")
    row.lost = f"step {place.step} and half of one, those since the last checkpoint"
    row.ended(place.resume(), 0, told=False)
    row.compare(place.run, lab.straight(*flags))


def before_the_first_step(row: Row, lab: Lab) -> None:
    """Give Ctrl-C while a run is being set up."""
    place = lab.place()
    program = place.start()
    program.until(lambda: "held out" in program.said)
    program.send(signal.SIGINT)
    row.ended(program.end(), STOPPED, "before the first step")
    row.expect(not place.run.path.exists(), "something was written")
    row.ended(place.train(), 0, told=False)
    row.compare(place.run, lab.straight())


def in_the_pictures(row: Row, lab: Lab) -> None:
    """Give Ctrl-C after the last step."""
    place = lab.place()
    program = place.start("--pictures.count", 2000)
    program.until(lambda: place.saved == 60)
    # So many samples take longer than this.
    time.sleep(0.2)
    program.send(signal.SIGINT)
    row.ended(program.end(), STOPPED, "--resume runs/tiny")
    row.ended(place.resume("--pictures.count", 1), 0, told=False)
    row.expect((place.run.path / "samples.png").is_file(), "no pictures after --resume")
    row.lost = "the pictures, which --resume draws"
    row.compare(place.run, lab.straight())


def without_a_terminal(row: Row, lab: Lab) -> None:
    """Close the terminal of a run that nohup has started."""
    place = lab.place()
    program = Program(["nohup", sys.executable, "recipe.py"], place.path)
    program.until(lambda: place.step >= 5)
    program.send(signal.SIGHUP)
    ended = program.end()
    row.ended(ended, 0)
    row.expect("stopped by" not in ended.said, "it was stopped")
    row.say("it went on")
    row.compare(place.run, lab.straight())


def with_closed_streams(row: Row, lab: Lab) -> None:
    """Stop a run whose stdout and stderr go into a pipe that nobody reads any more."""
    place = lab.place()
    program = place.python("recipe.py", *lab.long, closed_after=1)
    row.expect(program.until(lambda: place.step >= 30), "it did not go on when its output was closed")
    since = place.step
    program.send(signal.SIGINT)
    ended = program.end(longest=HANG)
    row.expect(not ended.hung, "hang")
    row.expect(place.saved >= since, f"no checkpoint of step {since}")
    row.say(f"it went on; SIGINT at step {since}: checkpoint of step {place.saved}, {ended.how}")
    row.compare(place.run, lab.each_step())
    row.ended(place.resume(), 0, told=False)
    row.compare(place.run, lab.each_step())


def in_the_background(row: Row, lab: Lab) -> None:
    """Send SIGINT to a run that was started with SIGINT ignored, as a script's `command &` is."""
    place = lab.place()
    script = f"{sys.executable} recipe.py {' '.join(map(str, lab.long))} & wait $!"
    program = Program(["sh", "-c", script], place.path, environment={"PATH": os.environ.get("PATH", "")})
    program.until(lambda: place.step >= 20)
    since = place.step
    program.send_to_all(signal.SIGINT)
    ended = program.end(longest=HANG)
    row.expect(not ended.hung, "hang")
    check_stop(row, place, ended, since)
    row.say("it stopped after a checkpoint")
    row.compare(place.run, lab.each_step())
    row.ended(place.resume(), 0, told=False)
    row.compare(place.run, lab.each_step())


CASES: dict[str, Case] = {
    **{
        f"{number.name} to one process": partial(again_and_again, number=number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    },
    "a second Ctrl-C in the same step": twice,
    "Ctrl-C while a run is set up": before_the_first_step,
    "Ctrl-C while the last pictures are drawn": in_the_pictures,
    "nohup, and SIGHUP": without_a_terminal,
    "`2>&1 \\| head -1` (stdout and stderr closed), then SIGINT": with_closed_streams,
    "`python recipe.py &` in a script, then SIGINT": in_the_background,
}
