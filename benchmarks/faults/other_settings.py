"""Other settings when a run goes on: learning rate, length; and a loss that becomes NaN."""

from __future__ import annotations

import itertools
import re
import shutil
import signal

from programs import Ended, Place
from rows import Case, Lab, Row, newest

from unmelt.training.folder.records import read_metrics


def other_rate(row: Row, lab: Lab) -> None:
    """Go on at another learning rate, without another stop and with one."""
    flags = ("--optimizer.lr", 1e-4, "--training.checkpoint-every", 5)
    once, twice = lab.stopped(), lab.stopped()
    row.ended(once.resume(*flags), 0, told=False)
    rates = [line["learning_rate"] for line in read_metrics(once.run.metrics)]
    row.expect(rates[39] == 2e-3 and rates[40] == rates[59] == 1e-4, f"rates {rates[39:41]}")
    program = twice.start("--resume", *flags)
    program.until(lambda: twice.saved >= 45)
    program.send(signal.SIGKILL)
    program.end()
    row.ended(twice.train("--resume", "runs/tiny"), 0, told=False)
    row.say("`--resume --optimizer.lr 1e-4` takes it from step 41 on, exit 0; compared: killed on the way, and not")
    row.lost = "7 steps, those since the last checkpoint"
    row.compare(twice.run, once.run)


def longer_cosine(row: Row, lab: Lab) -> None:
    """Make a run with a cosine longer, without a stop on the way and with one."""
    longer = ("--training.steps", 80, "--training.checkpoint-every", 7)
    once, killed = lab.place(), lab.place()
    for place in (once, killed):
        row.ended(place.train("--training.cosine-decay", "--training.steps", 40), 0, told=False)
    row.ended(once.train("--resume", "runs/tiny", *longer), 0, told=False)
    program = killed.start("--resume", "runs/tiny", *longer)
    program.until(lambda: killed.step >= 60)
    program.send(signal.SIGKILL)
    program.end()
    row.ended(killed.train("--resume", "runs/tiny"), 0, told=False)
    rates = [line["learning_rate"] for line in read_metrics(once.run.metrics)]
    jump = max(abs(after - before) for before, after in itertools.pairwise(rates[9:]))
    row.expect(len(rates) == 80, f"{len(rates)} steps")
    # A cosine over 30 steps falls by at most pi / 2 / 30 of its height in one.
    row.expect(jump <= 2e-3 * 0.0525, f"the rate jumps by {jump}")
    row.say("from 40 steps to 80, exit 0: no jump of the rate; compared: killed after 60, and not")
    row.lost = "the steps since the last checkpoint"
    row.compare(killed.run, once.run)


def fewer_steps(row: Row, lab: Lab) -> None:
    """Ask for fewer steps than are done."""
    place = lab.stopped()
    before = place.files()
    row.ended(place.resume("--training.steps", 30), 1, "done 40 already")
    row.expect(place.files() == before, "files have changed")


def other_run(row: Row, lab: Lab) -> None:
    """Ask for another batch size, which would be another run."""
    place = lab.stopped()
    before = place.files()
    row.ended(place.resume("--training.batch-size", 8), 1, "training.batch_size: 16 stored, 8 given")
    row.expect(place.files() == before, "files have changed")
    row.ended(place.resume(), 0, told=False)
    row.compare(place.run, lab.straight())


def diverged(row: Row, lab: Lab) -> None:
    """Let a run diverge from a checkpoint on; go on as the message says, and at the rate that it had."""
    place = lab.stopped()
    ended = place.resume("--optimizer.lr", 1e30)
    row.ended(ended, 1, "goes on from step_00000040")
    row.expect(newest(place.run).name == "step_00000040", "something was saved after it diverged")
    advised = lab.place()
    shutil.copytree(place.run.path, advised.run.path)
    _as_advised(row, advised, ended)
    row.expect(advised.saved == 60, f"it went on to step {advised.saved} only")
    row.ended(place.resume("--optimizer.lr", 2e-3), 0, told=False)
    row.say("at the old rate: exit 0, and compared")
    row.lost = "7 steps, those since the last checkpoint; nothing that is not finite was saved"
    row.compare(place.run, lab.straight())


def diverged_at_once(row: Row, lab: Lab) -> None:
    """Let a run diverge before its first checkpoint; begin again as the message says."""
    place = lab.place()
    ended = place.train("--optimizer.lr", 1e30)
    row.ended(ended, 1, "from the beginning")
    rate = _as_advised(row, place, ended)
    row.lost = "all steps, as there was no checkpoint"
    row.compare(place.run, lab.straight("--optimizer.lr", rate))


def _as_advised(row: Row, place: Place, ended: Ended) -> str:
    """Do what a message says, and return the rate in it."""
    advice = re.search(r"--resume \S+ --optimizer.lr \S+", ended.said)
    if advice is None:
        msg = "the message says no flags to go on with"
        raise ValueError(msg)
    row.ended(place.train(*advice.group().split()), 0, told=False)
    row.say(f"`{advice.group()}`: exit 0")
    return advice.group().split()[-1]


CASES: dict[str, Case] = {
    "another learning rate": other_rate,
    "a cosine run made longer": longer_cosine,
    "fewer steps than are done": fewer_steps,
    "another batch size": other_run,
    "NaN after a checkpoint (learning rate 1e30), then as the message says": diverged,
    "NaN before the first checkpoint (learning rate 1e30), then as the message says": diverged_at_once,
}
