"""What maps or draws examples does so for none of them too; tests of refusals have what needs one."""

import pytest
import torch
from support import SHAPE, draw
from zoo import EVERY_PROCESS

from unmelt.degradations import BlurringDiffusion
from unmelt.models import (
    DegradedDataPrior,
    DiscretisedGaussianDecoder,
    EmpiricalOracle,
    GaussianDecoder,
    GaussianOracle,
    GaussianPrior,
    GreyLevels,
    LowRankGaussianPrior,
    MixtureOracle,
    OraclePrior,
)
from unmelt.samplers import Adaptive, Heun, Multistep, Posterior, PredictorCorrector, Sampler, encode

NONE = torch.empty(0, *SHAPE)
DATA = draw(SHAPE, batch=8)
PROCESS = BlurringDiffusion(SHAPE, blur_sigma_max=3.0)
ORACLES = [
    EmpiricalOracle(PROCESS, DATA),
    GaussianOracle(PROCESS, DATA[0], DATA[1].square()),
    MixtureOracle(PROCESS, torch.ones(3), DATA[:3], DATA[3:6].square()),
]
PRIORS = [
    OraclePrior(ORACLES[0]),
    *[prior.fit(PROCESS, DATA) for prior in (DegradedDataPrior, GaussianPrior, LowRankGaussianPrior)],
]
STEPPERS = [Posterior(), Multistep(), Heun(eta=1.0), PredictorCorrector(), Adaptive()]
named = {"ids": lambda part: type(part).__name__}


@pytest.mark.parametrize("process", EVERY_PROCESS.values(), ids=EVERY_PROCESS.keys())
def test_processes(process):
    none = torch.empty(0, *process.shape)
    # One result for each time, whatever the batch.
    assert [z.shape for z in process.degrade(none, 0.1, 0.2, torch.zeros(0))] == [none.shape] * 3
    assert process.corrupt(none, none, 0.5).shape == none.shape
    assert process.posterior(none, none, 0.4, 0.5).sample((2,)).shape == (2, *none.shape)


@pytest.mark.parametrize("oracle", ORACLES, **named)
def test_oracles(oracle):
    assert oracle.sample(0).shape == oracle(NONE, 0.5).shape == oracle.jacobian_diagonal(NONE, 0.5).shape == NONE.shape
    assert oracle.log_prob(NONE, 0.5).shape == (0,)


@pytest.mark.parametrize("prior", PRIORS, **named)
def test_priors(prior):
    assert prior.sample(0).shape == NONE.shape
    assert prior.log_prob(NONE).shape == prior.divergence(PROCESS.marginal(NONE, 1.0)).shape == (0,)


@pytest.mark.parametrize("kind", [GaussianDecoder, DiscretisedGaussianDecoder])
def test_decoders(kind):
    decoder = kind(PROCESS, grey_levels=GreyLevels(256, 0.0, 1.0))
    assert decoder.negative_log_likelihood(decoder.prepare(NONE), NONE, 0.5).shape == (0,)


@pytest.mark.parametrize("stepper", STEPPERS, **named)
def test_steps(stepper):
    assert Sampler(ORACLES[1], stepper).step(NONE, 0.5, 0.4).shape == NONE.shape


def test_encoding():
    assert encode(Sampler(ORACLES[1], Adaptive()), NONE, t=0.1).shape == NONE.shape
