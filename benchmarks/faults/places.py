"""Where a run lies: full disks, folders that cannot be written to, moved runs and data, two programs at a time."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from programs import Ended, Place, Program
from rows import Case, Lab, Row, kept, newest

from unmelt.training import RunFolder

_SINCE = "7 steps, those since the last checkpoint"


class NotTriedError(RuntimeError):
    """A fault that cannot be made on this machine."""


@contextmanager
def mounted(path: Path, *options: str) -> Generator[None, None, None]:
    """Mount something, which takes rights that not everybody has."""
    done = subprocess.run(["mount", *options, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"not tried: mount is not allowed here ({done.stderr.strip()})"
        raise NotTriedError(msg)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def _not_a_step_more(row: Row, place: Place, ended: Ended) -> None:
    """Check what a run says that could not write, and that its last whole checkpoint is kept."""
    row.ended(ended, 1, "cannot be written")
    row.expect(place.saved >= 40, "a checkpoint is lost")
    row.expect(not list(place.run.checkpoints.glob(".step*")), "half a checkpoint stays")
    row.expect(f"last whole checkpoint is runs/tiny/checkpoints/{newest(place.run).name}" in ended.said, "not named")


def full_disk(row: Row, lab: Lab) -> None:
    """Fill the disk up, but for a little more than half a checkpoint."""
    place = lab.place()
    place.run.path.mkdir(parents=True)
    with mounted(place.run.path, "-t", "tmpfs", "-o", "size=16m", "tmpfs"):
        shutil.copytree(lab.stopped().run.path, place.run.path, dirs_exist_ok=True)
        needed = sum(path.stat().st_size for path in newest(place.run).iterdir())
        free = shutil.disk_usage(place.run.path).free
        (place.run.path / "filler").write_bytes(bytes(max(free - 3 * needed // 5, 0)))
        ended = place.resume()
        _not_a_step_more(row, place, ended)
        (place.run.path / "filler").unlink()
        row.ended(place.resume(), 0, told=False)
        row.say("with room, it goes on")
        row.lost = "the steps since the last checkpoint"
        kept(row, place)
        row.compare(place.run, lab.straight())


def small_files(row: Row, lab: Lab) -> None:
    """Allow no file as large as the network's."""
    place = lab.stopped()
    # The largest of them, which is not the first that is written.
    largest = max(path.stat().st_size for path in newest(place.run).iterdir())
    script = f"ulimit -f {largest // 1024 - 1}; trap '' XFSZ; exec {sys.executable} recipe.py --resume"
    ended = Program(["bash", "-c", script], place.path).end()
    _not_a_step_more(row, place, ended)
    row.ended(place.resume(), 0, told=False)
    row.say("without the limit, it goes on")
    row.lost = "the steps since the last checkpoint"
    kept(row, place)
    row.compare(place.run, lab.straight())


def full_from_the_start(row: Row, lab: Lab) -> None:
    """Begin a run where there is no room for a checkpoint."""
    place = lab.place()
    root = place.path / "runs"
    root.mkdir()
    with mounted(root, "-t", "tmpfs", "-o", "size=16k", "tmpfs"):
        row.ended(place.train(), 1, "make room")
        row.expect(not list(root.iterdir()), "something stays in the folder")


def read_only(row: Row, lab: Lab) -> None:
    """Make the folder read-only: for going on, and for a new run."""
    place = lab.stopped()
    root = place.run.path.parent
    with mounted(root, "--bind", str(root)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(root)], check=True)
        row.ended(place.resume(), 1, "cannot be written to")
        ended = place.train("--name", "other")
        row.ended(ended, 1, "cannot be written to", told=False)
        loaded = place.python("-c", "from unmelt.training import load_run; load_run('runs/tiny').sample(1)").end()
        row.ended(loaded, 0, told=False)
        row.say("load_run reads it")
    row.ended(place.resume(), 0, told=False)
    row.lost = "nothing is touched"
    kept(row, place)
    row.compare(place.run, lab.straight())


def moved_run(row: Row, lab: Lab) -> None:
    """Rename a run's folder, and put it under another root."""
    place = lab.stopped()
    (place.path / "elsewhere").mkdir()
    there = RunFolder(place.run.path.rename(place.path / "elsewhere" / "renamed"))
    row.ended(place.train("--resume", "elsewhere/renamed"), 0, told=False)
    row.say("`--resume elsewhere/renamed`, exit 0")
    row.lost = _SINCE
    row.compare(there, lab.straight())


def moved_data(row: Row, lab: Lab) -> None:
    """Move a file of data."""
    place = lab.stopped()
    (place.path / "pictures.npy").rename(place.path / "elsewhere.npy")
    row.ended(place.resume(), 1, "pictures.npy")
    row.ended(place.resume("--data.file", "elsewhere.npy"), 0, told=False)
    row.say("`--resume --data.file elsewhere.npy`, exit 0")
    row.lost = _SINCE
    row.compare(place.run, lab.straight())


def moved_folder(row: Row, lab: Lab) -> None:
    """Move a folder of pictures; then put another picture into it."""
    pictures = np.load(lab.place().path / "pictures.npy")[:40, 0]
    runs: list[RunFolder] = []
    flags = ("--data.size", 8, "--training.batch-size", 8, "--training.workers", 0)
    for moved in (False, True):
        place = lab.place()
        folder = place.path / "pictures"
        folder.mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{number:02d}.png")
        program = place.start("--data", "ImageFolder", "--data.folder", "pictures", *flags)
        program.until(lambda place=place: place.step >= 25) if moved else None
        if moved:
            program.send(signal.SIGKILL)
        row.ended(program.end(), -9 if moved else 0, told=False)
        if moved:
            folder.rename(place.path / "elsewhere")
            row.ended(place.resume(), 1, "pictures")
            row.ended(place.train("--resume", "runs/tiny", "--data.folder", place.path / "elsewhere"), 0, told=False)
            row.say("`--resume runs/tiny --data.folder /other/place`, exit 0")
        runs.append(place.run)
    row.lost = "the steps since the last checkpoint"
    row.compare(runs[1], runs[0])


def other_data(row: Row, lab: Lab) -> None:
    """Change one pixel of the data."""
    place = lab.stopped()
    values = np.load(place.path / "pictures.npy")
    values[0, 0, 0, 0] ^= 1
    np.save(place.path / "pictures.npy", values)
    before = place.files()
    ended = place.resume()
    row.ended(ended, 1, "other images" if "other images" in ended.said else "other held-out images")
    row.expect(place.files() == before, "files have changed")


def two_starts(row: Row, lab: Lab) -> None:
    """Start one run twice at the same time."""
    place = lab.place()
    first, second = (place.start() for _ in range(2))
    _one_of(row, [first.end(), second.end()])
    row.compare(place.run, lab.straight())


def two_resumes(row: Row, lab: Lab) -> None:
    """Go on with one run twice at the same time."""
    place = lab.stopped()
    first, second = (place.start("--resume") for _ in range(2))
    _one_of(row, [first.end(), second.end()])
    kept(row, place)
    row.lost = _SINCE
    row.compare(place.run, lab.straight())


def _one_of(row: Row, both: list[Ended]) -> None:
    """Check that one trained and the other was refused in a line."""
    row.expect(sorted(each.code or 0 for each in both) == [0, 1], f"they ended with {[each.how for each in both]}")
    refused = both[0] if both[0].code else both[1]
    row.ended(refused, 1, "error:")
    row.say("the other trained, exit 0")


CASES: dict[str, Case] = {
    "disk full in a checkpoint (a small tmpfs)": full_disk,
    "file too large in a checkpoint (`ulimit -f`)": small_files,
    "disk full from the start": full_from_the_start,
    "read-only folder (a read-only mount)": read_only,
    "run moved and renamed": moved_run,
    "file of data moved": moved_data,
    "folder of pictures moved": moved_folder,
    "one pixel of the data changed": other_data,
    "two starts of one run at the same time": two_starts,
    "two `--resume` of one run at the same time": two_resumes,
}
