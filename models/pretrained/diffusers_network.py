"""A network of diffusers, called as networks here are."""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import check_count, values_are_readable
from ..conditions import Condition

# What each takes as a condition, by its name here, and where it goes.
_TAKEN = {
    "UNet2DModel": ("labels",),
    "UNet2DConditionModel": (
        *("labels", "encoder_hidden_states", "encoder_attention_mask", "timestep_cond"),
        *("text_embeds", "time_ids", "image_embeds"),
    ),
    "DiTTransformer2DModel": ("labels",),
}
_ADDED = {"text_embeds", "time_ids", "image_embeds"}


class DiffusersNetwork(nn.Module):
    """A `UNet2DModel`, `UNet2DConditionModel` or `DiTTransformer2DModel` of diffusers as `network(z_t, t, condition)`.

    Time k / K is timestep k - 1, to the last bit; between levels it sees fractions of timesteps, which its embedding
    takes, and before level 1 timestep 0.

    A condition is what the network takes: integers are class labels and floating-point numbers, (batch, tokens, size),
    `encoder_hidden_states`; more than one are a dictionary of "labels", "encoder_hidden_states",
    "encoder_attention_mask", "timestep_cond", "text_embeds", "time_ids" and "image_embeds".

    A network with twice as many channels out as in has learned variances beside its prediction (Nichol & Dhariwal,
    2021): these are left out, and steps have the standard deviations that a stepper says.

    Args:
        model: the network.
        levels: number K of timesteps that it was trained with.

    Attributes:
        classes: number of classes, where it knows one more that stands for "no label"; None elsewhere.
        learned_variance: whether it puts out variances, which are left out.

    Raises:
        TypeError: `model` is none of these.
        ValueError: it has other channels out than in or twice as many, or levels < 1.
    """

    def __init__(self, model: nn.Module, levels: int = 1000) -> None:
        super().__init__()
        check_count("levels", levels, hint="timesteps that the network was trained with")
        kind = next((each.__name__ for each in type(model).__mro__ if each.__name__ in _TAKEN), None)
        if kind is None:
            msg = f"model must be one of {', '.join(_TAKEN)} of diffusers, got {type(model).__name__}"
            raise TypeError(msg)
        config = cast("Any", model).config
        into, out = config.in_channels, config.out_channels or config.in_channels
        if out not in (into, 2 * into):
            msg = (
                f"{kind} takes {into} channels and returns {out}, and a prediction has those of the latent, or twice as"
                " many with learned variances: networks that see a mask or an image as further channels are not read"
            )
            raise ValueError(msg)
        self.model, self.levels, self._takes = model, levels, _TAKEN[kind]
        self.learned_variance = out == 2 * into
        self._embedded = _embedded_classes(kind, config)
        # Only these have a row of their own for "no label".
        self.classes = self._embedded if kind == "DiTTransformer2DModel" else None
        self._attends = kind == "UNet2DConditionModel" and any("attn2" in name for name, _ in model.named_modules())

    @override
    def extra_repr(self) -> str:
        return f"levels={self.levels}" + (", learned variances left out" if self.learned_variance else "")

    def timesteps(self, t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the timesteps of times in [0, 1]: k - 1 of k / K, whole numbers at all levels, at least 0."""
        timestep = t.to(torch.float32) * self.levels - 1
        whole = timestep.round()
        # A float32 time k / K is off by up to K 2^-24 of a level: far less than a thousandth.
        return torch.where((timestep - whole).abs() < 1e-3, whole, timestep).clamp(min=0)

    @override
    def forward(
        self, z_t: Float[Tensor, "batch ..."], t: Float[Tensor, " batch"], condition: Condition | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Return the network's prediction, (batch, *shape).

        Args:
            z_t: latents, (batch, channels, height, width).
            t: times in [0, 1], (batch,).
            condition: what the network takes beside, one row per latent; None if it takes none.

        Raises:
            TypeError: labels are not integers.
            ValueError: the network needs a condition that is not given, takes none of that name, or labels are wrong.
        """
        parts = self._parts(condition, z_t)
        output = self.model(z_t, self.timesteps(t), **parts, return_dict=False)[0]
        return output[:, : z_t.shape[1]] if self.learned_variance else output

    def _parts(self, condition: Condition | None, z: Tensor) -> dict[str, Any]:
        """Return a condition as the network's own arguments."""
        if isinstance(condition, Tensor):
            condition = {"encoder_hidden_states" if condition.is_floating_point() else "labels": condition}
        given = dict(condition or {})
        name = type(self.model).__name__
        other = sorted(given.keys() - {*self._takes})
        if other:
            msg = f"{name} takes a condition of {', '.join(self._takes)}, got {', '.join(other)}: leave that out"
            raise ValueError(msg)
        if self.classes is not None and "labels" not in given:
            given["labels"] = torch.full((z.shape[0],), self.classes, device=z.device)
        needed = [("encoder_hidden_states", self._attends), ("labels", self._embedded is not None)]
        for part, needs in needed:
            if needs and part not in given:
                msg = f"{name} needs {part} for each latent: pass condition={{{part!r}: ...}}, one row for each"
                raise ValueError(msg)
        # Floating-point ones in the network's precision, as latents are.
        given = {key: part.to(z.dtype) if part.is_floating_point() else part for key, part in given.items()}
        given = {key: part.to(z.device) for key, part in given.items()}
        arguments: dict[str, Any] = {key: part for key, part in given.items() if key not in _ADDED | {"labels"}}
        if "labels" in given:
            arguments["class_labels"] = self._checked(given["labels"], z.shape[0])
        if added := {key: part for key, part in given.items() if key in _ADDED}:
            arguments["added_cond_kwargs"] = added
        # Positional there, and None where nothing attends to it.
        if "encoder_hidden_states" in self._takes:
            arguments.setdefault("encoder_hidden_states", None)
        return arguments

    def _checked(self, labels: Int[Tensor, " batch"], batch: int) -> Tensor:
        if self._embedded is None:
            # Of a kind of its own, such as numbers that are embedded as times are.
            return labels
        if labels.is_floating_point() or tuple(labels.shape) != (batch,):
            msg = f"labels must be {batch} integers, one for each latent, got {labels.dtype} {tuple(labels.shape)}"
            raise TypeError(msg) if labels.is_floating_point() else ValueError(msg)
        most = self._embedded - (self.classes is None)
        if values_are_readable(labels) and not bool(((labels >= 0) & (labels <= most)).all()):
            none = f", or {most} for no label" if self.classes is not None else ""
            wrong = labels[(labels < 0) | (labels > most)][0].item()
            msg = f"labels must lie in 0..{self._embedded - 1}{none}, got {wrong}"
            raise ValueError(msg)
        return labels


def _embedded_classes(kind: str, config: Any) -> int | None:
    """Return how many classes a network has vectors for; None if it takes no such labels."""
    if kind == "DiTTransformer2DModel":
        return config.num_embeds_ada_norm
    return config.num_class_embeds if config.class_embed_type is None else None
