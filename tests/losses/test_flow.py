"""The probability flow's likelihood: against the oracles' exact densities, and each trace against the others."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    BlurringDiffusion,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    Pixelation,
    PixelMask,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
    RectifiedFlowSchedule,
)
from unmelt.losses import (
    ClosedFormTrace,
    ExactTrace,
    FlowLikelihood,
    HutchinsonTrace,
)
from unmelt.losses.likelihood.flow import _DensityField
from unmelt.models import (
    AbstractDenoiser,
    Denoiser,
    DiscretisedGaussianDecoder,
    EmpiricalOracle,
    GaussianDecoder,
    GaussianOracle,
    GreyLevels,
    MixtureOracle,
    OraclePrior,
    Prior,
    UNet,
)
from unmelt.samplers import flow_coefficients
from unmelt.testing.strategies import random_images

SHAPE = (2, 2, 4)
EPS = torch.finfo(torch.float64).eps


def gaussian(process):
    mean, variance = random_images(process.shape, seed=1)
    return GaussianOracle(process, mean, variance + 0.1)


def mixture(process):
    means, variances = (2 * random_images(process.shape, batch=3, seed=s) for s in (2, 3))
    return MixtureOracle(process, torch.arange(1.0, 4.0), means, variances / 2 + 0.05)


def empirical(process):
    return EmpiricalOracle(process, 2 * random_images(process.shape, batch=4, seed=4))


ORACLES = [gaussian, mixture, empirical]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(oracle, t, count=2, seed=5):
    generator = seeded(seed)
    return oracle.process.marginal(oracle.sample(count, generator=generator), t).sample(generator=generator)


def likelihood(oracle, **settings):
    return FlowLikelihood(oracle.process, prior=OraclePrior(oracle), **settings)


def error(oracle, t, z=None, **settings):
    z = latents(oracle, t) if z is None else z
    return (likelihood(oracle, first=t, **settings).log_prob(oracle, z).log_prob - oracle.log_prob(z, t)).abs().max()


def cosine(shape=SHAPE):
    return IsotropicDiffusion(shape, CosineSchedule(-5.0, 5.0))


NOISY = {
    "cosine": cosine(),
    "heat": HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20, sigma=0.3),
    "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=3.0, schedule=CosineSchedule(-5.0, 5.0)),
    "pixelation": Pixelation(SHAPE, noise=ConstantNoise(0.3)),
}
WITH_NOISE = [name for name, process in EVERY_PROCESS.items() if bool((process.sigma(0.01) > 0).all())]
# Coefficients that are there and gone, next to little noise, and a rate that is infinite at t = 1: hundreds of steps.
HARD = ("mask", "ordered", "sigmoid")
# Near relatives of others; like the rest they meet Liouville's equation in the fast tests.
RELATIVES = ("anisotropic heat", "groups", "in basis", "linear from 0", "renoised", "variance preserving even blur")
SLOW = {*HARD, *RELATIVES}


class TestTheEquation:
    @pytest.mark.parametrize("build", ORACLES)
    @pytest.mark.parametrize("name", WITH_NOISE)
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

    @pytest.mark.parametrize("name", WITH_NOISE)
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
        """A network that knows the data's law, whatever it is asked to predict."""
        oracle = gaussian(NOISY["blurring"])

        class Converted(nn.Module):
            def forward(self, z, t):
                t = t.double()
                latent, output = prediction.conversion(oracle.process, t)
                return oracle.process.basis.combine((oracle(z, t), 1 / output), (z, -latent / output))

        denoiser = Denoiser(Converted(), oracle.process, prediction=prediction)
        z = latents(oracle, 0.5)
        # This network is diagonal in the basis, so that one probe finds the trace.
        flow = likelihood(oracle, first=0.5, trace=HutchinsonTrace(probes=1), rtol=1e-3, atol=1e-3)
        # Equal equations take equal steps, and err alike. Times reach a network in single precision: 6e-8 of rates
        # that come to 30, over 16 coefficients.
        torch.testing.assert_close(
            flow.log_prob(denoiser, z).log_prob, flow.log_prob(oracle, z).log_prob, rtol=0, atol=2e-4
        )


class TestDensities:
    @pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in WITH_NOISE])
    def test_every_process_has_its_own(self, name):
        """Roughly, for speed: to five steps' errors of 1e-4 in latents as narrow as the noise. Liouville is exact."""
        oracle = gaussian(EVERY_PROCESS[name])
        tolerance = 1e-5 if name in HARD else 1e-4
        limit = 5 * 1e-4 / oracle.process.sigma(0.01).min() * oracle.mean.numel()
        assert error(oracle, 0.01, rtol=tolerance, atol=tolerance) < limit

    @pytest.mark.parametrize("name", NOISY)
    @pytest.mark.parametrize("build", ORACLES)
    def test_moderate_noise_leaves_them_to_the_solver(self, build, name):
        """Tens of steps, each off by 1e-5 per coefficient, 16 of them, whose standard deviation is above 0.08."""
        assert error(build(NOISY[name]), 0.2) < 30 * 16 * 1e-5 / 0.08

    def test_coefficients_that_vanish(self):
        process = PixelMask(SHAPE, duration=0.5, noise=ConstantNoise(0.5))
        # Each of the 16 breaks the steps anew.
        assert error(gaussian(process), 0.0, rtol=1e-5, atol=1e-5) < 0.01 * 16

    def test_a_finer_tolerance_tightens_them(self):
        errors = [error(gaussian(cosine()), 0.0, rtol=tol, atol=tol) for tol in (1e-3, 1e-5, 1e-7)]
        assert all(fine < coarse / 5 for coarse, fine in pairwise(errors))
        assert errors[-1] < 1e-4

    def test_single_precision(self):
        oracle = mixture(NOISY["heat"])
        z = latents(oracle, 0.1)
        flow = likelihood(oracle, first=0.1)
        single, double = flow.log_prob(oracle, z.float()), flow.log_prob(oracle, z)
        assert single.log_prob.dtype == single.stderr.dtype == torch.float64
        assert not torch.equal(single.log_prob, double.log_prob)
        # The tolerances of 1e-5 per coefficient and some 30 steps, not the arithmetic, decide.
        torch.testing.assert_close(single.log_prob, oracle.log_prob(z, 0.1), rtol=0, atol=16 * 30 * 1e-5)
        assert torch.equal(flow.log_prob(oracle, z.half()).log_prob, flow.log_prob(oracle, z.half().float()).log_prob)
        assert flow.encode(oracle, z.half()).dtype == torch.float32
        assert flow.encode(oracle, z).dtype == torch.float64

    def test_at_the_end_it_is_the_prior(self):
        oracle = gaussian(cosine())
        z = latents(oracle, 1.0)
        found = likelihood(oracle).log_prob(oracle, z, t=1.0)
        torch.testing.assert_close(found.log_prob, oracle.log_prob(z, 1.0), rtol=0, atol=1e-12)
        assert found.calls == 0

    def test_the_time_is_first_s_unless_told(self):
        oracle = gaussian(cosine())
        z = latents(oracle, 0.3)
        later = likelihood(oracle, first=0.3).log_prob(oracle, z)
        for first in (None, 0.6):
            assert torch.equal(likelihood(oracle, first=first).log_prob(oracle, z, t=0.3).log_prob, later.log_prob)
        assert not torch.equal(likelihood(oracle).log_prob(oracle, z).log_prob, later.log_prob)

    def test_a_start_next_to_the_end_looks_at_no_time_beyond(self):
        assert error(gaussian(NOISY["heat"]), 0.999999) < 1e-5

    def test_the_last_step_ends_at_the_end(self):
        """A step past it, interpolated, would ask at t = 1 for every time beyond; the solver stays just below."""
        asked = []

        class Listens(GaussianOracle):
            def forward(self, z_t, t):
                asked.append(float(t))
                return super().forward(z_t, t)

        oracle = Listens(cosine(), torch.zeros(()).double(), torch.ones(()).double())
        likelihood(oracle).log_prob(oracle, latents(oracle, 0.0))
        assert 1 - 1e-9 < max(asked) < 1

    def test_in_inference_mode(self):
        oracle = mixture(cosine())
        flow = likelihood(oracle, trace=ExactTrace(), first=0.5)
        z = latents(oracle, 0.5)
        expected = flow.log_prob(oracle, z).log_prob
        with torch.inference_mode():
            assert torch.equal(flow.log_prob(oracle, z.clone()).log_prob, expected)


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

        end = likelihood(oracle, rtol=1e-6, atol=1e-6).encode(oracle, z, t=t)
        # Fifty steps at most that err by 1e-6 in latents of standard deviations above 0.08.
        torch.testing.assert_close(standardised(end, 1.0), standardised(z, t), rtol=0, atol=50 * 1e-6 / 0.08)


class Mixing(nn.Module):
    """A smooth network in which every coefficient depends on every other."""

    def __init__(self, count, dtype=torch.float64):
        super().__init__()
        weight = torch.randn(count, count, generator=seeded(9), dtype=torch.float64) / count**0.5
        self.weight = nn.Parameter(weight.to(dtype))
        self.calls = 0

    def forward(self, z, t):
        self.calls += 1
        return torch.tanh(z.flatten(1) @ self.weight.mT).reshape(z.shape)


def network_denoiser(process=None):
    process = process or NOISY["blurring"]
    return Denoiser(
        Mixing(process.basis.forward(torch.zeros(1, *process.shape)).numel()), process, prediction=PredictV()
    )


def dense_diagonal(denoiser, z, t):
    """The Jacobian of the output in the spectrum, one example at a time, by torch; its diagonal."""
    basis = denoiser.process.basis
    time = torch.tensor(t, dtype=torch.float64)

    def spectral(u):
        return basis.forward(denoiser.output(basis.inverse(u[None]), time))[0]

    jacobians = [torch.autograd.functional.jacobian(spectral, u) for u in basis.forward(z)]
    return torch.stack([j.reshape(z[0].numel(), -1).diagonal().reshape(z.shape[1:]) for j in jacobians])


def random_unet(shape):
    torch.manual_seed(0)
    network = UNet(shape, channels=8, multipliers=(1,), blocks=1, attention_levels=(0,), dropout=0.5).eval()
    with torch.no_grad():
        # Its last layers start at zero, where there would be nothing to differentiate.
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(3)))
    return network


class TestTraces:
    def evaluate(self, trace, denoiser, z, t=0.4, seed=0):
        u = denoiser.process.basis.forward(z)
        weight = random_images(denoiser.process.shape, batch=1, seed=8)
        rule = trace.rule(denoiser, u, generator=seeded(seed))
        return rule(u, torch.tensor(t, dtype=torch.float64), weight), weight

    @pytest.mark.parametrize("build", [*ORACLES, lambda process: network_denoiser(process)])
    def test_the_exact_one_is_the_dense_jacobian_s(self, build):
        denoiser = build(NOISY["blurring"])
        z = random_images(SHAPE, batch=3)
        (output, trace), weight = self.evaluate(ExactTrace(), denoiser, z)
        expected = (weight * dense_diagonal(denoiser, z, 0.4)).flatten(1).sum(1)
        torch.testing.assert_close(trace[0], expected, rtol=0, atol=1e3 * EPS * (1 + expected.abs().max().item()))
        said = denoiser.output(z, torch.tensor(0.4, dtype=torch.float64))
        torch.testing.assert_close(output, denoiser.process.basis.forward(said).detach(), rtol=1e-12, atol=1e-12)
        assert not output.requires_grad
        assert not trace.requires_grad

    @pytest.mark.parametrize("build", ORACLES)
    def test_the_closed_form_is_the_exact_one(self, build):
        oracle = build(NOISY["heat"])
        z = latents(oracle, 0.4)
        exact, _ = self.evaluate(ExactTrace(), oracle, z)
        closed, _ = self.evaluate(ClosedFormTrace(), oracle, z)
        torch.testing.assert_close(closed, exact, rtol=1e-10, atol=1e-10)

    def test_signs_in_the_spectrum_find_a_diagonal_trace_at_once(self):
        oracle = gaussian(NOISY["heat"])
        z = latents(oracle, 0.4)
        (_, exact), _ = self.evaluate(ExactTrace(), oracle, z)
        (_, estimates), _ = self.evaluate(HutchinsonTrace(probes=2), oracle, z)
        torch.testing.assert_close(estimates, exact.expand(2, -1), rtol=1e-12, atol=1e-12)

    def test_estimates_have_the_trace_as_their_mean_and_hutchinson_s_variance(self):
        """Var e^T A e = sum over pairs i < j of (A_ij + A_ji)^2 for random signs."""
        denoiser = network_denoiser()
        z = random_images(SHAPE, batch=2)
        probes = 4000
        (_, exact), weight = self.evaluate(ExactTrace(), denoiser, z)
        (_, estimates), _ = self.evaluate(HutchinsonTrace(probes=probes), denoiser, z)
        basis, time = denoiser.process.basis, torch.tensor(0.4).double()
        for i in range(2):
            u = basis.forward(z[i : i + 1])
            jacobian = torch.autograd.functional.jacobian(
                lambda u: basis.forward(denoiser.output(basis.inverse(u), time)), u
            ).reshape(16, 16)
            matrix = weight.reshape(16, 1) * jacobian
            variance = (matrix + matrix.mT).square().triu(1).sum()
            assert (estimates[:, i].mean() - exact[0, i]).abs() < 5 * (variance / probes).sqrt()
            # The kurtosis of a quadratic form in signs is at most 15: its variance errs by sqrt(14 / probes) at most.
            assert (estimates[:, i].var() / variance - 1).abs() < 5 * (14 / probes) ** 0.5
        # Neither probes nor examples share their signs.
        assert torch.corrcoef(estimates.T)[0, 1].abs() < 5 / probes**0.5

    def test_the_standard_error_is_the_mean_s(self):
        estimates = random_images((3,), batch=5)
        expected = ((estimates - estimates.mean(0)).square().sum(0) / 4 / 5).sqrt()
        torch.testing.assert_close(HutchinsonTrace(probes=5).standard_error(estimates), expected)
        assert HutchinsonTrace(probes=1).standard_error(estimates[:1]).isnan().all()
        assert not ExactTrace().standard_error(estimates[:1]).any()

    def test_an_unet_has_one(self):
        """Attention, group normalisation and time embedding, in single precision and in the spectrum."""
        shape = (1, 4, 4)
        denoiser = Denoiser(
            random_unet(shape), BlurringDiffusion(shape, blur_sigma_max=2.0), prediction=PredictEpsilon()
        )
        z = random_images(shape, batch=2).float()
        (_, trace), weight = self.evaluate(ExactTrace(), denoiser, z)
        expected = (weight * dense_diagonal(denoiser, z, 0.4)).flatten(1).sum(1).float()
        scale = dense_diagonal(denoiser, z, 0.4).abs().sum()
        torch.testing.assert_close(trace[0], expected, rtol=0, atol=1e3 * torch.finfo(torch.float32).eps * scale.item())


class TestEstimates:
    def test_their_mean_is_right_and_their_standard_error_honest(self):
        """400 examples in units of their own standard error, of 16 probes each."""
        oracle = mixture(cosine((1, 2, 3)))
        z = latents(oracle, 0.2, count=400)
        exact = likelihood(oracle, first=0.2, rtol=1e-6, atol=1e-6).log_prob(oracle, z)
        flow = likelihood(oracle, first=0.2, rtol=1e-6, atol=1e-6, trace=HutchinsonTrace(probes=16))
        found = flow.log_prob(oracle, z, generator=seeded(1))
        assert not exact.stderr.any()
        score = (found.log_prob - exact.log_prob) / found.stderr
        # Estimates spread by far more than the solver errs.
        assert found.stderr.median() > 1e-2
        # Student's t of 15 degrees of freedom, were they normal: variance 15 / 13, kurtosis 4.1; five standard errors.
        assert score.mean().abs() < 5 * (1.16 / 400) ** 0.5
        assert abs(score.square().mean() - 15 / 13) < 5 * (3.4 / 400) ** 0.5

    def test_an_unet_s_flow(self):
        shape = (1, 4, 4)
        process = HeatDissipation(shape, blur_sigma_max=2.0, levels=5, sigma=0.3)
        denoiser = Denoiser(random_unet(shape), process, prediction=PredictPreviousLevel(levels=1))
        z = 0.5 * random_images(shape, batch=2).float()
        prior = OraclePrior(gaussian(process))
        tolerances = {"rtol": 1e-3, "atol": 1e-3, "first": 0.8}
        exact = FlowLikelihood(process, prior=prior, trace=ExactTrace(), **tolerances).log_prob(denoiser, z)
        flow = FlowLikelihood(process, prior=prior, trace=HutchinsonTrace(probes=12), **tolerances)
        found = flow.log_prob(denoiser, z, generator=seeded())
        assert exact.log_prob.isfinite().all()
        # Student's t of 11 degrees of freedom exceeds 6 once in ten thousand cases; both solvers' errors besides.
        assert ((found.log_prob - exact.log_prob).abs() < 6 * found.stderr + 16 * 1e-2).all()
        assert (found.stderr > 0).all()

    def test_one_generator_one_estimate(self):
        denoiser = network_denoiser()
        flow = FlowLikelihood(denoiser.process, prior=StandardNormalish(denoiser.process), first=0.5)
        z = random_images(SHAPE)
        state = torch.random.get_rng_state()
        first, again, other = (flow.log_prob(denoiser, z, generator=seeded(s)).log_prob for s in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_calls_are_counted(self):
        denoiser = network_denoiser()
        flow = FlowLikelihood(denoiser.process, prior=StandardNormalish(denoiser.process), first=0.5)
        found = flow.log_prob(denoiser, random_images(SHAPE))
        assert found.calls == denoiser.network.calls > 6

    def test_parameters_get_no_gradients(self):
        denoiser = network_denoiser()
        flow = FlowLikelihood(denoiser.process, prior=StandardNormalish(denoiser.process), first=0.9)
        found = flow.log_prob(denoiser, random_images(SHAPE))
        assert not found.log_prob.requires_grad
        assert denoiser.network.weight.grad is None

    def test_a_closed_form_is_taken_where_there_is_one(self):
        class Shrinks(AbstractDenoiser):
            def forward(self, z_t, t):
                # Without a derivative: whoever differentiates it is told so.
                return z_t.detach() / 2

            def jacobian_diagonal(self, z_t, t):
                return torch.full_like(z_t, 0.5)

        process = cosine()
        flow = FlowLikelihood(process, prior=StandardNormalish(process), first=0.3)
        assert not flow.log_prob(Shrinks(process), random_images(SHAPE)).stderr.any()
        by_autograd = FlowLikelihood(process, prior=StandardNormalish(process), trace=ExactTrace())
        with pytest.raises(ValueError, match="has no derivative.*no_grad"):
            by_autograd.log_prob(Shrinks(process), random_images(SHAPE))


class StandardNormalish(Prior):
    """N(0, I), of any process."""

    def sample(self, count, *, generator=None):
        return torch.randn(count, *self.process.shape, generator=generator)

    def log_prob(self, z):
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1)


class Says(nn.Module):
    def __init__(self, say):
        super().__init__()
        self.say = say

    def forward(self, z, t):
        return self.say(z, t)


class TestRefusals:
    def flow(self, process, **settings):
        return FlowLikelihood(process, prior=StandardNormalish(process), **settings)

    def test_wrong_latents(self, as_in_production):
        oracle = gaussian(cosine())
        flow = likelihood(oracle)
        with pytest.raises(ValueError, match=r"z must have shape \(batch, 2, 2, 4\), got \(3, 5\)"):
            flow.log_prob(oracle, torch.zeros(3, 5))
        with pytest.raises(TypeError, match="z must be a real floating-point tensor"):
            flow.log_prob(oracle, torch.zeros(1, *SHAPE, dtype=torch.int64))
        with pytest.raises(ValueError, match="z holds no latent"):
            flow.encode(oracle, torch.zeros(0, *SHAPE))

    def test_a_start_without_noise(self):
        process = IsotropicDiffusion(SHAPE, LinearSchedule())
        with pytest.raises(ValueError, match="no noise in some coefficient at t = 0.0.*first=1e-3"):
            self.flow(process).log_prob(gaussian(process), torch.zeros(1, *SHAPE))
        cold = HeatDissipation(SHAPE, sigma=0.0)
        with pytest.raises(ValueError, match="no noise in some coefficient at t = 0.5.*a process with noise"):
            self.flow(cold).log_prob(gaussian(cold), torch.zeros(1, *SHAPE), t=0.5)

    @pytest.mark.parametrize("first", [-0.1, 1.5, float("nan")])
    def test_times_outside(self, first):
        process = cosine()
        with pytest.raises(ValueError, match=f"first must be one time in .0, 1., .*got {first}"):
            self.flow(process, first=first)
        with pytest.raises(ValueError, match=f"t must be one time in .0, 1., .*got {first}"):
            self.flow(process).log_prob(gaussian(process), torch.zeros(1, *SHAPE), t=first)

    @pytest.mark.parametrize("tolerance", ["rtol", "atol"])
    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    def test_tolerances_that_are_none(self, tolerance, value):
        with pytest.raises(ValueError, match=f"{tolerance} must be a finite number > 0.*got {value}"):
            self.flow(cosine(), **{tolerance: value})

    def test_another_process(self):
        process, other = cosine(), NOISY["heat"]
        with pytest.raises(ValueError, match="the prior was made for another process.*HeatDissipation"):
            FlowLikelihood(process, prior=StandardNormalish(other))
        with pytest.raises(ValueError, match="the denoiser was made for another process.*HeatDissipation"):
            self.flow(process).log_prob(gaussian(other), torch.zeros(1, *SHAPE))

    def test_arguments_of_another_kind(self, as_in_production):
        with pytest.raises(TypeError, match="prior must be a Prior, StandardNormalPrior"):
            FlowLikelihood(cosine(), prior=3)
        with pytest.raises(TypeError, match="trace must be a Trace, HutchinsonTrace.*ExactTrace itself"):
            self.flow(cosine(), trace=ExactTrace)

    def test_a_solver_without_calls(self):
        with pytest.raises(ValueError, match="most_calls must be at least 1, got 0"):
            self.flow(cosine(), most_calls=0)

    def test_traces_that_cannot_be(self):
        with pytest.raises(ValueError, match="probes must be at least 1, got 0"):
            HutchinsonTrace(probes=0)
        denoiser = network_denoiser()
        with pytest.raises(TypeError, match="Denoiser has no method jacobian_diagonal.*HutchinsonTrace"):
            self.flow(denoiser.process, trace=ClosedFormTrace()).log_prob(denoiser, random_images(SHAPE))

    def test_a_network_that_returns_nan(self):
        process = cosine()
        denoiser = Denoiser(
            Says(lambda z, t: torch.where(t[:, None, None, None] > 0.7, torch.nan, z)), process, prediction=PredictX()
        )
        with pytest.raises(ValueError, match="Denoiser returns infinite or NaN at t = 0.[789]"):
            self.flow(process).log_prob(denoiser, random_images(SHAPE))

    def test_a_network_that_does_not_see_the_latent(self):
        process = cosine()
        weight = nn.Parameter(torch.ones(SHAPE))
        for say in (lambda z, t: weight.expand_as(z), lambda z, t: z.detach()):
            denoiser = Denoiser(Says(say), process, prediction=PredictX())
            with pytest.raises(ValueError, match="has no derivative with respect to the latent"):
                self.flow(process).log_prob(denoiser, random_images(SHAPE))

    def test_a_network_that_throws_dice(self):
        process = cosine()
        denoiser = Denoiser(Says(lambda z, t: functional.dropout(z, 0.5)), process, prediction=PredictX())
        with pytest.raises(RuntimeError, match=r"after 6\d calls .*denoiser.eval\(\)"):
            self.flow(process, most_calls=60).log_prob(denoiser, random_images(SHAPE))


class TestBound:
    """One latent, whose density the flow knows, and a decoder."""

    def test_gaussian_data_s_exact_likelihood(self):
        process = BlurringDiffusion((1, 3, 4), blur_sigma_max=1.0, schedule=CosineSchedule(-6.0, 6.0))
        variance = torch.rand(process.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
        oracle = GaussianOracle(process, torch.zeros(process.shape), variance)
        alpha2, sigma2 = process.alpha(0.0)[0].square(), process.sigma(0.0)[0].square()
        decoder = GaussianDecoder(process, (variance * sigma2 / (alpha2 * variance + sigma2)).sqrt())
        x = oracle.sample(30, generator=torch.Generator().manual_seed(1))
        flow = FlowLikelihood(process, prior=OraclePrior(oracle), rtol=1e-7, atol=1e-7)
        found = flow.bound(oracle, x, decoder=decoder, generator=torch.Generator().manual_seed(2))
        u = process.basis.forward(x)
        exact = (u.square() / variance + (2 * math.pi * variance).log()).flatten(1).sum(1) / 2
        # p(x) = p(z) p(x | z) / p(z | x): with the exact density and decoder it is an equality, draw by draw.
        torch.testing.assert_close(found.total, exact, rtol=0, atol=1e-4)
        assert not found.diffusion.any()

    def test_it_is_one_of_integers_where_levels_are_declared(self):
        process = IsotropicDiffusion((1, 3, 4))
        oracle = GaussianOracle(process, torch.zeros(process.shape), torch.full(process.shape, 0.3))
        levels = GreyLevels(count=5, low=-1.0, high=1.0)
        flow = FlowLikelihood(process, prior=OraclePrior(oracle), rtol=1e-3, atol=1e-3)
        x = torch.randint(0, 5, (3, 1, 3, 4), dtype=torch.uint8)
        found = flow.bound(oracle, x, decoder=DiscretisedGaussianDecoder(process, levels))
        assert found.bits_per_dim().total.isfinite().all()
        with pytest.raises(ValueError, match="the decoder was made for another process"):
            flow.bound(oracle, x, decoder=GaussianDecoder(IsotropicDiffusion((1, 3, 4), LinearSchedule())))
