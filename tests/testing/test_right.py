"""Unusual processes that are right pass: a false alarm costs as much as a miss."""

import pytest
from right import RIGHT

from unmelt.testing import check_process
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


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in CLOSE else pytest.mark.full) for n in RIGHT])
def test_it_passes(name):
    assert check_process(RIGHT[name], max_examples=4) == tuple(law.name for law in LAWS)


def test_a_line_says_so(capsys):
    check_process(RIGHT["one number"], max_examples=1)
    assert capsys.readouterr().out == f"Formulas((1,)): {len(LAWS)} laws hold\n"
