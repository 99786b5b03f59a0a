"""A process in, every law out: the list of `check_process`, and all of it once more in `dense_reference`."""

import pytest
import torch
from dense_reference import PAIRS, correlation, require_reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import COUPLINGS, draw, every_coupling
from zoo import EVERY_PROCESS, KNOWN_ENDS, every_process

from unmelt.degradations import Coupling, Eta, LinearGaussianProcess, Markov, RandomWalk, ReverseSDE
from unmelt.degradations.centred import Centred
from unmelt.testing import check_process
from unmelt.testing.strategies import couplings, dtypes, ordered_times, processes, random_images


@every_process()
def test_every_process_keeps_every_law(name):
    assert len(check_process(EVERY_PROCESS[name], max_examples=4)) > 30


@every_process()
@every_coupling
def test_every_process_is_its_dense_reference_from_end_to_end(name, coupling):
    process = EVERY_PROCESS[name]
    for s, t in PAIRS:
        require_reference(process, coupling, s, t, draw(process.shape), draw(process.shape, seed=1))


@settings(max_examples=40)
@given(process=processes(), times=ordered_times(2), coupling=couplings(), seed=st.integers(0, 99), dtype=dtypes())
def test_drawn_processes_are_their_dense_reference(process, times, coupling, seed, dtype):
    x, noise = random_images(process.shape, seed=seed), draw(process.shape, seed=seed)
    require_reference(process, coupling, *times, x, noise, dtype)


@given(process=processes(), times=ordered_times(2), seed=st.integers(0, 99))
def test_bayes_rule_by_densities(process, times, seed):
    """q(z_s | z_t, x) q(z_t | x) = q(z_t | z_s) q(z_s | x) at any point, for the Markov coupling."""
    s, t = times
    x, z_s, z_t = (random_images(process.shape, seed=seed + k) for k in range(3))
    posterior, transition = process.posterior(z_t, x, s, t, Markov()), process.transition(z_s, s, t)
    # Coefficients that never change (the mean of heat) have no transition noise, hence no density.
    assume(bool((posterior.spectral_stddev > 0).all()) and bool((transition.spectral_stddev > 0).all()))
    left = posterior.log_prob(z_s) + process.marginal(x, t).log_prob(z_t)
    right = transition.log_prob(z_t) + process.marginal(x, s).log_prob(z_s)
    # Each term sums up to 50 squares ((z - m) / s)^2; near-deterministic steps make single terms huge.
    scale = max(1.0, *(term.abs().max().item() for term in (left, right, transition.log_prob(z_t))))
    torch.testing.assert_close(left, right, rtol=0, atol=1e-9 * scale)


def kinds(cls):
    return {cls} if not cls.__subclasses__() else {kind for sub in cls.__subclasses__() for kind in kinds(sub)}


def test_nothing_that_ships_is_left_out():
    """Every coupling and every family has its place in the tables above, and the reference fails on what it misses."""

    def ships(cls):
        return {kind for kind in kinds(cls) if kind.__module__.startswith("unmelt.degradations.")}

    # Not every process's noise is a random walk, and what ends in a known signal is given it: test_known_end.py.
    assert ships(Coupling) == {RandomWalk, *(type(coupling) for coupling in COUPLINGS)}
    ended = {type(process) for process in KNOWN_ENDS.values()}
    assert ships(LinearGaussianProcess) - {Centred} <= ended | {type(process) for process in EVERY_PROCESS.values()}
    assert all(process.known_end for process in KNOWN_ENDS.values())

    class Half(Coupling):
        def log_correlation(self, at_s, at_t):
            return at_t.log_alpha.new_full((), -0.7)

    with pytest.raises(NotImplementedError, match="the reference does not know"):
        correlation(Half(), 0.5)


@pytest.mark.parametrize("coupling", [*COUPLINGS, Eta(0.0), Eta(1e-200), ReverseSDE(0.0), ReverseSDE(1e-200)], ids=str)
def test_couplings_know_whether_they_are_deterministic(coupling):
    process = EVERY_PROCESS["cosine"]
    log_rho = coupling.log_correlation(process.at(0.3), process.at(0.7))
    assert coupling.deterministic == bool((log_rho == 0).all())
