"""`unmelt check`."""

import re

import pytest

from unmelt.commands import main

WRONG = """
import torch
from unmelt.degradations import CosineBasis, LinearGaussianProcess

class Rising(LinearGaussianProcess):
    def __init__(self, shape):
        super().__init__(CosineBasis(shape))

    def log_alpha(self, t):
        return self.expand_times(t) * torch.ones(self.shape)

    def log_sigma(self, t):
        return self.expand_times(t) * 0.1 - 3
"""


@pytest.mark.full
def test_it_counts_the_laws_that_hold(capsys):
    main(["check", "HeatDissipation(blur_sigma_max=4)", "--shape", "1,4,4", "--examples", "2"])
    assert re.fullmatch(r"HeatDissipation\(\(1, 4, 4\)\): \d\d laws hold\n", capsys.readouterr().out)


def test_a_broken_law_ends_it_with_status_1(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rising.py").write_text(WRONG)
    with pytest.raises(SystemExit, match="^broken: Rising breaks the law"):
        main(["check", "rising.py:Rising", "--shape", "1x4x4"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "Heat"], r"error: PROCESS Heat: .*HeatDissipation"),
        (["check", "HeatDissipation", "--shape", "3,a"], r"error: --shape 3,a: give the sizes of all axes"),
        (
            ["check", "HeatDissipation(blur_sigma_max=-4)"],
            r"error: .* is not made of the shape \(3, 4, 6\) \(need 0 < blur",
        ),
        (["check", "HeatDissipation", "--examples", "0"], r"error: --examples must be .* got 0"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(arguments)
