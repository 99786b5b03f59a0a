"""Images restored by a run's folder alone, and the spectrum that it keeps for that."""

import dataclasses

import pytest
import torch
from small_runs import begin, train

from unmelt.core.tensor_files import read_state, write_state
from unmelt.degradations import PredictX, estimate_spectrum
from unmelt.models import Denoiser, GaussianOracle
from unmelt.models.off_levels import OffLevelsWarning
from unmelt.samplers import Multistep, UniformGrid
from unmelt.samplers.guidance import LinearObservation, PseudoInverseGuidance
from unmelt.training import load_run

SHAPE = (1, 4, 4)
LEFT = torch.tensor([True, True, False, False])


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


class Exact(torch.nn.Module):
    """A network that is an exact denoiser."""

    def __init__(self, oracle):
        super().__init__()
        self.oracle = oracle

    def forward(self, z, t, condition=None):
        return self.oracle(z, t)


class TestSpectrum:
    @pytest.mark.full
    def test_a_run_keeps_that_of_its_training_images(self, config, splits):
        trainer = train(config, splits)
        run = load_run(config.folder)
        expected = estimate_spectrum(run.denoiser.process.basis, splits.train.read())
        assert run.spectrum.basis is run.denoiser.process.basis
        assert torch.allclose(run.spectrum.mean, expected.mean, rtol=0, atol=1e-12)
        assert torch.allclose(run.spectrum.variance, expected.variance, rtol=0, atol=1e-12)
        assert run.spectrum.count == 22
        # Of few images where few are looked at.
        few = begin(dataclasses.replace(config, name="few", fitted_to=5), splits)
        assert few._records_of_images[few.run.spectrum]["count"] == 5
        assert trainer.run.spectrum.stat().st_size < 2000

    @pytest.mark.full
    def test_it_is_kept_when_a_run_goes_on_and_made_again_where_it_is_lost(self, training, splits, monkeypatch):
        path = training().folder / "spectrum.safetensors"
        train(training(steps=1), splits)
        kept = path.read_bytes()

        def again(*arguments):
            msg = "estimated again"
            raise AssertionError(msg)

        with monkeypatch.context() as patch:
            patch.setattr("unmelt.training.folder.spectrum_file.estimate_spectrum", again)
            train(training(steps=2), splits, resume=True)
        assert path.read_bytes() == kept
        path.unlink()
        with pytest.raises(
            FileNotFoundError, match=r"no .*spectrum.safetensors.*--resume .*small where its images are"
        ):
            load_run(training().folder).spectrum  # noqa: B018
        # Of a run that has all its steps, too.
        train(training(steps=2), splits, resume=True)
        assert path.read_bytes() == kept

    @pytest.mark.full
    def test_others_are_refused(self, config, splits):
        train(config, splits)
        run = load_run(config.folder)
        record = read_state(run.folder.spectrum)
        write_state(run.folder.spectrum, record | {"train_sha256": "of others"})
        with pytest.raises(ValueError, match="the spectrum of other images than the run was trained on"):
            run.spectrum  # noqa: B018
        for damaged in (record | {"mean": torch.zeros(1, 2, 2)}, {"mean": record["mean"]}, [1]):
            write_state(run.folder.spectrum, damaged)
            with pytest.raises(ValueError, match="does not hold a spectrum of this run's images"):
                run.spectrum  # noqa: B018


class TestRestore:
    @pytest.fixture
    def run(self, training, splits, monkeypatch):
        train(training(steps=1), splits)

        def asked(*arguments):
            msg = "asked for images"
            raise AssertionError(msg)

        monkeypatch.setattr("unmelt.training.data.examples.Examples.blocks", asked)
        return load_run(training().folder)

    @pytest.mark.full
    def test_it_is_the_posterior_of_the_denoiser_that_the_run_has(self, run, splits):
        """With the exact denoiser of Gaussian data of its spectrum in the place of its network."""
        spectrum = run.spectrum
        process = run.denoiser.process
        network = Exact(GaussianOracle.of_spectrum(process, spectrum))
        exact = dataclasses.replace(run, denoiser=Denoiser(network, process, prediction=PredictX()))
        observation = LinearObservation.mask(SHAPE, LEFT, noise_std=0.1)
        y = observation.observe(splits.test.read()[:1], generator=seeded())[0]
        count = 2000
        found = exact.restore(
            y, observation, count, stepper=Multistep(), steps=60, generator=seeded(2), batch_size=1000
        )
        # By Gaussian conditioning on the pixels that are seen.
        v = spectrum.basis.inverse(torch.eye(16, dtype=torch.float64).reshape(16, *SHAPE)).flatten(1).T
        covariance, m = v @ torch.diag(spectrum.variance.flatten()) @ v.T, v @ spectrum.mean.flatten()
        seen = LEFT.expand(4, 4).flatten()
        gain = covariance[:, seen] @ torch.linalg.inv(covariance[seen][:, seen] + 0.01 * torch.eye(8))
        mean = m + gain @ (y.flatten().double()[seen] - m[seen])
        variance = (covariance - gain @ covariance[seen]).diagonal()
        assert ((found.mean.flatten() - mean).abs() < 6 * (variance / count).sqrt()).all()
        # Within a fifth: six standard errors, and what the steps and the noise of level 0 leave of it.
        assert torch.allclose(found.std.flatten().square().double(), variance, rtol=0.2)

    @pytest.mark.full
    def test_it_steps_as_the_run_does_or_as_asked_for(self, run):
        observation, y = LinearObservation.blur(SHAPE, 1.0, noise_std=0.05), torch.rand(SHAPE, generator=seeded())
        calls = []
        run.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
        one = run.restore(y, observation, 3, generator=seeded())
        # All eight levels, at once.
        assert len(calls) == 8
        assert torch.equal(one.samples, run.restore(y, observation, 3, generator=seeded()).samples)
        assert torch.equal(one.observed, y)
        del calls[:]
        run.restore(y, observation, 4, grid=UniformGrid(8), batch_size=2, generator=[1, 2, 3, 4])
        assert len(calls) == 16
        del calls[:]
        other = dataclasses.replace(run, parts=dataclasses.replace(run.parts, grid=UniformGrid(4)))
        with pytest.warns(OffLevelsWarning):
            other.restore(y, observation, 1)
        assert len(calls) == 4
        run.restore(y, observation, 1, guidance=PseudoInverseGuidance, steps=8)
        with pytest.raises(ValueError, match="steps or a grid, not both"):
            run.restore(y, observation, steps=3, grid=UniformGrid(4))
        with pytest.raises(ValueError, match="signals of shape"):
            run.restore(y, LinearObservation.blur((1, 8, 8), 1.0, noise_std=0.05))
