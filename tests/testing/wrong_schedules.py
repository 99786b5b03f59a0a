"""Processes whose schedule is wrong in time: a table's bad entry, a forgotten logarithm, caches, rounding."""

import math

import torch
from mutants import SHAPE, Sound, mutant

OF_ALPHA, OF_SIGMA = "log_alpha returns a logarithm", "log_sigma returns a logarithm"
RANGE = "the coefficients are numbers"
PRECISION = "the coefficients are computed in double precision"
AFRESH = "each time is computed afresh"
FALLS = "the log-SNR never rises"
SHAPES = "the coefficients broadcast to (batch, *shape)"


class Table(Sound):
    """Interpolates linearly between the levels of a table of log sigma; log alpha is 0."""

    levels = 50

    def __init__(self):
        super().__init__()
        self.register_constant("table", self.entries(torch.linspace(-4, 0, self.levels + 1, dtype=torch.float64)))

    def entries(self, table):
        return table

    def log_alpha(self, t):
        return torch.zeros_like(t)

    def log_sigma(self, t):
        place = self.expand_times(t) * self.levels
        below = place.detach().floor().long().clamp(max=self.levels - 1)
        return torch.lerp(self.table[below], self.table[below + 1], place - below)


@mutant(
    FALLS,
    r"between s = 0\.62 and t = 0\.64, at coefficient .*, it rises by 0\.056 .*, level 31 to level 32 of 50\. A lin",
    alone=False,
)
class OneBadEntry(Table):
    def entries(self, table):
        table[32] = table[31] - 0.028
        return table


@mutant(FALLS, r"between s = 0\.732 and t = 0\.733, .* it rises by 0\.4.*level 732 to level 733 of 1000", alone=False)
class OneBadEntryOfAThousand(Table):
    levels = 1000

    def entries(self, table):
        table[733] -= 0.204
        return table


@mutant(FALLS, r"between s = 0\.6\d* and t = 0\.6\d*, at coefficient .*, it rises by [345]\.", alone=False)
class NarrowDip(Sound):
    """Sigma falls to a tenth and comes back within a thousandth of time."""

    def log_alpha(self, t):
        return torch.zeros_like(t)

    def log_sigma(self, t):
        dip = (1 - (t - 0.61234).abs() / 5e-4).clamp(min=0)
        return -1 + t + math.log(0.1) * dip


@mutant(FALLS, r"between s = 0\.\d+ and t = 0\.\d+, .*it rises by \d\S*e-1[012] .*rounding", alone=False)
class Cancelling(Sound):
    """A difference of equal numbers, which are not computed equally."""

    def log_alpha(self, t):
        return torch.zeros_like(t)

    def log_sigma(self, t):
        return -2 + 1e6 * (0.1 * t * 3 - 0.3 * t)


@mutant(
    OF_SIGMA,
    r"log_sigma\(t\) is 0\.01 at t = 0, so that sigma is 1\.01005, .*Did log_sigma return sigma itself.*\.log\(\)",
)
class SigmaForLogSigma(Sound):
    def log_sigma(self, t):
        return torch.full_like(t, 0.01)


@mutant(OF_SIGMA, r"log_sigma\(t\) is 0\.01 at t = 0, .*Did log_sigma return sigma itself")
class RisingSigmaForLogSigma(Sound):
    def log_sigma(self, t):
        return 0.01 * 100**t


@mutant(OF_SIGMA, r"log_sigma\(t\) is 0\.0001 at t = 0, .*Did log_sigma return sigma itself")
class VarianceForLogSigma(Sound):
    def log_sigma(self, t):
        return torch.full_like(t, 0.01**2)


@mutant(OF_SIGMA, r"log_sigma\(t\) itself is 1 - alpha_t at all times.*Did log_sigma return sigma itself")
class FlowWithoutLogarithm(Sound):
    def log_alpha(self, t):
        return torch.log1p(-t)

    def log_sigma(self, t):
        return t + 0


@mutant(OF_SIGMA, r"log_sigma\(t\) itself is sqrt\(1 - alpha_t\^2\) at all times.*Did log_sigma return sigma itself")
class CosineWithoutLogarithm(Sound):
    def log_alpha(self, t):
        return torch.cos(math.pi / 2 * t).log()

    def log_sigma(self, t):
        return torch.sin(math.pi / 2 * t)


@mutant(OF_SIGMA, r"log_sigma\(t\) itself is 1 - alpha_t\^2 at all times.*or its square")
class SquareWithoutLogarithm(Sound):
    def log_alpha(self, t):
        return torch.cos(math.pi / 2 * t).log()

    def log_sigma(self, t):
        return torch.sin(math.pi / 2 * t) ** 2


@mutant(OF_ALPHA, r"log_alpha\(t\) is 1 at t = 0 and never below 0.*Did log_alpha return alpha itself.*\.log\(\)")
class AlphaForLogAlpha(Sound):
    """Of a sigma that is right."""

    def log_alpha(self, t):
        return torch.cos(1.5 * t)

    def log_sigma(self, t):
        return -2 + t


@mutant(RANGE, r"at t = 0\.\d+, .*sigma is e\^[\d.]+, and signals in float32 end at e\^88.*step index", alone=False)
class StepIndex(Sound):
    def log_sigma(self, t):
        return 1000 * t - 4


@mutant(RANGE, r"at t = 1\.0, .*log_sigma\(t\) is 900: .*signals in float32 end at e\^88", alone=False)
class Enormous(Sound):
    def log_sigma(self, t):
        return torch.where(t == 1, 900.0, -2.0 + 0 * t)


@mutant(RANGE, r"log_alpha\(t\) is nan.*point-symmetric.*LinearObservation", alone=False)
class BoxBlur(Sound):
    """The eigenvalues of a box are cosines' sums, some of them negative."""

    def log_alpha(self, t):
        places = torch.arange(4, dtype=torch.float64, device=t.device)
        box = (1 + 2 * torch.cos(math.pi * places)) / 3
        return torch.log(1 - self.expand_times(t) * (1 - box))


@mutant(SHAPES, r"log_alpha\(t\) is complex: torch\.complex128.*point-symmetric.*LinearObservation", alone=False)
class OneSidedBlur(Sound):
    """The eigenvalues of a one-sided kernel are complex."""

    def log_alpha(self, t):
        kernel = torch.tensor([0.7, 0.3, 0.0, 0.0], dtype=torch.float64, device=t.device)
        return self.expand_times(t) * torch.fft.fft(kernel).log()


@mutant(SHAPES, r"log_alpha\(t\) raises IndexError: index 10.*t = 1 is level K.*K \+ 1 entries", alone=False)
class ShortTable(Sound):
    """A level table without level 0."""

    def log_alpha(self, t):
        table = torch.linspace(0, -2, 10, dtype=torch.float64)
        place = self.expand_times(t) * 10
        return table[place.long()] + 0 * place


@mutant(SHAPES, r"log_sigma\(t\) raises IndexError: .*t = 1 is level K.*K \+ 1 entries", alone=False)
class NextLevel(Table):
    """Asks for the level after the last."""

    def log_sigma(self, t):
        place = self.expand_times(t) * self.levels
        below = place.detach().floor().long()
        return torch.lerp(self.table[below], self.table[below + 1], place - below)


@mutant(
    AFRESH,
    r"log_alpha\(.*\), asked after log_alpha\(.*\), is -\S+, its value there, instead of -\S+, off by .*cache",
    alone=False,
)
class RoundedCache(Sound):
    def __init__(self):
        super().__init__()
        self.cache = {}

    def __getstate__(self):
        return {**self.__dict__, "cache": {}}

    def log_alpha(self, t):
        if t.ndim or t.device.type != "cpu":
            return super().log_alpha(t)
        key = round(float(t), 2)
        if key not in self.cache:
            self.cache[key] = Holder(super().log_alpha(t))
        return self.cache[key].value()


class Holder:
    """Hides a tensor from the law that looks for them."""

    def __init__(self, value):
        self.value = lambda: value


@mutant(PRECISION, r"log_alpha\(t\) .*does not follow t.*\.float\(\)", alone=False)
class FloatTimesThenDouble(Sound):
    def log_alpha(self, t):
        return (-self.decay.float() * self.expand_times(t).float() ** 2).double()


@mutant(PRECISION, r"log_sigma\(t\) .*does not follow t.*\.float\(\)", alone=False)
class FloatTimes(Sound):
    def log_sigma(self, t):
        return self.floor + self.growth * self.expand_times(t).float()


@mutant(PRECISION, r"log_sigma\(t\) .*does not follow t.*\.float\(\)", alone=False)
class FloatResult(Sound):
    """Only the last operation is in float32, and only a part of the result."""

    def log_sigma(self, t):
        return super().log_sigma(t) + (0.3 * torch.sin(3 * self.expand_times(t))).float().double()


@mutant(PRECISION, r"log_alpha\(t\) is torch\.float32 .*torch\.where\(c, -torch\.inf, 0\.0\)", alone=False)
class WhereOfNumbers(Sound):
    def log_alpha(self, t):
        return torch.where(self.expand_times(t) > 0.5, -torch.inf, 0.0)


@mutant("every example of a batch has its own time", r"log_sigma, in a batch of 257 times, is", alone=False)
class LargeBatches(Sound):
    def log_sigma(self, t):
        return super().log_sigma(t) - (0.1 if t.ndim and len(t) > 100 else 0.0)


@mutant(
    "the coefficients change without jumps", r"between s = 0\.4\d* and t = 0\.4\d*, .*alpha jumps from", alone=False
)
class SmallStep(Sound):
    """A thousandth of alpha at once, at an odd time."""

    def log_alpha(self, t):
        return super().log_alpha(t) - 1e-3 * (self.expand_times(t) >= 0.41234567).double()

    def __init__(self):
        super().__init__()
        self.growth.abs_()


@mutant("the data is still there at t = 0", r"at t = 0\.0, .*alpha is 0 already", alone=False)
class BackToFront(Sound):
    """A mask counted backwards."""

    def log_alpha(self, t):
        t = self.expand_times(t)
        return torch.where(t > 0.5, torch.zeros_like(t), -torch.inf)


# ---- levels ---------------------------------------------------------------------------------------------------------


class WrongLevels(Sound):
    """`levels` as a property, which nothing looks at before."""

    value: object = None

    @property
    def levels(self):
        return self.value


LEVELS = "levels is a whole number, or None"
for value in (10.5, 0, -3, "50", True):
    build = type("WrongLevels", (WrongLevels,), {"value": value})
    mutant(LEVELS, rf"levels must be .*got '?{value}'?.*level k is time k / levels", alone=False)(build)


@mutant("the shape is that of the basis", r"process\.shape is \[2, 3, 4\] instead of \(2, 3, 4\)", alone=False)
class ListOfSizes(Sound):
    @property
    def shape(self):
        return [*self.basis.shape]


# ---- what a call must leave alone -----------------------------------------------------------------------------------


@mutant("tables are left alone", r"log_alpha changes the table decay", alone=False)
class ChangesItsTable(Sound):
    def log_alpha(self, t):
        rate = self.decay
        rate *= 1.001
        return -rate * self.expand_times(t)


@mutant("tables are made in the constructor", r"log_alpha makes the table late")
class MakesItsTableLate(Sound):
    def log_alpha(self, t):
        if not hasattr(self, "late"):
            self.register_constant("late", -self.decay)
        return self.late * self.expand_times(t)


@mutant("random numbers are left alone", r"log_sigma changes the state of torch's random numbers", alone=False)
class Seeding(Sound):
    def __init__(self):
        super().__init__()
        self.name = "a name that its __init__ gave"

    def log_sigma(self, t):
        torch.manual_seed(0)
        return super().log_sigma(t) - 0.1 * torch.rand(SHAPE).double()
