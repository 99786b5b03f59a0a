"""Distribution functions are inverted in few steps, to the last digits, without waiting for a device."""

from typing import ClassVar

import pytest
import torch

from unmelt.core.root_finding import invert_distribution

CPU = torch.device("cpu")
EPS = 2.0**-52
# The largest number that torch.rand draws.
ALMOST = 1 - 2.0**-53


class TestInversion:
    """Functions of every shape: the answer's neighbours 2^-30 away are on its two sides."""

    FUNCTIONS: ClassVar = {
        "straight": lambda t: t,
        "late": lambda t: t**30,
        "early": lambda t: 1 - (1 - t) ** 30,
        "at once": lambda t: t ** (1 / 30),
        "steep": lambda t: (torch.tanh(5e4 * (t - 0.3)) + 1) / 2,
        "kink": lambda t: torch.where(t < 0.7, t / 7, 0.1 + 3 * (t - 0.7)),
        "jump": lambda t: torch.where(t < 0.2, t / 2, 0.6 + (t - 0.2) / 2),
        "plateau": lambda t: (2 * t).clamp(max=0.5) + (2 * t - 1.5).clamp(min=0),
    }

    @pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
    @pytest.mark.parametrize("device", [CPU, torch.device("meta")], ids=str)
    def test_it_is_found_in_a_bounded_number_of_steps(self, function, device):
        u = torch.cat((torch.linspace(0, ALMOST, 400, dtype=torch.float64), torch.tensor([EPS, 1e-9]).double()))
        calls = []
        t = invert_distribution(lambda t: calls.append(1) or function(t), u.to(device))
        assert t.device == device
        # 30 halvings of [0, 1], the eight rounds given away, and one.
        assert len(calls) <= 39
        if device == CPU:
            width = 2.0**-30
            assert ((t > 0) & (t <= 1)).all()
            assert (function((t - width).clamp(min=0.0)) <= u).all()
            assert (function((t + width).clamp(max=1.0)) >= u).all()
        else:
            # Nothing is read that would make the device wait, or a meta tensor raise.
            assert len(calls) == 39

    def test_smooth_functions_need_few_and_are_inverted_to_the_last_digits(self):
        u, calls = torch.rand(400, generator=torch.Generator().manual_seed(7), dtype=torch.float64), []
        t = invert_distribution(lambda t: calls.append(1) or t + torch.sin(torch.pi * t) / 4, u)
        # Bisection makes 30 steps to 2^-30.
        assert len(calls) < 20
        # w^2 F'' / 8 is below 1e-18 * pi^2.
        torch.testing.assert_close(t + torch.sin(torch.pi * t) / 4, u, rtol=0, atol=4 * EPS)
