"""Processes that end in a known signal: against formulas, dense conditioning and the steps of papers."""

import math

import pytest
import torch
from dense_reference import close, matrix, require_reference
from support import SHAPE, draw, seeded
from zoo import KNOWN_ENDS, heat_rates

from unmelt.degradations import (
    BlurringDiffusion,
    BrownianBridge,
    ChangedBasis,
    ChannelGroups,
    CosineSchedule,
    DiffusionBridge,
    EDMSchedule,
    Eta,
    HeatBridge,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearSchedule,
    Markov,
    OrnsteinUhlenbeck,
    OUVESchedule,
    PowerBlur,
    RandomWalk,
    ResidualShift,
    ResidualShiftSchedule,
    ScaledNoise,
    SchrodingerBridge,
    SymmetricNoise,
    TowardsMean,
    WienerNoise,
    WithNoise,
)
from unmelt.testing import check_process

# Formulas are typed without care for cancellation.
ROUNDING = 1e-9

BASES = {
    "linear": IsotropicDiffusion(SHAPE, LinearSchedule()),
    "exploding": IsotropicDiffusion(SHAPE, EDMSchedule(sigma_max=3.0)),
    "Brownian": IsotropicDiffusion(SHAPE, WienerNoise(0.7)),
    "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=1.0, schedule=CosineSchedule(-4.0, 4.0)),
}
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
PINNED = {
    **{name: KNOWN_ENDS[name] for name in ("Brownian bridge", "Schroedinger bridge", "heat bridge")},
    **{name: DiffusionBridge(base) for name, base in BASES.items() if name != "Brownian"},
}


def numbers(coefficient):
    return coefficient[0].expand(SHAPE)


@pytest.mark.parametrize("coupling", [Markov(), Independent(), Eta(0.5)], ids=str)
@pytest.mark.parametrize("name", KNOWN_ENDS)
def test_distributions_are_those_of_dense_matrices(name, coupling):
    process = KNOWN_ENDS[name]
    for s, t in ((0.0, 0.3), (0.3, 0.3), (0.2, 0.7), (0.5, 1.0), (0.0, 1.0)):
        x, noise, y = (draw(SHAPE, seed=k) for k in range(3))
        for dtype in (torch.float64, torch.float32):
            require_reference(process, coupling, s, t, x, noise, dtype, given=y)


class TestEnds:
    @pytest.mark.parametrize("process", PINNED.values(), ids=PINNED)
    def test_both_ends_are_exact(self, process):
        x, y = draw(SHAPE), draw(SHAPE, seed=1)
        for t, end in ((0.0, x), (1.0, y)):
            z = process.marginal(x, t, given=y).sample(generator=seeded())
            close(z, end, 1e-12)

    @pytest.mark.parametrize("process", PINNED.values(), ids=PINNED)
    def test_from_the_known_end_a_step_is_a_draw_of_the_marginal(self, process):
        x, y = draw(SHAPE), draw(SHAPE, seed=1)
        step = process.posterior(y, x, 0.6, 1.0, given=y)
        marginal = process.marginal(x, 0.6, given=y)
        close(step.mean, marginal.mean, 1e-12)
        torch.testing.assert_close(step.spectral_stddev, marginal.spectral_stddev, rtol=1e-12, atol=0)
        assert bool((process.log_snr(1.0) == -torch.inf).all())


class TestBridges:
    @every_base
    @pytest.mark.parametrize("t", [0.1, 0.5, 0.95])
    def test_it_is_the_chain_from_x_conditioned_on_its_end(self, base, t):
        """z_t and z_1 of the chain that starts in x are jointly normal; conditioning them is dense linear algebra."""
        x, y, v = draw(SHAPE), draw(SHAPE, seed=1), matrix(base.basis)
        n, zero = math.prod(SHAPE), torch.zeros(1, *SHAPE, dtype=torch.float64)

        def operator(diagonal):
            return v @ torch.diag(diagonal.expand(1, *SHAPE).flatten().double()) @ v.T

        def scale(s, t):
            ones = base.basis.inverse(torch.ones(1, *SHAPE, dtype=torch.float64))
            return operator(base.transition(ones, s, t).spectral_mean)

        early, late, onward = scale(0.0, t), scale(0.0, 1.0), scale(t, 1.0)
        first = operator(base.transition(zero, 0.0, t).spectral_stddev.square())
        last = operator(base.transition(zero, 0.0, 1.0).spectral_stddev.square())
        gain = torch.linalg.solve(last, onward @ first).T
        x_, y_ = x.flatten(1), y.flatten(1)
        mean = x_ @ early.T + (y_ - x_ @ late.T) @ gain.T
        covariance = first - gain @ onward @ first
        q = DiffusionBridge(base).marginal(x, t, given=y)
        close(q.mean.flatten(1), mean, ROUNDING)
        close(v @ torch.diag(q.spectral_stddev.expand(2, *SHAPE)[0].flatten().square()) @ v.T, covariance, ROUNDING)
        assert covariance.shape == (n, n)

    def test_a_brownian_bridge_is_its_formula(self):
        check_process(
            BrownianBridge(SHAPE, sigma=0.7),
            alpha=lambda t: 1 - t,
            beta=lambda t: t,
            sigma=lambda t: 0.7 * math.sqrt(t * (1 - t)),
            max_examples=8,
        )

    def test_a_bridge_of_a_diffusion_is_its_formula(self):
        """With rho = sigma / alpha, squared, less rho_0 squared."""
        base = IsotropicDiffusion(SHAPE, LinearSchedule(0.1, 4.0))
        a, s = (lambda t: base.alpha(t).item()), (lambda t: base.sigma(t).item())

        def rho(t):
            return (s(t) / a(t)) ** 2 - (s(0.0) / a(0.0)) ** 2

        check_process(
            DiffusionBridge(base),
            alpha=lambda t: a(t) / a(0.0) * (1 - rho(t) / rho(1.0)),
            beta=lambda t: a(t) / a(1.0) * rho(t) / rho(1.0),
            sigma=lambda t: a(t) * math.sqrt(rho(t) * (1 - rho(t) / rho(1.0))),
            max_examples=8,
        )

    def test_without_signal_at_its_end_it_is_the_process_itself_before(self):
        """As alpha_1 goes to 0, and at 0 exactly."""
        for lowest, error in ((-20.0, 1e-4), (-40.0, 1e-8), (-math.inf, 0.0)):
            base = IsotropicDiffusion(SHAPE, CosineSchedule(lowest, math.inf))
            bridge = DiffusionBridge(base)
            for t in (0.2, 0.7):
                close(numbers(bridge.alpha(t)), numbers(base.alpha(t)), error + 1e-12)
                close(numbers(bridge.sigma(t)), numbers(base.sigma(t)), error + 1e-12)
                assert float(bridge.beta(t).max()) <= 30 * error
            assert float(bridge.beta(1.0).min()) == 1

    def test_schroedinger_bridges_take_the_steps_of_i2sb(self):
        """q(z_t | x, y) and the step from z_t to z_s are products of Gaussians, as Liu et al. (2023) have them."""
        noise = SymmetricNoise(0.1, 0.3)
        bridge = SchrodingerBridge(SHAPE, noise)
        x, y, z = (draw(SHAPE, seed=seed) for seed in range(3))

        def passed(t):
            """The integral of the rate from 0 to t, by the rule of midpoints."""
            at = (torch.arange(20_000, dtype=torch.float64) + 0.5) * t / 20_000
            near = torch.minimum(at, 1 - at)
            return ((math.sqrt(0.1) + (math.sqrt(0.3) - math.sqrt(0.1)) * near).square().mean() * t).item()

        s, t = 0.35, 0.8
        early, late, whole = passed(s), passed(t), passed(1.0)
        q, left = bridge.marginal(x, t, given=y), whole - late
        close(q.mean, (left * x + late * y) / whole, 1e-8)
        close(q.spectral_stddev.square().flatten(), torch.tensor([late * left / whole], dtype=torch.float64), 1e-8)
        step = bridge.posterior(z, x, s, t, Markov(), given=y)
        close(step.mean, ((late - early) * x + early * z) / late, 1e-8)
        variance = torch.tensor([early * (late - early) / late], dtype=torch.float64)
        close(step.spectral_stddev.square().flatten(), variance, 1e-8)


class TestHeatBridge:
    def test_it_is_its_formula(self):
        rates = torch.from_numpy(heat_rates(*SHAPE[1:]))

        def d(t):
            return torch.exp(-rates * 4.0 * t / 2)

        def share(t):
            faded = (1 - d(t)) / (1 - d(1.0))
            faded[0, 0] = t
            return faded.expand(SHAPE)

        check_process(
            HeatBridge(SHAPE, blur=PowerBlur(2.0), sigma=0.3),
            alpha=lambda t: 1 - share(t),
            beta=share,
            sigma=lambda t: 0.3 * (share(t) * (1 - share(t))).sqrt(),
            max_examples=8,
        )

    def test_from_the_blurred_image_its_mean_is_the_blur_of_every_time(self):
        heat, x = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10), draw(SHAPE)
        (end,) = heat.degrade(x, 1.0)
        bridge = HeatBridge(SHAPE, blur=heat.blur)
        assert bridge.levels == 10
        for t in (0.05, 0.3, 0.9):
            close(bridge.degrade(x, t, given=end)[0], heat.degrade(x, t)[0], 1e-12)


class TestMeans:
    def test_residual_shift_takes_its_published_steps(self):
        """Yue et al. (2023): the mean (eta_s / eta_t) z_t + (a / eta_t) x, the variance kappa^2 eta_s a / eta_t."""
        schedule = ResidualShiftSchedule(kappa=1.3, levels=8)
        process = ResidualShift(SHAPE, schedule)
        x, y, z = (draw(SHAPE, seed=seed) for seed in range(3))
        for k in (2, 5, 8):
            s, t = (k - 1) / 8, k / 8
            eta_s, eta_t = (process.sigma(time).item() ** 2 / 1.3**2 for time in (s, t))
            close(numbers(process.beta(t)), torch.full(SHAPE, eta_t, dtype=torch.float64), 1e-12)
            step = process.posterior(z, x, s, t, RandomWalk(), given=y)
            close(step.mean, (eta_s * z + (eta_t - eta_s) * x) / eta_t, 1e-12)
            variance = 1.3**2 * eta_s * (eta_t - eta_s) / eta_t
            close(step.spectral_stddev.square().flatten(), torch.tensor([variance], dtype=torch.float64), 1e-12)
            markov = process.posterior(z, x, s, t, Markov(), given=y)
            assert float((markov.mean - step.mean).abs().max()) > 1e-3

    def test_the_schedule_of_residual_shift_is_the_released_one(self):
        schedule = ResidualShiftSchedule()
        first, last = 0.04 / 2, 0.99
        for k in range(1, 16):
            root = first * (last / first) ** (((k - 1) / 14) ** 0.3)
            sigma = schedule.log_sigma(torch.tensor(k / 15, dtype=torch.float64)).exp().item()
            assert sigma == pytest.approx(2 * root, rel=1e-12)

    def test_an_ornstein_uhlenbeck_process_solves_its_equation(self):
        """D mean = gamma (y - mean) dt and d variance = (g^2 - 2 gamma variance) dt, by differences."""
        process, h = OrnsteinUhlenbeck((1,), OUVESchedule(1.5, 0.05, 0.5)), 1e-5
        x, y = torch.tensor([[0.8]], dtype=torch.float64), torch.tensor([[-0.4]], dtype=torch.float64)
        assert process.marginal(x, 0.0, given=y).mean.item() == 0.8
        for t in (0.1, 0.5, 0.9):
            before, here, after = (process.marginal(x, time, given=y) for time in (t - h, t, t + h))
            drift = (after.mean - before.mean).item() / (2 * h)
            assert drift == pytest.approx(1.5 * (-0.4 - here.mean.item()), rel=1e-8)
            growth = (after.spectral_stddev**2 - before.spectral_stddev**2).item() / (2 * h)
            square = (0.05 * 10**t) ** 2 * 2 * math.log(10)
            assert growth == pytest.approx(square - 3.0 * here.spectral_stddev.item() ** 2, rel=1e-7)

    def test_scaled_noise_is_the_same_schedule_with_other_noise(self):
        t = torch.linspace(0, 1, 5, dtype=torch.float64)
        schedule = LinearSchedule()
        scaled = ScaledNoise(schedule, 10 / 255)
        assert torch.equal(scaled.log_alpha(t), schedule.log_alpha(t))
        close(scaled.log_sigma(t).exp(), 10 / 255 * schedule.log_sigma(t).exp(), 1e-15)

    def test_noise_that_shrinks_is_no_random_walk(self):
        process, x = BrownianBridge(SHAPE), draw(SHAPE)
        with pytest.raises(ValueError, match="RandomWalk needs noise that never shrinks, and BrownianBridge's does"):
            process.posterior(x, x, 0.5, 0.9, RandomWalk(), given=x)


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            (None, ValueError, "BrownianBridge ends in a known signal y, and needs it: pass given=y"),
            (draw((1, 4, 6)), ValueError, "given must have shape"),
            (draw(SHAPE, batch=3), ValueError, "given holds 3 known ends for 2 signals: give one for each"),
            (torch.zeros(2, *SHAPE, dtype=torch.uint8), TypeError, "given must be a real floating-point tensor"),
        ],
    )
    def test_what_is_given_is_checked(self, as_in_production, given, error, message):
        process, x = BrownianBridge(SHAPE), draw(SHAPE)
        for method in (
            lambda: process.marginal(x, 0.5, given=given),
            lambda: process.transition(x, 0.3, 0.5, given=given),
            lambda: process.posterior(x, x, 0.3, 0.5, given=given),
            lambda: process.score(x, x, 0.5, given=given),
            lambda: process.sample_path(x, [0.3, 0.5], given=given),
            lambda: process.degrade(x, 0.5, given=given),
            lambda: process.corrupt(x, x, 0.5, given=given),
        ):
            with pytest.raises(error, match=message):
                method()

    def test_a_process_without_a_known_end_is_given_none(self):
        x = draw(SHAPE)
        with pytest.raises(ValueError, match="IsotropicDiffusion has no known end, log_beta, .* leave given out"):
            IsotropicDiffusion(SHAPE).marginal(x, 0.5, given=x)
        assert IsotropicDiffusion(SHAPE).beta(0.5).max() == 0

    def test_a_coefficient_whose_log_snr_stands_still_has_no_bridge(self):
        with pytest.raises(ValueError, match=r"HeatDissipation's is 9.21 at t = 0 .* for coefficient \(0, 0, 0\)"):
            DiffusionBridge(HeatDissipation(SHAPE))
        noisy = WithNoise(HeatDissipation(SHAPE, blur_sigma_max=2.0), LinearSchedule())
        assert DiffusionBridge(noisy).known_end

    def test_a_known_end_has_no_second_one(self):
        for make in (DiffusionBridge, TowardsMean):
            with pytest.raises(ValueError, match="BrownianBridge has a known end already"):
                make(BrownianBridge(SHAPE))

    def test_what_would_leave_the_known_end_out_refuses_it(self):
        bridge = BrownianBridge(SHAPE)
        for make in (
            lambda: WithNoise(bridge, LinearSchedule()),
            lambda: ChangedBasis(bridge, bridge.basis),
            lambda: ChannelGroups(bridge.basis, [bridge]),
        ):
            with pytest.raises(ValueError, match="cannot be made for BrownianBridge, whose latents depend on a known"):
                make()
        assert not bridge.centred().known_end

    def test_a_formula_needs_a_known_end(self):
        with pytest.raises(ValueError, match="IsotropicDiffusion has no known end"):
            check_process(IsotropicDiffusion(SHAPE), beta=lambda t: t)


def test_paths_have_the_share_of_the_known_end_at_each_time():
    process, x, y = BrownianBridge(SHAPE), draw(SHAPE), draw(SHAPE, seed=1)
    path = process.sample_path(x, [0.0, 0.5, 1.0], Independent(), given=y, generator=seeded())
    close(path[0], x, 1e-12)
    close(path[2], y, 1e-12)
    assert process.agrees_with(BrownianBridge(SHAPE))
    assert not process.agrees_with(process.centred())
