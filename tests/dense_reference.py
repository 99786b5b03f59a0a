"""The whole mathematics once more, from its definitions: what every law is tested against.

A process enters as its matrix V, in float64, and two vectors alpha and sigma, in 60 digits without limits of size. All
covariances of one process are diagonal in V, so that conditioning a joint normal on z_t is conditioning one number on
another: that is done in 60 digits by subtracting squares, as the definitions have it, and only then put between V and
V^T. So nothing has to be inverted but a sigma_t that is not 0, whatever alpha is, and e^-5000 is a number like any
other. Signals are flattened.
"""

from dataclasses import dataclass
from functools import singledispatch

import mpmath as mp
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from unmelt.degradations import Deterministic, Eta, Independent, Markov, ReverseSDE

DIGITS = 60
# A log-SNR that stands still but for rounding makes a variance this far below 0, as a share of sigma^2.
ROUNDING = 1e-9


# Both ends, no time between, and the whole of time.
PAIRS = [(0.0, 0.0), (0.0, 0.3), (0.3, 0.3), (0.2, 0.7), (0.7, 1.0), (0.0, 1.0), (1.0, 1.0)]


@dataclass
class Gaussian:
    """N(mean, covariance) for each row of mean, (batch, n); covariance (n, n) or (batch, n, n)."""

    mean: Tensor
    covariance: Tensor

    def torch(self) -> MultivariateNormal:
        return MultivariateNormal(self.mean, covariance_matrix=self.covariance)


def matrix(basis) -> Tensor:
    """V, its columns the basis functions, from the library's inverse transform of unit vectors."""
    n = torch.Size(basis.shape).numel()
    return basis.inverse(torch.eye(n, dtype=torch.float64).reshape(n, *basis.shape)).reshape(n, n).T


def vectors(process, t: float) -> tuple[Tensor, Tensor]:
    """Alpha and sigma at one time, (n,)."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return tuple(c[0].expand(process.shape).reshape(-1).double() for c in (alpha, sigma))


@singledispatch
def correlation(coupling, markov):
    """Rho of a coupling from that of the Markov chain, the definition of each."""
    msg = f"the reference does not know {coupling!r}: define it here"
    raise NotImplementedError(msg)


@correlation.register
def _(coupling: Markov, markov):
    return markov


@correlation.register
def _(coupling: Deterministic, markov):
    return mp.mpf(1)


@correlation.register
def _(coupling: Independent, markov):
    return mp.mpf(0)


@correlation.register
def _(coupling: Eta, markov):
    """The variance given z_t is eta^2 times the Markov chain's."""
    return mp.sqrt(1 - mp.mpf(coupling.eta) ** 2 * (1 - markov**2))


@correlation.register
def _(coupling: ReverseSDE, markov):
    """Noises forget each other eta^2 times as fast as those of the Markov chain; 0^0 = 1."""
    return markov ** (mp.mpf(coupling.eta) ** 2)


@dataclass
class Pair:
    """One coefficient at two times s <= t."""

    alpha_s: mp.mpf
    sigma_s: mp.mpf
    alpha_t: mp.mpf
    sigma_t: mp.mpf

    @property
    def factor(self):
        """alpha_{t|s}. Where no signal is left any factor carries it on: 1, or less where the noise shrinks."""
        if self.alpha_s > 0:
            return self.alpha_t / self.alpha_s
        return min(mp.mpf(1), self.sigma_t / self.sigma_s) if self.sigma_s else mp.mpf(1)

    @property
    def step_variance(self):
        """sigma_t^2 - alpha_{t|s}^2 sigma_s^2."""
        variance = self.sigma_t**2 - (self.factor * self.sigma_s) ** 2
        assert variance >= -ROUNDING * self.sigma_t**2
        return max(variance, mp.mpf(0))

    def rho(self, coupling):
        """Correlation of the noises. Without noise it is the limit of a small constant one."""
        ratio = self.sigma_s / self.sigma_t if self.sigma_t else mp.mpf(self.sigma_s == 0)
        return correlation(coupling, min(self.factor * ratio, mp.mpf(1)))

    def conditioned(self, coupling):
        """Shares of u_t and u in the mean given both, and the variance. A latent without noise tells nothing of it."""
        rho = self.rho(coupling) if self.sigma_t else mp.mpf(0)
        gain = rho * self.sigma_s / self.sigma_t if self.sigma_t else mp.mpf(0)
        return gain, self.alpha_s - gain * self.alpha_t, self.sigma_s**2 * (1 - rho**2)


class Dense:
    """One process as matrices, and the known end of each signal, (batch, n), where it has one."""

    def __init__(self, process, end: Tensor | None = None) -> None:
        self.process, self.end = process, end
        self.v = matrix(process.basis)

    def share(self, t: float) -> Tensor | float:
        """What z_t has of the known end."""
        if self.end is None:
            return 0.0
        beta = self.process.log_beta(torch.tensor([t], dtype=torch.float64)).exp()
        return self.end @ self.operator(beta.expand(1, *self.process.shape).reshape(-1)).T

    def operator(self, diagonal: Tensor) -> Tensor:
        return self.v @ torch.diag(diagonal) @ self.v.T

    def degradation(self, t: float) -> Tensor:
        return self.operator(vectors(self.process, t)[0])

    def covariance(self, t: float) -> Tensor:
        return self.operator(vectors(self.process, t)[1] ** 2)

    def marginal(self, x: Tensor, t: float) -> Gaussian:
        return Gaussian(x @ self.degradation(t).T + self.share(t), self.covariance(t))

    def transition(self, z_s: Tensor, s: float, t: float) -> Gaussian:
        factor, variance = self._diagonals(s, t, lambda pair: (pair.factor, pair.step_variance))
        mean = (z_s - self.share(s)) @ self.operator(factor).T + self.share(t)
        return Gaussian(mean, self.operator(variance))

    def cross_covariance(self, s: float, t: float, coupling) -> Tensor:
        """Cov(z_s, z_t | x) of the noises."""
        return self.operator(*self._diagonals(s, t, lambda p: (p.rho(coupling) * p.sigma_s * p.sigma_t,)))

    def posterior(self, z_t: Tensor, x: Tensor, s: float, t: float, coupling) -> Gaussian:
        """Condition the joint normal of (z_s, z_t) given x on z_t, which is one that the process can reach."""
        gain, data, variance = self._diagonals(s, t, lambda pair: pair.conditioned(coupling))
        mean = (z_t - self.share(t)) @ self.operator(gain).T + x @ self.operator(data).T + self.share(s)
        return Gaussian(mean, self.operator(variance))

    def _diagonals(self, s: float, t: float, formula) -> list[Tensor]:
        """What a formula makes of each coefficient's pair, each result (n,)."""
        with mp.workdps(DIGITS):
            logs = [self._numbers(log) for at in (s, t) for log in self._logs(at)]
            results = [formula(Pair(*numbers)) for numbers in zip(*logs, strict=True)]
        return [
            torch.tensor([float(number) for number in column], dtype=torch.float64)
            for column in zip(*results, strict=True)
        ]

    def _logs(self, t: float) -> tuple[Tensor, Tensor]:
        at = self.process.at(t)
        return at.log_alpha, at.log_sigma

    def _numbers(self, log: Tensor) -> list:
        return [mp.exp(mp.mpf(number)) for number in log[0].expand(self.process.shape).reshape(-1).tolist()]


def covariance_of(gaussian) -> Tensor:
    """The library's SpectralGaussian as dense covariances, (batch, n, n)."""
    v = matrix(gaussian.basis)
    stddev = gaussian.spectral_stddev.double().expand(gaussian.spectral_mean.shape).flatten(1)
    return v @ torch.diag_embed(stddev**2) @ v.T


# ---- the shared case ----------------------------------------------------------------------------------------------


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)


def rounding(dtype, scale=1.0):
    """What n <= 50 products of numbers up to `scale` are off by, coefficients being good to 1e-11."""
    return max(1e-11, 64 * torch.finfo(dtype).eps) * max(scale, 1.0)


def require_reference(process, coupling, s, t, x, noise, dtype=torch.float64, given=None):
    """Marginal, transition and posterior are the reference's.

    The latent is one that the process can reach: what the posterior is given another is nobody's business where the
    latent has no noise. Coefficients of logarithms up to 5000 are good to 1e-12.
    """
    dense = Dense(process, None if given is None else given.flatten(1))
    end = {} if given is None else {"given": given.to(dtype)}
    z_t = process.corrupt(x, noise, t, given=given)
    sizes = [max(1.0, vectors(process, time)[1].max().item()) for time in (s, t)]
    with_x, with_z = x.to(dtype), z_t.to(dtype)

    q, expected = process.marginal(with_x, t, **end), dense.marginal(x.flatten(1), t)
    close(q.mean.flatten(1), expected.mean, rounding(dtype, 4))
    close(covariance_of(q), expected.covariance.expand(2, -1, -1), rounding(dtype, sizes[1] ** 2))

    q, expected = process.transition(with_x, s, t, **end), dense.transition(x.flatten(1), s, t)
    close(q.mean.flatten(1), expected.mean, rounding(dtype, 4 * expected.mean.abs().max().item()))
    close(covariance_of(q), expected.covariance.expand(2, -1, -1), rounding(dtype, sizes[1] ** 2))

    q = process.posterior(with_z, with_x, s, t, coupling, **end)
    expected = dense.posterior(z_t.flatten(1), x.flatten(1), s, t, coupling)
    # The share of the latent may be large where noise shrinks, and is multiplied by a latent of size sigma_t.
    latent = process.posterior_coefficients(s, t, coupling).latent.max().item()
    close(q.mean.flatten(1), expected.mean, rounding(dtype, 4 * max(latent, 1.0) * sizes[1]))
    close(covariance_of(q), expected.covariance.expand(2, -1, -1), rounding(dtype, sizes[0] ** 2))
