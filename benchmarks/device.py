"""All that a device is asked, in one command with nothing to decide: right numbers, speed, no waiting, real training.

    python benchmarks/device.py                  # the first CUDA device (eight minutes), else the CPU, small (two)
    python benchmarks/device.py --cpu            # the CPU
    python benchmarks/device.py --smoke          # half a minute: does the program itself run?

Parts, each a file of `on_device/`; one that fails says so, others go on, and the status is 1:

1. `same_numbers`: every process, loss, bound and stepper gives the CPU's numbers.
2. `less_precision`: TensorFloat-32 is in no transform, and bf16 is off by its own rounding alone.
3. `training_speed`: images per second, share of the device's peak, memory, the process's share of a step.
4. `sampling_speed`: images per second, and what is around the network.
5. `transform_bandwidth`: a transform's bandwidth beside a copy's.
6. `waiting`: steps during which waiting for the device is an error.
7. `real_training`: two minutes by the trainer, beside bare steps.

Numbers are written after each part: on CUDA to benchmarks/results/device-NAME.json, else where `--json` or `--save`
say, with a picture of samples beside them. What time does not allow is left out, and named.
"""

from __future__ import annotations

import importlib
import re
import runpy
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import machine, print_machine, write_json
from on_device.setting import ON_CPU, ON_CUDA, SMOKE, Bench, Size

from unmelt.core.configuration import cli

_RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "cifar10_heat.py"
_RESULTS = Path(__file__).resolve().parent / "results"
# What each part may take of the time, with whatever those before it have left.
PARTS = {
    "same_numbers": 0.16,
    "less_precision": 0.04,
    "training_speed": 0.40,
    "sampling_speed": 0.08,
    "transform_bandwidth": 0.03,
    "waiting": 0.04,
    "real_training": 0.25,
}


@dataclass(frozen=True)
class Settings:
    """The command line.

    Attributes:
        cpu: use the CPU even where there is CUDA.
        smoke: do as little as there is of everything, and compile nothing.
        only: run only this part; all if empty.
        compile: try torch.compile, too.
        threads: CPU threads that torch computes with; its own choice if not given.
        json: write all numbers to this file.
        save: write all numbers to benchmarks/results/device-NAME.json, as is done on CUDA in any case.

    Raises:
        ValueError: there is no such part.
    """

    cpu: bool = False
    smoke: bool = False
    only: str = ""
    compile: bool = True
    threads: int | None = None
    json: Path | None = None
    save: bool = False

    def __post_init__(self) -> None:
        if self.only and self.only not in PARTS:
            msg = f"only must be one of {', '.join(PARTS)}, got {self.only!r}"
            raise ValueError(msg)


def main(settings: Settings) -> int:
    """Run all parts; return the exit status."""
    started = time.perf_counter()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() and not settings.cpu else "cpu")
    size = SMOKE if settings.smoke else ON_CUDA if device.type == "cuda" else ON_CPU
    facts = machine(device)
    print_machine(facts)
    path = _written_to(settings, str(facts["device"]), device)
    bench = _bench(device, size, settings, path)
    numbers: dict[str, Any] = {"machine": facts, "failures": bench.failures}
    share = 0.0
    for part, more in PARTS.items():
        share += more
        if settings.only in {"", part}:
            bench.deadline = started + share * size.seconds
            numbers[part] = _tried(part, bench)
            numbers["seconds"] = time.perf_counter() - started
            if path is not None:
                write_json(path, numbers)
    print(f"\n{numbers['seconds']:.0f} s; {'all holds' if not bench.failures else 'DOES NOT HOLD:'}")
    for failure in bench.failures:
        print(f"  {failure}")
    return 1 if bench.failures else 0


def _bench(device: torch.device, size: Size, settings: Settings, path: Path | None) -> Bench:
    recipe = runpy.run_path(str(_RECIPE))["RECIPE"]
    return Bench(
        device,
        size,
        recipe,
        settings.compile and not settings.smoke,
        None if path is None else path.with_suffix(".png"),
    )


def _written_to(settings: Settings, name: str, device: torch.device) -> Path | None:
    if settings.json is not None:
        return settings.json
    if not settings.save and (device.type != "cuda" or settings.smoke):
        return None
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return _RESULTS / f"device-{slug}.json"


def _tried(part: str, bench: Bench) -> dict[str, Any]:
    """Return a part's numbers, or the error that ended it."""
    print(f"\n{part.replace('_', ' ')}", flush=True)
    started = time.perf_counter()
    try:
        # Here rather than above: a package that is missing is then missed by one part alone.
        found = importlib.import_module(f"on_device.{part}").measure(bench)
    except Exception as error:
        traceback.print_exc()
        bench.failures.append(f"{part}: {type(error).__name__}: {error}")
        found = {"error": traceback.format_exc()}
    return {"seconds": time.perf_counter() - started, **found}


if __name__ == "__main__":
    sys.exit(main(cli(Settings(), __doc__)))
