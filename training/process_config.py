"""Which forward process a run trains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
import tyro
from pydantic import Field

from ..degradations import (
    BlurringDiffusion,
    CosineSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    Markov,
)
from ..degradations.locating import process_from_name
from .kinds import ScheduleKind

# Times between which a process of one's own must lose information.
_TIMES_PROBED = 65


@dataclass(frozen=True, kw_only=True)
class HeatConfig:
    """Heat dissipation."""

    family: tyro.conf.Suppress[Literal["heat"]] = "heat"
    blur_sigma_max: float = 24.0
    """Width of the strongest blur, in pixels."""
    blur_sigma_min: float = 0.5
    """Width of level 1's blur, in pixels."""
    levels: int = 200
    """Number of levels."""
    sigma: float = 0.01
    """Noise at every level, in the data's units."""

    def build(self, shape: tuple[int, ...]) -> LinearGaussianProcess:
        """Return the process for images of `shape`."""
        return HeatDissipation(
            shape,
            blur_sigma_max=self.blur_sigma_max,
            blur_sigma_min=self.blur_sigma_min,
            levels=self.levels,
            sigma=self.sigma,
        )


@dataclass(frozen=True, kw_only=True)
class IsotropicConfig:
    """Isotropic diffusion."""

    family: tyro.conf.Suppress[Literal["isotropic"]] = "isotropic"
    schedule: ScheduleKind = ScheduleKind.COSINE
    """Noise schedule."""

    def build(self, shape: tuple[int, ...]) -> LinearGaussianProcess:
        """Return the process for images of `shape`."""
        return IsotropicDiffusion(
            shape, schedule=CosineSchedule() if self.schedule is ScheduleKind.COSINE else LinearSchedule()
        )


@dataclass(frozen=True, kw_only=True)
class BlurringConfig:
    """Blurring diffusion."""

    family: tyro.conf.Suppress[Literal["blurring"]] = "blurring"
    blur_sigma_max: float = 20.0
    """Width of the blur at t = 1, in pixels."""
    min_scale: float = 0.001
    """What blurring leaves of the highest frequencies."""

    def build(self, shape: tuple[int, ...]) -> LinearGaussianProcess:
        """Return the process for images of `shape`."""
        return BlurringDiffusion(shape, blur_sigma_max=self.blur_sigma_max, min_scale=self.min_scale)


@dataclass(frozen=True, kw_only=True)
class CustomConfig:
    """Any process that is made from the images' shape: a family by its name, or a class of your own."""

    family: tyro.conf.Suppress[Literal["custom"]] = "custom"
    target: str = "my_module:MyProcess"
    """A family such as Pixelation or 'HeatDissipation(levels=50)', or your own class as module:Class or
    path/to/file.py:Class."""

    def build(self, shape: tuple[int, ...]) -> LinearGaussianProcess:
        """Return the process for images of `shape`.

        Raises:
            ValueError: `target` does not name a process that is made from a shape, or its log-SNR rises: better told
                now than by the first samples.
        """
        process = process_from_name(self.target, shape)
        times = torch.linspace(0, 1, _TIMES_PROBED, dtype=torch.float64).tolist()
        try:
            for s, t in pairwise(times):
                process.posterior_coefficients(s, t, Markov())
        except ValueError as error:
            msg = f"{self.target} is no forward process: {error}; unmelt.testing.check_process tells more"
            raise ValueError(msg) from error
        return process


ProcessConfig = Annotated[HeatConfig | IsotropicConfig | BlurringConfig | CustomConfig, Field(discriminator="family")]
