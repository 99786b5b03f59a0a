"""The trainer whole, on a folder of pictures: what of a step is not the network's, and how long it waits for data."""

from __future__ import annotations

import runpy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measuring import print_rows
from torch import Tensor
from typing_extensions import override

from unmelt.core import later
from unmelt.core.pictures import save_images
from unmelt.models import UNet
from unmelt.training import ImageFolder, PhotoCrops, Pictures, RunConfig, Trainer

from .part import Bound, Found, Plan, seeded
from .training_step import BATCH, LARGEST_SHARE, NETWORKS, SMOKE

_RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "cifar10_heat.py"
# Left out: the first steps start the processes that read files, and fill caches.
_WARM = 5
# Steps that are timed, the multiples of what is between two lines of metrics.
_STEPS, _EVERY = {"4 M": 200, "61 M": 20}, {"4 M": 50, "61 M": 10}
_PICTURES = 400
LARGEST_WAIT = 0.01


class WatchedTrainer(Trainer):
    """The trainer, with a watch.

    Attributes:
        started: when each step began to ask for its batch, and when the last one had ended.
        waited: seconds that each step waited for its batch.
        network: seconds of each step in the network, forward and backward.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config, config.data.load())
        self.started, self.waited, self.network = list[float](), list[float](), list[float]()
        self._entered = 0.0
        self.denoiser.network.register_forward_pre_hook(self._enter)
        self.denoiser.network.register_forward_hook(self._leave)
        self._backward = self.accelerator.backward
        self.accelerator.backward = self._timed_backward

    @override
    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        batches = super()._batches()
        while True:
            self.started.append(time.perf_counter())
            batch = next(batches, None)
            if batch is None:
                return
            self.waited.append(time.perf_counter() - self.started[-1])
            self.network.append(0.0)
            yield batch

    def shares(self, warm: int) -> tuple[float, float]:
        """Return which shares of all steps but the first are not the network's, and are spent waiting for data.

        The last step is left out, too: it is followed by the checkpoint.
        """
        kept = slice(warm, len(self.network) - 1)
        whole = self.started[kept.stop] - self.started[kept.start]
        return 1 - sum(self.network[kept]) / whole, sum(self.waited[kept]) / whole

    def _timed_backward(self, loss: Tensor, **settings: Any) -> None:
        began = time.perf_counter()
        self._backward(loss, **settings)
        self.network[-1] += time.perf_counter() - began

    def _enter(self, *_: object) -> None:
        self._entered = time.perf_counter()

    def _leave(self, *_: object) -> None:
        # Pictures and held-out losses are the averages', so that this is always a step's.
        if self.network:
            self.network[-1] += time.perf_counter() - self._entered


def whole_trainer(plan: Plan) -> Found:
    """Train both networks on files for some steps."""
    found = Found()
    rows = [["trainer on a folder of pictures", "ms per step", "not the network's", "waiting for data"]]
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "pictures"
        folder.mkdir()
        crops = PhotoCrops().load().train
        save_images(folder, crops.scaled(crops.fetch(range(32 if plan.smoke else _PICTURES)).x), crops.range, 0)
        for name, network in (SMOKE if plan.smoke else NETWORKS).items():
            seeded()
            steps, warm = (4, 1) if plan.smoke else (_WARM + _STEPS[name], _WARM)
            trainer = WatchedTrainer(_config(Path(root), folder, name, network, steps))
            trainer.train()
            outside, waiting = trainer.shares(warm)
            seconds = (trainer.started[steps - 1] - trainer.started[warm]) / (steps - 1 - warm)
            found.cases[name] = {"seconds": seconds, "outside the network": outside, "waiting for data": waiting}
            rows.append([name, f"{seconds * 1e3:.0f}", f"{outside:.1%}", f"{waiting:.2%}"])
            what = f"trainer on files, {name}, float32: "
            found.bounds += [
                Bound(what + "outside the network", outside, LARGEST_SHARE[name]),
                Bound(what + "waiting for data", waiting, LARGEST_WAIT),
            ]
    print()
    print_rows(rows)
    return found


def _config(root: Path, folder: Path, name: str, network: dict[str, Any], steps: int) -> RunConfig:
    """Return the recipe for CIFAR-10 with another network, on other pictures."""
    recipe: RunConfig = runpy.run_path(str(_RECIPE))["RECIPE"]
    training = replace(
        recipe.training,
        steps=steps,
        batch_size=BATCH,
        cpu=True,
        workers=torch.get_num_threads(),
        log_every=_EVERY[name],
        sample_every=steps,
        checkpoint_every=steps,
    )
    return replace(
        recipe,
        name=name.replace(" ", ""),
        data=ImageFolder(folder, size=32),
        network=later(UNet, **network),
        training=training,
        pictures=Pictures(count=1),
        root=root / "runs",
    )
