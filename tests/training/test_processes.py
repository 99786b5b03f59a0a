"""Several processes for real: two train one model on different images, or are stopped."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import unmelt
from unmelt.training.checkpoints import latest_checkpoint
from unmelt.training.records import read_metrics

# Two processes that import everything on one core, and train a few steps.
SECONDS = 90

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
from unmelt.training import *

torch.set_num_threads(1)
cpu, steps, resume, count = sys.argv[1] == "cpu", int(sys.argv[2]), sys.argv[3] == "resume", int(sys.argv[4])
interrupted = sys.argv[3] == "interrupted" and os.environ["RANK"] == "1"
values = torch.arange(28 * 16, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(28, 1, 4, 4)
drawn = []

class Watched(Images):
    def __getitems__(self, indices):
        drawn.append(list(indices))
        if interrupted and len(drawn) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__getitems__(indices)

config = RunConfig(
    name="two",
    process=HeatConfig(blur_sigma_min=0.3, blur_sigma_max=3.0, levels=8, sigma=0.03),
    prediction=PredictionKind.LESS_DEGRADED,
    reduction=ReductionKind.SUM,
    network=NetworkConfig(channels=4, multipliers=(1, 2), blocks=1, attention_levels=(), dropout=0.2),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup=4, ema_decay=0.9),
    training=TrainingConfig(steps=steps, batch_size=4, log_every=1, checkpoint_every=1000, cpu=cpu),
    root=Path("runs"),
)
try:
    trainer = Trainer(config, ImageSplits(Watched(values[:count]), Images(values[24:])), resume=resume)
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
    sys.exit(3)
run = trainer.train()
rank = trainer.accelerator.process_index
Path(f"rank{rank}.json").write_text(json.dumps({
    "processes": trainer.accelerator.num_processes,
    "drawn": drawn,
    "parameters": {name: p.tolist() for name, p in trainer.denoiser.named_parameters()},
    "average": {name: p.tolist() for name, p in trainer.ema.model.named_parameters()},
}))
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Finished(NamedTuple):
    """How two processes ended, rank 0 first."""

    returncodes: list[int]
    printed: list[str]


def two(folder, *arguments, count=24):
    """Run the script in two processes that know of each other as those that torchrun starts do."""
    (folder / "script.py").write_text(SCRIPT)
    shared = {
        **os.environ,
        "PYTHONPATH": str(Path(unmelt.__file__).parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "script.py", *map(str, arguments), str(count)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        printed = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        # One that waits for the other for ever must not outlive the test.
        for process in processes:
            process.kill()
            process.wait()
    return Finished([process.returncode for process in processes], printed)


def results(folder):
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
class TestTwoProcesses:
    def test_without_a_gpu_each_and_without_the_flag_they_are_stopped(self, tmp_path):
        finished = two(tmp_path, "any", 2, "new")
        for code, printed in zip(*finished, strict=True):
            assert code != 0
            assert "2 processes were started" in printed
            assert "--training.cpu" in printed
        assert not (tmp_path / "runs").exists()

    def test_they_train_one_model_on_different_images(self, tmp_path):
        finished = two(tmp_path, "cpu", 3, "new")
        assert finished.returncodes == [0, 0], finished.printed
        one, other = results(tmp_path)
        assert one["processes"] == other["processes"] == 2
        assert one["parameters"] == other["parameters"]
        assert one["average"] == other["average"]
        # Three batches of four each make a pass over 24 images, each of which is seen once.
        seen = [i for rank in (one, other) for batch in rank["drawn"][:3] for i in batch]
        assert sorted(seen) == list(range(24))
        lines = read_metrics(tmp_path / "runs" / "two" / "metrics.jsonl")
        assert [line["step"] for line in lines] == [1, 2, 3]
        # One of them writes.
        assert len(list((tmp_path / "runs" / "two" / "tensorboard").iterdir())) == 1

    def test_a_resumed_run_equals_a_straight_one(self, tmp_path):
        outcomes = []
        for name, steps in (("straight", [5]), ("resumed", [2, 5])):
            folder = tmp_path / name
            folder.mkdir()
            for i, step in enumerate(steps):
                finished = two(folder, "cpu", step, "resume" if i else "new")
                assert finished.returncodes == [0, 0], finished.printed
            outcomes.append([(rank["parameters"], rank["average"]) for rank in results(folder)])
        assert outcomes[0] == outcomes[1]

    def test_a_signal_to_one_stops_both_after_a_checkpoint(self, tmp_path):
        finished = two(tmp_path, "cpu", 1_000_000, "interrupted")
        for code, printed in zip(*finished, strict=True):
            assert code != 0
            assert "stopped by SIGINT after step" in printed
        checkpoint = latest_checkpoint(tmp_path / "runs" / "two" / "checkpoints")
        assert checkpoint.name in {"step_00000002", "step_00000003", "step_00000004"}

    def test_fewer_batches_than_processes_are_refused(self, tmp_path):
        # One batch of four in a pass over seven images, and two processes: one of them would never get any.
        finished = two(tmp_path, "cpu", 2, "new", count=7)
        for code, printed in zip(*finished, strict=True):
            assert code != 0
            assert "batch_size=4" in printed

    def test_the_checkpoint_is_read_by_one_process(self, tmp_path):
        assert two(tmp_path, "cpu", 2, "new").returncodes == [0, 0]
        checkpoint = latest_checkpoint(tmp_path / "runs" / "two" / "checkpoints")
        average = torch.load(checkpoint / "custom_checkpoint_0.pkl", weights_only=False)
        (one, _) = results(tmp_path)
        for name, value in one["average"].items():
            assert torch.equal(average[f"model.{name}"], torch.tensor(value))
