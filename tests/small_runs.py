"""Training runs of a second, and what tests compare of them."""

import dataclasses
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate.state import AcceleratorState

import unmelt
from unmelt.core import later
from unmelt.degradations import HeatDissipation, Independent, PredictPreviousLevel
from unmelt.losses import SumOverDimensions
from unmelt.models import ConstantStd, UNet
from unmelt.samplers import Posterior
from unmelt.training import ArrayExamples, Digits, Pictures, RunConfig, Splits, Trainer, Training
from unmelt.training.folder.records import read_metrics

ROOT = Path(unmelt.__file__).parent
# What a user's own program needs: a path to the package, and one core.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT.parent),
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "140",
}


def images():
    """Twenty-two training images of 4 x 4 pixels: five batches of four in a pass, two images left over."""
    values = torch.randint(0, 256, (28, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Splits(ArrayExamples(values[:22]), ArrayExamples(values[22:]))


def small_run(root, name="small", **changes):
    """Eight levels of heat that use everything random: dropout, mirrored images, shuffled batches, noise and levels.

    Changes are of fields of the run, or of its training loop.
    """
    training = Training(
        steps=6,
        batch_size=4,
        warmup=4,
        ema_decay=0.9,
        flip=True,
        log_every=1,
        checkpoint_every=3,
        sample_every=1000,
        keep_checkpoints=10,
        cpu=True,
    )
    config = RunConfig(
        name=name,
        # Trained on the images above in most tests; they are what is loaded where a program loads them.
        data=Digits(),
        process=later(HeatDissipation, blur_sigma_min=0.3, blur_sigma_max=3.0, levels=8, sigma=0.03),
        network=later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.2),
        prediction=PredictPreviousLevel(),
        reduction=SumOverDimensions(),
        sampler=Posterior(coupling=Independent(), reverse_std=ConstantStd(0.03)),
        optimizer=later(torch.optim.AdamW, lr=1e-2, weight_decay=0.0, fused=True),
        training=training,
        pictures=Pictures(count=2),
        root=root,
    )
    return changed(config, **changes)


def changed(config, **changes):
    """A run with some fields changed, of its own or of its training loop."""
    loop = {field.name for field in dataclasses.fields(Training)} & changes.keys()
    training = dataclasses.replace(config.training, **{name: changes.pop(name) for name in loop})
    return dataclasses.replace(config, training=training, **changes)


def begin(config, data, *, resume=False, **options):
    """Make a trainer as a program of its own does: a fresh accelerate, random generators in a state of their own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.manual_seed(os.urandom(4)[0])
    np.random.seed(os.urandom(4)[0])  # noqa: NPY002
    return Trainer(config, data, resume=resume, **options)


def train(config, data, *, resume=False, **options):
    trainer = begin(config, data, resume=resume, **options)
    trainer.train()
    return trainer


def parameters(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def metrics(trainer):
    """What a run recorded of its steps, without how fast they were, what memory they took, and what checkpoints add."""
    measured = {"images_per_second", "memory_gib", "hours_left"}
    return [
        {name: value for name, value in line.items() if name not in measured and not name.startswith("held_out")}
        for line in read_metrics(trainer.run.metrics)
        if "loss" in line
    ]


def held_out(trainer):
    """What a run recorded of held-out images at its checkpoints, by step."""
    return {
        line["step"]: {name: value for name, value in line.items() if name.startswith("held_out")}
        for line in read_metrics(trainer.run.metrics)
        if "held_out_loss" in line
    }


def assert_identical(ours, theirs):
    """Compare nested states bit for bit."""
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_identical(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_identical(a, b)
    else:
        assert ours == theirs


def assert_same_run(one, other):
    """Compare networks, averages, optimizers, progress and recorded numbers bit for bit."""
    for part in (
        lambda trainer: parameters(trainer.denoiser),
        lambda trainer: [(average.updates, parameters(average.model)) for average in trainer.averages],
        lambda trainer: trainer.optimizer.state_dict(),
        lambda trainer: trainer.state.schedule,
        lambda trainer: trainer.progress.state_dict(),
        metrics,
    ):
        assert_identical(part(one), part(other))


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


def run_python(*arguments, cwd, **options):
    """Run Python as a user would, in a folder of theirs."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=ENVIRONMENT | options,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Finished(NamedTuple):
    """How processes ended, rank 0 first."""

    returncodes: list[int]
    printed: list[str]


# Of one that has imported everything already, processes are copies: importing takes longer than most runs of theirs.
_COPIES = multiprocessing.get_context("forkserver")
_COPIES.set_forkserver_preload(["datasets", "unmelt.training.dry_run", "unmelt.training.run_pictures"])


def processes(count, script, folder, *arguments):
    """Run a script in processes that know of each other as those that torchrun starts do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)} if count > 1 else {}
    shared = ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": "", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} | sizes
    outputs = [folder / f"printed{rank}" for rank in range(count)]
    started = [
        _COPIES.Process(
            target=_run_script,
            args=(script, arguments, folder, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, output),
        )
        for rank, output in enumerate(outputs)
    ]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(timeout=90)
    finally:
        # One that waits for the other for ever must not outlive the test.
        for process in started:
            process.kill()
            process.join()
    return Finished([process.exitcode for process in started], [output.read_text() for output in outputs])


def _run_script(script, arguments, folder, environment, output):
    """Be a program of its own: `python -c script arguments`."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["-c", *map(str, arguments)]
    program = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(script, "<program>", "exec"), vars(program))  # noqa: S102


def results(folder, name="rank"):
    """What each of two processes wrote down."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}?.json"))]
