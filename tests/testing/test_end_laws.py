"""Processes whose known end is wrong in one way each, and the law that says so."""

import pytest
import torch
from wrong_known_ends import WRONG
from zoo import KNOWN_ENDS

from unmelt.degradations import BrownianBridge
from unmelt.testing import BrokenLaw, check_process
from unmelt.testing.check import END_LAWS, LAWS

_MARKS = {"heat bridge": (), "mean": pytest.mark.full, "residual shift": pytest.mark.full}


def test_every_law_has_its_mistake():
    assert set(WRONG) == {law.name for law in END_LAWS}
    names = tuple(law.name for law in (*LAWS, *END_LAWS))
    assert check_process(BrownianBridge((1, 3, 4)), max_examples=4) == names


@pytest.mark.parametrize("law", WRONG)
def test_a_mistake_breaks_its_law(law):
    build, message = WRONG[law]
    with pytest.raises(BrokenLaw, match=message) as broken:
        check_process(build((1, 3, 4)), max_examples=6)
    assert broken.value.law == law


def test_a_formula_of_another_share_is_told():
    with pytest.raises(BrokenLaw, match="beta is the given formula"):
        check_process(BrownianBridge((1, 3, 4)), beta=lambda t: t**2, max_examples=4)
    held = check_process(BrownianBridge((1, 3, 4)), beta=lambda t: torch.tensor(t), max_examples=4)
    assert held[-1] == "beta is the given formula"


@pytest.mark.parametrize(
    "name",
    # Some take a quarter of a minute.
    [pytest.param(name, marks=_MARKS.get(name, pytest.mark.slow)) for name in KNOWN_ENDS],
)
def test_every_process_with_a_known_end_keeps_all_laws_as_users_check_them(name):
    assert len(check_process(KNOWN_ENDS[name])) == len(LAWS) + len(END_LAWS)
