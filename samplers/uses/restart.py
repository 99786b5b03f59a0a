r"""Runs that start from degraded images: deblurring, super-resolution, and what else a process undoes.

An image degraded as the process degrades it until t, y = A_t x + s n, is all but a latent of time t: what is missing
is noise, of variance sigma_t^2 - s^2 per coefficient. With it the sampler goes on from there, and every run gives
another image that y may have come from (Rissanen et al., 2023, use the same to begin from coarse images). The model is
not conditioned on y after that: detail below the noise is free, detail above it is kept as far as steps keep it.

Where a blur of sigma_B pixels stands in the process its own schedule tells. A small image whose pixels are means of
blocks of m pixels is a state of `Pixelation` as it is. A blur can be made of it as well: along each axis of N pixels
the mean of a block takes the cosine of frequency n < N / m down by

    h_n = sin(pi n m / 2N) / (m sin(pi n / 2N)),

and mixes it with that of frequency 2N / m - n, and so on. With what is mixed in neglected, division by h restores the
frequencies below N / m. Of those above nothing is known; a blur hides that if it takes the first of them, of eigenvalue
(pi / m)^2, down to a small share r: sigma_B = sqrt(2 log(1 / r)) m / pi.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_count, check_instance, check_number, check_signal
from ...core.precision import to_compute_dtype
from ...core.randomness import draw_seeds, white_noise
from ...core.root_finding import invert_distribution
from ...degradations import (
    CosineBasis,
    GaussianBlur,
    HaarBasis,
    LinearGaussianProcess,
    Pixelation,
)
from ...models.conditions import Condition, check_rows, select_rows
from ..sampler import Sampler

# Widths as they are typed, and as a schedule computes them, differ by rounding.
_SAME = 1e-9


class Start(NamedTuple):
    """Images degraded as a process degrades them, to go on from.

    Attributes:
        images: A_t x, with or without noise, (count, *shape).
        time: t, in (0, 1].
        noise_std: standard deviation of the white noise that they have already, in the data's units.
    """

    images: Float[Tensor, "count ..."]
    time: float
    noise_std: float = 0.0


def restart(
    sampler: Sampler,
    start: Start,
    *,
    count: int = 1,
    condition: Condition | None = None,
    given: Condition | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Float[Tensor, "images count ..."]:
    """Return reconstructions of degraded images, each from its own noise.

    Args:
        sampler: draws the reconstructions. If it is guided by an observation, then by another one: that which the start
            was made of would count twice.
        start: the degraded images, from `blurred_start`, `upsampled_start`, or `Start(process.degrade(x, t)[0], t)`.
        count: reconstructions of each image.
        condition: the network's condition, one row per image; None if it takes none.
        given: what the denoiser is given of each image, if it needs any.
        generator: source of randomness; torch's default if None. Results do not depend on `batch_size`.
        batch_size: most reconstructions at a time; all at once if None.

    Returns:
        Reconstructions in the data's range, not clipped, (images, count, *shape).

    Raises:
        TypeError: the images are not floating-point.
        ValueError: a shape is wrong, the time is not in (0, 1], count < 1, or the images have more noise than the
            process has at that time.
    """
    process = sampler.process
    check_instance("start", start, Start, "blurred_start(process, images, width=1.5) for example")
    check_signal("start.images", start.images, process.shape)
    check_number("start.time", start.time, "(0, 1]")
    check_count("count", count, hint="reconstructions of each image")
    check_rows("condition", condition, len(start.images))
    check_rows("given", given, len(start.images))
    missing = _missing_noise(process, start)
    images = to_compute_dtype(start.images).to(process.device).repeat_interleave(count, dim=0)
    noise = white_noise(images.shape, like=images, generator=generator)
    rows = torch.arange(len(start.images)).repeat_interleave(count)
    runs = sampler.sample(
        len(images),
        condition=select_rows(condition, rows),
        given=select_rows(given, rows),
        initial=process.basis.combine((images, torch.ones_like(missing)), (noise, missing)),
        start=start.time,
        generator=draw_seeds(len(images), generator),
        batch_size=batch_size,
    )
    return runs.unflatten(0, (len(start.images), count))


def time_of_blur(process: LinearGaussianProcess, width: float) -> float:
    """Return the time at which a process blurs by `width` pixels.

    Args:
        process: heat dissipation, blurring diffusion, or another `GaussianBlur`.
        width: standard deviation of the blur, in pixels.

    Raises:
        TypeError: the process is no `GaussianBlur`.
        ValueError: it never blurs that much, or width is not positive.
    """
    check_instance(
        "process", process, GaussianBlur, "HeatDissipation(shape) for example; of other processes make Start(images, t)"
    )
    blur = cast("GaussianBlur", process).blur
    last = blur.width(process.as_times(1.0)).item()
    if not 0 < width <= last * (1 + _SAME):
        msg = f"width must be a blur in (0, {last:.6g}] pixels, the process's strongest, got {width}"
        raise ValueError(msg)
    if width >= last * (1 - _SAME):
        return 1.0
    share = process.to_schedule_dtype(torch.tensor([width / last], dtype=torch.float64))
    return invert_distribution(lambda t: blur.width(t) / last, share).item()


def blurred_start(
    process: LinearGaussianProcess, images: Float[Tensor, "count ..."], *, width: float, noise_std: float = 0.0
) -> Start:
    """Return what to start from, to sharpen images that are blurred by a Gaussian with reflecting edges.

    Where the process also scales data, by a(t), so are the images.

    Args:
        process: heat dissipation, blurring diffusion, or another `GaussianBlur`.
        images: the blurred images, (count, *shape), in the data's range.
        width: standard deviation of their blur, in pixels.
        noise_std: standard deviation of the white noise they have, in the data's units.

    Raises:
        TypeError: the process is no `GaussianBlur`, or the images are not floating-point.
        ValueError: the process never blurs that much, or a shape is wrong.
    """
    t = time_of_blur(process, width)
    check_signal("images", images, process.shape)
    scale = cast("GaussianBlur", process).noise.log_alpha(process.as_times(t)).exp().item()
    return Start(scale * to_compute_dtype(images), t, scale * noise_std)


def upsampled_start(
    process: LinearGaussianProcess, small: Float[Tensor, "count channels ..."], *, left: float = 0.1
) -> Start:
    """Return what to start from, to enlarge small images whose pixels are means of blocks of the large ones'.

    For `Pixelation` that is the small image with its pixels enlarged. For a `GaussianBlur` in the cosine basis it is
    the large image that the small one's frequencies make, blurred until those that it lacks have all but faded.

    Args:
        process: the process of the large images.
        small: small images, (count, channels, ...), without noise, every axis smaller by one factor m >= 2.
        left: share r that the blur may leave of the first frequency that a small image lacks, in (0, 1). The blur
            follows from it; detail worth keeping wants it weak (r large), what is unknown beyond wants to be hidden.

    Raises:
        TypeError: the process is of another kind, or the images are not floating-point.
        ValueError: the sizes do not fit, m is not one of the scales of `Pixelation`, or the process does not blur
            enough.
    """
    check_instance("process", process, (Pixelation, GaussianBlur), "HeatDissipation(shape) for example")
    factor = _factor(process, small)
    small = to_compute_dtype(small)
    if isinstance(process, Pixelation):
        return _pixels_enlarged(process, small, factor)
    return _frequencies_enlarged(cast("GaussianBlur", process), small, factor, left)


def _missing_noise(process: LinearGaussianProcess, start: Start) -> Tensor:
    """Return the standard deviation per coefficient of the noise that a latent has and the images have not."""
    sigma = process.sigma(start.time)
    if not 0 <= start.noise_std <= sigma.min().item() * (1 + _SAME):
        msg = (
            f"the images' noise_std must lie in [0, {sigma.min().item():.4g}], the process's noise at"
            f" t = {start.time:.6g}, got {start.noise_std}: start at a later time, where there is more, or remove some"
        )
        raise ValueError(msg)
    return ((sigma - start.noise_std) * (sigma + start.noise_std)).clamp(min=0.0).sqrt()


def _factor(process: LinearGaussianProcess, small: Tensor) -> int:
    """Return by how much the images are smaller than the process's."""
    check_instance("small", small, Tensor, "torch.as_tensor(...) makes one")
    channels, *sizes = process.shape
    factor = sizes[-1] // max(1, small.shape[-1])
    if factor < 2 or tuple(small.shape[1:]) != (channels, *(size / factor for size in sizes)):
        msg = (
            f"small must have shape (count, {channels}, ...) with the axes {tuple(sizes)} of the process divided by one"
            f" whole number, 2 at least, got {tuple(small.shape)}"
        )
        raise ValueError(msg)
    check_signal("small", small, (channels, *(size // factor for size in sizes)))
    return factor


def _pixels_enlarged(process: Pixelation, small: Tensor, factor: int) -> Start:
    scales = cast("HaarBasis", process.basis).scales
    scale = factor.bit_length() - 1
    if factor != 2**scale or scale > scales:
        allowed = [2**j for j in range(1, scales + 1)]
        msg = f"the process melts blocks of {allowed} pixels along each axis, not of {factor}"
        raise ValueError(msg)
    t = scale / scales
    for axis in range(2, small.ndim):
        small = small.repeat_interleave(factor, dim=axis)
    return Start(process.noise.log_alpha(process.as_times(t)).exp().item() * small, t)


def _frequencies_enlarged(process: GaussianBlur, small: Tensor, factor: int, left: float) -> Start:
    if not isinstance(process.basis, CosineBasis) or not min(process.anisotropy) > 0:
        msg = (
            f"small images are enlarged by cosines that are blurred along all axes, but the process is {process}:"
            " take a GaussianBlur with CosineBasis and widths above 0, or make Start(images, t) yourself"
        )
        raise ValueError(msg)
    check_number("left", left, "(0, 1)", "a share such as 0.1")
    width = math.sqrt(2 * math.log(1 / left)) * factor / (math.pi * min(process.anisotropy))
    t = time_of_blur(process, width)
    spectrum = CosineBasis(small.shape[1:]).forward(small)
    for axis, size in enumerate(process.shape[1:], start=2):
        angle = torch.arange(small.shape[axis], dtype=torch.float64) * (math.pi / (2 * size))
        # sin(m y) / (m sin(y)), 1 at y = 0; an orthonormal coefficient of the large image is sqrt(m) times as large.
        mean = torch.sinc(factor * angle / math.pi) / torch.sinc(angle / math.pi)
        column = (math.sqrt(factor) / mean).reshape(-1, *(1,) * (small.ndim - 1 - axis))
        spectrum = spectrum * column.to(spectrum)
    large = spectrum.new_zeros(len(small), *process.shape)
    large[(..., *(slice(size) for size in small.shape[2:]))] = spectrum
    image = process.basis.inverse(large.to(process.device))
    return Start(process.degrade(image, t)[0], t)
