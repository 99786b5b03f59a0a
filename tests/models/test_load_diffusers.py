"""Saved diffusers models as denoisers: the network is theirs, to the bit, and the process their scheduler's."""

import json
import sys
import warnings

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
)
from diffusers_models import SIZE, dit, saved, saved_pipeline, text_unet, unet
from support import seeded

from unmelt.degradations import PredictEpsilon, PredictV, PredictX
from unmelt.models import (
    ClippedDenoiser,
    Denoiser,
    DiffusersNetwork,
    SchedulerSettings,
    TimestepSpacing,
    load_diffusers,
)
from unmelt.samplers.guidance import ClassifierFreeGuidance

K = 1000


def noise(channels=3, batch=3, seed=0):
    return torch.randn((batch, channels, SIZE, SIZE), generator=seeded(seed))


def innermost(denoiser):
    return denoiser.denoiser if isinstance(denoiser, ClippedDenoiser) else denoiser


def level(k):
    return torch.tensor(k, dtype=torch.float64) / K


class TestNetwork:
    @pytest.mark.parametrize("k", [1, 2, 333, 500, 777, 999, 1000])
    def test_its_output_at_a_level_is_theirs_at_the_timestep(self, k, tmp_path):
        denoiser = load_diffusers(saved_pipeline(tmp_path))
        z = noise()
        with torch.no_grad():
            theirs = unet()(z, k - 1).sample
            ours = innermost(denoiser).output(z, level(k))
        assert torch.equal(ours, theirs)
        assert theirs.abs().max() > 0.01

    def test_every_level_is_a_whole_timestep(self):
        network = DiffusersNetwork(unet(), levels=K)
        times = (torch.arange(1, K + 1, dtype=torch.float64) / K).float()
        assert torch.equal(network.timesteps(times), torch.arange(K).float())
        for levels in (7, 250, 4000):
            times = (torch.arange(1, levels + 1, dtype=torch.float64) / levels).float()
            found = DiffusersNetwork(unet(), levels=levels).timesteps(times)
            assert torch.equal(found, torch.arange(levels).float())
        torch.testing.assert_close(network.timesteps(torch.tensor([0.0, 1e-4, 0.50025])), torch.tensor([0, 0, 499.25]))

    def test_an_image_has_its_own_time(self):
        network, z = DiffusersNetwork(unet()), noise()
        k = torch.tensor([3, 40, 999])
        with torch.no_grad():
            assert torch.equal(network(z, (k / K).float()), unet()(z, k - 1).sample)

    def test_text_is_a_condition(self, tmp_path):
        denoiser = load_diffusers(saved(tmp_path, text_unet(), DDIMScheduler(clip_sample=False)))
        z, text = noise(4), torch.randn(3, 5, 6, generator=seeded(1))
        with torch.no_grad():
            theirs = text_unet()(z, 499, text).sample
            assert torch.equal(denoiser.output(z, level(500), text), theirs)
            assert torch.equal(denoiser.output(z, level(500), {"encoder_hidden_states": text}), theirs)
            assert not torch.equal(denoiser.output(z, level(500), text.flip(0)), theirs)
        with pytest.raises(ValueError, match=r"needs encoder_hidden_states.*pass condition="):
            denoiser.output(z, level(500))

    def test_text_and_sizes_of_large_models_are_conditions(self):
        added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
        model = text_unet(**added, projection_class_embeddings_input_dim=6 * 4 + 7)
        z, text = noise(4), torch.randn(3, 5, 6, generator=seeded(1))
        pooled, ids = torch.randn(3, 7, generator=seeded(2)), torch.arange(18.0).reshape(3, 6)
        condition = {"encoder_hidden_states": text, "text_embeds": pooled, "time_ids": ids}
        with torch.no_grad():
            theirs = model(z, 499, text, added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}).sample
            assert torch.equal(DiffusersNetwork(model)(z, torch.full((3,), 0.5), condition), theirs)

    @pytest.mark.usefixtures("as_in_production")
    def test_labels_are_a_condition(self):
        network, z, labels = DiffusersNetwork(unet(num_class_embeds=4)), noise(), torch.tensor([0, 3, 1])
        with torch.no_grad():
            theirs = unet(num_class_embeds=4)(z, 499, labels).sample
            assert torch.equal(network(z, torch.full((3,), 0.5), labels), theirs)
            assert torch.equal(network(z, torch.full((3,), 0.5), {"labels": labels}), theirs)
        assert network.classes is None
        t = torch.full((3,), 0.5)
        with pytest.raises(ValueError, match="needs labels"):
            network(z, t)
        with pytest.raises(ValueError, match=r"0\.\.3, got 4"):
            network(z, t, labels + 1)
        with pytest.raises(TypeError, match=r"3 integers.*float32"):
            network(z, t, {"labels": labels.float()})
        with pytest.raises(ValueError, match=r"3 integers.*\(2,\)"):
            network(z, t, labels[:2])
        with pytest.raises(ValueError, match="takes a condition of labels, got text"):
            network(z, t, {"labels": labels, "text": labels})

    def test_a_transformer_s_learned_variances_are_left_out_and_no_label_guides(self, tmp_path):
        folder = saved(tmp_path, dit(), DDIMScheduler(clip_sample=False), part="transformer")
        denoiser = load_diffusers(folder)
        z, labels = noise(4), torch.tensor([0, 4, 5])
        with torch.no_grad():
            whole = dit()(z, torch.full((3,), 499), class_labels=labels).sample
            none = dit()(z, torch.full((3,), 499), class_labels=torch.full((3,), 5)).sample
            ours = denoiser.output(z, level(500), labels)
            guided = ClassifierFreeGuidance(denoiser, 3.0).output(z, level(500), labels)
            assert torch.equal(denoiser.output(z, level(500)), none[:, :4])
        assert whole.shape[1] == 8
        assert torch.equal(ours, whole[:, :4])
        torch.testing.assert_close(guided, none[:, :4] + 3 * (ours - none[:, :4]), rtol=1e-4, atol=1e-5)
        assert "learned variances left out" in repr(denoiser.network)
        with pytest.raises(ValueError, match=r"0\.\.4, or 5 for no label, got 6"):
            denoiser.output(z, level(500), labels + 1)

    def test_in_half_precision_it_is_theirs_in_half_precision(self, tmp_path):
        denoiser = load_diffusers(saved_pipeline(tmp_path), dtype=torch.bfloat16)
        z = noise()
        with torch.no_grad():
            theirs = unet().bfloat16()(z.bfloat16(), 499).sample
            ours = innermost(denoiser).output(z, level(500))
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.float())

    def test_others_are_refused(self):
        with pytest.raises(TypeError, match="UNet2DModel.*got Linear"):
            DiffusersNetwork(torch.nn.Linear(1, 1))
        with pytest.raises(ValueError, match="takes 9 channels and returns 4"):
            DiffusersNetwork(text_unet(in_channels=9))
        with pytest.raises(ValueError, match="levels must be at least 1"):
            DiffusersNetwork(unet(), levels=0)


class TestSettings:
    @pytest.mark.parametrize("rescaled", [False, True])
    @pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
    def test_betas_are_the_scheduler_s(self, name, rescaled):
        scheduler = DDPMScheduler(300, 0.001, 0.015, name, rescale_betas_zero_snr=rescaled)
        settings = SchedulerSettings.of(scheduler)
        assert torch.equal(settings.schedule.betas, scheduler.betas.double())
        assert settings.schedule.levels == 300

    def test_trained_betas_are_read_from_the_file(self, tmp_path):
        scheduler = DDIMScheduler(3, trained_betas=[0.1, 0.2, 0.4])
        scheduler.save_pretrained(tmp_path)
        settings = SchedulerSettings.load(tmp_path)
        assert torch.equal(settings.schedule.betas, torch.tensor([0.1, 0.2, 0.4]).double())

    @pytest.mark.parametrize(
        ("kind", "expected"), [("epsilon", PredictEpsilon()), ("sample", PredictX()), ("v_prediction", PredictV())]
    )
    def test_the_prediction_is_the_scheduler_s(self, kind, expected, tmp_path):
        saved_pipeline(tmp_path, scheduler=DDIMScheduler(prediction_type=kind))
        assert innermost(load_diffusers(tmp_path)).prediction == expected

    def test_each_setting_is_read(self):
        scheduler = DDIMScheduler(
            clip_sample_range=2.5, set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing"
        )
        settings = SchedulerSettings.of(scheduler)
        assert settings.clip_range == (-2.5, 2.5)
        assert settings.keeps_noise
        assert settings.spacing is TimestepSpacing.TRAILING
        assert settings.offset == 1
        assert not settings.ends_in_data
        defaults = SchedulerSettings.of(DDPMScheduler(clip_sample=False))
        assert defaults.clip_range is None
        assert not defaults.keeps_noise
        assert defaults.ends_in_data
        assert not SchedulerSettings.of(PNDMScheduler()).ends_in_data
        solver = DPMSolverMultistepScheduler(final_sigmas_type="sigma_min")
        assert not SchedulerSettings.of(solver).ends_in_data
        assert SchedulerSettings.of(EulerDiscreteScheduler()).clip_range is None

    def test_what_an_old_file_leaves_out_is_as_the_class_has_it(self):
        settings = SchedulerSettings.from_config({"_class_name": "DDIMScheduler", "num_train_timesteps": 10})
        assert settings.schedule.levels == 10
        assert settings.clip_range == (-1.0, 1.0)
        with pytest.raises(ValueError, match="names its class.*SchedulerSettings.of"):
            SchedulerSettings.from_config(DDIMScheduler().config)
        with pytest.raises(ValueError, match="ScoreSdeVeScheduler is not a scheduler of DDPM's latents"):
            SchedulerSettings.from_config({"_class_name": "ScoreSdeVeScheduler"})

    @pytest.mark.parametrize(
        ("scheduler", "words"),
        [
            (FlowMatchEulerDiscreteScheduler(), "FlowMatchEulerDiscreteScheduler is not a scheduler of DDPM's latents"),
            (
                DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
                "prediction_type='flow_prediction'",
            ),
        ],
    )
    def test_other_processes_are_refused(self, scheduler, words):
        with pytest.raises(ValueError, match=words):
            SchedulerSettings.of(scheduler)


class TestLoading:
    def test_a_pipeline_is_a_denoiser_of_its_process(self, tmp_path):
        denoiser = load_diffusers(saved_pipeline(tmp_path))
        assert isinstance(denoiser, ClippedDenoiser)
        assert denoiser.data_range == (-1.0, 1.0)
        assert denoiser.process.shape == (3, SIZE, SIZE)
        assert denoiser.process.levels == K
        assert not denoiser.training
        x_hat = denoiser(noise(), 0.9)
        assert x_hat.abs().max() <= 1
        assert "DiffusersNetwork" in repr(denoiser)

    @pytest.mark.parametrize("separate", [True, False])
    def test_the_parts_may_lie_in_one_folder(self, separate, tmp_path):
        model = tmp_path / "unet" if separate else tmp_path
        unet().save_pretrained(model)
        DDPMScheduler(clip_sample=False).save_pretrained(tmp_path)
        denoiser = load_diffusers(str(tmp_path))
        assert isinstance(denoiser, Denoiser)
        assert denoiser.network.levels == K

    def test_clipping_and_shape_can_be_said(self, tmp_path):
        saved_pipeline(tmp_path, model=unet(sample_size=None))
        with pytest.raises(ValueError, match=r"does not say the size.*shape=\(3, height, width\)"):
            load_diffusers(tmp_path)
        denoiser = load_diffusers(tmp_path, shape=(3, 4, 12), clip=False)
        assert isinstance(denoiser, Denoiser)
        assert denoiser(noise()[:, :, :4].repeat(1, 1, 1, 2)[..., :12], 0.5).shape == (3, 3, 4, 12)
        saved_pipeline(tmp_path, scheduler=DDPMScheduler(clip_sample=False))
        assert load_diffusers(tmp_path, clip=True).data_range == (-1.0, 1.0)

    def test_thresholding_is_refused_unless_it_is_left_out(self, tmp_path):
        saved_pipeline(tmp_path, scheduler=DDIMScheduler(thresholding=True))
        with pytest.raises(ValueError, match="dynamic thresholding: pass clip=False, .*percentile=0.995"):
            load_diffusers(tmp_path)
        assert isinstance(load_diffusers(tmp_path, clip=False), Denoiser)

    def test_epsilon_without_signal_at_the_end_is_refused(self, tmp_path):
        saved_pipeline(tmp_path, scheduler=DDIMScheduler(rescale_betas_zero_snr=True))
        with pytest.raises(ValueError, match=r"PredictEpsilon cannot be converted stably"):
            load_diffusers(tmp_path)
        saved_pipeline(tmp_path, scheduler=DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction"))
        assert load_diffusers(tmp_path).process.alpha(1.0) == 0

    def test_another_network_is_refused(self, tmp_path):
        saved_pipeline(tmp_path)
        file = tmp_path / "unet" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"_class_name": "UNet1DModel"}))
        with pytest.raises(ValueError, match="the network is a UNet1DModel, and UNet2DModel"):
            load_diffusers(tmp_path)

    def test_a_transformer_under_its_old_name_is_read(self, tmp_path):
        saved(tmp_path, dit(), DDIMScheduler(clip_sample=False), part="transformer")
        file = tmp_path / "transformer" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"_class_name": "Transformer2DModel"}))
        assert load_diffusers(tmp_path).network.learned_variance

    def test_what_is_not_there_is_said(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no network in .*unet/config.json, transformer/config.json"):
            load_diffusers(tmp_path)
        unet().save_pretrained(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"no scheduler's configuration in .*save_pretrained"):
            load_diffusers(tmp_path)

    def test_a_model_that_is_not_cached_is_not_waited_for(self):
        with pytest.raises(FileNotFoundError, match=r"no network in 'nobody/nothing'.*HF_HUB_OFFLINE"):
            load_diffusers("nobody/nothing", local_files_only=True)

    def test_without_diffusers_it_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "diffusers", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'unmelt\[diffusers\]'"):
            load_diffusers(tmp_path)

    def test_their_own_pipeline_reads_the_same_weights(self, tmp_path):
        denoiser = load_diffusers(saved_pipeline(tmp_path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = DDPMPipeline.from_pretrained(tmp_path).unet
        assert isinstance(theirs, UNet2DModel)
        ours = innermost(denoiser).network.model.state_dict()
        assert all(torch.equal(ours[name], weight) for name, weight in theirs.state_dict().items())
