"""What the benchmarks share: timing in turn, tables, the machine's description, JSON."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

Contenders = Mapping[str, Callable[[], object]]
Times = dict[str, list[float]]
_WARM_UP = 2
# Load average per processor above which a warning is printed.
_BUSY = 0.5
_PEAK = Path("/proc/self/clear_refs")
# Just below the largest block (32 MiB) whose release still raises glibc's thresholds.
_LARGE_BLOCK = 31 * 2**20


def take_turns(contenders: Contenders, *, seconds: float, least: int = 7, most: int = 400) -> Times:
    """Time several ways of doing one thing, in turn: A B C, B A C, C B A, ...

    Taking turns in one process lets a slow spell of the machine, or its clock, hit all of them alike; a median over
    rounds then leaves the spell out. A new order is drawn in every round, since each contender leaves caches and
    allocator behind in a state of its own.

    Args:
        contenders: calls by name. The whole call is timed, the release of its result included.
        seconds: how long all rounds together should take; a slow contender makes the rounds fewer.
        least: fewest rounds.
        most: most rounds.

    Returns:
        Seconds of each call by name, round by round.
    """
    _settle_allocator()
    elapsed = 0.0
    for _ in range(_WARM_UP):
        started = time.perf_counter()
        for call in contenders.values():
            call()
        elapsed = time.perf_counter() - started
    times: Times = {name: [] for name in contenders}
    order, shuffle = list(contenders.items()), random.Random(0).shuffle  # noqa: S311
    for _ in range(min(most, max(least, int(seconds / elapsed)))):
        shuffle(order)
        for name, call in order:
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return times


def _settle_allocator() -> None:
    """Bring the C allocator into the state that a long-running process is in.

    glibc returns freed memory to the system above a threshold, and pays page faults for it at the next allocation; the
    threshold grows with the largest block freed so far. Without this, small contenders would be timed in one state or
    the other depending on what ran before them, a factor of two or three apart.
    """
    block = torch.empty(_LARGE_BLOCK, dtype=torch.uint8)
    del block


def memory_can_be_measured() -> bool:
    """Return whether this system tells, and forgets, what memory was taken at most: Linux does."""
    return _PEAK.exists()


def peak_memory(call: Callable[[], object]) -> float:
    """Return how many bytes of memory a call takes at most, beyond what is resident before it; Linux only."""
    # Memory that was freed and is kept for later would hide what the call takes.
    ctypes.CDLL(None).malloc_trim(0)
    # Forgets the highest so far.
    _PEAK.write_text("5")
    before = _resident("VmRSS")
    call()
    return max(0, _resident("VmHWM") - before)


def _resident(which: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(which))


def summary(times: Times) -> dict[str, dict[str, float]]:
    """Return median, quartiles and number of rounds of each contender, and its median's ratio to the best one's."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min(medians.values())
    numbers: dict[str, dict[str, float]] = {}
    for name, values in times.items():
        lower, _, upper = statistics.quantiles(values, n=4)
        numbers[name] = {
            "median_s": medians[name],
            "lower_quartile_s": lower,
            "upper_quartile_s": upper,
            "ratio_to_best": medians[name] / best,
            "rounds": len(values),
        }
    return numbers


def print_table(
    title: str, cases: Mapping[str, Mapping[str, Mapping[str, float]]], *, scale: float, ratios: bool = True
) -> None:
    """Print medians, contenders down and cases across, each with its ratio to the case's best in brackets, and memory.

    Args:
        title: what is measured, and its unit.
        cases: what `summary` returns, by case, and "peak_bytes" where it was measured; the contenders of all cases are
            the same.
        scale: units per second: 1e3 prints milliseconds.
        ratios: print ratios.
    """
    names = list(next(iter(cases.values())))
    rows = [["", *cases]]
    for name in names:
        cells = [f"{case[name]['median_s'] * scale:.3g}" for case in cases.values()]
        if ratios:
            marks = [f" ({case[name]['ratio_to_best']:.2f})" for case in cases.values()]
            cells = [cell + mark for cell, mark in zip(cells, marks, strict=True)]
        cells = [cell + _memory(case[name]) for cell, case in zip(cells, cases.values(), strict=True)]
        rows.append([name, *cells])
    rows.append(["rounds", *(f"{next(iter(case.values()))['rounds']:.0f}" for case in cases.values())])
    print(f"\n{title}")
    print_rows(rows)


def _memory(numbers: Mapping[str, float]) -> str:
    return f", {numbers['peak_bytes'] / 2**20:.0f} MiB" if "peak_bytes" in numbers else ""


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns, the first flush left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "   ".join(cells))


def verdict(what: str, value: float, aim: float, *, form: str = ".2f") -> dict[str, float | bool]:
    """Print a number beside the aim it should not exceed, and return both for the record."""
    print(f"  {what}: {value:{form}} (aim: at most {aim:{form}}; {'met' if value <= aim else 'MISSED'})")
    return {"value": value, "aim": aim, "met": value <= aim}


def machine(device: torch.device) -> dict[str, object]:
    """Return what a number was measured on: hardware, threads and versions."""
    facts: dict[str, object] = {
        "cpu": _cpu_model(),
        "logical_cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": "cpu",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device"] = properties.name
        facts["device_memory_gib"] = round(properties.total_memory / 2**30, 1)
        facts["cuda"] = torch.version.cuda
        facts["cudnn"] = torch.backends.cudnn.version()
    return facts


def print_machine(facts: Mapping[str, object]) -> None:
    """Print the machine's description in one line, and a warning if other programs keep it busy."""
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if os.getloadavg()[0] > _BUSY * (os.cpu_count() or 1):
        print("WARNING: this machine is busy. Threads wait for each other's turn then, and even ratios mean little:")
        print("wait until it is idle, or measure with --threads 1")


def write_json(path: Path, numbers: Mapping[str, object]) -> None:
    """Write all numbers to `path` as indented JSON, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nwritten to {path}")


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
