"""Measure a run, or a folder of samples: bits per dimension, distances from real images, copies."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.checks import check_count
from ..core.files import check_writable
from ..evaluation import EfficientNetFeatures, FeatureNetwork, InceptionFeatures, Metric
from ..evaluation.bound_report import LikelihoodReport
from ..evaluation.look_batches import LEAST, Share
from ..evaluation.run_bounds import MODEL_S_OWN, evaluate_run
from ..evaluation.run_facts import compared_in_words, in_words
from ..evaluation.run_memorisation import RECORD as COPIES
from ..evaluation.run_memorisation import evaluate_memorisation, memorisation_of_images
from ..evaluation.run_samples import LOOKS, evaluate_images, evaluate_samples
from ..training import load_run
from ..training.data import DataSet, ImageFolder, Splits
from ..training.data.image_folder import all_pictures
from ..training.folder.run_folder import RunFolder
from .parsing import Parser, device, part

_WIDTH = 22
# Of runs alone, and what they are if not given.
_OF_RUNS = {"images": None, "fit_images": 1000, "steps": None, "samples": 256}
# Beside pictures; `unmelt sample` writes a samples.json there.
_RECORD = "evaluation.json"
_NETWORKS = {"efficientnet": EfficientNetFeatures, "inception": InceptionFeatures}
_EXAMPLES = """All is written into the run's folder, or beside the pictures into evaluation.json, too. There
is a bound for each standard deviation of the reverse steps; the one that is marked is the model's: its
steps are as wide as training images show that they should be. Samples are compared with as many training
images: power by octave of frequency, energy distance, classes where they are known, and with --features
Frechet distance, kernel distance, precision and recall, beside those of real images from others. What was
looked at is kept in looked_at/: more samples later cost only what is new, and a stopped evaluation goes on.

examples:
  unmelt evaluate runs/NAME
  unmelt evaluate runs/NAME --images 100 --fit-images 200        a first look
  unmelt evaluate runs/NAME --images 0 --samples 5000 --features efficientnet
  torchrun --nproc-per-node 8 -m unmelt evaluate runs/NAME --images 0 --samples 50000 --features inception
  unmelt evaluate samples/ --against runs/NAME                   pictures that something else has made
  unmelt evaluate samples/ --against photos/"""


def run(arguments: Sequence[str]) -> None:
    """Evaluate what the command line names."""
    options = _parser().parse_args(arguments)
    if options.against is not None:
        _check_of_pictures(options)
    for name, usual in _OF_RUNS.items():
        if getattr(options, name) is None:
            setattr(options, name, usual)
    for name in ("images", "fit_images", "steps", "samples", "batch_size"):
        if (number := getattr(options, name)) is not None:
            check_count(f"--{name.replace('_', '-')}", number, int(name not in {"samples", "images"}))
    if options.against is None and options.images == options.samples == 0:
        msg = "--images 0 and --samples 0 leave nothing to evaluate: leave one of them out"
        raise ValueError(msg)
    if options.features:
        check_count("--samples", options.samples, LEAST, "for --features")
    options.metrics = [part("--metric", text, Metric) for text in options.metric]
    share, place = _share(options.share), device(options.device)
    # An hour of bounds is not computed for a network that is not there.
    network = _NETWORKS[options.features]().to(place) if options.features else None
    if options.against is None:
        _evaluate_run(options, network, share)
    else:
        _evaluate_folder(options, network, share)


def _parser() -> Parser:
    parser = Parser("evaluate", __doc__ or "", _EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="folder of the run, runs/NAME, or of pictures, with --against")
    parser.add_argument("--trust-code", action="store_true", help="run code of yours that the run names classes of")
    parser.add_argument(
        "--images", type=int, help="held-out images to take for bounds; all of them if not given, 0: no bounds"
    )
    parser.add_argument("--fit-images", type=int, help="training images that widths are fitted on (1000)")
    parser.add_argument("--steps", type=int, help="steps, where the process has no levels; the sampler's (or 200)")
    parser.add_argument("--samples", type=int, help="samples to compare with training images (256); 0: none")
    parser.add_argument(
        "--features",
        choices=[*_NETWORKS],
        metavar="NETWORK",
        help="compare them in the features of a network: efficientnet, or inception for FID",
    )
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        help="a metric of yours to compare them by, my_metric.py:Brightness; may be given several times",
    )
    parser.add_argument("--against", help="a run, a folder of pictures or a data set that pictures are compared with")
    parser.add_argument("--batch-size", type=int, default=256, help="images at a time (256)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (0)")
    parser.add_argument("--share", help="look at one part of the samples, 0/4 to 3/4; torchrun says so by itself")
    parser.add_argument("--device", default="cpu", help="where samples are drawn and features made (cpu)")
    parser.add_argument("--data", type=Path, help="folder or file where the data lie now; where they were if not given")
    return parser


def _check_of_pictures(options: Namespace) -> None:
    """Check that nothing is asked of a folder of pictures that only a run can do."""
    if (Path(options.run) / "config.json").is_file():
        msg = f"{options.run} is a run, and --against compares a folder of pictures: leave --against out"
        raise ValueError(msg)
    for name in _OF_RUNS:
        if (number := getattr(options, name)) is not None:
            msg = (
                f"--{name.replace('_', '-')} {number} is for a run, and --against compares all pictures of a folder as"
                " they are: leave it out"
            )
            raise ValueError(msg)
    if options.data is not None and not (Path(options.against) / "config.json").is_file():
        msg = (
            f"--data {options.data} says where the data of a run lie, and --against {options.against} is no run: leave"
            " it out"
        )
        raise ValueError(msg)


def _evaluate_run(options: Namespace, network: FeatureNetwork | None, share: Share) -> None:
    if Path(options.run).is_dir() and not (Path(options.run) / "config.json").is_file():
        msg = (
            f"{options.run} holds no run (no config.json): give the folder of one, or name what its pictures are"
            " compared with, --against runs/NAME"
        )
        raise FileNotFoundError(msg)
    common: dict[str, Any] = {
        "batch_size": options.batch_size,
        "seed": options.seed,
        "place": options.data,
        "trust_code": options.trust_code,
    }
    written, shown = list[str](), sys.stderr.isatty() and share.index == 0
    folder = RunFolder(Path(options.run))
    folder.load_config(trust_code=options.trust_code)
    if share.index == 0 and options.images != 0:
        if folder.load_manifest().grey_levels is None:
            print("no bits per dimension, which are those of data with levels: these have none")  # noqa: T201
        else:
            evaluate_run(
                options.run,
                images=options.images,
                fit_images=options.fit_images,
                steps=options.steps,
                progress=shown,
                report=_Table().add,
                **common,
            )
            end = "" if options.images is None else f"_{options.images}"
            written += [f"likelihood{end}.json", f"fitted_bounds{end}.safetensors"]
    if options.samples >= LEAST:
        report = evaluate_samples(
            options.run,
            network,
            samples=options.samples,
            share=share,
            metrics=options.metrics,
            progress=shown,
            device=options.device,
            **common,
        )
        if report is None:
            print("this share is done; the report is written when the others are")  # noqa: T201
        else:
            facts = json.loads((Path(options.run) / "samples.json").read_text())
            print(f"\n{report}\n{in_words(facts)}\n{compared_in_words(facts)}")  # noqa: T201
            written.append("samples.json")
    elif options.samples:
        print(f"no comparison with training images, which takes {LEAST} samples or more: --samples is", options.samples)  # noqa: T201
    if options.samples and share.index == 0:
        counted = "1 sample" if options.samples == 1 else f"{options.samples} samples"
        print(f"\nmemorisation, {counted}: ", end="", flush=True)  # noqa: T201
        print(evaluate_memorisation(options.run, samples=options.samples, progress=shown, **common))  # noqa: T201
        written.append(COPIES)
        if options.samples < LEAST:
            print(in_words(json.loads((Path(options.run) / COPIES).read_text())))  # noqa: T201
    if written:
        print(f"\nwrote {', '.join(str(Path(options.run) / name) for name in written)}")  # noqa: T201


def _evaluate_folder(options: Namespace, network: FeatureNetwork | None, share: Share) -> None:
    """Compare the pictures in a folder with real ones; looks are kept with a run, or else only until it is done."""
    (images, told), record = all_pictures(Path(options.run)), Path(options.run) / _RECORD
    check_writable(record)
    data, run = _real(options, images.shape)
    print(f"{told}\nagainst {data.told}\n")  # noqa: T201
    if run is None and share.count > 1:
        msg = f"{share.count} processes share what a run's folder keeps: name a run with --against, or use one process"
        raise ValueError(msg)
    with tempfile.TemporaryDirectory() as temporary:
        report = evaluate_images(
            images,
            data,
            network,
            keep=Path(temporary) if run is None else run / LOOKS,
            record=record,
            batch_size=options.batch_size,
            seed=options.seed,
            share=share,
            metrics=options.metrics,
            progress=sys.stderr.isatty(),
        )
    if report is None:
        print("this share is done; the report is written when the others are")  # noqa: T201
    else:
        print(f"{report}\n{compared_in_words(json.loads(record.read_text()))}")  # noqa: T201
        copies = record.with_name(COPIES)
        print(f"\nmemorisation: {memorisation_of_images(images, data, record=copies)}")  # noqa: T201
        print(f"\nwrote {record}, {copies}")  # noqa: T201


def _real(options: Namespace, shape: Sequence[int]) -> tuple[Splits, Path | None]:
    """Return the real images, and the run that they are those of."""
    place = Path(options.against)
    if (place / "config.json").is_file():
        return load_run(place, trust_code=options.trust_code).data(options.data), place
    if place.is_dir():
        return ImageFolder(place, size=(shape[1], shape[2]), channels=shape[0]).load(), None
    return part("--against", options.against, DataSet).load(), None


def _share(text: str | None) -> Share:
    """Return the share that a text such as 0/4 names, or that torchrun gives this process."""
    if text is None:
        return Share(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        msg = f"--share {text}: give the number of this process, from 0, and how many there are, as in 0/4 to 3/4"
        raise ValueError(msg)
    return Share(int(index), int(count))


class _Table:
    """The bounds of a run, a line each, under a heading that comes with the first."""

    def __init__(self) -> None:
        self._begun = False

    def add(self, name: str, report: LikelihoodReport) -> None:
        """Print one bound."""
        bits = report.bits_per_dim()
        if not self._begun:
            print("bits per dimension, by the standard deviation of the reverse steps")  # noqa: T201
            self._print("", ("total", "prior", "levels", "reconstruction"))
        self._begun = True
        mark = "  < the model's" if name == MODEL_S_OWN else ""
        self._print(name, (bits.total, bits.prior, bits.diffusion, bits.reconstruction), mark)

    def _print(self, name: str, columns: Sequence[object], mark: str = "") -> None:
        print(f"{name:28}" + "".join(f"{column!s:>{_WIDTH}}" for column in columns) + mark, flush=True)  # noqa: T201
