"""The benchmark of samplers: its exact distributions, its distances, and that it runs."""

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import unmelt
from unmelt.degradations import HeatDissipation, IsotropicDiffusion, Markov, posterior_coefficients
from unmelt.models import GaussianOracle, OraclePrior
from unmelt.samplers import FixedGrid, PredictorCorrector, Sampler, UniformGrid

ROOT = Path(unmelt.__file__).parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import sampler_distributions  # noqa: E402

import samplers  # noqa: E402

SHAPE = (1, 4, 4)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["heat", "cosine"])
def case(request):
    build = {"heat": lambda: HeatDissipation(SHAPE, sigma=0.1), "cosine": lambda: IsotropicDiffusion(SHAPE)}
    mean = torch.randn(SHAPE, generator=seeded(0), dtype=torch.float64)
    variance = 0.1 + torch.rand(SHAPE, generator=seeded(1), dtype=torch.float64)
    process = sampler_distributions.InCoefficients(build[request.param]())
    return sampler_distributions.Case(request.param, GaussianOracle(process, mean, variance), isotropic=True)


def ancestral_distribution(case, times):
    """Return mean and variance of z_0 after ancestral steps, by their recursion."""
    process, oracle = case.process, case.oracle
    mean, variance = oracle.mean, oracle.variance
    alpha, sigma = process.alpha(times[0])[0], process.sigma(times[0])[0]
    m, v = alpha * mean, alpha.square() * variance + sigma.square()
    for t, s in pairwise(times):
        alpha, sigma, alpha_s = process.alpha(t)[0], process.sigma(t)[0], process.alpha(s)[0]
        c = posterior_coefficients(process.at(s), process.at(t), Markov())
        gain = alpha * variance / (alpha.square() * variance + sigma.square())
        slope = c.latent[0] + c.signal[0] * alpha_s * gain
        m = slope * m + c.signal[0] * alpha_s * (mean - gain * alpha * mean)
        v = slope.square() * v + c.stddev[0].square()
    return m, v


class TestExactDistribution:
    def test_it_is_that_of_the_recursion(self, case):
        times = UniformGrid(5).times(case.process)
        sampler = Sampler(case.oracle, grid=FixedGrid(times), prior=OraclePrior(case.oracle), denoise_last=False)
        score = sampler_distributions.error_of_distribution(case, sampler_distributions.OurAttempt(case, sampler))
        mean, variance = ancestral_distribution(case, times.tolist())
        alpha, sigma = case.process.alpha(0.0)[0], case.process.sigma(0.0)[0]
        target = (alpha.square() * case.oracle.variance + sigma.square()).sqrt()
        squares = (mean - alpha * case.oracle.mean).square() + (variance.sqrt() - target).square()
        expected = (squares.mean() / case.oracle.variance.mean()).sqrt().item()
        # Float64 rounding of a hundred operations on numbers of size 1, carried by numbers of size 0.1.
        assert score.error == pytest.approx(expected, rel=1e-11)
        assert score.calls == 5
        assert expected > 0.01

    def test_it_is_the_distribution_of_samples(self, case):
        stepper = PredictorCorrector(size=0.3)
        sampler = Sampler(case.oracle, stepper, grid=UniformGrid(4), prior=OraclePrior(case.oracle))
        attempt = sampler_distributions.OurAttempt(case, sampler)
        first = sampler_distributions.latents(case.oracle.mean, case.oracle.variance, attempt.start)
        distribution = sampler_distributions.distribution_of_samples(attempt, first)
        n = 40_000
        white = torch.randn(n, *SHAPE, generator=seeded(2), dtype=torch.float64)
        samples = sampler.sample(n, initial=first.mean + first.stddev * white, generator=seeded(3))
        # Five standard errors, of a mean s / sqrt(n) and of a standard deviation s / sqrt(2 n).
        bound = 5 * distribution.stddev / math.sqrt(n)
        assert ((samples.mean(0) - distribution.mean).abs() <= bound).all()
        assert ((samples.std(0) - distribution.stddev).abs() <= bound / math.sqrt(2)).all()

    def test_perfect_samples_are_at_no_distance(self, case):
        class Perfect:
            start, end, estimates, calls = case.at(0.0), case.at(0.0), False, 0

            def run(self, initial, noise):
                return initial

        assert sampler_distributions.error_of_distribution(case, Perfect()).error < 1e-12


class TestEnergyDistance:
    def test_of_two_points_it_is_twice_their_distance(self):
        x, y = torch.zeros(5, 1, 1, 1), torch.full((3, 1, 1, 1), 2.0)
        assert sampler_distributions.energy_distance(x, y) == pytest.approx(4.0)

    def test_it_is_unbiased(self):
        data = torch.randn(20, 1, 2, 2, generator=seeded(0), dtype=torch.float64)
        generator = seeded(1)
        draws = torch.stack(
            [
                torch.tensor(
                    sampler_distributions.energy_distance(data[torch.randint(20, (10,), generator=generator)], data),
                    dtype=torch.float64,
                )
                for _ in range(400)
            ]
        )
        # Four standard errors; with the diagonal counted in the mean it would be off by a tenth of E|X - X'|.
        assert abs(draws.mean()) <= 4 * draws.std() / math.sqrt(400)
        assert 4 * draws.std() / math.sqrt(400) < 0.1 * torch.cdist(data.flatten(1), data.flatten(1)).mean()


@pytest.mark.slow
def test_the_benchmark_runs_and_writes_its_tables(tmp_path):
    finished = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "samplers.py"),
            *("--quick", "--only", "cosine", "--save", str(tmp_path)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT.parent), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    table = (tmp_path / "samplers.md").read_text()
    lines = {line.split(" | ")[0].strip("| "): line for line in table.splitlines() if line.startswith("|")}
    assert {"sampler", "DDPM", "DDIM", "adaptive"} <= set(lines)
    # With each row's calls the error falls.
    errors = [float(cell) for cell in lines["DDIM"].strip("| ").split(" | ")[2:]]
    assert len(errors) == 3
    assert errors[0] > errors[1] > errors[2] > 0
    assert 1000 < (tmp_path / "samplers.png").stat().st_size < 150_000


def test_a_rival_s_folder_must_hold_it(tmp_path):
    with pytest.raises(ValueError, match="diffusers must be a folder that holds the package"):
        samplers.Settings(diffusers=tmp_path)
