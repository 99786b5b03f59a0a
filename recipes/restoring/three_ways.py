"""One restoration task by three ways: a bridge, a conditional diffusion, and guidance of an unconditional diffusion.

All have one network, one prediction, the image, and one budget of training and of calls. The first two are trained for
the task; the third has never seen it, and serves every other task as well.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from unmelt.core import Shape, later
from unmelt.core.pictures import grid, save_png
from unmelt.degradations import (
    BrownianBridge,
    ChangedBasis,
    CosineBasis,
    HeatBridge,
    IsotropicDiffusion,
    PowerBlur,
    PredictX,
)
from unmelt.evaluation import EfficientNetFeatures, features_of, octaves, power_spectrum
from unmelt.models import UNet
from unmelt.samplers import Grid, LogSNRGrid, Posterior, Sampler, UniformGrid
from unmelt.samplers.guidance import CovarianceGuidance, LinearObservation
from unmelt.training import LoadedRun, PhotoCrops, RunConfig, Trainer, Training, load_run

ROOT = Path(__file__).parents[2]
RANGE = (-1.0, 1.0)
NETWORK: dict[str, Any] = {
    "patch": 2,
    "channels": 32,
    "multipliers": (1, 2),
    "blocks": 1,
    "attention_levels": (1,),
    "dropout": 0.0,
}
# Samples whose mean is looked at, too, with the second number of calls.
SEVERAL = 8


@dataclass(frozen=True)
class Task:
    """What is to be undone.

    Attributes:
        name: what its runs, figures and picture are called.
        title: what was done to images, in words.
        observation: makes it, from the shape of an image.
    """

    name: str
    title: str
    observation: Callable[[Shape], LinearObservation]


class Figures(NamedTuple):
    """Means over held-out images of one sample each, but for the last; see `table` for what they are."""

    psnr: float
    ssim: float
    features: float
    octave_power: list[float]
    misfit: float
    psnr_of_mean: float | None = None


def ways(task: Task, options: argparse.Namespace) -> dict[str, RunConfig]:
    """Return a run for each way, by its name in figures."""
    shared = RunConfig(
        name="unconditional",
        data=PhotoCrops(low=RANGE[0], high=RANGE[1]),
        # White in frequencies as in pixels; there images have a spectrum, which guidance uses.
        process=later(ChangedBasis.of, process=IsotropicDiffusion, basis=CosineBasis),
        network=later(UNet, **NETWORK),
        prediction=PredictX(),
        sampler=Posterior(),
        grid=UniformGrid(20),
        optimizer=later(torch.optim.AdamW, lr=1e-3, weight_decay=0.0, fused=True),
        training=Training(
            steps=options.steps,
            batch_size=options.batch,
            warmup=min(100, options.steps),
            cosine_decay=True,
            ema_decay=0.995,
            flip=True,
            checkpoint_every=10_000,
            sample_every=10_000,
            cpu=True,
        ),
        root=options.root,
    )
    seeing = replace(shared, given=task.observation, network=later(UNet, **NETWORK, image_channels=3))
    return {
        "heat bridge": replace(seeing, name=f"{task.name}_heat_bridge", process=later(HeatBridge, blur=PowerBlur(4.0))),
        "Brownian bridge": replace(seeing, name=f"{task.name}_brownian_bridge", process=later(BrownianBridge)),
        "conditional diffusion": replace(seeing, name=f"{task.name}_conditional"),
        "guidance": shared,
    }


def trained(config: RunConfig) -> LoadedRun:
    """Return a finished run, training it first where there is none."""
    if not (config.folder / "checkpoints" / f"step_{config.training.steps:08d}").is_dir():
        Trainer(config, config.data.load()).train()
    return load_run(config.folder)


def restored(run: LoadedRun, task: Task, y: Tensor, grid_of: Callable[[int], Grid], *, calls: int, seed: int) -> Tensor:
    """Return a sample for each observation, (count, *shape), by so many steps of a grid."""
    generator = torch.Generator().manual_seed(seed)
    if run.known:
        condition, given = run.seen(None, y)
        sampler = run.sampler(grid=grid_of(calls))
        return sampler.sample(len(y), condition=condition, given=given, generator=generator)
    guided = CovarianceGuidance(run.denoiser, task.observation(run.manifest.shape), variance=run.spectrum)
    return Sampler(guided, Posterior(), grid_of(calls)).sample(len(y), given=y, generator=generator)


def measured(samples: Tensor, x: Tensor, y: Tensor, observation: LinearObservation, network: Any) -> Figures:
    """Return the figures of samples for images x that were observed as y."""
    own, true = (each.clamp(*RANGE) for each in (samples, x))
    width = RANGE[1] - RANGE[0]
    features = [torch.cat([*features_of([each], network, RANGE)]) for each in (own, true)]
    powers = [power_spectrum(each, bands=octaves) for each in (own, true)]
    ssim: Callable[..., Any] = structural_similarity
    similar = [
        float(ssim(a.numpy(), b.numpy(), channel_axis=0, data_range=width)) for a, b in zip(own, true, strict=True)
    ]
    left = observation.residual(y, samples)[:, observation.gain != 0]
    return Figures(
        psnr=psnr(own, true),
        ssim=sum(similar) / len(similar),
        features=(features[0] - features[1]).norm(dim=1).mean().item(),
        octave_power=(powers[0].power / powers[1].power).tolist(),
        misfit=left.square().mean().sqrt().item() / max(observation.noise_std, 1e-9),
    )


def psnr(samples: Tensor, x: Tensor) -> float:
    """Return the mean peak signal-to-noise ratio in decibels."""
    width = RANGE[1] - RANGE[0]
    return (-10 * ((samples - x).square().flatten(1).mean(1) / width**2).log10()).mean().item()


def table(found: dict[str, dict[str, Figures]], blank: Figures) -> str:
    """Return the figures as a table, those of the observations themselves first."""
    head = "| way | calls | PSNR, dB | SSIM | distance of features | power of the two finest octaves | misfit |"
    head += f" PSNR of the mean of {SEVERAL} |"
    lines = [head, "|" + "---|" * 8, _row("as observed", "", blank)]
    lines += [_row(way, calls, figures) for way, by_calls in found.items() for calls, figures in by_calls.items()]
    return "\n".join(lines)


def _row(way: str, calls: str, figures: Figures) -> str:
    fine = ", ".join(f"{100 * share:.0f}%" for share in figures.octave_power[-2:])
    mean = "" if figures.psnr_of_mean is None else f"{figures.psnr_of_mean:.2f}"
    numbers = (
        f"{figures.psnr:.2f} | {figures.ssim:.3f} | {figures.features:.2f} | {fine} | {figures.misfit:.2f} | {mean}"
    )
    return f"| {way} | {calls} | {numbers} |"


def compare(task: Task, arguments: list[str] | None = None) -> dict[str, Any]:
    """Train what is not trained, restore held-out crops by each way, and write a table and a picture."""
    options = _options(task, arguments)
    runs = {way: trained(config) for way, config in ways(task, options).items()}
    first = next(iter(runs.values()))
    test = first.config.data.load().test
    # Evenly spread, so that all held-out photographs are among them.
    x = test.fetch([k * len(test) // options.images for k in range(options.images)]).x
    observation, network = task.observation(first.manifest.shape), EfficientNetFeatures()
    y = observation.observe(x, generator=torch.Generator().manual_seed(0))
    rows, found = [x, y], dict[str, dict[str, Figures]]()
    # A bridge's coefficients come back each on its own clock: where they are few steps, it matters where these lie.
    steps: list[tuple[str, LoadedRun, Callable[[int], Grid]]]
    steps = [(way, run, UniformGrid) for way, run in runs.items()]
    steps += [(f"{way}, equal log-SNR", runs[way], LogSNRGrid) for way in ("heat bridge", "Brownian bridge")]
    for name, run, grid_of in steps:
        found[name] = {}
        for calls in options.calls:
            samples = restored(run, task, y, grid_of, calls=calls, seed=1)
            figures = measured(samples, x, y, observation, network)
            if calls == options.calls[1]:
                more = [restored(run, task, y, grid_of, calls=calls, seed=k) for k in range(2, SEVERAL + 1)]
                mean = torch.stack([samples, *more]).mean(0).clamp(*RANGE)
                figures = figures._replace(psnr_of_mean=psnr(mean, x))
                rows += [samples, mean] if name in runs else []
            found[name][str(calls)] = figures
            print(name, calls, figures, flush=True)
    blank = measured(y, x, y, observation, network)
    options.out.mkdir(parents=True, exist_ok=True)
    # The last quarter of the crops is of the photograph that anyone may show (chelsea, CC0).
    free = torch.stack(rows, dim=1)[-max(1, len(x) // 4) :]
    shown = free[:: max(1, len(free) // options.rows)][: options.rows]
    save_png(options.out / f"{task.name}.png", grid(shown.flatten(0, 1), RANGE, columns=len(rows)))
    record = {
        "task": task.title,
        "steps": options.steps,
        "batch": options.batch,
        "images": options.images,
        "parameters": {way: run.manifest.content["parameters"] for way, run in runs.items()},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "figures": {way: {calls: each._asdict() for calls, each in by.items()} for way, by in found.items()},
        "as observed": blank._asdict(),
    }
    (options.out / f"{task.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.out / f"{task.name}.md").write_text(table(found, blank) + "\n")
    print(table(found, blank))
    return record


def _options(task: Task, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Restore photographs that were {task.title}, by three ways.")
    parser.add_argument("--steps", type=int, default=3000, help="training steps of each model")
    parser.add_argument("--batch", type=int, default=32, help="images in a training step")
    parser.add_argument("--images", type=int, default=64, help="held-out crops that are restored")
    parser.add_argument("--calls", type=int, nargs=3, default=(5, 20, 50), help="of the network, for one sample")
    parser.add_argument("--rows", type=int, default=6, help="of them that are shown")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "restoring", help="folder of the runs")
    out = ROOT / "benchmarks" / "results" / "restoring"
    parser.add_argument("--out", type=Path, default=out, help="folder of figures and picture")
    return parser.parse_args(arguments)
