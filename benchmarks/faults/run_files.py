"""Damaged files of a run beside its checkpoints: metrics, configuration, manifest; other formats; names of runs."""

from __future__ import annotations

import json
import os
import signal
from functools import partial

from damage import halve
from rows import Case, Lab, Row, kept

from unmelt.training.folder.records import read_metrics

_SINCE = "7 steps, those since the last checkpoint"


def metrics_line(row: Row, lab: Lab, line: bytes) -> None:
    """Put something else in the place of the tenth line of metrics."""
    place = lab.stopped()
    lines = place.run.metrics.read_bytes().splitlines(keepends=True)
    mine = lines[9]
    lines[9] = line
    place.run.metrics.write_bytes(b"".join(lines))
    row.ended(place.resume(), 0, told=False)
    found = place.run.metrics.read_bytes()
    row.expect(line in found, "the damaged line is gone")
    row.expect([each["step"] for each in read_metrics(place.run.metrics)] == [*range(1, 10), *range(11, 61)], "steps")
    row.say("it stays, all other lines are kept, exit 0")
    row.lost = f"{_SINCE}; that line, which was damaged"
    kept(row, place)
    # But for that line.
    place.run.metrics.write_bytes(found.replace(line, mine, 1))
    row.compare(place.run, lab.straight())


def metrics_end(row: Row, lab: Lab) -> None:
    """Cut the last line of metrics."""
    place = lab.stopped()
    os.truncate(place.run.metrics, place.run.metrics.stat().st_size - 30)
    row.ended(place.resume(), 0, told=False)
    row.say("written again, exit 0")
    row.lost = _SINCE
    kept(row, place)
    row.compare(place.run, lab.straight())


def record(row: Row, lab: Lab, name: str, *, empty: bool) -> None:
    """Damage a record of the run, then restore it."""
    place = lab.stopped()
    path = place.run.path / name
    mine = path.read_bytes()
    os.truncate(path, 0) if empty else halve(path)
    before = place.files()
    row.ended(place.resume(), 1, f"runs/tiny/{name} is damaged")
    row.expect(place.files() == before, "files have changed")
    path.write_bytes(mine)
    row.ended(place.resume(), 0, told=False)
    row.say("restored, it went on")
    kept(row, place)
    row.lost = "nothing is touched"
    row.compare(place.run, lab.straight())


def other_format(row: Row, lab: Lab, change: int, word: str) -> None:
    """Write another format into the manifest."""
    place = lab.stopped()
    manifest = json.loads(place.run.manifest.read_text())
    place.run.manifest.write_text(json.dumps(manifest | {"format": manifest["format"] + change}))
    before = place.files()
    row.ended(place.resume(), 1, word)
    row.expect(place.files() == before, "files have changed")


def name(row: Row, lab: Lab, text: str) -> None:
    """Give a run a name that is none."""
    place = lab.place()
    before = {path.name for path in place.path.parent.iterdir()}
    flag = f"--name={text}"
    ended = place.train(flag)
    row.ended(ended, ended.code if ended.code in {1, 2} else 1, "name must be that of a folder below root")
    row.expect(not (place.path / "runs").exists(), "a folder was made")
    made = {path.name for path in place.path.parent.iterdir()} - before
    row.expect("outside" not in made, f"a folder was made outside the root: {made}")


def by_folder(row: Row, lab: Lab) -> None:
    """Go on with a run that had flags, by its folder alone, from a recipe with other settings."""
    place = lab.place()
    flags = ("--training.batch-size", 20, "--network.dropout", 0.2, "--training.seed", 5)
    program = place.start(*flags)
    program.until(lambda: place.step >= 25)
    program.send(signal.SIGKILL)
    program.end()
    row.ended(place.train("--resume", "runs/tiny"), 0, told=False)
    row.say("goes on under its stored settings, exit 0")
    row.lost = "the steps since the last checkpoint"
    row.compare(place.run, lab.straight(*flags))


CASES: dict[str, Case] = {
    "metrics.jsonl: a broken line in the middle": partial(metrics_line, line=b'{"step": 10, "lo\n'),
    "metrics.jsonl: a byte that is not UTF-8": partial(metrics_line, line=b'{"step": 10, "loss\xff": 1}\n'),
    "metrics.jsonl: a line of JSON that is no record": partial(metrics_line, line=b"[1, 2]\n"),
    "metrics.jsonl: the last line cut": metrics_end,
    **{
        f"{file} {'emptied' if empty else 'cut in half'}": partial(record, name=file, empty=empty)
        for file in ("config.json", "manifest.json")
        for empty in (True, False)
    },
    "the run is of an older format": partial(other_format, change=-1, word="written by an older unmelt"),
    "the run is of a newer format": partial(other_format, change=1, word="written by a newer unmelt"),
    "`--name ../outside`": partial(name, text="../outside"),
    "`--name` with 300 letters": partial(name, text="n" * 300),
    "`--name ''`": partial(name, text=""),
    "`--resume runs/NAME` alone": by_folder,
}
