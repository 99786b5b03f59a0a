"""One optimizer step: gradients of a batch in parts, clipped, and left out where they are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ...losses.times import TimeSampler
from ...models.conditions import Condition, select_rows
from ...models.ema import stored_buffers
from ..run_config import Training
from .divided import whole_tensor


class Update(NamedTuple):
    """What a step did.

    Attributes:
        loss: mean loss of this process's examples, not waited for.
        norm: norm of the gradient before it was clipped.
        times: times of the examples, (batch,).
        losses: loss of each, (batch,).
        taken: whether parameters were changed; not where the gradient is not finite.
    """

    loss: Tensor
    norm: Tensor
    times: Tensor
    losses: Tensor
    taken: bool


class Updates:
    """Takes optimizer steps.

    Args:
        accelerator: has prepared `loss`, and holds the scaler where the network computes in float16.
        loss: the prepared loss.
        times: distribution that times are drawn from.
        optimizer: the optimizer itself.
        settings: the training loop's.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        loss: nn.Module,
        times: TimeSampler,
        optimizer: torch.optim.Optimizer,
        settings: Training,
    ) -> None:
        self._accelerator, self._loss, self._times, self._optimizer = accelerator, loss, times, optimizer
        self._settings = settings
        self._parameters, self._buffers = list(loss.parameters()), stored_buffers(loss)
        self.scaler: torch.amp.GradScaler | None = accelerator.scaler

    def take(self, x: Tensor, condition: Condition | None, given: Tensor | None = None) -> Update:
        """Take a step on examples (batch, *shape), the network's conditions and the process's known ends."""
        losses, times = list[Tensor](), list[Tensor]()
        # Running statistics, and what times learn from losses: changed before it is known whether a step can be taken.
        before = [buffer.clone() for buffer in self._buffers]
        for rows, last in self._parts(len(x)):
            part = self._in_format(x[rows])
            drawn = self._times.sample(len(part), device=part.device)
            # Processes add up their gradients once, with the last part; where they hold parts of the network, with each
            # part, as nobody has room for whole gradients.
            with nullcontext() if last else self._accelerator.no_sync(self._loss):
                seen = select_rows(condition, rows), None if given is None else given[rows]
                found = self._loss(part, condition=seen[0], given=seen[1], drawn=drawn)
                self._accelerator.backward(found.sum() / len(x))
            losses.append(found.detach())
            times.append(drawn)
        norm, taken = self._step()
        if not taken:
            for buffer, kept in zip(self._buffers, before, strict=True):
                buffer.copy_(kept)
        each = torch.cat(losses)
        return Update(each.mean(), norm, torch.cat(times), each, taken)

    def _parts(self, count: int) -> Iterator[tuple[slice, bool]]:
        """Yield the rows of each part of a batch, and whether it is the last."""
        size = -(-count // self._settings.accumulate)
        for first in range(0, count, size):
            yield slice(first, first + size), first + size >= count

    def _in_format(self, x: Tensor) -> Tensor:
        if self._settings.channels_last and x.ndim == 4:
            return x.to(memory_format=torch.channels_last)
        return x

    def _step(self) -> tuple[Tensor, bool]:
        """Clip and take the step, unless a gradient is not finite; all processes see the same one."""
        scaler = self.scaler
        if scaler is not None:
            scaler.unscale_(self._optimizer)
        # As `clip_grad_norm_`, also for gradients that are divided among processes: their norm is that of all parts.
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = whole_tensor(torch.nn.utils.get_total_norm(gradients))
        torch.nn.utils.clip_grads_with_norm_(self._parameters, self._settings.clip, norm)
        # The one place where a step waits for the device: before parameters are spoilt, not after.
        taken = bool(norm.isfinite())
        if taken and scaler is not None:
            scaler.step(self._optimizer)
        elif taken:
            self._optimizer.step()
        if scaler is not None:
            scaler.update()
        self._optimizer.zero_grad()
        return norm.detach(), taken
