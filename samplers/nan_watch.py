"""A look at every state of a run, without making an accelerator wait for it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor


class NaNWatch:
    """Tells when a state is infinite or NaN: at once on the CPU, as soon as the answer has arrived elsewhere.

    On CUDA the answer to each look is copied while the device goes on, and read when it is there, so that the run stops
    a step or two later, naming the step it happened in. On other accelerators it is read one look later, when the
    device has the next step to work on.

    Args:
        stop: called with the place of the first state that is not finite; raises.
    """

    def __init__(self, stop: Callable[[str], None]) -> None:
        self.stop = stop
        self._pending: deque[tuple[Tensor, torch.cuda.Event | None, str]] = deque()

    def look(self, state: Tensor, where: str) -> None:
        """Look at a state, and at the answers about earlier ones that have arrived."""
        if state.device.type == "cpu":
            # One number that is not finite makes the sum so; a sum ten times as fast as looking at each of them.
            if not math.isfinite(state.sum().item()) and not bool(state.isfinite().all()):
                self.stop(where)
            return
        finite = state.isfinite().all()
        if state.device.type != "cuda":
            self._pending.append((finite, None, where))
            while len(self._pending) > 1:
                self._read()
            return
        answer = torch.empty((), dtype=torch.bool, pin_memory=True)
        answer.copy_(finite, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending.append((answer, event, where))
        while self._pending and (earliest := self._pending[0][1]) is not None and earliest.query():
            self._read()

    def close(self) -> None:
        """Wait for the answers that have not arrived yet."""
        while self._pending:
            event = self._pending[0][1]
            if event is not None:
                event.synchronize()
            self._read()

    def _read(self) -> None:
        answer, _, where = self._pending.popleft()
        if not bool(answer):
            self.stop(where)
