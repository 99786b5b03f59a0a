"""Draw images that a degraded one may have come from, given a trained run: samples, their mean and how they differ."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .parsing import Parser, part

if TYPE_CHECKING:
    from torch import Tensor

    from ..samplers.guidance import Observation, Restoration
    from ..training import LoadedRun

_EXAMPLES = """IMAGE may be of any kind and size: its central part of the run's shape is cut out and resized.

examples:
  unmelt restore runs/faces torn.png --mask holes.png --out restored
  unmelt restore runs/faces small.png --shrink 4 --count 16 --noise 0.01
  unmelt restore runs/faces photo.jpg --blur 2 --degrade     try it on an image that is whole"""
_METHODS = {"covariance": "CovarianceGuidance", "pseudo-inverse": "PseudoInverseGuidance"}
_NOISE = 0.02
# Samples at a time, and how far from the data's range one may come, in widths of it.
_AT_ONCE, _FARTHEST = 64, 10.0
# Samples fit badly from so many times the noise on, though never below a level of eight bits.
_BAD_FIT, _LEVEL = 3.0, 1 / 255


def run(arguments: Sequence[str]) -> None:
    """Restore the image that the command line names."""
    options = _parser().parse_args(arguments)
    # Imported here, as they take seconds: the command line is known to be right, and --help has been told.
    import torch  # noqa: PLC0415

    from ..core.files import check_free, whole_folder  # noqa: PLC0415
    from ..samplers import Stepper, guidance  # noqa: PLC0415
    from ..training import load_run  # noqa: PLC0415
    from ..training.restoration_files import files_of_restoration, write_restoration  # noqa: PLC0415

    stepper = None if options.stepper is None else part("--stepper", options.stepper, Stepper)
    out = options.out or Path(f"{options.image.stem}_restored")
    check_free(out, force=options.force)
    earlier = files_of_restoration(out, options.count)
    loaded = load_run(options.run, trust_code=options.trust_code)
    _check_run(loaded, options)
    observation, image = _degraded(loaded, options)
    noise = observation.noise_std / (loaded.manifest.data_range[1] - loaded.manifest.data_range[0])
    generator = torch.Generator().manual_seed(options.seed)
    y = observation.observe(image[None], generator=generator)[0] if options.degrade else image
    try:
        found = loaded.restore(
            y,
            None if loaded.known else observation,
            options.count,
            guidance=getattr(guidance, _METHODS[options.guidance]),
            stepper=stepper,
            steps=options.steps,
            condition=options.condition,
            generator=generator,
            batch_size=_AT_ONCE,
            progress=sys.stderr.isatty(),
        )
    except RuntimeError as error:
        raise ValueError(error) from error
    original = image if options.degrade else None
    _tell(loaded, options, found, original, noise=options.noise if not loaded.known else noise)
    with whole_folder(out, replaced=earlier) as folder:
        write_restoration(folder, found, loaded.manifest.data_range, original=original)
        names = ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith("sample_")))
    print(f"wrote {out}: {names} and {options.count} sample{'s' * (options.count > 1)}")  # noqa: T201


def _parser() -> Parser:
    parser = Parser("restore", __doc__ or "", _EXAMPLES)
    parser.add_run()
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the degraded image (or a whole one, see --degrade)")
    # Of a run that was trained to start from observations, none.
    kinds = parser.add_argument_group("what was done to the image, one of these").add_mutually_exclusive_group()
    kinds.add_argument("--mask", type=Path, help="parts are missing: a picture, white where IMAGE is known")
    kinds.add_argument("--blur", type=float, metavar="WIDTH", help="a Gaussian blur of so many of the run's pixels")
    kinds.add_argument("--shrink", type=int, metavar="N", help="IMAGE is N times smaller than the run's: block means")
    given = parser.add_argument_group("how exact it is")
    noise = "standard deviation of IMAGE's noise, black to white being 1 (0.02)"
    given.add_argument("--noise", type=float, default=_NOISE, metavar="STD", help=noise)
    given.add_argument("--degrade", action="store_true", help="IMAGE is whole: degrade it first, and tell the errors")
    drawn = parser.add_argument_group("how samples are drawn")
    drawn.add_argument("--count", type=_positive, default=8, help="number of samples (8)")
    drawn.add_argument("--condition", type=int, metavar="CLASS", help="class of the image, of a run with classes")
    drawn.add_argument("--seed", type=int, default=0, help="seed of all random numbers (0)")
    drawn.add_argument("--steps", type=_positive, help="steps on a uniform grid (the run's own)")
    drawn.add_argument("--stepper", help="how steps are taken, such as Multistep (the run's own)")
    method = "covariance (the default), or pseudo-inverse: for networks that predict x or v, in many steps of Posterior"
    drawn.add_argument("--guidance", choices=[*_METHODS], default="covariance", metavar="METHOD", help=method)
    written = parser.add_argument_group("what is written")
    written.add_argument("--out", type=Path, metavar="FOLDER", help="folder of pictures and numbers (IMAGE_restored)")
    written.add_argument("--force", action="store_true", help="replace those of an earlier restoration in it")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        msg = f"must be a number from 1, got {text}"
        raise ArgumentTypeError(msg)
    return int(text)


def _check_run(loaded: LoadedRun, options: Namespace) -> None:
    """Refuse what a run cannot be asked for."""
    shape, classes = loaded.manifest.shape, loaded.denoiser.classes
    if len(shape) != 3 or shape[0] not in {1, 3}:
        msg = f"{options.run} is of data of shape {shape}, not of grey or colour images: load_run(...).restore takes it"
        raise ValueError(msg)
    named = [name for name in ("mask", "blur", "shrink") if getattr(options, name) is not None]
    if loaded.known and (named or options.guidance != "covariance" or options.noise != _NOISE):
        flag = f"--{named[0]}" if named else "--noise" if options.noise != _NOISE else "--guidance"
        msg = f"{flag}: {options.run} was trained on {_given(loaded)}, and restores nothing else: leave it out"
        raise ValueError(msg)
    if not loaded.known and not named:
        msg = "say what was done to the image: --mask FILE, --blur WIDTH or --shrink N"
        raise ValueError(msg)
    if options.condition is not None and not 0 <= options.condition < (classes or 0):
        known = f"knows classes 0 to {classes - 1}" if classes else "knows no classes: leave it out"
        msg = f"--condition {options.condition}: {options.run} {known}"
        raise ValueError(msg)
    if options.condition is None and classes and loaded.config.training.label_dropout == 0:
        msg = f"{options.run} has never been without a class: give --condition, 0 to {classes - 1}"
        raise ValueError(msg)
    # Read first, since without it nothing can be done.
    _ = loaded.spectrum


def _given(loaded: LoadedRun) -> str:
    from ..core.configuration import write  # noqa: PLC0415

    return write(loaded.config.given)


def _degraded(loaded: LoadedRun, options: Namespace) -> tuple[Observation, Tensor]:
    """Return how the image was observed, and the image, at the run's size; say what was done to it."""
    from ..training.data.single_picture import read_picture  # noqa: PLC0415

    observation = _observation(loaded, options)
    channels, height, width = loaded.manifest.shape
    small = 1 if options.shrink is None or options.degrade else options.shrink
    if loaded.known and not options.degrade:
        small = _times_smaller(loaded, options.image)
    image, told = read_picture(options.image, (channels, height // small, width // small), loaded.manifest.data_range)
    if told:
        print(f"{options.image}: {', '.join(told)}")  # noqa: T201
    if options.mask and not options.degrade and any("resized" in words for words in told):
        print("  so pixels beside a hole mix with what IMAGE holds in it; a larger hole in the mask leaves them out")  # noqa: T201
    # Means of blocks of a power of two are shown at full size.
    return observation, image if image.shape == observation.observed_shape else _enlarged(image, small)


def _times_smaller(loaded: LoadedRun, path: Path) -> int:
    """Return how often a picture is to be repeated for a run that was trained on means of blocks; 1 for others.

    Raises:
        ValueError: it is one of a size that the run has never seen.
    """
    from ..training.data.single_picture import size_of_picture  # noqa: PLC0415

    observation = loaded.known.observation
    assert observation is not None
    height, width = loaded.manifest.shape[1:]
    size = size_of_picture(path)
    if size == (height, width):
        return 1
    # Multiples of a block are kept, too: the smallest is the block.
    blocks = (n for n in range(2, min(height, width) + 1) if height % n == width % n == 0 and _keeps(observation, n))
    block = next(blocks, 1)
    small = height // block, width // block
    if block > 1 and size != small:
        msg = (
            f"{path} is of {size[0]} x {size[1]} pixels, and this run enlarges {small[0]} x {small[1]} to"
            f" {height} x {width}: give it at one of these sizes, or --degrade a whole image"
        )
        raise ValueError(msg)
    return block


def _keeps(observation: Observation, times: int) -> bool:
    """Tell whether an observation leaves images of constant blocks as they are, and others not: whether it is means."""
    import torch  # noqa: PLC0415

    channels, height, width = observation.shape
    generator = torch.Generator().manual_seed(0)
    blocks = _enlarged(torch.rand(channels, height // times, width // times, generator=generator), times)[None]
    pixels = torch.rand(blocks.shape, generator=generator)
    return torch.allclose(observation(blocks), blocks, atol=1e-5) and not torch.allclose(observation(pixels), pixels)


def _enlarged(image: Tensor, times: int) -> Tensor:
    """Return an image with each pixel repeated so many times along height and width."""
    return image.repeat_interleave(times, 1).repeat_interleave(times, 2)


def _observation(loaded: LoadedRun, options: Namespace) -> Observation:
    if loaded.known.observation is not None:
        return loaded.known.observation
    from ..core.checks import check_number  # noqa: PLC0415
    from ..samplers.guidance import LinearObservation, OperatorObservation  # noqa: PLC0415
    from ..training.data.single_picture import read_mask  # noqa: PLC0415

    check_number("--noise", options.noise, "[0, inf)", "black to white being 1")
    (channels, height, width), (low, high) = loaded.manifest.shape, loaded.manifest.data_range
    shape = channels, height, width
    noise_std = options.noise * (high - low)
    if options.mask:
        visible = read_mask(options.mask, (height, width), options.image)
        return LinearObservation.mask(shape, visible, noise_std=noise_std)
    try:
        if options.blur is not None:
            return LinearObservation.blur(shape, options.blur, noise_std=noise_std)
        if options.shrink.bit_count() != 1:
            return OperatorObservation.block_means(shape, options.shrink, noise_std=noise_std)
        # A coefficient of a block of N x N pixels is N times its mean.
        return LinearObservation.block_means(shape, options.shrink, noise_std=options.shrink * noise_std)
    except ValueError as error:
        kind = "--shrink" if options.blur is None else "--blur"
        msg = f"{kind}: {error}"
        raise ValueError(msg) from error


def _tell(loaded: LoadedRun, options: Namespace, found: Restoration, original: Tensor | None, *, noise: float) -> None:
    """Say how well samples fit what was observed, and how far they are from the original, if it is known.

    Raises:
        FloatingPointError: they are no images at all.
    """
    low, high = loaded.manifest.data_range
    wide, samples = high - low, found.samples
    farthest = max((low - samples.min()).item(), (samples.max() - high).item()) / wide
    if farthest > _FARTHEST:
        msg = (
            f"samples left the range from black to white by {farthest:.3g} times its width, guidance ran away: take"
            f" {'' if options.guidance == 'covariance' else '--guidance covariance, '}a larger --noise or more --steps"
        )
        raise FloatingPointError(msg)
    # A coefficient of a block of N x N pixels that is shown at full size is N times its mean.
    full_size = found.observed.shape == samples.shape[1:]
    fit = found.misfit / wide / ((options.shrink or 1) if full_size else 1)
    print(f"samples fit the observation to {fit:.3g} (its noise is {noise:.3g})")  # noqa: T201
    if fit > max(_BAD_FIT * noise, _LEVEL):
        print("  much worse than its noise: IMAGE was degraded otherwise, or is unlike the run's images")  # noqa: T201
    if original is None:
        return
    spectrum, errors = loaded.spectrum, found.errors(original)
    # What is not known counts as what it is on average.
    average = spectrum.basis.inverse(spectrum.mean[None]).to(original)
    known = found.observation.filled(found.observed[None], average)[0]
    away = ((known if full_size else _enlarged(known, options.shrink)) - original).square().mean().sqrt().item()
    kinds = {"observed": away, "a sample": errors.sample, f"mean of {len(samples)}": errors.mean}
    words = ", ".join(f"{name} {error / wide:.3g}" for name, error in kinds.items())
    print(f"root mean square error, black to white being 1: {words}")  # noqa: T201
