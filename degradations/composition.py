"""Processes made of other processes: another noise, another basis, another schedule for each group of channels.

Each is made of parts, or by `of` from a shape and of what makes its parts from a shape: a class such as
`HeatDissipation`, or a call that waits for its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ..core.checks import Shape, as_shape, check_instance
from ..core.configuration import FromData
from ..core.makers import made
from .bases import Basis, CosineBasis
from .process import LinearGaussianProcess, Time
from .schedules import Schedule

MakesProcess = Callable[[Shape], LinearGaussianProcess]
MakesBasis = Callable[[Shape], Basis]

_HEAT = "HeatDissipation(shape) for example"


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
        check_instance("process", process, LinearGaussianProcess, _HEAT)
        super().__init__(process.basis)
        process.require_no_end("WithNoise")
        check_instance("noise", noise, Schedule, "ConstantNoise(0.01) for example")
        self.process, self.noise, self.levels = process, noise, process.levels

    @classmethod
    def of(cls, shape: Sequence[int], *, process: MakesProcess, noise: Schedule) -> WithNoise:
        """Return `WithNoise(process(shape), noise)`."""
        return cls(made("process", process, as_shape(shape), LinearGaussianProcess, _HEAT), noise)

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
        check_instance("process", process, LinearGaussianProcess, _HEAT)
        process.require_no_end("ChangedBasis")
        if basis.shape != process.shape:
            msg = f"the basis must have the process's shape {process.shape}, got {basis.shape}"
            raise ValueError(msg)
        self.process, self.levels = process, process.levels

    @classmethod
    def of(
        cls, shape: Sequence[int], *, process: MakesProcess, basis: Callable[[Shape], Basis] | FromData
    ) -> ChangedBasis:
        """Return `ChangedBasis(process(shape), basis(shape))`."""
        shape = as_shape(shape)
        inner = made("process", process, shape, LinearGaussianProcess, _HEAT)
        return cls(inner, made("basis", basis, shape, Basis, "HaarBasis for example"))

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
            process.require_no_end("ChannelGroups")
        shapes = [process.shape for process in processes]
        fits = all(shape[1:] == basis.shape[1:] and len(shape) == len(basis.shape) for shape in shapes)
        if not fits or sum(shape[0] for shape in shapes) != basis.shape[0]:
            msg = f"processes of shapes {shapes} put together along the first axis must make {basis.shape}"
            raise ValueError(msg)
        self.groups = nn.ModuleList(processes)
        levels = {process.levels for process in processes}
        self.levels = levels.pop() if len(levels) == 1 else None

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        *,
        channels: Sequence[int],
        processes: Sequence[MakesProcess],
        basis: MakesBasis | FromData = CosineBasis,
    ) -> ChannelGroups:
        """Return one process for each group of channels, made from the group's shape.

        Args:
            shape: shape of the whole signal.
            channels: number of channels of each group, in their order: `(1, 2)` for luminance and colour.
            processes: what makes each group's process from its shape, (channels, *shape[1:]).
            basis: what makes the basis of the whole signal: `opponent_basis` turns red, green and blue to luminance and
                colour.

        Raises:
            ValueError: there are not as many processes as groups, or the groups do not make up the shape.
        """
        shape = as_shape(shape)
        if len(channels) != len(processes):
            msg = f"need one process for each group of channels, got {len(processes)} for channels={tuple(channels)}"
            raise ValueError(msg)
        parts = [
            made("each of processes", process, (count, *shape[1:]), LinearGaussianProcess, _HEAT)
            for count, process in zip(channels, processes, strict=True)
        ]
        return cls(made("basis", basis, shape, Basis, "CosineBasis for example"), parts)

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
