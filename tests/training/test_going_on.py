"""A run goes on with what may change: its length, learning rate and clipping; from other weights; on more processes."""

import itertools
import json

import pytest
import torch
from small_runs import (
    assert_identical,
    assert_same_run,
    begin,
    contents,
    metrics,
    parameters,
    train,
)

from unmelt.core import later
from unmelt.models import UNet
from unmelt.training import RunFolder, Training
from unmelt.training.loop.learning_rate import Schedule
from unmelt.training.loop.order import PassOrder

ADAM = {"weight_decay": 0.0, "fused": True}


def adam(lr):
    return later(torch.optim.AdamW, lr=lr, **ADAM)


class TestSchedule:
    def test_a_cosine_that_is_aimed_anew_does_not_jump_and_ends_where_it_should(self):
        schedule = Schedule.of(Training(steps=100, warmup=10, cosine_decay=True))
        longer = schedule.aimed(60, 400)
        assert longer.factor(60) == pytest.approx(schedule.factor(60), rel=1e-12)
        assert [longer.factor(step) for step in (400, 1000)] == pytest.approx([0.01, 0.01])
        factors = [longer.factor(step) for step in range(60, 401)]
        assert all(a > b for a, b in itertools.pairwise(factors))
        # Half a cosine between the two: in its middle it is at their mean.
        assert longer.factor(230) == pytest.approx((schedule.factor(60) + 0.01) / 2)
        # Again, from there.
        again = longer.aimed(230, 240)
        assert again.factor(230) == pytest.approx(longer.factor(230), rel=1e-12)
        assert again.factor(240) == pytest.approx(0.01)

    def test_a_finished_cosine_goes_on_at_its_last_rate(self):
        done = Schedule.of(Training(steps=100, warmup=1, cosine_decay=True)).aimed(100, 200)
        assert [done.factor(step) for step in (100, 150, 200)] == pytest.approx([0.01] * 3)

    def test_a_constant_rate_stays(self):
        schedule = Schedule.of(Training(steps=10, warmup=2))
        assert schedule.aimed(5, 20).factor(15) == 1.0

    def test_a_rate_that_is_a_tensor_is_set_in_place(self):
        parameter = torch.nn.Parameter(torch.ones(1))
        optimizer = torch.optim.Adam([parameter], lr=torch.tensor(0.5), foreach=False, capturable=False)
        schedule, rate = Schedule.of(Training(steps=10, warmup=2)), optimizer.param_groups[0]["lr"]
        for step, factor in ((0, 0.5), (1, 1.0), (0, 0.5)):
            schedule.apply(optimizer, step)
            assert optimizer.param_groups[0]["lr"] is rate
            assert rate.item() == 0.5 * factor


class TestChanges:
    @pytest.mark.full
    def test_a_cosine_goes_on_for_longer_from_the_rate_where_it_was(self, training, splits):
        train(training(steps=4, cosine_decay=True, warmup=1), splits)
        trainer = train(training(steps=12, cosine_decay=True, warmup=1), splits, resume=True)
        rates = [line["learning_rate"] for line in metrics(trainer)]
        assert len(rates) == 12
        # The fifth step is the first of the new cosine, from where the old one would have been.
        assert rates[4] == pytest.approx(1e-2 * 0.01)
        assert trainer.state.schedule == Schedule(1, 12, cosine=True, aimed_at=4, aimed_from=pytest.approx(0.01))

    @pytest.mark.full
    def test_before_its_end_it_bends(self, training, splits):
        train(training(steps=8, cosine_decay=True, warmup=1, checkpoint_every=4), splits)
        run = RunFolder(training().folder)
        (run.checkpoints / "step_00000008").rename(run.path / "aside")
        rates = [
            line["learning_rate"]
            for line in metrics(train(training(steps=20, cosine_decay=True, warmup=1), splits, resume=True))
        ]
        planned = Schedule.of(Training(steps=8, warmup=1, cosine_decay=True))
        assert rates[:5] == pytest.approx([1e-2 * planned.factor(step) for step in range(5)])
        steps = [a - b for a, b in itertools.pairwise(rates)]
        # No jump: no step of the rate is longer than the longest of the first cosine.
        assert max(steps) <= max(planned.factor(s) - planned.factor(s + 1) for s in range(8)) * 1e-2
        assert min(steps) > 0

    @pytest.mark.full
    def test_another_learning_rate_takes_the_place_of_the_stored_one(self, training, splits):
        train(training(steps=2, warmup=0), splits)
        trainer = train(training(steps=4, warmup=0, optimizer=adam(1e-4)), splits, resume=True)
        assert [line["learning_rate"] for line in metrics(trainer)] == pytest.approx([1e-2, 1e-2, 1e-4, 1e-4])
        again = train(training(steps=5, warmup=0, optimizer=adam(1e-4)), splits, resume=True)
        assert metrics(again)[-1]["learning_rate"] == pytest.approx(1e-4)

    @pytest.mark.parametrize("change", [{"clip": 0.5}, {"label_dropout": 0.5}, {"accumulate": 2}, {"log_every": 2}])
    def test_what_else_may_change(self, training, splits, change):
        train(training(steps=2), splits)
        trainer = train(training(steps=3, **change), splits, resume=True)
        assert trainer.run.load_config().training == trainer.config.training

    def test_dropout_may_change(self, training, splits):
        train(training(steps=2), splits)
        network = later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.5)
        assert train(training(steps=3, network=network), splits, resume=True).progress.step == 3

    def test_fewer_steps_than_are_done_are_refused_and_change_nothing(self, training, splits):
        run = train(training(steps=4), splits).run
        before = contents(run.path)
        with pytest.raises(ValueError, match="steps=3: the run has done 4 already"):
            begin(training(steps=3), splits, resume=True)
        assert contents(run.path) == before

    @pytest.mark.full
    def test_the_numbers_of_a_window_that_a_stop_cuts_are_not_lost(self, training, splits):
        straight = train(training("straight", steps=6, log_every=4, checkpoint_every=3), splits)
        broken = train(training("broken", steps=6, log_every=4, checkpoint_every=3), splits).run
        (broken.checkpoints / "step_00000006").rename(broken.path / "aside")
        assert_same_run(
            train(training("broken", steps=6, log_every=4, checkpoint_every=3), splits, resume=True), straight
        )


class TestStartingOver:
    @pytest.mark.full
    def test_a_run_without_a_checkpoint_starts_over_whether_resumed_or_not(self, training, splits):
        straight = train(training("straight"), splits)
        for name, resume in (("resumed", True), ("anew", False)):
            folder = train(training(name), splits).run
            for checkpoint in folder.checkpoints.iterdir():
                checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}"))
            (folder.path / ".config.json.4711").write_text("half")
            # Killed before its first checkpoint, whatever its records say.
            again = train(training(name), splits, resume=resume)
            assert_same_run(again, straight)
            assert not (folder.path / ".config.json.4711").exists()

    def test_an_empty_folder_is_one_to_start_in(self, training, splits):
        training().folder.mkdir(parents=True)
        assert train(training(steps=1), splits).progress.step == 1

    @pytest.mark.parametrize("name", ["code", "samples", "tensorboard", "metrics.jsonl"])
    def test_what_has_the_name_of_something_of_a_run_s_is_not_touched_where_none_was(self, training, splits, name):
        folder = training().folder
        (folder / name).mkdir(parents=True)
        (folder / name / "mine.py").write_text("mine")
        before = contents(folder)
        with pytest.raises(FileExistsError, match="exists and is not overwritten"):
            begin(training(steps=1), splits)
        assert contents(folder) == before

    def test_a_folder_with_a_file_of_the_user_s_is_not_touched(self, training, splits):
        folder = training().folder
        train(training(steps=1), splits)
        (folder / "checkpoints" / "step_00000001").rename(folder / "checkpoints" / ".step_00000001")
        (folder / "notes.txt").write_text("mine")
        before = contents(folder)
        with pytest.raises(FileExistsError, match="exists and is not overwritten"):
            begin(training(steps=1), splits)
        assert contents(folder) == before

    @pytest.mark.full
    def test_a_run_that_diverged_goes_on_as_its_message_says(self, training, splits):
        config = training(steps=6, warmup=0, checkpoint_every=2, most_skips=1)
        train(training(steps=2, warmup=0, checkpoint_every=2, most_skips=1), splits)
        with pytest.raises(
            FloatingPointError, match=r"--resume .*small --optimizer.lr 0.001 goes on from step_00000002"
        ):
            train(training(steps=6, warmup=0, most_skips=1, optimizer=adam(1e39)), splits, resume=True)
        assert train(config, splits, resume=True).progress.step == 6


class TestLock:
    def test_a_run_that_is_being_trained_is_not_trained_by_another(self, training, splits):
        trainer = begin(training(steps=2), splits)
        other = begin(training(steps=2), splits)
        with trainer.run.locked(), pytest.raises(BlockingIOError, match=r"small is being trained by another process"):
            other.train()
        trainer.train()
        # It was made before the first one had ended: what is there now is not what it knows.
        with pytest.raises(FileExistsError, match="not overwritten"):
            other.train()

    @pytest.mark.full
    def test_what_was_trained_meanwhile_is_not_trained_again(self, training, splits):
        train(training(steps=2), splits)
        late = begin(training(steps=6), splits, resume=True)
        ahead = train(training(steps=4), splits, resume=True)
        before = contents(ahead.run.checkpoints)
        with pytest.raises(BlockingIOError, match="trained by another process meanwhile"):
            late.train()
        assert contents(ahead.run.checkpoints) == before


class TestInitialWeights:
    def test_a_new_run_begins_with_the_average_of_another(self, training, splits):
        old = train(training("old", steps=3), splits)
        new = begin(training("new", steps=2, seed=7), splits, init_from=old.run.path)
        assert_identical(parameters(new.denoiser), parameters(old.ema.model))
        assert_identical(parameters(new.ema.model), parameters(old.ema.model))
        new.train()
        begun_with = json.loads(new.run.manifest.read_text())["begun_with"]
        assert begun_with == {"run": str(old.run.path), "checkpoint": "step_00000003", "part": "average_0.9"}

    @pytest.mark.full
    @pytest.mark.parametrize("given", [True, False], ids=["given again", "known to the run"])
    def test_a_run_that_starts_over_begins_with_them_again(self, training, splits, given):
        old = train(training("old", steps=3), splits).run.path
        straight = train(training("straight", steps=2), splits, init_from=old)
        run = train(training("new", steps=2), splits, init_from=old).run
        for path in run.checkpoints.iterdir():
            path.rename(path.with_name(f".{path.name}"))
        again = train(training("new", steps=2), splits, resume=True, init_from=old if given else None)
        assert_same_run(again, straight)
        assert run.load_manifest().content["begun_with"]["run"] == str(old)

    def test_weights_of_another_network_are_refused_before_anything_is_written(self, training, splits):
        old = train(training("old", steps=1), splits)
        other = later(UNet, channels=8, multipliers=(1, 2), blocks=1, attention_levels=())
        with pytest.raises(
            ValueError, match=r"holds the weights of another network than this one .*and \d+ more.: restore"
        ):
            begin(training("new", network=other), splits, init_from=old.run.path)
        assert not training("new").folder.exists()
        with pytest.raises(FileNotFoundError, match="nowhere"):
            begin(training("new"), splits, init_from=training("nowhere").folder)


class TestOrder:
    @pytest.mark.parametrize("processes", [1, 2, 4])
    def test_batches_are_the_same_whoever_shares_them(self, processes):
        whole = PassOrder(50, 8, seed=3)
        parts = [PassOrder(50, 8, seed=3, rank=rank, processes=processes) for rank in range(processes)]
        for order in (whole, *parts):
            order.epoch, order.batch = 5, 2
        together = [[i for row in rows for i in row] for rows in zip(*parts, strict=True)]
        assert together == list(whole)
        assert len(together) == len(whole) - 2 == 4

    def test_passes_seeds_and_examples(self):
        orders = {}
        for seed, epoch in itertools.product((0, 1), (0, 1)):
            order = PassOrder(24, 4, seed=seed)
            order.epoch = epoch
            orders[seed, epoch] = [i for batch in order for i in batch]
            assert sorted(orders[seed, epoch]) == list(range(24))
        # Neither is a pass of one seed that of another's next pass.
        assert len({tuple(order) for order in orders.values()}) == 4


def test_a_flag_of_how_the_optimizer_computes_is_followed(training, splits):
    train(training(steps=2), splits)
    slow = later(torch.optim.AdamW, lr=1e-2, weight_decay=0.0, fused=False)
    trainer = train(training(steps=4, optimizer=slow), splits, resume=True)
    assert trainer.optimizer.param_groups[0]["fused"] is False


def test_a_run_whose_checkpoints_were_all_set_aside_says_so(training, splits):
    run = train(training(steps=2), splits).run
    (run.checkpoints / "step_00000002").rename(run.checkpoints / "damaged_step_00000002")
    with pytest.raises(ValueError, match=r"no whole checkpoint .*only damaged_step_00000002: restore one"):
        begin(training(steps=4), splits, resume=True)
