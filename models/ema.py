"""An exponential moving average of a model's parameters, kept as a model of its own."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..degradations.tables import TableModule

_WRAPPERS = ("_orig_mod", "module")


class EMA(nn.Module):
    """The moving average of a model, ready to use as a model.

    The average lives in a copy of the model: nothing is swapped in and out of the trained one, so a checkpoint can
    never hold the wrong weights. Parameters are matched by position, hence wrapping the trained model with
    `torch.compile` or DistributedDataParallel, which renames them, changes nothing.

    The decay is ramped up as min(decay, (1 + n) / (10 + n)) after n updates, so that the average forgets its random
    start (as in the code of Song et al., 2021).

    Args:
        model: the model to follow; compiled and distributed wrappers are taken off.
        decay: weight of the past, in [0, 1).

    Attributes:
        model: the averaged model, in evaluation mode.
        updates: number n of updates so far; part of the `state_dict`.

    Raises:
        ValueError: decay lies outside [0, 1).
    """

    updates: Tensor

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            msg = f"decay must lie in [0, 1), got {decay}: 0.999 remembers about a thousand updates"
            raise ValueError(msg)
        self.decay = decay
        # Constant tables (the process's) are shared with the model, not copied.
        tables = {id(module): module for module in model.modules() if isinstance(module, TableModule)}
        self.model = copy.deepcopy(unwrap(model), memo=tables).eval().requires_grad_(requires_grad=False)
        # Counted on the host: the decay must not wait for a device.
        self._count = 0
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`'s present parameters, and take over its buffers.

        Raises:
            ValueError: `model` has other parameters than the one the average was made from.
        """
        ours, theirs = list(self.model.parameters()), [p.detach() for p in model.parameters()]
        if [p.shape for p in ours] != [p.shape for p in theirs]:
            msg = "the model's parameters differ in number or shape from those the average was made from"
            raise ValueError(msg)
        decay = min(self.decay, (1 + self._count) / (10 + self._count))
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for own, buffer in zip(_running_buffers(self.model), _running_buffers(model), strict=True):
            own.copy_(buffer)
        self._count += 1
        self.updates.fill_(self._count)

    def _load_from_state_dict(self, *args: object) -> None:
        super()._load_from_state_dict(*args)  # type: ignore[arg-type]
        self._count = int(self.updates)

    def train(self, mode: bool = True) -> EMA:  # noqa: FBT001, FBT002
        """Leave the average in evaluation mode, whatever the training loop asks of its modules."""
        del mode
        return super().train(mode=False)

    def forward(self, *args: object, **kwargs: object) -> object:
        """Call the averaged model."""
        return self.model(*args, **kwargs)


def _running_buffers(model: nn.Module) -> list[Tensor]:
    """Return the buffers that training changes (running statistics), leaving constant tables out."""
    return [
        buffer
        for module in model.modules()
        for name, buffer in module._buffers.items()  # noqa: SLF001
        if buffer is not None and name not in module._non_persistent_buffers_set  # noqa: SLF001
    ]


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside `torch.compile` and DistributedDataParallel wrappers."""
    for name in _WRAPPERS * 2:
        inner = model._modules.get(name)  # noqa: SLF001
        if isinstance(inner, nn.Module) and _is_wrapper(model, name):
            model = inner
    return model


def _is_wrapper(model: nn.Module, name: str) -> bool:
    if name == "_orig_mod":
        return isinstance(model, torch._dynamo.OptimizedModule)  # noqa: SLF001
    return isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel))
