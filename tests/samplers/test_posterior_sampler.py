"""The posterior sampler against the papers' loops, and against laws known exactly."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Deterministic,
    Eta,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
)
from unmelt.losses import ELBO
from unmelt.models import AbstractDenoiser, ConstantStd, DegradedDataPrior, Denoiser, ForwardStd
from unmelt.samplers import PosteriorSampler
from unmelt.testing.strategies import couplings, random_images

SHAPE = (1, 4, 4)
ANY_COUPLING = [Markov(), Deterministic(), Independent(), Eta(0.4)]


class Soft(nn.Module):
    """A bounded function of latent and time, so that loops of many steps stay comparable."""

    def forward(self, z, t, condition=None, given=None):
        return 0.5 * torch.tanh(z) * (1 - 0.3 * t.to(z.dtype)[:, None, None, None])


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


def heat(levels=12, sigma=0.02):
    return HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=levels, sigma=sigma)


def start(seed=0):
    return torch.randn((3, *SHAPE), generator=seeded(seed), dtype=torch.float64)


# ---- the papers' loops, with the same noise ----------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1.0, 1.25])
def test_inverse_heat_dissipations_sampler(ratio):
    """Rissanen et al. (2023), algorithm 2: u <- u + f(u, k), then + delta noise, but for the last level."""
    process, network, delta = heat(), Soft(), 0.02 * ratio
    sampler = Sampler(
        Denoiser(network, process, prediction=PredictPreviousLevel()),
        Posterior(Independent(), reverse_std=ConstantStd(delta)),
        prior=DegradedDataPrior(process, random_images(SHAPE)),
    )
    ours = sampler.sample(3, generator=seeded(), initial=start())
    u, generator = start(), seeded()
    for level in range(12, 0, -1):
        mean = u + network(u, torch.full((3,), level / 12))
        u = mean + delta * torch.randn(u.shape, generator=generator, dtype=u.dtype)
    torch.testing.assert_close(ours, mean, rtol=0, atol=1e-6)


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
    denoiser = Denoiser(network, process, prediction=PredictEpsilon())
    coupling = {0.0: Deterministic(), 1.0: Markov()}.get(eta, Eta(eta))
    prior = DegradedDataPrior(process, random_images(SHAPE))
    sampler = Sampler(denoiser, Posterior(coupling), grid=UniformGrid(steps), prior=prior)
    ours = sampler.sample(3, generator=seeded(), initial=start())
    times = [k / steps for k in range(steps, -1, -1)]
    expected = ddim(network, start(), times, process, eta, seeded() if eta else None)
    # Networks see the time in single precision; each step divides by alpha, at least e^-3.
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)


def test_cold_diffusions_improved_sampler():
    """Bansal et al. (2023), algorithm 2, with no noise anywhere: x_{t-1} = x_t - D(x_hat, t) + D(x_hat, t-1)."""
    process, network = heat(sigma=0.0), Soft()
    prior = DegradedDataPrior(process, random_images(SHAPE))
    denoiser = Denoiser(network, process, prediction=PredictX())
    ours = Sampler(denoiser, Posterior(Deterministic()), grid=UniformGrid(12), prior=prior).sample(3, initial=start())
    z = start()
    for level in range(12, 0, -1):
        x = network(z, torch.full((3,), level / 12))
        more, less = process.degrade(x, level / 12, (level - 1) / 12)
        z = z - more + less
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-6)


def test_blurring_diffusions_sampler():
    """Hoogeboom & Salimans (2023), section 4.2: the denoise step in frequency, epsilon predicted in pixels."""
    process, network = BlurringDiffusion(SHAPE, blur_sigma_max=1.0, schedule=CosineSchedule(-5.0, 5.0)), Soft()
    denoiser = Denoiser(network, process, prediction=PredictEpsilon())
    prior = DegradedDataPrior(process, random_images(SHAPE))
    ours = Sampler(denoiser, grid=UniformGrid(10), prior=prior).sample(3, generator=seeded(), initial=start())
    basis, generator, z = process.basis, seeded(), start()
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
        "blurring": (BlurringDiffusion(SHAPE, blur_sigma_max=1.0), PredictEpsilon()),
    }[kind]
    denoiser = Denoiser(Soft(), process, prediction=prediction)
    sampler = Sampler(denoiser, Posterior(coupling), prior=DegradedDataPrior(process, random_images(SHAPE)))
    z = start(seed)
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


@pytest.mark.parametrize("coupling", ANY_COUPLING, ids=str)
@pytest.mark.parametrize("steps", [1, 2, 5, 12, 30])
@pytest.mark.parametrize("prediction", [PredictX(), PredictPreviousLevel(), PredictV()], ids=str)
def test_any_number_of_steps_runs_on_any_prediction(coupling, steps, prediction):
    """Fewer steps than levels, too: what released code for heat dissipation cannot do."""
    process = heat()
    denoiser = Denoiser(Soft(), process, prediction=prediction)
    sampler = Sampler(
        denoiser, Posterior(coupling), grid=UniformGrid(steps), prior=DegradedDataPrior(process, random_images(SHAPE))
    )
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
    process = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
    sampler = Sampler(Denoiser(Soft(), process, prediction=PredictX()), grid=UniformGrid(20))
    whole = sampler.sample(2, generator=seeded())
    monkeypatch.setattr("unmelt.samplers.base._TABLE_NUMBERS", 3 * 16)
    torch.testing.assert_close(sampler.sample(2, generator=seeded()), whole, rtol=0, atol=1e-5)


def test_steps_default_to_the_levels_of_the_process():
    process = heat(levels=7)
    prior = DegradedDataPrior(process, random_images(SHAPE))
    assert len(Sampler(Denoiser(Soft(), process, prediction=PredictX()), prior=prior).times) == 8
    isotropic = IsotropicDiffusion(SHAPE)
    assert len(Sampler(Denoiser(Soft(), isotropic, prediction=PredictX())).times) == 51


# ---- a law known exactly -----------------------------------------------------------------------------------


class Wiener(AbstractDenoiser):
    """E[x | z_t] for data whose coefficients are independent normals: the best linear estimate is the exact one."""

    def __init__(self, process, mean, variance):
        super().__init__(process)
        self.mean, self.variance = mean, variance

    def forward(self, z, t, condition=None, given=None):
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        u = self.process.basis.forward(z)
        return self.process.basis.inverse(self.mean + gain * (u - alpha * self.mean))


@pytest.mark.parametrize("coupling", [Markov(), Deterministic(), Eta(0.4)], ids=str)
@pytest.mark.parametrize("kind", ["heat", "isotropic", "blurring"])
def test_the_exact_denoiser_gives_the_data_s_law_back(coupling, kind):
    """Gaussian data, exact E[x | z]: with many steps the samples' mean and variance per coefficient are the data's.

    Not so for Independent: there z_s depends on z_t through the estimate alone, which varies less than the data.
    """
    process = {
        "heat": heat(levels=300, sigma=0.05),
        "isotropic": IsotropicDiffusion(SHAPE),
        "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=1.0),
    }[kind]
    generator = seeded(5)
    mean = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    variance = 0.2 + torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    count = 4000
    # Start from the exact marginal at t = 1, so that only the sampler is on trial.
    alpha, sigma = process.alpha(1.0), process.sigma(1.0)
    spread = (alpha**2 * variance + sigma**2).sqrt()
    first = process.basis.inverse(
        alpha * mean + spread * torch.randn((count, *SHAPE), generator=generator, dtype=torch.float64)
    )
    sampler = Sampler(
        Wiener(process, mean, variance),
        Posterior(coupling),
        grid=UniformGrid(300),
        prior=DegradedDataPrior(process, random_images(SHAPE)),
    )
    u = process.basis.forward(sampler.sample(count, generator=generator, initial=first))
    # Six standard errors, and a discretisation error of first order in 1/300 of a log-SNR range of 20.
    torch.testing.assert_close(u.mean(0), mean, rtol=0, atol=6 * (1.2 / count) ** 0.5 + 0.05)
    torch.testing.assert_close(
        u.var(0) / variance, torch.ones_like(variance), rtol=0, atol=6 * (2 / count) ** 0.5 + 0.1
    )


@pytest.mark.parametrize("kind", ["heat", "isotropic"])
def test_standard_deviations_are_those_of_the_bound(kind):
    """Fitted ones know no step to the data where the bound ends in the first level: there none is needed."""
    process = heat(levels=6) if kind == "heat" else IsotropicDiffusion(SHAPE)
    x = random_images(SHAPE, batch=20)
    denoiser = Denoiser(Soft(), process, prediction=PredictX())
    prior = DegradedDataPrior(process, x)
    coupling = Independent() if kind == "heat" else Markov()
    bound = ELBO(process, prior=prior, coupling=coupling, steps=6).fitted(denoiser, [x])
    z = start()
    for reverse_std, expected in (
        (bound.reverse_std, bound.reverse_std.log_stddev[2 if kind == "heat" else 3].exp()),
        (ConstantStd(0.3), torch.full(SHAPE, 0.3)),
        (ForwardStd(), process.transition(z, 0.5, 4 / 6).spectral_stddev),
    ):
        sampler = Sampler(denoiser, Posterior(coupling, reverse_std=reverse_std), grid=UniformGrid(6), prior=prior)
        assert sampler.sample(2, generator=seeded()).isfinite().all()
        if isinstance(reverse_std, ForwardStd) and kind == "heat":
            continue
        late, early = 4 / 6, 3 / 6
        many = z[:1].expand(4000, *SHAPE)
        u = process.basis.forward(sampler.step(many, late, early, generator=seeded()))
        found = u.std(0) / expected.to(u).reshape(-1, *expected.shape[-3:])[0].expand(SHAPE)
        # Six standard errors of a standard deviation of 4000 draws.
        torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=6 / math.sqrt(8000))


# ---- randomness, initial states, errors --------------------------------------------------------------------


def test_a_generator_makes_samples_repeatable_and_deterministic_steps_need_none():
    process = IsotropicDiffusion(SHAPE)
    denoiser = Denoiser(Soft(), process, prediction=PredictEpsilon())
    noisy, still = Sampler(denoiser), Sampler(denoiser, Posterior(Deterministic()))
    assert torch.equal(noisy.sample(2, generator=seeded()), noisy.sample(2, generator=seeded()))
    assert not torch.equal(noisy.sample(2, generator=seeded(1)), noisy.sample(2, generator=seeded(2)))
    before = torch.get_rng_state()
    assert torch.equal(still.sample(3, initial=start()), still.sample(3, initial=start()))
    assert torch.equal(before, torch.get_rng_state())


def test_initial_states_are_checked():
    sampler = Sampler(Denoiser(Soft(), IsotropicDiffusion(SHAPE), prediction=PredictEpsilon()))
    with pytest.raises(ValueError, match="initial holds 3 latents, but 2 samples"):
        sampler.sample(2, initial=start())
    with pytest.raises(ValueError, match=r"initial must have shape \(batch, 1, 4, 4\)"):
        sampler.sample(2, initial=random_images((1, 4, 5)))
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        sampler.sample(0)


@pytest.mark.parametrize(
    "times", [[0.0, 0.5, 1.0], [1.0, 0.5], [0.9, 0.0], [1.0, 0.5, 0.5, 0.0], [1.0], [1.0, float("nan"), 0.0]]
)
def test_grids_that_do_not_fall_from_one_to_zero_are_refused(times):
    denoiser = Denoiser(Soft(), IsotropicDiffusion(SHAPE), prediction=PredictEpsilon())
    with pytest.raises(ValueError, match="times must fall strictly from 1 to 0.*got"):
        Sampler(denoiser, grid=FixedGrid(torch.tensor(times)))


def test_settings_that_contradict_each_other_are_refused():
    process = heat()
    denoiser = Denoiser(Soft(), process, prediction=PredictX())
    prior = DegradedDataPrior(process, random_images(SHAPE))
    with pytest.raises(ValueError, match="give steps or times, not both"):
        Sampler(denoiser, grid=FixedGrid(torch.tensor([1.0, 0.0])), grid=UniformGrid(3), prior=prior)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Sampler(denoiser, grid=UniformGrid(0), prior=prior)
    with pytest.raises(ValueError, match="Deterministic steps add no noise, got delta=0.1"):
        Sampler(denoiser, Posterior(Deterministic(), reverse_std=ConstantStd(0.1)), prior=prior)
    with pytest.raises(ValueError, match="delta must be a standard deviation >= 0 in the data's units, got -0.1"):
        Sampler(denoiser, Posterior(Independent(), reverse_std=ConstantStd(-0.1)), prior=prior)
    with pytest.raises(ValueError, match="prior was made for another process"):
        Sampler(denoiser, prior=DegradedDataPrior(heat(sigma=0.5), random_images(SHAPE)))
    with pytest.raises(ValueError, match="does not end in standard normal noise.*DegradedDataPrior"):
        Sampler(denoiser)


def test_steps_in_the_wrong_direction_are_refused():
    sampler = Sampler(Denoiser(Soft(), IsotropicDiffusion(SHAPE), prediction=PredictEpsilon()))
    with pytest.raises(ValueError, match=r"s must not be later than t, got s = 0.5 > t = 0.25"):
        sampler.step(start(), 0.25, 0.5)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\].*got 1.5"):
        sampler.step(start(), 1.5, 0.5)
