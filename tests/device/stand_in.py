"""A device that is the CPU in disguise: real numbers in tensors that do not mix with the CPU's, and reads that count.

What accelerators forbid, and what they wait for, can so be tried without one:

* an operation of tensors of both devices is an error, as on an accelerator (numbers of shape () are allowed there);
* whatever makes the host wait for the device is noted with its line: reading values (`item`, `bool`, `tolist`), copies
  from one to the other, shapes that depend on values (`nonzero`, masks as indices);
* `refuse_float64()` makes it one of the devices that have no double precision, as Apple's.

It does not show: generators of the device's own, autocast, forward-mode differentiation, captured graphs, speed.

It is registered by torch's hook for devices written in Python, for the whole process: import it in one of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "standin"
_setup_privateuseone_for_python_backend(NAME)
# Modules are moved by swapping tensors: one of another kind cannot be assigned to a parameter's data.
torch.__future__.set_swap_module_params_on_conversion(True)
DEVICE = torch.device(NAME, 0)

_READS = {
    "aten::_local_scalar_dense": "value read",
    "aten::is_nonzero": "value read",
    "aten::equal": "value read",
    "aten::nonzero": "shape by value",
    "aten::masked_select": "shape by value",
    "aten::_unique2": "shape by value",
}
_COPIES = {"aten::copy_", "aten::_copy_from", "aten::_to_copy"}
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class Read(NamedTuple):
    """Something that the host waited for.

    Attributes:
        what: the kind, and torch's operation.
        where: file, line and text of the call, in the first file that is not torch's.
    """

    what: str
    where: str


class Disguised(Tensor):
    """A tensor of the stand-in device; `plain` is the CPU's tensor inside."""

    plain: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, plain: Tensor) -> Self:
        return Tensor._make_wrapper_subclass(
            cls,
            plain.size(),
            strides=plain.stride(),
            storage_offset=plain.storage_offset(),
            dtype=plain.dtype,
            device=DEVICE,
            requires_grad=False,
        )

    def __init__(self, plain: Tensor) -> None:
        self.plain = plain

    def __repr__(self) -> str:
        return f"Disguised({self.plain})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def watched() -> Iterator[list[Read]]:
    """Note everything that the host waits for inside."""
    before, _state.reads = _state.reads, []
    try:
        yield _state.reads
    finally:
        _state.reads = before


@contextmanager
def refuse_float64() -> Iterator[None]:
    """Make it a device without double precision."""
    _state.has_float64 = False
    try:
        yield
    finally:
        _state.has_float64 = True


def plain(tree: Any) -> Any:
    """Return tensors as the CPU's, without a note."""
    return tree_map(lambda leaf: leaf.plain if isinstance(leaf, Disguised) else leaf, tree)


@dataclass
class _State:
    reads: list[Read] | None = None
    has_float64: bool = True


_state = _State()


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Carry an operation out on the CPU, and dress its results."""
    name = func._schema.name
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, Disguised)]
    wanted = kwargs.get("device")
    here = bool(ours) if wanted is None else torch.device(wanted).type == NAME
    _check_mixing(name, tensors, ours)
    _check_generator(name, kwargs.get("generator"), here=here)
    if ours and name in _READS:
        _note(_READS[name], name)
    if name == "aten::index" and any(index.dtype == torch.bool for index in ours[1:]):
        _note("shape by value", name)
    if (name in _COPIES and len({isinstance(tensor, Disguised) for tensor in tensors}) == 2) or (
        name == "aten::_to_copy" and here != bool(ours)
    ):
        _note("copy", name)
    if here and wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    kwargs.pop("pin_memory", None)
    found = func(*plain(args), **plain(kwargs))
    known = {id(tensor.plain): tensor for tensor in ours} | {id(tensor): tensor for tensor in tensors}

    def dressed(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in known:
            return known[id(leaf)]
        if not here:
            return leaf
        if leaf.dtype == torch.float64 and not _state.has_float64:
            msg = f"{NAME} has no float64: {name} made one, at {_where()}"
            raise TypeError(msg)
        return Disguised(leaf)

    return tree_map(dressed, found)


def _check_mixing(name: str, tensors: list[Tensor], ours: list[Disguised]) -> None:
    theirs = [tensor for tensor in tensors if not isinstance(tensor, Disguised) and tensor.ndim]
    if not ours or not theirs or name in _COPIES:
        return
    if name in _INDEXING:
        _note("indexed by the host's tensors", name)
        return
    shapes = [(type(tensor).__name__, tuple(tensor.shape)) for tensor in tensors]
    msg = f"expected all tensors to be on one device: {name} of {shapes}, at {_where()}"
    raise RuntimeError(msg)


def _check_generator(name: str, generator: torch.Generator | None, *, here: bool) -> None:
    if generator is not None and here:
        msg = f"{name} on {NAME} with a generator of {generator.device}, at {_where()}"
        raise RuntimeError(msg)


def _note(what: str, name: str) -> None:
    if _state.reads is not None:
        _state.reads.append(Read(f"{what} ({name})", _where()))


def _where() -> str:
    """Return the innermost line that is neither torch's nor of this file."""
    for frame in reversed(traceback.extract_stack()):
        if "site-packages" not in frame.filename and frame.filename != __file__ and "<" not in frame.filename:
            return f"{frame.filename}:{frame.lineno} {frame.line}"
    return "?"


# Operations without a tensor of ours among their arguments, such as torch.zeros(device=...), and all others.
_fallback = torch.library.Library("_", "IMPL")
_fallback.fallback(lambda op, *args, **kwargs: _run(op, args, kwargs), "PrivateUse1")
_factories = torch.library.Library("aten", "IMPL")
for _name in ("empty.memory_format", "empty_strided"):
    _base, _, _overload = _name.partition(".")
    _op = getattr(getattr(torch.ops.aten, _base), _overload or "default")
    _factories.impl(_name, lambda *args, _op=_op, **kwargs: _run(_op, args, kwargs), "PrivateUse1")
