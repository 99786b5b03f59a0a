"""Networks that predict the previous level: a word, once, where they are asked for other steps than their own."""

import math
import re
import warnings

import pytest
import torch
from sampler_support import SHAPE, data_prior, heat, latents, made, seeded, soft

from unmelt.degradations import (
    CosineSchedule,
    Eta,
    Independent,
    IsotropicDiffusion,
    PixelBasis,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.losses import ELBO, FlowLikelihood
from unmelt.models import ConstantStd, OffLevelsWarning, StandardNormalPrior
from unmelt.samplers import (
    LogSNRGrid,
    Multistep,
    Posterior,
    PredictorCorrector,
    Sampler,
    UniformGrid,
)
from unmelt.samplers.guidance import DiffusionPosteriorSampling, LinearObservation

LEVELS = 200
HEAT = heat(LEVELS)
PREVIOUS = soft(HEAT, PredictPreviousLevel())
OWN = Posterior(Independent(), ConstantStd(0.025))
REMEDY = r"Step through all of its levels.*UniformGrid\(200\), or train a network that predicts x"


def sampler(stepper, grid=None, denoiser=PREVIOUS):
    return Sampler(denoiser, stepper, grid=grid, prior=data_prior(denoiser.process))


@pytest.mark.parametrize(
    ("stepper", "grid", "asked"),
    [
        (OWN, UniformGrid(20), "a grid of 20 steps, not one for each of its 200 levels: expect"),
        (OWN, UniformGrid(400), "a grid of 400 steps, not one for each of its 200 levels: expect"),
        # As many, but elsewhere.
        (OWN, LogSNRGrid(200), "a grid of 200 steps, not one for each of its 200 levels: expect"),
        (None, None, r"for steps of Posterior\(Markov\(\)\) instead of independent ones: expect"),
        (Posterior(Eta(0.5)), None, r"for steps of Posterior\(Eta\(eta=0.5\)\) instead of independent ones: expect"),
        (PredictorCorrector(OWN), None, "for steps of PredictorCorrector instead of independent ones: expect"),
        (Multistep(), UniformGrid(20), "a grid of 20 steps.*, and for steps of Multistep instead of independent ones"),
    ],
    ids=str,
)
def test_it_says_what_is_asked_and_what_to_do(stepper, grid, asked):
    with pytest.warns(OffLevelsWarning, match=f"(?s)previous level.*{asked}.*{REMEDY}") as caught:
        sampler(stepper, grid)
    # Once, at the line that made the sampler.
    assert [warning.filename for warning in caught] == [__file__]


def test_it_is_said_of_the_user_s_line_where_the_library_makes_the_sampler():
    within = {"__name__": "unmelt.somewhere", "Sampler": Sampler}
    exec("def make(*parts, **others):\n    return Sampler(*parts, **others)", within)  # noqa: S102
    with pytest.warns(OffLevelsWarning, match="3 steps") as caught:
        within["make"](PREVIOUS, OWN, UniformGrid(3), data_prior(HEAT))
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    "make",
    [
        lambda: sampler(OWN),
        lambda: sampler(OWN, UniformGrid(LEVELS)),
        # The level before any time is the data itself.
        lambda: sampler(Multistep(), UniformGrid(20), soft(HEAT, PredictPreviousLevel(levels=1))),
        # Levels of the prediction's own.
        lambda: sampler(OWN, UniformGrid(20), soft(heat(10), PredictPreviousLevel(levels=20))),
        lambda: sampler(Multistep(), UniformGrid(20), soft(HEAT, PredictX())),
        lambda: ELBO(PREVIOUS, prior=data_prior(HEAT)),
        lambda: ELBO(
            PREVIOUS, prior=data_prior(HEAT), steps=LEVELS, coupling=Independent(), reverse_std=ConstantStd(0.025)
        ),
        lambda: ELBO(soft(HEAT, PredictX()), steps=4, prior=data_prior(HEAT)),
    ],
)
def test_there_is_nothing_to_say(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make()


def test_it_is_not_said_again_while_sampling():
    with pytest.warns(OffLevelsWarning):
        quick = made(soft(HEAT, PredictPreviousLevel()), OWN, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick.sample(2, generator=seeded())
        quick.step(latents(2), 0.5, 0.4, generator=seeded())


def test_a_continuous_process_has_the_levels_of_the_prediction():
    process = IsotropicDiffusion(SHAPE, CosineSchedule())
    denoiser = soft(process, PredictPreviousLevel(levels=8))
    with pytest.warns(OffLevelsWarning, match=r"50 steps, not one for each of its 8 levels.*UniformGrid\(8\)"):
        Sampler(denoiser, OWN, prior=StandardNormalPrior(process))


def test_it_is_said_once_of_a_network():
    """Whatever happens to Python's filters in between, which makes it forget what it has shown."""
    denoiser, prior = soft(HEAT, PredictPreviousLevel()), data_prior(HEAT)

    def often():
        for steps in (20, 20, 20, 10):
            Sampler(denoiser, OWN, UniformGrid(steps), prior).sample(1)
            with warnings.catch_warnings():
                warnings.simplefilter("always")

    with pytest.warns(OffLevelsWarning) as caught:
        often()
    assert [re.search(r"a grid of \d+ steps", str(each.message)).group() for each in caught] == [
        "a grid of 20 steps",
        "a grid of 10 steps",
    ]


@pytest.mark.parametrize(
    ("make", "asked"),
    [
        (lambda net: ELBO(net, steps=4, prior=data_prior(HEAT)), "a grid of 3 steps.*steps=200, or"),
        (lambda net: ELBO(net, steps=math.inf, prior=data_prior(HEAT)), "all times.*steps=200, or"),
        (lambda net: FlowLikelihood(net, prior=data_prior(HEAT)), r"all times.*ELBO\(denoiser, steps=200\), or"),
        (lambda net: Sampler(guided(net), OWN, UniformGrid(20)), "a grid of 20 steps.*worse samples"),
    ],
    ids=["bound", "continuous bound", "flow", "guided"],
)
def test_bounds_and_guided_networks_say_it_too(make, asked):
    with pytest.warns(OffLevelsWarning, match=asked):
        make(soft(HEAT, PredictPreviousLevel()))


def guided(denoiser):
    mask = LinearObservation(PixelBasis(SHAPE), torch.ones(SHAPE), noise_std=0.1)
    return DiffusionPosteriorSampling(denoiser, mask, strength=1.0, variance=1.0)
