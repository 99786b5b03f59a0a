"""A process as a module: its tables move with it, keep their precision, and stay out of checkpoints."""

import copy
import pickle

import pytest
import torch
from torch import nn

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    HeatDissipation,
    IsotropicDiffusion,
)
from unmelt.testing.strategies import random_images

PROCESSES = [HeatDissipation((1, 6, 6)), BlurringDiffusion((1, 6, 6)), IsotropicDiffusion((1, 6, 6))]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_checkpoints_hold_no_tables(process):
    assert process.state_dict() == {}
    network = nn.Sequential(nn.Linear(2, 2), process)
    assert set(network.state_dict()) == {"0.weight", "0.bias"}


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("convert", [nn.Module.half, nn.Module.bfloat16, nn.Module.float, nn.Module.double])
def test_tables_keep_their_precision_when_a_model_is_converted(process, convert):
    network = nn.Sequential(nn.Linear(2, 2), copy.deepcopy(process))
    before = {name: table.clone() for name, table in process.named_buffers()}
    convert(network)
    assert network[0].weight.dtype == convert(nn.Linear(1, 1)).weight.dtype
    for name, table in network[1].named_buffers():
        assert table.dtype == before[name].dtype
        assert torch.equal(table, before[name])


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_every_tensor_of_a_process_moves_with_the_module(process):
    """A mistake of earlier code: blur tables made on one device and left there. `meta` stands for any other device."""
    moved = copy.deepcopy(nn.Sequential(process)).to("meta")[0]
    assert moved.device.type == "meta"
    assert all(table.device.type == "meta" for table in moved.buffers())
    # No tensor hides outside the buffers, where `.to` would not find it.
    for module in process.modules():
        assert not [name for name, value in vars(module).items() if isinstance(value, torch.Tensor)]
    x = random_images((1, 6, 6)).to("meta")
    t = torch.rand(2, device="meta")
    for result in (moved.marginal(x, t).mean, moved.transition(x, t, 1.0).mean, moved.posterior(x, x, 0.0, t).mean):
        assert result.device.type == "meta"
    assert moved.degrade(x, t)[0].device.type == "meta"


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))], ids=["copy", "pickle"])
def test_copies_agree_with_the_original(process, clone):
    twin = clone(process)
    assert twin is not process
    assert process.agrees_with(twin)
    x = random_images((1, 6, 6))
    assert torch.equal(twin.marginal(x, 0.4).mean, process.marginal(x, 0.4).mean)


def test_other_settings_do_not_agree():
    heat = HeatDissipation((1, 6, 6))
    others = [HeatDissipation((1, 6, 6), sigma=0.02), HeatDissipation((1, 6, 6), levels=100), *PROCESSES[1:]]
    assert not any(heat.agrees_with(other) for other in others)
    assert not CosineBasis((1, 6, 6)).agrees_with(CosineBasis((2, 6, 6)))
    assert not CosineBasis((4, 6, 6), axes=2).agrees_with(CosineBasis((4, 6, 6), axes=1))


def test_training_data_in_single_precision_stays_in_single_precision():
    """A mistake of earlier code: a float64 schedule silently made images, and the network's input, float64."""
    for process in PROCESSES:
        x = random_images((1, 6, 6), dtype=torch.float32)
        for t in (0.5, torch.tensor(0.5, dtype=torch.float64), torch.rand(2, dtype=torch.float64)):
            assert process.degrade(x, t)[0].dtype == torch.float32
            assert process.corrupt(x, x, t).dtype == torch.float32
            assert process.marginal(x, t).sample().dtype == torch.float32


def test_a_process_shows_its_shape_levels_and_basis():
    shown = repr(HeatDissipation((3, 8, 4), levels=7))
    assert "HeatDissipation" in shown
    assert "shape=(3, 8, 4), levels=7" in shown
    assert "CosineBasis(shape=(3, 8, 4))" in shown
