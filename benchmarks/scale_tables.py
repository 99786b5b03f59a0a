"""Count what a training step costs at sizes that nobody here has tried, and print the tables of docs/measured/scale.md.

    python benchmarks/scale_tables.py

Networks are made, called and differentiated with tensors that have shapes and no contents (torch's FakeTensorMode), on
whose way operations are counted and memory is watched; five minutes. The process is called for real, on one image.
"""

from __future__ import annotations

import argparse
import math
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from unmelt.core import Shape
from unmelt.core.arithmetic import operation_counter
from unmelt.degradations import CosineBasis, HeatDissipation, PredictPreviousLevel
from unmelt.losses import DenoisingLoss
from unmelt.models import Condition, Denoiser, PatchTransformer, UNet

FLOAT = 4
# What processes divide among them.
WHOLE, OPTIMIZER, MODEL = "whole", "optimizer", "model"


# Images of the two steps that are compared, and GPUs of the table of what is sent.
_IMAGES = (2, 4)
_GPUS = 8
GIB, MIB = 2**30, 2**20
# Longest axis of cosines that is multiplied by a table.
MATRIX = CosineBasis.longest_matrix_axis

_RELEASED = partial(UNet, channels=128, multipliers=(1, 2, 2, 2), blocks=4, attention_levels=(2, 3), dropout=0.1)
_LARGER = partial(UNet, channels=128, multipliers=(1, 2, 3, 4, 5), blocks=3, attention_levels=(2, 3, 4), dropout=0.3)
_PATCHES = partial(PatchTransformer, width=768, depth=12, heads=12, bottleneck=128)
# Networks, by what the table calls them, and the side of an image.
NETWORKS: dict[str, tuple[Callable[..., nn.Module], int]] = {
    "U-Net of `cifar10_heat`": (_RELEASED, 32),
    "U-Net of `afhq256_heat`": (_LARGER, 256),
    "transformer, patches of 16": (partial(_PATCHES, patch=16), 256),
    "transformer, patches of 32": (partial(_PATCHES, patch=32), 512),
    "transformer, patches of 64": (partial(_PATCHES, patch=64), 1024),
    "the same, patches of 32": (partial(_PATCHES, patch=32), 1024),
    "transformer, patches of 128": (partial(_PATCHES, patch=128), 2048),
}


class Live(TorchDispatchMode):
    """Watches how many bytes of tensors there are: those that are made while it is on, until they are gone.

    Args:
        module: what has been made before; its parameters and their gradients are not counted.

    Attributes:
        now: bytes at present.
        peak: the most so far.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()
        for parameter in module.parameters():
            self._known.add(parameter.untyped_storage())
            if parameter.grad is not None:
                self._known.add(parameter.grad.untyped_storage())

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        # Views share theirs.
        if storage in self._known:
            return
        self._known.add(storage)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.now -= size


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: how many.
        forward: floating-point operations of a call, per image.
        training: those of a call and its derivatives, per image.
        memory: bytes that one more image adds at the peak of both.
    """

    parameters: int
    forward: float
    training: float
    memory: float


def network_cost(make: Callable[[], nn.Module], shape: Shape, *, real: bool = False) -> Cost:
    """Return what a network costs, counted on tensors without contents, or on real ones."""
    context: AbstractContextManager[object] = nullcontext() if real else FakeTensorMode()
    with context:
        network = make().train()
        parameters = list(network.parameters())
        for parameter in parameters:
            # As they are in all steps but the first.
            parameter.grad = torch.zeros_like(parameter)
        forward, training = _operations(network, shape)
        few, more = (_peak(network, shape, images) for images in _IMAGES)
    added = (more - few) / (_IMAGES[1] - _IMAGES[0])
    return Cost(sum(parameter.numel() for parameter in parameters), forward, training, added)


def _operations(network: nn.Module, shape: Shape) -> tuple[int, int]:
    """Return the operations of a call on one image, and of that and its derivatives."""
    with operation_counter() as counter:
        output = network(torch.zeros(1, *shape), torch.full((1,), 0.5), None)
        forward = counter.get_total_flops()
        output.square().sum().backward()
        return forward, counter.get_total_flops()


def _peak(network: nn.Module, shape: Shape, images: int) -> int:
    """Return the most bytes there are during a call and its derivatives; the counter above would keep some longer."""
    with Live(network) as live:
        network(torch.zeros(images, *shape), torch.full((images,), 0.5), None).square().sum().backward()
    return live.peak


class Nothing(nn.Module):
    """A network that costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    @override
    def forward(self, z: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        return z * self.scale


@dataclass(frozen=True)
class ProcessCost:
    """What a process and the loss cost around a network.

    Attributes:
        operations: floating-point operations of a training image; FFTs are not among them.
        tables: bytes of what the process keeps.
        memory: bytes that one more image adds at the peak of a step.
    """

    operations: float
    tables: int
    memory: float


def process_cost(size: int) -> ProcessCost:
    """Return what heat dissipation costs on colour images of a size."""
    process = HeatDissipation((3, size, size))
    loss = DenoisingLoss(Denoiser(Nothing(), process, prediction=PredictPreviousLevel()))
    tables = sum(buffer.numel() * buffer.element_size() for buffer in process.buffers())
    found = list[tuple[int, int]]()
    for images in _IMAGES:
        x = torch.zeros(images, 3, size, size)
        with operation_counter() as counter:
            loss(x).sum().backward()
        with Live(loss) as live:
            loss(x).sum().backward()
        found.append((counter.get_total_flops(), live.peak))
    (few, first), (more, second) = found
    added = _IMAGES[1] - _IMAGES[0]
    return ProcessCost((more - few) / added, tables, (second - first) / added)


def blur_operations(size: int, channels: int = 3) -> float:
    """Return the operations of a training image by hand: two levels, an image multiplied from either side for each."""
    return 2 * 2 * channels * size**2 * 2 * size


def fixed_memory(parameters: float, processes: int, way: str, averages: int = 1) -> float:
    """Return the bytes that each process holds whatever the batch: float32 numbers, Adam's two, averages."""
    numbers = {
        # DistributedDataParallel keeps a second copy of gradients, in buckets.
        WHOLE: 1 + 1 + 2 + averages + (processes > 1),
        OPTIMIZER: 1 + 1 + 2 / processes + averages + (processes > 1),
        MODEL: (1 + 1 + 2 + averages) / processes,
    }
    return FLOAT * parameters * numbers[way]


def sent(parameters: float, processes: int, way: str) -> float:
    """Return the bytes that each process sends in a step, round a ring."""
    # All-reduce of gradients; that, and the parameters from whom they were updated by; twice gathered, once scattered.
    times = {WHOLE: 2, OPTIMIZER: 3, MODEL: 3}
    return FLOAT * parameters * times[way] * (processes - 1) / processes


def table(rows: list[list[str]]) -> str:
    """Return a Markdown table of a heading and rows."""
    heading, *others = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([heading, "|" + "---|" * len(rows[0]), *others])


def tables(flops: float, bandwidth: float) -> list[str]:
    """Return the tables of docs/measured/scale.md, for GPUs of so many operations and bytes sent a second."""
    costs = list[tuple[str, int, Cost]]()
    again = list[Cost]()
    for name, (make, size) in NETWORKS.items():
        shape = (3, size, size)
        costs.append((name, size, network_cost(partial(make, shape), shape)))
        again.append(network_cost(partial(make, shape, recompute=True), shape))
    head = [
        "network",
        "image",
        "parameters",
        "GFLOP a call",
        "GFLOP to train",
        "recomputed",
        "MiB an image",
        "recomputed",
    ]
    networks = [head] + [
        [
            *(name, f"{size} x {size}", f"{c.parameters / 1e6:.2f} M"),
            *(f"{number / 1e9:.1f}" for number in (c.forward, c.training, r.training)),
            *(f"{number / MIB:.0f}" for number in (c.memory, r.memory)),
        ]
        for (name, size, c), r in zip(costs, again, strict=True)
    ]
    processes = [["image", "GFLOP to train", "tables, MiB", "MiB an image"]] + [
        [
            f"{size} x {size}",
            f"{p.operations / 1e9:.2g}" if size <= MATRIX else "FFTs",
            f"{p.tables / MIB:.2f}",
            f"{p.memory / MIB:.1f}",
        ]
        for size in (32, 64, 128, 256, 512, 1024, 2048)
        for p in (process_cost(size),)
    ]
    cases = [(1, WHOLE), *((n, way) for n in (8, 64) for way in (WHOLE, OPTIMIZER, MODEL))]
    unlike = {c.parameters: (name, c) for name, _, c in costs}
    memory = [["parameters", *(f"{n} x, {way}" if n > 1 else "one" for n, way in cases)]] + [
        [f"{p / 1e6:.2f} M", *(f"{fixed_memory(p, n, way) / GIB:.3f}" for n, way in cases)] for p in unlike
    ]
    talk = [["network", "whole: GB sent", "images to hide it", "model: GB sent", "images to hide it"]]
    for name, _, c in costs:
        row = [name]
        for way in (WHOLE, MODEL):
            each = sent(c.parameters, _GPUS, way)
            row += [f"{each / 1e9:.2f}", f"{math.ceil(each / bandwidth * flops / c.training)}"]
        talk.append(row)
    return [table(rows) for rows in (networks, processes, memory, talk)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flops", type=float, default=1e14, help="operations a second that a GPU reaches")
    parser.add_argument("--bandwidth", type=float, default=5e10, help="bytes a second that a GPU sends")
    settings = parser.parse_args()
    print("\n\n".join(tables(settings.flops, settings.bandwidth)))


if __name__ == "__main__":
    main()
