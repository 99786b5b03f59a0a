"""Parts that are fitted to data or read from a file: values that say how, and are resolved once the data are known.

`FittedSpectrum(images=2000)` is a setting like any other: it can be printed, compared and written into a record. What
it stands for, a `DataSpectrum`, is made by `resolve` in two steps: tensors are fitted or read, and the part is built
from them. A record that keeps the tensors can so be resolved again without data and files.

    process = later(SpectralDiffusion, noise=EqualSNR(FittedSpectrum()))
    process, tensors = resolve(process, shape, batches)
    process, _ = resolve(process_as_recorded, shape, stored=tensors)
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..checks import Shape, check_instance
from .later import Later
from .writing import shown, taken_apart

Batches = Iterable[Float[Tensor, "..."]]
Value = TypeVar("Value")

_BATCH = 1024


class FromData(ABC):
    """How a part follows from data. A subclass is a frozen value that writes `fit` and `build`."""

    @abstractmethod
    def fit(self, shape: Shape, data: Batches | None) -> dict[str, Tensor]:
        """Return the tensors that the part is built from, by name.

        Args:
            shape: shape of one example.
            data: batches of examples in floating point, which can be gone through more than once; None if there are
                none.
        """

    @abstractmethod
    def build(self, shape: Shape, tensors: Mapping[str, Tensor]) -> object:
        """Return the part that `fit`'s tensors make."""

    def resolve(self, shape: Shape, data: Batches | None = None) -> object:
        """Return the part for these data."""
        return self.build(shape, self.fit(shape, data))


@dataclass(frozen=True)
class FromFile(FromData):
    """A tensor in a file: .npy, .npz, .safetensors, or .pt as `torch.save` writes it (read with weights_only).

    Attributes:
        path: the file.
        key: name of the tensor in a file of several; "" takes the only one.
    """

    path: str | Path
    key: str = ""

    @override
    def fit(self, shape: Shape, data: Batches | None) -> dict[str, Tensor]:
        found = _read(Path(self.path))
        if isinstance(found, Mapping):
            if (not self.key and len(found) != 1) or (self.key and self.key not in found):
                msg = (
                    f"{self.path} holds {', '.join(sorted(found)) or 'no tensor'}: say which by key=, got {self.key!r}"
                )
                raise ValueError(msg)
            found = found[self.key or next(iter(found))]
        return {"tensor": check_instance(str(self.path), found, Tensor, "or several by name")}

    @override
    def build(self, shape: Shape, tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors["tensor"]


def _read(path: Path) -> object:
    """Return what a file holds, a tensor or several by name."""
    if path.suffix in {".npy", ".npz"}:
        found = np.load(path, allow_pickle=False)
        return torch.from_numpy(found) if path.suffix == ".npy" else {k: torch.from_numpy(found[k]) for k in found}
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file  # noqa: PLC0415

        return load_file(path)
    if path.suffix in {".pt", ".pth"}:
        return torch.load(path, map_location="cpu", weights_only=True)
    msg = f"a tensor is read from .npy, .npz, .safetensors or .pt, got {path}"
    raise ValueError(msg)


def first_examples(value: FromData, data: Batches | None, count: int) -> Iterator[Tensor]:
    """Yield batches of the first `count` examples.

    Raises:
        ValueError: there are no data to fit `value` to.
    """
    if data is None:
        msg = f"{shown(value)} is fitted to data, and there are none: pass batches of it, or the tensors stored before"
        raise ValueError(msg)
    for batch in data.split(_BATCH) if isinstance(data, Tensor) else data:
        yield batch[:count]
        count -= len(batch)
        if count <= 0:
            return


def resolve(
    value: Value, shape: Shape, data: Batches | None = None, *, stored: Mapping[str, Tensor] | None = None
) -> tuple[Value, dict[str, Tensor]]:
    """Return `value` with every `FromData` inside replaced by the part it stands for, and the tensors they are made of.

    Looks into dataclasses, tuples and lists, and calls that wait for their first arguments (`later`).

    Args:
        value: the configuration of a part.
        shape: shape of one example.
        data: batches of examples, which can be gone through more than once, or all of them in one tensor.
        stored: tensors returned before for the same configuration. Nothing is fitted or read then.

    Returns:
        The resolved value, `value` itself if there was nothing to resolve, and the tensors by their path in it, such as
        "noise.spectrum.variance".

    Raises:
        ValueError: a part needs data and there are none, or `stored` lacks its tensors.
    """
    resolver = _Resolver(shape, data, stored)
    return cast("Value", resolver.visit(value, "")), resolver.tensors


class _Resolver:
    def __init__(self, shape: Shape, data: Batches | None, stored: Mapping[str, Tensor] | None) -> None:
        self.shape, self.data, self.stored = shape, data, stored
        self.tensors: dict[str, Tensor] = {}

    def visit(self, value: object, path: str) -> object:
        """Return `value` resolved; an unchanged value is returned itself."""
        apart = taken_apart(value)
        sequence = cast("tuple[object, ...]", value) if isinstance(value, list | tuple) else ()
        parts = apart[1] if apart else {str(index): part for index, part in enumerate(sequence)}
        visited = {name: self.visit(part, f"{path}.{name}".lstrip(".")) for name, part in parts.items()}
        if any(visited[name] is not part for name, part in parts.items()):
            if isinstance(value, Later):
                return Later(cast("Later[..., object]", value).make, visited)
            kind: Any = type(value)
            value = dataclasses.replace(cast("Any", value), **visited) if apart else kind(visited.values())
        return self._part(value, path) if isinstance(value, FromData) else value

    def _part(self, value: FromData, path: str) -> object:
        prefix = f"{path}." if path else ""
        if self.stored is None:
            tensors = value.fit(self.shape, self.data)
        else:
            # Names of tensors have no dots; those of parts further inside have.
            own = {name.removeprefix(prefix): t for name, t in self.stored.items() if name.startswith(prefix)}
            tensors = {name: tensor for name, tensor in own.items() if "." not in name}
            if not tensors:
                held = ", ".join(self.stored) or "nothing"
                msg = f"nothing is stored for {path or 'the value'}, {shown(value)}: there is {held}"
                raise ValueError(msg)
        self.tensors |= {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
        return value.build(self.shape, tensors)
