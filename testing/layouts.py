"""The same signals in other orders of memory, as channels-last images and slices of larger tensors have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .advice import first_line
from .compare import require_equal
from .law import Violation


def layouts(x: Tensor) -> dict[str, Tensor]:
    """Return equal tensors, by what is said of their memory."""
    backwards = tuple(range(x.ndim))[::-1]
    twice = torch.stack([x, torch.full_like(x, torch.nan)], -1)
    return {
        "permuted in memory": x.permute(backwards).contiguous().permute(backwards),
        "that are slices of larger ones": twice[..., 0],
    }


def require_same_in_any_layout(what: str, method: Callable[..., Tensor], *signals: Tensor, room: float) -> None:
    """Require method(*signals) to be the same whatever order the signals lie in memory in."""
    expected, rank = method(*signals), signals[0].ndim - 1
    for name, laid in _together(signals):
        try:
            result = method(*laid)
        except Exception as error:
            msg = f"{what} of signals {name} raises {type(error).__name__}: {first_line(error)}"
            raise Violation(msg, cause=error) from error
        require_equal(f"{what}, of signals {name},", result, expected, rank=rank, absolute=room)


def _together(signals: tuple[Tensor, ...]) -> Iterator[tuple[str, list[Tensor]]]:
    """Go through the layouts, all signals being in the same one."""
    laid = [layouts(x) for x in signals]
    for name in laid[0]:
        yield name, [each[name] for each in laid]
