"""An exponential moving average of a model's parameters, kept as a second model."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..core.constants import ConstantModule

Model = TypeVar("Model", bound=nn.Module)

_HALVES = frozenset({torch.bfloat16, torch.float16})


class EMA(nn.Module, Generic[Model]):
    """The moving average of a model, ready to use as a model.

    The average lives in a copy of the model: nothing is swapped in and out of the trained one, so a checkpoint can
    never hold the wrong weights. Parameters are matched by position, hence wrapping the trained model with
    `torch.compile` or DistributedDataParallel, which renames them, changes nothing.

    The average is in float32 at least, whatever the model is in: a thousandth of a difference, which is what an update
    adds, is below the rounding of half precision, so that an average kept there would never move. A halved model's
    average is thus called with float32 numbers; a `Denoiser` sees to that by itself.

    The decay is ramped up as min(decay, (1 + n) / (10 + n)) after n updates, so that the average forgets its random
    start (as in the code of Song et al., 2021). The number n is part of the `state_dict`.

    Args:
        model: the model to follow; compiled and distributed wrappers are taken off.
        decay: weight of the past, in [0, 1).

    Attributes:
        model: the averaged model, in evaluation mode, its parameters and buffers in float32 or float64.
        updates: number n of updates so far.

    Raises:
        ValueError: decay lies outside [0, 1).
    """

    model: Model

    def __init__(self, model: Model, decay: float = 0.999) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            msg = f"decay must lie in [0, 1), got {decay}: 0.999 remembers about a thousand updates"
            raise ValueError(msg)
        self.decay = decay
        # Constant tables (the process's) are shared with the model, not copied, unless something in them is learned.
        tables = {id(module): module for module in model.modules() if _is_constant(module)}
        self.model = cast("Model", copy.deepcopy(unwrap(model), memo=tables))
        _widen(self.model)
        self.model.eval().requires_grad_(requires_grad=False)
        self.updates = 0
        self._has_running_buffers = bool(stored_buffers(self.model))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`'s present parameters, and take over its running buffers.

        Raises:
            ValueError: `model` has other parameters than the one the average was made from, or the average itself was
                moved to half precision.
        """
        ours: list[Tensor] = list(self.model.parameters())
        theirs = [parameter.detach() for parameter in model.parameters()]
        if [p.shape for p in ours] != [p.shape for p in theirs]:
            msg = "the model's parameters differ in number or shape from those the average was made from"
            raise ValueError(msg)
        if halves := {parameter.dtype for parameter in ours} & _HALVES:
            msg = (
                f"the average was moved to {halves.pop()}, in which it would not follow the model: keep it as it was"
                " made, in float32, and halve a copy of ema.model where less memory matters"
            )
            raise ValueError(msg)
        theirs = [p if p.dtype == own.dtype else p.to(own.dtype) for own, p in zip(ours, theirs, strict=True)]
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(ours, theirs, self.updates)
        if self._has_running_buffers:
            for own, buffer in zip(stored_buffers(self.model), stored_buffers(model), strict=True):
                own.copy_(buffer)
        self.updates += 1

    def get_extra_state(self) -> int:
        """Return the number of updates, for the `state_dict`."""
        return self.updates

    def set_extra_state(self, state: int) -> None:
        """Take the number of updates from a `state_dict`."""
        self.updates = state

    def train(self, mode: bool = True) -> EMA[Model]:  # noqa: FBT001, FBT002
        """Leave the average in evaluation mode, whatever the training loop asks of its modules."""
        del mode
        return super().train(mode=False)

    def forward(self, *args: object, **kwargs: object) -> object:
        """Call the averaged model."""
        return self.model(*args, **kwargs)


def _is_constant(module: nn.Module) -> bool:
    return isinstance(module, ConstantModule) and next(module.parameters(), None) is None


def _widen(model: nn.Module) -> None:
    """Turn parameters and buffers of half precision into float32, in place; constant tables are as they should be."""
    buffers = (b for m in model.modules() if not isinstance(m, ConstantModule) for b in m.buffers(recurse=False))
    for tensor in (*model.parameters(), *buffers):
        if tensor.dtype in _HALVES:
            tensor.data = tensor.data.to(torch.float32)


def stored_buffers(model: nn.Module) -> list[Tensor]:
    """Return the buffers that training changes (running statistics): those in the `state_dict`, not constant tables."""
    stored = model.state_dict().keys()
    return [buffer for name, buffer in model.named_buffers() if name in stored]


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside `torch.compile` and DistributedDataParallel wrappers."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model
