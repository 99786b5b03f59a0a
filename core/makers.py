"""Parts that are made once a shape is known: a class, a deferred call, or the part itself."""

from __future__ import annotations

from typing import TypeVar

from .checks import Shape, check_instance

Part = TypeVar("Part")


def made(name: str, part: object, shape: Shape, kind: type[Part], remedy: str) -> Part:
    """Return `part` itself if it is one of `kind`, and what it makes of `shape` otherwise.

    Raises:
        TypeError: it is neither that nor callable, or makes something else.
        ValueError: the part has another shape.
    """
    # Parts may be modules, which can be called too.
    result = part if isinstance(part, kind) or not callable(part) else part(shape)
    result = check_instance(name, result, kind, remedy)
    found = getattr(result, "shape", shape)
    if found != shape:
        msg = f"{name} must be one for signals of shape {shape}, got one for {found}"
        raise ValueError(msg)
    return result
