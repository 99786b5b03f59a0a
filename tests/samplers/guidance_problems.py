"""Gaussian problems of restoration, whose answers dense matrices know: data, an observation and the posterior."""

import torch
from dense_reference import Dense, Gaussian, matrix
from sampler_support import seeded

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    DataSpectrum,
    HeatDissipation,
    IsotropicDiffusion,
    RectifiedFlowSchedule,
)
from unmelt.models import GaussianOracle
from unmelt.samplers.guidance import LinearObservation, OperatorObservation

SHAPE = (2, 4, 4)
LEFT = torch.tensor([True, True, False, False])


PROCESSES = {
    # The highest frequency's log alpha is -4000 at the end.
    "heat": lambda shape: HeatDissipation(shape, blur_sigma_max=24.0, levels=20, sigma=0.05),
    "blurring": lambda shape: BlurringDiffusion(shape, blur_sigma_max=3.0),
    "isotropic": lambda shape: IsotropicDiffusion(shape, CosineSchedule(-10.0, 10.0)),
    "rectified flow": lambda shape: IsotropicDiffusion(shape, RectifiedFlowSchedule()),
}
OBSERVATIONS = {
    "blur": lambda shape, s: LinearObservation.blur(shape, 1.0, noise_std=s),
    "mask": lambda shape, s: LinearObservation.mask(shape, LEFT[: shape[-1]], noise_std=s),
    "blocks": lambda shape, s: LinearObservation.block_means(shape, 2, noise_std=s),
}


def projections(shape, s):
    """Random projections, half as many as there are numbers in a signal."""
    n = torch.Size(shape).numel()
    rows = torch.randn((n // 2, n), generator=seeded(8), dtype=torch.float64) / n**0.5
    return OperatorObservation(
        shape,
        lambda x: x.flatten(1) @ rows.to(x).T,
        lambda y: (y @ rows.to(y)).unflatten(1, shape),
        noise_std=s,
    )


# Of no symmetry, with a negative weight, slanted.
MOTION = torch.tensor([[0.6, 0.3], [-0.1, 0.2]], dtype=torch.float64)
# Diagonal in no basis.
OPERATORS = {
    "motion": lambda shape, s: OperatorObservation.convolution(shape, MOTION, noise_std=s),
    "small": lambda shape, s: OperatorObservation.block_means(shape, 2, noise_std=s),
    "projections": projections,
}
EVERY_OBSERVATION = OBSERVATIONS | OPERATORS


def dense_of(observation):
    """H, (numbers in y, numbers in x): what becomes of unit vectors."""
    n = torch.Size(observation.shape).numel()
    return observation(torch.eye(n, dtype=torch.float64).reshape(n, *observation.shape)).flatten(1).T


class Given:
    """A guided denoiser together with what it is given."""

    def __init__(self, denoiser, y):
        self.denoiser, self.y = denoiser, y

    def __call__(self, z, t):
        return self.denoiser(z, t, given=self.y)

    def rows(self, rows):
        return Given(self.denoiser, self.y[rows])

    def spread(self, t, **settings):
        return self.denoiser.spread(self.denoiser.process.at(t), **settings)


class Problem:
    """Gaussian data, diagonal in a process's basis, and a noisy observation of each of three examples."""

    def __init__(self, process, observation, *, batch=3):
        self.process, self.observation = process, observation
        self.mean = torch.randn(process.shape, generator=seeded(1), dtype=torch.float64)
        self.variance = 0.05 + torch.rand(process.shape, generator=seeded(2), dtype=torch.float64)
        self.oracle = GaussianOracle(process, self.mean, self.variance)
        self.x = self.oracle.sample(batch, generator=seeded(3))
        self.y = observation.observe(self.x, generator=seeded(4))
        self.dense = Dense(process)
        if isinstance(observation, LinearObservation):
            w = matrix(observation.basis)
            self.h = w @ torch.diag(observation.gain.flatten()) @ w.T
        else:
            self.h = dense_of(observation)
        self.m, self.p = self.dense.v @ self.mean.flatten(), self.dense.operator(self.variance.flatten())

    @classmethod
    def named(cls, process, observation, noise_std=0.1):
        return cls(PROCESSES[process](SHAPE), EVERY_OBSERVATION[observation](SHAPE, noise_std))

    @property
    def spectrum(self):
        return DataSpectrum(self.process.basis, self.mean, self.variance, 100)

    def latents(self, t):
        return self.process.corrupt(self.x, torch.randn(self.x.shape, generator=seeded(5), dtype=torch.float64), t)

    def guided(self, kind, **changed):
        """Return the guided denoiser, given the problem's own observation unless it is given another."""
        y = changed.pop("y", self.y)
        chosen = {"variance": self.variance, "denoiser": self.oracle} | changed
        return Given(kind(observation=self.observation, **chosen), y)

    def given_latent(self, z, t, visible=slice(None)):
        """The distribution of x given z_t and y, by conditioning the joint normal of all three; `z` None is y alone.

        Of y only the numbers that are `visible` are used.
        """
        h = self.h[visible]
        seen, values = [h], [self.y.flatten(1)[:, visible]]
        noise = [self.observation.noise_std**2 * torch.eye(len(h), dtype=torch.float64)]
        if z is not None:
            seen.append(self.dense.degradation(t))
            values.append(z.flatten(1))
            noise.append(self.dense.covariance(t))
        b = torch.cat(seen)
        # Where nothing is known of a row of b, neither signal nor noise, the inverse is the pseudo-inverse.
        inverse = torch.linalg.pinv(b @ self.p @ b.T + torch.block_diag(*noise), rtol=1e-13, hermitian=True)
        gain = self.p @ b.T @ inverse
        return Gaussian(self.m + (torch.cat(values, 1) - b @ self.m) @ gain.T, self.p - gain @ b @ self.p)


SMALL = (1, 2, 4)


def small_problem(process, observation):
    made = {
        "heat": lambda: HeatDissipation(SMALL, blur_sigma_max=3.0, levels=20, sigma=0.2),
        "blurring": lambda: BlurringDiffusion(SMALL, blur_sigma_max=1.0, schedule=CosineSchedule(-6.0, 6.0)),
        "isotropic": lambda: IsotropicDiffusion(SMALL, CosineSchedule(-6.0, 6.0)),
    }
    return Problem(made[process](), EVERY_OBSERVATION[observation](SMALL, 0.3))


def limit_of_samples(problem):
    """What many steps lead to: the posterior's mean, and its covariance less the part that z_0 leaves open."""
    posterior = problem.given_latent(None, None)
    left = problem.given_latent(problem.latents(0.0), 0.0).covariance
    return posterior.mean[0], posterior.covariance - left
