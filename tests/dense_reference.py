"""The whole mathematics once more, as dense float64 matrices: what every law is tested against.

Nothing here uses logarithms, bases or broadcasting of the library's. A process enters as its matrix V and two vectors
alpha and sigma; everything else is linear algebra on n x n matrices. Signals are flattened.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal


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


class Dense:
    """One process as matrices."""

    def __init__(self, process) -> None:
        self.process = process
        self.v = matrix(process.basis)

    def operator(self, diagonal: Tensor) -> Tensor:
        return self.v @ torch.diag(diagonal) @ self.v.T

    def degradation(self, t: float) -> Tensor:
        return self.operator(vectors(self.process, t)[0])

    def covariance(self, t: float) -> Tensor:
        return self.operator(vectors(self.process, t)[1] ** 2)

    def marginal(self, x: Tensor, t: float) -> Gaussian:
        return Gaussian(x @ self.degradation(t).T, self.covariance(t))

    def transition_matrices(self, s: float, t: float) -> tuple[Tensor, Tensor]:
        """A_{t|s} = A_t A_s^-1 and Sigma_t - A_{t|s} Sigma_s A_{t|s}^T."""
        step = self.degradation(t) @ torch.linalg.inv(self.degradation(s))
        return step, self.covariance(t) - step @ self.covariance(s) @ step.T

    def transition(self, z_s: Tensor, s: float, t: float) -> Gaussian:
        step, covariance = self.transition_matrices(s, t)
        return Gaussian(z_s @ step.T, covariance)

    def cross_covariance(self, s: float, t: float, coupling) -> Tensor:
        """Cov(z_s, z_t | x) of the noises, from each coupling's definition."""
        sigma_s, sigma_t = vectors(self.process, s)[1], vectors(self.process, t)[1]
        name = type(coupling).__name__
        markov = self.covariance(s) @ self.transition_matrices(s, t)[0].T
        if name == "Markov":
            return markov
        if name == "Deterministic":
            return self.operator(sigma_s * sigma_t)
        if name == "Independent":
            return torch.zeros_like(self.v)
        # Eta: rho^2 = 1 - eta^2 (1 - rho_Markov^2), between the two extremes.
        rho_markov = torch.diagonal(self.v.T @ markov @ self.v) / (sigma_s * sigma_t)
        rho = (1 - coupling.eta**2 * (1 - rho_markov**2)).sqrt()
        return self.operator(rho * sigma_s * sigma_t)

    def posterior(self, z_t: Tensor, x: Tensor, s: float, t: float, coupling) -> Gaussian:
        """Condition the joint normal of (z_s, z_t) given x on z_t."""
        cross = self.cross_covariance(s, t, coupling)
        gain = torch.linalg.solve(self.covariance(t), cross.T).T
        mean = self.marginal(x, s).mean + (z_t - self.marginal(x, t).mean) @ gain.T
        return Gaussian(mean, self.covariance(s) - gain @ cross.T)


def covariance_of(gaussian) -> Tensor:
    """The library's SpectralGaussian as dense covariances, (batch, n, n)."""
    v = matrix(gaussian.basis)
    stddev = gaussian.spectral_stddev.double().expand(gaussian.spectral_mean.shape).flatten(1)
    return v @ torch.diag_embed(stddev**2) @ v.T
