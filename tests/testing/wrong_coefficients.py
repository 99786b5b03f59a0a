"""Processes whose log_alpha or log_sigma is wrong."""

import torch
from mutants import SHAPE, Sound, changed, mutant


@mutant("the coefficients do not change by themselves", r"at t = 0\.0, .*log_sigma\(t\), asked again", alone=False)
class Forgetful(Sound):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def log_sigma(self, t):
        self.calls += 1
        return super().log_sigma(t) - 1e-3 / self.calls


@mutant("the coefficients do not change by themselves", "asked again", alone=False)
class Random(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t) - 0.01 * torch.rand(())


@mutant("the coefficients broadcast to (batch, *shape)", r"is a float instead of a tensor", alone=False)
class PlainNumber(Sound):
    def log_sigma(self, t):
        return -2.0


@mutant(
    "the coefficients broadcast to (batch, *shape)", r"shape \(1, 2, 3, 4, 1\) .*does not broadcast to", alone=False
)
class OneAxisTooMany(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t)[None, ..., None] if t.ndim == 0 else super().log_alpha(t)


@mutant(
    "the coefficients broadcast to (batch, *shape)",
    r"log_alpha\(t\) raises RuntimeError: The size of tensor a",
    alone=False,
)
class NotBroadcasting(Sound):
    def log_alpha(self, t):
        return -self.decay * t


@mutant("the times are left alone", r"at t = 0\.01, log_alpha changes the tensor .* becomes 0\.0001\.", alone=False)
class InPlace(Sound):
    def log_alpha(self, t):
        t *= t
        return super().log_alpha(t)


@mutant("every example of a batch has its own time", r"log_sigma, in a batch of \d+ times, is", alone=False)
class MeanTime(Sound):
    def log_sigma(self, t):
        return super().log_sigma(t.mean().expand_as(t))


@mutant("every example of a batch has its own time", r"at coefficient .*log_alpha, in a batch of 4 times, is")
class AccidentalBroadcast(Sound):
    """Right but where the batch is as large as the last axis."""

    def log_alpha(self, t):
        return (-self.decay * t)[None] if t.shape == (4,) else super().log_alpha(t)


@mutant(
    "the coefficients are computed in double precision", r"log_sigma\(t\) is torch\.float32 for t in torch\.float64"
)
class DtypeLost(Sound):
    def log_sigma(self, t):
        return torch.zeros_like(t, dtype=torch.float32)


@mutant("the coefficients are computed in double precision", r"with torch's default dtype set to torch\.float64")
class DefaultDtype(Sound):
    def log_sigma(self, t):
        return (
            torch.full_like(t, torch.tensor(0.1).log().double().item()) if t.ndim else torch.tensor(0.1).log().double()
        )


@mutant("the coefficients are numbers", r"at t = 1\.0, at coefficient \(0, 0, 0\), log_sigma\(t\) is inf", alone=False)
class InfiniteNoise(Sound):
    def log_sigma(self, t):
        return -2 - torch.log1p(-self.expand_times(t))


@mutant("the coefficients are numbers", r"at coefficient \(0, 0, 0\), log_alpha\(t\) is nan", alone=False)
class LogOfNegative(Sound):
    def log_alpha(self, t):
        return torch.log(0.5 - self.expand_times(t))


@mutant("the data is still there at t = 0", r"at t = 0\.0, at coefficient \(1, 2, 3\), alpha is 0 already")
class NeverThere(Sound):
    def log_alpha(self, t):
        return changed(super().log_alpha(t), (1, 2, 3), -torch.inf)


@mutant(
    "log_alpha returns a logarithm",
    r"at t = 0\.0, log_alpha\(t\) is 1 at t = 0 and never below 0, so that alpha is 2\.71828 .*return alpha itself",
    alone=False,
)
class NoLogarithm(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t).exp()


@mutant("the signal is never above its start", r"at t = 1\.0, .*alpha is 1\.\d+, at t = 0 only 1; log alpha, off by")
class Growing(Sound):
    def log_alpha(self, t):
        return 0.5 * self.expand_times(t)

    def log_sigma(self, t):
        return 2 * self.expand_times(t) - 3


@mutant(
    "the log-SNR never rises",
    r"between s = 0\.0 and t = 1\.0, at coefficient \(0, 1, 2\), it rises by 8 \(from \S+ to \S+\)\. A linear-Gau",
    alone=False,
)
class RisingSNR(Sound):
    """Once the SNR rises the library itself refuses transitions, so other laws see it, too."""

    def log_sigma(self, t):
        time = self.expand_times(t)
        return changed(super().log_sigma(t), (0, 1, 2), 0) - 5 * time * (torch.arange(24).reshape(SHAPE) == 6)

    def log_alpha(self, t):
        return -self.expand_times(t) * torch.ones(SHAPE, dtype=torch.float64)

    def __init__(self):
        super().__init__()
        self.growth.zero_()


@mutant("the coefficients change without jumps", r"alpha jumps from .* to .*Interpolate between levels")
class Staircase(Sound):
    def __init__(self):
        super().__init__()
        # On a tread the noise may not fall.
        self.growth.abs_()

    def log_alpha(self, t):
        return super().log_alpha((50 * t).round() / 50 + 0 * t)


@mutant("the coefficients change without jumps", r"between s = 0\.24\d* and t = 0\.2[45]\d*, at .*sigma jumps from")
class OneStep(Sound):
    def log_sigma(self, t):
        return super().log_sigma(t) + 0.01 * (self.expand_times(t) >= 0.25).double()
