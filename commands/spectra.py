"""Measure how much of images lies at each frequency, and when each frequency drowns in the noise of a process."""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ..core import Shape, resolve
from ..core.checks import check_count
from ..core.configuration import write
from ..core.files import check_free_file, write_atomically
from ..degradations import Basis, CosineBasis, DataSpectrum, LinearGaussianProcess, estimate_spectrum
from ..degradations.bases import PixelBasis
from ..evaluation import FittedPowerLaw, PowerSpectrum, octaves, power_spectrum
from ..evaluation.disentanglement import VarianceShares, draw_crossed, variance_shares
from ..evaluation.drowning import drowning
from ..evaluation.spectrum_figures import draw_drowning
from ..training import LoadedRun, load_run
from ..training.building import classes_in_order
from ..training.data import DataSet, ImageFolder
from ..training.data.examples import Examples, spread
from .parsing import Parser, part

_MAKES_PROCESS = Callable[[Shape], LinearGaussianProcess]
_FORMATS = (".png", ".pdf", ".svg")
_DPI = 100
_BLOCK = 256
_CROSS = "draw N initial states with N noises each: what does either decide?"
_EXAMPLES = """Of a run its samples are measured beside its data, and its process is drawn. Power is the mean square of
a coefficient of an orthonormal cosine transform: white noise of standard deviation s has the power s^2 everywhere.

examples:
  unmelt spectra photos/ --size 128 --process HeatDissipation --process IsotropicDiffusion
  unmelt spectra 'PhotoCrops(low=-1.0)' --process 'SpectralDiffusion(noise=EqualSNR(FittedSpectrum()))'
  unmelt spectra runs/NAME --samples 500 --cross 8"""


def run(arguments: Sequence[str]) -> None:
    """Print the spectra and write the figure."""
    options = _parser().parse_args(arguments)
    for name in ("images", "samples", "cross"):
        check_count(f"--{name}", getattr(options, name), 0 if name != "images" else 2)
    out: Path = options.out
    if out.suffix.lower() not in _FORMATS:
        msg = f"--out {out}: its name must end in the format, one of {', '.join(_FORMATS)}"
        raise ValueError(msg)
    check_free_file(out, force=options.force)
    made = [(text, part("--process", text, _MAKES_PROCESS)) for text in options.process]
    place = Path(options.images_of)
    loaded = load_run(place, trust_code=options.trust_code) if (place / "config.json").is_file() else None
    if loaded is not None:
        loaded.require_nothing_known("unmelt spectra")
    examples = _examples(options, loaded)
    if len(examples.shape) != 3:
        msg = f"spectra are those of images, (channels, height, width), got examples of shape {examples.shape}"
        raise ValueError(msg)
    chosen = spread(len(examples), options.images)
    batches = [chosen[start : start + _BLOCK] for start in range(0, len(chosen), _BLOCK)]

    def images() -> Iterable[Tensor]:
        for rows in tqdm(batches, desc="images", disable=not sys.stderr.isatty(), leave=False, delay=1):
            yield examples.fetch(rows).x

    spectra = {f"{len(chosen)} images": power_spectrum(images())}
    by_octave = power_spectrum(images(), bands=octaves)
    processes = {_name(text, options.process): _fitted(make, examples, images) for text, make in made}
    if loaded is not None:
        process = loaded.denoiser.process
        processes[_name(write(loaded.config.process), options.process)] = (
            process,
            estimate_spectrum(_basis_for(process), images()),
        )
    low, high = examples.range
    print(f"{len(chosen)} images of shape {examples.shape}, numbers from {low:g} to {high:g}")  # noqa: T201
    print(f"power law {_law(spectra[f'{len(chosen)} images'])}\n")  # noqa: T201
    drawn = None
    if loaded is not None and options.samples:
        samples = _samples(loaded, options)
        spectra[f"{options.samples} samples"] = power_spectrum(samples)
        drawn = power_spectrum(samples, bands=octaves)
    _print_octaves(by_octave, drawn, processes)
    if loaded is not None and options.cross:
        _print_shares(variance_shares(draw_crossed(loaded.sampler(), options.cross, options.cross, seed=options.seed)))
    picture = io.BytesIO()
    figure = draw_drowning(processes, spectra, title=f"{options.images_of}")
    figure.savefig(picture, format=out.suffix[1:].lower(), dpi=_DPI)
    write_atomically(out, picture.getvalue())
    print(f"\nwrote {out}")  # noqa: T201


def _parser() -> Parser:
    parser = Parser("spectra", __doc__ or "", _EXAMPLES)
    parser.add_argument("images_of", metavar="IMAGES", help="a folder of pictures, a data set, or a run, runs/NAME")
    parser.add_argument("--size", type=int, help="pixels that pictures of a folder are resized to; their own if none")
    parser.add_argument("--low", type=float, default=0.0, help="number that black is in pictures of a folder (0)")
    parser.add_argument("--images", type=int, default=2000, help="images that are looked at, spread evenly (2000)")
    parser.add_argument("--process", action="append", default=[], help="a process to draw; again for more of them")
    parser.add_argument("--samples", type=int, default=256, help="samples of a run to compare (256); 0: none")
    parser.add_argument("--cross", type=int, default=0, metavar="N", help=_CROSS)
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (0)")
    parser.add_argument("--data", help="where a run's data lie now; where they were if not given")
    parser.add_argument("--out", type=Path, default=Path("spectra.png"), help=f"{', '.join(_FORMATS)} (spectra.png)")
    parser.add_argument("--force", action="store_true", help="overwrite it")
    parser.add_argument("--trust-code", action="store_true", help="run code of yours that the run names classes of")
    return parser


def _examples(options: Namespace, loaded: LoadedRun | None) -> Examples:
    place = Path(options.images_of)
    if loaded is not None:
        return loaded.data(options.data).train
    if place.is_dir():
        found = ImageFolder(place, size=options.size, low=options.low).load()
        print(found.told)  # noqa: T201
        return found.train
    return part("IMAGES", options.images_of, DataSet).load().train


def _name(text: str, others: Sequence[str]) -> str:
    """Return what a process is called: its class, or all of it where others are of the same class."""
    name = text.partition("(")[0]
    return name if [other.partition("(")[0] for other in others].count(name) < 1 + (text in others) else text


def _fitted(
    make: _MAKES_PROCESS, examples: Examples, images: Callable[[], Iterable[Tensor]]
) -> tuple[LinearGaussianProcess, DataSpectrum]:
    """Return a process for the images, and their spectrum in its basis."""
    resolved, _ = resolve(make, examples.shape, images())
    process = resolved(examples.shape)
    return process, estimate_spectrum(_basis_for(process), images())


def _basis_for(process: LinearGaussianProcess) -> Basis:
    """Return the process's basis; cosines where all pixels are treated alike."""
    return CosineBasis(process.shape) if isinstance(process.basis, PixelBasis) else process.basis


def _samples(loaded: LoadedRun, options: Namespace) -> Tensor:
    count = options.samples
    drawn = loaded.sampler().sample(
        count,
        condition=classes_in_order(loaded.denoiser, count),
        generator=range(options.seed, options.seed + count),
        batch_size=_BLOCK,
        progress=sys.stderr.isatty(),
    )
    return drawn.clamp(*loaded.manifest.data_range)


def _law(spectrum: PowerSpectrum) -> str:
    law: FittedPowerLaw = spectrum.power_law()
    return f"{law.scale:.3g} f^-{law.exponent:.2f}, f in cycles per pixel"


def _print_octaves(
    images: PowerSpectrum,
    samples: PowerSpectrum | None,
    processes: dict[str, tuple[LinearGaussianProcess, DataSpectrum]],
) -> None:
    """Print a line for each octave: power, that of samples, and when it drowns."""
    all_of_them = {name: drowning(*both) for name, both in processes.items()}
    drowned = {name: found for name, found in all_of_them.items() if found.bands.label.startswith("frequency")}
    names = "".join(f"{f'drowns in {name}':>{len(name) + 12}}" for name in drowned)
    print(f"frequency{'power':>22}{'samples / images' if samples else '':>22}{names}".rstrip())  # noqa: T201
    ratio, error = (None, None) if samples is None else samples.ratio_to(images)
    for row, frequency in enumerate(images.frequency.tolist()):
        power = f"{images.power[row]:.4g} +- {images.error[row]:.1g}"
        compared = "" if ratio is None or error is None else f"{ratio[row]:.3g} +- {error[row]:.1g}"
        times = ""
        for name, found in drowned.items():
            nearest = (found.bands.positions - frequency).abs().argmin()
            times += f"{_time(found.drowned_at[nearest]):>{len(name) + 12}}"
        print(f"{frequency:9.4f}{power:>22}{compared:>22}{times}".rstrip())  # noqa: T201
    for name, found in all_of_them.items():
        if name not in drowned:
            pairs = zip(found.bands.positions.tolist(), found.drowned_at, strict=True)
            text = ", ".join(f"{position:g}: {_time(at)}" for position, at in pairs)
            print(f"drowns in {name}, by {found.bands.label}: {text}")  # noqa: T201


def _time(t: Tensor) -> str:
    return "never" if t.item() > 1 else f"t = {t.item():.3f}"


def _print_shares(shares: Sequence[VarianceShares]) -> None:
    """Print what the initial state and the noise decide."""
    # Variances are estimated without bias, and so may come out below 0 where there is hardly any.
    print(f"\nvariance of samples{'frequency':>12}{'state':>10}{'noise':>10}{'both':>10}{'variance':>12}")  # noqa: T201
    for share in shares:
        figures = f"{share.state:10.0%}{share.noise:10.0%}{share.both:10.0%}{share.variance:12.3g}"
        print(f"  {share.colours:17}{share.frequency:12.4f}{figures}")  # noqa: T201
    if any(min(share.state, share.noise, share.both) < 0 for share in shares):
        print("  a share below 0 is one of 0, by the error of its estimate: --cross takes more of both")  # noqa: T201
