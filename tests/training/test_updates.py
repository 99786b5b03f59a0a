"""One optimizer step: the same in parts, and none at all where a gradient is not finite."""

import json
from types import SimpleNamespace

import pytest
import torch
from small_runs import assert_identical, begin, changed, metrics, parameters, train

from unmelt.core import later
from unmelt.losses import LossAwareTimes
from unmelt.models import UNet
from unmelt.training import ArrayExamples, Splits
from unmelt.training.loop.updates import Updates

PLAIN = later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(), dropout=0.0)


class Spoilt(torch.nn.Module):
    """A loss, some calls of which return NaN."""

    def __init__(self, loss, calls):
        super().__init__()
        self.loss, self.calls, self.count = loss, calls, 0

    def forward(self, *arguments, **named):
        self.count += 1
        found = self.loss(*arguments, **named)
        return found * float("nan") if self.count in self.calls else found


def spoil(trainer, *calls):
    trainer.updates._loss = Spoilt(trainer.loss, calls)
    return trainer


class TestAccumulation:
    def test_a_step_in_parts_is_the_step_at_once(self, training, splits, monkeypatch):
        # Same times and noise, drawn for the whole batch in one order or the other: then only sums are rounded anew.
        whole, parts = (
            begin(training(name, accumulate=n, network=PLAIN, flip=False), splits)
            for name, n in (("whole", 1), ("parts", 4))
        )
        numbers = torch.Generator().manual_seed(0)
        x = splits.train.read(range(4))
        times, noise = torch.rand(4, generator=numbers), torch.randn(x.shape, generator=numbers)
        for trainer in (whole, parts):
            rows = iter(times.split(4 // trainer.config.training.accumulate))
            trainer.updates._times = SimpleNamespace(sample=lambda *_, rows=rows, **__: next(rows))
            each = iter(noise.split(4 // trainer.config.training.accumulate))
            monkeypatch.setattr("unmelt.losses.denoising.white_noise", lambda *_, each=each, **__: next(each))
            trainer.found = trainer.updates.take(x, None)
        # Gradients of float32, and Adam's first step, which is their sign.
        torch.testing.assert_close(whole.found.norm, parts.found.norm, rtol=1e-5, atol=0)
        torch.testing.assert_close(whole.found.loss, parts.found.loss, rtol=1e-5, atol=0)
        torch.testing.assert_close(whole.found.losses, parts.found.losses, rtol=1e-5, atol=0)

    def test_parts_that_do_not_divide_a_batch_are_refused(self, training, splits):
        with pytest.raises(ValueError, match=r"batch_size=4 is shared by 1 processes, in accumulate=3 .*multiple of 3"):
            begin(training(accumulate=3), splits)

    @pytest.mark.full
    def test_a_run_in_parts_goes_on_bit_for_bit(self, training, splits):
        straight = train(training("straight", steps=4, accumulate=2), splits)
        train(training("broken", steps=2, accumulate=2), splits)
        resumed = train(training("broken", steps=4, accumulate=2), splits, resume=True)
        assert_identical(parameters(resumed.denoiser), parameters(straight.denoiser))
        assert metrics(resumed) == metrics(straight)


class Normed(torch.nn.Module):
    """A network with running statistics, which one of its calls in training spoils."""

    def __init__(self, shape, call=3):
        super().__init__()
        self.norm, self.call, self.count = torch.nn.BatchNorm2d(shape[0]), call, 0

    def forward(self, z, t, condition):
        self.count += self.training
        return self.norm(z * float("nan") if self.training and self.count == self.call else z)


class TestSkips:
    def test_running_statistics_and_learned_times_stay_too(self, training, splits):
        network = later(Normed)
        config = changed(training(steps=4, checkpoint_every=2, network=network), times=LossAwareTimes())
        trainer = begin(config, splits)
        take, seen = trainer.updates.take, []

        def watched(x, labels, given):
            before = {name: value.clone() for name, value in trainer.loss.state_dict().items()}
            update = take(x, labels, given)
            if not update.taken:
                seen.append(update)
                assert_identical(dict(trainer.loss.state_dict()), before)
            return update

        trainer.updates.take = watched
        trainer.train()
        assert len(seen) == 1
        # What was written can be read.
        assert begin(config, splits, resume=True).progress.step == 4

    def test_statistics_that_are_not_finite_are_not_written(self, training, splits):
        trainer = begin(training(steps=4, checkpoint_every=2, network=later(Normed, call=-1)), splits)
        average = trainer.ema.update

        def spoilt(model):
            average(model)
            if trainer.progress.step == 3:
                trainer.ema.model.network.norm.running_mean.fill_(float("inf"))

        trainer.ema.update = spoilt
        with pytest.raises(FloatingPointError, match="norm of all weights became inf"):
            trainer.train()
        assert [path.name for path in trainer.run.checkpoints.iterdir()] == ["step_00000002"]

    @pytest.mark.full
    def test_a_step_that_is_left_out_moves_nothing_and_its_batch_is_written_down(self, training, splits):
        trainer = spoil(begin(training(steps=3, accumulate=2, log_every=1), splits), 3)
        seen = []
        step = trainer._step

        def watched(x, labels):
            before = [parameters(trainer.denoiser), parameters(trainer.ema.model), trainer.ema.updates]
            taken = step(x, labels)
            seen.append(taken)
            if not taken:
                assert_identical(
                    [parameters(trainer.denoiser), parameters(trainer.ema.model), trainer.ema.updates], before
                )
            return taken

        trainer._step = watched
        trainer.train()
        assert seen == [True, False, True, True]
        assert [line["step"] for line in metrics(trainer)] == [1, 2, 3]
        assert [line["skipped"] for line in metrics(trainer)] == [0, 1, 1]
        # The rate of a step that is taken next is the one it would have had.
        assert [line["learning_rate"] for line in metrics(trainer)] == pytest.approx([0.0025, 0.005, 0.0075])
        (line,) = [json.loads(text) for text in trainer.run.not_finite.read_text().splitlines()]
        assert (line["step"], line["process"], line["gradient_norm"]) == (2, 0, "nan")
        assert line["indices"] == trainer.passes._order.part(0, 1)
        assert len(line["times"]) == 4
        assert all(0 < t <= 1 for t in line["times"])
        assert [loss == "nan" for loss in line["losses"]] == [True, True, False, False]
        assert (trainer.progress.batch, trainer.progress.skipped_in_a_row) == (4, 0)

    @pytest.mark.full
    def test_too_many_in_a_row_stop_the_run_and_the_last_good_checkpoint_stays(self, training, splits):
        config = training(steps=9, checkpoint_every=2, most_skips=2)
        trainer = spoil(begin(config, splits), 4, 6, 7, 8)
        with pytest.raises(FloatingPointError, match="gradient norm was nan in 3 steps in a row at or before step 5"):
            trainer.train()
        assert sorted(path.name for path in trainer.run.checkpoints.iterdir()) == ["step_00000002", "step_00000004"]
        assert len(trainer.run.not_finite.read_text().splitlines()) == 4
        assert train(config, splits, resume=True).progress.step == 9

    @pytest.mark.full
    def test_half_precision_s_scale_falls_and_the_step_is_left_out(self, training, splits):
        # On a CPU accelerate has no scaler; torch has.
        trainer = begin(training(network=PLAIN), splits)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
        trainer.accelerator.scaler = scaler
        updates = Updates(
            trainer.accelerator, trainer.loss, trainer.updates._times, trainer.optimizer, trainer.config.training
        )
        before, x, taken = parameters(trainer.denoiser), splits.train.read(range(4)), []
        backward = trainer.accelerator.backward
        trainer.accelerator.backward = lambda loss: backward(scaler.scale(loss) if loss.requires_grad else loss)
        trainer.accelerator.native_amp = False
        scales = [scaler.get_scale()]
        while not taken or not taken[-1]:
            found = updates.take(x, None)
            taken.append(found.taken)
            scales.append(scaler.get_scale())
            if not found.taken:
                assert_identical(parameters(trainer.denoiser), before)
                assert scales[-1] == scales[-2] / 2
        assert len(taken) > 1
        assert found.norm.isfinite()
        assert any(not torch.equal(a, before[name]) for name, a in parameters(trainer.denoiser).items())


class TestAverages:
    @pytest.mark.full
    def test_several_are_kept_each_with_its_decay_and_gone_on_with(self, training, splits):
        straight = train(training("straight", steps=6, ema_decay=(0.9, 0.5)), splits)
        slow, fast = straight.averages
        assert straight.ema is slow
        alone = train(training("alone", steps=6, ema_decay=0.5), splits)
        assert_identical(parameters(fast.model), parameters(alone.ema.model))
        train(training("broken", steps=3, ema_decay=(0.9, 0.5)), splits)
        resumed = train(training("broken", steps=6, ema_decay=(0.9, 0.5)), splits, resume=True)
        for ours, theirs in zip(resumed.averages, straight.averages, strict=True):
            assert_identical(parameters(ours.model), parameters(theirs.model))

    def test_decays_that_are_close_are_two(self, training, splits):
        run = train(training(steps=1, ema_decay=(0.99999991, 0.99999992)), splits).run
        names = {path.stem for path in run.checkpoints.rglob("average*")}
        assert names == {"average_0.99999991", "average_0.99999992"}

    @pytest.mark.parametrize("decays", [(), (0.9, 0.9)])
    def test_none_or_the_same_twice_are_refused(self, training, decays):
        with pytest.raises(ValueError, match="ema_decay must be one number, or several different ones"):
            training(ema_decay=decays)


def test_channels_last_is_the_same_step_in_another_order_in_memory(training, splits):
    runs = [train(training(f"{last}", steps=2, channels_last=last, network=PLAIN), splits) for last in (False, True)]
    convolutions = [p for p in runs[1].denoiser.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[-1] > 1]
    assert convolutions
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in convolutions)
    for ours, theirs in zip(*map(metrics, runs), strict=True):
        # Sums of float32 in another order.
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_times_that_learn_from_losses_do_so_in_a_run(training, splits):
    config = changed(training(steps=4), times=LossAwareTimes())
    trainer = begin(config, splits)
    before = {name: value.clone() for name, value in trainer.updates._times.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(value, before[name]) for name, value in trainer.updates._times.state_dict().items())


def test_data_of_one_dimension_train(training):
    values = torch.rand(12, 2, 16)
    network = later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=())
    splits = Splits(ArrayExamples(values[:8]), ArrayExamples(values[8:]))
    assert train(training(steps=1, network=network, channels_last=True), splits).progress.step == 1
