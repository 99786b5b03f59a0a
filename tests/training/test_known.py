"""Runs that start from observations: bridges and conditional diffusions, trained, resumed, loaded and restoring."""

import dataclasses

import pytest
import torch
from small_runs import images, small_run, train

from unmelt.core import later
from unmelt.degradations import HeatBridge, IsotropicDiffusion, PowerBlur, PredictX
from unmelt.losses import DenoisingLoss
from unmelt.models import UNet
from unmelt.samplers import Posterior, UniformGrid
from unmelt.samplers.guidance import LinearObservation
from unmelt.training import Trainer, load_run
from unmelt.training.known import Known
from unmelt.training.loop.held_out import HeldOut

SMALL = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "attention_levels": (), "dropout": 0.1}
BLUR = later(LinearObservation.blur, width=1.0, noise_std=0.1)
KINDS = {
    "bridge": {"process": later(HeatBridge, blur=PowerBlur(2.0)), "network": later(UNet, **SMALL)},
    "bridge that is seen": {
        "process": later(HeatBridge, blur=PowerBlur(2.0)),
        "network": later(UNet, **SMALL, image_channels=1),
    },
    "conditional diffusion": {
        "process": later(IsotropicDiffusion),
        "network": later(UNet, **SMALL, image_channels=1),
    },
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def config_of(root, kind, name="small", **changes):
    parts = {"prediction": PredictX(), "given": BLUR, "sampler": Posterior(), "grid": UniformGrid(4)}
    return small_run(root, name, **{**parts, **KINDS.get(kind, {}), **changes})


def trained(root, kind, **changes):
    return train(config_of(root, kind, **changes), images())


@every_kind
def test_a_run_is_trained_loaded_and_restores(tmp_path, kind):
    trainer = trained(tmp_path, kind)
    run = load_run(trainer.run.path)
    assert run.denoiser.sees_given == (kind == "bridge that is seen")
    x = images().test.fetch(range(3)).x
    y = run.known.observe(x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        y, LinearObservation.blur((1, 4, 4), 1.0, noise_std=0.1).observe(x, generator=torch.Generator().manual_seed(0))
    )
    samples = run.sample(3, observed=y, generator=[1, 2, 3])
    assert samples.shape == x.shape
    assert not torch.equal(samples, run.sample(3, observed=-y, generator=[1, 2, 3]))
    # The first of several is the same whatever is drawn beside it.
    found = run.restore(y[0], count=2, generator=[1, 5])
    torch.testing.assert_close(found.samples[0], samples[0], rtol=1e-4, atol=1e-4)
    assert found.observation is run.known.observation


@every_kind
def test_each_example_is_seen_with_what_is_known_of_itself_mirrored_or_not(tmp_path, kind, monkeypatch):
    trainer = Trainer(config_of(tmp_path, kind), images())
    blur, take, distances = LinearObservation.blur((1, 4, 4), 1.0, noise_std=0.0), trainer.updates.take, []

    def told(x, condition, given):
        y = condition if given is None else given
        # Of every image and everything known, how far apart: its own is nearest, by noise of 0.1 in 16 numbers.
        distances.append(torch.cdist(y.flatten(1), blur(x).flatten(1)))
        return take(x, condition, given)

    monkeypatch.setattr(trainer.updates, "take", told)
    trainer.train()
    assert len(distances) == 6
    for apart in distances:
        own = apart.diagonal()
        assert bool((own < 0.1 * 16**0.5 * 2).all())
        assert apart.argmin(1).tolist() == [0, 1, 2, 3]


@pytest.mark.full
@every_kind
def test_a_resumed_run_is_the_one_that_was_not_stopped(tmp_path, kind):
    whole = trained(tmp_path / "whole", kind)
    config = config_of(tmp_path / "half", kind)
    first = dataclasses.replace(config, training=dataclasses.replace(config.training, steps=3))
    train(first, images())
    resumed = train(config, images(), resume=True)
    for ours, theirs in zip(resumed.denoiser.parameters(), whole.denoiser.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_drawn_on_the_way_starts_from_held_out_images(tmp_path):
    trainer = trained(tmp_path, "bridge that is seen")
    y, _ = trainer.observed(8)
    held_out = images().test.fetch([0, 1, 2, 3, 4, 5, 0, 1]).x
    close = LinearObservation.blur((1, 4, 4), 1.0, noise_std=0.0)(held_out)
    assert (y - close).std() == pytest.approx(0.1, rel=0.25)
    assert trainer.draw(8, seed=0).shape == (8, 1, 4, 4)
    assert torch.equal(trainer.draw(8, seed=0), trainer.draw(8, seed=0))


@every_kind
def test_the_held_out_loss_sees_what_is_known_whatever_the_batch(tmp_path, kind):
    trainer = trained(tmp_path, kind)
    denoiser = trainer.ema.model
    found = [
        HeldOut(images().test, DenoisingLoss(denoiser), known=trainer.known, batch_size=size).measure()["held_out_loss"]
        for size in (3, 200)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    with (
        pytest.raises(ValueError, match="ends in a known signal y")
        if "bridge" in kind
        else pytest.MonkeyPatch.context()
    ):
        blind = HeldOut(images().test, DenoisingLoss(denoiser), batch_size=200).measure()["held_out_loss"]
        assert blind != found[1]


class TestRefusals:
    @pytest.mark.parametrize(
        ("kind", "changes", "words"),
        [
            ("bridge", {"given": None}, "ends in a known signal y, and the run does not say how.*--given"),
            ("", {"process": later(IsotropicDiffusion), "network": later(UNet, **SMALL)}, "the network sees no image"),
            (
                "",
                {"network": later(UNet, **SMALL, image_channels=1), "given": None},
                "sees images of 1 channels, and the run does not say what they are: --given",
            ),
            ("bridge", {"network": later(UNet, **SMALL, image_channels=2)}, "sees images of 2 channels.*has 1"),
        ],
    )
    def test_before_anything_is_written(self, tmp_path, kind, changes, words):
        with pytest.raises((ValueError, TypeError), match=words):
            Trainer(config_of(tmp_path, kind, **changes), images())
        assert not [*tmp_path.rglob("config.json")]

    def test_what_observes_is_an_observation(self, tmp_path):
        with pytest.raises(TypeError, match="given must be a LinearObservation"):
            Trainer(config_of(tmp_path, "bridge", given=later(IsotropicDiffusion)), images())

    @every_kind
    def test_samples_of_nothing(self, tmp_path, kind):
        run = load_run(trained(tmp_path, kind).run.path)
        with pytest.raises(ValueError, match=r"draws what an observation may have come from, LinearObservation.blur"):
            run.sample(2)
        y = torch.rand(2, 1, 4, 4)
        with pytest.raises(ValueError, match=r"observed lies in .* made for in \[0, 1\]: scale it as they are"):
            run.sample(2, observed=255 * y)
        with pytest.raises(TypeError, match="observed must be a real floating-point tensor"):
            run.sample(2, observed=(255 * y).byte())
        with pytest.raises(ValueError, match="leave another one out"):
            run.restore(torch.zeros(1, 4, 4), LinearObservation.blur((1, 4, 4), 2.0, noise_std=0.1))
        with pytest.raises(ValueError, match="trained to start from observations"):
            run.require_nothing_known("this")
        assert run.known

    def test_several_observations_at_once(self, tmp_path):
        run = load_run(trained(tmp_path, "bridge").run.path)
        with pytest.raises(ValueError, match=r"of one image, \(1, 4, 4\), got \(3, 1, 4, 4\): .*run.sample"):
            run.restore(torch.rand(3, 1, 4, 4))

    def test_observations_of_a_run_that_knows_nothing(self, tmp_path):
        run = load_run(train(small_run(tmp_path), images()).run.path)
        assert not run.known
        assert run.require_nothing_known("this") is run
        with pytest.raises(ValueError, match="knows nothing of what it draws"):
            run.sample(2, observed=torch.zeros(2, 1, 4, 4))


def test_noise_that_is_given_is_the_observation_s():
    run = config_of("runs", "bridge")

    class Told:
        network = torch.nn.Identity()
        process = HeatBridge((1, 4, 4), blur=PowerBlur(2.0))

    known, x = Known(run, Told()), torch.rand(2, 1, 4, 4)
    noise = torch.randn(x.shape)
    torch.testing.assert_close(known.observe(x, noise=noise), known.observation(x) + 0.1 * noise)
