"""What a run knows of each example beside its class: y, observed of it, which networks and processes start from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from ..models import Condition, Denoiser, with_image
from ..models.conditions import image_channels
from ..samplers.guidance import LinearObservation
from .run_config import RunConfig


class Seen(NamedTuple):
    """What a denoiser is called with beside latents and times, one row for each example.

    Attributes:
        condition: the network's condition.
        given: the process's known end.
    """

    condition: Condition | None
    given: Tensor | None


class Known:
    """Observes y of examples, and says how the denoiser is told: as the process's known end, or as an image.

    Args:
        config: the run.
        denoiser: its denoiser.

    Attributes:
        observation: how y is made; None where nothing is known.

    Raises:
        TypeError: what makes the observation makes something else.
        ValueError: the process ends in something known and the run does not say in what, or the run has an observation
            that neither process nor network takes, or takes with other channels.
    """

    def __init__(self, config: RunConfig, denoiser: Denoiser) -> None:
        process, channels = denoiser.process, image_channels(denoiser.network)
        self.observation: LinearObservation | None = None
        self._is_end = process.known_end
        if config.given is None:
            if self._is_end:
                msg = (
                    f"{type(process).__name__} ends in a known signal y, and the run does not say how it is made of an"
                    " image: --given 'LinearObservation.blur(width=2.0, noise_std=0.02)' for example"
                )
                raise ValueError(msg)
            if channels:
                msg = (
                    f"the network sees images of {channels} channels, and the run does not say what they are: --given"
                    " 'LinearObservation.blur(width=2.0, noise_std=0.02)' for example, or leave image_channels out"
                )
                raise ValueError(msg)
            return
        made = config.given(process.shape)
        example = "LinearObservation.blur(width=2.0, noise_std=0.02) for example"
        self.observation = check_instance("given", made, LinearObservation, example).to(process.device)
        if self.observation.basis.shape != process.shape:
            msg = f"given observes signals of shape {self.observation.basis.shape}, the images have {process.shape}"
            raise ValueError(msg)
        if not self._is_end and channels == 0:
            msg = (
                f"given={config.given}, but {type(process).__name__} has no known end and the network sees no image:"
                f" take a bridge, such as HeatBridge, or a network with --network.image-channels {process.shape[0]}"
            )
            raise ValueError(msg)
        if channels not in {0, process.shape[0]}:
            msg = (
                f"the network sees images of {channels} channels, and what is observed has {process.shape[0]}:"
                f" --network.image-channels {process.shape[0]}"
            )
            raise ValueError(msg)

    def __bool__(self) -> bool:
        """Tell whether anything is known."""
        return self.observation is not None

    def observe(
        self,
        x: Float[Tensor, "batch ..."],
        *,
        generator: torch.Generator | None = None,
        noise: Float[Tensor, "batch ..."] | None = None,
    ) -> Float[Tensor, "batch ..."] | None:
        """Draw what is known of examples, (batch, *shape); None where nothing is. White `noise` may be given."""
        if self.observation is None:
            return None
        if noise is not None:
            return self.observation.with_noise(self.observation(x), noise)
        return self.observation.observe(x, generator=generator)

    def seen(self, condition: Condition | None, y: Float[Tensor, "batch ..."] | None) -> Seen:
        """Return what the denoiser is called with, for the network's other condition and what is known."""
        if y is None or self._is_end:
            return Seen(condition, y)
        return Seen(with_image(condition, y), None)
