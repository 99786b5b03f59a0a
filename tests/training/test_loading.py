"""From a run's folder back to the model that it holds."""

import dataclasses
import json
import shutil

import pytest
import torch

from unmelt.samplers import PosteriorSampler
from unmelt.training import HeatConfig, Trainer, load_run


@pytest.fixture
def trained(training, splits):
    trainer = Trainer(training(steps=6), splits)
    trainer.train()
    return trainer


def test_the_denoiser_is_the_moving_average_at_the_last_step(trained):
    loaded = load_run(trained.config.folder)
    assert loaded.config == trained.config
    assert loaded.checkpoint.name == "step_00000006"
    z, t = torch.rand(3, 1, 4, 4), torch.tensor([0.25, 0.5, 1.0])
    assert torch.equal(loaded.denoiser(z, t), trained.ema.model(z, t))
    assert not torch.equal(loaded.denoiser(z, t), trained.denoiser.eval()(z, t))
    assert not loaded.denoiser.training
    assert not any(p.requires_grad for p in loaded.denoiser.parameters())


def test_the_data_s_range_goes_with_the_model(trained):
    """Whatever the configuration says: the range is that of the images it was given."""
    data_range = trained.data.train.data_range
    loaded = load_run(trained.config.folder)
    assert loaded.denoiser.data_range == trained.denoiser.data_range == trained.prior.data_range == data_range
    assert loaded.prior().data_range == data_range
    prior = loaded.prior()
    prior.data_range = (data_range[0], data_range[1] + 1)
    with pytest.raises(ValueError, match="the prior is one of data in"):
        PosteriorSampler(loaded.denoiser, prior=prior)


def test_other_data_than_it_was_trained_on_is_refused(trained):
    with pytest.raises(ValueError, match="trained on other images"):
        # The run's configuration names the digits, but these tests train on images of their own.
        load_run(str(trained.config.folder)).data()


def test_no_run_no_checkpoint_and_another_process_are_told(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run.*runs/digits_heat"):
        load_run(tmp_path / "nothing")
    folder = trained.config.folder
    config = json.loads((folder / "config.json").read_text())
    config["process"]["sigma"] = 0.5
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="other coefficients than HeatDissipation gives now"):
        load_run(folder)
    config["process"] = dataclasses.asdict(HeatConfig(blur_sigma_min=0.3, blur_sigma_max=3.0, levels=8, sigma=0.03))
    (folder / "config.json").write_text(json.dumps(config))
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_run(folder)
