"""Brownian bridges, each wrong in one way, by the law that it breaks, with a pattern of what is said."""

import torch

from unmelt.degradations import BrownianBridge


class Infinite(BrownianBridge):
    def log_beta(self, t):
        return torch.where(self.expand_times(t) == 1, torch.inf, super().log_beta(t))


class Averaged(BrownianBridge):
    def log_beta(self, t):
        return super().log_beta(t.mean().expand_as(t))


class Doubled(BrownianBridge):
    def marginal(self, x, t, *, given=None):
        return super().marginal(x, t, given=given if given is None else 2 * given)


class Dropped(BrownianBridge):
    def degrade(self, x, *times, given=None):
        return self.centred().degrade(x, *times)


class Silent(BrownianBridge):
    def check_given(self, given, count):
        pass


WRONG = {
    "the share of the known end is a number": (Infinite, "at t = 1.0, .*log_beta.t. is inf"),
    "every example of a batch has its own share of the known end": (Averaged, "beta, in a batch of"),
    "the known end moves the distributions and changes no width": (Doubled, r"the mean of marginal\(x, t, given=y\)"),
    "draws and degraded signals have their share of the known end": (Dropped, r"degrade\(x, t, given=y\)"),
    "a known end is asked for": (Silent, r"marginal\(x, t\) answers without given=y"),
}
