"""Several processes on one machine, at equal work: time of a training step, what each holds, what they send.

    python benchmarks/scale.py --out benchmarks/results/scale.json

One process trains on whole batches; two processes of one thread each, which talk by gloo, share the same batches: with
everything whole in each (DistributedDataParallel), with the optimizer's state divided, and with all of the network
divided. Each is a program of its own, begun in turn, `rounds` times; a step is all of one, data and records included.

What is held is counted tensor by tensor. What is sent is derived: collectives are watched during a step, and a ring
sends 2 (N - 1) / N of what is reduced by all, and (N - 1) / N of what is gathered, scattered or broadcast.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import machine, print_machine, print_rows, summary, write_json
from scale_tables import MODEL, OPTIMIZER, WHOLE
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from unmelt.core import later
from unmelt.degradations import HeatDissipation, PredictPreviousLevel
from unmelt.models import UNet
from unmelt.training import ArrayExamples, Digits, Pictures, RunConfig, Splits, Trainer, Training
from unmelt.training.folder.records import read_metrics

# Number of processes, and what they divide.
WAYS = {
    "one process": (1, WHOLE),
    "two, all whole": (2, WHOLE),
    "two, optimizer divided": (2, OPTIMIZER),
    "two, model divided": (2, MODEL),
}
_IN_TURN = 2
# Steps of a timed stretch, of which the first is not counted.
_STRETCH = 4


class Collectives(TorchDispatchMode):
    """Adds up the bytes that collectives are given.

    Attributes:
        given: bytes by the kind of collective: whole tensors, as they are before they are scattered or after they are
            gathered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.given = {"reduced by all": 0, "gathered": 0, "scattered": 0, "broadcast": 0}

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name.startswith("c10d.allreduce_"):
            self.given["reduced by all"] += _bytes(args[0])
        elif name.startswith("c10d._allgather_base_"):
            self.given["gathered"] += _bytes([args[0]])
        elif name.startswith("c10d._reduce_scatter_base_"):
            self.given["scattered"] += _bytes([args[1]])
        elif name.startswith("c10d.broadcast_"):
            self.given["broadcast"] += _bytes(args[0])
        return func(*args, **(kwargs or {}))

    def sent(self, processes: int) -> float:
        """Return the bytes that each process sends on average, where collectives go round a ring."""
        once = (processes - 1) / processes
        return once * (2 * self.given["reduced by all"] + sum(self.given.values()) - self.given["reduced by all"])


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def held(trainer: Trainer) -> dict[str, int]:
    """Return the bytes of parameters, optimizer's state and averages that this process holds, its own parts alone."""

    def here(tensor: Any) -> Tensor:
        return tensor.to_local() if hasattr(tensor, "to_local") else tensor

    optimizer = getattr(trainer.optimizer, "optim", trainer.optimizer)
    return {
        "parameters": _bytes(here(p) for p in trainer.loss.parameters()),
        "optimizer": _bytes(here(value) for state in optimizer.state.values() for value in state.values()),
        "averages": _bytes(here(p) for average in trainer.averages for p in average.model.parameters()),
    }


def work(way: str, settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train in this process, and return what it took and holds."""
    torch.set_num_threads(1)
    shape = (3, settings.size, settings.size)
    count = 4 * settings.batch
    pixels = torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    config = RunConfig(
        name="run",
        data=Digits(),
        process=later(HeatDissipation, levels=8),
        network=later(
            UNet, channels=settings.channels, multipliers=(1, 2), blocks=2, attention_levels=(1,), dropout=0.0
        ),
        prediction=PredictPreviousLevel(),
        training=Training(
            steps=_STRETCH * (settings.stretches + 1),
            batch_size=settings.batch,
            log_every=_STRETCH,
            sample_every=10**9,
            checkpoint_every=10**9,
            cpu=True,
            shard_optimizer=WAYS[way][1] == OPTIMIZER,
            shard_model=WAYS[way][1] == MODEL,
        ),
        pictures=Pictures(count=1),
        fitted_to=settings.batch,
        root=folder,
    )
    trainer = Trainer(config, Splits(ArrayExamples(pixels), ArrayExamples(pixels[:2])))
    trainer.train()
    # One of them writes.
    rates = [line["images_per_second"] for line in read_metrics(trainer.run.metrics)] if trainer.processes.main else []
    x = next(iter(trainer.passes))[0]
    with Collectives() as collectives:
        trainer.updates.take(x, None)
    return {
        # The first stretch is for warming up.
        "seconds_per_step": [settings.batch / rate for rate in rates[1:]],
        "held": held(trainer),
        "elements": sum(p.numel() for p in trainer.loss.parameters()),
        "collectives": collectives.given,
        "sent": collectives.sent(trainer.processes.count),
    }


def launched(way: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Run a way's processes, each a program of its own, and return what they found."""
    count = WAYS[way][0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if count > 1:
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{rank}.json" for rank in range(count)]
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, *arguments, "--way", way, "--found", str(file)],
                env=shared | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {}),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, file in enumerate(files)
        ]
        said = [process.communicate()[1] for process in processes]
        if any(process.returncode for process in processes):
            sys.exit(f"{way}: {said}")
        return [json.loads(file.read_text()) for file in files]


def _check(settings: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what would fail after minutes."""
    for name in ("size", "batch", "channels"):
        if (number := getattr(settings, name)) < 2 or number % 2:
            parser.error(f"--{name} must be even and at least 2, got {number}")
    for name in ("stretches", "rounds"):
        if (number := getattr(settings, name)) < 1:
            parser.error(f"--{name} must be at least 1, got {number}")
    if settings.stretches * settings.rounds == 1:
        parser.error("--stretches 1 --rounds 1 is one time of each way, which has no quartiles: take 2 of either")


def main() -> None:
    """Begin all ways in turn, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="side of an image")
    parser.add_argument("--batch", type=int, default=16, help="images of a step, however many processes share it")
    parser.add_argument("--channels", type=int, default=32, help="features of the U-Net's first level")
    parser.add_argument("--stretches", type=int, default=2, help=f"timed stretches of {_STRETCH} steps a program")
    parser.add_argument("--rounds", type=int, default=3, help="programs of each way")
    parser.add_argument("--out", type=Path, help="file for all numbers, as JSON")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--found", type=Path, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.way:
        with tempfile.TemporaryDirectory() as folder:
            # Only the main process writes into it.
            settings.found.write_text(json.dumps(work(settings.way, settings, Path(folder))))
        return
    _check(settings, parser)
    facts = machine(torch.device("cpu"))
    print_machine(facts)
    sizes = [f"--{name}={getattr(settings, name)}" for name in ("size", "batch", "channels", "stretches")]
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    found: dict[str, list[dict[str, Any]]] = {}
    for turn in range(settings.rounds):
        for way in list(WAYS)[:: 1 if turn % _IN_TURN == 0 else -1]:
            found[way] = launched(way, sizes)
            # All wait for the slowest at every step.
            times[way] += found[way][0]["seconds_per_step"]
    numbers = summary(times)
    one = statistics.median(times["one process"])
    rows = [["", "ms a step", "times one's speed", "parameters MB", "optimizer MB", "averages MB", "sent MB a step"]]
    for way, values in times.items():
        first = found[way][0]
        parts = [f"{number / 1e6:.2f}" for number in (*first["held"].values(), first["sent"])]
        rows.append([way, f"{statistics.median(values) * 1e3:.0f}", f"{one / statistics.median(values):.2f}", *parts])
    print(f"\n{found['one process'][0]['elements'] / 1e6:.2f} M parameters, {settings.batch} images a step")
    print_rows(rows)
    if settings.out:
        asked = {name: getattr(settings, name) for name in ("size", "batch", "channels", "stretches", "rounds")}
        write_json(settings.out, {"machine": facts, "settings": asked, "times": numbers, "processes": found})


if __name__ == "__main__":
    main()
