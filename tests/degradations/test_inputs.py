"""What is wrong is refused: each error names the value, what is allowed and the remedy."""

import pytest
import torch

from unmelt.degradations import (
    CosineBasis,
    Deterministic,
    HeatDissipation,
    Independent,
    LinearGaussianProcess,
    PixelBasis,
)
from unmelt.testing.strategies import random_images

SHAPE = (1, 4, 4)
PROCESS = HeatDissipation(SHAPE, levels=10)
X = random_images(SHAPE)


def test_forgetting_a_schedule_fails_at_construction():
    class Half(LinearGaussianProcess):
        def __init__(self):
            super().__init__(PixelBasis(SHAPE))

        def log_alpha(self, t):
            return -t

    with pytest.raises(TypeError, match="log_sigma"):
        Half()


@pytest.mark.parametrize("t", [-0.1, 1.0001, float("nan"), float("inf")])
def test_times_outside_the_unit_interval_are_refused(t):
    for call in (
        lambda t: PROCESS.marginal(X, t),
        lambda t: PROCESS.degrade(X, 0.5, t),
        lambda t: PROCESS.log_snr(t),
        lambda t: PROCESS.blur_sigma(t),
        lambda t: PROCESS.corrupt(X, X, t),
        lambda t: PROCESS.posterior(X, X, 0.0, t),
    ):
        for time in (t, torch.tensor(t), torch.tensor([0.5, t])):
            with pytest.raises(ValueError, match=rf"t must lie in \[0, 1\].*got {str(t)[:4]}"):
                call(time)


def test_times_in_the_wrong_order_are_refused():
    for call in (
        lambda s, t: PROCESS.transition(X, s, t),
        lambda s, t: PROCESS.posterior(X, X, s, t, Independent()),
        lambda s, t: PROCESS.posterior_coefficients(s, t, Independent()),
    ):
        with pytest.raises(ValueError, match=r"s must not be later than t, got s = 0.75 > t = 0.25: swap"):
            call(0.75, 0.25)
        with pytest.raises(ValueError, match=r"got s = 0.75 > t = 0.5"):
            call(torch.tensor([0.25, 0.75]), 0.5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
@pytest.mark.usefixtures("as_in_production")
def test_integer_images_are_refused(dtype):
    wrong = X.to(dtype)
    for call in (
        lambda: PROCESS.marginal(wrong, 0.5),
        lambda: PROCESS.transition(wrong, 0.1, 0.5),
        lambda: PROCESS.posterior(X, wrong, 0.1, 0.5),
        lambda: PROCESS.posterior(wrong, X, 0.1, 0.5),
        lambda: PROCESS.degrade(wrong, 0.5),
        lambda: PROCESS.basis.forward(wrong),
    ):
        with pytest.raises(TypeError, match=rf"floating-point.*got {dtype}.*x.float\(\) / 255"):
            call()


def test_a_rising_log_snr_is_refused_with_where_it_rises():
    class Reviving(LinearGaussianProcess):
        def __init__(self):
            super().__init__(CosineBasis(SHAPE))
            rates = torch.ones(SHAPE, dtype=torch.float64)
            rates[0, 2, 3] = -0.5
            self.register_constant("rates", rates)

        def log_alpha(self, t):
            return -self.rates * self.expand_times(t)

        def log_sigma(self, t):
            return torch.zeros_like(self.rates)

    for call in (
        lambda p: p.transition(X, 0.2, 0.6),
        lambda p: p.posterior(X, X, 0.2, 0.6),
        lambda p: p.posterior(X, X, 0.2, 0.6, Deterministic()),
    ):
        with pytest.raises(ValueError, match=r"rises by 0.4 between s and t at index \(0, 0, 2, 3\)"):
            call(Reviving())


def test_a_schedule_that_returns_nan_is_refused():
    class Broken(LinearGaussianProcess):
        def __init__(self):
            super().__init__(PixelBasis(SHAPE))

        def log_alpha(self, t):
            return torch.log(0.5 - self.expand_times(t))

        def log_sigma(self, t):
            return torch.zeros_like(t)

    with pytest.raises(ValueError, match="log-SNR rises.*or is NaN"):
        Broken().transition(X, 0.2, 0.7)


@pytest.mark.parametrize(
    "result",
    [
        lambda t: t[:, None] if t.ndim else t[None],  # (batch, 1): neither per example nor per coefficient
        lambda t: torch.zeros(4, 5),
        lambda t: torch.zeros(3, 1, 4, 4, 4),
    ],
)
def test_a_schedule_of_a_shape_that_does_not_broadcast_is_refused(result):
    class Odd(LinearGaussianProcess):
        def __init__(self):
            super().__init__(PixelBasis(SHAPE))

        def log_alpha(self, t):
            return result(t)

        def log_sigma(self, t):
            return torch.zeros_like(t)

    with pytest.raises(ValueError, match=r"Odd.log_alpha\(t\) returned shape.*use self.expand_times"):
        Odd().marginal(random_images(SHAPE, batch=3), torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.parametrize("form", ["per example", "expanded", "table", "constant"])
def test_every_shape_of_schedule_that_makes_sense_is_understood(form):
    class Flexible(LinearGaussianProcess):
        def __init__(self):
            super().__init__(CosineBasis((2, 4, 3)))

        def log_alpha(self, t):
            if form == "per example":
                return -t
            if form == "expanded":
                return -self.expand_times(t)
            if form == "table":
                return -self.expand_times(t) * torch.ones(4, 3)
            return torch.tensor(-0.5)

        def log_sigma(self, t):
            return torch.log(t + 0.1)

    x = random_images((2, 4, 3), batch=3)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    q = Flexible().marginal(x, t)
    factor = torch.full((3,), 0.5).neg().exp() if form == "constant" else (-t).exp()
    torch.testing.assert_close(q.mean, factor.double()[:, None, None, None] * x, rtol=1e-7, atol=0)
    assert q.spectral_stddev.flatten().tolist() == pytest.approx((t + 0.1).tolist())
    assert Flexible().marginal(x, 0.5).mean.shape == x.shape


def test_checks_do_not_change_what_is_right():
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert torch.equal(PROCESS.as_times(t), t)


class Line(LinearGaussianProcess):
    """One axis: a table of 3 numbers, and 3 times of one number each, have the same shape."""

    def __init__(self, noise):
        super().__init__(PixelBasis((3,)))
        self.noise = noise

    def log_alpha(self, t):
        return -self.expand_times(t)

    def log_sigma(self, t):
        return self.noise(t)


def test_one_number_per_example_or_per_coefficient_is_not_guessed():
    x = torch.rand(3, 3)
    t = torch.tensor([0.1, 0.5, 0.9])
    for noise in (lambda t: torch.tensor([0.0, -1.0, -2.0]), lambda t: -1 + 0 * t):
        with pytest.raises(ValueError, match=r"returned shape \(3,\) for as many times.*expand_times"):
            Line(noise).marginal(x, t)
        # Another number of examples leaves no doubt.
        assert Line(noise).marginal(x[:2], t[:2]).mean.shape == (2, 3)
    told = Line(lambda t: torch.tensor([[0.0, -1.0, -2.0]])).marginal(x, t)
    torch.testing.assert_close(told.spectral_stddev[0].log(), torch.tensor([0.0, -1.0, -2.0]))
