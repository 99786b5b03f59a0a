"""Processes made of other processes: another noise, another basis, another schedule for each group of channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ..core.checks import check_instance
from .bases import Basis
from .process import LinearGaussianProcess, Time
from .schedules import Schedule


class WithNoise(LinearGaussianProcess):
    """Another process's degradation under a new noise: alpha_k(t) = a(t) alpha'_k(t), sigma(t) the schedule's.

    `WithNoise(HeatDissipation(shape), CosineSchedule())` is blurring diffusion without its d_min and with heat
    dissipation's blur widths. With a schedule that leaves the signal alone (`ConstantNoise`, `GeometricNoise`) the
    other process's alpha is kept as it is. Its own noise does not matter.

    Args:
        process: the process whose basis, levels and alpha are taken.
        noise: a(t) and sigma(t).
    """

    def __init__(self, process: LinearGaussianProcess, noise: Schedule) -> None:
        check_instance("process", process, LinearGaussianProcess, "HeatDissipation(shape) for example")
        super().__init__(process.basis)
        check_instance("noise", noise, Schedule, "ConstantNoise(0.01) for example")
        self.process, self.noise, self.levels = process, noise, process.levels

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        return self.process.batched_log_alpha(t) + self.noise.log_alpha(self.expand_times(t))

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.noise.log_sigma(self.expand_times(t))


class ChangedBasis(LinearGaussianProcess):
    """Another process's coefficients in another basis: the same alpha_k and sigma_k, on other functions.

    Coefficient k of the one becomes coefficient k of the other, whatever it stands for there.

    Args:
        process: the process whose alpha and sigma are taken.
        basis: the new basis, on signals of the same shape.

    Raises:
        ValueError: the shapes differ.
    """

    def __init__(self, process: LinearGaussianProcess, basis: Basis) -> None:
        super().__init__(basis)
        check_instance("process", process, LinearGaussianProcess, "HeatDissipation(shape) for example")
        if basis.shape != process.shape:
            msg = f"the basis must have the process's shape {process.shape}, got {basis.shape}"
            raise ValueError(msg)
        self.process, self.levels = process, process.levels

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        return self.process.batched_log_alpha(t)

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.process.batched_log_sigma(t)


class ChannelGroups(LinearGaussianProcess):
    """One process for each group of channels, the first axis of the spectrum.

    With a rotation of colours in the basis the groups are luminance and colour, say:

        basis = ProductBasis(MatrixBasis((3,), opponent_colours()), CosineBasis((32, 32), axes=2))
        ChannelGroups(basis, [slow_process_of((1, 32, 32)), fast_process_of((2, 32, 32))])

    Args:
        basis: the basis of the whole signal.
        processes: one for each group, in the order of channels; their shapes put together along the first axis are the
            basis's. Their alpha and sigma are taken, their bases are not.

    Raises:
        ValueError: there is no process, or the shapes do not make up the basis's shape.
    """

    def __init__(self, basis: Basis, processes: Sequence[LinearGaussianProcess]) -> None:
        super().__init__(basis)
        for process in processes:
            check_instance(
                "each of processes", process, LinearGaussianProcess, "HeatDissipation((1, 32, 32)) for example"
            )
        shapes = [process.shape for process in processes]
        fits = all(shape[1:] == basis.shape[1:] and len(shape) == len(basis.shape) for shape in shapes)
        if not fits or sum(shape[0] for shape in shapes) != basis.shape[0]:
            msg = f"processes of shapes {shapes} put together along the first axis must make {basis.shape}"
            raise ValueError(msg)
        self.groups = nn.ModuleList(processes)
        levels = {process.levels for process in processes}
        self.levels = levels.pop() if len(levels) == 1 else None

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        return self._together([process.batched_log_alpha(t) for process in self._processes()])

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self._together([process.batched_log_sigma(t) for process in self._processes()])

    def _processes(self) -> list[LinearGaussianProcess]:
        return [process for process in self.groups if isinstance(process, LinearGaussianProcess)]

    def _together(self, parts: list[Tensor]) -> Tensor:
        whole = [part.expand(-1, *process.shape) for part, process in zip(parts, self._processes(), strict=True)]
        return torch.cat([part.expand(max(len(p) for p in whole), *part.shape[1:]) for part in whole], dim=1)
