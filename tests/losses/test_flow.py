"""The probability flow's likelihood, against the oracles' exact densities."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from flow_cases import (
    NOISY,
    ORACLES,
    SHAPE,
    error_of,
    gaussian,
    latents,
    likelihood,
    mixture,
)
from problems import EPS, cosine, few, some
from support import seeded
from torch import nn
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    BlurringDiffusion,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PixelMask,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
    RectifiedFlowSchedule,
)
from unmelt.losses import ClosedFormTrace, ExactTrace, FlowLikelihood, HutchinsonTrace
from unmelt.losses.likelihood.flow import _DensityField
from unmelt.models import (
    Denoiser,
    DiscretisedGaussianDecoder,
    GaussianDecoder,
    GaussianOracle,
    GreyLevels,
    OraclePrior,
    StandardNormalPrior,
)
from unmelt.samplers import flow_coefficients
from unmelt.testing.strategies import random_images

WITH_NOISE = [name for name, process in EVERY_PROCESS.items() if bool((process.sigma(0.01) > 0).all())]
# Coefficients that are there and gone, next to little noise, and a rate that is infinite at t = 1: hundreds of steps.
HARD = ("mask", "ordered", "sigmoid")


# Ends in standard normal noise.
END = IsotropicDiffusion(SHAPE)


class TestTheEquation:
    @pytest.mark.parametrize(("name", "build"), some(WITH_NOISE, ORACLES))
    def test_it_conserves_probability(self, name, build):
        """Liouville: d log p(u, t) / dt + grad log p . velocity + divergence = 0, at any latent and time."""
        oracle = build(EVERY_PROCESS[name])
        process, basis = oracle.process, oracle.process.basis
        for t in (0.137, 0.813):
            z = latents(oracle, t).requires_grad_()
            field = _DensityField(oracle, ClosedFormTrace().rule(oracle, z), 100)
            u, time = basis.forward(z).detach(), torch.tensor(t, dtype=torch.float64)
            with torch.no_grad():
                velocity, growth = field(time, (u, u.new_zeros(1, len(u))))
            divergence = growth[0] * u[0].numel()

            _, in_time = torch.func.jvp(partial(oracle.log_prob, z.detach()), (time,), (torch.ones_like(time),))
            (score,) = torch.autograd.grad(oracle.log_prob(z, time).sum(), z)
            carried = (basis.forward(score) * velocity).flatten(1).sum(1)
            # Each term is a sum over coefficients of (x / sigma)^2 times a rate.
            rates = torch.stack([c.abs().max() for c in flow_coefficients(process, PredictX(), time)]).max()
            size = (1 + rates * u.abs().max() ** 2 / process.sigma(t).min() ** 2).item()
            torch.testing.assert_close(
                in_time + carried + divergence, torch.zeros(2).double(), rtol=0, atol=1e3 * EPS * size
            )

    @pytest.mark.parametrize("name", few(WITH_NOISE))
    def test_its_coefficients_are_those_of_the_definition(self, name):
        """du/dt = d alpha/dt u_hat + d sigma/dt (u - alpha u_hat) / sigma."""
        process = EVERY_PROCESS[name]
        t = torch.tensor(0.613, dtype=torch.float64)
        alpha, alpha_rate = torch.func.jvp(process.alpha, (t,), (torch.ones_like(t),))
        sigma, sigma_rate = torch.func.jvp(process.sigma, (t,), (torch.ones_like(t),))
        latent, output = flow_coefficients(process, PredictX(), t)
        ratio = sigma_rate / sigma
        # Gone coefficients have the derivative 0 times infinity in the definition.
        data = torch.where(alpha == 0, 0.0, alpha_rate - ratio * alpha)
        torch.testing.assert_close(latent + 0 * alpha, ratio + 0 * alpha, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(output + 0 * data, data + 0 * output, rtol=1e-9, atol=1e-9)

    def test_where_the_signal_ends_its_coefficients_are_limits(self):
        """Rectified flow ends with alpha = 1 - t = 0 and sigma = t: du/dt = u - u_hat, and v = -u_hat."""
        one = torch.ones((), dtype=torch.float64)
        process = IsotropicDiffusion(SHAPE, RectifiedFlowSchedule())
        for prediction, sign in ((PredictX(), -1), (PredictV(), 1)):
            latent, output = flow_coefficients(process, prediction, one)
            torch.testing.assert_close((latent.squeeze(), output.squeeze()), (one, sign * one), rtol=0, atol=1e-9)

    def test_a_signal_that_is_gone_stays_gone(self):
        """Written plainly, log alpha = log max(0, 1 - 2t) has the slope 0 times infinity from t = 1/2 on."""

        class Gone(LinearGaussianProcess):
            def log_alpha(self, t):
                return (1 - 2 * self.expand_times(t)).clamp(min=0).log()

            def log_sigma(self, t):
                return self.expand_times(t).log()

        time = torch.tensor([0.25, 0.75], dtype=torch.float64)
        latent, output = flow_coefficients(Gone(CosineBasis(SHAPE)), PredictX(), time)
        # d alpha/dt - alpha / t = -2 - 2 before, and nothing after.
        torch.testing.assert_close(latent.flatten(), 1 / time, rtol=1e-14, atol=0)
        torch.testing.assert_close(output.flatten(), torch.tensor([-4.0, 0.0]).double(), rtol=0, atol=1e-14)

    @pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon(), PredictV(), PredictPreviousLevel(levels=1)])
    def test_every_prediction_is_carried_alike(self, prediction):
        """A network that knows the data's distribution, whatever it is asked to predict."""
        oracle = gaussian(NOISY["blurring"])

        class Converted(nn.Module):
            def forward(self, z, t, condition=None):
                t = t.double()
                latent, output = prediction.conversion(oracle.process.at(t))
                return oracle.process.basis.combine((oracle(z, t), 1 / output), (z, -latent / output))

        denoiser = Denoiser(Converted(), oracle.process, prediction=prediction)
        z = latents(oracle, 0.5)
        # This network is diagonal in the basis, so that one probe finds the trace.
        # Equal equations take equal steps, and err alike. Times reach a network in single precision: 6e-8 of rates
        # that come to 30, over 16 coefficients.
        found = [
            FlowLikelihood(
                which,
                prior=OraclePrior(oracle),
                first=0.5,
                trace=HutchinsonTrace(probes=1),
                rtol=1e-3,
                atol=1e-3,
            ).log_prob(z)
            for which in (denoiser, oracle)
        ]
        torch.testing.assert_close(found[0].log_prob, found[1].log_prob, rtol=0, atol=2e-4)


class TestDensities:
    @pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.full) for n in WITH_NOISE])
    def test_every_process_has_its_own(self, name):
        """Roughly, for speed: to five steps' errors of 1e-4 in latents as narrow as the noise. Liouville is exact."""
        oracle = gaussian(EVERY_PROCESS[name])
        tolerance = 1e-5 if name in HARD else 1e-4
        limit = 5 * 1e-4 / oracle.process.sigma(0.01).min() * oracle.mean.numel()
        assert error_of(oracle, 0.01, rtol=tolerance, atol=tolerance) < limit

    @pytest.mark.parametrize(("name", "build"), some(NOISY, ORACLES))
    def test_moderate_noise_leaves_them_to_the_solver(self, build, name):
        """Tens of steps, each off by 1e-5 per coefficient, 16 of them, whose standard deviation is above 0.08."""
        assert error_of(build(NOISY[name]), 0.2) < 30 * 16 * 1e-5 / 0.08

    def test_coefficients_that_vanish(self):
        process = PixelMask(SHAPE, duration=0.5, noise=ConstantNoise(0.5))
        # Each of the 16 breaks the steps.
        assert error_of(gaussian(process), 0.0, rtol=1e-5, atol=1e-5) < 0.01 * 16

    def test_a_finer_tolerance_tightens_them(self):
        errors = [error_of(gaussian(cosine(SHAPE)), 0.0, rtol=tol, atol=tol) for tol in (1e-3, 1e-5, 1e-7)]
        assert all(fine < coarse / 5 for coarse, fine in pairwise(errors))
        assert errors[-1] < 1e-4

    def test_single_precision(self):
        oracle = mixture(NOISY["heat"])
        z = latents(oracle, 0.1)
        flow = likelihood(oracle, first=0.1)
        single, double = flow.log_prob(z.float()), flow.log_prob(z)
        assert single.log_prob.dtype == single.stderr.dtype == torch.float64
        assert not torch.equal(single.log_prob, double.log_prob)
        # The tolerances of 1e-5 per coefficient and some 30 steps, not the arithmetic, decide.
        torch.testing.assert_close(single.log_prob, oracle.log_prob(z, 0.1), rtol=0, atol=16 * 30 * 1e-5)
        assert torch.equal(flow.log_prob(z.half()).log_prob, flow.log_prob(z.half().float()).log_prob)
        assert flow.encode(z.half()).dtype == torch.float32
        assert flow.encode(z).dtype == torch.float64

    def test_at_the_end_it_is_the_prior(self):
        oracle = gaussian(cosine(SHAPE))
        z = latents(oracle, 1.0)
        found = likelihood(oracle).log_prob(z, t=1.0)
        torch.testing.assert_close(found.log_prob, oracle.log_prob(z, 1.0), rtol=0, atol=1e-12)
        assert found.calls == 0

    def test_the_time_is_first_s_unless_told(self):
        oracle = gaussian(cosine(SHAPE))
        z = latents(oracle, 0.3)
        later = likelihood(oracle, first=0.3).log_prob(z)
        for first in (0.0, 0.6):
            assert torch.equal(likelihood(oracle, first=first).log_prob(z, t=0.3).log_prob, later.log_prob)
        assert not torch.equal(likelihood(oracle).log_prob(z).log_prob, later.log_prob)

    def test_a_start_next_to_the_end_looks_at_no_time_beyond(self):
        assert error_of(gaussian(NOISY["heat"]), 0.999999) < 1e-5

    def test_the_last_step_ends_at_the_end(self):
        """A step past it, interpolated, would ask at t = 1 for every time beyond; the solver stays just below."""
        asked = []

        class Listens(GaussianOracle):
            def forward(self, z_t, t, condition=None, given=None):
                asked.append(float(t))
                return super().forward(z_t, t, condition, given)

        oracle = Listens(cosine(SHAPE), torch.zeros(()).double(), torch.ones(()).double())
        likelihood(oracle).log_prob(latents(oracle, 0.0))
        assert 1 - 1e-9 < max(asked) < 1

    def test_in_inference_mode(self):
        oracle = mixture(cosine(SHAPE))
        flow = likelihood(oracle, trace=ExactTrace(), first=0.5)
        z = latents(oracle, 0.5)
        expected = flow.log_prob(z).log_prob
        with torch.inference_mode():
            assert torch.equal(flow.log_prob(z.clone()).log_prob, expected)


class TestEncoding:
    @pytest.mark.parametrize("name", NOISY)
    def test_gaussian_latents_keep_their_place_in_the_marginal(self, name):
        """The flow of independent Gaussians is linear: (u - alpha m) / s stays what it is."""
        oracle = gaussian(NOISY[name])
        process, t = oracle.process, 0.05
        z = latents(oracle, t)

        def standardised(z, t):
            alpha, sigma = process.alpha(t), process.sigma(t)
            return (process.basis.forward(z) - alpha * oracle.mean) / (alpha**2 * oracle.variance + sigma**2).sqrt()

        end = likelihood(oracle, rtol=1e-6, atol=1e-6).encode(z, t=t)
        # Fifty steps at most that err by 1e-6 in latents of standard deviations above 0.08.
        torch.testing.assert_close(standardised(end, 1.0), standardised(z, t), rtol=0, atol=50 * 1e-6 / 0.08)


class TestBound:
    """One latent, whose density the flow knows, and a decoder."""

    def test_gaussian_data_s_exact_likelihood(self):
        process = BlurringDiffusion((1, 3, 4), blur_sigma_max=1.0, schedule=CosineSchedule(-6.0, 6.0))
        variance = torch.rand(process.shape, generator=seeded(0), dtype=torch.float64) + 0.1
        oracle = GaussianOracle(process, torch.zeros(process.shape), variance)
        alpha2, sigma2 = process.alpha(0.0)[0].square(), process.sigma(0.0)[0].square()
        decoder = GaussianDecoder(process, (variance * sigma2 / (alpha2 * variance + sigma2)).sqrt())
        x = oracle.sample(30, generator=seeded(1))
        flow = FlowLikelihood(oracle, prior=OraclePrior(oracle), decoder=decoder, rtol=1e-7, atol=1e-7)
        found = flow(x, generator=seeded(2))
        u = process.basis.forward(x)
        exact = (u.square() / variance + (2 * math.pi * variance).log()).flatten(1).sum(1) / 2
        # p(x) = p(z) p(x | z) / p(z | x): with the exact density and decoder it is an equality, draw by draw.
        torch.testing.assert_close(found.total, exact, rtol=0, atol=1e-4)
        assert not found.diffusion.any()

    def test_it_is_one_of_integers_where_levels_are_declared(self):
        process = IsotropicDiffusion((1, 3, 4))
        oracle = GaussianOracle(process, torch.zeros(process.shape), torch.full(process.shape, 0.3))
        levels = GreyLevels(count=5, low=-1.0, high=1.0)
        decoder = DiscretisedGaussianDecoder(process, levels)
        flow = FlowLikelihood(oracle, prior=OraclePrior(oracle), decoder=decoder, rtol=1e-3, atol=1e-3)
        x = torch.randint(0, 5, (3, 1, 3, 4), dtype=torch.uint8)
        found = flow(x)
        assert found.bits_per_dim().total.isfinite().all()

    def test_a_condition_goes_to_the_network_with_its_row(self):
        """A network whose output is larger the larger the condition moves that row alone."""

        class Stretches(nn.Module):
            def forward(self, z, t, condition=None):
                return z * (0.5 if condition is None else 0.5 + 0.4 * condition[:, None, None, None])

        flow = FlowLikelihood(Denoiser(Stretches(), END, prediction=PredictX()), first=0.1, rtol=1e-4, atol=1e-4)
        x = random_images(SHAPE, batch=3)
        told, plain = torch.tensor([0.0, 1.0, 0.0]).double(), torch.zeros(3).double()
        first, second = (flow(x, condition=c, generator=seeded(0)) for c in (told, plain))
        # The flow, its trace and the decoder's estimate are each told.
        for part in ("prior", "reconstruction"):
            moved = (getattr(first, part) - getattr(second, part)).abs()
            assert (moved > 1e-2).tolist() == [False, True, False]
        ends = [flow.encode(x, condition=c) for c in (told, plain)]
        assert ((ends[0] - ends[1]).abs().flatten(1).amax(1) > 1e-2).tolist() == [False, True, False]

    def test_defaults_are_the_bound_s(self):
        flow = FlowLikelihood(gaussian(END))
        assert isinstance(flow.prior, StandardNormalPrior)
        assert isinstance(flow.decoder, GaussianDecoder)
        assert flow.first == 0
