"""Real programs in folders of their own: started, watched, sent signals, and ended whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unmelt.training import RunFolder
from unmelt.training.folder.checkpoints import list_checkpoints
from unmelt.training.folder.records import read_metrics

RECIPE = Path(__file__).with_name("recipe.py")
# A run takes seconds; torchrun kills workers that do not end after 30 of them, which is a hang as well.
LONGEST, HANG = 120.0, 25.0
_MARK = "UNMELT_FAULT"
_TWO = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d")
TORCHRUN = (*_TWO, "--rdzv-endpoint", "localhost:0")


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        code: its exit code, negative the number of a signal; None if it did not end and was killed.
        said: all that it printed.
        left: whether processes that it had started had to be killed.
    """

    code: int | None
    said: str
    left: bool

    @property
    def hung(self) -> bool:
        """Whether something had to be killed."""
        return self.code is None or self.left

    @property
    def how(self) -> str:
        """Exit code, in words where there is none."""
        if self.hung:
            return "hang"
        return f"exit {self.code}" if (self.code or 0) >= 0 else f"ended by {signal.Signals(-(self.code or 0)).name}"

    def line(self, word: str) -> str:
        """Return the first line with a word in it; "" if there is none."""
        return next((line for line in self.said.splitlines() if word in line), "")


class Program:
    """A running program, and all that it has started.

    Args:
        command: what to run.
        folder: where.
        closed_after: lines after which stdout and stderr are closed, as `| head` does; None keeps them in a file.
        environment: variables beside those of this program.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        closed_after: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._said = folder / f"{self._mark}.log"
        own = {_MARK: self._mark, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""}
        with self._said.open("w") as file:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **own, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file if closed_after is None else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if closed_after is not None and self._popen.stdout is not None:
            for _ in range(closed_after):
                self._popen.stdout.readline()
            self._popen.stdout.close()

    @property
    def running(self) -> bool:
        """Whether the program itself has not ended."""
        return self._popen.poll() is None

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._said.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, if it is still there."""
        self._popen.send_signal(number)

    def send_to_rank(self, rank: int, number: signal.Signals) -> None:
        """Send a signal to one of the processes that torchrun has started."""
        for pid, variables in self._members():
            if f"RANK={rank}" in variables and pid != self._popen.pid:
                _kill(pid, number)

    def send_to_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of it, as a scheduler does."""
        for pid, _ in self._members():
            _kill(pid, number)

    def until(self, happened: Callable[[], object], *, longest: float = LONGEST, every: float = 0.01) -> bool:
        """Wait for something to happen while the program runs; tell whether it did."""
        over = time.monotonic() + longest
        while time.monotonic() < over:
            if happened():
                return True
            if not self.running:
                return bool(happened())
            time.sleep(every)
        return False

    def end(self, *, longest: float = LONGEST) -> Ended:
        """Wait for it and all that it has started; kill what has not ended by then."""
        over = time.monotonic() + longest
        # Looking for the others takes more than looking at one.
        while (self.running or self._members()) and time.monotonic() < over:
            time.sleep(0.05 if self.running else 0.2)
        code, left = self._popen.poll(), bool(self._members())
        for pid, _ in self._members():
            _kill(pid, signal.SIGKILL)
        self._popen.wait()
        return Ended(code, self.said, left)

    def _members(self) -> list[tuple[int, set[str]]]:
        """Return the living processes that carry the mark, and their variables: each worker has its own session."""
        found: list[tuple[int, set[str]]] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                variables = set((entry / "environ").read_bytes().decode(errors="replace").split("\0"))
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"{_MARK}={self._mark}" in variables and state != "Z":
                found.append((int(entry.name), variables))
        return found


class Place:
    """A user's folder: a recipe, its pictures, and runs.

    Args:
        path: the folder, which is created.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        shutil.copy(RECIPE, path)
        write_pictures(path / "pictures.npy")
        self.path, self.run = path, RunFolder(path / "runs" / "tiny")

    @property
    def step(self) -> int:
        """The last step that metrics were written of; 0 without any."""
        lines = read_metrics(self.run.metrics) if self.run.metrics.is_file() else []
        return int(lines[-1]["step"]) if lines else 0

    @property
    def saved(self) -> int:
        """The step of the newest checkpoint; 0 without any."""
        found = list_checkpoints(self.run.checkpoints)
        return int(found[-1].name.rpartition("_")[2]) if found else 0

    def python(self, *arguments: object, two: bool = False, closed_after: int | None = None) -> Program:
        """Start Python there, or two of them by torchrun."""
        command = [sys.executable, *(TORCHRUN if two else ()), *map(str, arguments)]
        return Program(command, self.path, closed_after=closed_after)

    def start(self, *flags: object, two: bool = False) -> Program:
        """Start the recipe."""
        return self.python("recipe.py", *flags, two=two)

    def train(self, *flags: object, two: bool = False) -> Ended:
        """Run the recipe to its end."""
        return self.start(*flags, two=two).end()

    def resume(self, *flags: object, two: bool = False) -> Ended:
        """Go on with the run to its end."""
        return self.train("--resume", *flags, two=two)

    def files(self) -> dict[str, bytes]:
        """Return the content of all files of the run, but for the lock."""
        there = sorted(path for path in self.run.path.rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path.relative_to(self.run.path)): path.read_bytes() for path in there}


def write_pictures(file: Path) -> None:
    """Write 200 smooth grey pictures of 8 x 8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (200, 1, 4, 4)).astype(np.uint8)
    np.save(file, coarse.repeat(2, axis=2).repeat(2, axis=3))


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
