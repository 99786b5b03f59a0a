"""Unusual processes that are right pass: a false alarm costs as much as a miss."""

import math

import pytest
from right import FADE, RIGHT, Formulas, constant

from unmelt.degradations import LinearGaussianProcess
from unmelt.testing import BrokenLaw, check_process
from unmelt.testing.check import LAWS

# Those that a law comes closest to refusing.
CLOSE = {
    "a cache",
    "a learned log-SNR in float32",
    "a ramp of a millionth",
    "a table",
    "all flat, noise as large as data",
    "data of 256 grey levels",
    "data times 2 that stays",
    "fine ripples",
    "gone one after the other",
    "numbers for all",
    "straight flow",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in CLOSE else pytest.mark.slow) for n in RIGHT])
def test_it_passes(name):
    assert check_process(RIGHT[name], max_examples=4) == tuple(law.name for law in LAWS)


def test_a_line_says_so(capsys):
    check_process(RIGHT["one number"], max_examples=1)
    assert capsys.readouterr().out == f"Formulas((1,)): {len(LAWS)} laws hold\n"


def test_what_a_formula_tells_is_not_guessed():
    """Noise of 2 in images of 0 to 255, and a signal that starts e times as large."""
    noisy = Formulas(FADE, constant(math.log(2.0)))
    with pytest.raises(BrokenLaw, match="give check_process your formula"):
        check_process(noisy, max_examples=1)
    held = check_process(noisy, sigma=lambda t: 2.0, max_examples=1)
    assert set(held) ^ {law.name for law in LAWS} == {"log_sigma returns a logarithm", "sigma is the given formula"}


class Forgetful(LinearGaussianProcess):
    def __init__(self):
        self.size = (1, 4, 4)

    def log_alpha(self, t):
        return -t

    def log_sigma(self, t):
        return t


def test_a_forgotten_base_constructor_is_named():
    with pytest.raises(TypeError, match=r"Forgetful.__init__ does not call super\(\).__init__\(basis\)"):
        check_process(Forgetful())
