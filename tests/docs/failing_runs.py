"""Runs and commands that fail, each in an empty folder, by a small real cause: as they start, stop and go on."""

import json
import math
import resource
import signal
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from small_runs import begin, images, small_run, train

from unmelt import load_run
from unmelt.commands import main
from unmelt.core import later
from unmelt.training import ArrayExamples, RunFolder, Splits, export_run

TINY = ["--network.channels", "8", "--training.steps", "1", "--pictures.count", "1"]


def command(*words):
    """Run `unmelt` in this process."""
    main(list(words))


def training(*flags, recipe="digits_heat"):
    """Train a recipe as the command does."""
    command("train", recipe, *TINY, *flags)


def finished(**changes):
    """Train a run of six steps in `runs/small`."""
    return train(small_run(Path("runs"), **changes), images())


def resumed(**changes):
    begin(small_run(Path("runs"), **changes), images(), resume=True)


def no_recipe():
    command("train", "folders")


def misspelt_flag():
    training("--training.step", "5")


def run_exists():
    finished()
    training("--name", "small")


def run_is_locked():
    with RunFolder(Path("runs/busy")).locked():
        training("--name", "busy")


def batch_too_large():
    training("--training.batch-size", "5000")


def unstable_prediction():
    training("--prediction", "PredictEpsilon")


def no_levels():
    training("--process", "IsotropicDiffusion")


def guidance_without_classes():
    training("--pictures.guidance", "2")


def other_classes():
    training("--network.classes", "7")


def bridge_without_given():
    training("--process", "HeatBridge", "--prediction", "PredictX")


def half_precision_on_a_cpu():
    AcceleratorState._reset_state(reset_partial_state=True)
    training("--training.precision", "FP16")


def stopped():
    trainer = begin(small_run(Path("runs")), images())

    def interrupt(*_):
        hook.remove()
        signal.raise_signal(signal.SIGTERM)

    hook = trainer.denoiser.network.register_forward_pre_hook(interrupt)
    trainer.train()


def diverged():
    # The second step is taken from weights of 1e30 or so.
    optimizer = later(torch.optim.SGD, lr=1e30)
    changes = {"warmup": 0, "steps": 60, "clip": math.inf, "most_skips": 2}
    train(small_run(Path("runs"), optimizer=optimizer, **changes), images())


def disk_full():
    trainer = begin(small_run(Path("runs")), images())
    # To files of this process the disk is full after 20 kB.
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
    try:
        trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def cut_off(checkpoint):
    file = next(checkpoint.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-5])


def newest_damaged():
    cut_off(sorted(finished().run.checkpoints.iterdir())[-1])
    resumed(steps=9)


def all_damaged():
    for checkpoint in finished().run.checkpoints.iterdir():
        cut_off(checkpoint)
    resumed(steps=9)


def nothing_to_resume():
    resumed()


def other_settings():
    finished()
    resumed(batch_size=8)


def other_images():
    finished()
    black = torch.zeros(22, 1, 4, 4, dtype=torch.uint8)
    begin(small_run(Path("runs"), steps=9), Splits(ArrayExamples(black), ArrayExamples(black[:6])), resume=True)


def fewer_steps():
    finished()
    resumed(steps=3)


def resumed_export():
    export_run(load_run(finished().run.path), Path("exported/small"))
    training("--resume", "exported/small")


def no_run():
    load_run("runs/nothing")


def no_such_checkpoint():
    finished()
    load_run("runs/small", checkpoint=4)


def newer_format():
    manifest = finished().run.manifest
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**record, "format": record["format"] + 1}))
    load_run("runs/small")


def code_of_somebody():
    config = finished().run.config
    config.write_text(config.read_text().replace("HeatDissipation(", "fog.Fog("))
    load_run("runs/small")


def file_exists():
    finished()
    Path("samples.png").write_bytes(b"")
    command("sample", "runs/small")


def no_gpu():
    finished()
    command("sample", "runs/small", "--device", "cuda")


def nothing_to_undo():
    finished()
    command("restore", "runs/small", "a.png")
