"""check_process accepts what is right, extremes too, and reports what is wrong with a small example."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from zoo import EVERY_PROCESS, KNOWN_ENDS

from unmelt.degradations import (
    ChangedBasis,
    ChannelGroups,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    EqualSNR,
    FlippedSNR,
    FourierBasis,
    GaussianBlur,
    HeatDissipation,
    HeatFlow,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PixelBasis,
    PixelMask,
    RectifiedFlowSchedule,
    SequentialMasking,
    SpectralDiffusion,
    equal_variance_blur,
    estimate_spectrum,
    families,
)
from unmelt.testing import BrokenLaw, advice, check_process
from unmelt.testing.strategies import processes, processes_in, random_images

SHAPE = (2, 3, 4)
SPECTRUM = estimate_spectrum(FourierBasis(SHAPE), random_images(SHAPE, batch=50))


class Fog(LinearGaussianProcess):
    """README's."""

    def __init__(self, shape):
        super().__init__(CosineBasis(shape))
        rows, columns = self.basis.axis_eigenvalues()
        self.register_constant("rate", 10 * rows[:, None] + columns)

    def log_alpha(self, t):
        return -20 * self.rate * self.expand_times(t) ** 2

    def log_sigma(self, t):
        return math.log(0.02) + self.expand_times(t)


class Masked(LinearGaussianProcess):
    """Pixels vanish one after the other, each exactly from some time on, channels at different ones."""

    def __init__(self):
        super().__init__(PixelBasis(SHAPE))
        self.register_constant("last", torch.linspace(0.1, 1.2, 24, dtype=torch.float64).reshape(SHAPE))

    def log_alpha(self, t):
        t = self.expand_times(t)
        return torch.where(t < self.last, torch.zeros_like(t), -torch.inf)

    def log_sigma(self, t):
        return torch.full_like(t, math.log(0.1))


class Steep(LinearGaussianProcess):
    """Continuous, however fast: a square root and a fifth root at 0, logarithms down to -5000, a fall within 1e-8."""

    def __init__(self):
        super().__init__(PixelBasis((1, 1, 3)))
        self.register_constant("size", torch.tensor([5000.0, 1.0, 0.0], dtype=torch.float64))

    def log_alpha(self, t):
        t = self.expand_times(t)
        return -self.size * t**0.5 - 2 * t**0.2 - 3 * torch.sigmoid((t - 0.37) * 1e8)

    def log_sigma(self, t):
        t = self.expand_times(t)
        return t.clamp(min=torch.finfo(t.dtype).tiny).log() / 2


class Learned(LinearGaussianProcess):
    """A process with a parameter."""

    def __init__(self):
        super().__init__(PixelBasis(SHAPE))
        self.speed = nn.Parameter(torch.ones(2, 1, 1, dtype=torch.float64))

    def log_alpha(self, t):
        return -self.speed * self.expand_times(t)

    def log_sigma(self, t):
        return self.expand_times(t) - 2


# One coefficient's onset after another's, all of them gone before the end.
ONSETS = torch.linspace(0, 0.75, 8, dtype=torch.float64)

# Beside those of the zoo, which tests/degradations/test_laws.py is about.
RIGHT = {
    "README's fog": Fog(SHAPE),
    "pixels that vanish at once": Masked(),
    "a parameter": Learned(),
    "heat as released": HeatDissipation(SHAPE),
    "heat without noise": HeatDissipation(SHAPE, sigma=0.0),
    "a log-SNR of 60": IsotropicDiffusion((1, 2, 3), CosineSchedule(-60.0, 60.0)),
    "sound": HeatDissipation((2, 9), blur_sigma_max=3.0, levels=10),
    "video": HeatDissipation((1, 3, 4, 2), blur_sigma_max=3.0, levels=10),
    "equal SNR": SpectralDiffusion(SHAPE, EqualSNR(SPECTRUM)),
    "flipped SNR": SpectralDiffusion(SHAPE, FlippedSNR(SPECTRUM)),
    "equal variance": GaussianBlur(SHAPE, equal_variance_blur(SPECTRUM, maximum=3.0, levels=8), ConstantNoise(0.01)),
    "cosines that are all gone": SequentialMasking(CosineBasis((1, 4, 8)), ONSETS, duration=0.25),
    "waves that are all gone": SequentialMasking(FourierBasis((1, 4, 8)), ONSETS, duration=0.25),
    "a mask of cosines": ChangedBasis(PixelMask((1, 4, 8)), CosineBasis((1, 4, 8))),
    "a channel that is gone": ChannelGroups(CosineBasis((2, 4, 8)), [HeatFlow((1, 4, 8)), PixelMask((1, 4, 8))]),
    "audio": HeatDissipation((9,), blur_sigma_max=3.0, levels=10),
    "steep": Steep(),
    **KNOWN_ENDS,
}


def test_every_family_is_there():
    kinds = {type(process).__name__ for process in (*RIGHT.values(), *EVERY_PROCESS.values())}
    assert {name for name in families.__all__ if name[0].isupper()} <= kinds
    assert {"WithNoise", "ChangedBasis", "ChannelGroups"} <= kinds


FAST = {
    "README's fog",
    "pixels that vanish at once",
    "a parameter",
    "a channel that is gone",
    "steep",
    "audio",
    "a heat bridge",
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.full) for name in RIGHT])
def test_what_is_right_passes(name):
    names = check_process(RIGHT[name], max_examples=4)
    assert len(names) == len(set(names)) > 30


@pytest.mark.slow
@settings(max_examples=8)
@given(process=processes((1, 2, 3)))
def test_the_strategies_processes_pass_inside_a_hypothesis_test(process):
    check_process(process, max_examples=4)


@settings(max_examples=2)
@given(process=processes_in(CosineBasis((3, 5))))
def test_other_ranks_pass(process):
    check_process(process, max_examples=4)


def test_a_broken_law_is_reported_inside_a_hypothesis_test():
    @settings(max_examples=1, database=None, phases=[Phase.generate])
    @given(st.integers())
    def inside(number):
        check_process(Late())

    with pytest.raises(BrokenLaw, match="the log-SNR never rises"):
        inside()


class Late(LinearGaussianProcess):
    """Wrong only at one coefficient and for t > 0.5."""

    def __init__(self):
        super().__init__(PixelBasis(SHAPE))
        mark = torch.zeros(SHAPE, dtype=torch.float64)
        mark[0, 1, 2] = 1
        self.register_constant("mark", mark)

    def log_alpha(self, t):
        return -self.expand_times(t)

    def log_sigma(self, t):
        return -4 * self.mark * (self.expand_times(t) - 0.5).clamp(min=0)


def test_the_example_is_small_and_names_the_coefficient_the_times_and_the_amount():
    with pytest.raises(BrokenLaw) as caught:
        check_process(Late())
    error = caught.value
    assert error.coefficient == (0, 1, 2)
    assert 0.5 < error.t <= 1
    assert 0 <= error.s < error.t
    # Times shrink to hundredths.
    assert error.t * 100 == pytest.approx(round(error.t * 100), abs=1e-12)
    rise = 8 * (error.t - max(error.s, 0.5)) - 2 * (error.t - error.s)
    assert error.amount == pytest.approx(rise, rel=1e-9)
    words = f"between s = {error.s} and t = {error.t}, at coefficient (0, 1, 2), it rises by {rise:.3g} (from "
    assert words in str(error)


def test_the_report_is_the_same_every_time():
    messages = set()
    for _ in range(2):
        with pytest.raises(BrokenLaw) as caught:
            check_process(Late())
        messages.add(str(caught.value))
    assert len(messages) == 1


class TestFormulas:
    """alpha and sigma as the paper writes them."""

    def test_the_right_ones_hold(self):
        names = check_process(
            IsotropicDiffusion(SHAPE, RectifiedFlowSchedule()), alpha=lambda t: 1 - t, sigma=lambda t: t, max_examples=5
        )
        assert names[-2:] == ("alpha is the given formula", "sigma is the given formula")

    def test_arrays_per_coefficient(self):
        process = Fog(SHAPE)
        check_process(process, alpha=lambda t: (-20 * process.rate * t**2).exp().numpy(), max_examples=5)

    def test_tensors_as_the_process_itself_returns_them(self):
        process = Fog(SHAPE)
        check_process(process, alpha=process.alpha, sigma=process.sigma, max_examples=5)

    def test_what_has_all_but_vanished_is_no_difference(self):
        process = SequentialMasking(PixelBasis(SHAPE), torch.zeros(SHAPE), duration=1.0)
        check_process(process, alpha=lambda t: math.cos(math.pi / 2 * t) ** 1, max_examples=5)

    def test_a_shape_that_does_not_broadcast_is_told(self):
        message = (
            r"the formula given as alpha has shape \(5,\), which does not broadcast to \(2, 3, 4\)\. alpha=\.\.\. is"
        )
        with pytest.raises(BrokenLaw, match=message):
            check_process(Fog(SHAPE), alpha=lambda t: torch.full((5,), t), max_examples=5)

    def test_an_exception_in_it_is_told(self):
        with pytest.raises(BrokenLaw, match="the formula given as sigma raises TypeError") as caught:
            check_process(Fog(SHAPE), sigma=lambda: 1.0, max_examples=5)
        assert isinstance(caught.value.__cause__, TypeError)

    def test_a_number_is_no_formula(self):
        with pytest.raises(Exception, match="alpha must be a function of t|Type-check"):
            check_process(Fog(SHAPE), alpha=0.5)

    def test_sigma_taken_for_its_square_is_caught(self):
        with pytest.raises(
            BrokenLaw, match=r"'sigma is the given formula': at t = 0.0, at .*is 0.02 instead of 0.0004"
        ):
            check_process(Fog(SHAPE), sigma=lambda t: (0.02 * math.exp(t)) ** 2, max_examples=5)

    def test_a_factor_in_one_coefficient_is_caught(self):
        process = Fog(SHAPE)
        scale = torch.ones(SHAPE, dtype=torch.float64)
        scale[1, 0, 1] = 1.01
        with pytest.raises(BrokenLaw, match=r"'alpha is the given formula': .*at coefficient \(1, 0, 1\), alpha\(t\)"):
            check_process(process, alpha=lambda t: (-20 * process.rate * t**2 * scale).exp(), max_examples=10)


class Raising(Late):
    def log_sigma(self, t):
        if t.max() > 0.5:
            msg = "not so\nlate"
            raise KeyError(msg)
        return torch.zeros_like(t)


def test_an_exception_of_the_process_is_reported_with_its_times_and_chained():
    with pytest.raises(BrokenLaw, match=r"at t = 0\.\d+, log_sigma\(t\) raises KeyError: .not so") as caught:
        check_process(Raising())
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.t > 0.5


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="max_examples must be at least 1, got 0"):
        check_process(Fog(SHAPE), max_examples=0)


def test_numbers_that_differ_are_printed_so():
    with pytest.raises(BrokenLaw, match=r"sigma\(t\) is 0\.02 instead of 0\.02000004, off by 4e-08"):
        check_process(Fog(SHAPE), sigma=lambda t: 0.02000004 * math.exp(t), max_examples=5)


def breaking(change):
    """The fog with log_alpha = change(process, t)."""

    class Changed(Fog):
        def log_alpha(self, t):
            return change(self, t)

    return Changed(SHAPE)


def branch(process, t):
    return Fog.log_alpha(process, t) if t < 0.5 else -5 * process.rate


@pytest.mark.parametrize(
    ("change", "what", "advice"),
    [
        (lambda process, t: -process.rate * t.item(), r"log_alpha\(t\) raises RuntimeError", advice.VALUES),
        (branch, r"log_alpha\(t\) raises RuntimeError: Boolean value", advice.VALUES),
        (lambda process, t: -process.rate * math.sin(t), r"log_alpha\(t\) raises \w+: ", advice.VALUES),
        (lambda process, t: -0.5, r"log_alpha\(t\) is a float instead of a tensor", advice.TENSORS),
        (lambda process, t: np.zeros(SHAPE), r"log_alpha\(t\) is a ndarray instead of a tensor", advice.TENSORS),
        (lambda process, t: torch.exp(2.0), r"log_alpha\(t\) raises TypeError: exp", advice.TENSORS),
        (lambda process, t: -process.rate * t, r"log_alpha\(t\) raises RuntimeError: The size of ten", advice.SHAPES),
        (lambda process, t: torch.zeros(9) + t, r"log_alpha\(t\) has shape \(9,\) for t of", advice.SHAPES),
        (lambda process, t: process.rate.to("meta") * process.expand_times(t), r"log_alpha\(t\) r", advice.DEVICES),
        (lambda process, t: process.speed, r"log_alpha\(t\) raises AttributeError", "log_alpha and log_sigma take"),
    ],
)
def test_the_advice_fits_the_mistake(change, what, advice):
    with pytest.raises(BrokenLaw, match=f"'the coefficients broadcast to .*{what}") as caught:
        check_process(breaking(change))
    assert advice in str(caught.value)


def test_a_class_is_no_process():
    with pytest.raises(Exception, match="instance|type|beartype"):
        check_process(Late)


def test_it_changes_neither_the_process_nor_torch_s_state():
    process, state = Fog(SHAPE), torch.get_rng_state()
    before = {name: table.clone() for name, table in process.named_buffers()}
    check_process(process, max_examples=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert all(torch.equal(table, before[name]) for name, table in process.named_buffers())


def test_without_hypothesis_the_import_says_what_to_install():
    script = "import sys; sys.modules['hypothesis'] = None; import unmelt.testing"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pip install 'unmelt[testing]'" in result.stderr.splitlines()[-1]
