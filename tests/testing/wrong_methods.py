"""Processes that override a method wrongly."""

import numpy as np
import torch
from mutants import Sound, mutant

from unmelt.degradations import Independent, Markov, PosteriorCoefficients, SpectralGaussian

# ---- distributions ---------------------------------------------------------------------------------------------------


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


@mutant("samples of the marginal scatter as it says", r"the samples' (mean|variance|correlation)", alone=False)
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


# ---- posteriors ------------------------------------------------------------------------------------------------------


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


# ---- signals ---------------------------------------------------------------------------------------------------------


@mutant("degrade is the mean of the marginal", r"at t = 0\.0, .*degrade\(x, t\) is", alone=False)
class ClampedPicture(Sound):
    def degrade(self, x, *times):
        return tuple(y.clamp(-1, 1) for y in super().degrade(x, *times))


@mutant("corrupt adds noise of width sigma_t", r"at t = 0\.0, .*corrupt\(x, noise, t\) is", alone=False)
class SquaredNoise(Sound):
    def corrupt(self, x, noise, t):
        return super().corrupt(x, noise * self.sigma(t).to(x.dtype), t)


@mutant("paths pass through the marginals", r"the samples' variance, as a share of sigma\^2, is", alone=False)
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


# ---- rates -----------------------------------------------------------------------------------------------------------


@mutant(
    "log_alpha and log_sigma can be differentiated in t", r"derivative of log_alpha is 0 where differences .* give -"
)
class Detached(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t.detach())


@mutant(
    "log_alpha and log_sigma can be differentiated in t", r"derivative of log_alpha is 0 where .*no_grad", alone=False
)
class WithoutGradient(Sound):
    def log_alpha(self, t):
        with torch.no_grad():
            return super().log_alpha(t)


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


PATHS = "paths are correlated as their coupling says"
RATE_TIMES = "rates take a time for each example"
GENERATOR = "random numbers come from the generator"
HELPERS = "times and levels are those of log_alpha and log_sigma"
SIGNALS_ALONE = "methods leave their arguments alone"
LAYOUTS = "methods take signals that lie in memory in any order"
SIGNAL_GRADIENTS = "gradients flow through methods on signals"


@mutant(PATHS, r"Markov\(\)'s path: the correlation of the noises is", alone=False)
class IndependentPath(Sound):
    def sample_path(self, x, times, coupling=None, *, generator=None):
        return torch.stack([self.marginal(x, t).sample(generator=generator) for t in times])


@mutant(PATHS, r"(Deterministic|Independent|Eta|ReverseSDE)\(.*\)'s path: the correlation of the noises is")
class AlwaysMarkovPath(Sound):
    def sample_path(self, x, times, coupling=None, *, generator=None):
        return super().sample_path(x, times, generator=generator)


@mutant(PATHS, r"the correlation of the noises is")
class TiedToTheLast(Sound):
    """Every level is tied to the last one instead of to the next."""

    def sample_path(self, x, times, coupling=None, *, generator=None):
        first, *_, last = times
        ends = super().sample_path(x, [first, last], coupling, generator=generator)
        between = super().sample_path(x, list(times[1:-1]), coupling, generator=generator) if len(times) > 2 else []
        return torch.stack([ends[0], *between, ends[1]])


@mutant(GENERATOR, r"sample_path.*is not the same with the same seed")
class GlobalPath(Sound):
    def sample_path(self, x, times, coupling=None, *, generator=None):
        return super().sample_path(x, times, coupling)


class GlobalNoise(SpectralGaussian):
    def rsample(self, sample_shape=(), *, generator=None):
        return super().rsample(sample_shape)


@mutant(GENERATOR, r"marginal\(x, t\)\.sample.*is not the same with the same seed")
class GlobalMarginal(Sound):
    def marginal(self, x, t):
        q = super().marginal(x, t)
        return GlobalNoise(self.basis, q.spectral_mean, q.spectral_stddev)


@mutant(SIGNALS_ALONE, r"corrupt changes the tensor x that it gets", alone=False)
class CorruptsInPlace(Sound):
    def corrupt(self, x, noise, t):
        x[:] = super().corrupt(x, noise, t)
        return x


@mutant(SIGNALS_ALONE, r"transition changes the tensor z that it gets", alone=False)
class MovesInPlace(Sound):
    def transition(self, z_s, s, t):
        q = super().transition(z_s.clone(), s, t)
        z_s.zero_()
        return q


@mutant(LAYOUTS, r"degrade.*raises RuntimeError: view size.*reshape", alone=False)
class ViewsInDegrade(Sound):
    def degrade(self, x, *times):
        return super().degrade(x.view(len(x), -1).view(x.shape), *times)


@mutant(SIGNAL_GRADIENTS, r"degrade.* gives no gradient.*no_grad")
class DegradesWithoutGradient(Sound):
    @torch.no_grad()
    def degrade(self, x, *times):
        return super().degrade(x, *times)


@mutant(HELPERS, r"as_times\(t\) is .*overrides as_times", alone=False)
class OtherTimes(Sound):
    def as_times(self, t, *, name="t", batch=None):
        return super().as_times(t, name=name, batch=batch) ** 2


@mutant(HELPERS, r"batched_log_sigma\(t\) is .*overrides batched_log_sigma", alone=False)
class OtherBatched(Sound):
    def batched_log_sigma(self, t):
        return super().batched_log_sigma(t) / 2


@mutant(HELPERS, r"at\(t\)\.log_sigma is .*overrides at", alone=False)
class OtherLevel(Sound):
    def at(self, t, *, name="t", batch=None):
        level = super().at(t, name=name, batch=batch)
        return type(level)(self, level.t, level.log_alpha, 2 * level.log_sigma)


@mutant(HELPERS, r"as_times\(1\.5\) .*no error.*overrides as_times")
class AnyTime(Sound):
    def as_times(self, t, *, name="t", batch=None):
        return self.to_schedule_dtype(torch.as_tensor(t, dtype=torch.float64))


@mutant(HELPERS, r"expand_times\(t\) has shape", alone=False)
class TrailingTimes(Sound):
    def expand_times(self, t):
        return torch.as_tensor(t)

    def log_alpha(self, t):
        return -self.decay * (t.reshape(-1, 1, 1, 1) if t.ndim else t)

    def log_sigma(self, t):
        return self.floor + self.growth * (t.reshape(-1, 1, 1, 1) if t.ndim else t)


class Curved(Sound):
    def log_alpha(self, t):
        return super().log_alpha(t) - self.expand_times(t) ** 3


@mutant(RATE_TIMES, r"log_snr_rate\(t\), in a batch of 2 times, is", alone=False)
class RateOfTheFirst(Curved):
    def log_snr_rate(self, t):
        t = self.as_times(t)
        return super().log_snr_rate(t[:1] if t.ndim else t)


@mutant(RATE_TIMES, r"drift\(t\), in a batch of 2 times, is", alone=False)
class DriftOfTheFirst(Curved):
    def drift(self, t):
        t = self.as_times(t)
        return super().drift(float(t[0]) if t.ndim else float(t)).expand(t.numel(), *self.shape)


@mutant("diffusion is g_t^2 = -sigma_t^2 dl_t / dt", r"at t = 0\.0, .*diffusion\(t\) is nan instead of", alone=False)
class UnknownAtZero(Sound):
    def diffusion(self, t):
        return super().diffusion(t) * torch.where(self.expand_times(self.as_times(t)) == 0, torch.nan, 1.0)


@mutant("diffusion is g_t^2 = -sigma_t^2 dl_t / dt", r"at t = (0|1)\.0, .*diffusion\(t\) is 0 instead of", alone=False)
class NothingAtTheEnds(Sound):
    def diffusion(self, t):
        t = self.as_times(t)
        return super().diffusion(t) * self.expand_times(((t > 0) & (t < 1)).double())


@mutant("log_snr_rate is the slope of the log-SNR", r"at t = 1\.0, .*log_snr_rate\(t\) is nan instead of", alone=False)
class UnknownAtOne(Sound):
    def log_snr_rate(self, t):
        t = self.as_times(t)
        return super().log_snr_rate(t) + 0 * self.expand_times(t).sub(1).reciprocal()


@mutant("the posterior has the correlation of its coupling", r"without a coupling.*Markov")
class IndependentByDefault(Sound):
    def posterior(self, z_t, x, s, t, coupling=None):
        return super().posterior(z_t, x, s, t, coupling or Independent())


@mutant(
    "degrade is the mean of the marginal",
    r"TypeError is raised: .* got Level.*isinstance\(t, Level",
    alone=False,
)
class NumbersOnly(Sound):
    def degrade(self, x, *times):
        return super().degrade(x, *[self.as_times(t) for t in times])


@mutant("degrade is the mean of the marginal", r"returns a tensor instead of a tuple of 2 signals", alone=False)
class OneSignal(Sound):
    def degrade(self, x, *times):
        return super().degrade(x, *times)[0]


@mutant("methods leave their arguments alone", r"drift changes the tensor . that it gets|drift changes the tensor")
class DriftInPlace(Sound):
    def drift(self, t):
        rate = super().drift(t)
        t *= 0.5
        return rate


@mutant(RATE_TIMES, r"log_snr_rate\(t\), for \d times, is torch\.float32 instead of torch\.float64", alone=False)
class SingleRate(Sound):
    def log_snr_rate(self, t):
        return super().log_snr_rate(t).float()


class NoVolume(SpectralGaussian):
    def entropy(self):
        return super().entropy() - self._log_volume()


@mutant("log_prob and score are those of N(alpha_t u, sigma_t^2)", r"marginal\(x, t\)\.entropy\(\) is")
class WrongEntropy(Sound):
    def marginal(self, x, t):
        q = super().marginal(x, t)
        return NoVolume(self.basis, q.spectral_mean, q.spectral_stddev)


class TwiceAsFar(SpectralGaussian):
    def kl_divergence(self, other):
        return 2 * super().kl_divergence(other)


@mutant(
    "log_prob and score are those of N(alpha_t u, sigma_t^2)", r"the divergence marginal\(x, t\)\.kl_divergence.* is"
)
class WrongDivergence(Sound):
    def marginal(self, x, t):
        q = super().marginal(x, t)
        return TwiceAsFar(self.basis, q.spectral_mean, q.spectral_stddev)


@mutant(
    "methods on signals take a time for each example", r"posterior_coefficients' \w+, in a batch with two times, is"
)
class CoefficientsOfTheFirst(Sound):
    def posterior_coefficients(self, s, t, coupling):
        s, t = self.as_times(s), self.as_times(t)
        return super().posterior_coefficients(
            s[0].expand_as(s) if s.ndim else s, t[0].expand_as(t) if t.ndim else t, coupling
        )


@mutant("the marginal is N(alpha_t u, sigma_t^2)", r"returns a Normal instead of a SpectralGaussian", alone=False)
class TorchNormal(Sound):
    def marginal(self, x, t):
        q = super().marginal(x, t)
        return torch.distributions.Normal(q.mean, q.spectral_stddev.expand_as(q.mean) + 1e-9)


@mutant("methods on signals take a time for each example", r"score, of a signal in a batch with two times, is")
class ScoreOfTheFirst(Sound):
    def score(self, z_t, x, t):
        return super().score(z_t, x, t[0].expand_as(t) if isinstance(t, torch.Tensor) and t.ndim else t)


@mutant("signals keep their precision", r"degrade makes .* in torch\.bfloat16 of signals .* in torch\.bfloat16")
class HalfOut(Sound):
    def degrade(self, x, *times):
        return tuple(y.to(x.dtype) for y in super().degrade(x, *times))
