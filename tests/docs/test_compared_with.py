"""The page of other projects: its code does what theirs does by their formulas, and its tables name what exists."""

import contextlib
import inspect
import io
import itertools
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from support import seeded

import unmelt
from unmelt import degradations, losses, models, samplers
from unmelt.degradations import CosineBasis, HeatDissipation, IsotropicDiffusion, LinearSchedule
from unmelt.losses import EDMWeighting, LevelTimes, SigmoidWeighting
from unmelt.models import GaussianOracle
from unmelt.samplers import Multistep, Posterior, Sampler, UniformGrid, Variable, guidance

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compared_with.md").read_text()
SHAPE = (1, 5, 6)
# Networks see times in single precision; what steps make of that stays below ten times it here.
SINGLE = {"rtol": 0, "atol": 3e-6}


@pytest.fixture(scope="module")
def page():
    """The names of the page's code, run from top to bottom."""
    names: dict[str, object] = {"__name__": "compared_with"}
    with contextlib.redirect_stdout(io.StringIO()):
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(block, "compared_with.md", "exec"), names)  # noqa: S102
    return SimpleNamespace(**names)


def tables():
    """Every table of the page as rows of cells, without its head."""
    found = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip().strip("|").split("|")] for line in t.splitlines()] for t in found]


def smooth(z, noise):
    """An estimate of the data that is linear in nothing."""
    return torch.tanh(z + 0.2 * z.roll(1, -1)) / (1 + noise.view(-1, 1, 1, 1))


def latents(count=3, seed=1):
    return torch.randn((count, *SHAPE), generator=seeded(seed), dtype=torch.float64)


class TestAzula:
    def alpha_sigma(self, t):
        alpha = 0.001 ** (t**2)
        return alpha, math.sqrt(1 - alpha**2 + 1e-6)

    def denoiser(self, x_t, t):
        return SimpleNamespace(mean=smooth(x_t, t))

    def test_its_schedule_is_theirs(self, page):
        process = IsotropicDiffusion(SHAPE, page.VP())
        for t in (0.0, 0.1, 0.7, 1.0):
            assert (process.alpha(t).item(), process.sigma(t).item()) == pytest.approx(self.alpha_sigma(t), rel=1e-12)

    @pytest.mark.parametrize("eta", [0.0, 0.36, 1.0])
    def test_its_sampler_takes_the_steps_of_ddim_sampler(self, page, eta):
        """Their tau is the share of the noise's variance that is drawn anew, eta times DDPM's."""
        steps = 8
        found = page.from_azula(self.denoiser, SHAPE, eta=eta, steps=steps)
        found = found.sample(3, initial=latents(), generator=seeded(2))
        x, generator = latents(), seeded(2)
        for k in range(steps, 0, -1):
            (a_t, s_t), (a_s, s_s) = self.alpha_sigma(k / steps), self.alpha_sigma((k - 1) / steps)
            tau = eta * (1 - (a_t / a_s * s_s / s_t) ** 2)
            mean = smooth(x, torch.full((3,), k / steps, dtype=torch.float64))
            x = a_s * mean + s_s * math.sqrt(1 - tau) / s_t * (x - a_t * mean)
            if eta:
                x = x + s_s * math.sqrt(tau) * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        torch.testing.assert_close(found, x, **SINGLE)

    def test_exponential_adams_bashforth_is_multistep_in_the_log_snr(self, page):
        """Order 2: the line through two estimates in u = log(sigma / alpha), integrated with exp(-u)."""
        steps = 8
        moved = page.from_azula(self.denoiser, SHAPE).denoiser
        stepper = Multistep(order=2, variable=Variable.LOG_SNR, corrector=False)
        found = Sampler(moved, stepper, UniformGrid(steps), denoise_last=False).sample(3, initial=latents())
        x, before = latents() / self.alpha_sigma(1.0)[0], None
        for k in range(steps, 0, -1):
            (a_t, s_t), (a_s, s_s) = self.alpha_sigma(k / steps), self.alpha_sigma((k - 1) / steps)
            u, v = math.log(s_t / a_t), math.log(s_s / a_s)
            mean = smooth(a_t * x, torch.full((3,), k / steps, dtype=torch.float64))
            # The integrals of exp(-w) and w exp(-w) from u to v.
            whole, first = math.exp(-u) - math.exp(-v), (1 + u) * math.exp(-u) - (1 + v) * math.exp(-v)
            slope = 0.0 if before is None else (mean - before[0]) / (u - before[1])
            x = math.exp(v - u) * x - math.exp(v) * (mean * whole + slope * (first - u * whole))
            before = mean, u
        torch.testing.assert_close(found, self.alpha_sigma(0.0)[0] * x, **SINGLE)


class TestDiffusers:
    def test_the_loss_is_that_of_their_training_script(self, page):
        x = latents()[:, :, :1, :1].expand(3, 3, 16, 16).float()
        found = page.loss(x, generator=seeded(3))
        generator = seeded(3)
        times = LevelTimes(1000).sample(3, device=x.device, generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        timesteps = (times * 1000).round().long() - 1
        noisy = DDPMScheduler().add_noise(x, noise, timesteps)
        expected = (page.model(noisy, timesteps).sample - noise).square().mean((1, 2, 3))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)

    def test_the_first_block_has_trained(self, page):
        assert all(parameter.grad is not None for parameter in page.model.parameters())


class TestKDiffusion:
    def test_it_is_heuns_method_on_their_noise_levels(self, page):
        n, low, high = 9, 0.03, 80.0
        start = 80 * latents()
        found = page.sample_heun(smooth, SHAPE, 3, n=n, low=low, high=high, initial=start)
        ramp = torch.linspace(0, 1, n, dtype=torch.float64)
        sigmas = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
        x, ones = start, torch.ones(3, dtype=torch.float64)
        for sigma, next_ in itertools.pairwise(sigmas):
            slope = (x - smooth(x, sigma * ones)) / sigma
            guess = x + (next_ - sigma) * slope
            x = x + (next_ - sigma) * (slope + (guess - smooth(guess, next_ * ones)) / next_) / 2
        torch.testing.assert_close(found, smooth(x, sigmas[-1] * ones), **SINGLE)

    @pytest.mark.parametrize("eta", [0.5, 1.0])
    def test_ancestral_euler_steps_are_those_of_eta(self, page, eta):
        process = IsotropicDiffusion(SHAPE, page.EDMSchedule(0.03, 80.0))
        moved = page.Denoiser(page.OfSigma(smooth, process.schedule), process, prediction=page.PredictX())
        prior = page.GaussianPrior(process, torch.zeros(()), torch.tensor(80.0))
        sampler = Sampler(moved, Posterior(page.Eta(eta)), UniformGrid(8), prior)
        z = 5 * latents()
        found = sampler.step(z, 0.75, 0.625, generator=seeded(4))
        t, s = process.sigma(0.75).item(), process.sigma(0.625).item()
        up = eta * math.sqrt(s**2 * (t**2 - s**2) / t**2)
        slope = (z - smooth(z, torch.full((3,), t, dtype=torch.float64))) / t
        noise = torch.randn(z.shape, generator=seeded(4), dtype=z.dtype)
        torch.testing.assert_close(found, z + slope * (math.sqrt(s**2 - up**2) - t) + up * noise, **SINGLE)

    def test_their_karras_weighting_is_edm_weighting(self):
        """The error of what their network puts out is the data's over c_out."""
        process = IsotropicDiffusion(SHAPE, degradations.EDMSchedule())
        for t in (0.2, 0.6, 0.9):
            sigma, on_data = process.sigma(t).item(), EDMWeighting(data_stddev=0.7)
            c_out = sigma * 0.7 / math.sqrt(sigma**2 + 0.7**2)
            # Weights are on the error of the noise, which is the data's over sigma.
            assert on_data.weight(process.at(t)).item() / sigma**2 == pytest.approx(1 / c_out**2, rel=1e-9)


class TestDeepinv:
    SPREAD = 0.4

    def denoiser(self, x, sigma):
        """The mean given x of Gaussian images in [0, 1]: about 1/2, half as wide as in [-1, 1]."""
        variance = (self.SPREAD / 2) ** 2
        return 0.5 + variance / (variance + sigma**2) * (x - 0.5)

    def test_a_denoiser_on_zero_to_one_is_the_exact_one_on_minus_one_to_one(self, page):
        process = IsotropicDiffusion(SHAPE, LinearSchedule())
        moved = page.Denoiser(page.FromDeepinv(self.denoiser, process.schedule), process, prediction=page.PredictX())
        exact = GaussianOracle(process, torch.zeros(()), torch.tensor(self.SPREAD**2))
        for t in (0.05, 0.4, 0.8):
            torch.testing.assert_close(moved(latents(), t), exact(latents(), t), **SINGLE)

    def test_samples_have_the_mean_and_spread_of_the_exact_posterior(self, page):
        """Of two pixels' mean under noise of 0.1: Gaussian conditioning, pair by pair."""
        physics = SimpleNamespace(
            A=lambda x: (x[..., ::2] + x[..., 1::2]) / 2, A_adjoint=lambda y: y.repeat_interleave(2, -1) / 2
        )
        variance, noise = self.SPREAD**2, 0.1**2
        settings = {"noise_std": 0.1, "variance": variance}
        sampler = page.from_deepinv(self.denoiser, physics, SHAPE, **settings)
        y = torch.linspace(-0.6, 0.6, 15).view(1, 1, 5, 3)
        count = 400
        x = sampler.sample(count, given=y.expand(count, -1, -1, -1), generator=seeded(5))
        gain = variance / 2 / (variance / 2 + noise)
        spread = math.sqrt(variance * (1 - gain / 2))
        # Five standard errors of each pixel's mean, and the linear schedule's 50 steps, which are off by a hundredth.
        bound = 5 * spread / math.sqrt(count) + 0.01
        assert (x.mean(0) - gain * y[0].repeat_interleave(2, -1)).abs().max() < bound
        assert x.std(0).mean().item() == pytest.approx(spread, rel=0.04)


class TestPhysicsNeMo:
    def test_a_scheduler_of_two_methods_is_a_schedule(self, page):
        def alpha(t):
            return torch.exp(-0.5 * (0.5 * 19.1 * t**2 + 0.1 * t))

        theirs = SimpleNamespace(alpha=alpha, sigma=lambda t: torch.sqrt(1 - alpha(t) ** 2))
        moved = IsotropicDiffusion(SHAPE, page.Scheduled(theirs))
        named = IsotropicDiffusion(SHAPE, LinearSchedule(0.1, 0.1 + 19.1))
        for t in (0.01, 0.3, 1.0):
            # 1 - alpha^2 of theirs has lost three digits at the first.
            assert moved.log_snr(t).item() == pytest.approx(named.log_snr(t).item(), rel=1e-9)

    def test_its_time_may_end_elsewhere(self, page):
        theirs = SimpleNamespace(alpha=torch.ones_like, sigma=lambda t: t)
        process = IsotropicDiffusion(SHAPE, page.Scheduled(theirs, t_max=80.0))
        assert process.sigma(1.0).item() == pytest.approx(80.0)
        assert process.sigma(0.5).item() == pytest.approx(40.0)


class TestHackableDiffusion:
    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_the_coupling_is_their_ddim_step(self, page, share):
        """Mean and volatility in terms of r01 = sigma_s / sigma_t and r11 = alpha_t / alpha_s r01."""
        process = IsotropicDiffusion(SHAPE, LinearSchedule())
        s, t, x, z = 0.3, 0.5, latents(seed=6), latents(seed=7)
        (a_s, a_t), (s_s, s_t) = ([f(time).item() for time in (s, t)] for f in (process.alpha, process.sigma))
        r01 = s_s / s_t
        r11 = a_t / a_s * r01
        mean = (share * r11 * r01 + (1 - share) * r01) * z
        mean = mean + a_s * (1 - share * r11**2 - (1 - share) * r11) * x
        found = process.posterior(z, x, s, t, page.StochCoeff(share))
        torch.testing.assert_close(found.mean, mean, rtol=0, atol=1e-12)
        volatility = s_s * math.sqrt(1 - (share * r11 + 1 - share) ** 2)
        assert found.spectral_stddev.item() == pytest.approx(volatility, rel=1e-9, abs=1e-7)

    def test_their_sigmoid_loss_is_sigmoid_weighting_up_to_a_factor(self):
        """-dl/dt sigmoid(l - b) exp(b) on the error of the data."""
        process, bias = IsotropicDiffusion(SHAPE, LinearSchedule()), -1.5
        for t in (0.1, 0.5, 0.9):
            time = torch.tensor(t, dtype=torch.float64, requires_grad=True)
            (rate,) = torch.autograd.grad(process.log_snr(time).sum(), time)
            log_snr = process.log_snr(t).item()
            theirs = -rate.item() * math.exp(bias) / (1 + math.exp(bias - log_snr))
            ours = SigmoidWeighting(bias).weight(process.at(t)).item() * math.exp(log_snr)
            assert theirs == pytest.approx(2 * ours, rel=1e-9)


class TestReleasedHeat:
    def test_its_steps_are_those_of_the_released_sampler(self, page):
        levels, seen = 6, []

        def model(x, steps):
            assert steps.dtype == torch.long
            seen.append(steps.unique().item())
            return smooth(x, steps.to(x)) - x

        images = torch.rand(4, *SHAPE, generator=seeded(8))
        sampler = page.from_released(model, images, levels=levels, blur_sigma_max=3.0)
        start = sampler.prior.sample(3, generator=seeded(9))
        found = sampler.sample(3, initial=start, generator=seeded(10))
        # The trained network is called once for each level, from the last one on.
        assert seen == list(range(levels, 0, -1))
        generator, u = seeded(10), start
        for k in range(levels, 0, -1):
            mean = smooth(u, torch.full((3,), float(k)))
            u = mean + 0.0125 * torch.randn(u.shape, generator=generator)
        torch.testing.assert_close(found, mean, rtol=0, atol=1e-5)

    def test_it_starts_from_blurred_images_without_noise(self, page):
        images = torch.rand(4, *SHAPE, generator=seeded(8))
        sampler = page.from_released(lambda x, steps: x, images, levels=6, blur_sigma_max=3.0)
        blurred = HeatDissipation(SHAPE, levels=6, blur_sigma_max=3.0).degrade(images.double(), 1.0)[0].float()
        drawn = sampler.prior.sample(5, generator=seeded(9))
        assert torch.cdist(drawn.flatten(1), blurred.flatten(1)).min(1).values.max() < 1e-5
        assert isinstance(sampler.denoiser.process.basis, CosineBasis)


class TestTables:
    def test_every_project_has_its_commit_and_date(self):
        (features, *_) = tables()
        head, _, read = features[:3]
        assert head[1] == "unmelt"
        assert len(head) == 9
        assert read[:2] == ["read", unmelt.__version__]
        for cell in read[2:]:
            assert re.fullmatch(r"[0-9a-f]{7}, 20\d\d-\d\d-\d\d(, [\w.]+)?", cell), cell
        assert {len(row) for row in features} == {9}
        assert all(all(row) for row in features[2:])

    def test_each_section_has_a_table_of_names(self):
        _, *names = tables()
        sections = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
        assert len(names) == len(sections) == 7
        assert all(table[0][1] == "unmelt" and len(table) >= 6 for table in names)

    def test_names_and_settings_in_the_tables_exist(self):
        """`Name(setting=value)` of the right column: the name is public, and takes the settings."""
        public = {n: getattr(p, n) for p in (degradations, losses, models, samplers, guidance) for n in p.__all__}
        calls = 0
        for table in tables()[1:]:
            for _, here in table[2:]:
                for quoted in re.findall(r"`([^`]+)`", here):
                    for name, settings in re.findall(r"([A-Z]\w+)\(([^()]*)\)", quoted):
                        parameters = inspect.signature(public[name]).parameters
                        for setting in re.findall(r"(\w+)=", settings):
                            assert setting in parameters, (name, setting)
                            calls += 1
                    bare = re.fullmatch(r"([A-Za-z]\w+)", quoted)
                    assert bare is None or bare[1] in public, quoted
        assert calls > 10

    def test_six_couplings_are_there(self):
        kinds = [getattr(degradations, name) for name in degradations.__all__]
        couplings = [k for k in kinds if inspect.isclass(k) and issubclass(k, degradations.Coupling)]
        assert len(couplings) - 1 == 6
        assert "six couplings" in PAGE
