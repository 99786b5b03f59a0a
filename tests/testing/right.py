"""Processes that are right and unusual, by two formulas each: nothing in the laws may refuse them."""

import math

import torch
from torch import nn

from unmelt.degradations import (
    CosineBasis,
    FourierBasis,
    HaarBasis,
    LinearGaussianProcess,
    MatrixBasis,
    PixelBasis,
    ProductBasis,
    SineBasis,
    opponent_colours,
)

SHAPE = (1, 3, 4)


class Formulas(LinearGaussianProcess):
    """Log alpha and log sigma as functions of the expanded time and a table of numbers in (0, 1] per coefficient."""

    def __init__(self, log_alpha, log_sigma, basis=None, levels=None):
        super().__init__(basis or CosineBasis(SHAPE))
        self.formulas, self.levels = (log_alpha, log_sigma), levels
        count = math.prod(self.shape)
        self.register_constant("k", (torch.arange(count, dtype=torch.float64) + 1).reshape(self.shape) / count)

    def log_alpha(self, t):
        return self.formulas[0](self.expand_times(t), self.k)

    def log_sigma(self, t):
        return self.formulas[1](self.expand_times(t), self.k)


class Unexpanded(LinearGaussianProcess):
    """Returns what its formulas make of times as they come, (batch,) or ()."""

    def __init__(self, log_alpha, log_sigma, basis=None):
        super().__init__(basis or CosineBasis(SHAPE))
        self.formulas = log_alpha, log_sigma

    def log_alpha(self, t):
        return self.formulas[0](t)

    def log_sigma(self, t):
        return self.formulas[1](t)


class Learned(LinearGaussianProcess):
    """The monotone network of variational diffusion models (Kingma et al., 2021), for the log-SNR."""

    def __init__(self, dtype=torch.float64):
        super().__init__(CosineBasis(SHAPE))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.slope, self.wide, self.narrow = (
                nn.Parameter(torch.randn(size, dtype=dtype)) for size in ((1, 1), (1, 32), (32, 1))
            )

    def log_snr_of(self, t):
        first = t.reshape(-1, 1) * nn.functional.softplus(self.slope)
        bends = torch.sigmoid(first * nn.functional.softplus(self.wide)) @ nn.functional.softplus(self.narrow).to(
            t.dtype
        )
        return (5 - (first + bends)).reshape(self.expand_times(t).shape)

    def log_alpha(self, t):
        return nn.functional.logsigmoid(self.log_snr_of(t)) / 2

    def log_sigma(self, t):
        return nn.functional.logsigmoid(-self.log_snr_of(t)) / 2


class Table(LinearGaussianProcess):
    """A table of log-SNRs with linear interpolation, level 0 to level K; half of the signal's loss is blur."""

    levels = 7

    def __init__(self):
        super().__init__(CosineBasis(SHAPE))
        self.register_constant("table", torch.tensor([5.0, 4.9, 3.0, 3.0, 0.5, -1.0, -4.0, -4.0], dtype=torch.float64))

    def log_sigma(self, t):
        place = self.expand_times(t) * self.levels
        below = place.detach().floor().long().clamp(max=self.levels - 1)
        return -torch.lerp(self.table[below], self.table[below + 1], place - below) / 2

    def log_alpha(self, t):
        return torch.zeros_like(self.expand_times(t))


class Cached(LinearGaussianProcess):
    """Keeps what it computed, by the very time."""

    def __init__(self):
        super().__init__(PixelBasis(SHAPE))
        self.memory = {}

    def __getstate__(self):
        return {**self.__dict__, "memory": {}}

    def log_alpha(self, t):
        if t.ndim or t.device.type == "meta" or torch.is_grad_enabled() or torch._C._functorch.maybe_current_level():
            return -self.expand_times(t)
        key = float(t)
        if key not in self.memory:
            self.memory[key] = -key
        return torch.full_like(t, self.memory[key])

    def log_sigma(self, t):
        return torch.full_like(self.expand_times(t), -3.0)


def still(t, k):
    """0 at all times."""
    return 0 * t


def constant(value):
    """A constant at all times."""
    return lambda t, k: torch.full_like(t, value)


def normal(t):
    """Times that are not 0."""
    return t.clamp(min=torch.finfo(t.dtype).tiny)


NONE, FADE, NOISE = constant(-torch.inf), lambda t, k: -2 * k * t, lambda t, k: t - 3
FLOW = (lambda t, k: torch.log1p(-t), lambda t, k: normal(t).log())
POWERS = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)

RIGHT = {
    "no noise": Formulas(FADE, NONE),
    "a rate of a million": Formulas(lambda t, k: -1e6 * k * t, constant(-4.0)),
    "no signal from the middle on": Formulas(
        lambda t, k: torch.where(t < 0.5, torch.log1p(-2 * t.clamp(max=0.5)), -torch.inf), NOISE
    ),
    "flat parts": Formulas(lambda t, k: -(t - 0.3).clamp(0, 0.2), lambda t, k: (t - 0.6).clamp(min=0) - 2),
    "all flat": Formulas(still, constant(-2.0)),
    "all flat, without noise": Formulas(still, NONE),
    "all flat, noise as large as data": Formulas(still, still),
    "noise from the data's size on": Formulas(still, lambda t, k: t),
    "noise that shrinks with the signal": Formulas(lambda t, k: -2 * t, lambda t, k: -2 * t - 1),
    "noise that shrinks slower": Formulas(lambda t, k: -3 * k * t, lambda t, k: -2 * k * t - 1),
    "variance exploding": Formulas(still, lambda t, k: math.log(1e-3) + t * math.log(1e7)),
    "sixteen orders of noise": Formulas(still, lambda t, k: math.log(1e-8) + t * math.log(1e16)),
    "Karras' noise": Formulas(still, lambda t, k: 7 * torch.lerp(torch.full_like(t, 0.5), 2.0 + 0 * t, t).log()),
    "very little noise": Formulas(FADE, constant(math.log(1e-12))),
    "data of size a million": Formulas(FADE, lambda t, k: math.log(1e4) + 5 * t),
    "data of 256 grey levels": Formulas(still, lambda t, k: math.log(5.0) + 5 * t),
    "data rescaled to size 1": Formulas(lambda t, k: math.log(1e-6) - t, constant(math.log(0.01))),
    "data times 2": Formulas(lambda t, k: math.log(2.0) - 3 * t, NOISE),
    "data times 2 that stays": Formulas(constant(math.log(2.0)), NOISE),
    "data times 1000": Formulas(lambda t, k: math.log(1000.0) - 5 * k * t, NOISE),
    "data times different numbers": Formulas(lambda t, k: k.log() + 1 - t, NOISE),
    "half of the data from the start": Formulas(lambda t, k: math.log(0.5) - t, NOISE),
    "straight flow": Formulas(*FLOW),
    "ripples": Formulas(lambda t, k: -6 * t + 0.1 * torch.sin(40 * t), lambda t, k: 0.05 * torch.cos(30 * t) - 2),
    "fine ripples": Formulas(lambda t, k: -2 * t, lambda t, k: 1e-4 * torch.sin(3000 * t) - 2),
    "a root at 0": Formulas(lambda t, k: -k * normal(t).sqrt(), lambda t, k: normal(t).log() / 2),
    "a fifth root at 0": Formulas(lambda t, k: -k * normal(t) ** 0.2, NOISE),
    "a ramp of a thousandth": Formulas(lambda t, k: -3 * ((t - 0.4) / 1e-3).clamp(0, 1), NOISE),
    "a ramp of a millionth": Formulas(lambda t, k: -3 * ((t - 0.4) / 1e-6).clamp(0, 1), constant(-2.0)),
    "a ramp of a millionth at an odd time": Formulas(
        lambda t, k: -3 * ((t - 0.412345) / 1e-6).clamp(0, 1) - t, constant(-2.0)
    ),
    "gone at the end": Formulas(lambda t, k: k * torch.log1p(-t), NOISE),
    "gone at the end, noise too": Formulas(lambda t, k: 2 * torch.log1p(-t), lambda t, k: torch.log1p(-t) - 1),
    "gone one after the other": Formulas(
        lambda t, k: torch.where(t < k, 0 * t, -torch.inf), lambda t, k: 0 * t - 2, PixelBasis((2, 2, 3))
    ),
    "a cosine schedule": Formulas(
        lambda t, k: torch.cos(1.5 * t).log(), lambda t, k: torch.sin(1.5 * t.clamp(min=1e-4)).log()
    ),
    "squares that cancel": Formulas(
        lambda t, k: -2 * t - 1e-2, lambda t, k: torch.log(1 - torch.exp(2 * (-2 * t - 1e-2))) / 2
    ),
    "a log-SNR that is cut off": Formulas(
        lambda t, k: nn.functional.logsigmoid((30 - 60 * t).clamp(-10, 10)) / 2,
        lambda t, k: nn.functional.logsigmoid(-(30 - 60 * t).clamp(-10, 10)) / 2,
    ),
    "one level": Formulas(FADE, NOISE, levels=1),
    "ten thousand levels": Formulas(FADE, NOISE, levels=10_000),
    "a table": Table(),
    "one number": Formulas(FADE, NOISE, CosineBasis((1,))),
    "two numbers": Formulas(FADE, NOISE, CosineBasis((2,))),
    "three numbers": Formulas(FADE, NOISE, CosineBasis((3,))),
    "one pixel": Formulas(FADE, NOISE, CosineBasis((1, 1, 1))),
    "one voxel": Formulas(FADE, NOISE, CosineBasis((1, 1, 1, 1))),
    "two channels of one number": Formulas(FADE, NOISE, CosineBasis((2, 1))),
    "a video": Formulas(FADE, NOISE, CosineBasis((1, 2, 3, 2))),
    "a long row of cosines": Formulas(FADE, NOISE, CosineBasis((1, 257))),
    "a long row of sines": Formulas(FADE, NOISE, SineBasis((1, 257))),
    "a long row of waves": Formulas(FADE, NOISE, FourierBasis((1, 257))),
    "wavelets": Formulas(FADE, NOISE, HaarBasis((1, 4, 4))),
    "sines": Formulas(FADE, NOISE, SineBasis(SHAPE)),
    "five axes": Formulas(FADE, NOISE, PixelBasis((2, 1, 2, 1, 2))),
    "a matrix": Formulas(FADE, NOISE, MatrixBasis((3, 2), POWERS)),
    "colours first": Formulas(
        FADE, NOISE, ProductBasis(MatrixBasis((3,), opponent_colours()), CosineBasis((2, 3), axes=2))
    ),
    "numbers for each example": Unexpanded(lambda t: -t, lambda t: t - 3),
    "numbers for all": Unexpanded(
        lambda t: torch.zeros((), dtype=t.dtype, device=t.device),
        lambda t: torch.full((), -2.0, dtype=t.dtype, device=t.device),
    ),
    "a learned log-SNR": Learned(),
    "a learned log-SNR in float32": Learned(torch.float32),
    "a cache": Cached(),
}
