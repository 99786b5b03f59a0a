"""Processes that are wrong in one way each: every one is caught by the right law, in the right words."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from unmelt.degradations import (
    CosineBasis,
    LinearGaussianProcess,
    Markov,
    PixelBasis,
    PosteriorCoefficients,
    SpectralGaussian,
)
from unmelt.testing import BrokenLaw, check_process
from unmelt.testing.check import LAWS, check_laws
from unmelt.testing.strategies import Anisotropic

SHAPE = (2, 3, 4)


class Sound(Anisotropic):
    """Right; what it is wrong in is a subclass's."""

    def __init__(self):
        super().__init__(CosineBasis(SHAPE))


@dataclass
class Mutant:
    build: type
    law: str
    message: str
    # No other law sees it.
    alone: bool


MUTANTS = []


def mutant(law, message, *, alone=True):
    def register(build):
        MUTANTS.append(Mutant(build, law, message, alone))
        return build

    return register


def changed(value, index, by):
    """A copy of a tensor of shape (..., *SHAPE) with something added to one coefficient."""
    value = value.expand(*value.shape[:-3], *SHAPE).clone()
    value[(..., *index)] += by
    return value


# ---- coefficients ---------------------------------------------------------------------------------------------------


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


@mutant("every example of a batch has its own time", r"log_sigma, in a batch of . times, is", alone=False)
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
    "the signal starts at most whole",
    r"at t = 0\.0, .*alpha is 2\.71828, more than 1; .*alpha instead of its",
    alone=False,
)
class NoLogarithm(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t).exp()


@mutant("the signal is never above its start", r"at t = 0\.01, .*alpha is 1\.\d+, at t = 0 only 1; log alpha, off by")
class Growing(Sound):
    def log_alpha(self, t):
        return 0.5 * self.expand_times(t)

    def log_sigma(self, t):
        return 2 * self.expand_times(t) - 3


@mutant(
    "the log-SNR never rises",
    r"between s = 0\.0 and t = 0\.01, at coefficient \(0, 1, 2\), it rises by 0\.08 \(from \S+ to \S+\)\. A linear-Gau",
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


# ---- the module -----------------------------------------------------------------------------------------------------


@mutant("copies agree with the original", r"at t = 0\.25, .*of a deepcopy is")
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


@mutant("the process moves to another device as a whole", r"log_alpha\(t\) raises RuntimeError there: .*device")
class StaysBehind(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t) - self.expand_times(t) * torch.arange(4.0, dtype=torch.float64)


@mutant("the process moves to another device as a whole", r"log_sigma\(t\) raises \w+ there")
class ReadsValues(Sound):
    def log_sigma(self, t):
        return super().log_sigma(t if (t >= 0).all() else t.abs())


# ---- the basis ------------------------------------------------------------------------------------------------------


class WrongBasis(Sound):
    """The cosine basis with a pair of functions put around its transforms."""

    def __init__(self):
        LinearGaussianProcess.__init__(self, self.Basis(SHAPE))
        for name, table in Anisotropic(CosineBasis(SHAPE)).named_buffers(recurse=False):
            self.register_constant(name, table)


@mutant(
    "the basis keeps shape and precision",
    r"basis\.forward makes .* in torch\.float64 of .* in torch\.float32",
    alone=False,
)
class Widening(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x * torch.ones(x.shape[-1], dtype=torch.float64, device=x.device)


@mutant("the inverse transform undoes the transform", r"basis\.inverse\(forward\(x\)\).* instead of", alone=False)
class Rolled(WrongBasis):
    class Basis(CosineBasis):
        def synthesise(self, u):
            return super().synthesise(u.roll(1, -1))


@mutant(
    "the basis is orthonormal", r"squared length of two signals after basis\.forward.* is 4 instead of 1", alone=False
)
class Scaled(WrongBasis):
    class Basis(CosineBasis):
        def analyse(self, x):
            return 2 * super().analyse(x)

        def synthesise(self, u):
            return super().synthesise(u / 2)


@mutant("the basis is orthonormal", r"squared length of two signals after basis\.forward", alone=False)
class Sheared(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return torch.cat([x[..., :1] + 0.01 * x[..., 1:2], x[..., 1:]], -1)

        def synthesise(self, u):
            return torch.cat([u[..., :1] - 0.01 * u[..., 1:2], u[..., 1:]], -1)


@mutant("the inverse transform undoes the transform", r"inverse", alone=False)
class Clamping(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x.clamp(-100, 100)


@mutant("the basis transforms each signal of a batch alone", r"basis\.forward, in a batch of 2, is", alone=False)
class Together(WrongBasis):
    class Basis(PixelBasis):
        def analyse(self, x):
            return x if len(x) == 1 else x.flip(-1)

        def synthesise(self, u):
            return u if len(u) == 1 else u.flip(-1)


# ---- distributions --------------------------------------------------------------------------------------------------


@mutant("alpha, sigma and log_snr follow from log_alpha and log_sigma", r"at t = 0\.0, .*, sigma\(t\) is .* instead of")
class SquaredSigma(Sound):
    def sigma(self, t):
        return super().sigma(t) ** 2


@mutant("the marginal is N(alpha_t u, sigma_t^2)", r"at t = 0\.0, .*the width of marginal\(x, t\) is", alone=False)
class SquaredWidth(Sound):
    def marginal(self, x, t):
        q = super().marginal(x, t)
        return SpectralGaussian(self.basis, q.spectral_mean, q.spectral_stddev**2)


class SameNoise(SpectralGaussian):
    def rsample(self, sample_shape=(), *, generator=None):
        return super().rsample((1,), generator=generator).expand(*sample_shape, *self.spectral_mean.shape)


@mutant("samples of the marginal scatter as it says", r"the samples' (mean|variance|correlation)")
class OneDraw(Sound):
    def marginal(self, x, t):
        q = super().marginal(x, t)
        return SameNoise(self.basis, q.spectral_mean, q.spectral_stddev)


@mutant("log_prob and score are those of N(alpha_t u, sigma_t^2)", r"score\(z, x, t\) is")
class ScoreOfNoise(Sound):
    def score(self, z_t, x, t):
        return super().score(z_t, x, t) * 2


@mutant(
    "transitions carry marginals to marginals", r"between s = 0\.0 and t = .*sigma at t, reached through", alone=False
)
class VarianceForWidth(Sound):
    def transition(self, z_s, s, t):
        q = super().transition(z_s, s, t)
        return SpectralGaussian(self.basis, q.spectral_mean, q.spectral_stddev**2)


@mutant("transitions compose", r"from r = .* through s = .* to t = .*the mean at t, through s and not directly")
class Jumping(Sound):
    """Masks: from nothing to nothing it may do what it likes, but the same in one step as in two."""

    def log_alpha(self, t):
        return torch.where(self.expand_times(t) < 0.01, 0.0, -torch.inf).double()

    def log_sigma(self, t):
        return torch.zeros_like(self.expand_times(t))

    def transition(self, z_s, s, t):
        far = torch.as_tensor(t) - torch.as_tensor(s) > 0.3
        q, scale = super().transition(z_s, s, t), self.expand_times(torch.where(far, 0.0, 1.0))
        fresh = (1 - scale) * torch.ones_like(q.spectral_stddev) + scale * q.spectral_stddev
        return SpectralGaussian(self.basis, (scale * q.spectral_mean).to(z_s.dtype), fresh)


# ---- posteriors -----------------------------------------------------------------------------------------------------


@mutant("every coupling keeps the marginals", r"sigma at s, averaged over \w+\(.*\)'s posterior, is")
class TooNarrow(Sound):
    def posterior_coefficients(self, s, t, coupling):
        latent, signal, stddev = super().posterior_coefficients(s, t, coupling)
        return PosteriorCoefficients(latent, signal, 0.9 * stddev)

    def posterior(self, z_t, x, s, t, coupling=None):
        q = super().posterior(z_t, x, s, t, coupling)
        return SpectralGaussian(self.basis, q.spectral_mean, 0.9 * q.spectral_stddev)


@mutant(
    "the posterior has the correlation of its coupling", r"(Deterministic|Independent|Eta)\(.*\)'s posterior: the noise"
)
class AlwaysMarkov(Sound):
    def posterior_coefficients(self, s, t, coupling):
        return super().posterior_coefficients(s, t, Markov())

    def posterior(self, z_t, x, s, t, coupling=None):
        return super().posterior(z_t, x, s, t)


@mutant("the posterior is made of posterior_coefficients", r"the mean of \w+\(.*\)'s posterior is")
class ClampedData(Sound):
    def posterior(self, z_t, x, s, t, coupling=None):
        return super().posterior(z_t, x.clamp(-8, 8), s, t, coupling)


# ---- signals --------------------------------------------------------------------------------------------------------


@mutant("degrade is the mean of the marginal", r"at t = 0\.0, .*degrade\(x, t\) is")
class ClampedPicture(Sound):
    def degrade(self, x, *times):
        return tuple(y.clamp(-1, 1) for y in super().degrade(x, *times))


@mutant("corrupt adds noise of width sigma_t", r"at t = 0\.0, .*corrupt\(x, noise, t\) is")
class SquaredNoise(Sound):
    def corrupt(self, x, noise, t):
        return super().corrupt(x, noise * self.sigma(t).to(x.dtype), t)


@mutant("paths pass through the marginals", r"the samples' variance, as a share of sigma\^2, is")
class NarrowPath(Sound):
    def sample_path(self, x, times, coupling=None, *, generator=None):
        path = super().sample_path(x, times, coupling, generator=generator)
        means = torch.stack(self.degrade(x, *times))
        return means + (path - means) / 2


@mutant("methods on signals take a time for each example", r"degrade, of a signal in a batch with two times, is")
class FirstTime(Sound):
    def degrade(self, x, *times):
        return super().degrade(x, *[t[0] if isinstance(t, torch.Tensor) and t.ndim else t for t in times])


@mutant("signals keep their precision", r"degrade makes .* in torch\.float64 of signals .* in torch\.float32")
class DoubleOut(Sound):
    def degrade(self, x, *times):
        return super().degrade(x.double(), *times)


# ---- rates ----------------------------------------------------------------------------------------------------------


@mutant(
    "log_alpha and log_sigma can be differentiated in t", r"derivative of log_alpha is 0 where differences .* give -"
)
class Detached(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t.detach())


@mutant("log_alpha and log_sigma can be differentiated in t", r"at t = 0\.01, log_alpha\(t\) raises \w+: ", alone=False)
class Numpy(Sound):
    def log_alpha(self, t):
        if t.device.type == "meta":
            return super().log_alpha(t)
        return torch.from_numpy(np.asarray(-t.numpy())).reshape(-1, 1, 1, 1) * self.decay


@mutant("drift is d log alpha_t / dt", r"at t = 0\.01, .*, drift\(t\) is .* instead of")
class DoubleDrift(Sound):
    def drift(self, t):
        return 2 * super().drift(t)


@mutant("log_snr_rate is the slope of the log-SNR", r"at t = 0\.01, .*log_snr_rate\(t\) is")
class HalfRate(Sound):
    def log_snr_rate(self, t):
        return super().log_snr_rate(t) / 2


@mutant("diffusion is g_t^2 = -sigma_t^2 dl_t / dt", r"at t = 0\.01, .*, diffusion\(t\) is .* instead of")
class RootDiffusion(Sound):
    def diffusion(self, t):
        return super().diffusion(t).sqrt()


# ---- the tests ------------------------------------------------------------------------------------------------------


every_mutant = pytest.mark.parametrize("wrong", MUTANTS, ids=lambda wrong: wrong.build.__name__)


@every_mutant
def test_each_is_caught_by_its_law_in_the_right_words(wrong):
    (law,) = (law for law in LAWS if law.name == wrong.law)
    with pytest.raises(BrokenLaw) as caught:
        check_laws(wrong.build(), (law,), 30)
    error = caught.value
    assert error.law == wrong.law
    assert str(error).startswith(f"{wrong.build.__name__} breaks the law '{wrong.law}': ")
    assert re.search(wrong.message, str(error)), str(error)
    # No word of hypothesis's, and none of the library's frames in between but for a user's own exception.
    assert not getattr(error, "__notes__", [])
    assert error.__suppress_context__


@pytest.mark.full
@every_mutant
def test_its_law_is_the_first_that_is_broken(wrong):
    with pytest.raises(BrokenLaw) as caught:
        check_process(wrong.build())
    assert caught.value.law == wrong.law


@pytest.mark.full
@pytest.mark.parametrize("wrong", [m for m in MUTANTS if m.alone], ids=lambda wrong: wrong.build.__name__)
def test_no_other_law_sees_it(wrong):
    others = tuple(law for law in LAWS if law.name != wrong.law)
    assert check_laws(wrong.build(), others, 4) == tuple(law.name for law in others)


def test_every_law_has_a_mutant_and_a_sound_process_breaks_none():
    assert {wrong.law for wrong in MUTANTS} == {law.name for law in LAWS}
    assert check_process(Sound(), max_examples=10) == tuple(law.name for law in LAWS)
