"""The U-Net of diffusion models: residual blocks, attention, skip connections, conditioned on time and class.

The architecture of Ho et al. (2020) and Dhariwal & Nichol (2021) in the configuration in which inverse heat dissipation
was released (Rissanen et al., 2023): its CIFAR-10 network is `UNet((3, 32, 32), channels=128,
multipliers=(1, 2, 2, 2), blocks=4, attention_levels=(2, 3), dropout=0.1)`, 61.06 M parameters. A label is one more
vector, added to the time's before the residual blocks, as in Dhariwal & Nichol (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..core.checks import as_shape, check_whole
from .conditions import Condition, LabelEmbedding, checked_image, condition_parts

Layer = TypeVar("Layer", bound=nn.Module)

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_GROUPS = 32
_CHANNELS_PER_GROUP = 4
_LONGEST_PERIOD = 10_000.0
# Times in [0, 1] become the step numbers of a thousand-step process, which the sinusoids were designed for.
_STEPS = 1000.0


class UNet(nn.Module):
    """A U-Net from signals and times to signals of the same shape. Its last layer starts at zero.

    Args:
        shape: (channels, ...) of signals, images or volumes, of one, two or three axes and any number of channels.
        channels: features at the first level.
        multipliers: features at each level as multiples of `channels`; every level but the first halves the size.
        patch: side of the squares of pixels whose values become channels before the first layer, and pixels again after
            the last (Hoogeboom, Heek & Salimans, 2023): with 2 the first level is half as wide and costs a quarter.
            For images only.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention_levels: levels with attention after every residual block, 0 being full resolution. The middle
            always has attention.
        heads: attention heads.
        dropout: dropout rate inside residual blocks.
        classes: number of classes that images may be labelled with; None for a network without labels.
        image_channels: channels of an image (or other signal) of the same size that is seen beside the latent: a
            blurred one, say, or one with holes and its mask. None is seen as zeros.
        recompute: in training, keep what goes into each block instead of all that is in it, and compute the rest again
            in the backward pass: less memory, about a third more time, the same gradients.

    Raises:
        ValueError: `shape` has no axis, or more than three, beside the channels, one of them cannot be halved often
            enough, or a number is out of range; the message says what is allowed.
    """

    def __init__(  # noqa: PLR0913  # each is a choice
        self,
        shape: Sequence[int],
        *,
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        patch: int = 1,
        blocks: int = 4,
        attention_levels: Sequence[int] = (2, 3),
        heads: int = 1,
        dropout: float = 0.1,
        classes: int | None = None,
        image_channels: int = 0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.shape = _check_configuration(shape, channels, multipliers, patch, blocks, attention_levels, heads)
        if image_channels < 0:
            msg = f"image_channels must be at least 0, none, got {image_channels}"
            raise ValueError(msg)
        self.channels, self.image_channels, self.recompute = channels, image_channels, recompute
        conditioning, axes = 4 * channels, len(self.shape) - 1
        conv = _CONVOLUTIONS[axes]
        self.embed = nn.Sequential(nn.Linear(channels, conditioning), nn.SiLU(), nn.Linear(conditioning, conditioning))

        def stage(inputs: int, outputs: int, level: int) -> Stage:
            attention = Attention(outputs, heads, axes) if level in attention_levels else nn.Identity()
            return Stage([ResidualBlock(inputs, outputs, conditioning, dropout, axes), attention])

        width = multipliers[0] * channels
        signals = self.shape[0] * patch**2
        self.to_patches = nn.PixelUnshuffle(patch) if patch > 1 else nn.Identity()
        self.to_pixels = nn.PixelShuffle(patch) if patch > 1 else nn.Identity()
        self.first = conv(signals + image_channels * patch**2, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips = [width]
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                self.down.append(stage(width, multiplier * channels, level))
                width = multiplier * channels
                skips.append(width)
            if level < len(multipliers) - 1:
                self.down.append(conv(width, width, 3, stride=2, padding=1))
                skips.append(width)
        self.middle = Stage(
            [
                ResidualBlock(width, width, conditioning, dropout, axes),
                Attention(width, heads, axes),
                ResidualBlock(width, width, conditioning, dropout, axes),
            ]
        )
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for _ in range(blocks + 1):
                self.up.append(stage(width + skips.pop(), multiplier * channels, level))
                width = multiplier * channels
            if level > 0:
                self.up.append(Upsample(width, axes))
        self.last = nn.Sequential(_norm(width), nn.SiLU(), _zeroed(conv(width, signals, 3, padding=1)))
        self.classes = classes
        # Made last, so that a seed gives all other layers the same start with labels as without.
        self.embed_label = None if classes is None else LabelEmbedding(classes, conditioning)

    def forward(
        self,
        z: Float[Tensor, "batch channels ..."],
        t: Float[Tensor, " batch"],
        condition: Condition | None = None,
    ) -> Tensor:
        """Return the network's output, (batch, channels, ...).

        Args:
            z: signals of `shape`, (batch, channels, ...).
            t: their times, (batch,).
            condition: their labels, (batch,), integers 0 .. classes - 1, or `classes` for "no label"; or an image for
                each, (batch, image_channels, ...); or {"labels": ..., "image": ...}; None if none has one.

        Raises:
            TypeError: the labels are not integers.
            ValueError: the images have another shape than the network was made for, it was made without classes or
                image channels, the labels are not one for each image, or one lies outside 0 .. classes (where values
                are readable; elsewhere that image's output is NaN).
        """
        if tuple(z.shape[1:]) != self.shape:
            msg = f"this UNet was made for images of shape {self.shape}, got {tuple(z.shape[1:])}"
            raise ValueError(msg)
        labels, image = condition_parts(condition)
        image = checked_image(image, self.image_channels, z)
        embedding = functional.silu(self._embed(t, labels))
        h = self.first(self.to_patches(z if image is None else torch.cat([z, image], dim=1)))
        skips = [h]
        for layer in self.down:
            h = self._run(layer, h, embedding) if isinstance(layer, Stage) else layer(h)
            skips.append(h)
        h = self._run(self.middle, h, embedding)
        for layer in self.up:
            h = self._run(layer, h, embedding, skips.pop()) if isinstance(layer, Stage) else layer(h)
        return self.to_pixels(self.last(h))

    def _run(self, stage: Stage, *inputs: Tensor) -> Tensor:
        # Outside training gradients are rare, and often of kinds that cannot go through a recomputation (torch.func).
        if not (self.recompute and self.training):
            return stage(*inputs)
        # It draws the numbers of dropout again: they are not kept either.
        return cast("Tensor", checkpoint(stage, *inputs, use_reentrant=False))

    def _embed(self, t: Tensor, labels: Tensor | None) -> Tensor:
        """Return the embedding that conditions the blocks, (batch, conditioning), before its activation."""
        # In half precision neighbouring times would be one: only their sines and cosines are.
        time = self.embed(time_embedding(t, self.channels).to(next(self.first.parameters()).dtype))
        if self.embed_label is not None:
            return time + self.embed_label(labels, t.shape[0])
        if labels is not None:
            msg = (
                "this UNet was made without classes, but got labels for a condition: make it with UNet(..., classes=N),"
                " or leave them out"
            )
            raise ValueError(msg)
        return time


class Stage(nn.ModuleList):
    """Residual blocks and attention, one after the other: what is recomputed as one."""

    def forward(
        self,
        h: Float[Tensor, "batch inputs ..."],
        condition: Float[Tensor, "batch c"],
        skip: Float[Tensor, "batch skipped ..."] | None = None,
    ) -> Tensor:
        """Return features (batch, outputs, ...) of features h, beside those of a skip connection if there are any."""
        if skip is not None:
            h = torch.cat([h, skip], dim=1)
        for layer in self:
            h = layer(h, condition) if isinstance(layer, ResidualBlock) else layer(h)
        return h


class ResidualBlock(nn.Module):
    """Two normalised convolutions with the embedding of time and label added between them, and a skip around both.

    Args:
        inputs: input features.
        outputs: output features.
        conditioning: size of the activated embedding.
        dropout: dropout rate before the second convolution.
        axes: axes of a feature map.
    """

    def __init__(self, inputs: int, outputs: int, conditioning: int, dropout: float, axes: int = 2) -> None:
        super().__init__()
        conv = _CONVOLUTIONS[axes]
        self.before = nn.Sequential(_norm(inputs), nn.SiLU(), conv(inputs, outputs, 3, padding=1))
        self.condition = nn.Linear(conditioning, outputs)
        self.after = nn.Sequential(
            _norm(outputs), nn.SiLU(), nn.Dropout(dropout), _zeroed(conv(outputs, outputs, 3, padding=1))
        )
        self.skip = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1)

    def forward(self, h: Float[Tensor, "batch inputs ..."], condition: Float[Tensor, "batch c"]) -> Tensor:
        """Return features (batch, outputs, ...)."""
        shift = self.condition(condition).reshape(h.shape[0], -1, *(1,) * (h.ndim - 2))
        return self.skip(h) + self.after(self.before(h) + shift)


class Attention(nn.Module):
    """Self-attention over all positions of a feature map, with a skip around it.

    Args:
        channels: features in and out; divisible by `heads`.
        heads: attention heads.
        axes: axes of a feature map.
    """

    def __init__(self, channels: int, heads: int, axes: int = 2) -> None:
        super().__init__()
        conv = _CONVOLUTIONS[axes]
        self.heads = heads
        self.norm = _norm(channels)
        self.project_in = conv(channels, 3 * channels, 1)
        self.project_out = _zeroed(conv(channels, channels, 1))

    def forward(self, h: Float[Tensor, "batch c ..."]) -> Float[Tensor, "batch c ..."]:
        """Return features of the same shape."""
        projected = self.project_in(self.norm(h))
        three = rearrange(projected, "b (three heads c) ... -> three b heads (...) c", three=3, heads=self.heads)
        # Together in memory: of others torch's fast attention knows nothing, and all of the scores would be kept.
        query, key, value = three.contiguous()
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return h + self.project_out(rearrange(mixed, "b heads places c -> b (heads c) places").reshape(h.shape))


class Upsample(nn.Module):
    """Doubling of the resolution by repetition, then a convolution.

    Args:
        channels: features in and out.
        axes: axes of a feature map.
    """

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.convolution = _CONVOLUTIONS[axes](channels, channels, 3, padding=1)

    def forward(self, h: Float[Tensor, "batch c ..."]) -> Tensor:
        """Return features of twice the size along every axis."""
        return self.convolution(functional.interpolate(h, scale_factor=2.0, mode="nearest"))


def time_embedding(t: Float[Tensor, " batch"], size: int) -> Float[Tensor, "batch size"]:
    """Return sines and cosines of 1000 t at geometrically spaced frequencies (Vaswani et al., 2017), (batch, size)."""
    half = size // 2
    frequencies = torch.exp(-math.log(_LONGEST_PERIOD) / half * torch.arange(half, device=t.device, dtype=t.dtype))
    phases = _STEPS * t[:, None] * frequencies
    return torch.cat([phases.cos(), phases.sin()], dim=1)


def _norm(channels: int) -> nn.GroupNorm:
    """Return a group normalisation with 32 groups, or fewer, so that each holds at least four channels if there are.

    A group of one channel would subtract the very shift by which a block is conditioned on the time.
    """
    most = max(1, min(_GROUPS, channels // _CHANNELS_PER_GROUP))
    return nn.GroupNorm(max(groups for groups in range(1, most + 1) if channels % groups == 0), channels)


def _zeroed(layer: Layer) -> Layer:
    """Start a layer at zero, so that its residual branch starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _check_configuration(
    shape: Sequence[int],
    channels: int,
    multipliers: Sequence[int],
    patch: int,
    blocks: int,
    attention_levels: Sequence[int],
    heads: int,
) -> tuple[int, ...]:
    """Return the shape as a tuple, or raise a ValueError that says what is allowed."""
    size = as_shape(shape)
    if len(size) - 1 not in _CONVOLUTIONS:
        msg = f"UNet works on signals, images and volumes, shape = (channels, ...) with one to three more, got {size}"
        raise ValueError(msg)
    for name, number in (("channels", channels), ("patch", patch), ("blocks", blocks), ("heads", heads)):
        check_whole(name, number)
    if channels < 2 or channels % 2 or blocks < 1 or not multipliers or min(multipliers) < 1:
        msg = (
            "UNet needs an even number of channels, at least one block and multipliers of at least 1, got "
            f"channels={channels}, blocks={blocks}, multipliers={tuple(multipliers)}"
        )
        raise ValueError(msg)
    if patch < 1 or (patch > 1 and len(size) != 3):
        msg = (
            f"patch must be at least 1, and 1 for anything but images (channels, height, width), got {patch} for {size}"
        )
        raise ValueError(msg)
    factor = patch * 2 ** (len(multipliers) - 1)
    if any(n % factor for n in size[1:]):
        near = [sorted({n // factor * factor, -(-n // factor) * factor} - {0}) for n in size[1:]]
        choices = " x ".join(f"({' or '.join(map(str, pair))})" for pair in near)
        msg = (
            f"{len(multipliers)} levels halve every axis {len(multipliers) - 1} times"
            f"{f' after patches of {patch}' if patch > 1 else ''}, so sizes must be multiples of"
            f" {factor}, got {' x '.join(map(str, size[1:]))}: pad or crop to {choices}, or use fewer multipliers"
        )
        raise ValueError(msg)
    wrong = [level for level in attention_levels if not 0 <= level < len(multipliers)]
    if wrong:
        msg = (
            f"attention_levels must lie in 0..{len(multipliers) - 1}, as there are {len(multipliers)} multipliers, got"
            f" {wrong}: name levels in there, or none, attention_levels=()"
        )
        raise ValueError(msg)
    widths = {multipliers[level] * channels for level in attention_levels} | {multipliers[-1] * channels}
    if heads < 1 or any(width % heads for width in widths):
        msg = f"heads must divide the features at every attention level, {sorted(widths)}, got heads={heads}"
        raise ValueError(msg)
    return size
