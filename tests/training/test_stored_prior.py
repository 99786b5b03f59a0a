"""The prior in a run's folder: fitted once, kept, and enough to draw samples without the images."""

import dataclasses

import pytest
import torch

from unmelt.models import (
    DegradedDataPrior,
    GaussianPrior,
    LowRankGaussianPrior,
    StandardNormalPrior,
)
from unmelt.training import (
    DataRange,
    Images,
    ImageSplits,
    IsotropicConfig,
    PredictionKind,
    PriorKind,
    Trainer,
    build_prior,
    build_sampler,
    load_run,
    stored_prior,
)
from unmelt.training.config import config_from_json, config_to_json
from unmelt.training.stored_prior import (
    ScaledBlocks,
    fit_prior,
    read_prior,
    write_prior,
)


@pytest.fixture
def diffusion(config):
    """The same run of a process that ends in standard normal noise."""
    return dataclasses.replace(
        config,
        process=IsotropicConfig(),
        prediction=PredictionKind.EPSILON,
        sampling=dataclasses.replace(config.sampling, delta=None),
    )


def starting_from(config, kind):
    return dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, prior=kind))


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


class TestTheFolder:
    def test_training_stores_the_gaussian_and_samples_need_no_images(self, config, splits, monkeypatch):
        trainer = Trainer(config, splits)
        path = config.folder / "prior.pt"
        # Before the first step, and small: sixteen coefficients.
        assert 0 < path.stat().st_size < 20_000
        # Pictures start from what they always started from.
        assert isinstance(trainer.prior, DegradedDataPrior)
        trainer.train()

        def no_data(*arguments):
            msg = "asked for images"
            raise AssertionError(msg)

        monkeypatch.setattr("unmelt.training.loading.load_data", no_data)
        loaded = load_run(config.folder)
        prior = loaded.prior()
        assert prior.process is loaded.denoiser.process
        assert prior.agrees_with(LowRankGaussianPrior.fit(trainer.denoiser.process, splits.train.scaled()))
        samples = build_sampler(config, loaded.denoiser, prior).sample(3, generator=seeded())
        assert samples.shape == (3, 1, 4, 4)
        assert samples.isfinite().all()

    def test_a_process_that_ends_in_noise_stores_none_and_needs_none(self, diffusion, splits):
        Trainer(diffusion, splits).train()
        assert not (diffusion.folder / "prior.pt").exists()
        assert isinstance(load_run(diffusion.folder).prior(), StandardNormalPrior)

    def test_it_is_stored_for_such_a_process_too_where_its_samples_start_from_it(self, diffusion, splits):
        config = starting_from(diffusion, PriorKind.LOW_DIMENSIONAL)
        trainer = Trainer(config, splits)
        trainer.train()
        assert isinstance(trainer.prior, LowRankGaussianPrior)
        assert load_run(config.folder).prior().agrees_with(trainer.prior)

    def test_no_half_written_file_is_left(self, config, splits, tmp_path, monkeypatch):
        prior = fit_prior(config.process.build((1, 4, 4)), splits.train)
        write_prior(tmp_path / "prior.pt", prior, "sha")
        before = (tmp_path / "prior.pt").read_bytes()

        def half(values, path):
            path.write_bytes(b"half")
            msg = "no space left"
            raise OSError(msg)

        with monkeypatch.context() as patch:
            patch.setattr(torch, "save", half)
            with pytest.raises(OSError, match="no space left"):
                write_prior(tmp_path / "prior.pt", prior, "other")
        assert (tmp_path / "prior.pt").read_bytes() == before

    def test_an_image_too_few_is_told_before_anything_is_written(self, training, splits):
        config = training(batch_size=1)
        one = ImageSplits(Images(splits.train.values[:1]), splits.test)
        with pytest.raises(ValueError, match="at least 2 examples, got 1"):
            Trainer(config, one)
        assert not config.folder.exists()


class TestResuming:
    @pytest.fixture
    def half(self, training, splits):
        config = starting_from(training(steps=3), PriorKind.LOW_DIMENSIONAL)
        Trainer(config, splits).train()
        return config

    def longer(self, config):
        return dataclasses.replace(config, training=dataclasses.replace(config.training, steps=6))

    def test_it_is_kept(self, half, splits, monkeypatch):
        path = half.folder / "prior.pt"
        kept, stored = path.read_bytes(), load_run(half.folder).prior()

        def refit(*arguments):
            msg = "fitted again"
            raise AssertionError(msg)

        monkeypatch.setattr(stored_prior, "fit_prior", refit)
        monkeypatch.setattr("unmelt.training.build.fit_prior", refit)
        trainer = Trainer(self.longer(half), splits, resume=True)
        assert trainer.prior.agrees_with(stored)
        trainer.train()
        assert path.read_bytes() == kept

    def test_one_of_other_images_is_refused(self, half, splits):
        path = half.folder / "prior.pt"
        write_prior(path, fit_prior(half.process.build((1, 4, 4)), splits.test), splits.test.fingerprint())
        with pytest.raises(ValueError, match=r"prior.pt was fitted to other images.*restore the run's own file"):
            Trainer(self.longer(half), splits, resume=True)
        with pytest.raises(ValueError, match=r"prior.pt was fitted to other images"):
            load_run(half.folder).prior()

    def test_a_run_without_one_gets_it(self, half, splits):
        path = half.folder / "prior.pt"
        stored = load_run(half.folder).prior()
        path.unlink()
        Trainer(self.longer(half), splits, resume=True)
        assert load_run(half.folder).prior().agrees_with(stored)

    def test_other_data_are_refused_by_name_before_any_prior_is_looked_at(self, half, splits):
        other = ImageSplits(Images(255 - splits.train.values), splits.test)
        with pytest.raises(ValueError, match="trained on other images"):
            Trainer(self.longer(half), other, resume=True)

    def test_a_new_run_does_not_read_the_file_of_an_old_one(self, half, splits):
        (half.folder / "prior.pt").write_bytes(b"nonsense")
        with pytest.raises(FileExistsError, match="continue it with --resume"):
            Trainer(half, splits)


class TestOldRuns:
    @pytest.fixture
    def old(self, config, splits):
        """A run from before runs stored a prior."""
        Trainer(config, splits).train()
        (config.folder / "prior.pt").unlink()
        return load_run(config.folder)

    def test_it_is_told_what_to_do(self, old):
        with pytest.raises(FileNotFoundError, match=r"no prior \(no prior.pt\).*call store_prior\(\) once where"):
            old.prior()

    def test_doing_so_gives_it_one(self, old, splits, monkeypatch):
        monkeypatch.setattr("unmelt.training.loading.load_data", lambda config: splits)
        fitted = old.store_prior()
        assert old.prior().agrees_with(fitted)
        assert fitted.agrees_with(fit_prior(old.denoiser.process, splits.train))
        with pytest.raises(FileExistsError, match="not overwritten"):
            old.store_prior()

    def test_other_images_give_none(self, old):
        with pytest.raises(ValueError, match="trained on other images"):
            old.store_prior()
        assert not old.run.prior.exists()

    def test_their_configuration_is_read(self, config):
        text = config_to_json(config)
        assert '"prior": "auto"' in text
        before = text.replace(',\n    "prior": "auto"', "").replace('    "prior": "auto",\n', "")
        assert '"prior"' not in before
        assert config_from_json(before) == config


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            (PriorKind.AUTO, DegradedDataPrior),
            (PriorKind.DEGRADED_DATA, DegradedDataPrior),
            (PriorKind.LOW_DIMENSIONAL, LowRankGaussianPrior),
            (PriorKind.GAUSSIAN, GaussianPrior),
        ],
    )
    def test_samples_and_pictures_start_from_the_one_asked_for(self, config, splits, kind, expected):
        trainer = Trainer(starting_from(config, kind), splits)
        assert type(trainer.prior) is expected
        # What the folder keeps does not depend on it.
        stored = read_prior(trainer.run.prior, trainer.denoiser.process, splits.train.fingerprint())
        assert stored.agrees_with(fit_prior(trainer.denoiser.process, splits.train))
        assert trainer.prior.sample(2, generator=seeded()).shape == (2, 1, 4, 4)

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            (PriorKind.AUTO, StandardNormalPrior),
            (PriorKind.STANDARD_NORMAL, StandardNormalPrior),
            (PriorKind.DEGRADED_DATA, DegradedDataPrior),
            (PriorKind.GAUSSIAN, GaussianPrior),
        ],
    )
    def test_those_of_a_diffusion(self, diffusion, splits, kind, expected):
        process = diffusion.process.build((1, 4, 4))
        assert type(build_prior(process, splits.train, kind=kind)) is expected

    def test_a_standard_normal_is_refused_where_the_process_ends_elsewhere(self, config, splits):
        with pytest.raises(ValueError, match=r"does not end in standard normal.*LowRankGaussianPrior\.fit"):
            Trainer(starting_from(config, PriorKind.STANDARD_NORMAL), splits)
        assert not config.folder.exists()

    def test_the_images_are_those_of_the_declared_range(self, config, splits, monkeypatch):
        """In blocks, of any size, as often as asked."""
        images = Images(splits.train.values, data_range=DataRange(-1.0, 1.0))
        process = config.process.build((1, 4, 4))
        expected = LowRankGaussianPrior.fit(process, images.scaled())
        assert fit_prior(process, images).agrees_with(expected)
        monkeypatch.setattr(stored_prior, "_LARGEST", 5 * 16)
        blocks = ScaledBlocks(images)
        assert [len(block) for block in blocks] == [5, 5, 5, 5, 2]
        for _ in range(2):
            assert torch.equal(torch.cat(list(blocks)), images.scaled())
        # Sums in another order, in float64.
        torch.testing.assert_close(fit_prior(process, images).spectral_variance, expected.spectral_variance)
        assert fit_prior(process, images).rank == expected.rank


def test_a_file_of_something_else_is_refused(config, tmp_path):
    process = config.process.build((1, 4, 4))
    torch.save({"factor": torch.zeros(2, 2)}, tmp_path / "prior.pt")
    with pytest.raises(ValueError, match="holds no prior of a run"):
        read_prior(tmp_path / "prior.pt", process, "sha")
