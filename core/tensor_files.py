"""Nested states in one safetensors file: tensors as they are, all else as JSON in the file's header.

What is read can only become numbers, strings, lists, dictionaries and tensors of them: nothing in a file is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
from torch import Tensor

from .files import write_atomically

_TREE = "tree"
# What JSON has no word for: a dictionary with one of these keys stands for it.
_TENSOR, _TUPLE, _ITEMS = "$tensor", "$tuple", "$items"


def encode(state: object) -> bytes:
    """Return a state as the content of a safetensors file.

    Args:
        state: tensors, numbers, strings, None, and dictionaries, lists and tuples of these.

    Raises:
        TypeError: something else is in it; the message says where and what.
    """
    tensors: dict[str, Tensor] = {}
    tree = _taken_apart(state, "", tensors)
    # Copies: parameters that share their memory are kept one by one.
    kept = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(kept, {_TREE: json.dumps(tree)})


def check_encodable(state: object) -> None:
    """Check that `encode` can write a state.

    Raises:
        TypeError: it cannot; the message says what is in the way.
    """
    _taken_apart(state, "", {})


def decode(content: bytes) -> Any:
    """Return the state that `encode` made `content` of; of another safetensors file a dictionary of its tensors.

    Raises:
        ValueError: it is damaged, or no such file.
    """
    try:
        tensors = safetensors.torch.load(content)
        (length,) = (int.from_bytes(content[:8], "little"),)
        header = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        return _put_together(json.loads(header[_TREE]), tensors) if _TREE in header else tensors
    except (KeyError, RecursionError, TypeError, ValueError, safetensors.SafetensorError) as error:
        msg = f"no whole safetensors file of unmelt ({' '.join(str(error).split()) or type(error).__name__})"
        raise ValueError(msg) from error


def write_state(path: Path, state: object) -> None:
    """Write a state (see `encode`), whole or not at all."""
    write_atomically(path, encode(state))


def read_state(path: Path) -> Any:
    """Return what `write_state` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    try:
        return decode(path.read_bytes())
    except ValueError as error:
        msg = f"{path}: {error}: restore the file"
        raise ValueError(msg) from error


def _taken_apart(value: object, name: str, tensors: dict[str, Tensor]) -> object:
    """Return a value as JSON can say it; its tensors go into `tensors`, under the names that lead to them."""
    if isinstance(value, Tensor):
        # Two ways may lead to one name: keys may hold a stroke, or be a number here and a text there.
        own = name if name not in tensors else f"{name}#{len(tensors)}"
        tensors[own] = value
        return {_TENSOR: own}
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, object]", value)
        parts = {key: _taken_apart(item, _below(name, key), tensors) for key, item in items.items()}
        if all(isinstance(key, str) and not key.startswith("$") for key in parts):
            return parts
        return {_ITEMS: [[_taken_apart(key, name, tensors), part] for key, part in parts.items()]}
    if isinstance(value, list | tuple):
        parts = [_taken_apart(item, _below(name, i), tensors) for i, item in enumerate(cast("list[object]", value))]
        return {_TUPLE: parts} if isinstance(value, tuple) else parts
    if value is None or isinstance(value, bool | int | float | str):
        return value
    msg = (
        f"{name or 'a state'} holds a {type(value).__name__}, which a checkpoint cannot keep: tensors, numbers,"
        " strings, None, and dictionaries, lists and tuples of them can be"
    )
    raise TypeError(msg)


def _below(name: str, key: object) -> str:
    return f"{name}/{key}" if name else str(key)


def _put_together(part: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(part, list):
        return [_put_together(item, tensors) for item in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    content = cast("dict[str, Any]", part)
    if content.keys() == {_TENSOR}:
        return tensors[content[_TENSOR]]
    if content.keys() == {_TUPLE}:
        return tuple(_put_together(item, tensors) for item in content[_TUPLE])
    if content.keys() == {_ITEMS}:
        return {_put_together(key, tensors): _put_together(item, tensors) for key, item in content[_ITEMS]}
    return {key: _put_together(item, tensors) for key, item in content.items()}
