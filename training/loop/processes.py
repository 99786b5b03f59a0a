"""What several processes must agree on, by a group of their own on the CPU, so that no accelerator waits for it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator


class OtherProcessError(RuntimeError):
    """Another process failed, and told why."""


class Processes:
    """The processes of a run. Each method is called by all of them at the same step.

    Args:
        accelerator: has started them.

    Attributes:
        rank: number of this process.
        count: how many there are.
        main: whether this is the one that writes.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.rank, self.count = accelerator.process_index, accelerator.num_processes
        self.main = self.rank == 0
        self._group: Any = None
        if self.count > 1:
            backend = dist.get_backend()
            self._group = dist.group.WORLD if backend == "gloo" else dist.new_group(backend="gloo")

    def largest(self, number: int) -> int:
        """Return the largest number of all."""
        if self.count == 1:
            return number
        found = torch.tensor([number])
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self._group)
        return int(found)

    def gathered(self, value: Any) -> list[Any]:
        """Return what each has, by rank."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value, group=self._group)
        return found

    def of_main(self, value: Any) -> Any:
        """Return what the main process has."""
        if self.count == 1:
            return value
        found = [value]
        dist.broadcast_object_list(found, src=0, group=self._group)
        return found[0]

    def close(self) -> None:
        """Leave the others: a process that ends without it may be ended by its own threads, with a status of theirs."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @contextmanager
    def together(self) -> Generator[None, None, None]:
        """Fail in all processes where one of them fails, so that none waits for it.

        Raises:
            OtherProcessError: another one failed; this one would have gone on.
        """
        if self.count == 1:
            yield
            return
        failed: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failed = error
        told = self.gathered(None if failed is None else f"{failed}")
        if failed is not None:
            raise failed
        for rank, text in enumerate(told):
            if text is not None:
                msg = f"process {rank} ended: {text}"
                raise OtherProcessError(msg)
