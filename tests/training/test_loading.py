"""From a run's folder back to the model that it holds: no images, no files, and no code that is not trusted."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from small_runs import begin, changed, train

import unmelt
from unmelt.core import FromFile, later
from unmelt.core.tensor_files import write_state
from unmelt.degradations import (
    BlurringDiffusion,
    ConstantNoise,
    EqualSNR,
    EqualVarianceBlur,
    FittedSpectrum,
    GaussianBlur,
    IsotropicDiffusion,
    PixelMask,
    PredictEpsilon,
    PredictV,
    PredictX,
    SpectralDiffusion,
)
from unmelt.models import (
    DegradedDataPrior,
    Denoiser,
    GaussianPrior,
    KernelDivergence,
    LowRankGaussianPrior,
    StandardNormalPrior,
)
from unmelt.samplers import Adaptive, Multistep, Posterior, Sampler, UniformGrid
from unmelt.samplers.probability_flow import NonFiniteRatesError
from unmelt.training import load_run
from unmelt.training.folder.prior_file import read_prior, write_prior
from unmelt.training.rehearsal import rehearse

SHAPE = (1, 4, 4)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


class TestModel:
    @pytest.mark.full
    def test_the_denoiser_is_the_moving_average_at_the_last_step(self, config, splits, no_images):
        trained = train(config, splits)
        no_images()
        run = unmelt.load_run(str(config.folder))
        assert run.config == run.parts == config
        assert run.checkpoint.name == "step_00000006"
        z, t = torch.rand(3, *SHAPE), torch.tensor([0.25, 0.5, 1.0])
        assert torch.equal(run.denoiser(z, t), trained.ema.model(z, t))
        assert not torch.equal(run.denoiser(z, t), trained.denoiser.eval()(z, t))
        assert not run.denoiser.training
        assert not any(p.requires_grad for p in run.denoiser.parameters())
        assert torch.equal(run.sample(2, generator=seeded()), trained.sampler.sample(2, generator=seeded()))

    def test_samplers_are_the_run_s_own_or_as_asked_for(self, training, splits):
        config = training(
            steps=1,
            process=later(BlurringDiffusion, blur_sigma_max=1.0),
            prediction=PredictX(),
            sampler=Posterior(),
            grid=UniformGrid(7),
        )
        train(config, splits)
        run = load_run(config.folder)
        assert (run.sampler().stepper, run.sampler().grid) == (Posterior(), UniformGrid(7))
        assert (run.sampler(steps=3).stepper, run.sampler(steps=3).grid) == (Posterior(), UniformGrid(3))
        other = run.sampler(Multistep(order=3), steps=4)
        assert (other.stepper, other.grid) == (Multistep(order=3), UniformGrid(4))
        assert run.sampler(Multistep()).grid == Multistep().default_grid()
        assert other.sample(2).shape == (2, *SHAPE)
        with pytest.raises(ValueError, match="steps or a grid, not both"):
            run.sampler(steps=3, grid=UniformGrid(4))

    def test_the_data_s_range_goes_with_the_model(self, config, splits):
        """Whatever the configuration says: the range is that of the images it was given."""
        trained = train(config, splits)
        run, levels = load_run(config.folder), splits.train.grey_levels
        assert run.denoiser.grey_levels == trained.denoiser.grey_levels == trained.prior.grey_levels == levels
        assert run.prior.grey_levels == levels
        prior = GaussianPrior.fit(run.denoiser.process, splits.train.read())
        prior.grey_levels = type(levels)(levels.count, levels.low, levels.high + 1)
        with pytest.raises(ValueError, match="the prior is one of data in"):
            Sampler(run.denoiser, prior=prior)

    @pytest.mark.full
    def test_a_checkpoint_is_chosen_by_its_name_or_step(self, config, splits):
        """The run has checkpoints of steps 3 and 6."""
        train(config, splits)
        newest, *others = (load_run(config.folder, checkpoint=c) for c in (None, 3, "3", "step_00000003"))
        assert (newest.step, newest.checkpoint.name) == (6, "step_00000006")
        for run in others:
            assert (run.step, run.checkpoint.name) == (3, "step_00000003")
            assert torch.equal(run.sample(2, generator=seeded()), others[0].sample(2, generator=seeded()))
        assert not torch.equal(newest.sample(2, generator=seeded()), others[0].sample(2, generator=seeded()))
        for wrong in (5, "step_3", "../../manifest.json"):
            with pytest.raises(
                FileNotFoundError, match=rf"no checkpoint {wrong} under .*: there is step_00000003, step_0"
            ):
                load_run(config.folder, checkpoint=wrong)
        (others[0].checkpoint / "average_0.9.safetensors").write_bytes(b"")
        with pytest.raises(ValueError, match="average_0.9.safetensors is damaged"):
            load_run(config.folder, checkpoint=3)

    def test_what_does_not_belong_together_is_told(self, config, splits, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no run"):
            load_run(tmp_path / "nothing")
        train(config, splits)
        with pytest.raises(ValueError, match="trained on other images"):
            # The run's configuration names the digits, but these tests train on images of their own.
            load_run(config.folder).data()
        file = config.folder / "config.json"
        text = file.read_text()
        file.write_text(text.replace("sigma=0.03", "sigma=0.5"))
        with pytest.raises(ValueError, match="other coefficients than HeatDissipation gives now"):
            load_run(config.folder)
        file.write_text(text)
        shutil.rmtree(config.folder / "checkpoints")
        with pytest.raises(FileNotFoundError, match="no checkpoint"):
            load_run(config.folder)


class TestPrior:
    @pytest.fixture
    def diffusion(self, training):
        """A process that ends in standard normal noise."""
        return training(steps=1, process=later(IsotropicDiffusion), prediction=PredictEpsilon(), sampler=Posterior())

    @pytest.mark.parametrize(
        ("prior", "expected"),
        [
            (None, LowRankGaussianPrior),
            (later(DegradedDataPrior.fit), DegradedDataPrior),
            (GaussianPrior.fit, GaussianPrior),
        ],
        ids=["as it is", "images", "Gaussian"],
    )
    def test_samples_start_from_the_one_asked_for_and_need_no_images(
        self, training, splits, prior, expected, no_images
    ):
        trainer = begin(training(**{"prior": prior} if prior else {}), splits)
        assert type(trainer.prior) is expected
        trainer.train()
        if expected is LowRankGaussianPrior:
            # Small: sixteen coefficients.
            assert 0 < trainer.run.prior.stat().st_size < 20_000
        no_images()
        run = load_run(trainer.run.path)
        assert run.prior.process is run.denoiser.process
        assert run.prior.agrees_with(trainer.prior)
        samples = run.sample(3, generator=seeded())
        assert samples.shape == (3, *SHAPE)
        assert samples.isfinite().all()

    def test_a_process_that_ends_in_noise_needs_none(self, diffusion, splits):
        train(diffusion, splits)
        assert isinstance(load_run(diffusion.folder).prior, StandardNormalPrior)
        fitted = train(changed(diffusion, name="fitted", prior=later(LowRankGaussianPrior.fit)), splits)
        assert load_run(fitted.run.path).prior.agrees_with(fitted.prior)

    @pytest.mark.full
    def test_it_is_kept_when_a_run_goes_on(self, training, splits, monkeypatch):
        config = training(steps=1)
        train(config, splits)
        path = config.folder / "prior.safetensors"
        kept, stored = path.read_bytes(), load_run(config.folder).prior

        def refit(*arguments):
            msg = "fitted again"
            raise AssertionError(msg)

        with monkeypatch.context() as patch:
            patch.setattr("unmelt.models.priors.low_rank.LowRankGaussianPrior.fit", refit)
            trainer = train(training(steps=2), splits, resume=True)
        assert trainer.prior.agrees_with(stored)
        assert path.read_bytes() == kept
        # A folder that has lost it gets it again.
        path.unlink()
        with pytest.raises(FileNotFoundError, match="prior.safetensors: restore the file, or --resume"):
            load_run(config.folder).prior  # noqa: B018
        train(training(steps=3), splits, resume=True)
        assert load_run(config.folder).prior.agrees_with(stored)

    def test_other_files_are_refused(self, config, training, splits):
        path, process = config.folder / "prior.safetensors", config.process(SHAPE)
        train(training(steps=1), splits)
        write_prior(path, config.prior(process, splits.test.blocks()), config, splits.test.fingerprint())
        with pytest.raises(
            ValueError, match=r"prior.safetensors was fitted to other images.*restore the run's own file"
        ):
            begin(training(steps=9), splits, resume=True)
        write_state(path, {"factor": torch.zeros(2, 2)})
        with pytest.raises(ValueError, match="does not hold a prior of this run"):
            read_prior(path, config, process, splits.train.fingerprint())

    def test_what_no_table_holds_is_read_too(self, training, splits, tmp_path):
        bound = KernelDivergence.VARIATIONAL
        config = training(prior=later(DegradedDataPrior.fit, divergence=bound, rows=3))
        path, process = tmp_path / "prior.safetensors", config.process(SHAPE)
        write_prior(path, config.prior(process, splits.train.blocks()), config, "sha")
        prior = read_prior(path, config, process, "sha")
        assert (prior.kernel_divergence, prior.rows) == (bound, 3)

    def test_no_half_written_file_is_left(self, config, splits, tmp_path, monkeypatch):
        path, prior = tmp_path / "prior.safetensors", config.prior(config.process(SHAPE), splits.train.blocks())
        write_prior(path, prior, config, "sha")
        before = path.read_bytes()

        def half(handle):
            msg = "no space left"
            raise OSError(msg)

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", half)
            with pytest.raises(OSError, match="no space left"):
                write_prior(path, prior, config, "other")
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["prior.safetensors"]

    def test_the_images_are_those_of_the_declared_range(self, config, splits, monkeypatch):
        """In blocks, of any size, as often as asked."""
        monkeypatch.setattr("unmelt.training.data.examples._LARGEST", 5 * 16)
        blocks = splits.train.blocks()
        assert [len(block) for block in blocks] == [5, 5, 5, 5, 2]
        for _ in range(2):
            assert torch.equal(torch.cat(list(blocks)), splits.train.read())


def npy(tmp_path):
    np.save(tmp_path / "onset.npy", np.linspace(0, 0.7, 16).reshape(SHAPE))
    return FromFile(str(tmp_path / "onset.npy"))


FITTED = {
    "noise.spectrum.variance": lambda _: later(
        SpectralDiffusion, noise=EqualSNR(FittedSpectrum(images=20, floor=1e-3))
    ),
    "blur.widths": lambda _: later(GaussianBlur, blur=EqualVarianceBlur(3.0, levels=8), noise=ConstantNoise(0.1)),
    "onset.tensor": lambda path: later(PixelMask, onset=npy(path), duration=0.2),
}


class TestFitted:
    @pytest.mark.full
    @pytest.mark.parametrize("name", FITTED)
    def test_what_was_fitted_to_images_or_read_from_a_file_is_the_run_s(
        self, training, splits, name, tmp_path, no_images
    ):
        changes = {"process": FITTED[name](tmp_path), "prediction": PredictV() if "noise" in name else PredictX()}
        trainer = train(training(steps=1, sampler=Posterior(), **changes), splits)
        assert f"process.{name}" in torch.load(trainer.run.fitted, weights_only=True)
        assert trainer.run.load_config().process == changes["process"]
        for file in tmp_path.glob("*.npy"):
            file.unlink()
        # Resumed from what is stored.
        again = train(training(steps=2, sampler=Posterior(), **changes), splits, resume=True)
        no_images()
        run = load_run(trainer.run.path)
        assert run.config == again.config
        assert run.denoiser.process.agrees_with(trainer.denoiser.process)
        assert run.sample(2).shape == (2, *SHAPE)
        trainer.run.fitted.unlink()
        with pytest.raises(ValueError, match="nothing is stored for process"):
            load_run(trainer.run.path)

    def test_nothing_is_written_where_it_cannot_be_had(self, training, splits, tmp_path):
        config = training(process=later(PixelMask, onset=FromFile(str(tmp_path / "no.npy"))), prediction=PredictX())
        with pytest.raises(FileNotFoundError, match=r"no\.npy"):
            begin(config, splits)
        assert not config.folder.exists()


OWN = """
import torch

from unmelt.degradations import CosineBasis, LinearGaussianProcess
from unmelt.models import GaussianPrior, Prior, StandardNormalPrior


class Fog(LinearGaussianProcess):
    def __init__(self, shape, speed: float = 4.0):
        super().__init__(CosineBasis(shape))
        self.speed = speed

    def log_alpha(self, t):
        return -2 * self.speed * t

    def log_sigma(self, t):
        return -self.speed * (1 - t)


class Clearing(Fog):
    def log_alpha(self, t):
        return 9 * t


class Wide(GaussianPrior):
    pass


def secretly(process, data):
    return Wide.fit(process, data)


def openly(process, data) -> Wide:
    return Wide.fit(process, data)


class Forgetful(Prior):
    tables = ("mean",)

    def __init__(self, process, mean, stddev=0.1):
        super().__init__(process)
        self.register_buffer("mean", mean)
        self.stddev = stddev

    @classmethod
    def fit(cls, process, data, stddev: float = 0.1) -> Prior:
        return cls(process, next(iter(data)).mean(0), stddev)

    def sample(self, count, generator=None):
        return self.mean + self.stddev * torch.randn(count, *self.mean.shape, generator=generator)

    def log_prob(self, z):
        raise NotImplementedError


class Untabled(Forgetful):
    tables = ()


class Small(StandardNormalPrior):
    def sample(self, count, *, generator=None):
        return torch.randn(count, 1, generator=generator)


class Wrong(torch.nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, z, t, condition):
        return self.weight * z[:, :1, :1]
"""


class TestOwnClasses:
    @pytest.fixture
    def fog(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "fog_of_a_user.py").write_text(OWN)
        import fog_of_a_user  # noqa: PLC0415

        yield fog_of_a_user
        sys.modules.pop("fog_of_a_user", None)

    @pytest.fixture
    def foggy(self, fog, training):
        return training(steps=1, process=later(fog.Fog, speed=3.0), prediction=PredictX(), sampler=Posterior())

    def test_they_are_imported_where_they_are_trusted_and_nowhere_else(self, foggy, splits, monkeypatch):
        trainer = train(foggy, splits)
        assert json.loads(trainer.run.config.read_text())["process"] == "fog_of_a_user.Fog(speed=3.0)"
        del sys.modules["fog_of_a_user"]
        with pytest.raises(
            ValueError,
            match=r"config.json: process: 'fog_of_a_user.Fog' .* trust_code=True in Python or --trust-code in",
        ):
            load_run(foggy.folder)
        assert "fog_of_a_user" not in sys.modules
        run = load_run(foggy.folder, trust_code=True)
        assert run.denoiser.process.speed == 3
        assert run.sample(2).shape == (2, *SHAPE)

    def test_a_class_that_was_edited_since_is_another_process(self, foggy, fog, splits, monkeypatch):
        train(foggy, splits)
        longer = changed(foggy, steps=2)
        with monkeypatch.context() as patch:
            patch.setattr(fog.Fog, "log_sigma", lambda self, t: -3.001 * (1 - t))
            with pytest.raises(ValueError, match="other coefficients than Fog gives now.*restore it"):
                begin(longer, splits, resume=True)
        assert begin(longer, splits, resume=True).progress.step == 1

    def test_a_rising_log_snr_is_told_before_training(self, foggy, fog, splits):
        with pytest.raises(ValueError, match=r"Clearing\(.*\) is not a forward process: .*rises.*check_process"):
            begin(changed(foggy, process=later(fog.Clearing)), splits)
        assert not foggy.folder.exists()

    @pytest.mark.full
    def test_a_prior_of_one_s_own_is_found_again_or_refused_at_once(self, foggy, fog, splits):
        with pytest.raises(ValueError, match="secretly.* made a Wide.*annotate it with -> Wide"):
            begin(changed(foggy, prior=later(fog.secretly)), splits)
        assert not foggy.folder.exists()
        for prior in (later(fog.openly), later(fog.Wide.fit)):
            trainer = train(changed(foggy, name=prior.make.__name__, prior=prior), splits)
            found = load_run(trainer.run.path, trust_code=True).prior
            assert type(found) is fog.Wide
            assert found.agrees_with(trainer.prior)

    def test_a_prior_whose_state_does_not_tell_all_is_refused_before_training(self, foggy, fog, splits):
        prior = changed(foggy, prior=later(fog.Forgetful.fit))
        # Its default comes back, another setting would not.
        assert load_run(train(prior, splits).run.path, trust_code=True).prior.stddev == 0.1
        for name, make, words in (
            ("lost", later(fog.Forgetful.fit, stddev=0.3), "Forgetful made again from its state_dict draws other"),
            ("none", later(fog.Untabled.fit), "Untabled made again from its state_dict cannot be made.*tables"),
        ):
            config = changed(foggy, name=name, prior=make)
            with pytest.raises(ValueError, match=words):
                begin(config, splits)
            assert not config.folder.exists()

    @pytest.mark.usefixtures("as_in_production")
    def test_what_would_fail_in_the_first_step_or_the_first_sample_fails_before(self, foggy, fog, splits):
        for changes, words in (
            ({"network": later(fog.Wrong)}, r"the network returned shape \(2, 1, 1, 4\)"),
            ({"prior": later(fog.Small.fit)}, r"Small.sample\(2\) must return shape \(2, 1, 4, 4\), got \(2, 1\)"),
        ):
            with pytest.raises(ValueError, match=words):
                begin(changed(foggy, **changes), splits)
        with pytest.raises(TypeError, match="data must be a Splits"):
            begin(foggy, (splits.train, splits.test))
        assert not foggy.folder.exists()

    def test_the_rehearsal_changes_nothing(self, foggy, splits):
        before = torch.random.get_rng_state()
        trainer = begin(foggy, splits)
        network, state = trainer.denoiser, torch.random.get_rng_state()
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        rehearse(network, trainer.sampler, splits.train)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in kept.items())
        assert network.training
        torch.random.set_rng_state(before)


@pytest.mark.full
def test_the_rehearsal_does_not_follow_the_flow_of_a_network_that_is_not_trained(splits):
    network = torch.nn.Module()
    # Doubled again and again on its way to t = 0, a latent overflows.
    network.forward = lambda z, t, condition: 300 * z
    process = IsotropicDiffusion(SHAPE)
    denoiser = Denoiser(network, process, prediction=PredictX())
    sampler = Sampler(denoiser, Adaptive())
    rehearse(denoiser, sampler, splits.train)
    with pytest.raises(NonFiniteRatesError):
        sampler.step(torch.randn(2, *SHAPE), sampler.times[0], sampler.times[1])
