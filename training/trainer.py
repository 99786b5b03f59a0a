"""The training loop that all recipes share."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..core.pictures import grid, save_png
from ..losses import DenoisingLoss
from ..models import EMA, Denoiser, drop_labels
from .build import (
    build_denoiser,
    build_loss,
    build_prior,
    build_sampler,
)
from .checkpoints import latest_checkpoint, save_checkpoint
from .config import OptimizerConfig, RunConfig
from .data import Images, ImageSplits, LabelledImages
from .interrupts import StopRequest
from .kinds import Precision, PriorKind
from .labels import class_columns, classes_in_order
from .records import Records
from .run import RunFolder
from .stored_prior import prior_to_store, write_prior

_LAST_RATE = 0.01


class Objective(nn.Module):
    """Images (and labels) in, mean loss out: the whole step that is differentiated, to be compiled or distributed.

    Args:
        denoiser: the denoiser that is trained.
        loss: the training loss of the same process.
    """

    def __init__(self, denoiser: Denoiser, loss: DenoisingLoss) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.loss = loss

    def forward(
        self, x: Float[Tensor, "batch channels height width"], labels: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, ""]:
        """Return the mean loss over the batch, whose labels a conditional network is told."""
        return self.loss(self.denoiser, x, labels=labels).mean()


class Progress:
    """How far a run is; part of its checkpoints.

    Attributes:
        step: training steps done.
        epoch: passes over the data begun, from 0.
        batch: batches of the present pass done.
    """

    def __init__(self) -> None:
        self.step, self.epoch, self.batch = 0, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return the three counts."""
        return {"step": self.step, "epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take over the three counts."""
        self.step, self.epoch, self.batch = state["step"], state["epoch"], state["batch"]


class Trainer:
    """Trains the denoiser that a configuration describes, in a run folder that it makes or resumes.

    Args:
        config: the run.
        data: its images.
        resume: go on with the run's newest checkpoint instead of starting a new run.

    Raises:
        FileExistsError: the run exists and is not to be resumed.
        FileNotFoundError: the run is to be resumed but there is none, or it has no checkpoint.
        RuntimeError: several processes were started that do not know of each other.
        ValueError: a setting is out of range, or contradicts the run to be resumed.
    """

    def __init__(self, config: RunConfig, data: ImageSplits, *, resume: bool = False) -> None:
        settings = config.training
        _check_counts(config)
        self.config, self.data = config, data
        self.run = RunFolder(config.folder)
        self.accelerator = Accelerator(
            cpu=settings.cpu,
            mixed_precision="bf16" if settings.precision is Precision.BF16 else "no",
            dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=settings.seed),
            step_scheduler_with_optimizer=False,
        )
        self._check_processes()
        needed = settings.batch_size * self.accelerator.num_processes
        if needed > len(data.train):
            msg = (
                f"batch_size={settings.batch_size} exceeds the {len(data.train)} training images"
                f" (shared by {self.accelerator.num_processes} processes): lower it"
            )
            raise ValueError(msg)
        # The same start on every process, and noise of its own once everything is built.
        set_seed(settings.seed)

        # Everything is built, and thereby checked, before anything is written.
        self.denoiser = build_denoiser(config, data.train.shape, data.classes, data_range=data.train.data_range).to(
            self.accelerator.device
        )
        self.ema = EMA(self.denoiser, config.optimizer.ema_decay)
        process, kind = self.denoiser.process, config.sampling.prior
        if resume and self.accelerator.is_main_process:
            self.run.check_resumable(config, data, process)
        stored = prior_to_store(self.run, process, data.train, kind, resume=resume)
        self.prior = (
            stored
            if stored is not None and kind is PriorKind.LOW_DIMENSIONAL
            else build_prior(process, data.train, kind=kind)
        )
        build_sampler(config, self.ema.model, self.prior, labels=self.sample_labels(config.sampling.count))
        images = self._training_images()
        loss = build_loss(config, self.denoiser.process)
        if self.accelerator.is_main_process:
            if not resume:
                self.run.start(config)
                parameters = sum(p.numel() for p in self.denoiser.parameters())
                self.run.write_manifest(data, self.denoiser.process, parameters)
            if stored is not None and not self.run.prior.is_file():
                write_prior(self.run.prior, stored, data.train.fingerprint())
        self.accelerator.wait_for_everyone()

        self.progress = Progress()
        objective = Objective(self.denoiser, loss.to(self.accelerator.device))
        if settings.compile:
            objective.compile()
        optimizer = torch.optim.AdamW(
            objective.parameters(),
            lr=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
            fused=True,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, settings.steps, config.optimizer)
        )
        loader = DataLoader(
            images,
            batch_size=settings.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=settings.workers,
            collate_fn=_as_batch,
            pin_memory=self.accelerator.device.type == "cuda",
            # A generator of its own: starting a pass must not take a number from the one that noise is drawn from, or a
            # run resumed in the middle of a pass would go on with other noise.
            generator=torch.Generator(),
        )
        self.objective, self.optimizer, self.scheduler, self.loader = self.accelerator.prepare(
            objective, optimizer, scheduler, loader
        )
        set_seed(settings.seed, device_specific=True)
        self.accelerator.register_for_checkpointing(self.ema, self.progress)
        if resume:
            self.accelerator.load_state(str(latest_checkpoint(self.run.checkpoints)))
            if self.accelerator.is_main_process:
                self.run.store_config(config)

    def sample_labels(self, count: int) -> Tensor | None:
        """Return the classes that a grid of `count` samples shows, in order; None for a network without classes."""
        return classes_in_order(self.denoiser.classes, count)

    def train(self) -> RunFolder:
        """Train to the configured number of steps, from wherever the run is.

        Returns:
            The run's folder, with a checkpoint of the last step.

        Raises:
            FloatingPointError: the loss became NaN or infinite; the last checkpoint before that is kept.
            KeyboardInterrupt: the run was stopped by a signal, after a checkpoint of the step it was at.
        """
        settings, progress = self.config.training, self.progress
        done = progress.step
        with (
            Records(self.run, from_step=done) as records,
            StopRequest() as stop,
            tqdm(total=settings.steps, initial=done, unit="step", disable=not self.accelerator.is_main_process) as bar,
        ):
            window = _Window(self.accelerator.device)
            saved = done
            for x, labels in self._batches():
                window.add(*self._step(x, labels))
                bar.update()
                last = progress.step == settings.steps
                if last or stop.received or progress.step % settings.log_every == 0:
                    metrics = window.close(len(x) * self.accelerator.num_processes)
                    self._check_finite(metrics["loss"], metrics["gradient_norm"])
                    metrics["learning_rate"] = self.scheduler.get_last_lr()[0]
                    records.write(progress.step, metrics)
                    bar.set_postfix(loss=f"{metrics['loss']:.4g}", images_per_s=f"{metrics['images_per_second']:.0f}")
                if last or stop.received or progress.step % settings.checkpoint_every == 0:
                    window.check(self._check_finite)
                    self._save()
                    saved = progress.step
                if not last and not stop.received and progress.step % settings.sample_every == 0:
                    self._sample(records)
                    window.restart_clock()
                if stop.received and saved == progress.step and not last:
                    msg = (
                        f"stopped by {stop.received.name} after step {progress.step}; checkpoint written: go on with"
                        " --resume"
                    )
                    raise KeyboardInterrupt(msg)
        return self.run

    def _training_images(self) -> Images | LabelledImages:
        """Return what batches are drawn from."""
        if self.denoiser.classes is None:
            return self.data.train
        return LabelledImages(self.data.train, cast("Tensor", self.data.train_labels))

    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield images, and labels for a conditional network, until the last step.

        Pass after pass, each in an order given by seed and pass.
        """
        progress = self.progress
        while progress.step < self.config.training.steps:
            self.loader.set_epoch(progress.epoch)
            loader = self.loader
            if progress.batch:
                loader = self.accelerator.skip_first_batches(loader, progress.batch)
            for batch in loader:
                progress.batch += 1
                if self.denoiser.classes is None:
                    yield cast("Tensor", batch), None
                else:
                    yield cast("tuple[Tensor, Tensor]", batch)
                if progress.step >= self.config.training.steps:
                    return
            progress.epoch, progress.batch = progress.epoch + 1, 0

    def _step(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Take one optimizer step; return its loss and gradient norm without waiting for them."""
        if self.config.data.flip:
            mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
            x = torch.where(mirrored, x.flip(-1), x)
        if labels is not None:
            labels = drop_labels(labels, self.denoiser.known_classes(), self.config.training.label_dropout)
        loss = self.objective(x, labels)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), self.config.optimizer.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.ema.update(self.denoiser)
        self.progress.step += 1
        return loss.detach(), torch.as_tensor(norm)

    def _save(self) -> None:
        parameters = [parameter.detach() for parameter in self.denoiser.parameters()]
        if not torch.nn.utils.get_total_norm(parameters).isfinite():
            msg = (
                f"the network's parameters became infinite or NaN at or before step {self.progress.step}, not saved:"
                f" lower the learning rate, then --resume from the last checkpoint in {self.run.checkpoints}"
            )
            raise FloatingPointError(msg)
        save_checkpoint(
            self.accelerator, self.run.checkpoints, self.progress.step, keep=self.config.training.keep_checkpoints
        )

    def _sample(self, records: Records) -> None:
        """Draw a grid of samples from the moving average, with a generator of its own."""
        if not self.accelerator.is_main_process:
            return
        settings = self.config.sampling
        labels = self.sample_labels(settings.count)
        sampler = build_sampler(self.config, self.ema.model, self.prior, labels=labels)
        samples = sampler.sample(settings.count, generator=torch.Generator().manual_seed(settings.seed))
        columns = class_columns(self.denoiser.classes, settings.count)
        picture = grid(samples, self.data.train.data_range, columns=columns)
        save_png(self.run.samples / f"step_{self.progress.step:08d}.png", picture)
        records.picture(self.progress.step, "samples", picture)

    def _check_finite(self, loss: float, norm: float) -> None:
        # A gradient that is not finite has already spoilt the parameters, though the loss before it was fine.
        for name, value in (("loss", loss), ("gradient", norm)):
            if not math.isfinite(value):
                msg = (
                    f"the training {name} became {value} at or before step {self.progress.step}; nothing was saved"
                    f" since the last checkpoint in {self.run.checkpoints}: lower the learning rate, then --resume"
                )
                raise FloatingPointError(msg)

    def _check_processes(self) -> None:
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started != self.accelerator.num_processes:
            msg = (
                f"{started} processes were started but each of them runs alone and would write the same files: without"
                " CUDA add --training.cpu to the command that torchrun starts"
            )
            raise RuntimeError(msg)


class _Window:
    """Losses and gradient norms since the last line of metrics, summed on the device."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, device=device)
        self._count = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time since the last line out of the rate."""
        self._started, self._timed = time.perf_counter(), 0

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Add one step's numbers without waiting for them."""
        self._sums += torch.stack([loss, norm.to(loss)])
        self._count += 1
        self._timed += 1

    def check(self, check_finite: Callable[[float, float], None]) -> None:
        """Pass loss and gradient norm summed so far to `check_finite`."""
        if self._count:
            check_finite(*self._sums.tolist())

    def close(self, images_per_step: int) -> dict[str, float]:
        """Return the means and the rate, and start over."""
        loss, norm = (self._sums / self._count).tolist()
        elapsed = time.perf_counter() - self._started
        rate = self._timed * images_per_step / elapsed
        self._sums.zero_()
        self._count = 0
        self.restart_clock()
        return {"loss": loss, "gradient_norm": norm, "images_per_second": rate}


def _check_counts(config: RunConfig) -> None:
    """Refuse counts below 1, which would divide by zero or never end, and a dropout that leaves no label."""
    training, sampling = config.training, config.sampling
    counts = {
        "training.steps": training.steps,
        "training.batch_size": training.batch_size,
        "training.log_every": training.log_every,
        "training.checkpoint_every": training.checkpoint_every,
        "training.keep_checkpoints": training.keep_checkpoints,
        "training.sample_every": training.sample_every,
        "sampling.count": sampling.count,
    }
    for name, value in counts.items():
        if value < 1:
            msg = f"{name.split('.')[-1]} must be at least 1, got {value} for {name}"
            raise ValueError(msg)
    if not 0 <= training.label_dropout < 1:
        msg = f"label_dropout must lie in [0, 1), got {training.label_dropout}: with 1 no label would ever be seen"
        raise ValueError(msg)


def learning_rate_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of a step, as a share of its peak: linear warm-up, then constant or a cosine's half."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    if not config.cosine_decay:
        return warm
    return warm * (_LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)


def _as_batch(batch: Any) -> Any:
    """Hand on a batch that the data set has already put together."""
    return batch
