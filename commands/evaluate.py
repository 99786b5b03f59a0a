"""Measure a run on held-out images: the bound on their likelihood, and whether its samples are copies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.checks import check_count
from ..evaluation import EfficientNetFeatures, InceptionFeatures
from ..evaluation.bound_report import LikelihoodReport
from ..evaluation.run_bounds import MODEL_S_OWN, evaluate_run
from ..evaluation.run_features import LEAST, evaluate_features
from ..evaluation.run_memorisation import evaluate_memorisation
from ..training.folder.run_folder import RunFolder
from .parsing import Parser

_WIDTH = 22
_NETWORKS = {"efficientnet": EfficientNetFeatures, "inception": InceptionFeatures}
_FEATURES = "compare them in the features of a network: efficientnet, or inception for FID"
_EXAMPLES = """Both are written into the run's folder, too. There is a bound for each standard deviation of the reverse
steps; the one that is marked is the model's: its steps are as wide as training images show that they should be.

examples:
  unmelt evaluate runs/NAME
  unmelt evaluate runs/NAME --images 100 --fit-images 200     a first look
  unmelt evaluate runs/NAME --samples 5000 --features efficientnet"""


def run(arguments: Sequence[str]) -> None:
    """Evaluate the run that the command line names."""
    parser = Parser("evaluate", __doc__ or "", _EXAMPLES)
    parser.add_run()
    parser.add_argument("--images", type=int, help="held-out images to take; all of them if not given")
    parser.add_argument("--fit-images", type=int, default=1000, help="training images that widths are fitted on (1000)")
    parser.add_argument("--steps", type=int, help="steps, where the process has no levels; the sampler's (or 200)")
    parser.add_argument(
        "--samples", type=int, default=256, help="samples to compare with training images (256); 0: none"
    )
    parser.add_argument("--features", choices=[*_NETWORKS], metavar="NETWORK", help=_FEATURES)
    parser.add_argument("--batch-size", type=int, default=256, help="images at a time (256)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (0)")
    parser.add_argument("--data", type=Path, help="folder or file where the data lie now; where they were if not given")
    options = parser.parse_args(arguments)
    for name in ("images", "fit_images", "steps", "samples", "batch_size"):
        if (number := getattr(options, name)) is not None:
            check_count(f"--{name.replace('_', '-')}", number, int(name != "samples"))
    common = {
        "batch_size": options.batch_size,
        "seed": options.seed,
        "place": options.data,
        "trust_code": options.trust_code,
    }
    network = None
    if options.features:
        check_count("--samples", options.samples, LEAST, "for --features")
        # An hour of bounds is not computed for a network that is not there.
        network = _NETWORKS[options.features]()
    written = list[str]()
    run = RunFolder(Path(options.run))
    run.load_config(trust_code=options.trust_code)
    if run.load_manifest().grey_levels is None:
        print("no bits per dimension, which are those of data with levels: these have none")  # noqa: T201
    else:
        evaluate_run(
            options.run,
            images=options.images,
            fit_images=options.fit_images,
            steps=options.steps,
            progress=sys.stderr.isatty(),
            report=_Table().add,
            **common,
        )
        end = "" if options.images is None else f"_{options.images}"
        written += [f"likelihood{end}.json", f"fitted_bounds{end}.safetensors"]
    if options.samples:
        print(f"\nmemorisation, {options.samples} samples: ", end="", flush=True)  # noqa: T201
        print(evaluate_memorisation(options.run, samples=options.samples, **common))  # noqa: T201
        written.append("memorisation.json")
    if network:
        report = evaluate_features(
            options.run, network, samples=options.samples, progress=sys.stderr.isatty(), **common
        )
        print(f"\n{report}")  # noqa: T201
        written.append("features.json")
    if written:
        print(f"\nwrote {', '.join(str(Path(options.run) / name) for name in written)}")  # noqa: T201


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
