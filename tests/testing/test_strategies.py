"""What users draw is what it says."""

from itertools import pairwise

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from unmelt.degradations import (
    CosineBasis,
    Coupling,
    LinearGaussianProcess,
    Schedule,
)
from unmelt.testing.strategies import (
    FAMILIES,
    SCHEDULES,
    Anisotropic,
    couplings,
    images,
    ordered_times,
    processes,
    processes_in,
    random_images,
    schedules,
    shapes,
    times,
)


@given(shapes(2, 4, channels=3, axes=3))
def test_shapes(shape):
    channels, *sizes = shape
    assert 1 <= channels <= 3
    assert len(sizes) == 3
    assert all(2 <= size <= 4 for size in sizes)


@given(times(), times(0.25, 0.5))
def test_times(anywhere, between):
    assert 0 <= anywhere <= 1
    assert 0.25 <= between <= 0.5


def test_times_reach_both_ends():
    assert find(times(), lambda t: t == 1) == 1
    assert find(times(), lambda t: t > 0.3) == 0.31


@given(st.data(), st.integers(1, 5))
def test_ordered_times(data, count):
    drawn = data.draw(ordered_times(count, lowest=0.1, gap=0.05))
    assert len(drawn) == count
    assert drawn[0] >= 0.1
    assert drawn[-1] <= 1
    assert all(late - early >= 0.05 - 1e-12 for early, late in pairwise(drawn))


def test_ordered_times_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="12 times from 0.02 with gaps of 0.1 do not fit"):
        ordered_times(12, gap=0.1)


@given(images((3, 4, 4), batch=5, dtype=torch.float32))
def test_images(x):
    assert x.shape == (5, 3, 4, 4)
    assert x.dtype == torch.float32
    assert 0 <= x.min() <= x.max() < 1


def test_images_are_those_of_a_seed():
    assert torch.equal(random_images((1, 2), seed=3), random_images((1, 2), seed=3))
    assert not torch.equal(random_images((1, 2), seed=3), random_images((1, 2), seed=4))


@given(couplings(), schedules(), processes(), processes((1, 2, 3)))
def test_kinds(coupling, schedule, process, shaped):
    assert isinstance(coupling, Coupling)
    assert isinstance(schedule, Schedule)
    assert isinstance(process, LinearGaussianProcess)
    assert shaped.shape == (1, 2, 3)


@settings(max_examples=10)
@given(data=st.data())
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_finite_inside(data, name):
    schedule = data.draw(SCHEDULES[name]())
    t = torch.linspace(0.02, 0.98, 7, dtype=torch.float64)
    assert schedule.log_alpha(t).isfinite().all()
    assert schedule.log_sigma(t).isfinite().all()


@settings(max_examples=2)
@given(data=st.data())
@pytest.mark.parametrize("shape", [(2, 4, 4), (7,), (2, 5), (1, 2, 3, 2)])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_the_shape_asked_for(name, shape, data):
    assert data.draw(FAMILIES[name](shape)).shape == shape


@pytest.mark.parametrize("shape", [(), (1, 2, 2, 2, 2)])
def test_processes_of_more_axes_than_can_be_blurred_are_refused(shape):
    with pytest.raises(ValueError, match="shape must have one to four axes, .*processes_in"):
        processes(shape)


@given(processes_in(CosineBasis((2, 3))))
def test_anisotropic_processes_have_numbers_of_their_own(process):
    assert isinstance(process, Anisotropic)
    assert process.log_snr(0.5).unique().numel() == 6
