"""A level is a process at a time; two of them make a step."""

import pytest
import torch
from support import SHAPE, draw, every_coupling
from zoo import EVERY_PROCESS, every_process

from unmelt.degradations import HeatDissipation, Step

TIMES = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)


@every_process()
def test_a_level_has_the_process_s_coefficients_at_its_times(name):
    process = EVERY_PROCESS[name]
    at = process.at(TIMES)
    for ours, theirs in ((at.alpha, process.alpha), (at.sigma, process.sigma), (at.log_snr, process.log_snr)):
        assert torch.equal(ours, theirs(TIMES))
    assert at.process is process
    assert torch.equal(at.t, TIMES)
    for batch in range(3):
        alone = process.at(TIMES[batch])
        shape = (1, *process.shape)
        whole = at.log_alpha.expand(3, *process.shape)[batch : batch + 1]
        torch.testing.assert_close(alone.log_alpha.expand(shape), whole, rtol=1e-14, atol=0)


def test_it_shows_its_process_and_times():
    assert repr(EVERY_PROCESS["heat"].at(TIMES)) == "Level(HeatDissipation, t=[0.0, 0.3, 1.0])"


def test_one_time_is_made_a_time_for_each_example():
    at = EVERY_PROCESS["blurring"].at(0.3)
    assert at.t.shape == ()
    assert at.expand(4).t.tolist() == [0.3] * 4
    assert at.expand(4).log_alpha is at.log_alpha


def test_constants_are_one_number_in_the_coefficients_precision():
    constant = EVERY_PROCESS["heat"].at(TIMES).constant(2.5)
    assert (constant.shape, constant.dtype, constant.item()) == ((1, 1, 1, 1), torch.float64, 2.5)


def test_latents_are_corrupted_as_by_the_process():
    process, (x, noise) = EVERY_PROCESS["groups"], (draw((3, 4, 5), batch=3, seed=seed) for seed in (0, 1))
    assert torch.equal(process.at(TIMES).corrupt(x, noise), process.corrupt(x, noise, TIMES))


def test_the_level_next_to_it_lies_inside():
    near = EVERY_PROCESS["rectified flow"].at(TIMES).nudged_inside()
    assert (near.t - TIMES).abs().max() < 1e-11
    assert near.log_alpha.isfinite().all()
    assert near.log_sigma.isfinite().all()


@every_coupling
def test_a_step_is_the_posterior_between_two_levels(coupling):
    process = EVERY_PROCESS["power law"]
    step = Step.between(process.at(0.2), process.at(0.7), coupling)
    assert (step.at_s.t.item(), step.at_t.t.item(), step.coupling) == (0.2, 0.7, coupling)
    for ours, theirs in zip(step.posterior, process.posterior_coefficients(0.2, 0.7, coupling), strict=True):
        assert torch.equal(ours, theirs)


def test_parts_of_another_process_are_refused():
    heat = HeatDissipation(SHAPE, levels=9)
    heat.require_same(HeatDissipation(SHAPE, levels=9), whose="the prior", where="the denoiser")
    message = r"the prior was made for another process \(HeatDissipation of shape \(1, 4\)\) than the denoiser \(Heat"
    with pytest.raises(ValueError, match=message):
        heat.require_same(HeatDissipation((1, 4), levels=9), whose="the prior", where="the denoiser")
    with pytest.raises(ValueError, match="or with other settings: build both from one process"):
        heat.require_same(HeatDissipation(SHAPE, levels=8), whose="the prior", where="the denoiser")
