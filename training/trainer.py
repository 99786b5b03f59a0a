"""The training loop that all recipes share."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor

from ..core import resolve
from ..core.checks import check_instance
from ..core.configuration import to_record
from ..core.console import say
from ..core.pictures import grid, save_png
from ..core.tensor_files import check_encodable, write_state
from ..losses import DenoisingLoss
from ..models import EMA, Prior, drop_labels
from .building import build_denoiser, build_loss, build_process, build_sampler, class_columns, classes_in_order
from .data import Splits
from .folder.checkpoints import Checkpoint, cannot_write, newest_whole, read_checkpoint, write_checkpoint
from .folder.manifest import write_manifest
from .folder.prior_file import prior_record, read_prior
from .folder.records import Records
from .folder.run_folder import RunFolder
from .folder.run_start import begun, go_on
from .folder.spectrum_file import spectrum_record
from .folder.user_code import keep_code
from .folder.weights import load_initial_weights
from .known import Known, Seen
from .loop.data_checks import check_batch, check_labels
from .loop.divergence import Divergence
from .loop.divided import divide
from .loop.engine import accelerator_for, channels_last, flat_record
from .loop.held_out import HeldOut
from .loop.interrupts import StoppedError, StopRequest
from .loop.learning_rate import Schedule
from .loop.passes import Passes, Progress
from .loop.processes import Processes
from .loop.progress_display import ProgressDisplay
from .loop.sharding import make_optimizer
from .loop.training_state import TrainingState
from .loop.updates import Updates
from .loop.window import Window
from .rehearsal import rehearse, rehearse_optimizer
from .run_config import RunConfig


class Trainer:
    """Trains the denoiser that a configuration describes, in a run folder that it makes or resumes.

    Everything is made, and so checked, by the constructor; only `train` writes.

    Args:
        config: the run.
        data: what it is trained on.
        resume: go on with the run's newest whole checkpoint; a run that has made none starts over.
        init_from: folder of a run whose averaged weights a run begins with; nothing to one that goes on.

    Attributes:
        parts: the configuration, with what was fitted to the images in the place of what said how.
        denoiser: the denoiser that is trained.
        averages: moving averages of its parameters.
        ema: the first of them, which samples are drawn from.
        prior: what samples start from.
        sampler: draws samples from the moving average.
        divided: whether each process holds a part of the networks; then all of them draw samples together.

    Raises:
        FileExistsError: the run exists and is not to be resumed.
        FileNotFoundError: the run is to be resumed but there is none.
        OSError: the run's folder cannot be written to.
        RuntimeError: several processes were started that do not know of each other.
        ValueError: a setting is out of range, or contradicts the data or the run to be resumed.
    """

    def __init__(self, config: RunConfig, data: Splits, *, resume: bool = False, init_from: Path | None = None) -> None:
        check_instance("data", data, Splits, "as load() of a DataSet returns it")
        self.config, self.data, self.run = config, data, RunFolder(config.folder)
        self.accelerator = accelerator_for(config)
        self.processes, device = Processes(self.accelerator), self.accelerator.device
        self._to_fit = data.train.blocks(config.fitted_to)
        check_batch(config.training, self.processes.count, data.train)
        self._resumes = resume and self._goes_on()
        if not self._resumes:
            self.run.check_new()
        self.run.check_writable()
        # The same start in every process, and noise of its own once everything is made.
        set_seed(config.training.seed)
        stored = self.run.load_fitted() if self._resumes else None
        self.parts, self._fitted = resolve(config, data.train.shape, self._to_fit, stored=stored)
        process = build_process(self.parts, data.train.shape).to(device)
        self.denoiser = build_denoiser(self.parts, process, data.train.grey_levels).to(device)
        check_labels(self.denoiser.classes, data.train, config)
        self.known = Known(self.parts, self.denoiser)
        self._begun_with = self._initial_weights(init_from, resume=resume)
        self.averages = [EMA(self.denoiser, decay) for decay in config.training.ema_decays]
        self.ema = self.averages[0]
        self.prior = self._prior()
        self.sampler = build_sampler(self.parts, self.ema.model, self.prior)
        loss = build_loss(self.parts, self.denoiser).to(device)
        # What cannot be written is found out before anything is.
        to_record(config)
        self._records_of_images = self._fitted_records()
        if not self._resumes:
            rehearse(self.denoiser, self.sampler, data.train, self.known)
            rehearse_optimizer(config.optimizer)
        several = self.processes.count > 1
        self.divided = config.training.shard_model and several
        if self.divided:
            # From here on all processes call the networks together.
            divide(loss, self.denoiser, [average.model for average in self.averages], self.processes.count)
        sharded = config.training.shard_optimizer and several
        self.optimizer = make_optimizer(config.optimizer, loss.parameters(), sharded=sharded)
        self._make_loop(loss, device)
        set_seed(config.training.seed, device_specific=True)
        self._restored = self._restore() if self._resumes else None

    def __repr__(self) -> str:
        done, planned = self.progress.step, self.config.training.steps
        return f"Trainer({str(self.run.path)!r}, step {done} of {planned}, on {self.denoiser.process.device})"

    def _make_loop(self, loss: DenoisingLoss, device: torch.device) -> None:
        """Make what takes steps, and what a checkpoint keeps of it."""
        config, data = self.config, self.data
        if config.training.channels_last:
            channels_last(self.denoiser)
        if config.training.compile:
            loss.compile()
        # Divided it is not wrapped once more, only computed in half precision where that is asked for.
        prepare = self.accelerator.prepare_model
        self.loss = prepare(loss, evaluation_mode=True) if self.divided else self.accelerator.prepare(loss)
        self.updates = Updates(self.accelerator, self.loss, loss.times, self.optimizer, config.training)
        self.progress = Progress()
        self.passes = Passes(data.train, config.training, self.processes, device, self.progress, self.run.manifest)
        judged = build_loss(replace(self.parts, log_variance=None), self.ema.model).to(device)
        self.held_out = HeldOut(data.test, judged, known=self.known, batch_size=config.training.batch_size)
        self.divergence = Divergence(self.run, self.processes, self.optimizer, config.training)
        size = math.prod(self.denoiser.process.shape)
        self.window = Window(self.accelerator, dimensions=loss.reduction.weight(size) * size)
        self.state = TrainingState(
            self.loss,
            self.averages,
            self.optimizer,
            self.updates.scaler,
            Schedule.of(config.training),
            self.progress,
            self.passes,
            self.window,
            self.processes,
            device,
        )
        self.state.schedule.apply(self.optimizer, 0)
        check_encodable(self.state.parts())

    def train(self) -> RunFolder:
        """Train to the configured number of steps, from wherever the run is.

        Returns:
            The run's folder, with a checkpoint of the last step.

        Raises:
            BlockingIOError: another process trains this run.
            DataError: more examples are unreadable than may be, or files have changed since the run began.
            FloatingPointError: loss or gradients stay NaN or infinite; the last checkpoint before that is kept.
            OSError: something cannot be written; the last whole checkpoint is kept.
            StoppedError: the run was stopped by a signal, after a checkpoint of the step it was at.
        """
        with StopRequest() as request, ExitStack() as held:
            self._open(held)
            records = held.enter_context(self._records())
            display = ProgressDisplay(self.progress.step, self.config.training.steps, shown=self.processes.main)
            held.callback(display.close)
            self.window.restart_clock()
            self._saved = self.progress.step if self._resumes else -1
            for x, labels in self._batches():
                taken = self._step(x, labels)
                display.advance(self.progress.step)
                self._after_step(records, display, taken=taken, stop=self._agreed(request))
            self.passes.tell()
        return self.run

    def draw(self, count: int, *, seed: int) -> Tensor:
        """Return samples of the moving average as it is, all classes in turn where the network knows any.

        Where something is known of each, it is observed of held-out images, in turn. Where the networks are divided
        among processes, all of them draw the same samples together.
        """
        condition, given = self.seen(count)
        generator = torch.Generator().manual_seed(seed)
        return self.sampler.sample(count, condition=condition, given=given, generator=generator)

    def seen(self, count: int) -> Seen:
        """Return what so many samples are drawn with: classes in turn, and what is known of held-out images in turn."""
        labels = classes_in_order(self.denoiser, count)
        if not self.known:
            return Seen(labels, None)
        y, own = self.observed(count)
        return self.known.seen(labels if own is None or labels is None else own, y)

    def observed(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Return what is known of so many held-out images, in turn, and their labels.

        Raises:
            ValueError: no image is held out, or nothing is known of images.
        """
        held_out, device = self.data.test, self.denoiser.process.device
        if not len(held_out) or not self.known:
            msg = "what is known of samples is observed of held-out images: hold some out, and say how, --given"
            raise ValueError(msg)
        fetched = held_out.fetch([number % len(held_out) for number in range(count)])
        y = self.known.observe(fetched.x.to(device), generator=torch.Generator(device).manual_seed(0))
        assert y is not None, "something is known"
        return y, fetched.labels

    def _goes_on(self) -> bool:
        """Check a run that is to be resumed; tell whether it has a checkpoint to go on from."""
        if self.run.is_begun:
            self.run.check_resumable(self.config)
            return True
        if not self.run.config.is_file():
            msg = f"{self.run.path} holds no run (no {self.run.config.name}): start one without --resume"
            raise FileNotFoundError(msg)
        if self.run.load_manifest().exported is not None:
            msg = (
                f"{self.run.path} is an exported model, which holds no state of its training to go on from: begin a run"
                f" with its weights, --init-from {self.run.path} --name OTHER"
            )
            raise ValueError(msg)
        return False

    def _initial_weights(self, init_from: Path | None, *, resume: bool) -> dict[str, Any] | None:
        """Give the denoiser the weights of another run where it begins with some, and return where they come from."""
        if self._resumes:
            self._check_manifest()
            return None
        # One that starts over begins as it did.
        begun_with = self.run.load_manifest().content.get("begun_with") if resume and init_from is None else None
        folder = Path(begun_with["run"]) if begun_with else init_from
        return None if folder is None else load_initial_weights(self.denoiser, folder)

    def _check_manifest(self) -> None:
        manifest = self.run.load_manifest()
        manifest.check_process(self.denoiser.process)
        manifest.check_data(self.data, labels=self.denoiser.classes is not None)

    def _prior(self) -> Prior:
        """Return the prior that the run has if it is resumed, else one fitted to its images."""
        process, train = self.denoiser.process, self.data.train
        if self._resumes and self.run.prior.is_file():
            prior = read_prior(self.run.prior, self.config, process, train.fingerprint())
        else:
            prior = self.parts.prior(process, self._to_fit)
        prior.grey_levels = train.grey_levels
        return prior

    def _fitted_records(self) -> dict[Path, object]:
        """Return what was fitted to the images and is kept in the run's folder, by the file."""
        config, train = self.config, self.data.train
        records: dict[Path, object] = {self.run.prior: prior_record(self.prior, config, train.fingerprint())}
        if not (self._resumes and self.run.spectrum.is_file()):
            basis = self.denoiser.process.basis
            records[self.run.spectrum] = spectrum_record(basis, train, config.fitted_to)
        return records

    def _open(self, held: ExitStack) -> None:
        """Lock the run's folder, and make what a new run needs there or what a resumed one may lack."""
        with self.processes.together():
            if not self.processes.main:
                return
            held.enter_context(self.run.locked())
            if self._restored is not None:
                go_on(self.run, self._restored, self.config, self._records_of_images)
                return
            with begun(self.run, room_for=[self.denoiser, *self.averages]) as run:
                run.store_fitted(self._fitted)
                for path, record in self._records_of_images.items():
                    write_state(path, record)
                write_manifest(run.manifest, self.data, self.denoiser, self._begun_with)
                for words in keep_code(self.config, run.path):
                    say(words)
                # Last: it is what tells a run.
                run.store_config(self.config)

    def _restore(self) -> Path:
        """Take over the newest whole checkpoint, and return its folder."""
        found: Checkpoint | None = None
        with self.processes.together():
            if self.processes.main:
                found = newest_whole(self.run.checkpoints, _warn)
        path = self.processes.of_main(found and found.path)
        with self.processes.together():
            said = self.state.restore(found or read_checkpoint(path))
        if said and self.processes.main:
            _warn(said)
        return path

    def _records(self) -> Records:
        tracker = self.accelerator if self.config.training.trackers else None
        if tracker is not None:
            tracker.init_trackers(self.config.name.replace("/", "_"), config=flat_record(self.config))
        return Records(self.run if self.processes.main else None, from_step=self.progress.step, tracker=tracker)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield examples, and labels for a conditional network, until the last step."""
        if self.progress.step == self.config.training.steps:
            return
        for x, labels in self.passes:
            yield x, None if self.denoiser.classes is None else labels
            if self.progress.step >= self.config.training.steps:
                return

    def _step(self, x: Tensor, labels: Tensor | None) -> bool:
        """Take one optimizer step, or leave it out where its gradient is not finite."""
        if self.config.training.flip:
            mirrored = torch.rand(len(x), *(1,) * (x.ndim - 1), device=x.device) < 0.5
            x = torch.where(mirrored, x.flip(-1), x)
        if labels is not None:
            assert self.denoiser.classes is not None
            labels = drop_labels(labels, self.denoiser.classes, self.config.training.label_dropout)
        self.state.schedule.apply(self.optimizer, self.progress.step)
        update = self.updates.take(x, *self.known.seen(labels, self.known.observe(x)))
        if not update.taken:
            self.divergence.leave_out(update, self.progress, self.passes.indices())
            return False
        for average in self.averages:
            average.update(self.denoiser)
        self.progress.step += 1
        self.progress.skipped_in_a_row = 0
        self.window.add(update.loss, update.norm)
        return True

    def _after_step(
        self, records: Records, display: ProgressDisplay, *, taken: bool, stop: signal.Signals | None
    ) -> None:
        """Record, save and draw where it is time to, and stop where it was asked for."""
        settings, step = self.config.training, self.progress.step
        last = step == settings.steps
        recorded, saved, drawn = (
            taken and (last or step % every == 0)
            for every in (settings.log_every, settings.checkpoint_every, settings.sample_every)
        )
        numbers = self._numbers() if recorded else {}
        with self.processes.together(), self._writing(records.path):
            if saved and (self.processes.main or self.divided):
                numbers |= self.held_out.measure()
            if numbers:
                records.write(step, numbers)
        if recorded:
            display.numbers(step, numbers)
        # After a step that was left out there may be one of this step already, from which it is left out again.
        if saved or (stop and step != self._saved):
            self._save(records)
        if stop and not last:
            msg = f"stopped by {stop.name} after step {step}; checkpoint written: go on with --resume {self.run.path}"
            raise StoppedError(msg)
        if drawn and not last:
            with self.processes.together(), self._writing(self.run.samples):
                self._sample(records)
        if saved or (drawn and not last):
            self.window.restart_clock()

    @contextmanager
    def _writing(self, path: Path) -> Generator[None, None, None]:
        """Say what could not be written, and what is kept."""
        try:
            yield
        except OSError as error:
            raise cannot_write(error, str(path), self.run.checkpoints) from error

    def _agreed(self, request: StopRequest) -> signal.Signals | None:
        """Return the signal that asked this process to stop, or any of several."""
        number = request.received or 0
        if self.processes.count > 1:
            batches = self.progress.step + self.progress.skipped
            number = 0 if batches % self.config.training.agree_every else self.processes.largest(number)
        return signal.Signals(number) if number else None

    def _numbers(self) -> dict[str, float]:
        """Return the numbers of the steps in the window, over all processes."""
        settings = self.config.training
        numbers = self.window.close(settings.batch_size)
        self.divergence.check(numbers, self.progress)
        left = (settings.steps - self.progress.step) * settings.batch_size / numbers["images_per_second"] / 3600
        rate = float(self.optimizer.param_groups[0]["lr"])
        return {**numbers, "learning_rate": rate, "skipped": self.progress.skipped, "hours_left": left}

    def _save(self, records: Records) -> None:
        self._saved = self.progress.step
        parts, facts = self.state.parts(), self.state.facts()
        # What would not be read again is not written.
        norm = self.processes.of_main(self.state.norm(parts))
        self.divergence.check(self.window.means() | {"norm of all weights": norm}, self.progress)
        with self.processes.together():
            if self.processes.main:
                records.flush()
                keep = self.config.training.keep_checkpoints
                write_checkpoint(self.run.checkpoints, self.progress.step, parts, facts, keep=keep)

    def _sample(self, records: Records) -> None:
        """Draw a grid of samples from the moving average, with a generator of its own."""
        if not (self.processes.main or self.divided):
            return
        settings = self.config.pictures
        samples = self.draw(settings.count, seed=settings.seed)
        if not self.processes.main:
            return
        picture = grid(samples, self.data.train.range, columns=class_columns(self.denoiser, settings.count))
        save_png(self.run.samples / f"step_{self.progress.step:08d}.png", picture)
        records.picture(self.progress.step, "samples", picture)


def _warn(text: str) -> None:
    say(f"warning: {text}", stream=sys.stderr)
