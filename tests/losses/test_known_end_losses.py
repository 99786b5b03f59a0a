"""Losses and likelihoods of processes with a known end: those of z_t - beta_t y, with the denoiser seeing z_t."""

import math

import pytest
import torch
from dense_reference import close
from problems import Wobbly, gaussian
from support import seeded
from test_elbo import left, nll

from unmelt.degradations import (
    BlurringDiffusion,
    BrownianBridge,
    CosineSchedule,
    HeatBridge,
    Independent,
    IsotropicDiffusion,
    OrnsteinUhlenbeck,
    PowerBlur,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
    ResidualShift,
    TowardsMean,
)
from unmelt.losses import ELBO, BoundWeighting, DenoisingLoss, FlowLikelihood, MinSNRWeighting
from unmelt.models import Denoiser, GaussianDecoder, GaussianPrior, KnownEndPrior, MarginalStd, StandardNormalPrior
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 6)
ENDS = {
    "Brownian bridge": BrownianBridge(SHAPE, sigma=0.7),
    "heat bridge": HeatBridge(SHAPE, blur=PowerBlur(2.0)),
    "residual shift": ResidualShift(SHAPE),
    "Ornstein-Uhlenbeck": OrnsteinUhlenbeck(SHAPE),
    "mean": TowardsMean(BlurringDiffusion(SHAPE, blur_sigma_max=1.0)),
}
every_end = pytest.mark.parametrize("process", ENDS.values(), ids=ENDS)
X, Y = random_images(SHAPE, batch=3), random_images(SHAPE, batch=3, seed=1)


class Remembers(torch.nn.Module):
    """A poor network that keeps what it was asked."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
        self.seen = []

    def forward(self, z, t, condition=None):
        self.seen.append((z, t, condition))
        return self.scale * z


def denoiser(process, prediction=None, **settings):
    return Denoiser(Remembers(), process, prediction=prediction or PredictX(), **settings)


class TestLoss:
    @every_end
    @pytest.mark.parametrize("prediction", [PredictX(), PredictPreviousLevel(levels=1)], ids=str)
    def test_it_is_the_squared_error_of_a_network_that_sees_the_end_s_share(self, process, prediction):
        noise = torch.randn(X.shape, generator=seeded(5), dtype=torch.float64)
        each = denoiser(process, prediction)
        found = DenoisingLoss(each)(X, given=Y, t=0.4, generator=seeded(5))
        z = process.marginal(X, 0.4, given=Y)
        latent = z.mean + process.basis.inverse(process.sigma(0.4) * process.basis.forward(noise))
        close(each.network.seen[0][0], latent, 1e-12)
        own = latent - process.end_share(Y, 0.4)
        target = X if prediction == PredictX() else process.centred().degrade(X, 0.0)[0] - own
        close(found, (target - 0.7 * latent).square().flatten(1).sum(1), 1e-10)

    @pytest.mark.parametrize("prediction", [PredictEpsilon(), PredictV()], ids=str)
    def test_predictions_are_of_centred_latents(self, prediction):
        """What a network predicts, and the estimate that is made of it, does not depend on y."""
        process = ENDS["Ornstein-Uhlenbeck"]
        noise = torch.randn(X.shape, generator=seeded(5), dtype=torch.float64)
        at = process.at(0.4)
        target = prediction.target(process.centred().at(0.4), X, noise)

        class Right(torch.nn.Module):
            def forward(self, z, t, condition=None):
                return target.to(z)

        right = Denoiser(Right(), process, prediction=prediction)
        latent = at.corrupt(X, noise, given=Y)
        close(right(latent, 0.4, None, Y), X, 1e-9)
        assert DenoisingLoss(right)(X, given=Y, t=0.4, generator=seeded(5)).max() < 1e-18

    @pytest.mark.parametrize("weighting", [BoundWeighting(), MinSNRWeighting()], ids=str)
    def test_weights_are_those_of_centred_latents(self, weighting):
        process = ENDS["heat bridge"]
        found = DenoisingLoss(denoiser(process), weighting=weighting)(X, given=Y, t=0.4, generator=seeded(5))
        centred = process.centred()

        class Inner(torch.nn.Module):
            def forward(self, z, t, condition=None):
                return 0.7 * (z + process.end_share(Y, 0.4))

        plain = DenoisingLoss(Denoiser(Inner(), centred, prediction=PredictX()), weighting=weighting)
        close(found, plain(X, t=0.4, generator=seeded(5)), 1e-9)

    @every_end
    def test_training_moves_the_network_alone(self, process):
        loss = DenoisingLoss(denoiser(process))
        loss(X, given=Y, generator=seeded(3)).mean().backward()
        assert [name for name, p in loss.named_parameters() if p.grad is not None and bool(p.grad.isfinite())] == [
            "denoiser.denoiser.network.scale"
        ]

    def test_the_end_is_seen_by_a_network_that_was_made_to(self):
        process = ENDS["heat bridge"]
        seeing, labels = denoiser(process, sees_given=True), torch.tensor([0, 1, 2])
        DenoisingLoss(seeing)(X, given=Y, t=0.4)
        assert torch.equal(seeing.network.seen[0][2], Y)
        DenoisingLoss(seeing)(X, given=Y, condition=labels, t=0.4)
        assert torch.equal(seeing.network.seen[1][2]["image"], Y)
        assert torch.equal(seeing.network.seen[1][2]["labels"], labels)
        blind = denoiser(process)
        DenoisingLoss(blind)(X, given=Y, t=0.4)
        assert blind.network.seen[0][2] is None


class TestBound:
    @every_end
    def test_of_the_exact_denoiser_it_tends_to_the_negative_log_likelihood(self, process):
        oracle = gaussian(process)
        first = 0.0 if bool((process.batched_log_sigma(0.0) > -math.inf).all()) else 0.02
        decoder = GaussianDecoder(process, left(oracle, first)[0].sqrt())
        x = oracle.sample(48, generator=seeded(2))
        y = random_images(SHAPE, batch=48, seed=3)
        prior = {} if process.at(1.0).pinned else {"prior": of_marginal(oracle)}
        gaps = []
        for steps in (32, 128):
            bound = ELBO(oracle, decoder=decoder, first=first, steps=steps, **prior)
            gap = bound(x, given=y, generator=seeded(4)).total - nll(oracle, x)
            gaps.append((gap.mean().item(), gap.std().item() / math.sqrt(len(gap))))
        # What is left of it is a first order error in the steps, and noise.
        assert gaps[0][0] > -4 * gaps[0][1], gaps
        assert gaps[1][0] < gaps[0][0] / 3 + 4 * math.hypot(gaps[0][1] / 3, gaps[1][1]), gaps

    @every_end
    def test_y_moves_latents_that_the_denoiser_sees_and_nothing_else(self, process):
        oracle = gaussian(process)
        bound = ELBO(oracle, first=0.02, steps=5, prior=of_marginal(oracle) if not process.at(1.0).pinned else None)
        found, other = (bound(X, given=y, generator=seeded(4)) for y in (Y, -Y))
        close(found.total, other.total, 1e-6)

    def test_each_example_s_latents_are_shown_with_its_own_end(self):
        seeing = denoiser(ENDS["heat bridge"], sees_given=True)
        ELBO(seeing, first=0.1, steps=3)(X, given=Y)
        for z, _, seen in seeing.network.seen:
            assert torch.equal(seen, Y.repeat_interleave(len(z) // 3, dim=0))

    def test_the_prior_of_a_point_costs_nothing(self):
        for name in ("Brownian bridge", "heat bridge"):
            bound = ELBO(gaussian(ENDS[name]), first=0.02, steps=5)
            assert bound(X, given=Y).prior.eq(0).all()

    def test_the_prior_of_a_shift_costs_what_is_left_of_the_data(self):
        process = ENDS["Ornstein-Uhlenbeck"]
        alpha, sigma = process.alpha(1.0), process.sigma(1.0)
        found = ELBO(gaussian(process), first=0.02, steps=5)(X, given=Y).prior
        close(found, (alpha * (X - Y) / sigma).square().flatten(1).sum(1) / 2, 1e-9)

    def test_it_is_the_sum_over_its_levels_and_any_coupling_and_width_will_do(self):
        oracle = gaussian(ENDS["heat bridge"])
        for settings in ({}, {"coupling": Independent(), "reverse_std": MarginalStd(1.2)}):
            bound = ELBO(oracle, first=0.1, steps=6, **settings)(X, given=Y)
            assert bool(bound.total.isfinite().all())
            close(bound.terms.sum(1), bound.diffusion, 1e-9)

    def test_continuous_time_is_the_limit(self):
        oracle = gaussian(ENDS["heat bridge"])
        fine = ELBO(oracle, first=0.1, steps=2000)(X, given=Y, generator=seeded(2)).diffusion
        whole = ELBO(oracle, first=0.1, steps=math.inf, summation=None)
        found = torch.stack([whole(X, given=Y, generator=seeded(k)).diffusion for k in range(24)])
        error = found.std(0) / math.sqrt(len(found))
        assert bool(((found.mean(0) - fine).abs() < 4 * error + 0.02 * fine).all())

    def test_it_is_fitted_to_triples(self):
        oracle = gaussian(ENDS["heat bridge"])
        bound = ELBO(oracle, first=0.1, steps=4, reverse_std=MarginalStd(0.7))
        best = bound.fitted([(X, None, Y), (X.flip(0), None, Y)], generator=seeded(1))
        here, there = (each(X, given=Y, generator=seeded(9)).diffusion.mean() for each in (bound, best))
        assert there < here


def of_marginal(oracle):
    """The distribution of z_1 - beta_1 y for Gaussian data."""
    process = oracle.process.centred()
    at = process.at(1.0)
    variance = at.alpha.square() * oracle.variance + at.sigma.square()
    return GaussianPrior(process, at.alpha[0] * oracle.mean, variance[0].sqrt())


class TestFlow:
    @pytest.mark.parametrize("name", ["Ornstein-Uhlenbeck", "residual shift"])
    def test_densities_are_those_of_latents_given_y(self, name):
        process = ENDS[name]
        oracle = gaussian(process)
        flow = FlowLikelihood(oracle, prior=of_marginal(oracle), first=0.1, rtol=1e-8, atol=1e-8, trace=None)
        z = process.marginal(X, 0.1, given=Y).sample(generator=seeded(1))
        found = flow.log_prob(z, given=Y, generator=seeded(2))
        # The Jacobian of the exact denoiser is diagonal, whose trace random signs find exactly.
        close(found.log_prob, oracle.log_prob(z, 0.1, Y), 1e-4)
        latents = flow.encode(z, given=Y)
        assert latents.shape == z.shape
        other = flow.encode(z - process.end_share(Y, 0.1) + process.end_share(-Y, 0.1), given=-Y)
        close(latents - process.end_share(Y, 1.0), other - process.end_share(-Y, 1.0), 1e-5)

    def test_the_bound_takes_the_end_along(self):
        process = ENDS["Ornstein-Uhlenbeck"]
        oracle = gaussian(process)
        decoder = GaussianDecoder(process, left(oracle, 0.05)[0].sqrt())
        exact = FlowLikelihood(oracle, prior=of_marginal(oracle), decoder=decoder, first=0.05)
        close(exact(X, given=Y, generator=seeded(1)).total, nll(oracle, X), 0.05)

    def test_a_point_has_no_density(self):
        with pytest.raises(ValueError, match="carries every latent of HeatBridge to the known signal y.*take ELBO"):
            FlowLikelihood(gaussian(ENDS["heat bridge"]))


class TestPriors:
    def test_the_default_is_what_the_process_ends_in(self):
        pure = TowardsMean(IsotropicDiffusion(SHAPE, CosineSchedule()))
        assert isinstance(ELBO(gaussian(pure), first=0.1, steps=4).prior, StandardNormalPrior)
        assert isinstance(ELBO(gaussian(ENDS["residual shift"]), first=0.1, steps=4).prior, KnownEndPrior)

    @every_end
    def test_draws_have_the_density_that_is_said(self, process):
        prior = KnownEndPrior(process).given(Y)
        z = prior.sample(3, generator=seeded(1))
        at = process.at(1.0)
        if at.pinned:
            assert bool(z.abs().max() < 1e-6)
            with pytest.raises(ValueError, match="needs a density"):
                prior.log_prob(z)
            return
        residual = (process.basis.forward(z.double()) - at.alpha * process.basis.forward(Y)) / at.sigma
        expected = -(residual.square() + (2 * math.pi * at.sigma.square()).log()).flatten(1).sum(1) / 2
        close(prior.log_prob(z), expected, 1e-9)
        many = KnownEndPrior(process).given(Y[:1]).sample(4000, generator=seeded(2)).double()
        # Five standard errors of each coefficient's mean.
        away = process.basis.forward(many).mean(0) - (at.alpha * process.basis.forward(Y[:1]))[0]
        assert bool((away.abs() < 5 * (at.sigma / math.sqrt(4000)).expand(1, *SHAPE)[0]).all())
        found, expected = process.basis.forward(many).var(0).mean(), at.sigma.square().expand(1, *SHAPE).mean()
        assert abs(found / expected - 1) < 4 * math.sqrt(2 / many.numel())

    def test_it_needs_as_many_ends_as_latents(self):
        prior = KnownEndPrior(ENDS["residual shift"])
        with pytest.raises(ValueError, match="needs the known end y of each of 2 latents, and was given nothing"):
            prior.sample(2)
        with pytest.raises(ValueError, match="was given 3 of them"):
            prior.given(Y).sample(2)

    def test_its_state_makes_it_again(self):
        prior = KnownEndPrior(ENDS["residual shift"]).given(Y)
        again = KnownEndPrior.from_state_dict(ENDS["residual shift"], prior.state_dict())
        assert again.agrees_with(KnownEndPrior(ENDS["residual shift"]))
        assert again.end is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (None, "ends in a known signal y.*pass given=y"),
            (Y[:2], "2 known ends for 3 signals"),
            (Y[..., :3], "given must have shape"),
        ],
    )
    def test_what_is_no_known_end(self, given, words):
        process = ENDS["residual shift"]
        each = gaussian(process)
        for call in (
            lambda: DenoisingLoss(denoiser(process))(X, given=given),
            lambda: ELBO(each, first=0.1, steps=3)(X, given=given),
            lambda: FlowLikelihood(each, first=0.1)(X, given=given),
            lambda: FlowLikelihood(each, first=0.1).log_prob(X, given=given),
        ):
            with pytest.raises(ValueError, match=words):
                call()

    def test_an_end_where_there_is_none(self):
        process = IsotropicDiffusion(SHAPE)
        each = Denoiser(Wobbly().double(), process, prediction=PredictX())
        for call in (
            lambda: DenoisingLoss(each)(X, given=Y),
            lambda: ELBO(each, steps=3)(X, given=Y),
            lambda: FlowLikelihood(each).log_prob(X, given=Y),
            lambda: Denoiser(Wobbly(), process, prediction=PredictX(), sees_given=True),
        ):
            with pytest.raises(ValueError, match="has no known end"):
                call()
