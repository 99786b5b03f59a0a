"""The edges that must work: no signal, no noise, no time between, coefficients that never change or vanish at once."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dense_reference import PAIRS, require_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from support import COUPLINGS, draw, every_coupling

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    CosineSchedule,
    Deterministic,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    Markov,
    PixelBasis,
    log_snr_change,
)
from unmelt.testing.strategies import (
    DTYPES,
    Anisotropic,
    couplings,
    random_images,
)


class Blackout(LinearGaussianProcess):
    """Rectified-flow ends: no noise at t = 0, no signal at t = 1, both exactly."""

    def __init__(self, shape):
        super().__init__(PixelBasis(shape))

    def log_alpha(self, t):
        return torch.log1p(-t)

    def log_sigma(self, t):
        return torch.log(t)


class Vanishing(LinearGaussianProcess):
    """Signal and noise both fade to exactly nothing at t = 1, the signal faster."""

    def __init__(self, shape):
        super().__init__(CosineBasis(shape))

    def log_alpha(self, t):
        return torch.log1p(-t)

    def log_sigma(self, t):
        return math.log(0.1) + torch.log1p(-t) / 2


SHAPE = (1, 16, 16)
EXTREME = [
    # At the last level the highest frequency's log alpha is below -4900.
    HeatDissipation(SHAPE, blur_sigma_max=24.0, levels=50),
    HeatDissipation(SHAPE, blur_sigma_max=24.0, levels=50, sigma=0.0),
    BlurringDiffusion(SHAPE),
    IsotropicDiffusion(SHAPE, CosineSchedule(-60.0, 60.0)),
    IsotropicDiffusion(SHAPE, LinearSchedule()),
    Blackout(SHAPE),
    Vanishing(SHAPE),
    Anisotropic(CosineBasis(SHAPE)),
]
TIMES = [0.0, 1e-9, 0.02, 0.5, 1 - 1e-9, 1.0]


def test_the_extremes_are_extreme():
    assert EXTREME[0].log_alpha(torch.tensor(1.0)).min() < -4900
    assert EXTREME[5].log_alpha(torch.tensor(1.0)) == -math.inf
    assert EXTREME[1].log_sigma(torch.tensor(1.0)) == -math.inf


@pytest.mark.parametrize("process", EXTREME, ids=lambda p: type(p).__name__)
@settings(max_examples=25)
@given(
    times=st.tuples(st.sampled_from(TIMES), st.sampled_from(TIMES)).map(sorted),
    coupling=couplings(),
    dtype=st.sampled_from(DTYPES),
)
def test_every_law_is_finite_at_the_extremes(process, times, coupling, dtype):
    s, t = times
    x, z = random_images(SHAPE, dtype=dtype), random_images(SHAPE, seed=1, dtype=dtype)
    for q in (process.marginal(x, t), process.transition(z, s, t), process.posterior(z, x, s, t, coupling)):
        assert q.mean.dtype == dtype
        assert q.mean.isfinite().all()
        assert q.spectral_stddev.isfinite().all()
        assert (q.spectral_stddev >= 0).all()


@pytest.mark.parametrize("process", EXTREME, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("t", TIMES)
def test_no_time_between_changes_nothing(process, t):
    x, z = random_images(SHAPE), random_images(SHAPE, seed=1)
    step = process.transition(z, t, t)
    torch.testing.assert_close(step.mean, z, rtol=0, atol=1e-13)
    assert step.spectral_stddev.max() == 0
    for coupling in (Markov(), Deterministic()):
        q = process.posterior(z, x, t, t, coupling)
        torch.testing.assert_close(q.mean, z, rtol=0, atol=1e-13)
        assert q.spectral_stddev.max() == 0
    fresh, marginal = process.posterior(z, x, t, t, Independent()), process.marginal(x, t)
    torch.testing.assert_close(fresh.mean, marginal.mean, rtol=0, atol=1e-13)
    torch.testing.assert_close(fresh.spectral_stddev, marginal.spectral_stddev)


def test_data_without_noise_and_noise_without_data():
    process = Blackout(SHAPE)
    x, z = random_images(SHAPE), random_images(SHAPE, seed=1)
    assert torch.equal(process.marginal(x, 0.0).sample(), x)
    end = process.marginal(x, 1.0)
    assert torch.equal(end.mean, torch.zeros_like(x))
    assert torch.equal(end.spectral_stddev, torch.ones_like(end.spectral_stddev))
    # Nothing can be learnt from pure noise: the posterior is the marginal. Towards data it is the data.
    middle = process.posterior(z, x, 0.5, 1.0)
    torch.testing.assert_close(middle.mean, process.marginal(x, 0.5).mean)
    torch.testing.assert_close(process.posterior(z, x, 0.0, 0.5).mean, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_coefficients_that_never_change_are_kept(dtype):
    """The mean of each channel under heat: alpha = 1 for ever, its latent passes through a Markov step untouched."""
    process = HeatDissipation((3, 8, 8), blur_sigma_max=24.0, levels=20)
    x, z = random_images((3, 8, 8), dtype=dtype), random_images((3, 8, 8), seed=1, dtype=dtype)
    q = process.posterior(z, x, 0.3, 0.9)
    mean = (2, 3)
    torch.testing.assert_close(q.mean.mean(mean), z.mean(mean), rtol=0, atol=8 * torch.finfo(dtype).eps)
    assert q.spectral_stddev.expand(1, 1, 8, 8)[..., 0, 0].item() == 0


@settings(max_examples=25)
@given(times=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted), coupling=couplings(), seed=st.integers(0, 99))
@pytest.mark.parametrize("process", EXTREME, ids=lambda p: type(p).__name__)
def test_single_precision_data_loses_only_rounding(process, times, coupling, seed):
    """Coefficients are computed in double precision whatever the data's is; so results agree to single precision."""
    s, t = times
    x, z = random_images(SHAPE, seed=seed), random_images(SHAPE, seed=seed + 1)
    exact, rounded = process.posterior(z, x, s, t, coupling), process.posterior(z.float(), x.float(), s, t, coupling)
    # Coefficients of 16 x 16 images in [0, 1] reach 16; c = sigma_s / sigma_t may amplify the latent.
    latent = process.posterior_coefficients(s, t, coupling).latent.max().item()
    tolerance = 32 * torch.finfo(torch.float32).eps * 16 * max(1.0, latent)
    torch.testing.assert_close(rounded.mean.double(), exact.mean, rtol=0, atol=tolerance)
    torch.testing.assert_close(rounded.spectral_stddev.double(), exact.spectral_stddev, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("process", EXTREME, ids=lambda p: type(p).__name__)
def test_bf16_latents_and_autocast_keep_full_precision_coefficients(process):
    x = random_images(SHAPE, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = process.posterior(x, x, 0.25, 0.75)
        degraded = process.degrade(x, 0.5)[0]
        corrupted = process.corrupt(x, torch.randn_like(x, dtype=torch.float32), 0.5)
    assert q.mean.dtype == degraded.dtype == corrupted.dtype == torch.float32
    expected = process.posterior(x.float(), x.float(), 0.25, 0.75)
    assert torch.equal(q.spectral_mean, expected.spectral_mean)
    assert torch.equal(degraded, process.degrade(x.float(), 0.5)[0])


@pytest.mark.parametrize("numbers", [(5,), pytest.param((0, 1, 2, 3, 4, 6, 7), marks=pytest.mark.slow)])
def test_compiles_without_graph_breaks_and_marks_wrong_times(numbers):
    """In another process: the suite's run-time shape checks would themselves break graphs."""
    script = Path(__file__).with_name("compiled_extremes.py")
    command = [sys.executable, str(script), *map(str, numbers)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [type(EXTREME[number]).__name__ for number in numbers]


def test_a_log_snr_that_stands_still_but_for_rounding_adds_no_noise():
    """A rise of 1e-13 is rounding, not a wrong process: its square root must not be NaN."""

    class Still(LinearGaussianProcess):
        def __init__(self):
            super().__init__(PixelBasis(SHAPE))

        def log_alpha(self, t):
            return 1e-13 * t

        def log_sigma(self, t):
            return torch.zeros_like(t)

    x = random_images(SHAPE)
    step, posterior = Still().transition(x, 0.2, 0.8), Still().posterior(x, x, 0.2, 0.8)
    assert step.spectral_stddev.max() == 0
    assert posterior.spectral_stddev.max() == 0
    torch.testing.assert_close(step.mean, x, rtol=0, atol=1e-12)


class Afterglow(LinearGaussianProcess):
    """No signal is left from t = 0.4 on, and from t = 0.6 on the noise shrinks, to nothing at t = 1."""

    def __init__(self, shape=SHAPE):
        super().__init__(PixelBasis(shape))

    def log_alpha(self, t):
        return torch.where(t < 0.4, -t, -torch.inf)

    def log_sigma(self, t):
        return torch.log(((1 - t) / 0.4).clamp(max=1))


@every_coupling
@pytest.mark.parametrize("make", ["Blackout", "Vanishing", "Afterglow"])
def test_ends_without_signal_or_noise_are_the_dense_reference(make, coupling):
    process = globals()[make]((1, 2, 3))
    for s, t in [*PAIRS, (0.2, 0.5), (0.5, 0.55), (0.5, 0.7), (0.7, 0.9), (0.2, 1.0)]:
        require_reference(process, coupling, s, t, draw((1, 2, 3)), draw((1, 2, 3), seed=1))


def test_where_signal_and_noise_vanish_at_once_nothing_is_left_to_know():
    process = Vanishing(SHAPE)
    assert log_snr_change(process.at(0.5), process.at(1.0)) == -math.inf
    assert log_snr_change(process.at(1.0), process.at(1.0)) == 0


@pytest.mark.parametrize(("s", "t"), [(0.5, 0.7), (0.7, 0.9), (0.7, 1.0), (1.0, 1.0), (0.2, 0.7), (0.2, 1.0)])
def test_noise_may_shrink_once_no_signal_is_left(s, t):
    """The chain carries on what is left of noise, scaled: z_t has its marginal, and z_s the one it had."""
    process, x = Afterglow(), random_images(SHAPE)
    sigma_s, sigma_t = process.sigma(s).item(), process.sigma(t).item()
    step = process.transition(torch.ones_like(x), s, t)
    scale, variance = step.mean.mean().item(), step.spectral_stddev.max().item() ** 2
    assert scale**2 * sigma_s**2 + variance == pytest.approx(sigma_t**2, abs=1e-15)
    for coupling in COUPLINGS:
        latent, _, stddev = (c.max().item() for c in process.posterior_coefficients(s, t, coupling))
        assert latent**2 * sigma_t**2 + stddev**2 == pytest.approx(sigma_s**2, abs=1e-15)
    assert process.sample_path(x, [s, t]).isfinite().all()
