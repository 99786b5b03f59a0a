"""A large folder of pictures: how soon training begins, how much memory it takes, how fast pictures are read.

    python benchmarks/data_loading.py --count 100000 --size 32

makes that many JPEGs in a temporary folder, and trains a small network on them as a recipe does, in a program of its
own. Times are from the start of that program, importing not counted; memory is what the program and its workers hold at
the most, shared pages counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

_FOLDERS = 100


def write_some(folder: Path, numbers: range, size: int) -> None:
    """Write pictures of random smooth colours."""
    rng = np.random.default_rng(numbers.start)
    for number in numbers:
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3)).astype(np.uint8))
        place = folder / f"{number % _FOLDERS:02d}"
        place.mkdir(exist_ok=True)
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(place / f"{number:07d}.jpg", quality=90)


def memory_of(pid: int) -> float:
    """Return the memory of a process and its children in MB, pages that they share counted once."""
    total, waiting = 0, [pid]
    while waiting:
        each = waiting.pop()
        try:
            rolled = Path(f"/proc/{each}/smaps_rollup").read_text()
            waiting += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in rolled.splitlines() if line.startswith("Pss:"))
    return total / 1024


def train(folder: str, size: int, steps: int) -> None:
    """Train in this program; print when steps were done."""
    import torch  # noqa: PLC0415

    from unmelt.core import later  # noqa: PLC0415
    from unmelt.degradations import HeatDissipation, PredictX  # noqa: PLC0415
    from unmelt.models import UNet  # noqa: PLC0415
    from unmelt.training import ImageFolder, RunConfig, Trainer, Training  # noqa: PLC0415

    torch.set_num_threads(1)
    started = time.perf_counter()
    config = RunConfig(
        name="timed",
        root=Path(folder).parent / f"runs{os.getpid()}",
        data=ImageFolder(Path(folder), size=size),
        process=later(HeatDissipation, levels=100, blur_sigma_max=size / 2),
        network=later(UNet, channels=8, multipliers=(1, 2), blocks=1, attention_levels=()),
        prediction=PredictX(),
        training=Training(steps=steps, batch_size=128, log_every=10_000, checkpoint_every=10_000, cpu=True),
    )
    data = config.data.load()
    found = {"listed": time.perf_counter() - started}
    trainer = Trainer(config, data)
    found["built"] = time.perf_counter() - started

    def note(*_: object) -> None:
        found.setdefault("first step", time.perf_counter() - started)

    trainer.loss.register_forward_hook(note)
    trainer.train()
    found["all steps"] = time.perf_counter() - started
    print(json.dumps(found))


def main() -> None:
    """Write pictures, train on them, and print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", help="train in this program on pictures that are there")
    options = parser.parse_args()
    if options.folder:
        train(options.folder, options.size, options.steps)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        folder.mkdir()
        parts = [range(start, min(start + 1000, options.count)) for start in range(0, options.count, 1000)]
        with ProcessPoolExecutor() as pool:
            list(pool.map(write_some, [folder] * len(parts), parts, [options.size] * len(parts)))
        command = [sys.executable, __file__, "--folder", str(folder), "--size", str(options.size)]
        program = subprocess.Popen([*command, "--steps", str(options.steps)], stdout=subprocess.PIPE, text=True)
        most = [0.0]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.5):
                most[0] = max(most[0], memory_of(program.pid))

        watching = threading.Thread(target=watch)
        watching.start()
        said, _ = program.communicate()
        over.set()
        watching.join()
    print(f"{options.count} JPEGs of {options.size} x {options.size} pixels, {options.steps} steps of 128")
    for name, seconds in json.loads(said.splitlines()[-1]).items():
        print(f"  {name:12} after {seconds:6.1f} s")
    print(f"  memory at the most {most[0]:.0f} MB")


if __name__ == "__main__":
    main()
