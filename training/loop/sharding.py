"""An optimizer whose state is divided among processes, and whole in checkpoints.

This is stage 1 of ZeRO (Rajbhandari et al., 2020). Each process keeps the state of a part of the parameters, updates
that part, and sends it to the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from torch.optim import Optimizer
from typing_extensions import TypeIs

from .divided import divided_as, whole

if TYPE_CHECKING:
    from torch.distributed.optim import ZeroRedundancyOptimizer


def make_optimizer(
    make: Callable[[Iterable[nn.Parameter]], Optimizer], parameters: Iterable[nn.Parameter], *, sharded: bool
) -> Optimizer:
    """Return the optimizer of parameters.

    Args:
        make: makes it.
        parameters: what it changes.
        sharded: divide its state among the processes that are running.

    Raises:
        ValueError: its state cannot be divided, as it has groups of parameters of its own.
    """
    if not sharded:
        return make(parameters)
    # Only here: it takes a while, and warns of what it is made of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.distributed.optim import ZeroRedundancyOptimizer  # noqa: PLC0415

    def part(own: Iterable[dict[str, Any]], **_: object) -> Optimizer:
        made = make([parameter for group in own for parameter in group["params"]])
        if len(made.param_groups) != 1:
            msg = (
                f"shard_optimizer: {type(made).__name__} has {len(made.param_groups)} groups of parameters, and only"
                " one can be divided among processes: leave --training.shard_optimizer out"
            )
            raise ValueError(msg)
        return made

    return ZeroRedundancyOptimizer(parameters, cast("Any", part))


def whole_state(optimizer: Optimizer, *, main: bool) -> dict[str, Any]:
    """Return the state of all parameters in the main process, and nothing in others; all processes ask together."""
    if _is_sharded(optimizer):
        optimizer.consolidate_state_dict(to=0)
        return optimizer.state_dict() if main else {}
    state = whole(optimizer.state_dict(), main=main)
    return state if main else {}


def load_whole_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Take over what `whole_state` returned in the main process, each process its own part of it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own = {
        number: {name: divided_as(parameters[number], value) for name, value in numbers.items()}
        for number, numbers in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": own})
    if not _is_sharded(optimizer):
        return
    # It leaves numbers of steps on the CPU, which fused optimizers need beside the parameters.
    fused = any(group.get("fused") for group in optimizer.param_groups)
    for parameter, own in optimizer.optim.state.items() if fused else ():
        own["step"] = own["step"].to(parameter.device)


def _is_sharded(optimizer: Optimizer) -> TypeIs[ZeroRedundancyOptimizer]:
    return hasattr(optimizer, "consolidate_state_dict")
