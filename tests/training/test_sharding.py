"""Optimizers whose state is divided among processes; by two for real in `test_processes.py`."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from unmelt.training.loop.sharding import load_whole_state, make_optimizer, whole_state


@pytest.fixture
def _alone():
    """A group of one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def fused_adam(parameters):
    return torch.optim.AdamW(parameters, lr=0.1, fused=True)


def in_groups(parameters):
    decayed, other = parameters
    return torch.optim.AdamW([{"params": [decayed]}, {"params": [other], "weight_decay": 0.0}])


def learn(network, optimizer, steps=3):
    for number in range(steps):
        (network(torch.full((1, 3), number + 1.0)) - 1).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("sharded", [True, False])
def test_what_is_kept_of_one_is_taken_over_by_another(sharded):
    network = nn.Linear(3, 2)
    optimizer = make_optimizer(fused_adam, network.parameters(), sharded=sharded)
    learn(network, optimizer)
    other = copy.deepcopy(network)
    again = make_optimizer(fused_adam, other.parameters(), sharded=not sharded)
    load_whole_state(again, copy.deepcopy(whole_state(optimizer, main=True)))
    torch.testing.assert_close(whole_state(again, main=True), whole_state(optimizer, main=True), rtol=0, atol=0)
    learn(network, optimizer)
    learn(other, again)
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    assert whole_state(optimizer, main=False) == {}


@pytest.mark.usefixtures("_alone")
def test_groups_of_an_optimizer_s_own_cannot_be_divided():
    parameters = list(nn.Linear(3, 2).parameters())
    make_optimizer(in_groups, parameters, sharded=False)
    with pytest.raises(ValueError, match=r"AdamW has 2 groups of parameters, .* leave --training.shard_optimizer out"):
        make_optimizer(in_groups, parameters, sharded=True)
