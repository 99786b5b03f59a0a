"""What runs lose by faults: kill -9, signals, damaged files, full disks, prepared folders, two at the same time.

    python benchmarks/faults                              # every fault, a quarter of an hour on two cores
    python benchmarks/faults --only torchrun --repeat 20
    python benchmarks/faults --save benchmarks/results    # faults.md

Real programs are started in temporary folders, each with a recipe that takes a second, and a fault is injected; they go
on, and all tensors and numbers of the newest checkpoint, and all metrics, are compared with those of a run that nothing
was done to. A row that does not hold says so, and the status is then 1. Linux only.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import damage
import equal_work
import kills
import other_settings
import places
import prepared
import run_files
import stops
import two_processes
from rows import Case, Lab, Row

from unmelt.core.configuration import cli

# The longest first.
PARTS = {
    "Two processes": two_processes,
    "Two processes at equal work": equal_work,
    "Killed": kills,
    "Told to stop": stops,
    "Damaged checkpoints": damage,
    "Other files, formats and names": run_files,
    "Disks, folders and data": places,
    "Other settings": other_settings,
    "Prepared folders": prepared,
}
_HEAD = "| fault | what was done | what was lost | equal to an uninterrupted run (of so many tensors and numbers) |"
_INTRODUCTION = """# What runs lose by faults

Written by `make faults`; [README](../README.md#faults) says what is done, and how. {result}

Tried on: {machine}. What depends on the moment was tried {repeat} times, unless a row says how often.
"Equal" means that all tensors and numbers of the newest checkpoint (network, average, optimizer, schedule, progress,
random generators), and all metrics up to it, are bit for bit those of a run that nothing was done to, and that all
older checkpoints that are kept are whole."""


@dataclass(frozen=True)
class Settings:
    """The command line.

    Attributes:
        save: write faults.md to this folder.
        only: try only faults with this word in their names.
        repeat: how often signals and other faults that depend on the moment are tried.
        jobs: faults tried at the same time.
    """

    save: Path | None = None
    only: str = ""
    repeat: int = 3
    jobs: int = 2


def tried(name: str, case: Case, lab: Lab) -> Row:
    """Return the row of a fault, with whatever went wrong in it."""
    row, started = Row(name), time.perf_counter()
    try:
        case(row, lab)
    except Exception as error:
        row.expect(None, f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - started
    print(
        f"{'holds' if not row.wrong else 'FAILS':6} {seconds:4.0f} s  {name}", *row.wrong, sep="\n       ! ", flush=True
    )
    return row


def line(row: Row) -> str:
    """Return a row of the table."""
    wrong = f" **DOES NOT HOLD: {'; '.join(dict.fromkeys(row.wrong))}**" if row.wrong else ""
    cells = (row.fault, f"{row.done}{wrong}", row.lost, row.equal)
    return "| " + " | ".join(cell.replace("\n", " ") for cell in cells) + " |"


def machine() -> str:
    """Return what the table was made on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "accelerate", "numpy"))
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}, CPU"


def try_all(settings: Settings) -> dict[str, list[Row]]:
    """Return the rows of all faults that are asked for, by part."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(settings.jobs) as pool:
        lab = Lab(Path(folder), settings.repeat)
        asked = {
            part: {name: case for name, case in module.CASES.items() if settings.only.lower() in name.lower()}
            for part, module in PARTS.items()
        }
        found = {
            part: [pool.submit(tried, name, case, lab) for name, case in cases.items()]
            for part, cases in asked.items()
            if cases
        }
        try:
            return {part: [each.result() for each in futures] for part, futures in found.items()}
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def main(settings: Settings) -> None:
    """Try all faults, and print and save their table."""
    rows = try_all(settings)
    tables = [f"## {part}\n\n{_HEAD}\n|---|---|---|---|\n" + "\n".join(map(line, some)) for part, some in rows.items()]
    count, failed = (sum(map(len, rows.values())), sum(bool(row.wrong) for some in rows.values() for row in some))
    result = f"{failed} of {count} rows do not hold."
    text = "\n\n".join([_INTRODUCTION.format(result=result, machine=machine(), repeat=settings.repeat), *tables])
    print(f"\n{text}\n\n{result}")
    if settings.save is not None:
        (settings.save / "faults.md").write_text(f"{text}\n")
        print(f"written to {settings.save / 'faults.md'}")
    # No fault of such a name is no success.
    sys.exit(1 if failed or not count else 0)


if __name__ == "__main__":
    main(cli(Settings(), __doc__))
