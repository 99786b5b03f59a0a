"""Values as text, and back again."""

import dataclasses
import math
import runpy
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from unmelt.core import Shape, later
from unmelt.core.configuration import Reader, write
from unmelt.degradations import (
    ChannelGroups,
    EDMSchedule,
    Eta,
    FourierBasis,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    SpectralDiffusion,
)
from unmelt.losses import Weighting
from unmelt.models import KernelDivergence, Prior, UNet
from unmelt.samplers import Start

Process = Callable[[Shape], LinearGaussianProcess]
MakesPrior = Callable[[LinearGaussianProcess, Tensor], Prior]


class TestText:
    def test_numbers_of_numpy_are_numbers(self):
        assert write(np.float64(0.1)) == "0.1"

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (later(SpectralDiffusion.power_law, exponent=-1.0), "SpectralDiffusion.power_law(exponent=-1.0)"),
            (
                later(IsotropicDiffusion, schedule=EDMSchedule(rho=5.0)),
                "IsotropicDiffusion(schedule=EDMSchedule(rho=5.0))",
            ),
            (Eta(0.5), "Eta(eta=0.5)"),
            (EDMSchedule(), "EDMSchedule()"),
            (KernelDivergence.VARIATIONAL, "KernelDivergence.VARIATIONAL"),
            (FourierBasis, "FourierBasis"),
            (-math.inf, "-inf"),
            ("text", "text"),
            (("text",), "('text',)"),
        ],
    )
    def test_it_is_what_one_writes_in_python(self, value, text):
        assert write(value) == text

    def test_complete_text_has_every_setting_in_the_constructor_s_order(self):
        assert write(later(HeatDissipation, sigma=0.5, levels=50), complete=True) == (
            "HeatDissipation(blur_sigma_max=24.0, blur_sigma_min=0.5, levels=50, sigma=0.5, anisotropy=None)"
        )
        assert write(later(IsotropicDiffusion, schedule=EDMSchedule(rho=5.0)), complete=True) == (
            "IsotropicDiffusion(schedule=EDMSchedule(sigma_min=0.002, sigma_max=80.0, rho=5.0))"
        )

    def test_a_class_that_is_made_later_is_written_with_its_defaults_too(self):
        text = write(later(HeatDissipation), Process, complete=True)
        assert write(HeatDissipation, Process, complete=True) == text
        assert write((HeatDissipation,), Sequence[Process], complete=True) == f"({text},)"
        call = later(ChannelGroups.of, channels=(1,), processes=(HeatDissipation,), basis=FourierBasis)
        assert f"processes=({text},), basis=FourierBasis(axes=None)" in write(call, Process, complete=True)

    def test_a_member_of_an_enum_is_named_where_it_is_expected(self):
        assert write(KernelDivergence.VARIATIONAL, KernelDivergence | None) == "VARIATIONAL"
        assert write((KernelDivergence.VARIATIONAL,), Sequence[KernelDivergence]) == "(VARIATIONAL,)"

    def test_arguments_that_come_later_are_no_settings_though_they_have_defaults(self):
        def as_prior(process: LinearGaussianProcess, data: Tensor | None = None, *, stddev: float = 1.0) -> Prior:
            raise NotImplementedError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules[__name__], "as_prior", as_prior, raising=False)
            as_prior.__qualname__ = "as_prior"
            assert "data" not in write(later(as_prior), MakesPrior, complete=True)

    def test_a_default_without_text_is_left_to_be_the_default(self):
        assert write(later(with_odd_default), complete=True).endswith("with_odd_default(strength=1.0)")


ODD = torch.zeros(2)


def with_odd_default(shape, *, strength=1.0, odd=ODD):
    del shape, strength, odd


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (
                UNet((1, 8, 8), channels=4, multipliers=(1,), blocks=1, attention_levels=()),
                ["UNet", "later(UNet, ...)"],
            ),
            (torch.zeros(2), ["a Tensor has no text", "what computes it"]),
            (lambda x: x, ["a lambda cannot be found by a name", "def"]),
            (partial(later, HeatDissipation), ["partial", "give later(later, ...)"]),
            (object(), ["object does not know its settings"]),
            (Start(torch.zeros(1), 0.5), ["Start does not know its settings"]),
            (later(HeatDissipation, levels=torch.ones(2)), ["HeatDissipation(levels=...)", "Tensor"]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_name_what_knows_no_settings_and_what_to_give_instead(self, value, words):
        with pytest.raises(TypeError) as refusal:
            write(value)
        message = str(refusal.value)
        assert all(word in message for word in words), message
        assert "\n" not in message

    def test_a_class_made_inside_a_function(self):
        @dataclasses.dataclass(frozen=True)
        class Inner:
            strength: float = 1.0

        with pytest.raises(TypeError, match="Inner cannot be found by a name: define it at the top of a module"):
            write(Inner())


SCRIPT = '''
"""a recipe that defines a class."""
from __future__ import annotations
from dataclasses import dataclass
from unmelt.core.configuration import Reader
from unmelt.core.configuration import write
from unmelt.losses import Weighting
import helper

@dataclass(frozen=True)
class Mine(Weighting):
    """A weighting."""
    strength: float = 1.0
    def weight(self, process, t):
        return t

print("run as", __name__)
if __name__ == "__main__":
    text = write(Mine(2.0))
    print(text)
    print(Reader(trust_code=True).read(text, Weighting) == Mine(2.0))
    print(write(helper.Other()))
'''
HELPER = """
from dataclasses import dataclass
from unmelt.losses import Weighting

@dataclass(frozen=True)
class Other(Weighting):
    def weight(self, process, t):
        return t
"""


class TestClassesOfAScript:
    def test_are_written_by_their_file_and_read_again_by_another_program(self, workplace, monkeypatch, capsys):
        recipes = workplace / "recipes"
        recipes.mkdir()
        (recipes / "mine.py").write_text(SCRIPT)
        (recipes / "helper.py").write_text(HELPER)
        monkeypatch.syspath_prepend(recipes)
        runpy.run_path("recipes/mine.py", run_name="__main__")
        # What lies beside a script is found by that script alone, so it is written by its file as well.
        mine, other = "recipes/mine.py:Mine(strength=2.0)", "recipes/helper.py:Other()"
        assert capsys.readouterr().out.splitlines() == ["run as __main__", mine, "True", other]
        again = [Reader(trust_code=True).read(text, Weighting) for text in (mine, other)]
        assert [str(value) for value in again] == ["Mine(strength=2.0)", "Other()"]
        assert capsys.readouterr().out.splitlines() == ["run as mine"]
