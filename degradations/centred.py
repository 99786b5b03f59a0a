"""A process with a known end, seen from where that end has drawn it: z_t - beta_t y."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_instance
from .process import LinearGaussianProcess, Time


class Centred(LinearGaussianProcess):
    """The process of z_t - V diag(beta_t) V^T y, y being another process's known end: the same alpha and sigma.

    It knows of no end, so that losses, bounds and steppers made for processes without one serve those that have one.

    Args:
        process: the process whose basis, levels, alpha and sigma are taken.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        check_instance("process", process, LinearGaussianProcess, "BrownianBridge(shape) for example")
        super().__init__(process.basis)
        self.process, self.levels = process, process.levels

    @property
    @override
    def called(self) -> str:
        """The process that it was made of: users have made that one, and libraries this one."""
        return self.process.called

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        return self.process.batched_log_alpha(t)

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.process.batched_log_sigma(t)
