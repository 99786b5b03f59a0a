"""A network that is divided among processes, and whole in checkpoints.

This is stage 3 of ZeRO (Rajbhandari et al., 2020), as torch's `fully_shard` does it: each process keeps a part of every
parameter, and of its gradient, optimizer state and moving averages. A block's parameters are gathered when it is called
and once more when it is differentiated; its gradients are averaged, and each process keeps its part. All elementwise
work (optimizer, averages) is done on the parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from typing_extensions import TypeIs

from ...losses import DenoisingLoss
from ...models import Denoiser

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def divide(loss: DenoisingLoss, denoiser: Denoiser, averages: list[Denoiser], processes: int) -> None:
    """Turn the parameters of what is trained, and of its averages, into `DTensor`s of which each process has a part.

    From then on all processes call a network together, or none does.

    Args:
        loss: the training loss. The first of its modules to be called has to be itself.
        denoiser: the denoiser in it.
        averages: the averages of that.
        processes: how many there are.

    Raises:
        ValueError: the process has parameters, which are read outside of any call that could gather them.
    """
    learned = [name for name, _ in denoiser.process.named_parameters()]
    if learned:
        msg = (
            f"shard_model divides networks, and {denoiser.process.called} has parameters of its own"
            f" ({', '.join(learned)}): leave --training.shard_model out; --training.shard_optimizer can divide their"
            " optimizer's state"
        )
        raise ValueError(msg)
    # Only here and below, where there are several processes: it takes most of a second.
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

    mesh = init_device_mesh(denoiser.process.device.type, (processes,))
    # Also the last ones give their parameters back after a call: averages are moved between calls.
    for network in (denoiser.network, *(average.network for average in averages)):
        for module in (*blocks(network), network):
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    fully_shard(loss, mesh=mesh, reshard_after_forward=True)


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """Yield a network's blocks: the members of its `nn.ModuleList`s, of the outermost where one is inside another.

    A list that can be called is a block itself.
    """
    for child in network.children():
        if _is_plain_list(child):
            yield from _members(child)
        elif isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from blocks(child)


def _members(modules: nn.ModuleList) -> Iterator[nn.Module]:
    for member in modules:
        if _is_plain_list(member):
            yield from _members(member)
        else:
            yield member


def _is_plain_list(module: nn.Module) -> TypeIs[nn.ModuleList]:
    """Tell whether a module is a list that cannot be called."""
    return isinstance(module, nn.ModuleList) and type(module).forward is nn.ModuleList.forward


def whole_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor with all its parts; one that is not divided as it is. All processes ask together."""
    return tensor.full_tensor() if _is_divided(tensor) else tensor


def whole(state: Mapping[Any, Any], *, main: bool) -> dict[Any, Any]:
    """Return a state whose divided tensors are whole, on the CPU, in the main process; in others they are None.

    All processes ask together. There is never more than one of them whole on a device.
    """
    found = dict[Any, Any]()
    for name, value in state.items():
        if isinstance(value, Mapping):
            found[name] = whole(cast("Mapping[Any, Any]", value), main=main)
        elif _is_divided(value):
            gathered = value.full_tensor()
            found[name] = gathered.cpu() if main else None
        else:
            found[name] = value
    return found


def divided_as(like: Tensor | None, value: Any) -> Any:
    """Return a value divided as another is, where that is a divided tensor of the same shape. All processes do so."""
    if _is_divided(like) and isinstance(value, Tensor) and like.shape == value.shape:
        from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value


def state_divided_as(module: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `state_dict` of whole tensors divided as the module's own are. All processes do so together."""
    own = module.state_dict()
    return {name: divided_as(own.get(name), value) for name, value in state.items()}


def _is_divided(value: object) -> TypeIs[DTensor]:
    return hasattr(value, "full_tensor")
