"""A training run of a second: eight levels of heat on twenty-two images of 4 x 4 pixels."""

import dataclasses

import pytest
import torch
from accelerate.state import AcceleratorState

from unmelt.training import (
    CouplingKind,
    DataConfig,
    HeatConfig,
    Images,
    ImageSplits,
    NetworkConfig,
    OptimizerConfig,
    PredictionKind,
    ReductionKind,
    RunConfig,
    SamplingConfig,
    TrainingConfig,
)


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Let each test set up accelerate anew, as each program does."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def splits():
    """Twenty-two training images: five batches of four in a pass, two images left over."""
    values = torch.randint(0, 256, (28, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageSplits(Images(values[:22]), Images(values[22:]))


@pytest.fixture
def config(tmp_path):
    """A run that uses everything random: dropout, mirrored images, shuffled batches, noise and levels."""
    return RunConfig(
        name="small",
        process=HeatConfig(blur_sigma_min=0.3, blur_sigma_max=3.0, levels=8, sigma=0.03),
        prediction=PredictionKind.LESS_DEGRADED,
        reduction=ReductionKind.SUM,
        data=DataConfig(flip=True),
        network=NetworkConfig(channels=4, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup=4, ema_decay=0.9),
        training=TrainingConfig(
            steps=6, batch_size=4, log_every=1, checkpoint_every=3, sample_every=1000, keep_checkpoints=10, cpu=True
        ),
        sampling=SamplingConfig(count=2, coupling=CouplingKind.INDEPENDENT, delta=0.03),
        root=tmp_path / "runs",
    )


@pytest.fixture
def training(config):
    """Return the run's configuration with some settings of the training loop changed."""

    def change(name="small", **settings):
        return dataclasses.replace(config, name=name, training=dataclasses.replace(config.training, **settings))

    return change
