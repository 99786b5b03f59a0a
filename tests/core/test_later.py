"""Calls whose first arguments come later."""

import copy
import dataclasses
import functools
import math
import pickle

import pytest
import torch

from unmelt.core import Later, later
from unmelt.degradations import (
    EDMSchedule,
    Eta,
    HeatDissipation,
    IsotropicDiffusion,
    SpectralDiffusion,
)
from unmelt.losses import MonteCarlo
from unmelt.models import DegradedDataPrior, UNet
from unmelt.samplers import Posterior, Stepper, Variable

SHAPE = (1, 8, 8)


def mist(shape, *, strength=1.0):
    return HeatDissipation(shape, sigma=strength)


def open_ended(shape, **settings):
    return shape, settings


def stepped(denoiser, *, stepper: Stepper, variable: Variable):
    return denoiser, stepper, variable


class TestCalling:
    def test_the_first_argument_is_all_that_it_waits_for(self):
        process = later(HeatDissipation, levels=5, sigma=0.03)(SHAPE)
        assert isinstance(process, HeatDissipation)
        assert process.levels == 5
        assert process.shape == SHAPE

    def test_two_first_arguments(self):
        process = HeatDissipation(SHAPE, levels=5)
        prior = later(DegradedDataPrior.fit, stddev=0.25, rows=2)(process, torch.zeros(3, *SHAPE))
        assert isinstance(prior, DegradedDataPrior)

    def test_functions_and_classmethods_are_called_as_classes_are(self):
        assert isinstance(later(mist, strength=0.5)(SHAPE), HeatDissipation)
        assert isinstance(later(SpectralDiffusion.power_law, exponent=-1.0)(SHAPE), SpectralDiffusion)


class TestWrongSettings:
    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            (
                lambda: later(HeatDissipation, level=3),
                ["HeatDissipation has no setting 'level' (did you mean levels?)", "blur_sigma_max", "anisotropy"],
            ),
            (lambda: later(HeatDissipation, 3), ["HeatDissipation: give settings by name, got 3", "levels"]),
            (lambda: later(HeatDissipation, shape=SHAPE), ["shape comes later"]),
            (lambda: later(SpectralDiffusion.power_law, exponents=1), ["SpectralDiffusion.power_law", "exponent?"]),
            (lambda: later(HeatDissipation(SHAPE)), ["later takes what is called later", "got HeatDissipation("]),
            (lambda: later(functools.partial(mist, strength=2.0)), ["later takes what is called later", "partial"]),
        ],
    )
    def test_are_refused_at_once_in_one_line(self, wrong, words):
        with pytest.raises(TypeError) as refusal:
            wrong()
        message = str(refusal.value)
        assert all(word in message for word in words), message
        assert "\n" not in message

    def test_a_function_of_any_settings_takes_any(self):
        assert later(open_ended, anything=3)(SHAPE) == (SHAPE, {"anything": 3})


class TestEquality:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (later(HeatDissipation, levels=200), later(HeatDissipation)),
            (later(HeatDissipation, levels=3, sigma=0.1), later(HeatDissipation, sigma=0.1, levels=3)),
            (later(UNet, multipliers=[1, 2]), later(UNet, multipliers=(1, 2))),
            (later(UNet, multipliers=[1, [2]]), later(UNet, multipliers=(1, (2,)))),
            (later(SpectralDiffusion.power_law), later(SpectralDiffusion.power_law, exponent=-0.5)),
            (later(HeatDissipation), HeatDissipation),
            (later(mist, strength=1.0), mist),
            (later(HeatDissipation, sigma=math.nan), later(HeatDissipation, sigma=float("nan"))),
            # A default that a factory makes anew each time.
            (later(MonteCarlo, replicates=4), later(MonteCarlo)),
        ],
        ids=lambda value: getattr(value, "__name__", None) or repr(value),
    )
    def test_what_makes_the_same_is_equal_and_has_one_hash(self, one, other):
        assert one == other
        assert other == one
        assert hash(one) == hash(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (later(HeatDissipation, levels=3), later(HeatDissipation)),
            (later(HeatDissipation), later(IsotropicDiffusion)),
            (later(SpectralDiffusion.power_law), later(SpectralDiffusion)),
            (later(HeatDissipation, levels=3), HeatDissipation),
            (later(HeatDissipation), "HeatDissipation()"),
            (later(UNet, classes=torch.ones(2)), later(UNet, classes=torch.ones(2))),
        ],
        ids=repr,
    )
    def test_what_makes_something_else_is_not(self, one, other):
        assert one != other

    def test_it_can_be_a_key(self):
        assert {later(HeatDissipation, levels=3): 1}[later(HeatDissipation, levels=3)] == 1


class TestValue:
    def test_it_is_frozen(self):
        call = later(HeatDissipation, levels=3)
        with pytest.raises(dataclasses.FrozenInstanceError, match="HeatDissipation"):
            call.make = UNet
        with pytest.raises(TypeError):
            call.settings["levels"] = 4

    def test_lists_given_are_not_shared(self):
        given = [1, 2]
        call = later(UNet, multipliers=given)
        given.append(3)
        assert call.settings["multipliers"] == (1, 2)

    @pytest.mark.parametrize(
        "call",
        [
            later(HeatDissipation, levels=3),
            later(SpectralDiffusion.power_law, exponent=-1.0),
            later(mist, strength=2.0),
            later(IsotropicDiffusion, schedule=EDMSchedule(rho=5.0)),
            later(torch.optim.AdamW, betas=[0.9, 0.99]),
        ],
        ids=repr,
    )
    def test_copies_and_pickles_are_equal(self, call):
        copies = [copy.copy(call), copy.deepcopy(call), pickle.loads(pickle.dumps(call))]
        assert all(type(other) is Later and other == call for other in copies)

    def test_what_holds_it_can_be_replaced_and_taken_apart(self):
        @dataclasses.dataclass(frozen=True)
        class Recipe:
            process: object
            steps: int = 1

        recipe = Recipe(later(HeatDissipation, levels=3))
        assert dataclasses.replace(recipe, steps=2).process == recipe.process
        assert dataclasses.asdict(recipe)["process"] == recipe.process
        assert hash(recipe) == hash(copy.deepcopy(recipe))


def test_it_is_shown_as_the_call():
    call = later(stepped, stepper=Posterior(Eta(0.5)), variable=Variable.LOG_SNR)
    assert repr(call) == f"{__name__}.stepped(stepper=Posterior(coupling=Eta(eta=0.5)), variable=LOG_SNR)"
    # No text to be read again, and yet something to be seen.
    assert repr(later(HeatDissipation, levels=torch.ones(2))) == "HeatDissipation(levels=<Tensor>)"
