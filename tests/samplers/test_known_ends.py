"""Samplers of processes with a known end y: distributions, first steps, published steps, what is seen on the way."""

import math

import pytest
import torch
from dense_reference import close
from gaussian_distributions import Normal, distribution, estimates, gaussian_oracle, marginals
from sampler_support import made

from unmelt.degradations import (
    BlurringDiffusion,
    BrownianBridge,
    DataSpectrum,
    Deterministic,
    DiffusionBridge,
    Eta,
    HeatBridge,
    IsotropicDiffusion,
    LinearSchedule,
    Markov,
    OrnsteinUhlenbeck,
    PowerBlur,
    PredictX,
    RandomWalk,
    ResidualShift,
    SchrodingerBridge,
    TowardsMean,
)
from unmelt.losses import ELBO, DenoisingLoss
from unmelt.models import (
    CentredDenoiser,
    Denoiser,
    GaussianOracle,
    GreyLevels,
    KnownEndPrior,
    StandardNormalPrior,
    UNet,
)
from unmelt.samplers import (
    Adaptive,
    Heun,
    LogSNRGrid,
    Multistep,
    Posterior,
    Sampler,
    UniformGrid,
    branch,
    encode,
    interpolate,
    interpolate_seeds,
)
from unmelt.samplers.guidance import CovarianceGuidance, LinearObservation

pytestmark = pytest.mark.usefixtures("as_in_production")

SHAPE = (1, 4, 4)
PINNED = {
    "Brownian bridge": BrownianBridge(SHAPE, sigma=0.7),
    "Schroedinger bridge": SchrodingerBridge(SHAPE),
    "heat bridge": HeatBridge(SHAPE, blur=PowerBlur(2.0)),
    "bridge": DiffusionBridge(BlurringDiffusion(SHAPE, blur_sigma_max=1.0)),
}
OPEN = {
    "mean": TowardsMean(BlurringDiffusion(SHAPE, blur_sigma_max=2.0)),
    "residual shift": ResidualShift(SHAPE),
    "Ornstein-Uhlenbeck": OrnsteinUhlenbeck(SHAPE),
}
EVERY = PINNED | OPEN
FAST = ("heat bridge", "residual shift")
# The other flows take up to ten seconds to be solved.
SOLVED_SOON = dict.fromkeys(("heat bridge", "mean", "residual shift", "Ornstein-Uhlenbeck"), pytest.mark.full)
DDIM = Posterior(Deterministic())


def over(names):
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.full) for n in names]
    )


every_end, every_pinned = over(EVERY), over(PINNED)
Y = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
STOP = 0.2
# Each with its order, and the one that is left of it from a pinned end on, where latents move like a square root.
STEPPERS = {
    Posterior(): (1, 1),
    Posterior(Deterministic()): (1, 0.8),
    Posterior(Eta(0.4)): (1, 0.9),
    Heun(): (2, 1.5),
    Heun(eta=1.0): (2, 1.9),
    Multistep(): (2, 1.4),
    Multistep(order=3): (2, 1.6),
    Multistep(eta=1.0): (2, 1.9),
}


def errors_of(stepper, process, numbers):
    oracle = gaussian_oracle(process)
    true = marginals(oracle, torch.tensor([STOP], dtype=torch.float64)).at(0)
    return [distribution(made(oracle, stepper, n), given=Y, stop=STOP).at(-1).distance(true) for n in numbers]


def ends(count):
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Network(torch.nn.Module):
    """Twice the latent at t = 1, less at other times, plus the first of its image's channels."""

    def forward(self, z, t, condition=None):
        seen = 2 * t.reshape(-1, 1, 1, 1).to(z) * z
        return seen if condition is None else seen + condition[:, :1]


class TestDistributions:
    @every_end
    @pytest.mark.parametrize("stepper", STEPPERS, ids=str)
    def test_latents_tend_to_their_distribution_from_the_known_end_on(self, name, stepper):
        # The noise of Multistep's is late in a blur's variances.
        numbers = (80, 160) if (name, stepper) == ("mean", Multistep(eta=1.0)) else (20, 40)
        errors = errors_of(stepper, EVERY[name], numbers)
        order = STEPPERS[stepper][name in PINNED]
        # Halved steps leave part of the next order, which bends slopes by a tenth here, half where errors are tiny.
        assert errors[1] < errors[0] / 2 ** (0.85 * order) or errors[1] < 2e-4, errors
        assert errors[1] < 0.1

    @every_pinned
    def test_a_first_step_of_second_order_makes_errors_of_steps_without_noise_smaller(self, name, monkeypatch):
        (better,) = errors_of(Heun(), PINNED[name], (20,))
        from unmelt.samplers import plan  # noqa: PLC0415

        booting = plan.first_stepper(Posterior(Deterministic()), PINNED[name].at(1.0))
        monkeypatch.setattr(plan, "first_stepper", lambda stepper, at: booting if at.pinned else stepper)
        (plain,) = errors_of(Heun(), PINNED[name], (20,))
        if name == "bridge":
            # Alike where the process that is tied leaves next to nothing of x before its end.
            assert better < 1.1 * plain
        else:
            assert better < plain / 3

    @every_pinned
    @pytest.mark.parametrize("coupling", [Markov(), Deterministic(), Eta(0.4)], ids=str)
    def test_the_first_step_is_a_draw_of_the_posterior_whatever_the_coupling(self, name, coupling):
        process = PINNED[name]
        oracle = gaussian_oracle(process)
        found = distribution(made(oracle, Posterior(coupling), 5), given=Y, stop=0.8).at(-1)
        at = process.at(0.8)
        mean, alpha, sigma = oracle.mean, at.alpha[0], at.sigma[0].expand(SHAPE)
        assert found.distance(Normal(alpha * mean, sigma)) < 1e-12

    @every_pinned
    def test_the_last_step_returns_the_estimate_and_nothing_of_the_end(self, name):
        oracle = gaussian_oracle(PINNED[name])
        sampler = made(oracle, Posterior(), 4)
        run = sampler.run(3, given=ends(3), generator=torch.Generator().manual_seed(0))
        latents, times = run.trajectory.states, sampler.times
        assert torch.allclose(run.samples, oracle(latents[-2], times[-2].item(), None, ends(3)), atol=1e-6)

    @pytest.mark.parametrize("name", [pytest.param(n, marks=SOLVED_SOON.get(n, pytest.mark.slow)) for n in EVERY])
    def test_a_solved_flow_ends_in_the_distribution(self, name):
        oracle = gaussian_oracle(EVERY[name])
        true = marginals(oracle, torch.tensor([STOP], dtype=torch.float64)).at(0)
        found = distribution(Sampler(oracle, Adaptive(1e-9, 1e-9), prior=None), given=Y, stop=STOP).at(-1)
        # From a pinned end the solver begins after a step of 1e-3.
        assert found.distance(true) < (2e-3 if name in PINNED else 1e-6)


class TestRuns:
    @every_end
    def test_latents_are_those_of_the_process_wherever_they_are_seen(self, name):
        """Two ends, one oracle, one noise: what latents differ by is the end's share."""
        process, seen = EVERY[name], []
        sampler = made(gaussian_oracle(process), Posterior(), 4)
        other = ends(2).flip(0)
        for y in (ends(2), other):
            latents = []
            run = sampler.run(
                2, given=y, generator=[3, 4], callback=lambda info, kept=latents: kept.append(info.latent())
            )
            assert torch.equal(torch.stack(latents), run.trajectory.states[1:])
            seen.append(run.trajectory.states.double())
        for k, t in enumerate(sampler.times[:-1].tolist()):
            shares = process.end_share(ends(2), t) - process.end_share(other, t)
            if process.at(1.0).alpha.max() > 0.01:
                # There the prior's mean is a share of y.
                continue
            close(seen[0][k] - seen[1][k], shares, 2e-2)
        if name in PINNED:
            close(seen[0][0], ends(2), 1e-6)

    @every_end
    def test_a_run_can_stop_and_go_on(self, name):
        sampler = made(gaussian_oracle(EVERY[name]), Heun(), 6)
        y = ends(2)
        whole = sampler.sample(2, given=y, generator=[1, 2])
        half = sampler.sample(2, given=y, generator=[1, 2], stop=sampler.times[3].item())
        on = sampler.sample(2, given=y, initial=half, start=sampler.times[3].item(), generator=[1, 2])
        # Without noise but in the first step.
        assert torch.allclose(on, whole, atol=1e-5)

    @every_end
    def test_a_batch_is_the_sum_of_its_rows(self, name):
        sampler = made(gaussian_oracle(EVERY[name]), Posterior(), 4)
        whole = sampler.sample(3, given=ends(3), generator=[1, 2, 3])
        parts = sampler.sample(3, given=ends(3), generator=[1, 2, 3], batch_size=2)
        alone = sampler.sample(1, given=ends(3)[1:2], generator=[2])
        assert torch.allclose(whole, parts, atol=1e-5)
        assert torch.allclose(whole[1:2], alone, atol=1e-5)

    @every_end
    def test_a_step_is_the_first_of_a_run_from_there(self, name):
        process = EVERY[name]
        sampler = made(gaussian_oracle(process), Posterior(), 4)
        y = ends(2)
        for t, s in ((1.0, 0.75), (0.75, 0.5), (0.25, 0.0)):
            z = process.marginal(ends(2).flip(0), t, given=y).sample(generator=torch.Generator().manual_seed(2))
            step = sampler.step(z, t, s, given=y, generator=torch.Generator().manual_seed(5))
            run = sampler.run(
                2, given=y, initial=z, start=t, stop=s, generator=torch.Generator().manual_seed(5)
            ).trajectory.states
            assert len(run) == 2
            close(step, run[-1], 1e-12)

    def test_initial_latents_of_a_bridge_are_the_end_and_others_are_drawn_around_it(self):
        y = ends(64)
        bridge = made(gaussian_oracle(PINNED["heat bridge"]), Posterior(), 4)
        close(bridge.initial_latents(64, given=y), y, 1e-6)
        shift = OPEN["residual shift"]
        sampler = made(gaussian_oracle(shift), Posterior(), 4)
        drawn = sampler.initial_latents(64, given=y, generator=torch.Generator().manual_seed(0))
        away = (drawn - y).square().mean().sqrt().item()
        sigma = shift.sigma(1.0).max().item()
        assert abs(away / sigma - 1) < 4 / (2 * 64 * 16) ** 0.5

    def test_noise_is_drawn_in_the_first_step_alone_where_steps_have_none(self):
        bridge, shift = PINNED["heat bridge"], OPEN["residual shift"]
        assert made(gaussian_oracle(bridge), Posterior(Deterministic()), 4).draws_noise
        assert not made(gaussian_oracle(shift), Posterior(Deterministic()), 4).draws_noise

    def test_calls_of_the_network_are_counted(self):
        oracle = gaussian_oracle(PINNED["heat bridge"])
        for stepper, calls in ((Posterior(Deterministic()), 5), (Multistep(), 6), (Multistep(order=1), 5)):
            assert made(oracle, stepper, 5).run(2, given=ends(2)).stats.calls == calls


class TestPublishedSteps:
    def test_dbim(self):
        """Zheng, He, Chen, Bao & Zhu (2025): DBIM's steps with rho = 0, noise in the first one alone.

        z_s = a_s y + b_s x + c_s (z_t - a_t y - b_t x) / c_t, a, b and c being those of Zhou et al.'s bridge.
        """
        base = IsotropicDiffusion(SHAPE, LinearSchedule())
        alpha, sigma = (lambda t: base.alpha(t).item()), (lambda t: base.sigma(t).item())

        def bridge(t):
            # SNR_1 / SNR_t, as their table has it for a process that starts without noise.
            ratio = (alpha(1.0) * sigma(t) / (sigma(1.0) * alpha(t))) ** 2
            return alpha(t) / alpha(1.0) * ratio, alpha(t) * (1 - ratio), sigma(t) * math.sqrt(1 - ratio)

        noise = torch.randn(Y.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        z, sampler = Y, Sampler(Denoiser(Network(), DiffusionBridge(base), prediction=PredictX()), DDIM)
        found = Y
        for t, s in ((1.0, 0.7), (0.7, 0.4), (0.4, 0.1)):
            found = sampler.step(found, t, s, given=Y, generator=torch.Generator().manual_seed(5))
            x = Network()(z, torch.full((1,), t))
            (a_t, b_t, c_t), (a_s, b_s, c_s) = bridge(t), bridge(s)
            z = a_s * Y + b_s * x + c_s * (noise if t == 1.0 else (z - a_t * Y - b_t * x) / c_t)
            close(found, z, 1e-9)

    def test_i2sb(self):
        """Liu et al. (2023): the posterior of a Brownian motion between x and z_t, its clock the noise's variance."""
        process = PINNED["Schroedinger bridge"]
        # Variances of the noise before and after a time, in between that time's beta divides them.
        t, s = 0.6, 0.4
        z = process.marginal(ends(1), t, given=Y).sample(generator=torch.Generator().manual_seed(2))
        x = Network()(z, torch.full((1,), t))
        beta_t, beta_s = process.beta(t).item(), process.beta(s).item()
        total = process.sigma(t).item() ** 2 / (beta_t * (1 - beta_t))
        before, between = total * beta_s, total * (beta_t - beta_s)
        mean = (between * x + before * z) / (before + between)
        stddev = math.sqrt(before * between / (before + between))
        noise = torch.randn(Y.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        sampler = Sampler(Denoiser(Network(), process, prediction=PredictX()))
        found = sampler.step(z, t, s, given=Y, generator=torch.Generator().manual_seed(5))
        close(found, mean + stddev * noise, 1e-9)


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "error", "words"),
        [
            (None, ValueError, "HeatBridge ends in a known signal y.*pass given=y"),
            (ends(3), ValueError, "given must have one entry for each of 2 rows|3 known ends for 2 signals"),
            (ends(2)[..., :3], ValueError, "given must have shape"),
            (ends(2).int(), TypeError, "given must be a real floating-point tensor"),
            ({"y": ends(2)}, TypeError, "one tensor, the known end y"),
        ],
    )
    def test_what_is_no_known_end(self, given, error, words):
        sampler = made(gaussian_oracle(PINNED["heat bridge"]), Posterior(), 4)
        for call in (
            lambda: sampler.sample(2, given=given),
            lambda: sampler.step(ends(2), 0.5, 0.2, given=given),
            lambda: sampler.initial_latents(2, given=given),
            lambda: sampler.denoiser(ends(2), 0.5, None, given),
        ):
            with pytest.raises(error, match=words):
                call()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                lambda y: 127 * y + 127,
                r"given lies in \[.*, the data that the denoiser .* in \[-1, 1\]: scale",
            ),
            (lambda y: torch.where(y > 0, y, math.nan), "given must be finite numbers, got NaN"),
        ],
    )
    def test_a_known_end_in_other_units(self, change, words):
        levels = GreyLevels(256, -1.0, 1.0)
        denoiser = Denoiser(Network(), PINNED["heat bridge"], prediction=PredictX(), grey_levels=levels)
        y = ends(2).clamp(-1.5, 1.5)
        Sampler(denoiser).sample(2, given=y)
        for call in (
            lambda: Sampler(denoiser).sample(2, given=change(y)),
            lambda: Sampler(denoiser).step(y, 0.5, 0.2, given=change(y)),
            lambda: DenoisingLoss(denoiser)(y, given=change(y)),
        ):
            with pytest.raises(ValueError, match=words):
                call()

    def test_a_known_end_where_there_is_none(self):
        process = IsotropicDiffusion(SHAPE)
        sampler = made(GaussianOracle(process, torch.zeros(SHAPE), torch.ones(SHAPE)), Posterior(), 4)
        with pytest.raises(ValueError, match="depends on nothing that is given"):
            sampler.sample(2, given=ends(2))

    def test_a_standard_normal_prior_for_a_bridge(self):
        with pytest.raises(ValueError, match=r"HeatBridge does not end in .* known signal y: take KnownEndPrior"):
            StandardNormalPrior(PINNED["heat bridge"])

    def test_a_prior_of_another_process(self):
        oracle = gaussian_oracle(PINNED["heat bridge"])
        with pytest.raises(ValueError, match="made for another process"):
            Sampler(oracle, prior=KnownEndPrior(OPEN["residual shift"]))

    def test_nothing_is_encoded_in_a_point(self):
        sampler = Sampler(gaussian_oracle(PINNED["heat bridge"]), Adaptive())
        with pytest.raises(ValueError, match="ends in the known signal y whatever its latents"):
            encode(sampler, ends(2), given=ends(2), t=0.2)
        with pytest.raises(TypeError, match="sampler must be a Sampler"):
            encode(sampler.denoiser, ends(2))

    @pytest.mark.parametrize("name", EVERY)
    def test_latents_that_are_not_the_end_where_they_can_be_nothing_else(self, name):
        process, y = EVERY[name], ends(2)
        sampler = made(gaussian_oracle(process), Posterior(), 4)
        share = process.end_share(y, 1.0)
        assert bool(sampler.sample(2, given=y, initial=share).isfinite().all())
        assert bool(sampler.sample(2, given=y.float(), initial=share.float()).isfinite().all())
        with (
            pytest.raises(ValueError, match=f"a latent of {type(process).__name__} is its known end.*leave initial out")
            if name in PINNED
            else pytest.MonkeyPatch.context()
        ):
            sampler.sample(2, given=y, initial=share.flip(0))
        # Below t = 1 it may be anything.
        assert bool(sampler.sample(2, given=y, initial=share.flip(0), start=0.5).isfinite().all())

    @pytest.mark.parametrize("given", [{"y": ends(2)}, ends(2).numpy()], ids=["dictionary", "array"])
    def test_messages_show_no_numbers_of_arrays(self, given):
        process = PINNED["heat bridge"]
        with pytest.raises(TypeError, match="a dict with 'y'|numpy.ndarray of shape|dictionary of y") as refused:
            process.marginal(ends(2), 0.5, given=given)
        assert "0." not in str(refused.value)

    def test_messages_name_the_user_s_own_process(self):
        process = PINNED["Brownian bridge"]
        assert process.centred().called == "BrownianBridge"
        with pytest.raises(ValueError, match="BrownianBridge's does"):
            made(gaussian_oracle(process), Posterior(RandomWalk()), 4).sample(2, given=ends(2))
        with pytest.raises(ValueError, match="^BrownianBridge has no noise at t = 0.*where it has no known end"):
            ELBO(gaussian_oracle(process), prior=KnownEndPrior(process), decoder=None, steps=math.inf)

    def test_a_network_that_sees_images_is_told_whether_the_end_is_one(self):
        network = UNet(SHAPE, channels=4, multipliers=(1, 2), attention_levels=(), image_channels=1)
        with pytest.raises(ValueError, match="UNet sees images: say sees_given=True if y is what it sees"):
            Denoiser(network, PINNED["heat bridge"], prediction=PredictX())
        assert not Denoiser(network, IsotropicDiffusion(SHAPE), prediction=PredictX()).sees_given
        assert not Denoiser(network, PINNED["heat bridge"], prediction=PredictX(), sees_given=False).sees_given

    def test_a_random_walk_coupling_needs_noise_that_grows(self):
        sampler = made(gaussian_oracle(PINNED["heat bridge"]), Posterior(RandomWalk()), 4)
        with pytest.raises(ValueError, match="RandomWalk needs noise that never shrinks"):
            sampler.sample(2, given=ends(2))


class TestUses:
    @pytest.mark.parametrize("name", EVERY)
    def test_noise_alone_moves_between_seeds(self, name):
        # What this network sees depends on the end, which is as far from it as data.
        y, denoiser = ends(3), Denoiser(Network(), EVERY[name], prediction=PredictX())
        sampler = Sampler(denoiser, Posterior(), UniformGrid(4))
        found = interpolate_seeds(sampler, 3, 17, points=3, given=y)
        of_seeds = sampler.sample(2, given=y[[0, 2]], generator=[3, 17])
        close(found[[0, 2]], of_seeds.double(), 1e-5)
        # Each point starts from its own end: half of the way is a function of the y in the middle.
        other = y.clone()
        other[1] = -y[1]
        moved = interpolate_seeds(sampler, 3, 17, points=3, given=other)
        close(moved[[0, 2]], found[[0, 2]].double(), 1e-6)
        assert (moved[1] - found[1]).abs().max() > 0.01

    def test_states_are_interpolated_where_there_are_any(self):
        bridge, y = made(gaussian_oracle(PINNED["heat bridge"]), DDIM, 4), ends(3)
        with pytest.raises(ValueError, match="at t = 1 a latent of HeatBridge is its known end.*interpolate_seeds"):
            interpolate(bridge, y[0], y[0], points=3, given=y)
        # Below t = 1 the steps draw no noise, and need no seeds.
        found = interpolate(bridge, y[0], y[1], points=3, given=y, start=0.5)
        initial = torch.stack([y[0], (y[0] + y[1]) / 2, y[1]])
        close(found, bridge.sample(3, initial=initial, given=y, start=0.5), 1e-12)

    def test_a_tree_needs_noise_at_its_last_branching(self):
        sampler, y = made(gaussian_oracle(PINNED["heat bridge"]), DDIM, 4), ends(1)
        tree = branch(sampler, times=[1.0], children=[3], given=y)
        assert len(tree.samples.unique(dim=0)) == 3
        assert repr(tree).count("states (3, 1, 4, 4)") == 1
        assert len(repr(tree)) < 200
        for times in ([0.5], [1.0, 0.5]):
            with pytest.raises(ValueError, match=r"from t = 0.5 add no noise, so that all children"):
                branch(sampler, times=times, children=[2] * len(times), given=y)


@pytest.mark.parametrize("name", ["heat bridge", "Ornstein-Uhlenbeck"])
def test_observations_guide_a_denoiser_that_is_tied_to_its_end(name):
    process, end = EVERY[name], ends(1)
    generator = torch.Generator().manual_seed(3)
    variance = 0.1 + torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    oracle = GaussianOracle(process, torch.zeros(SHAPE), variance)
    observation = LinearObservation(process.basis, torch.linspace(0, 1, 16).reshape(SHAPE), noise_std=0.2)
    with pytest.raises(ValueError, match=r"cannot be made for .* Guide CentredDenoiser\(denoiser, end=y\)"):
        CovarianceGuidance(oracle, observation, variance=variance)
    spectrum = DataSpectrum(process.basis, torch.zeros(SHAPE), variance, count=100)
    guided = CovarianceGuidance(CentredDenoiser(oracle, end=end), observation, variance=spectrum)
    z, y, at = ends(3), ends(3).flip(0), process.at(0.4)
    # z is centred here: precisions of data, latent and observation add up.
    data, latent, seen = 1 / variance, (at.alpha / at.sigma) ** 2, (observation.gain / 0.2) ** 2
    of_latent = latent / at.alpha * process.basis.forward(z)
    of_observed = observation.gain / 0.2**2 * process.basis.forward(y)
    expected = (of_latent + of_observed) / (data + latent + seen)
    close(process.basis.forward(guided(z, 0.4, None, y)), expected, 1e-9)
    samples = Sampler(guided, Posterior(), LogSNRGrid(20)).sample(500, given=y[:1].expand(500, *SHAPE), batch_size=300)
    means = process.basis.forward(samples.double()).mean(0)
    exact = (observation.gain / 0.2**2 * process.basis.forward(y[:1])[0]) / (data + seen)
    # Standard errors of 500 samples, whose widths 20 steps of first order have to a fifth.
    assert bool(((means - exact).abs() < 5 * ((data + seen) * 500) ** -0.5).all())


def test_what_is_encoded_is_drawn_again():
    process = OPEN["Ornstein-Uhlenbeck"]
    sampler = Sampler(gaussian_oracle(process), Adaptive(1e-10, 1e-10))
    y = ends(2)
    z = process.marginal(ends(2).flip(0), STOP, given=y).sample(generator=torch.Generator().manual_seed(2))
    latents = encode(sampler, z, given=y, t=STOP)
    close(sampler.sample(2, given=y, initial=latents, stop=STOP), z, 1e-6)


def test_estimates_are_those_of_centred_latents():
    process = OPEN["Ornstein-Uhlenbeck"]
    oracle = gaussian_oracle(process)
    z, y = ends(2), ends(2).flip(0)
    centred = z - process.end_share(y, 0.5)
    found = process.basis.forward(oracle(z, 0.5, None, y))
    latents = Normal(process.basis.forward(centred), torch.zeros(()))
    close(found, estimates(oracle, latents, torch.tensor([0.5], dtype=torch.float64)).mean, 1e-12)
