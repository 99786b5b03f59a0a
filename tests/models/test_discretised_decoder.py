"""Probabilities of integers: against fifty digits, distribution functions, and the dequantised density above them."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from decoder_cases import (
    DOUBLE,
    EIGHT_BITS,
    IMAGES,
    double,
    every_quantisation,
    exact_mass,
    graph,
    heat,
    levels_of,
    pair,
    point,
    seeded,
)
from dense_reference import Dense, vectors
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.distributions import Normal

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    HeatDissipation,
    IsotropicDiffusion,
)
from unmelt.models import (
    DiscretisedGaussianDecoder,
    GaussianDecoder,
    GreyLevels,
)
from unmelt.testing.strategies import (
    processes,
    random_images,
    seeds,
    times,
)


def one_pixel(grey_levels, stddev, level, x_hat):
    """The decoder's -log P of one level for each of several estimates, as a list."""
    decoder = DiscretisedGaussianDecoder(point(), grey_levels, stddev)
    x = grey_levels.values(torch.full((len(x_hat), 1), level), torch.float64)
    return decoder.negative_log_likelihood(x, torch.tensor(x_hat, dtype=torch.float64)[:, None], 0.5).tolist()


OFFSETS = [0.0, 1e-8, 1e-3, 0.1, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 20.0, 37.0, 38.0, 39.0, 100.0]


class TestDiscretised:
    @pytest.mark.parametrize("exponent", [-9.0, *np.arange(-6, 6.5, 0.5), -1.7, -1.75, -1.8, -3.7])
    def test_the_mass_of_a_bin_against_fifty_digits(self, exponent):
        """Bins from 1e-9 to 1e6 stddevs wide, up to 100 stddevs away on either side; level 0 has the value 0."""
        middle = GreyLevels(3, -1.0, 1.0)
        stddev = float(10**-exponent)
        x_hat = [sign * offset * stddev for offset in OFFSETS for sign in (1, -1)]
        ours = one_pixel(middle, stddev, 1, x_hat)
        with mp.workdps(50):
            for mean, nll in zip(x_hat, ours, strict=True):
                d = abs(mp.mpf(mean))
                edges = -(mp.mpf(0.5) + d) / mp.mpf(stddev), (mp.mpf(0.5) - d) / mp.mpf(stddev)
                expected = -exact_mass(*edges)
                # Just above the seam of the two forms logs of size c^2 / 2 leave 2 % of each other, so their error is
                # 50 of their roundings. Where P is nearly 1, the tail beyond b is off by b^2 < 38^2 roundings of b.
                assert nll == pytest.approx(float(expected), rel=1e4 * DOUBLE, abs=1e-300), mean / stddev

    @pytest.mark.parametrize("level", [0, 2])
    @pytest.mark.parametrize("width", [1e-6, 0.1, 1.0, 10.0, 1e6])
    def test_the_open_bins_against_fifty_digits(self, level, width):
        ends = GreyLevels(3, -1.0, 1.0)
        stddev, side = 1 / width, level - 1
        x_hat = [side + sign * offset * stddev for offset in OFFSETS for sign in (1, -1)]
        ours = one_pixel(ends, stddev, level, x_hat)
        with mp.workdps(50):
            for mean, nll in zip(x_hat, ours, strict=True):
                edge = (mp.mpf(0.5) - side * (mp.mpf(side) - mp.mpf(mean))) / mp.mpf(stddev)
                tail = mp.erfc(abs(edge) / mp.sqrt(2)) / 2
                expected = -(mp.log1p(-tail) if edge > 0 else mp.log(tail))
                # A small tail beyond b is off by b^2 < 38^2 roundings of b.
                assert nll == pytest.approx(float(expected), rel=1e4 * DOUBLE, abs=1e-300), mean

    @every_quantisation
    @given(share=st.floats(-0.3, 1.3), log_stddev=st.floats(-6, 3))
    def test_the_probabilities_of_all_levels_add_up_to_one(self, grey_levels, share, log_stddev):
        q, stddev = grey_levels, math.exp(log_stddev)
        extent = q.high - q.low
        decoder = DiscretisedGaussianDecoder(point(), q, stddev * extent)
        x = decoder.prepare(torch.arange(q.count)[:, None])
        x_hat = torch.full_like(x, q.low + share * extent)
        total = decoder.negative_log_likelihood(x, x_hat, 0.5).neg().exp().sum().item()
        # Edges shared by two bins are rounded apart by an eps of the data's size, over a stddev above extent / 404, and
        # the density is at most 0.4 there. Logs are off by 50 roundings of themselves, and P log P by less than that.
        assert total == pytest.approx(1, abs=(2 * 0.4 * 404 * max(abs(q.low), abs(q.high)) / extent + 1e3) * DOUBLE)

    @every_quantisation
    @pytest.mark.parametrize("process", [heat(), graph()], ids=["(1, 8, 8)", "(5,)"])
    def test_it_is_a_difference_of_two_normal_distribution_functions(self, process, grey_levels):
        q = grey_levels
        levels = levels_of(q, process.shape)
        levels.flatten()[:2] = torch.tensor([0, q.count - 1])
        stddev = 5 * q.width
        decoder = DiscretisedGaussianDecoder(process, q, stddev)
        x = decoder.prepare(levels)
        x_hat = x + stddev * random_images(process.shape)
        distribution = Normal(x_hat, stddev)
        value, half = q.values(levels, torch.float64), q.width / 2
        upper = torch.where(levels == q.count - 1, 1.0, distribution.cdf(value + half))
        lower = torch.where(levels == 0, 0.0, distribution.cdf(value - half))
        ours = decoder.negative_log_likelihood(x, x_hat, 0.5)
        # P is at least 0.04: cancellation loses two digits. Float32 data is put back on its levels, and the estimate
        # here is float64 added to float32 values, so that both sides see the same. Numbers of 5 in units of a level's
        # width, as small as 1.5e-5, round at 1e-10.
        slack = 1e3 * DOUBLE + 4 * DOUBLE * max(abs(q.low), abs(q.high)) / q.width
        torch.testing.assert_close(ours, -(upper - lower).log().flatten(1).sum(1), rtol=0, atol=64 * slack)

    @given(process=processes(), t=times(0.02), seed=seeds())
    def test_without_a_stddev_it_has_the_average_pixels_variance(self, process, t, seed):
        alpha, sigma = vectors(process, t)
        assume(alpha.min() > 1e-3)
        assume(sigma.max() > 1e-3)
        covariance = Dense(process).operator((sigma / alpha) ** 2)
        stddev = covariance.diagonal().mean().sqrt().item()
        levels = levels_of(EIGHT_BITS, process.shape, seed=seed)
        ours, theirs = (DiscretisedGaussianDecoder(process, EIGHT_BITS, s) for s in (None, stddev))
        x, x_hat = ours.prepare(levels), random_images(process.shape, seed=seed)
        # A relative error of 1e-14 in a stddev of at least 1e-4 changes (x - x_hat)^2 / (2 s^2) by as much of itself.
        torch.testing.assert_close(
            ours.negative_log_likelihood(x, x_hat, t),
            theirs.negative_log_likelihood(x, x_hat, t),
            rtol=1e-11,
            atol=1e-11,
        )

    def test_each_example_has_its_own_time(self):
        process = BlurringDiffusion(IMAGES, blur_sigma_max=2.0)
        decoder = DiscretisedGaussianDecoder(process, EIGHT_BITS)
        x, x_hat = decoder.prepare(levels_of(EIGHT_BITS, IMAGES)), random_images(IMAGES)
        together = decoder.negative_log_likelihood(x, x_hat, double(0.2, 0.6))
        alone = [decoder.negative_log_likelihood(x[i : i + 1], x_hat[i : i + 1], t) for i, t in enumerate((0.2, 0.6))]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-13, atol=0)
        assert (together[0] - together[1]).abs() > 1

    def test_latents_that_hold_almost_no_signal(self):
        """A stddev that is no double: inner bins hold w / (s sqrt(2 pi)), the outer ones a half."""
        process = HeatDissipation((1, 32, 32), blur_sigma_max=24.0, levels=10)
        log_ratio = (process.batched_log_sigma(1.0) - process.batched_log_alpha(1.0)).flatten()
        log_stddev = log_ratio.max() + 0.5 * ((2 * (log_ratio - log_ratio.max())).exp().mean()).log()
        assert log_stddev > 5000
        decoder = DiscretisedGaussianDecoder(process, EIGHT_BITS)
        levels = levels_of(EIGHT_BITS, (1, 32, 32))
        ours = decoder.negative_log_likelihood(decoder.prepare(levels), random_images((1, 32, 32)), 1.0)
        outer = ((levels == 0) | (levels == 255)).flatten(1).sum(1)
        inner = log_stddev + math.log(2 * math.pi) / 2 + math.log(255)
        torch.testing.assert_close(ours, outer * math.log(2) + (1024 - outer) * inner, rtol=1e-13, atol=0)

    def test_a_stddev_of_its_own_needs_no_signal(self):
        x, x_hat = EIGHT_BITS.values(levels_of(EIGHT_BITS, (5,))), random_images((5,))
        decoder = DiscretisedGaussianDecoder(IsotropicDiffusion((5,), CosineSchedule(-np.inf, np.inf)), EIGHT_BITS, 0.1)
        assert decoder.negative_log_likelihood(x, x_hat, 1.0).isfinite().all()

    def test_an_estimate_too_far_away_is_impossible_and_not_nan(self):
        below, inside, above = (one_pixel(GreyLevels(3, -1.0, 1.0), 1.0, k, [-1e200, 1e200]) for k in range(3))
        assert (below, inside, above) == ([0, math.inf], [math.inf, math.inf], [math.inf, 0])

    @pytest.mark.parametrize("level", [0, 1, 2])
    @pytest.mark.parametrize("stddev", [0.1, 1.0, 30.0, 200.0])
    def test_gradients_reach_the_estimate(self, level, stddev):
        """Finite differences of both forms: bins from a two-hundredth of a stddev to ten stddevs wide."""
        q = GreyLevels(3, -1.0, 1.0)
        decoder = DiscretisedGaussianDecoder(point(), q, stddev)
        # Not at a level itself, where the distance has a kink that its function has not.
        x_hat = ((torch.linspace(-3, 3, 11).double() + 0.01) * min(stddev, 1.0))[:, None].requires_grad_()
        x = q.values(torch.full((11, 1), level), torch.float64)
        assert torch.autograd.gradcheck(lambda y: decoder.negative_log_likelihood(x, y, 0.5), x_hat, atol=1e-5)

    @pytest.mark.parametrize("exponent", range(-10, 7))
    def test_gradients_are_those_of_the_logs_derivative(self, exponent):
        """d(-log P) / d x_hat = (phi(b) - phi(a)) / (s P), and 0 where the estimate is the level."""
        q, stddev = GreyLevels(3, -1.0, 1.0), float(10.0**-exponent)
        offsets = [0.0, 0.3, -2.0, 9.0, -60.0, 3e5]
        x_hat = (stddev * torch.tensor(offsets, dtype=torch.float64))[:, None].requires_grad_()
        decoder = DiscretisedGaussianDecoder(point(), q, stddev)
        decoder.negative_log_likelihood(torch.zeros_like(x_hat), x_hat, 0.5).sum().backward()
        with mp.workdps(100):
            for mean, gradient in zip(x_hat.flatten().tolist(), x_hat.grad.flatten().tolist(), strict=True):
                d, s = abs(mp.mpf(mean)), mp.mpf(stddev)
                lower, upper = -(mp.mpf(0.5) + d) / s, (mp.mpf(0.5) - d) / s
                slope = (mp.npdf(upper) - mp.npdf(lower)) / (s * mp.exp(exact_mass(lower, upper)))
                expected = float(slope) * (1 if mean >= 0 else -1)
                # Just above the seam it is a difference of 50 times as large hazards, each off by a few roundings.
                slack = 1e3 * DOUBLE
                assert gradient == pytest.approx(expected, rel=slack, abs=slack / stddev)

    @pytest.mark.parametrize("stddev", [1e-100, 1e20, 1e200])
    def test_gradients_of_one_form_are_not_spoilt_by_the_other(self, stddev):
        """Where one form is used the other overflows, or takes the log of nothing: 0 times infinity stays away."""
        x_hat = torch.tensor([0.0, 0.3, -0.4], dtype=torch.float64)[:, None].requires_grad_()
        decoder = DiscretisedGaussianDecoder(point(), GreyLevels(3, -1.0, 1.0), stddev)
        decoder.negative_log_likelihood(torch.zeros_like(x_hat), x_hat, 0.5).sum().backward()
        # In the narrow limit the density's (x_hat - x) / s^2, up to h^2; in the wide one all of the mass is in the bin.
        expected = x_hat.detach() / stddev / stddev if stddev > 1 else torch.zeros_like(x_hat)
        torch.testing.assert_close(x_hat.grad, expected, rtol=1e-14, atol=0)

    def test_float32_estimates_are_taken_at_their_value(self):
        decoder = DiscretisedGaussianDecoder(heat(), EIGHT_BITS, 0.01)
        x, x_hat = decoder.prepare(levels_of(EIGHT_BITS, IMAGES)), random_images(IMAGES, dtype=torch.float32)
        ours = decoder.negative_log_likelihood(x, x_hat, 0.1)
        assert ours.dtype == torch.float64
        assert torch.equal(ours, decoder.negative_log_likelihood(x.double(), x_hat.double(), 0.1))


# ---- one against the other ----------------------------------------------------------------------------------------


class TestDequantisedBound:
    def averaged(self, process, grey_levels, stddev, levels, x_hat):
        """E over u of the dequantised density's -log p, by quadrature; pixels, terms of a sum, may share their u."""
        decoder = GaussianDecoder(process, stddev, grey_levels=grey_levels)
        nodes, weights = np.polynomial.legendre.leggauss(20)
        x = grey_levels.values(levels, torch.float64)
        shifts = grey_levels.width / 2 * torch.from_numpy(nodes)
        nll = [decoder.negative_log_likelihood(x + shift, x_hat, 0.5) for shift in shifts]
        return sum(w * y for w, y in zip(weights / 2, nll, strict=True))

    @every_quantisation
    @pytest.mark.parametrize("ratio", [0.01, 0.3, 1.0, 4.0, 30.0])
    def test_it_lies_above_the_integers_own_and_by_as_much_as_jensen_says(self, grey_levels, ratio):
        """-log of the density's integral over the bin; in narrow bins the gap is (h c)^2 / 24 for each pixel."""
        process, stddev = graph(), grey_levels.width / ratio
        levels = levels_of(grey_levels, (5,), batch=3)
        value = grey_levels.values(levels, torch.float64)
        offsets = 3 * random_images((5,), batch=3) - 1.5
        x_hat = value + stddev * offsets
        bound = self.averaged(process, grey_levels, stddev, levels, x_hat)
        exact = []
        with mp.workdps(40):
            for row, means in zip(value.tolist(), x_hat.tolist(), strict=True):
                total = mp.mpf(0)
                for centre, mean in zip(row, means, strict=True):
                    d, half = abs(mp.mpf(centre) - mp.mpf(mean)), mp.mpf(grey_levels.width) / 2
                    total -= exact_mass(-(half + d) / stddev, (half - d) / stddev)
                exact.append(float(total))
        exact = torch.tensor(exact, dtype=torch.float64)
        # Numbers of up to 5 stand for themselves, in stddevs, to a rounding; and terms are up to 15^2 / 2.
        rounding = 1e3 * DOUBLE + 1e3 * DOUBLE * max(abs(grey_levels.low), abs(grey_levels.high)) / stddev
        gap = bound - exact
        assert (gap > -rounding).all()
        if ratio < 0.1:
            expected = (ratio * offsets).square().sum(1) / 24
            # The next order in h is h^4.
            torch.testing.assert_close(gap, expected, rtol=ratio**2, atol=rounding + 5 * ratio**4)
        if ratio > 1:
            assert (gap > 0.01).all()

    def test_samples_of_the_noise_have_that_mean(self):
        """What `prepare` and the decoder make of bytes, averaged, is the quadrature's bound."""
        process, stddev = graph(), EIGHT_BITS.width
        levels = levels_of(EIGHT_BITS, (5,), batch=1)
        x_hat = EIGHT_BITS.values(levels, torch.float64) + stddev * random_images((5,), batch=1)
        bound = self.averaged(process, EIGHT_BITS, stddev, levels, x_hat)
        decoder, count = GaussianDecoder(process, stddev, grey_levels=EIGHT_BITS), 20_000
        x = decoder.prepare(levels.to(torch.uint8).expand(count, 5), generator=seeded())
        nll = decoder.negative_log_likelihood(x, x_hat.expand(count, 5), 0.5)
        # Five standard errors, and the rounding of float32 data of size 1 in stddevs, times their number.
        slack = 5 * nll.std().item() / math.sqrt(count) + 5 * 2 * 6e-8 / stddev
        assert abs(nll.mean() - bound).item() < slack

    @every_quantisation
    def test_the_width_of_a_level_turns_a_density_into_a_probability(self, grey_levels):
        x, x_hat = pair(IMAGES)
        density, probability = (GaussianDecoder(heat(), 0.1, grey_levels=q) for q in (None, grey_levels))
        gap = probability.negative_log_likelihood(x, x_hat, 0.1) - density.negative_log_likelihood(x, x_hat, 0.1)
        expected = torch.full((2,), -64 * math.log((grey_levels.high - grey_levels.low) / (grey_levels.count - 1)))
        torch.testing.assert_close(gap, expected.double(), rtol=1e-6, atol=1e-10)

    def test_narrow_bins_have_the_densitys_mass(self):
        q = GreyLevels(65536, -1.0, 1.0)
        levels = levels_of(q, IMAGES).clamp(1, 65534)
        x_hat = random_images(IMAGES)
        density = GaussianDecoder(heat(), 0.5, grey_levels=q)
        probability = DiscretisedGaussianDecoder(heat(), q, 0.5)
        ours = probability.negative_log_likelihood(probability.prepare(levels), x_hat, 0.1)
        theirs = density.negative_log_likelihood(q.values(levels, torch.float64), x_hat, 0.1)
        # h = 6e-5 stddevs, c at most 4: 64 times h^2 (c^2 - 1) / 24; and sums of 64 terms of 10 in double.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=64 * (6.2e-5**2 * 15 / 24) + 1e-11)
