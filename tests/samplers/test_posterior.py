"""Posterior steps against the papers' loops, and against distributions known exactly."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampler_support import SHAPE, Soft, heat, latents, made, seeded, soft

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Deterministic,
    Eta,
    Independent,
    IsotropicDiffusion,
    Markov,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
)
from unmelt.models import ConstantStd, DegradedDataPrior, FittedStd, ForwardStd, GaussianOracle, MarginalStd
from unmelt.samplers import Multistep, Posterior, UniformGrid
from unmelt.testing.strategies import couplings

ANY_COUPLING = [Markov(), Deterministic(), Independent(), Eta(0.4)]
BLURRING = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)


# ---- the papers' loops, with the same noise ----------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1.0, 1.25])
def test_inverse_heat_dissipations_sampler(ratio):
    """Rissanen et al. (2023), algorithm 2: u <- u + f(u, k), then + delta noise, but for the last level."""
    process, network, delta = heat(sigma=0.02), Soft(), 0.02 * ratio
    stepper = Posterior(Independent(), MarginalStd(times_sigma=ratio))
    ours = made(soft(process, PredictPreviousLevel(), network), stepper)
    ours = ours.sample(3, generator=seeded(), initial=latents())
    u, generator = latents(), seeded()
    for level in range(12, 0, -1):
        mean = u + network(u, torch.full((3,), level / 12))
        u = mean + delta * torch.randn(u.shape, generator=generator, dtype=u.dtype)
    torch.testing.assert_close(ours, mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.0125])
def test_inverse_heat_dissipations_released_sampler(noise):
    """Its sample.py starts from blurred training images without noise; its evaluate.py adds the steps' own to them."""
    process, network = heat(sigma=0.01), Soft()
    data = latents(5)
    prior = DegradedDataPrior.fit(process, data, stddev=noise)
    sampler = made(
        soft(process, PredictPreviousLevel(), network), Posterior(Independent(), MarginalStd(1.25)), prior=prior
    )
    ours = sampler.sample(4, generator=seeded())
    # Which images they are, and the noise, come from one generator.
    blurred, generator = process.degrade(data, 1.0)[0].float(), seeded()
    u = prior.sample(4, generator=generator)
    nearest = torch.cdist(u.flatten(1), blurred.flatten(1)).min(1).values
    # The root of a chi-squared number of 16 degrees of freedom: between a quarter of its mean, 3.9, and twice that.
    assert ((nearest >= noise) & (nearest <= 8 * noise + 1e-5)).all()
    for level in range(12, 0, -1):
        mean = u + network(u, torch.full((4,), level / 12))
        u = mean + 0.0125 * torch.randn(u.shape, generator=generator)
    torch.testing.assert_close(ours, mean, rtol=0, atol=1e-5)


def ddim(network, z, times, process, eta, generator):
    """Song, Meng & Ermon (2021), eq. 12 with eq. 16, their alpha our alpha squared."""
    for t, s in itertools.pairwise(times):
        a_t, a_s = process.alpha(t).item() ** 2, process.alpha(s).item() ** 2
        noise = network(z, torch.full((len(z),), t))
        x = (z - math.sqrt(1 - a_t) * noise) / math.sqrt(a_t)
        deviation = eta * math.sqrt((1 - a_s) / (1 - a_t)) * math.sqrt(1 - a_t / a_s)
        direction = math.sqrt(1 - a_s - deviation**2)
        fresh = torch.randn(z.shape, generator=generator, dtype=z.dtype) if generator else 0.0
        z = math.sqrt(a_s) * x + direction * noise + deviation * fresh
    return x


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 3, 25])
def test_ddim_and_ancestral_ddpm(eta, steps):
    process, network = IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0)), Soft()
    coupling = {0.0: Deterministic(), 1.0: Markov()}.get(eta, Eta(eta))
    sampler = made(soft(process, PredictEpsilon(), network), Posterior(coupling), steps)
    ours = sampler.sample(3, generator=seeded(), initial=latents())
    times = [k / steps for k in range(steps, -1, -1)]
    expected = ddim(network, latents(), times, process, eta, seeded() if eta else None)
    # Networks see the time in single precision; each step divides by alpha, at least e^-3.
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)


def test_cold_diffusions_improved_sampler():
    """Bansal et al. (2023), algorithm 2, with no noise anywhere: x_{t-1} = x_t - D(x_hat, t) + D(x_hat, t-1)."""
    process, network = heat(sigma=0.0), Soft()
    ours = made(soft(process, network=network), Posterior(Deterministic()), 12).sample(3, initial=latents())
    z = latents()
    for level in range(12, 0, -1):
        x = network(z, torch.full((3,), level / 12))
        more, less = process.degrade(x, level / 12, (level - 1) / 12)
        z = z - more + less
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-6)


def test_blurring_diffusions_sampler():
    """Hoogeboom & Salimans (2023), section 4.2: the denoise step in frequency, epsilon predicted in pixels."""
    process, network = BlurringDiffusion(SHAPE, blur_sigma_max=1.0, schedule=CosineSchedule(-5.0, 5.0)), Soft()
    ours = made(soft(process, PredictEpsilon(), network), steps=10).sample(3, generator=seeded(), initial=latents())
    basis, generator, z = process.basis, seeded(), latents()
    for k in range(10, 0, -1):
        s, t = (k - 1) / 10, k / 10
        a_s, a_t, v_s, v_t = process.alpha(s), process.alpha(t), process.sigma(s) ** 2, process.sigma(t) ** 2
        u, noise = basis.forward(z), basis.forward(network(z, torch.full((3,), t)))
        u_x = (u - v_t.sqrt() * noise) / a_t
        step = a_t / a_s
        step_variance = v_t - step**2 * v_s
        variance = 1 / (1 / v_s + step**2 / step_variance)
        mean = variance * (step / step_variance * u + a_s / v_s * u_x)
        # The library draws this noise as coefficients.
        z = basis.inverse(mean + variance.sqrt() * torch.randn(z.shape, generator=generator, dtype=z.dtype))
    torch.testing.assert_close(ours, basis.inverse(u_x), rtol=0, atol=1e-5)


# ---- every process, any coupling, any grid -----------------------------------------------------------------


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["heat x", "heat less", "heat v", "isotropic", "blurring"]),
    coupling=couplings(),
    times=st.tuples(st.floats(0.01, 1), st.floats(0, 0.99)).filter(lambda pair: pair[1] < pair[0] - 0.01),
    seed=st.integers(0, 99),
)
def test_a_step_draws_from_the_posterior_with_the_estimate_for_the_data(kind, coupling, times, seed):
    t, s = times
    process, prediction = {
        "heat x": (heat(), PredictX()),
        "heat less": (heat(), PredictPreviousLevel(levels=1)),
        "heat v": (heat(), PredictV()),
        "isotropic": (IsotropicDiffusion(SHAPE), PredictEpsilon()),
        "blurring": (BLURRING, PredictEpsilon()),
    }[kind]
    denoiser = soft(process, prediction)
    sampler = made(denoiser, Posterior(coupling))
    z = latents(seed=seed)
    ours = sampler.step(z, t, s, generator=seeded())
    x = denoiser(z, t)
    if s == 0:
        torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)
        return
    q = process.posterior(z, x, s, t, coupling)
    noise = torch.randn(z.shape, generator=seeded(), dtype=z.dtype)
    # Noise is drawn in pixels where a step's coefficients are all isotropic, as coefficients otherwise.
    spectral = process.basis.inverse(q.spectral_mean + q.spectral_stddev * noise)
    pixels = q.mean + process.basis.combine((noise, q.spectral_stddev))
    scale = 1e-9 * max(1.0, x.abs().max().item())
    assert min((ours - spectral).abs().max(), (ours - pixels).abs().max()) < scale


@pytest.mark.filterwarnings("ignore::unmelt.models.OffLevelsWarning")
@pytest.mark.parametrize("coupling", ANY_COUPLING, ids=str)
@pytest.mark.parametrize("steps", [1, 5, 30])
@pytest.mark.parametrize("prediction", [PredictX(), PredictPreviousLevel(), PredictV()], ids=str)
def test_any_number_of_steps_runs_on_any_prediction(coupling, steps, prediction):
    """Fewer steps than levels, too: what released code for heat dissipation cannot do."""
    sampler = made(soft(heat(), prediction), Posterior(coupling), steps)
    assert len(sampler.times) == steps + 1
    path = sampler.run(3, generator=seeded()).trajectory
    assert path.states.shape == (steps + 1, 3, *SHAPE)
    assert path.predictions.shape == (steps, 3, *SHAPE)
    assert path.states.isfinite().all()
    assert path.states.dtype == torch.float32
    sample = sampler.sample(3, generator=seeded())
    torch.testing.assert_close(path.states[-1], sample, rtol=0, atol=0)
    torch.testing.assert_close(path.predictions[-1], sample, rtol=1e-5, atol=1e-5)


def test_chunks_of_the_coefficient_table_do_not_change_the_sample(monkeypatch):
    stepper = Multistep(order=3)
    whole = made(soft(BLURRING), stepper, 20).sample(2, generator=seeded())
    monkeypatch.setattr("unmelt.samplers.plan._CACHED_NUMBERS", 3 * 16)
    torch.testing.assert_close(
        made(soft(BLURRING), stepper, 20).sample(2, generator=seeded()), whole, rtol=0, atol=1e-5
    )


# ---- a distribution known exactly --------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", [Markov(), Deterministic(), Eta(0.4)], ids=str)
@pytest.mark.parametrize("kind", ["heat", pytest.param("isotropic", marks=pytest.mark.full), "blurring"])
def test_samples_of_the_exact_denoiser_are_distributed_as_the_data(coupling, kind):
    """Gaussian data, exact E[x | z]: with many steps the samples' mean and variance per coefficient are the data's.

    Not so for Independent: there z_s depends on z_t through the estimate alone, which varies less than the data.
    """
    process = {"heat": heat(300, 0.05), "isotropic": IsotropicDiffusion(SHAPE), "blurring": BLURRING}[kind]
    generator, count = seeded(5), 2000
    mean = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    variance = 0.2 + torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    sampler = made(GaussianOracle(process, mean, variance), Posterior(coupling), 300)
    u = process.basis.forward(sampler.sample(count, generator=generator)).double()
    # Six standard errors, and a discretisation error of first order in 1/300 of a log-SNR range of 20.
    torch.testing.assert_close(u.mean(0), mean, rtol=0, atol=6 * (1.2 / count) ** 0.5 + 0.05)
    torch.testing.assert_close(
        u.var(0) / variance, torch.ones_like(variance), rtol=0, atol=6 * (2 / count) ** 0.5 + 0.1
    )


@pytest.mark.parametrize("kind", ["heat", "isotropic"])
def test_standard_deviations_are_those_of_the_bound(kind):
    """Fitted ones know no step to the data where the bound ends in the first level: there none is needed."""
    process = heat(levels=6) if kind == "heat" else IsotropicDiffusion(SHAPE)
    coupling = Independent() if kind == "heat" else Markov()
    first, late, early = int(kind == "heat"), 4 / 6, 3 / 6
    times = UniformGrid(6).times(process).flip(0)[first:]
    fitted = FittedStd(times, 0.3 * torch.randn(len(times) - 1, *SHAPE, generator=seeded(3)) - 2)
    z = latents()
    for reverse_std, expected in (
        (fitted, fitted.log_stddev[3 - first].exp()),
        (ConstantStd(0.3), torch.full(SHAPE, 0.3)),
        (MarginalStd(1.25), 1.25 * process.sigma(early)),
        (ForwardStd(), process.transition(z, early, late).spectral_stddev),
    ):
        sampler = made(soft(process), Posterior(coupling, reverse_std), 6)
        assert sampler.sample(2, generator=seeded()).isfinite().all()
        u = process.basis.forward(sampler.step(z[:1].expand(4000, *SHAPE), late, early, generator=seeded()))
        found = u.std(0) / expected.to(u).reshape(-1, *expected.shape[-3:])[0].expand(SHAPE)
        # Six standard errors of a standard deviation of 4000 draws; heat's lowest coefficient is left alone.
        found = torch.where(expected.expand(1, *SHAPE)[0] == 0, 1.0, found)
        torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=6 / math.sqrt(8000))
