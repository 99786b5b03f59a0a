"""All that a run needs to go on as if it had never stopped: collected for a checkpoint, and taken over from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...models import EMA, Denoiser
from ...models.ema import stored_buffers, unwrap
from ..folder.checkpoints import Checkpoint
from ..folder.weights import average_name, load_weights
from .divided import state_divided_as, whole
from .learning_rate import Schedule
from .passes import Passes, Progress
from .processes import Processes
from .random_states import random_states, restore_random_states
from .sharding import load_whole_state, whole_state
from .window import Window

MODEL, OPTIMIZER = "model", "optimizer"
# What of an optimizer's settings is as it is given when a run goes on: the peak of its rate, and how it computes.
_GIVEN = ("initial_lr", "fused", "foreach")


def _process_name(rank: int) -> str:
    return f"process_{rank}"


@dataclass
class TrainingState:
    """The state of a run.

    Attributes:
        loss: what is trained, wrapped or not.
        averages: moving averages of the denoiser.
        optimizer: the optimizer itself.
        scaler: that of float16's losses; None without.
        schedule: the learning rate of each step.
        progress: how far the run is.
        passes: the data.
        window: numbers since the last line of metrics.
        processes: those that train.
        device: where they do.
    """

    loss: nn.Module
    averages: list[EMA[Denoiser]]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    schedule: Schedule
    progress: Progress
    passes: Passes
    window: Window
    processes: Processes
    device: torch.device

    def parts(self) -> dict[str, Any]:
        """Return the states that become files, by name; all processes ask together, and the main one gets all."""
        main = self.processes.main
        own = {
            "random": random_states(self.device),
            "stream": self.passes.stream_state,
            "window": self.window.state(),
            # Those of the main process are in the model; others may have learnt from other losses.
            "buffers": [] if main else [b.to("cpu", copy=True) for b in stored_buffers(self.loss)],
        }
        return {
            MODEL: whole(unwrap(self.loss).state_dict(), main=main),
            **{average_name(average.decay): whole(average.model.state_dict(), main=main) for average in self.averages},
            OPTIMIZER: whole_state(self.optimizer, main=main),
            **{_process_name(rank): state for rank, state in enumerate(self.processes.gathered(own))},
        }

    def norm(self, parts: Mapping[str, Any]) -> float:
        """Return the norm of what must be finite in what `parts` returned: weights, averages, running statistics."""
        names = [MODEL, *(average_name(average.decay) for average in self.averages)]
        tensors = [value for name in names for value in parts[name].values() if isinstance(value, Tensor)]
        return torch.nn.utils.get_total_norm([t.detach() for t in tensors if t.is_floating_point()]).item()

    def facts(self) -> dict[str, Any]:
        """Return what JSON can say."""
        return {
            "progress": self.progress.state_dict(),
            "schedule": self.schedule.record(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "averages": [average.decay for average in self.averages],
            "updates_of_averages": [average.updates for average in self.averages],
            "processes": self.processes.count,
        }

    def restore(self, checkpoint: Checkpoint) -> str | None:
        """Take over a checkpoint.

        Returns:
            What is not as it would have been without a stop, in words; None where nothing is.

        Raises:
            ValueError: it is of another network, or was streamed by another number of processes.
        """
        facts, parts = checkpoint.facts, checkpoint.parts
        count, here = facts["processes"], self.processes
        if count != here.count and parts[_process_name(0)]["stream"] is not None:
            msg = (
                f"{checkpoint.path} streams its data in {count} processes, and {here.count} cannot find their place in"
                f" it: start {count}, or begin a new run from its weights with --init-from"
            )
            raise ValueError(msg)
        trained = [(unwrap(self.loss), MODEL), *((a.model, average_name(a.decay)) for a in self.averages)]
        for module, name in trained:
            load_weights(module, state_divided_as(module, parts[name]), checkpoint.path)
        for average, updates in zip(self.averages, facts["updates_of_averages"], strict=True):
            average.updates = updates
        self._restore_optimizer(parts[OPTIMIZER])
        if self.scaler is not None:
            self.scaler.load_state_dict(facts["scaler"])
        self.progress.load_state_dict(facts["progress"])
        self.schedule = self._aimed(Schedule(**facts["schedule"]))
        if here.rank < count:
            own = parts[_process_name(here.rank)]
            restore_random_states(own["random"], self.device)
            self.passes.stream_state = own["stream"]
        if count == here.count:
            own = parts[_process_name(here.rank)]
            self.window.restore(own["window"])
            for buffer, kept in zip(stored_buffers(self.loss), own["buffers"], strict=False):
                buffer.copy_(kept)
        devices = parts[_process_name(0)]["random"].keys() - {"python", "numpy", "torch"}
        return _said(count, here.count, known=devices == {self.device.type} - {"cpu"})

    def _restore_optimizer(self, state: dict[str, Any]) -> None:
        # These may have been changed on purpose.
        kept = [{name: group[name] for name in _GIVEN if name in group} for group in self.optimizer.param_groups]
        load_whole_state(self.optimizer, state)
        for group, given in zip(self.optimizer.param_groups, kept, strict=True):
            group.update(given)

    def _aimed(self, stored: Schedule) -> Schedule:
        wanted, done = self.schedule.steps, self.progress.step
        if wanted < done:
            msg = (
                f"steps={wanted}: the run has done {done} already; give more, or leave it out to end as it was planned"
            )
            raise ValueError(msg)
        return stored if wanted == stored.steps else stored.aimed(done, wanted)


def _said(then: int, now: int, *, known: bool) -> str | None:
    if then != now:
        return (
            f"{now} processes go on where {then} stopped: batches and their order stay the same, and the noise is other"
            " noise than theirs would have been"
        )
    return None if known else "on another device than before: its noise is other noise than there would have been"
