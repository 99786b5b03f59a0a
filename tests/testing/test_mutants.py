"""Processes that are wrong in one way each: every one is caught by the right law, in the right words."""

import re

import pytest

# Each fills the table.
import wrong_bases  # noqa: F401
import wrong_coefficients  # noqa: F401
import wrong_methods  # noqa: F401
import wrong_modules  # noqa: F401
import wrong_schedules  # noqa: F401
from mutants import MUTANTS, Sound

from unmelt.testing import BrokenLaw, check_process
from unmelt.testing.check import LAWS, check_laws

# Each takes half a second, and its law alone is checked of all of them above.
every_second = pytest.mark.parametrize(
    "wrong",
    [pytest.param(m, marks=(pytest.mark.full, pytest.mark.slow)[k % 2]) for k, m in enumerate(MUTANTS)],
    ids=lambda wrong: wrong.build.__name__,
)
every_mutant = pytest.mark.parametrize("wrong", MUTANTS, ids=lambda wrong: wrong.build.__name__)


@every_mutant
@pytest.mark.usefixtures("as_in_production")
def test_each_is_caught_by_its_law_in_the_right_words(wrong):
    (law,) = (law for law in LAWS if law.name == wrong.law)
    with pytest.raises(BrokenLaw) as caught:
        check_laws(wrong.build(), (law,), 30)
    error = caught.value
    assert error.law == wrong.law
    assert str(error).startswith(f"{wrong.build.__name__} breaks the law '{wrong.law}': ")
    assert re.search(wrong.message, str(error)), str(error)
    # No word of hypothesis's, and none of the library's frames in between but for a user's own exception.
    assert not getattr(error, "__notes__", [])
    assert error.__suppress_context__


@every_second
@pytest.mark.usefixtures("as_in_production")
def test_its_law_is_the_first_that_is_broken(wrong):
    with pytest.raises(BrokenLaw) as caught:
        check_process(wrong.build())
    assert caught.value.law == wrong.law


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [m for m in MUTANTS if m.alone], ids=lambda wrong: wrong.build.__name__)
def test_no_other_law_sees_it(wrong):
    others = tuple(law for law in LAWS if law.name != wrong.law)
    assert check_laws(wrong.build(), others, 4) == tuple(law.name for law in others)


def test_every_law_has_a_mutant_and_a_sound_process_breaks_none():
    assert {wrong.law for wrong in MUTANTS} == {law.name for law in LAWS}
    assert check_process(Sound(), max_examples=10) == tuple(law.name for law in LAWS)
