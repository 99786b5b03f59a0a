"""Draw samples from a run: a grid or an animation to look at, or files for whoever measures them."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from ..core.checks import check_count
from ..core.files import check_writable
from ..degradations import LinearGaussianProcess
from ..models import Prior
from ..samplers import Grid, Sampler, Stepper
from ..training import LoadedRun, load_run
from ..training.building import classes_in_order
from .output import written
from .parsing import Parser, device, part
from .sample_files import ANIMATIONS, Samples

_OUTPUTS = """where samples go, by the name of --out:
  NAME.png          a grid of them; with --strip a row for each, on its way from the prior
  NAME.gif, .mp4    the grid on its way from the prior (.mp4: pip install imageio-ffmpeg)
  NAME.npz          arr_0 uint8 (count, height, width, channels), and arr_1 the classes if there are any; of data
                    without levels arr_0 is float32 (count, channels, ...), in the data's units
  FOLDER            a file for each, 000000.png, in order; a folder that was begun is gone on with; of data without
                    levels 000000.npy, as in NAME.npz

examples:
  unmelt sample runs/NAME
  unmelt sample runs/NAME --stepper "Multistep(order=3)" --steps 10 --out few.png
  unmelt sample runs/NAME --count 50000 --batch-size 500 --out samples/"""


def run(arguments: Sequence[str]) -> None:
    """Draw the samples that the command line asks for."""
    options = _parser().parse_args(arguments)
    for name in ("count", "batch_size", "columns"):
        if (number := getattr(options, name)) is not None:
            check_count(f"--{name.replace('_', '-')}", number)
    if options.data is not None and options.prior is None:
        msg = (
            f"--data {options.data} is where the data lie that a --prior is fitted to, and none is given: leave it out"
        )
        raise ValueError(msg)
    out = Path(options.out)
    kind = out.suffix.lower()
    if kind not in {"", ".png", ".npz", *ANIMATIONS}:
        msg = f"--out {out}: give a name that ends in .png, .gif, .mp4 or .npz, or a folder"
        raise ValueError(msg)
    if options.strip and kind != ".png":
        msg = f"--strip is a picture, and --out {out} is not: give a name that ends in .png"
        raise ValueError(msg)
    if not kind:
        check_writable(out)
    if kind == ".mp4":
        import_module("imageio_ffmpeg")
    loaded = load_run(
        options.run, trust_code=options.trust_code, ema_decay=options.ema_decay, checkpoint=options.checkpoint
    )
    loaded.require_nothing_known("unmelt sample")
    place = device(options.device)
    loaded.denoiser.to(place)
    sampler = _sampler(loaded, options, place)
    labels = _labels(loaded, options)
    samples = Samples(loaded, sampler, labels, options)
    if not kind:
        samples.write_folder(out)
    else:
        with written(out, force=options.force) as file:
            samples.write(file)
    print(f"wrote {out}")  # noqa: T201


def _parser() -> Parser:
    parser = Parser("sample", __doc__ or "", _OUTPUTS)
    parser.add_run()
    parser.add_argument("--out", default="samples.png", help="file or folder, see below (samples.png)")
    parser.add_argument("--force", action="store_true", help="overwrite the file")
    parser.add_argument("--count", type=int, default=64, help="how many (64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first; the others count on (0)")
    parser.add_argument("--batch-size", type=int, default=64, help="samples at a time; changes none of them (64)")
    parser.add_argument("--columns", type=int, help="samples in a row of the grid")
    parser.add_argument("--strip", action="store_true", help="draw each on its way from the prior, in a .png")
    how = parser.add_argument_group("how, where it is to be otherwise than in the run's own pictures")
    how.add_argument("--stepper", help="'Multistep(order=3)', 'Posterior(coupling=Deterministic())', Heun, ...")
    how.add_argument("--steps", type=int, help="steps on a uniform grid")
    how.add_argument("--grid", help="where the steps lie: 'KarrasGrid(20)', ...")
    how.add_argument("--prior", help="'DegradedDataPrior.fit(stddev=0.01)', ...; fitted to the run's training data")
    how.add_argument("--data", help="where these lie now; where they were if not given")
    how.add_argument("--condition", help="classes, 3 or 0,1,2, over and over; all in turn if not given")
    how.add_argument("--guidance", type=float, help="weight of the condition: 1 is without guidance, 3 is usual")
    how.add_argument("--clip", action="store_true", help="clip the estimate to the data's range at each step")
    how.add_argument("--clip-percentile", type=float, help="clip by dynamic thresholding with this percentile: 0.995")
    how.add_argument("--ema-decay", type=float, help="which moving average, where the run keeps several")
    how.add_argument("--checkpoint", help="an earlier checkpoint, step_00001000 or 1000")
    how.add_argument("--device", help="cuda, cpu, ...; an accelerator where there is one")
    return parser


def _sampler(loaded: LoadedRun, options: Namespace, place: torch.device) -> Sampler:
    prior = loaded.prior
    if options.prior is not None:
        make = part("--prior", options.prior, Callable[[LinearGaussianProcess, Iterable[Tensor]], Prior])
        train = loaded.data(options.data).train
        prior = make(loaded.denoiser.process, train.blocks(loaded.config.fitted_to))
        prior.grey_levels = loaded.denoiser.grey_levels
    return loaded.sampler(
        None if options.stepper is None else part("--stepper", options.stepper, Stepper),
        steps=options.steps,
        grid=None if options.grid is None else part("--grid", options.grid, Grid),
        guidance=options.guidance,
        prior=prior.to(place),
        clip=options.clip if options.clip_percentile is None else options.clip_percentile,
    )


def _labels(loaded: LoadedRun, options: Namespace) -> Tensor | None:
    """Return the class of each sample."""
    classes = loaded.denoiser.classes
    if options.condition is None:
        labels = classes_in_order(loaded.denoiser, options.count)
        return labels if isinstance(labels, Tensor) else None
    found = re.fullmatch(r"\d+(,\d+)*", options.condition)
    if classes is None or not found or max(wanted := [*map(int, options.condition.split(","))]) >= classes:
        there = "its network knows no classes" if classes is None else f"give classes from 0 to {classes - 1}, as 3,5"
        msg = f"--condition {options.condition}: {there}"
        raise ValueError(msg)
    return torch.tensor(wanted)[torch.arange(options.count) % len(wanted)]
