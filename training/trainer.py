"""The training loop that all recipes share."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from typing import cast

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch import Tensor
from tqdm import tqdm

from ..core import resolve
from ..core.checks import check_instance
from ..core.pictures import grid, save_png
from ..models import EMA, Prior, drop_labels
from .building import build_denoiser, build_loss, build_process, build_sampler, class_columns, classes_in_order
from .checkpoints import latest_checkpoint, save_checkpoint
from .data import Splits
from .data.stream import StreamExamples
from .interrupts import StopRequest
from .learning_rate import learning_rate_factor
from .manifest import write_manifest
from .metrics import Records, Window
from .passes import Passes, Progress
from .prior_file import read_prior, write_prior
from .rehearsal import rehearse
from .run_config import Precision, RunConfig, Training
from .run_folder import RunFolder
from .user_code import keep_code


class Trainer:
    """Trains the denoiser that a configuration describes, in a run folder that it makes or resumes.

    Args:
        config: the run.
        data: what it is trained on.
        resume: go on with the run's newest checkpoint instead of starting a new run.

    Attributes:
        parts: the configuration, with what was fitted to the images in the place of what said how.
        denoiser: the denoiser that is trained.
        ema: the moving average of its parameters, which samples are drawn from.
        prior: what samples start from.
        sampler: draws samples from the moving average.

    Raises:
        FileExistsError: the run exists and is not to be resumed.
        FileNotFoundError: the run is to be resumed but there is none, or it has no checkpoint.
        RuntimeError: several processes were started that do not know of each other.
        ValueError: a setting is out of range, or contradicts the data or the run to be resumed.
    """

    def __init__(self, config: RunConfig, data: Splits, *, resume: bool = False) -> None:
        # Everything is made, and so checked, before anything is written.
        check_instance("data", data, Splits, "as load() of a DataSet returns it")
        self.config, self.data, self.run = config, data, RunFolder(config.folder)
        self.accelerator = _accelerator(config.training)
        device = self.accelerator.device
        self._to_fit = data.train.blocks(config.fitted_to)
        self._check_batch()
        if resume:
            self.run.check_resumable(config)
        # The same start in every process, and noise of its own once everything is made.
        set_seed(config.training.seed)
        stored = self.run.load_fitted() if resume else None
        self.parts, fitted = resolve(config, data.train.shape, self._to_fit, stored=stored)
        process = build_process(self.parts, data.train.shape).to(device)
        self.denoiser = build_denoiser(self.parts, process, data.train.grey_levels).to(device)
        self._check_labels()
        if resume:
            self._check_manifest()
        self.ema = EMA(self.denoiser, config.training.ema_decay)
        self.prior = self._prior(resume=resume)
        self.sampler = build_sampler(self.parts, self.ema.model, self.prior)
        loss = build_loss(self.parts, self.denoiser).to(device)
        optimizer = config.optimizer(loss.parameters())
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(config.training))
        self.progress = Progress()
        self.passes = Passes(data.train, config.training, self.accelerator, self.progress, self.run.manifest)
        if not resume:
            rehearse(self.denoiser, self.sampler, data.train)
            self._write(fitted)
        elif self.accelerator.is_main_process and not self.run.prior.is_file():
            write_prior(self.run.prior, self.prior, config, data.train.fingerprint())

        if config.training.compile:
            loss.compile()
        self.loss, self.optimizer, self.scheduler = self.accelerator.prepare(loss, optimizer, scheduler)
        set_seed(config.training.seed, device_specific=True)
        self.accelerator.register_for_checkpointing(self.ema, self.progress)
        if resume:
            self._restore()

    def train(self) -> RunFolder:
        """Train to the configured number of steps, from wherever the run is.

        Returns:
            The run's folder, with a checkpoint of the last step.

        Raises:
            DataError: more examples are unreadable than may be, or files have changed since the run began.
            FloatingPointError: the loss became NaN or infinite; the last checkpoint before that is kept.
            KeyboardInterrupt: the run was stopped by a signal, after a checkpoint of the step it was at.
        """
        settings, progress, main = self.config.training, self.progress, self.accelerator.is_main_process
        with (
            Records(self.run if main else None, from_step=progress.step) as records,
            StopRequest() as request,
            tqdm(total=settings.steps, initial=progress.step, unit="step", disable=not main) as bar,
        ):
            window = Window(self.accelerator)
            for x, labels in self._batches():
                window.add(*self._step(x, labels))
                bar.update()
                last, stop = progress.step == settings.steps, self._agreed(request)
                if last or stop or progress.step % settings.log_every == 0:
                    bar.set_postfix(self._record(records, window, len(x)))
                if last or stop or progress.step % settings.checkpoint_every == 0:
                    self._save(window)
                if stop and not last:
                    msg = f"stopped by {stop.name} after step {progress.step}; checkpoint written: go on with --resume"
                    raise KeyboardInterrupt(msg)
                if not last and progress.step % settings.sample_every == 0:
                    self._sample(records)
                    window.restart_clock()
            self.passes.tell()
        return self.run

    def draw(self, count: int, *, seed: int) -> Tensor:
        """Return samples of the moving average as it is, all classes in turn where the network knows any."""
        return self.sampler.sample(
            count,
            condition=classes_in_order(self.denoiser, count),
            generator=torch.Generator().manual_seed(seed),
        )

    def _check_batch(self) -> None:
        size, processes = self.config.training.batch_size, self.accelerator.num_processes
        # Of a stream the length is not known; one of less than a batch is found out when it ends.
        if size * processes > len(self.data.train) and not isinstance(self.data.train, StreamExamples):
            msg = (
                f"batch_size={size} exceeds the {len(self.data.train)} training images (shared by {processes}"
                " processes): lower it"
            )
            raise ValueError(msg)

    def _check_labels(self) -> None:
        classes, known = self.denoiser.classes, self.data.train.classes
        if classes is not None and (known is None or known > classes):
            has = "no labels" if known is None else f"{known} classes"
            msg = (
                f"the network is made for {classes} classes, and the data ({self.config.data}) has {has}: leave the"
                " network's classes out, give as many as there are, or take data with labels, such as --data Digits"
            )
            raise ValueError(msg)

    def _check_manifest(self) -> None:
        manifest = self.run.load_manifest()
        manifest.check_process(self.denoiser.process)
        manifest.check_data(self.data, labels=self.denoiser.classes is not None)

    def _prior(self, *, resume: bool) -> Prior:
        """Return the prior that the run has if it is resumed, else one fitted to its images."""
        process, train = self.denoiser.process, self.data.train
        if resume and self.run.prior.is_file():
            prior = read_prior(self.run.prior, self.config, process, train.fingerprint())
        else:
            prior = self.parts.prior(process, self._to_fit)
        prior.grey_levels = train.grey_levels
        return prior

    def _write(self, fitted: dict[str, Tensor]) -> None:
        """Make the run's folder, in one of the processes."""
        self.run.check_new()
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with self.run.made() as run:
                run.store_config(self.config)
                for words in keep_code(self.config, run.path):
                    print(words)  # noqa: T201
                run.store_fitted(fitted)
                write_prior(run.prior, self.prior, self.config, self.data.train.fingerprint())
                write_manifest(run.manifest, self.data, self.denoiser)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        """Take over the newest checkpoint; only then is the new configuration the run's."""
        self.accelerator.load_state(str(latest_checkpoint(self.run.checkpoints)))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.run.store_config(self.config)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield examples, and labels for a conditional network, until the last step."""
        if self.progress.step == self.config.training.steps:
            return
        for x, labels in self.passes:
            yield x, None if self.denoiser.classes is None else labels
            if self.progress.step >= self.config.training.steps:
                return

    def _step(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Take one optimizer step; return its loss and gradient norm without waiting for them."""
        if self.config.training.flip:
            mirrored = torch.rand(len(x), *(1,) * (x.ndim - 1), device=x.device) < 0.5
            x = torch.where(mirrored, x.flip(-1), x)
        if labels is not None:
            assert self.denoiser.classes is not None
            labels = drop_labels(labels, self.denoiser.classes, self.config.training.label_dropout)
        loss = self.loss(x, condition=labels).mean()
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.loss.parameters(), self.config.training.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.ema.update(self.denoiser)
        self.progress.step += 1
        return loss.detach(), torch.as_tensor(norm)

    def _agreed(self, request: StopRequest) -> signal.Signals | None:
        """Return the signal that asked this process to stop, or any of several.

        These ask each other where they are to record metrics, since there they wait for each other anyway.
        """
        if self.accelerator.num_processes == 1:
            return request.received
        if self.progress.step % self.config.training.log_every:
            return None
        own = torch.tensor([request.received or 0], device=self.accelerator.device)
        number = int(cast("Tensor", self.accelerator.gather(own)).max())
        return signal.Signals(number) if number else None

    def _record(self, records: Records, window: Window, batch_size: int) -> dict[str, str]:
        """Record the numbers of the steps in the window, and return those that a progress bar shows."""
        metrics = window.close(batch_size)
        self._check_finite(metrics)
        records.write(self.progress.step, metrics | {"learning_rate": self.scheduler.get_last_lr()[0]})
        return {"loss": f"{metrics['loss']:.4g}", "images_per_s": f"{metrics['images_per_second']:.0f}"}

    def _save(self, window: Window) -> None:
        self._check_finite(window.means())
        parameters = [parameter.detach() for parameter in self.denoiser.parameters()]
        if not torch.nn.utils.get_total_norm(parameters).isfinite():
            msg = (
                f"the network's parameters became infinite or NaN at or before step {self.progress.step}, not saved:"
                f" lower the learning rate, then --resume from the last checkpoint in {self.run.checkpoints}"
            )
            raise FloatingPointError(msg)
        self.passes.note_place()
        save_checkpoint(
            self.accelerator, self.run.checkpoints, self.progress.step, keep=self.config.training.keep_checkpoints
        )

    def _sample(self, records: Records) -> None:
        """Draw a grid of samples from the moving average, with a generator of its own."""
        if not self.accelerator.is_main_process:
            return
        settings = self.config.pictures
        samples = self.draw(settings.count, seed=settings.seed)
        picture = grid(samples, self.data.train.range, columns=class_columns(self.denoiser, settings.count))
        save_png(self.run.samples / f"step_{self.progress.step:08d}.png", picture)
        records.picture(self.progress.step, "samples", picture)

    def _check_finite(self, means: dict[str, float]) -> None:
        # A gradient that is not finite has already spoilt the parameters, though the loss before it was fine.
        for name, value in means.items():
            if not math.isfinite(value):
                msg = (
                    f"the training {name.replace('_', ' ')} became {value} at or before step {self.progress.step};"
                    f" nothing was saved since the last checkpoint in {self.run.checkpoints}: lower the learning rate,"
                    " then --resume"
                )
                raise FloatingPointError(msg)


def _accelerator(settings: Training) -> Accelerator:
    """Return what knows of devices and processes.

    Raises:
        RuntimeError: several processes were started that do not know of each other.
    """
    accelerator = Accelerator(
        cpu=settings.cpu,
        mixed_precision="bf16" if settings.precision is Precision.BF16 else "no",
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=settings.seed),
        step_scheduler_with_optimizer=False,
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        msg = (
            f"{started} processes were started but each of them runs alone and would write the same files: without CUDA"
            " add --training.cpu to the command that torchrun starts"
        )
        raise RuntimeError(msg)
    return accelerator
