"""Pictures of images: grids, strips, animations, and the curve of a loss."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from .files import write_atomically

_BACKGROUND = 255
# Small images are enlarged to about this many pixels, by whole factors, so that their pixels stay square and sharp.
_DISPLAY_SIZE = 64
_CURVE_HEIGHT, _SLICES = 64, 4
_PAPER = 235.0
# How long a frame is shown: longer where there are few, up to what makes this long an animation.
_FRAME_MS, _LONG_FRAME_MS, _ANIMATION_MS = 60, 120, 2400
_LAST_FRAME_MS = 1500


def to_pixels(
    signals: Float[Tensor, "count channels ..."], data_range: tuple[float, float]
) -> UInt8[Tensor, "count height width 3"]:
    """Return images as 8-bit RGB, (count, height, width, 3). Only here are values outside the range cut off.

    Of a signal with one axis the curves of its channels are drawn; of a volume some slices, side by side.
    """
    low, high = data_range
    shown = ((signals.detach().cpu().float() - low) / (high - low)).clamp(0, 1)
    if shown.ndim == 3:
        return rearrange(_curves(shown).expand(-1, 3, -1, -1), "n c h w -> n h w c")
    if shown.ndim == 5:
        depth = torch.linspace(0, shown.shape[2] - 1, min(_SLICES, shown.shape[2])).round().long()
        shown = rearrange(shown[:, :, depth], "n c d h w -> n c h (d w)")
    levels = (shown * 255).round().to(torch.uint8)
    if levels.shape[1] not in (1, 3):
        # Neither grey nor RGB: show the channels' mean.
        levels = levels.float().mean(1, keepdim=True).round().to(torch.uint8)
    return rearrange(levels.expand(-1, 3, -1, -1), "n c h w -> n h w c")


def _curves(shares: Float[Tensor, "count channels size"]) -> UInt8[Tensor, "count one height size"]:
    """Return curves, dark on light grey, of numbers from 0 (below) to 1 (above)."""
    rows = torch.arange(_CURVE_HEIGHT).reshape(1, 1, -1, 1)
    here = ((1 - shares) * (_CURVE_HEIGHT - 1)).round()[:, :, None]
    # From the middle of the way to either neighbour, so that steep parts are not dotted.
    before = torch.cat([here[..., :1], here[..., :-1]], dim=-1)
    after = torch.cat([here[..., 1:], here[..., -1:]], dim=-1)
    ends = torch.stack([here, (here + before) / 2, (here + after) / 2])
    drawn = (rows >= ends.amin(0).floor()) & (rows <= ends.amax(0).ceil())
    # Channel upon channel, each a little lighter.
    shades = torch.linspace(0, 160, shares.shape[1]).reshape(1, -1, 1, 1)
    return torch.where(drawn, shades, _PAPER).amin(1, keepdim=True).to(torch.uint8)


def grid(
    images: Float[Tensor, "count channels ..."], data_range: tuple[float, float], *, columns: int | None = None
) -> UInt8[Tensor, "rows columns 3"]:
    """Return images side by side on white, row by row, enlarged if they are small.

    Args:
        images: the images, (count, channels, height, width), or signals or volumes as `to_pixels` shows them.
        data_range: numbers shown black and white.
        columns: images in a row; as many as make the grid square if None.
    """
    pixels = to_pixels(images, data_range)
    count, height, width, _ = pixels.shape
    scale = max(1, round(_DISPLAY_SIZE / max(height, width)))
    pixels = pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    gap = max(2, scale)
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    blank = pixels.new_full((rows * columns - count, *pixels.shape[1:]), _BACKGROUND)
    tiles = torch.nn.functional.pad(torch.cat([pixels, blank]), (0, 0, 0, gap, 0, gap), value=_BACKGROUND)
    together = rearrange(tiles, "(r c) h w rgb -> (r h) (c w) rgb", c=columns)
    return torch.nn.functional.pad(together, (0, 0, gap, 0, gap, 0), value=_BACKGROUND)


def png(picture: UInt8[Tensor, "rows columns 3"]) -> bytes:
    """Return a picture as the content of a PNG file."""
    file = io.BytesIO()
    _pillow().fromarray(picture.numpy()).save(file, "PNG")
    return file.getvalue()


def save_png(path: Path, picture: UInt8[Tensor, "rows columns 3"]) -> None:
    """Write a picture."""
    _pillow().fromarray(picture.numpy()).save(path)


def save_images(
    folder: Path, images: Float[Tensor, "count channels height width"], data_range: tuple[float, float], first: int
) -> None:
    """Write each image into a file of its own, as it is, named by its number: 000000.png, ...; `first` is the first."""
    pillow, channels = _pillow(), slice(0, 1 if images.shape[1] == 1 else 3)
    for number, pixels in enumerate(to_pixels(images, data_range)[..., channels].numpy(), first):
        image = io.BytesIO()
        pillow.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(image, "PNG")
        write_atomically(folder / f"{number:06d}.png", image.getvalue())


def save_mp4(path: Path, frames: Sequence[UInt8[Tensor, "rows columns 3"]]) -> None:
    """Write a film that pauses on its last frame.

    Raises:
        ModuleNotFoundError: imageio-ffmpeg is not installed.
    """
    # Seventy megabytes, which only those who want films have.
    imageio_ffmpeg: Any = import_module("imageio_ffmpeg")

    # Its colours are kept for two by two pixels.
    frames = [
        torch.nn.functional.pad(f, (0, 0, 0, f.shape[1] % 2, 0, f.shape[0] % 2), value=_BACKGROUND) for f in frames
    ]
    height, width, _ = frames[0].shape
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=1000 / _FRAME_MS, macro_block_size=1, pix_fmt_out="yuv420p"
    )
    writer.send(None)
    for frame in [*frames, *[frames[-1]] * (_LAST_FRAME_MS // _FRAME_MS)]:
        writer.send(frame.contiguous().numpy())
    writer.close()


def save_gif(path: Path, frames: Sequence[UInt8[Tensor, "rows columns 3"]]) -> None:
    """Write an animation that pauses on its last frame and starts over; few frames are shown longer each."""
    pillow = _pillow()
    images = [pillow.fromarray(frame.numpy()).convert("P", palette=pillow.Palette.ADAPTIVE) for frame in frames]
    shown = min(max(_FRAME_MS, _ANIMATION_MS // len(images)), _LONG_FRAME_MS)
    durations = [shown] * (len(images) - 1) + [_LAST_FRAME_MS]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


def save_loss_curve(path: Path, metrics: Sequence[Mapping[str, int | float]]) -> None:
    """Draw the training loss, and the held-out one where it was measured, over steps from lines of metrics.jsonl."""
    # Imported here: it takes a third of a second, and most programs draw no curve.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, label, color, marker in (
        ("loss", "training", "#1f6f8b", None),
        ("held_out_loss", "held-out images, moving average", "#c8553d", "o"),
    ):
        lines = [(line["step"], line[name]) for line in metrics if name in line]
        axes.plot(*zip(*lines, strict=True), color=color, marker=marker, markersize=3, linewidth=1.5, label=label)
    axes.set(xlabel="training step", ylabel="loss", yscale="log")
    axes.legend(frameon=False)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _pillow() -> Any:
    """Return Pillow's module, which the mathematics does without: pictures alone need it installed."""
    return import_module("PIL.Image")
