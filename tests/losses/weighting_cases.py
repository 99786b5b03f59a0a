"""Every weighting beside its paper's formula, typed once more, and a denoiser that puts out what it is told."""

import math

import torch
from support import seeded

from unmelt.degradations import PredictEpsilon, PredictPreviousLevel, PredictScore, PredictV, PredictX
from unmelt.losses import (
    BoundWeighting,
    DenoisingLoss,
    EDMWeighting,
    MinSNRWeighting,
    P2Weighting,
    SigmoidWeighting,
    SimpleWeighting,
)
from unmelt.models import AbstractDenoiser
from unmelt.testing.strategies import random_images

SHAPE = (2, 3, 4)
# No alpha_t or sigma_t below 1 / STABLE: an estimate's noise then subtracts numbers up to a thousand times its size and
# divides by a thousandth, so that 1e-16 becomes 1e-10 at most. The weights' own exponentials lose less: exponents are
# below 30 in size.
STABLE = 1e3
RTOL = 1e-10


class Fixed(AbstractDenoiser):
    """Puts out a given prediction of a given estimate of the data."""

    def __init__(self, process, prediction, answer):
        super().__init__(process)
        self.prediction = prediction
        self.answer = answer

    def forward(self, z_t, t, condition=None, given=None):
        raise NotImplementedError

    def output(self, z_t, t, condition=None, given=None):
        return self.answer


def case(process, seed):
    """Data, an estimate of it, and a noise, (2, *shape) each."""
    x, estimate, noise = (random_images(process.shape, seed=seed + i) - 0.5 for i in range(3))
    return x, estimate, noise


def answer_of(prediction, process, x, estimate, noise, t):
    """What a network would put out whose estimate of the data is `estimate`: its target, were that the data.

    The latent stays; the noise that it then holds is another one.
    """
    basis = process.basis
    z = basis.forward(process.corrupt(x, noise, t))
    implied = basis.inverse((z - process.alpha(t) * basis.forward(estimate)) / process.sigma(t))
    return prediction.target(process.at(t), estimate, implied)


def losses_of(weighting, process, predictions, x, estimate, t, seed=7):
    """The losses of `estimate` put out as each prediction, with the noise of one seed."""
    noise = torch.randn(x.shape, generator=seeded(seed), dtype=x.dtype)
    for prediction in predictions:
        denoiser = Fixed(process, prediction, answer_of(prediction, process, x, estimate, noise, t))
        yield DenoisingLoss(denoiser, weighting=weighting)(x, t=t, generator=seeded(seed))


def loss_of(weighting, process, prediction, x, estimate, t):
    return next(losses_of(weighting, process, [prediction], x, estimate, t))


def spectral_square(process, x, estimate):
    """(u - u_hat)^2."""
    return (process.basis.forward(x) - process.basis.forward(estimate)).square()


def snr_of(process, t):
    return (process.alpha(t) / process.sigma(t)).square()


def slope_of(process, t, step=1e-5):
    """-dl/dt by a central difference."""
    return (process.log_snr(t - step) - process.log_snr(t + step)) / (2 * step)


# Each paper's weight on the squared error of the data, per coefficient, typed from the papers.
ON_X = {
    "min SNR": (MinSNRWeighting(2.0), lambda p, t: snr_of(p, t).clamp(max=2.0)),
    "P2": (P2Weighting(0.5, 3.0), lambda p, t: snr_of(p, t) / (3.0 + snr_of(p, t)) ** 0.5),
    "EDM": (
        EDMWeighting(0.7),
        lambda p, t: ((p.sigma(t) / p.alpha(t)) ** 2 + 0.7**2) / (p.sigma(t) / p.alpha(t) * 0.7) ** 2,
    ),
    "x": (SimpleWeighting(PredictX()), lambda p, t: torch.ones(())),
    "epsilon": (SimpleWeighting(PredictEpsilon()), snr_of),
    "score": (SimpleWeighting(PredictScore()), lambda p, t: snr_of(p, t) / p.sigma(t) ** 2),
    "v": (SimpleWeighting(PredictV()), lambda p, t: ((p.alpha(t) ** 2 + p.sigma(t) ** 2) / p.sigma(t)) ** 2),
}
# Weights that hold the log-SNR's rate, which a central difference of step 1e-5 knows to about seven digits.
RATED = {
    "bound": (BoundWeighting(), lambda p, t: snr_of(p, t) * slope_of(p, t) / 2),
    "sigmoid": (
        SigmoidWeighting(-1.0),
        lambda p, t: math.exp(-1) * slope_of(p, t) / 2 * torch.sigmoid(p.log_snr(t) + 1.0),
    ),
}
ALL = {**ON_X, **RATED}
# w over the bound's 1/2 (-dl/dt), as the table of unmelt.losses.weightings.base states it.
RATIO = {
    "min SNR": lambda p, t: 2 * (2.0 / snr_of(p, t)).clamp(max=1.0) / slope_of(p, t),
    "P2": lambda p, t: 2 * (3.0 + snr_of(p, t)) ** -0.5 / slope_of(p, t),
    "EDM": lambda p, t: 2 * (1 + 1 / (0.7**2 * snr_of(p, t))) / slope_of(p, t),
    "x": lambda p, t: 2 / (snr_of(p, t) * slope_of(p, t)),
    "epsilon": lambda p, t: 2 / slope_of(p, t),
    "score": lambda p, t: 2 / (p.sigma(t) ** 2 * slope_of(p, t)),
    "v": lambda p, t: 2 * (p.alpha(t) ** 2 + p.sigma(t) ** 2) ** 2 / p.alpha(t) ** 2 / slope_of(p, t),
    "bound": lambda p, t: torch.ones(()),
    "sigmoid": lambda p, t: torch.sigmoid(-1.0 - p.log_snr(t)),
}
PREDICTIONS = [PredictX(), PredictEpsilon(), PredictV(), PredictScore(), PredictPreviousLevel(levels=7)]


def well_conditioned(process, t, weighting):
    """Whether no conversion loses more than three digits, and the weighting is one for the whole process."""
    if isinstance(weighting, SimpleWeighting) and not (
        process.alpha(1.0).min() > 1 / STABLE and process.sigma(0.0).min() > 1 / STABLE
    ):
        return False  # where measures are refused
    previous = PredictPreviousLevel(levels=7).previous(process.at(t))
    return bool(
        process.alpha(t).min() > 1 / STABLE
        and previous.alpha.min() > 1 / STABLE
        and process.sigma(t).min() > 1 / STABLE
    )


def batch_times(t):
    """Two times near one another, so that a row taken for a column is seen."""
    return torch.tensor([t, 0.9 * t], dtype=torch.float64)
