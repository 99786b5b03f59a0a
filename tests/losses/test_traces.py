"""The trace of a denoiser's Jacobian: each way to find it against dense Jacobians, and estimates of honest error."""

import pytest
import torch
from flow_cases import (
    NOISY,
    ORACLES,
    SHAPE,
    StandardNormalish,
    gaussian,
    latents,
    likelihood,
    mixture,
    network_denoiser,
)
from problems import EPS, cosine
from support import seeded

from unmelt.degradations import BlurringDiffusion, HeatDissipation, PredictEpsilon, PredictPreviousLevel
from unmelt.losses import ClosedFormTrace, ExactTrace, FlowLikelihood, HutchinsonTrace
from unmelt.models import AbstractDenoiser, Denoiser, OraclePrior, UNet
from unmelt.testing.strategies import random_images


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
        exact = likelihood(oracle, first=0.2, rtol=1e-6, atol=1e-6).log_prob(z)
        flow = likelihood(oracle, first=0.2, rtol=1e-6, atol=1e-6, trace=HutchinsonTrace(probes=16))
        found = flow.log_prob(z, generator=seeded(1))
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
        exact = FlowLikelihood(denoiser, prior=prior, trace=ExactTrace(), **tolerances).log_prob(z)
        flow = FlowLikelihood(denoiser, prior=prior, trace=HutchinsonTrace(probes=12), **tolerances)
        found = flow.log_prob(z, generator=seeded(0))
        assert exact.log_prob.isfinite().all()
        # Student's t of 11 degrees of freedom exceeds 6 once in ten thousand cases; both solvers' errors besides.
        assert ((found.log_prob - exact.log_prob).abs() < 6 * found.stderr + 16 * 1e-2).all()
        assert (found.stderr > 0).all()

    def test_one_generator_one_estimate(self):
        denoiser = network_denoiser()
        flow = FlowLikelihood(denoiser, prior=StandardNormalish(denoiser.process), first=0.5)
        z = random_images(SHAPE)
        state = torch.random.get_rng_state()
        first, again, other = (flow.log_prob(z, generator=seeded(s)).log_prob for s in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_calls_are_counted(self):
        denoiser = network_denoiser()
        flow = FlowLikelihood(denoiser, prior=StandardNormalish(denoiser.process), first=0.5)
        found = flow.log_prob(random_images(SHAPE))
        assert found.calls == denoiser.network.calls > 6

    def test_parameters_get_no_gradients(self):
        denoiser = network_denoiser()
        flow = FlowLikelihood(denoiser, prior=StandardNormalish(denoiser.process), first=0.9)
        found = flow.log_prob(random_images(SHAPE))
        assert not found.log_prob.requires_grad
        assert denoiser.network.weight.grad is None

    def test_a_closed_form_is_taken_where_there_is_one(self):
        class Shrinks(AbstractDenoiser):
            def forward(self, z_t, t, condition=None, given=None):
                # Without a derivative: whoever differentiates it is told so.
                return z_t.detach() / 2

            def jacobian_diagonal(self, z_t, t, condition=None):
                return torch.full_like(z_t, 0.5)

        process = cosine(SHAPE)
        flow = FlowLikelihood(Shrinks(process), prior=StandardNormalish(process), first=0.3)
        assert flow.trace == ClosedFormTrace()
        assert not flow.log_prob(random_images(SHAPE)).stderr.any()
