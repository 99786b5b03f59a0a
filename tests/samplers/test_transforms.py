"""How many transforms a step costs: one of what the network puts out, one of the latent it is asked about next."""

import pytest
from sampler_support import SHAPE, data_prior, latents, made, soft

from unmelt.degradations import (
    BlurringDiffusion,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    PredictPreviousLevel,
    PredictV,
    PredictX,
)
from unmelt.models import ConstantStd
from unmelt.samplers import Churn, Follow, Heun, Multistep, Posterior, PredictorCorrector

PROCESSES = {
    "heat": lambda: HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.2),
    "blurring": lambda: BlurringDiffusion(SHAPE, blur_sigma_max=1.0),
    "isotropic": lambda: IsotropicDiffusion(SHAPE),
}
STEPPERS = [
    Posterior(),
    Multistep(order=3),
    Multistep(order=3, corrector=False),
    Multistep(order=3, follow=Follow.EITHER),
    Multistep(eta=1.0),
    Heun(),
    Heun(eta=1.0),
    Heun(churn=Churn(2.0)),
    PredictorCorrector(),
]


def counting(transform, name, counts):
    def counted(x):
        counts[name] += 1
        return transform(x)

    return counted


def transforms(sampler, monkeypatch, **run):
    """Calls of the network, transforms and inverse transforms of a run."""
    counts = {"analyse": 0, "synthesise": 0}
    basis = sampler.process.basis
    for name in counts:
        transform = getattr(basis, name)
        monkeypatch.setattr(basis, name, counting(transform, name, counts))
    stats = sampler.run(2, initial=latents(2), keep_path=False, **run).stats
    return stats.calls, counts["analyse"], counts["synthesise"]


@pytest.mark.parametrize("prediction", [PredictX(), PredictV()], ids=str)
@pytest.mark.parametrize("stepper", STEPPERS, ids=str)
@pytest.mark.parametrize("kind", ["heat", "blurring"])
def test_a_call_of_the_network_costs_a_transform_each_way(kind, stepper, prediction, monkeypatch):
    process = PROCESSES[kind]()
    sampler = made(soft(process, prediction), stepper, 10, prior=data_prior(process))
    calls, forth, back = transforms(sampler, monkeypatch)
    # The first latent is given as a signal, and the last one wanted as one; churn makes another of the first.
    assert back <= calls + bool(getattr(stepper, "churn", None))
    assert forth <= calls + 1
    # Looking at a state every step, for whether it is finite and for progress, costs none.
    assert transforms(sampler, monkeypatch, callback=lambda info: None)[1:] == (forth, back)


@pytest.mark.parametrize("stepper", STEPPERS, ids=str)
def test_isotropic_steps_need_none(stepper, monkeypatch):
    process = PROCESSES["isotropic"]()
    sampler = made(soft(process, PredictV()), stepper, 10, prior=data_prior(process))
    assert transforms(sampler, monkeypatch)[1:] == (0, 0)


def test_a_trajectory_costs_no_more_than_its_states_and_predictions(monkeypatch):
    sampler = made(soft(PROCESSES["blurring"]()), Multistep(), 10)
    _, _, back = transforms(sampler, monkeypatch)
    counts, transform = [], sampler.process.basis.synthesise
    monkeypatch.setattr(sampler.process.basis, "synthesise", lambda x: counts.append(1) or transform(x))
    sampler.run(2, initial=latents(2))
    # The states are made as signals for the network anyway, and so are predictions of the data.
    assert len(counts) <= back


def test_inverse_heat_dissipation_s_own_steps_need_none(monkeypatch):
    """Steps u + f(u) + delta noise: tables of a process per frequency, whose numbers are one for all of a step."""
    process = PROCESSES["heat"]()
    stepper = Posterior(Independent(), ConstantStd(0.2))
    sampler = made(soft(process, PredictPreviousLevel()), stepper, prior=data_prior(process))
    assert transforms(sampler, monkeypatch)[1:] == (0, 0)
