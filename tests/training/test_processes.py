"""Several processes for real: two train one model on different images and labels, or are stopped."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import ROOT, processes, results

from unmelt.training.folder.checkpoints import newest_whole
from unmelt.training.folder.records import read_metrics

pytestmark = pytest.mark.full

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from torch.distributed.tensor import DTensor
import unmelt.losses.denoising, unmelt.training.dry_run
from unmelt.core import later
from unmelt.degradations import HeatDissipation, PredictPreviousLevel
from unmelt.losses import LearnedLogVariance, LossAwareTimes
from unmelt.models import UNet
from unmelt.training import ArrayExamples, Digits, Pictures, Precision, RunConfig, Splits, Trainer, Training
from unmelt.training.dry_run import dry_run
from unmelt.training.folder.records import read_metrics
from unmelt.training.run_pictures import draw_pictures

torch.set_num_threads(1)
name, steps, resume = sys.argv[1], int(sys.argv[2]), "resume" in sys.argv
count = 7 if "few" in sys.argv else 24
classes = 3 if "labels" in sys.argv else None
interrupted = "interrupted" in sys.argv and os.environ["RANK"] == "1"
values = torch.arange(28 * 16).remainder(251).to(torch.uint8).reshape(28, 1, 4, 4)
drawn, labels = [], []

class Watched(ArrayExamples):
    def __getitems__(self, indices):
        drawn.append(list(indices))
        if interrupted and len(drawn) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__getitems__(indices)

config = RunConfig(
    name=name,
    data=Digits(),
    process=later(HeatDissipation, blur_sigma_min=0.3, blur_sigma_max=3.0, levels=8, sigma=0.03),
    network=later(
        UNet,
        channels=4,
        multipliers=(1, 2),
        blocks=1,
        attention_levels=(),
        dropout=0.0 if "fixed" in sys.argv else 0.2,
        classes=classes,
        recompute="recompute" in sys.argv,
    ),
    prediction=PredictPreviousLevel(),
    times=LossAwareTimes(history=1) if "aware" in sys.argv else None,
    log_variance=later(LearnedLogVariance) if "scaled" in sys.argv else None,
    optimizer=later(torch.optim.AdamW, lr=1e-2, fused=True),
    training=Training(
        steps=steps, batch_size=8, warmup=4, ema_decay=0.9, label_dropout=0.3, log_every=1, checkpoint_every=1000,
        agree_every=1,
        cpu="any" not in sys.argv, shard_optimizer="sharded" in sys.argv, shard_model="divided" in sys.argv,
        clip=float("inf") if "unclipped" in sys.argv else 1.0, accumulate=2 if "parts" in sys.argv else 1,
        precision=Precision.BF16 if "bf16" in sys.argv else Precision.FLOAT32,
        sample_every=2,
    ),
    pictures=Pictures(count=4),
)
given = torch.arange(count) % 3 if classes else None
try:
    held_out = torch.arange(4) % 3 if classes else None
    data = Splits(Watched(values[:count], labels=given), ArrayExamples(values[24:], labels=held_out))
    trainer = Trainer(config, data, resume=resume)
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
    sys.exit(3)
trainer.loss.register_forward_pre_hook(
    lambda _, given, more: labels.append(more["condition"].tolist() if classes else None), with_kwargs=True
)
if "fixed" in sys.argv:
    # The loss is one of the images alone, whoever computes it.
    trainer.updates._times = SimpleNamespace(sample=lambda n, device: torch.full((n,), 0.5))
    unmelt.losses.denoising.white_noise = lambda shape, like, generator: torch.sin(1000 * like)
if "dry" in sys.argv:
    unmelt.training.dry_run._SECONDS = 0
    dry_run(trainer)
    sys.exit()
calls = []
trainer.denoiser.network.middle.register_forward_pre_hook(lambda module, _: calls.append(module.training))
trainer.train()
if "pictures" in sys.argv:
    draw_pictures(trainer, trainer.run)

def here(tensor):
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor

def everywhere(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

held = [*trainer.loss.parameters(), *trainer.ema.model.parameters()]
kept = getattr(trainer.optimizer, "optim", trainer.optimizer).state
rank = trainer.accelerator.process_index
Path(f"{name}{rank}.json").write_text(json.dumps({
    "processes": trainer.accelerator.num_processes,
    "metrics": read_metrics(trainer.run.metrics),
    "drawn": drawn,
    "labels": labels,
    "calls_in_training": sum(calls),
    "divided": sorted({isinstance(p, DTensor) for p in held}),
    "held": sum(here(p).numel() for p in held),
    "kept": sum(here(value).numel() for state in kept.values() for value in state.values()),
    "parameters": {name: everywhere(p).tolist() for name, p in trainer.denoiser.named_parameters()},
    "average": {name: everywhere(p).tolist() for name, p in trainer.ema.model.named_parameters()},
}))
"""


def run(folder, name, steps, *words):
    """Both processes end well; what they wrote down."""
    finished = processes(2, SCRIPT, folder, name, steps, *words)
    assert finished.returncodes == [0, 0], finished.printed
    return results(folder, name)


def refused(folder, *words):
    finished = processes(2, SCRIPT, folder, "two", *words)
    assert all(finished.returncodes), finished.printed
    return finished.printed


def test_they_train_one_model_on_different_images_and_go_on_as_if_never_stopped(tmp_path):
    one, other = straight = run(tmp_path, "straight", 5, "labels")
    assert one["processes"] == other["processes"] == 2
    assert one["parameters"] == other["parameters"]
    assert one["average"] == other["average"]
    # Three batches of eight, half of them each, make a pass over 24 images; each is seen once; other labels are hidden.
    assert sorted(i for rank in straight for batch in rank["drawn"][:3] for i in batch) == list(range(24))
    assert one["labels"] != other["labels"]
    assert {3} < {label for rank in straight for labels in rank["labels"] for label in labels}
    folder = tmp_path / "runs" / "straight"
    assert [line["step"] for line in read_metrics(folder / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    # One of them writes.
    assert len(list((folder / "tensorboard").iterdir())) == 1
    # One process reads what two have written.
    average = newest_whole(folder / "checkpoints", pytest.fail).parts["average_0.9"]
    for name, value in one["average"].items():
        assert torch.equal(average[name], torch.tensor(value))
    first = run(tmp_path, "broken", 2, "labels")
    rest = run(tmp_path, "broken", 5, "labels", "resume")
    for before, after, whole in zip(first, rest, straight, strict=True):
        assert before["labels"] + after["labels"] == whole["labels"]
        assert (after["parameters"], after["average"]) == (whole["parameters"], whole["average"])


def test_an_optimizer_s_state_in_parts_is_whole_in_checkpoints(tmp_path):
    whole = run(tmp_path, "whole", 5)
    # Divided for three steps, and on with it whole; and the other way round.
    for name, *words in (("first", "sharded"), ("then",)):
        begun = run(tmp_path, name, 3, *words)
        held = [rank["kept"] / whole[0]["kept"] for rank in begun]
        assert held == ([pytest.approx(0.5, abs=0.1)] * 2 if words else [1, 1])
        assert sum(held) == pytest.approx(1 if words else 2)
        ended = run(tmp_path, name, 5, "resume", *({"sharded"} - {*words}))
        assert [rank["parameters"] for rank in ended] == [rank["parameters"] for rank in whole]
    states = [
        newest_whole(tmp_path / "runs" / name / "checkpoints", pytest.fail).parts["optimizer"]
        for name in ("whole", "first", "then")
    ]
    for other in states[1:]:
        torch.testing.assert_close(other, states[0], rtol=0, atol=0)


def alone(folder, name, steps, *words):
    """One process; what it wrote down."""
    finished = processes(1, SCRIPT, folder, name, steps, *words)
    assert finished.returncodes == [0], finished.printed
    return results(folder, name)[0], finished.printed[0]


def numbers(nested):
    """All numbers in lists and dicts."""
    if isinstance(nested, dict | list):
        return [x for value in (nested.values() if isinstance(nested, dict) else nested) for x in numbers(value)]
    return [nested]


def assert_same_training(ours, theirs):
    """Compare what two pairs of processes learned and recorded.

    What is computed is the same but for the order of sums, to about 1e-6 of a gradient. An Adam's step moves by 1e-2
    at most, and by a thousandth of that differently only where that much of a gradient has cancelled.
    """
    for one, other in zip(ours, theirs, strict=True):
        for part in ("parameters", "average"):
            assert one[part].keys() == other[part].keys()
            assert numbers(one[part]) == pytest.approx(numbers(other[part]), rel=0, abs=1e-5)
        for line, wanted in zip(one["metrics"], other["metrics"], strict=True):
            for name in ("loss", "gradient_norm", *(name for name in wanted if name.startswith("held_out"))):
                # One that was gone on with has another checkpoint, and what was measured at it.
                assert line[name] == pytest.approx(wanted[name], rel=1e-4), name


# Every part of a run: labels, parameters outside the network, clipping, pictures.
WORDS = ("labels", "scaled", "pictures")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return run(folder, "run", 5, *WORDS), folder / "runs" / "run"


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    folder = tmp_path_factory.mktemp("divided")
    return run(folder, "run", 5, "divided", *WORDS), folder / "runs" / "run"


class TestDividedModel:
    """Parameters, gradients, optimizer's state and averages in two parts, one in each process."""

    def test_all_parameters_are_divided_and_each_holds_half(self, whole, divided):
        assert all(rank["divided"] == [False] for rank in whole[0])
        assert all(rank["divided"] == [True] for rank in divided[0])
        for part in ("held", "kept"):
            parts = [rank[part] / whole[0][0][part] for rank in divided[0]]
            # Rows that are odd in number, of small tensors, and each tensor's count of steps.
            assert parts == [pytest.approx(0.5, abs=0.02)] * 2
            assert sum(parts) == pytest.approx(1, abs=0.02 if part == "kept" else 1e-9)

    def test_they_learn_what_whole_ones_learn(self, whole, divided):
        assert_same_training(divided[0], whole[0])
        # Every step is clipped, by the norm of all parts.
        assert min(line["gradient_norm"] for line in whole[0][0]["metrics"]) > 1

    def test_checkpoints_and_pictures_are_those_of_whole_ones(self, whole, divided):
        ours, theirs = (newest_whole(run / "checkpoints", pytest.fail) for _, run in (divided, whole))
        assert ours.parts.keys() == theirs.parts.keys()
        for name in ("model", "average_0.9", "optimizer"):
            torch.testing.assert_close(ours.parts[name], theirs.parts[name], rtol=1e-4, atol=1e-5)
        drawn = [sorted(path.relative_to(run) for path in run.rglob("*.[pg][ni][gf]")) for _, run in (divided, whole)]
        assert drawn[0] == drawn[1]
        assert len(drawn[0]) == 6
        for path in drawn[0]:
            pixels = [np.asarray(Image.open(run / path), dtype=int) for _, run in (divided, whole)]
            # 1e-5 may round to another of 255 levels.
            assert path.name == "loss.png" or abs(pixels[0] - pixels[1]).max() <= 1

    def test_a_run_goes_on_divided_or_not(self, tmp_path, whole):
        for name, *words in (("first", "divided"), ("then",)):
            run(tmp_path, name, 3, *WORDS, *words)
            ended = run(tmp_path, name, 5, "resume", *WORDS, *({"divided"} - {*words}))
            assert_same_training(ended, whole[0])

    @pytest.mark.slow
    def test_one_process_goes_on_with_it(self, tmp_path):
        straight, _ = alone(tmp_path, "straight", 5, "fixed")
        run(tmp_path, "broken", 2, "fixed", "divided")
        # With nobody to divide it with.
        found, _ = alone(tmp_path, "broken", 5, "fixed", "resume", "divided")
        assert found["divided"] == [False]
        for ours, theirs in zip(found["metrics"], straight["metrics"], strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)

    def test_activations_are_computed_again(self, tmp_path, divided):
        again = run(tmp_path, "again", 5, "divided", "recompute", *WORDS)
        assert [rank["calls_in_training"] for rank in divided[0]] == [5, 5]
        assert [rank["calls_in_training"] for rank in again] == [10, 10]
        assert all(rank["divided"] == [True] for rank in again)
        assert_same_training(again, divided[0])

    @pytest.mark.slow
    def test_a_batch_in_parts(self, tmp_path):
        words = ("fixed", "parts")
        assert_same_training(run(tmp_path, "divided", 5, "divided", *words), run(tmp_path, "whole", 5, *words))

    @pytest.mark.slow
    def test_in_bfloat16(self, tmp_path, whole):
        words = ("bf16", *WORDS)
        ours, theirs = (run(tmp_path, name, 3, name, *words)[0] for name in ("divided", "whole"))
        for line, wanted, exact in zip(ours["metrics"], theirs["metrics"], whole[0][0]["metrics"], strict=False):
            # Where a number is rounded to its neighbour, half a percent away.
            assert line["loss"] == pytest.approx(wanted["loss"], rel=2**-8)
            first = line["step"] == 1
            # The network's first output is zero in any precision.
            assert (abs(line["loss"] - exact["loss"]) < 1e-6 * exact["loss"]) == first

    @pytest.mark.slow
    def test_a_dry_run(self, tmp_path):
        finished = processes(2, SCRIPT, tmp_path, "dry", 5, "dry", "divided")
        assert finished.returncodes == [0, 0], finished.printed
        assert "GFLOP per image" in finished.printed[0]


def test_two_at_equal_work_are_one(tmp_path):
    one, other = run(tmp_path, "two", 6, "fixed")
    single, _ = alone(tmp_path, "one", 6, "fixed")
    assert [a + b for a, b in zip(one["drawn"], other["drawn"], strict=True)][:6] == single["drawn"][:6]
    for ours, theirs in zip(one["metrics"], single["metrics"], strict=True):
        for number in ("loss", "gradient_norm"):
            # Sums of float32 in another order, six of Adam's steps.
            assert ours[number] == pytest.approx(theirs[number], rel=1e-3)
    assert one["metrics"][0]["loss"] == pytest.approx(single["metrics"][0]["loss"], rel=1e-5)


@pytest.mark.parametrize("first", ["two", pytest.param("one", marks=pytest.mark.slow)])
def test_another_number_of_processes_goes_on_with_the_same_batches(tmp_path, first):
    straight, _ = alone(tmp_path, "straight", 5, "fixed")
    if first == "two":
        run(tmp_path, "broken", 2, "fixed")
        found, said = alone(tmp_path, "broken", 5, "fixed", "resume")
        drawn = found["drawn"]
        assert "1 processes go on where 2 stopped" in said
    else:
        alone(tmp_path, "broken", 2, "fixed")
        found, other = run(tmp_path, "broken", 5, "fixed", "resume")
        drawn = [a + b for a, b in zip(found["drawn"], other["drawn"], strict=True)]
    # The loader may have fetched some ahead.
    assert drawn[:3] == straight["drawn"][2:5]
    assert [line["step"] for line in found["metrics"]] == [1, 2, 3, 4, 5]
    for ours, theirs in zip(found["metrics"], straight["metrics"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)


@pytest.mark.slow
def test_times_that_each_process_learns_from_its_own_losses_are_gone_on_with(tmp_path):
    straight = run(tmp_path, "straight", 12, "aware")
    run(tmp_path, "broken", 9, "aware")
    rest = run(tmp_path, "broken", 12, "aware", "resume")
    for after, whole in zip(rest, straight, strict=True):
        assert after["parameters"] == whole["parameters"]


def test_a_signal_to_one_stops_both_after_a_checkpoint(tmp_path):
    for printed in refused(tmp_path, 1_000_000, "interrupted"):
        assert "stopped by SIGINT after step" in printed
    assert newest_whole(tmp_path / "runs" / "two" / "checkpoints", pytest.fail).step in {2, 3, 4}


def test_without_a_gpu_each_and_without_the_flag_they_are_stopped(tmp_path):
    for printed in refused(tmp_path, 2, "any"):
        assert "2 processes were started" in printed
        assert "--training.cpu" in printed
    assert not (tmp_path / "runs").exists()


def test_fewer_images_than_a_batch_are_refused(tmp_path):
    assert all("batch_size=8 exceeds the 7 training images" in printed for printed in refused(tmp_path, 2, "few"))


def test_a_run_that_is_there_already_is_refused_by_both(tmp_path):
    (tmp_path / "runs" / "two" / "notes").mkdir(parents=True)
    assert all("exists and is not overwritten" in printed for printed in refused(tmp_path, 2))


STREAM = f"""
import json, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
import datasets, torch
from small_runs import parameters, small_run, train
from unmelt.training.data import HubStream

datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
torch.set_num_threads(1)
name, steps, resume = sys.argv[1], int(sys.argv[2]), "resume" in sys.argv
config = small_run(Path("runs"), name, steps=steps, batch_size=8, data=HubStream("set", size=4, buffer=1, held_out=4))
trainer = train(config, config.data.load(), resume=resume)
rank = trainer.accelerator.process_index
parameters = dict((name, p.tolist()) for name, p in parameters(trainer.denoiser).items())
found = dict(epoch=trainer.progress.epoch, parameters=parameters)
Path(name + str(rank) + ".json").write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_a_stream_of_files_of_several_lengths_is_shared_and_gone_on_with(tmp_path):
    (tmp_path / "set").mkdir()
    features = datasets.Features({"img": datasets.Image()})
    for split, sizes in (("train", (30, 12)), ("test", (6,))):
        for number, size in enumerate(sizes):
            images = [Image.fromarray(np.full((4, 4), number * 40 + k, np.uint8)) for k in range(size)]
            name = f"{split}-{number:05d}-of-{len(sizes):05d}.parquet"
            datasets.Dataset.from_dict({"img": images}, features=features).to_parquet(tmp_path / "set" / name)

    def trained(name, steps, *words):
        finished = processes(2, STREAM, tmp_path, name, steps, *words)
        assert finished.returncodes == [0, 0], finished.printed
        return results(tmp_path, name)

    # The shorter file has three batches of four: then both begin their next pass.
    one, other = trained("straight", 8)
    assert one["epoch"] == other["epoch"] == 2
    assert one["parameters"] == other["parameters"]
    trained("broken", 5)
    assert trained("broken", 8, "resume")[0]["parameters"] == one["parameters"]
