"""Latents of an autoencoder: its own calls, scaled as its pipelines do, a few images at a time."""

import pytest
import torch
from diffusers import UNet2DModel
from diffusers_models import autoencoder, unet
from support import refusals, seeded

from unmelt.degradations import IsotropicDiffusion, PredictEpsilon
from unmelt.models import Denoiser, DiffusersNetwork, LatentAutoencoder
from unmelt.samplers import Sampler, UniformGrid

# Convolutions of a batch of one size or another are added up in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def images(batch=5, size=(16, 24)):
    return torch.rand((batch, 3, *size), generator=seeded()) * 2 - 1


@pytest.mark.parametrize("settings", [{}, {"shift_factor": 0.3, "scaling_factor": 0.7}])
@torch.no_grad()
def test_it_is_their_encoder_and_decoder(settings):
    model, x = autoencoder(**settings), images()
    ours = LatentAutoencoder(autoencoder(**settings), batch_size=2)
    config, q = model.config, model.encode(x).latent_dist
    shift = config.shift_factor or 0.0
    latents = (q.mode() - shift) * config.scaling_factor
    torch.testing.assert_close(ours.encode(x), latents, **CLOSE)
    drawn = (q.sample(generator=seeded(1)) - shift) * config.scaling_factor
    torch.testing.assert_close(ours.encode_sample(x, generator=seeded(1)), drawn, **CLOSE)
    assert (drawn - latents).abs().max() > 0.01
    decoded = model.decode(latents / config.scaling_factor + shift).sample
    torch.testing.assert_close(ours.decode(ours.encode(x)), decoded, **CLOSE)
    assert ours.shape_of(x.shape[1:]) == latents.shape[1:] == (4, 8, 12)


@torch.no_grad()
def test_channels_may_each_have_their_scale():
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.0, 2.0, 0.5, 3.0]
    ours = LatentAutoencoder(autoencoder(latents_mean=mean, latents_std=std, scaling_factor=0.5))
    raw = autoencoder().encode(images()).latent_dist.mode()
    column = [torch.tensor(numbers).reshape(-1, 1, 1) for numbers in (mean, std)]
    # As in diffusers' StableDiffusionXLImg2ImgPipeline.
    latents = (raw - column[0]) * 0.5 / column[1]
    torch.testing.assert_close(ours.encode(images()), latents, **CLOSE)
    torch.testing.assert_close(ours.decode(latents), autoencoder().decode(raw).sample, **CLOSE)


@torch.no_grad()
def test_only_so_many_go_through_it_at_once():
    model, seen = autoencoder(), []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    model.decoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    ours = LatentAutoencoder(model, batch_size=2)
    ours.decode(ours.encode(images(5)))
    assert seen == [2, 2, 1] * 2


@torch.no_grad()
def test_it_is_loaded_from_a_pipeline_or_alone(tmp_path):
    autoencoder().save_pretrained(tmp_path / "pipeline" / "vae")
    autoencoder().save_pretrained(tmp_path / "alone")
    expected = LatentAutoencoder(autoencoder()).encode(images())
    for folder in ("pipeline", "alone"):
        found = LatentAutoencoder.load(tmp_path / folder)
        assert not found.training
        assert torch.equal(found.encode(images()), expected)
    halved = LatentAutoencoder.load(tmp_path / "alone", dtype=torch.bfloat16, batch_size=3)
    latents = halved.encode(images())
    assert latents.dtype == halved.decode(latents).dtype == torch.float32
    # bfloat16 has 8 bits, a dozen layers lose a few of them.
    torch.testing.assert_close(latents, expected, rtol=0, atol=0.1 * expected.abs().max().item())
    with pytest.raises(FileNotFoundError, match="no autoencoder in"):
        LatentAutoencoder.load(tmp_path)
    unet().save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder vae, and the model itself is a UNet2DModel"):
        LatentAutoencoder.load(tmp_path)
    unet().save_pretrained(tmp_path / "vae")
    with pytest.raises(ValueError, match="the autoencoder is a UNet2DModel, and AutoencoderKL is read"):
        LatentAutoencoder.load(tmp_path)


def test_a_process_of_its_latents_is_sampled_and_decoded():
    ours = LatentAutoencoder(autoencoder(scaling_factor=1.0))
    process = IsotropicDiffusion(ours.shape_of((3, 16, 16)))
    model: UNet2DModel = unet(in_channels=4, out_channels=4)
    denoiser = Denoiser(DiffusersNetwork(model), process, prediction=PredictEpsilon())
    latents = Sampler(denoiser, grid=UniformGrid(2)).sample(2, generator=seeded())
    assert ours.decode(latents).shape == (2, 3, 16, 16)


def test_gradients_flow_through_it():
    x = images(2).requires_grad_()
    ours = LatentAutoencoder(autoencoder(), batch_size=1)
    ours.decode(ours.encode(x)).sum().backward()
    assert x.grad.abs().max() > 0


SMALL = LatentAutoencoder(autoencoder())


@pytest.mark.usefixtures("as_in_production")
@refusals(
    (lambda: LatentAutoencoder(torch.nn.Linear(1, 1)), TypeError, "AutoencoderKL of diffusers, got Linear"),
    (lambda: LatentAutoencoder(autoencoder(), batch_size=0), ValueError, "batch_size must be at least 1"),
    (
        lambda: SMALL.shape_of((1, 16, 16)),
        ValueError,
        r"3 channels and sides that are multiples of 2",
    ),
    (lambda: SMALL.shape_of((3, 15, 16)), ValueError, r"multiples of 2, got \(3, 15, 16\): crop or resize"),
    (lambda: SMALL.encode(torch.zeros(1, 3, 15, 16)), ValueError, r"multiples of 2, got \(3, 15, 16\)"),
    (
        lambda: SMALL.encode(torch.zeros(3, 16, 16)),
        ValueError,
        r"\(batch, channels, height, width\), got",
    ),
    (lambda: SMALL.encode(127 * images() + 127), ValueError, r"images lies in \[.*in \[-1, 1\]: scale"),
    (lambda: SMALL.encode(images() * torch.nan), ValueError, "images must be finite numbers"),
    (lambda: SMALL.decode(torch.zeros(1, 3, 8, 8)), ValueError, r"\(batch, 4, height, width\), got \(1, 3, 8, 8\)"),
)
def test_what_does_not_fit_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.usefixtures("as_in_production")
def test_images_of_bytes_are_refused():
    with pytest.raises(TypeError, match=r"got torch.uint8: images are in \[-1, 1\]: x.float\(\) / 127.5 - 1"):
        SMALL.encode(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
