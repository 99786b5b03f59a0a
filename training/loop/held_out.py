"""The loss on held-out images at fixed times and noise: one checkpoint, or run, can be compared with another by it.

A training loss goes up and down with the images, times and noise of its batches. Here all three stay what they are, so
that only the network differs, and it has not been trained on the images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...core.checks import check_count
from ...core.evaluation_mode import evaluating
from ...degradations.bases import LaplacianBasis
from ...losses import DenoisingLoss
from ...models import Denoiser
from ...samplers.noise import SeedNoise
from ..data import Examples
from ..data.examples import spread
from ..known import Known

# Images at most, and latents at least: with fewer, no quarter of the time axis would say much.
_IMAGES, _LATENTS = 256, 32
_BANDS = 4
_GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


class HeldOut:
    """The loss of a denoiser, a run's moving average say, on latents of held-out images that are always the same.

    At most 256 images are taken, spread evenly over the held-out examples, read once and kept as they are stored. Each
    gives one latent; fewer than 32 images give several each, 32 in all, and no image at all gives no numbers. The
    latents' times are the middles of equal parts of the loss's distribution of times, in an order that spreads them
    over the images, and over the latents of one image. Noise is drawn on the CPU, from a seed for each latent: devices
    and batch sizes change rounding, and nothing else.

    Images are never mirrored and labels never hidden. A learned scale of the loss (`log_variance`) is left out: runs
    with and without one can be compared.

    Args:
        examples: the held-out examples.
        loss: the training loss of the denoiser that is measured; its times, weighting and reduction count.
        known: what is known of each example; nothing if None.
        batch_size: latents at a time.

    Raises:
        UnreadableError: more of the images are unreadable than may be; others stand in for those that are.
        ValueError: the examples have another shape than the denoiser's latents, its network is told classes that they
            do not have, or batch_size < 1.
    """

    def __init__(self, examples: Examples, loss: DenoisingLoss, *, batch_size: int, known: Known | None = None) -> None:
        check_count("batch_size", batch_size)
        self._examples, self._loss, self._known, self._batch_size = examples, loss, known, batch_size
        basis = loss.denoiser.process.basis
        self._octave = basis.octaves() if isinstance(basis, LaplacianBasis) else None
        chosen = spread(len(examples), _IMAGES)
        self._latents = max(len(chosen), _LATENTS) if chosen else 0
        if not chosen:
            return
        _check_examples(examples, loss)
        fetched = examples.fetch_stored(chosen)
        examples.check_readable(fetched.unreadable)
        self._stored, self._labels = fetched.x, None if _classes(loss) is None else fetched.labels
        number = torch.arange(self._latents)
        self._image = number * len(chosen) // self._latents
        # Multiples of the golden ratio, modulo 1, are spread evenly from any one of them on; so are their ranks.
        rank = (number.double() * _GOLDEN_RATIO).frac().argsort().argsort()
        self._times = loss.times.quantile((rank.double() + 0.5) / self._latents)
        # 1 unless the distribution of times is one that prefers some of them only to lower the variance.
        self._corrections = loss.times.correction(self._times).double()

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the loss now, and parts of it; nothing is changed, the state of random numbers included.

        Returns:
            held_out_loss: mean over the latents, in the training loss's units.
            held_out_loss_per_dim: the same per coefficient, whether the loss adds coefficients up or averages them.
            held_out_loss_t_0.00_0.25, ...: mean over latents at times in (0, 0.25], ...; left out where there are none.
            held_out_loss_octave_0, ...: the part of each octave of `LaplacianBasis.octaves`, 0 being the constant; they
            add up to the loss. None in a basis without frequencies.

        Raises:
            ValueError: the weight of an error is not finite at one of the times (where values are readable).
        """
        if not self._latents:
            return {}
        process = self._loss.denoiser.process
        devices = [process.device] if process.device.type == "cuda" else []
        with torch.random.fork_rng(devices), evaluating(self._loss):
            parts = [self._sums(numbers) for numbers in torch.arange(self._latents).split(self._batch_size)]
        coefficients = math.prod(process.shape)
        weight = self._loss.reduction.weight(coefficients)
        losses, *octaves = weight * self._corrections * torch.cat(parts, dim=1)
        found = {"held_out_loss": losses.mean(), "held_out_loss_per_dim": losses.mean() / (weight * coefficients)}
        band = (self._times * _BANDS).ceil()
        for last in range(1, _BANDS + 1):
            if bool((band == last).any()):
                name = f"held_out_loss_t_{(last - 1) / _BANDS:.2f}_{last / _BANDS:.2f}"
                found[name] = losses[band == last].mean()
        for octave, values in zip(self._octaves(), octaves, strict=True):
            found[f"held_out_loss_octave_{octave}"] = values.mean()
        return {name: value.item() for name, value in found.items()}

    def _sums(self, numbers: Tensor) -> Tensor:
        """Return each latent's sum of squared weighted errors, and those of the octaves, (1 + octaves, latents)."""
        process, image = self._loss.denoiser.process, self._image[numbers]
        x = self._examples.scaled(self._stored[image].to(process.device))
        labels = None if self._labels is None else self._labels[image].to(process.device)
        draw = SeedNoise.of_seeds(numbers.tolist()).stream(slice(None))
        noise = draw(x)
        condition, given = labels, None
        if self._known:
            condition, given = self._known.seen(labels, self._known.observe(x, noise=draw(x)))
        error = self._loss.weighted_error(x, process.at(self._times[numbers]), noise, condition, given)
        sums = [error.square().flatten(1).sum(1)]
        if self._octave is not None:
            squares, octave = process.basis(error).square(), self._octave.to(process.device)
            sums += [squares[..., octave == j].flatten(1).sum(1) for j in self._octaves()]
        return torch.stack(sums).cpu().double()

    def _octaves(self) -> list[int]:
        return [] if self._octave is None else self._octave.unique().tolist()


def _classes(loss: DenoisingLoss) -> int | None:
    # Of a process with a known end the denoiser is inside another.
    denoiser = getattr(loss.denoiser, "denoiser", loss.denoiser)
    return denoiser.classes if isinstance(denoiser, Denoiser) else None


def _check_examples(examples: Examples, loss: DenoisingLoss) -> None:
    shape, classes, known = loss.denoiser.process.shape, _classes(loss), examples.classes
    if tuple(examples.shape) != tuple(shape):
        msg = f"held-out examples must have the process's shape, {tuple(shape)}, got {tuple(examples.shape)}"
        raise ValueError(msg)
    if classes is not None and (known is None or known > classes):
        has = "no labels" if known is None else f"labels up to {known - 1}"
        msg = (
            f"the network is made for {classes} classes, 0 to {classes - 1}, and the held-out examples have {has}: make"
            " it with as many classes as there are, or without, or give labels"
        )
        raise ValueError(msg)
