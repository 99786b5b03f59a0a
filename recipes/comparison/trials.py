"""One model with one sampler, measured: samples, their report, and a small file that is kept."""

import json
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from contestants import Model, Study
from torch import Tensor

from unmelt import __version__, load_run
from unmelt.core.configuration import write
from unmelt.core.files import write_atomically
from unmelt.core.pictures import grid, save_png
from unmelt.degradations import Deterministic, Independent, Markov
from unmelt.evaluation import FeatureNetwork, assess_memorisation
from unmelt.evaluation.look_batches import Reference, Share, look_at
from unmelt.evaluation.run_samples import gauge_for
from unmelt.samplers import Multistep, Posterior, Stepper
from unmelt.training import Splits, Trainer

STEPPERS: dict[str, Stepper] = {
    "markov": Posterior(Markov()),
    "deterministic": Posterior(Deterministic()),
    "multistep": Multistep(order=2),
    "independent": Posterior(Independent()),
}
# Samples that the best sampler is found with, and seeds of theirs and of those that are reported: no sample is in both.
TRIED, TRIED_FROM, REPORTED_FROM = 500, 1_000_000, 0
_BATCH = 100
# Samples compared with all training images, and held-out images beside them.
_COPIES, _HELD_OUT = 500, 1_000
_SHOWN = 8


class Bench:
    """Real images of a study, looked at once for all models.

    Args:
        study: the study.
        count: real images that samples are compared with, and images of each half of the floor.
        keep: folder that keeps what was found.
        network: makes features.
    """

    def __init__(self, study: Study, count: int, keep: Path, network: FeatureNetwork) -> None:
        self.study, self.network = study, network
        self.data: Splits = study.data.load()
        self.gauge = gauge_for(self.data, network)
        reference = Reference(self.data, self.gauge, count, keep, _BATCH)
        look_at((reference.real, reference.held_out), self.gauge, Share(), progress=True)
        self.real = reference.gather()
        self.training = torch.cat(list(self.data.train.blocks()))
        self.held_out = self.data.test.read(range(min(_HELD_OUT, len(self.data.test))))


def train(model: Model, data: Splits, root: Path) -> Path:
    """Return the folder of a trained model; training goes on where it was stopped, and begins where there is none."""
    config = model.config(root)
    if not (config.folder / "checkpoints" / f"step_{config.training.steps:08d}").is_dir():
        begun, path = time.process_time(), config.folder / "cpu_minutes.json"
        Trainer(config, data, resume=config.folder.is_dir()).train()
        before = json.loads(path.read_text()) if path.is_file() else 0.0
        write_atomically(path, json.dumps(before + (time.process_time() - begun) / 60))
    return config.folder


def measure(model: Model, folder: Path, bench: Bench, cell: Path, *, sampler: str, calls: int, count: int) -> None:
    """Draw samples, measure them, and write `cell`; with the reported ones of seed 0 a strip of them, too.

    Args:
        model: the model.
        folder: its run.
        bench: real images.
        cell: the file.
        sampler: one of `STEPPERS`.
        calls: calls of the network for each sample.
        count: number of samples.
    """
    run = load_run(folder, trust_code=True)
    # Of predicted noise the image is found by a division by alpha, where errors grow: cut off, as Ho et al. (2020) do.
    clip = model.prediction == "epsilon"
    used = run.sampler(STEPPERS[sampler], steps=calls, clip=clip)
    first = TRIED_FROM if count == TRIED else REPORTED_FROM
    drawn, samples, made = 0.0, bench.gauge.new_set(count), list[Tensor]()
    evaluations = 0
    for start in range(0, count, _BATCH):
        seeds = range(first + start, first + min(start + _BATCH, count))
        begun = time.process_time()
        result = used.run(len(seeds), generator=seeds, keep_path=False)
        drawn += time.process_time() - begun
        evaluations += result.stats.evaluations
        made.append(result.samples.clamp(*bench.data.train.range))
        samples.add(bench.gauge.look(result.samples))
    report = bench.real.report(samples, network=bench.network.name)
    together = torch.cat(made)
    facts: dict[str, Any] = {
        "unmelt": __version__,
        "study": bench.study.name,
        "process": write(run.config.process),
        "prediction": write(run.config.prediction),
        "training_seed": model.seed,
        "training_steps": run.step,
        "training_batch": run.config.training.batch_size,
        "training_images": len(bench.data.train),
        "data": bench.data.train.fingerprint()[:12],
        "parameters": run.manifest.content["parameters"],
        "ema_decay": run.ema_decay,
        "training_cpu_minutes": json.loads((folder / "cpu_minutes.json").read_text()),
        "held_out_loss": _last(folder, "held_out_loss"),
        "sampler": write(STEPPERS[sampler]),
        "clipped": clip,
        "prior": type(run.prior).__name__,
        "calls": evaluations / count,
        "first_seed": first,
        "split": "training images",
        "weights": bench.network.digest(),
        "resize": bench.network.resize,
        "sampling_cpu_seconds": drawn,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {run.denoiser.process.device}",
        "torch": torch.__version__,
        "report": asdict(report),
    }
    if count != TRIED:
        copies = assess_memorisation(together[:_COPIES], bench.training, bench.held_out)
        facts["memorisation"] = asdict(copies)
    cell.parent.mkdir(parents=True, exist_ok=True)
    if count != TRIED and model.seed == 0:
        save_png(cell.with_suffix(".png"), grid(together[:_SHOWN], bench.data.train.range, columns=_SHOWN))
    write_atomically(cell, json.dumps(facts, indent=1) + "\n")


def _last(folder: Path, name: str) -> float | None:
    """Return the last value of a number in a run's metrics."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = [line[name] for line in lines if name in line]
    return found[-1] if found else None
