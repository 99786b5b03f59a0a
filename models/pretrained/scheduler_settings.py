"""What the scheduler of a diffusers model says of it: its process, its prediction, and how it is stepped through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ...degradations import DiscreteSchedule, PredictEpsilon, Prediction, PredictV, PredictX
from .saved_parts import Saved, diffusers_package

_PREDICTIONS: dict[str, Prediction] = {
    "epsilon": PredictEpsilon(),
    "sample": PredictX(),
    "v_prediction": PredictV(),
}
# Those whose networks see DDPM's own latents, alpha_k x + sigma_k epsilon at a timestep k, whatever they scale on the
# way; flow matching, EDM, variance explosion and consistency models are others.
_OF_DDPM = frozenset(
    f"{name}Scheduler"
    for name in (
        *("DDIM", "DDIMInverse", "DDIMParallel", "DDPM", "DDPMParallel", "DEISMultistep", "DPMSolverMultistep"),
        *("DPMSolverSDE", "DPMSolverSinglestep", "EulerAncestralDiscrete", "EulerDiscrete", "HeunDiscrete"),
        *("KDPM2AncestralDiscrete", "KDPM2Discrete", "LMSDiscrete", "PNDM", "UniPCMultistep"),
    )
)


class TimestepSpacing(Enum):
    """Which of a model's K timesteps few steps take (Lin, Liu, Li & Yang, 2024, table 2)."""

    LEADING = "leading"
    LINSPACE = "linspace"
    TRAILING = "trailing"


@dataclass(frozen=True)
class SchedulerSettings:
    """What a scheduler's configuration says.

    Attributes:
        schedule: its table of betas; timestep i is level i + 1.
        prediction: what the network's output stands for.
        clip_range: range that estimates of the data are clipped to; None where they are not.
        thresholding: whether estimates are clipped by dynamic thresholding instead, `ClippedDenoiser(percentile=)`.
        keeps_noise: whether clipping leaves the network's noise as it is, as diffusers' DDIM does and DDPM does not.
        spacing: which timesteps few steps take.
        offset: number added to leading timesteps.
        ends_in_data: whether the last step ends in the data; else at level 1, `set_alpha_to_one=False`.
    """

    schedule: DiscreteSchedule
    prediction: Prediction
    clip_range: tuple[float, float] | None = None
    thresholding: bool = False
    keeps_noise: bool = False
    spacing: TimestepSpacing = TimestepSpacing.LEADING
    offset: int = 0
    ends_in_data: bool = True

    @classmethod
    def of(cls, scheduler: Any) -> SchedulerSettings:
        """Return the settings of a scheduler of diffusers.

        The table is its own, in single precision as its networks have seen it; products are taken in double precision.

        Args:
            scheduler: the scheduler.

        Raises:
            ValueError: the scheduler is not one of DDPM's latents, or its network predicts something else.
        """
        name = type(scheduler).__name__
        _require_of_ddpm(name)
        config: dict[str, Any] = dict(scheduler.config)
        kind = config.get("prediction_type", "epsilon")
        if kind not in _PREDICTIONS or config.get("use_flow_sigmas"):
            said = "use_flow_sigmas=True" if kind in _PREDICTIONS else f"prediction_type={kind!r}"
            msg = f"{name} has {said}, which is not DDPM's: allowed are prediction_type {', '.join(_PREDICTIONS)}"
            raise ValueError(msg)
        thresholding = bool(config.get("thresholding"))
        width = float(config.get("clip_sample_range") or 1.0)
        return cls(
            schedule=DiscreteSchedule(scheduler.betas),
            prediction=_PREDICTIONS[kind],
            # They threshold where both are asked for.
            clip_range=(-width, width) if config.get("clip_sample") and not thresholding else None,
            thresholding=thresholding,
            keeps_noise=name.startswith("DDIM"),
            spacing=TimestepSpacing(config.get("timestep_spacing", "leading")),
            offset=int(config.get("steps_offset", 0)),
            ends_in_data=bool(config.get("set_alpha_to_one", True)) and config.get("final_sigmas_type") != "sigma_min",
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SchedulerSettings:
        """Return the settings in a saved configuration, the content of a scheduler_config.json.

        Args:
            config: it, with the scheduler's class as "_class_name"; what it leaves out is as that class has it.

        Raises:
            ModuleNotFoundError: diffusers is not installed.
            ValueError: the configuration names no class, or one that `of` refuses.
        """
        if "_class_name" not in config:
            msg = (
                "a saved configuration names its class, '_class_name': give a scheduler itself to SchedulerSettings.of"
            )
            raise ValueError(msg)
        name = str(config["_class_name"])
        _require_of_ddpm(name)
        return cls.of(getattr(diffusers_package(), name).from_config(dict(config)))

    @classmethod
    def load(
        cls, source: str | Path, *, revision: str | None = None, local_files_only: bool = False
    ) -> SchedulerSettings:
        """Return the settings of a scheduler in a folder or on the hub; arguments and errors as in `load_diffusers`."""
        saved = Saved(source, revision, local_files_only)
        config, _ = saved.find(
            diffusers_package().DDPMScheduler, "scheduler_config.json", ["scheduler"], "scheduler's configuration"
        )
        return cls.from_config(config)


def _require_of_ddpm(name: str) -> None:
    if name not in _OF_DDPM:
        msg = (
            f"{name} is not a scheduler of DDPM's latents, alpha x + sigma epsilon with a table of betas: allowed are"
            f" {', '.join(sorted(_OF_DDPM))}; build a process and a Denoiser around the network yourself"
        )
        raise ValueError(msg)
