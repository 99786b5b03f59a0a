"""Processes that are wrong as modules: tables, copies, devices."""

import torch
from mutants import SHAPE, Sound, mutant
from torch import nn


@mutant("copies agree with the original", r"at t = 0\.25, .*of a deepcopy is", alone=False)
class DroppedByCopies(Sound):
    def __init__(self):
        super().__init__()
        self.speed = 1.0

    def __getstate__(self):
        return {**self.__dict__, "speed": 0.5}

    def log_alpha(self, t):
        return self.speed * super().log_alpha(t)


@mutant("every tensor is a table", r"the attribute scales\['rows'\]\[1\] is a plain tensor.*register_constant")
class PlainTensor(Sound):
    def __init__(self):
        super().__init__()
        self.scales = {"rows": (1.0, torch.tensor(2.0))}


@mutant("every tensor is a table", r"the buffer speed is in the state_dict\. Use register_constant")
class SavedTable(Sound):
    def __init__(self):
        super().__init__()
        self.register_buffer("speed", torch.ones(SHAPE, dtype=torch.float64))

    def log_alpha(self, t):
        return self.speed * super().log_alpha(t)


@mutant("rounding a model leaves its process alone", r"log_alpha\(t\) of the process after \.half\(\) is")
class RoundedByHalf(Sound):
    def __init__(self):
        super().__init__()
        self.inner = nn.Module()
        self.inner.register_buffer("speed", torch.tensor(1.123456789, dtype=torch.float64), persistent=False)

    def log_alpha(self, t):
        return self.inner.speed.double() * super().log_alpha(t)


@mutant(
    "rounding a model leaves its process alone",
    r"the process after \.to\(torch\.float32\) is None\. Do not override to",
    alone=False,
)
class MovesItself(Sound):
    def to(self, *args, **kwargs):
        super().to(*args, **kwargs)


@mutant("the process moves to another device as a whole", r"log_alpha\(t\) raises RuntimeError there: .*device")
class StaysBehind(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t) - self.expand_times(t) * torch.arange(4.0, dtype=torch.float64)


@mutant("the process moves to another device as a whole", r"log_sigma\(t\) raises \w+ there")
class ReadsValues(Sound):
    def log_sigma(self, t):
        return super().log_sigma(t if (t >= 0).all() else t.abs())


@mutant("training mode leaves the process alone", r"log_sigma\(t\) after \.eval\(\) is")
class OnlyInTraining(Sound):
    def log_sigma(self, t):
        return super().log_sigma(t) - (0.1 if self.training else 0.0)


class Learned(Sound):
    def __init__(self):
        super().__init__()
        self.speed = nn.Parameter(torch.ones((), dtype=torch.float64))


GRADIENTS = "gradients reach the times and the parameters"


@mutant(GRADIENTS, r"the parameter speed gets no gradient.*__init__")
class ReadOnce(Learned):
    def __init__(self):
        super().__init__()
        self.register_constant("rate", self.speed.detach() * self.decay)

    def log_alpha(self, t):
        return -self.rate * self.expand_times(t)


@mutant(GRADIENTS, r"the parameter speed gets no gradient")
class ReadByData(Learned):
    def log_alpha(self, t):
        return self.speed.data * super().log_alpha(t)


@mutant(GRADIENTS, r"the gradient of log_sigma in the parameter speed is nan")
class GradientOfMinusInfinity(Learned):
    """The root of a number that may be 0: torch.where hides the value, not its gradient."""

    def log_sigma(self, t):
        time = self.expand_times(t)
        return super().log_sigma(t) + torch.where(time < 0, (0 * self.speed).sqrt(), 0 * time)


class Doubled(torch.autograd.Function):
    """The identity, whose slope is 2 in forward mode."""

    @staticmethod
    def forward(t):
        return t.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clone()

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * tangent

    @staticmethod
    def vmap(info, dims, t):
        return t.clone(), dims[0]


@mutant(GRADIENTS, r"the gradient of log_alpha in t, summed over coefficients, is")
class OtherForwards(Sound):
    def log_alpha(self, t):
        return super().log_alpha(Doubled.apply(t))


@mutant("copies agree with the original", r"agrees_with.* is True for another process")
class AgreesWithAll(Sound):
    def agrees_with(self, other):
        return True
