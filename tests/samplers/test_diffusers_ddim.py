"""Deterministic steps on a saved diffusers model against DDIMScheduler on it, step by step and from noise to image."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers_models import SIZE, dit, saved, saved_pipeline, text_unet, unet
from support import seeded

from unmelt.degradations import BlurringDiffusion, Deterministic, Eta, Markov
from unmelt.models import ClippedDenoiser, SchedulerSettings, StandardNormalPrior, TimestepSpacing, load_diffusers
from unmelt.samplers import Multistep, Posterior, Sampler, TimestepGrid

DDIM = Posterior(Deterministic())
# Both in double precision: of alpha^2, a product of a thousand numbers, they take 1 - alpha^2, which costs 4 digits at
# the first timestep. A network of random weights, which estimates nothing, multiplies differences along the way, and
# the data is up to 1 / alpha = 157 times a latent, of which alpha_s is taken.
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


def exact(scheduler):
    """Let a scheduler that takes any precision work in double precision, from its own single-precision betas."""
    scheduler.alphas_cumprod = (1 - scheduler.betas.double()).cumprod(0)
    scheduler.one = torch.ones((), dtype=torch.float64)
    to_one = scheduler.config.get("set_alpha_to_one", True)
    scheduler.final_alpha_cumprod = scheduler.one if to_one else scheduler.alphas_cumprod[0]
    return scheduler


def loaded(folder):
    return load_diffusers(folder, dtype=torch.float64)


def scheduler_of(**settings):
    return DDIMScheduler(**{"clip_sample": False, **settings})


def noise(shape, batch=2):
    return torch.randn((batch, *shape), generator=seeded(7), dtype=torch.float64)


@torch.no_grad()
def walked(model, scheduler, steps, z, *, arguments=None, **settings):
    """Their loop: every latent on the way, the first one included."""
    exact(scheduler).set_timesteps(steps)
    model = model.double()
    states = [z]
    for k in scheduler.timesteps:
        output = model(z, k, **(arguments or {})).sample[:, : z.shape[1]]
        z = scheduler.step(output, k, z, return_dict=False, **settings)[0]
        states.append(z)
    return states


def stepped(denoiser, grid, z, stepper=DDIM, prior=None, **settings):
    """Ours, one step after the other as they go."""
    sampler, states = Sampler(denoiser, stepper, grid=grid, prior=prior), [z]
    for t, s in grid.pairs(denoiser.process):
        states.append(sampler.step(states[-1], t, s, **settings))
    return states


def ran(denoiser, grid, z, stepper=DDIM, **settings):
    """Ours, as one run."""
    sampler, process = Sampler(denoiser, stepper, grid=grid), denoiser.process
    ends = {"start": grid.first(process), "stop": grid.last(process)}
    return list(sampler.run(len(z), initial=z, **ends, **settings).trajectory.states)


def agree(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("steps", [8, 30, pytest.param(5, marks=pytest.mark.full)])
@pytest.mark.parametrize("to_one", [True, False])
@pytest.mark.parametrize(
    ("spacing", "offset"), [("leading", 0), ("leading", 1), ("linspace", 0), ("trailing", 0), ("trailing", 1)]
)
def test_steps_are_theirs(spacing, offset, to_one, steps, tmp_path):
    scheduler = scheduler_of(timestep_spacing=spacing, steps_offset=offset, set_alpha_to_one=to_one)
    denoiser = loaded(saved_pipeline(tmp_path, scheduler=scheduler))
    grid = TimestepGrid.of(SchedulerSettings.load(tmp_path), steps)
    z = noise((3, SIZE, SIZE))
    theirs = walked(unet(), scheduler, steps, z)
    assert torch.equal(grid.timesteps(denoiser.process), scheduler.timesteps)
    agree(stepped(denoiser, grid, z), theirs)
    if spacing == "leading" or (spacing == "trailing" and 1000 % steps == 0):
        # Where the last timestep is 0 and so is their end, their last step is none, and ours is not taken.
        still = spacing == "leading" and not offset and not to_one
        agree(ran(denoiser, grid, z), theirs[:-1] if still else theirs)


def test_between_uneven_timesteps_they_mistake_a_latent_and_a_run_does_not(tmp_path):
    """Steps of linspace end a few levels away from where the next one starts."""
    saved_pipeline(tmp_path, scheduler=scheduler_of(timestep_spacing="linspace"))
    denoiser, grid = loaded(tmp_path), TimestepGrid(5, TimestepSpacing.LINSPACE)
    pairs = grid.pairs(denoiser.process)
    assert pairs[0] == (1.0, 0.8)
    assert pairs[1][0] == 0.75
    times = grid.times(denoiser.process)
    assert torch.equal(times, torch.tensor([1.0, 0.75, 0.501, 0.251, 0.001, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("width", [1.0, 0.4])
@pytest.mark.parametrize("to_one", [True, False])
def test_clipped_steps_are_theirs(kind, width, to_one, tmp_path):
    scheduler = DDIMScheduler(prediction_type=kind, clip_sample_range=width, set_alpha_to_one=to_one)
    denoiser = loaded(saved_pipeline(tmp_path, scheduler=scheduler))
    grid, z = TimestepGrid.of(SchedulerSettings.load(tmp_path), 10), noise((3, SIZE, SIZE))
    theirs = walked(unet(), scheduler, 10, z)
    agree(stepped(denoiser, grid, z), theirs)
    if to_one:
        agree(ran(denoiser, grid, z), theirs)
        assert theirs[-1].abs().max() == pytest.approx(width)
    # With use_clipped_model_output=True, the noise that follows from the clipped estimate.
    anew = ClippedDenoiser(denoiser.denoiser, denoiser.data_range)
    other = walked(unet(), scheduler, 10, z, use_clipped_model_output=True)
    agree(stepped(anew, grid, z), other)
    assert (other[3] - theirs[3]).abs().max() > 1e-2


@pytest.mark.parametrize("clip", [False, True])
def test_eta_is_theirs_with_clipping_and_without(clip, tmp_path):
    scheduler = scheduler_of(clip_sample=clip)
    denoiser = loaded(saved_pipeline(tmp_path, scheduler=scheduler))
    z = noise((3, SIZE, SIZE))
    theirs = walked(unet(), scheduler, 8, z, eta=0.6, generator=seeded(3))
    agree(ran(denoiser, TimestepGrid(8), z, Posterior(Eta(0.6)), generator=seeded(3)), theirs)


def test_clipped_ancestral_steps_are_those_of_ddpm(tmp_path):
    scheduler = DDPMScheduler()
    denoiser = loaded(saved_pipeline(tmp_path, scheduler=scheduler))
    assert not denoiser.keep_noise
    z = noise((3, SIZE, SIZE))
    theirs = walked(unet(), scheduler, 8, z, generator=seeded(3))
    agree(ran(denoiser, TimestepGrid(8), z, Posterior(Markov()), generator=seeded(3)), theirs)


def test_a_table_without_signal_at_the_end_is_stepped_through_as_theirs(tmp_path):
    """From white noise alone, where an estimate is all there is."""
    scheduler = scheduler_of(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
    denoiser = loaded(saved_pipeline(tmp_path, scheduler=scheduler))
    grid, z = TimestepGrid.of(SchedulerSettings.load(tmp_path), 10), noise((3, SIZE, SIZE))
    agree(ran(denoiser, grid, z), walked(unet(), scheduler, 10, z))


def test_a_network_of_text_is_stepped_as_theirs(tmp_path):
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    denoiser = loaded(saved(tmp_path, text_unet(), scheduler))
    grid, z = TimestepGrid.of(SchedulerSettings.load(tmp_path), 20), noise((4, SIZE, SIZE))
    text = torch.randn(2, 5, 6, generator=seeded(1), dtype=torch.float64)
    theirs = walked(text_unet(), scheduler, 20, z, arguments={"encoder_hidden_states": text})
    with pytest.raises(ValueError, match=r"alpha reaches 0.0683.*StandardNormalPrior\(process, tolerance=0.1\)"):
        Sampler(denoiser)
    prior = StandardNormalPrior(denoiser.process, tolerance=0.1)
    agree(stepped(denoiser, grid, z, prior=prior, condition=text), theirs)


def test_a_transformer_is_stepped_as_theirs(tmp_path):
    scheduler = scheduler_of()
    denoiser = loaded(saved(tmp_path, dit(), scheduler, part="transformer"))
    z, labels = noise((4, SIZE, SIZE)), torch.tensor([3, 5])
    theirs, model = [z], dit().double()
    exact(scheduler).set_timesteps(10)
    with torch.no_grad():
        for k in scheduler.timesteps:
            output = model(theirs[-1], k.expand(2), class_labels=labels).sample[:, :4]
            theirs.append(scheduler.step(output, k, theirs[-1], return_dict=False)[0])
    agree(ran(denoiser, TimestepGrid(10), z, condition=labels), theirs)


def test_halved_networks_are_stepped_in_single_precision(tmp_path):
    scheduler = scheduler_of()
    denoiser = load_diffusers(saved_pipeline(tmp_path, scheduler=scheduler), dtype=torch.bfloat16)
    model, z = unet().bfloat16(), noise((3, SIZE, SIZE)).float()
    scheduler.set_timesteps(10)
    theirs = [z]
    with torch.no_grad():
        for k in scheduler.timesteps:
            output = model(theirs[-1].bfloat16(), k).sample.float()
            theirs.append(scheduler.step(output, k, theirs[-1], return_dict=False)[0])
    ours = ran(denoiser, TimestepGrid(10), z)
    # A latent that differs in its last digit is rounded to another of bfloat16's now and then: 2^-8 of the noise, which
    # steps of alpha_s / alpha_t = 10 at most and sigma magnify.
    assert all((a - b).abs().max() < 0.05 * b.abs().max() for a, b in zip(ours, theirs, strict=True))


def test_in_single_precision_they_agree_to_that(tmp_path):
    """With the scheduler as it is, whose products in single precision are 1e-4 of sigma off at the first timestep."""
    scheduler = scheduler_of()
    denoiser, model = load_diffusers(saved_pipeline(tmp_path, scheduler=scheduler)), unet()
    scheduler.set_timesteps(20)
    theirs = [noise((3, SIZE, SIZE)).float()]
    with torch.no_grad():
        for k in scheduler.timesteps:
            theirs.append(scheduler.step(model(theirs[-1], k).sample, k, theirs[-1], return_dict=False)[0])
    for ours, expected in zip(ran(denoiser, TimestepGrid(20), theirs[0]), theirs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_its_other_samplers_take_the_same_model(tmp_path):
    denoiser = loaded(saved_pipeline(tmp_path))
    x = Sampler(denoiser, Multistep(), grid=TimestepGrid(4)).sample(2, generator=seeded())
    assert x.shape == (2, 3, SIZE, SIZE)
    assert x.abs().max() <= 1


def test_grids_that_are_none_are_refused():
    process = BlurringDiffusion((1, 4, 4))
    with pytest.raises(ValueError, match=r"BlurringDiffusion is continuous: take UniformGrid\(5\)"):
        TimestepGrid(5).times(process)
    process.levels = 10
    with pytest.raises(ValueError, match="11 steps do not fit into 10 levels"):
        TimestepGrid(11).times(process)
    with pytest.raises(ValueError, match="10 steps with an offset of 1 do not fit into 10 levels"):
        TimestepGrid(10, offset=1).times(process)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        TimestepGrid(0)
    with pytest.raises(ValueError, match="offset must be at least 0"):
        TimestepGrid(offset=-1)
    with pytest.raises(TypeError, match="spacing must be"):
        TimestepGrid(5, "leading")
    assert TimestepGrid(5).times(process, start=0.6, stop=0.2).tolist() == [0.6, 0.5, 0.3, 0.2]
