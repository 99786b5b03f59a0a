r"""Latent diffusion: a process of what an autoencoder makes of images, instead of the images (Rombach et al., 2022).

    z = (E(x) - shift) scale,    x = D(z / scale + shift),

with numbers that the autoencoder's configuration gives, so that latents vary about as much as white noise. A process of
latents is any process of their shape, `IsotropicDiffusion(autoencoder.shape_of((3, 512, 512)))` for example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import Shape, as_shape, check_count, check_floating
from ...core.precision import to_compute_dtype
from ...core.randomness import white_noise
from ..denoiser import check_units
from ..grey_levels import GreyLevels
from .saved_parts import Saved, diffusers_package

_FORM = "(channels, height, width)"
_UNITS = GreyLevels(256, -1.0, 1.0)


class LatentAutoencoder(nn.Module):
    """An `AutoencoderKL` of diffusers: images in [-1, 1] to latents that a process works on, and back.

    Args:
        model: the autoencoder; its configuration has scale and shift.
        batch_size: most images or latents that go through it at once, which bounds memory.

    Attributes:
        factor: how many pixels of the image a latent pixel stands for along each axis.

    Raises:
        TypeError: `model` is none.
        ValueError: batch_size < 1.
    """

    def __init__(self, model: nn.Module, *, batch_size: int = 8) -> None:
        super().__init__()
        if "AutoencoderKL" not in {each.__name__ for each in type(model).__mro__}:
            msg = f"model must be an AutoencoderKL of diffusers, got {type(model).__name__}"
            raise TypeError(msg)
        check_count("batch_size", batch_size, hint="images at once")
        self.model, self.batch_size = model, batch_size
        config = self._config
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        # One number, or one for each channel of the latents, in float32 whatever the model's precision.
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        shift = config.shift_factor if mean is None else mean
        self._shift = _column(0.0 if shift is None else shift)
        self._scale = _column(config.scaling_factor) / _column(1.0 if std is None else std)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        dtype: torch.dtype | None = None,
        batch_size: int = 8,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> LatentAutoencoder:
        """Return the autoencoder of a pipeline (its folder `vae`), or one saved alone; in evaluation mode.

        Arguments and errors are those of `load_diffusers`, and of this class.
        """
        kind = diffusers_package().AutoencoderKL
        saved = Saved(source, revision, local_files_only)
        config, folder = saved.find(kind, "config.json", ["vae"], "autoencoder")
        if (found := config.get("_class_name")) != "AutoencoderKL":
            if folder is None:
                # A network saved alone, which has none.
                msg = f"no autoencoder in {str(source)!r}: it has no folder vae, and the model itself is a {found}"
                raise FileNotFoundError(msg)
            msg = f"the autoencoder is a {found}, and AutoencoderKL is read"
            raise ValueError(msg)
        model = kind.from_pretrained(str(source), torch_dtype=dtype or torch.float32, **saved.arguments(folder))
        return cls(model, batch_size=batch_size).eval()

    @override
    def extra_repr(self) -> str:
        return f"factor={self.factor}, batch_size={self.batch_size}"

    @property
    def _config(self) -> Any:
        return cast("Any", self.model).config

    def shape_of(self, image_shape: Sequence[int]) -> Shape:
        """Return the shape of an image's latent, (channels, height, width), for that of the image.

        Raises:
            ValueError: the image has other channels, or sides that the factor does not divide.
        """
        shape, channels = as_shape(image_shape), self._config.in_channels
        if len(shape) != 3 or shape[0] != channels or any(side % self.factor for side in shape[1:]):
            msg = (
                f"images must have shape {_FORM} with {channels} channels and sides that are multiples of"
                f" {self.factor}, got {shape}: crop or resize them"
            )
            raise ValueError(msg)
        return (self._config.latent_channels, *(side // self.factor for side in shape[1:]))

    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch ..."]:
        """Return the mean latents of images, (batch, *shape_of(image)), in float32.

        Args:
            images: images in [-1, 1], (batch, channels, height, width).

        Raises:
            TypeError: they are not floating-point.
            ValueError: their shape is wrong, as in `shape_of`, or they are NaN or in other units.
        """
        mean, _ = self._moments(images)
        return self._scaled(mean)

    def encode_sample(
        self, images: Float[Tensor, "batch channels height width"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Return latents drawn from q(z | x), what latent models are trained on; else as `encode`.

        Args:
            images: images in [-1, 1], (batch, channels, height, width).
            generator: source of randomness; torch's default if None. One draw for the whole batch.
        """
        mean, stddev = self._moments(images)
        return self._scaled(torch.addcmul(mean, stddev, white_noise(mean.shape, like=mean, generator=generator)))

    def decode(self, latents: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch channels height width"]:
        """Return the images of latents, about in [-1, 1] and not clipped, (batch, channels, height, width), in float32.

        Raises:
            TypeError: latents are not floating-point.
            ValueError: their shape is not (batch, channels, height, width) with the autoencoder's channels.
        """
        check_floating("latents", latents)
        channels = self._config.latent_channels
        if latents.ndim != 4 or latents.shape[1] != channels:
            msg = f"latents must have shape (batch, {channels}, height, width), got {tuple(latents.shape)}"
            raise ValueError(msg)
        scale, shift = (part.to(latents.device) for part in (self._scale, self._shift))
        raw = to_compute_dtype(latents) / scale + shift
        (images,) = self._in_parts(raw, lambda part: (self._model.decode(part, return_dict=False)[0],))
        return images

    @property
    def _model(self) -> Any:
        return self.model

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of q(z | x) as the model has them."""
        check_floating("images", images, "images are in [-1, 1]: x.float() / 127.5 - 1 for 8-bit data")
        if images.ndim != 4:
            msg = f"images must have shape (batch, channels, height, width), got {tuple(images.shape)}"
            raise ValueError(msg)
        self.shape_of(images.shape[1:])
        check_units("images", images, _UNITS)

        def moments(part: Tensor) -> tuple[Tensor, Tensor]:
            q = self._model.encode(part, return_dict=False)[0]
            return q.mean, q.std

        mean, stddev = self._in_parts(images, moments)
        return mean, stddev

    def _scaled(self, raw: Tensor) -> Tensor:
        return (raw - self._shift.to(raw.device)) * self._scale.to(raw.device)

    def _in_parts(self, batch: Tensor, function: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return what a function makes of a batch in the model's precision, a few rows at a time, in float32."""
        dtype = next(self.model.parameters()).dtype
        found = [function(part.to(dtype)) for part in batch.split(self.batch_size)]
        return tuple(to_compute_dtype(torch.cat(parts)) for parts in zip(*found, strict=True))


def _column(numbers: float | Sequence[float]) -> Tensor:
    """Return one number for all, or one for each channel, to multiply a batch of latents with."""
    table = torch.as_tensor(numbers, dtype=torch.float32)
    return table.reshape(-1, 1, 1) if table.ndim else table
