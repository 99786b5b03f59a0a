"""Signals and kills to two processes that torchrun has started."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from functools import partial

from programs import HANG, Program
from rows import Case, Lab, Row, shortened
from stops import check_stop

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
Send = Callable[[Program, signal.Signals], None]
_TARGETS: dict[str, Send] = {
    "rank 0": lambda program, number: program.send_to_rank(0, number),
    "rank 1": lambda program, number: program.send_to_rank(1, number),
    "torchrun": lambda program, number: program.send(number),
    # Ctrl-C reaches torchrun alone, whose workers have groups of their own; a scheduler reaches all.
    "the group, all three": lambda program, number: program.send_to_all(number),
}


def signalled(row: Row, lab: Lab, number: signal.Signals, send: Send) -> None:
    """Stop one run of two processes again and again; it must end by itself, after a checkpoint."""
    place, chance = lab.place(), random.Random(int(number))  # noqa: S311
    codes = set[str]()
    for turn in range(1, lab.repeat + 1):
        wanted = place.step + chance.randint(1, 15)
        program = place.start("--resume", *lab.long, two=True)
        program.until(lambda wanted=wanted: place.step >= wanted)
        since = place.step
        send(program, number)
        ended = program.end(longest=HANG)
        row.expect(not ended.hung, f"hang after {number.name} at step {since}")
        check_stop(row, place, ended, since)
        codes.add(ended.how)
        row.compare(place.run, lab.each_step(two=True))
        if row.wrong:
            row.say(f"time {turn} of {lab.repeat} went wrong")
            return
    row.say(f"{lab.repeat} times in one run, stopped after a checkpoint; torchrun: {', '.join(sorted(codes))}")


def killed(row: Row, lab: Lab, send: Send) -> None:
    """Kill one of the programs; the others must end, and the run go on."""
    place = lab.place()
    flags = (*lab.long, "--training.checkpoint-every", 20)
    steps = 0
    for turn in range(lab.repeat):
        program = place.start("--resume", *flags, two=True)
        program.until(lambda turn=turn: place.step >= 25 + 30 * turn)
        send(program, signal.SIGKILL)
        ended = program.end(longest=HANG)
        row.expect(not ended.hung, "hang")
        steps = max(steps, place.step - place.saved)
    row.say(f"{lab.repeat} times in one run; all of them ended")
    row.lost = f"at most {steps} steps, those since the last checkpoint" if steps else "nothing"
    row.ended(place.resume("--training.steps", lab.long[1], two=True), 0, told=False)
    row.compare(place.run, lab.each_step(two=True))


def another_number(row: Row, lab: Lab, *, first_two: bool) -> None:
    """Go on with another number of processes: the same batches, and a warning that the noise is other noise."""
    place = lab.place()
    program = place.start(*lab.long, two=first_two)
    program.until(lambda: place.step >= 20)
    program.send_to_all(signal.SIGTERM)
    program.end(longest=HANG)
    before = place.saved
    ended = place.resume("--training.steps", before + 40, two=not first_two)
    row.ended(ended, 0, told=False)
    warning = ended.line("processes go on where")
    row.expect(warning, "it does not say that the noise is other noise")
    row.expect(place.step == before + 40, f"it went on to step {place.step} only")
    row.say(f'"{shortened(warning)}", {ended.how}')
    row.lost = "the noise that there would have been"
    row.equal = "no, and it says so; batches and losses: see equal work below"


CASES: dict[str, Case] = {
    **{
        f"two processes: {number.name} to {name}": partial(signalled, number=number, send=send)
        for number in _SIGNALS
        for name, send in _TARGETS.items()
    },
    **{
        f"two processes: kill -9 of {name}": partial(killed, send=_TARGETS[name])
        for name in ("rank 0", "rank 1", "torchrun")
    },
    "stopped in two processes, gone on with in one": partial(another_number, first_two=True),
    "stopped in one process, gone on with in two": partial(another_number, first_two=False),
}
