"""What of a network is divided, and what divided networks do not go with; by two processes in `test_processes.py`."""

import pytest
import torch
from small_runs import begin, images, small_run
from support import LearnedHeat, SoftNetwork
from torch import nn

from unmelt.degradations import PredictX
from unmelt.losses import DenoisingLoss
from unmelt.models import Denoiser, DiT, UNet
from unmelt.training import Precision, Training
from unmelt.training.loop.divided import blocks, divide, divided_as, whole


class Looped(nn.Module):
    """A network with a list inside a list, in a module of its own."""

    def __init__(self):
        super().__init__()
        rows = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.inner = nn.ModuleDict({"rows": nn.ModuleList([rows, nn.Linear(2, 2)])})
        self.last = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("network", "count", "share"),
    [
        # Two levels of two blocks and a halving, the middle, two levels of three blocks and a doubling.
        (UNet((1, 8, 8), channels=8, multipliers=(1, 2), blocks=2, attention_levels=(1,)), 5 + 1 + 7, 0.9),
        (DiT((1, 8, 8), width=16, depth=9, heads=2), 9, 0.8),
        (Looped(), 3, 0.75),
        (nn.Sequential(nn.Linear(2, 2)), 0, 0),
    ],
    ids=["UNet", "DiT", "lists in lists", "no list"],
)
def test_blocks_are_most_of_a_network_and_have_nothing_in_common(network, count, share):
    found = list(blocks(network))
    assert len(found) == count
    inside = [parameter for block in found for parameter in block.parameters()]
    assert len({id(parameter) for parameter in inside}) == len(inside)
    assert sum(p.numel() for p in inside) >= share * sum(p.numel() for p in network.parameters())


def test_a_process_that_learns_is_refused():
    denoiser = Denoiser(SoftNetwork(), LearnedHeat(), prediction=PredictX())
    with pytest.raises(
        ValueError, match=r"has parameters of its own \(rate, log_noise\): leave --training.shard_model"
    ):
        divide(DenoisingLoss(denoiser), denoiser, [], 2)


@pytest.mark.parametrize(
    "other",
    [{"shard_optimizer": True}, {"channels_last": True}, {"compile": True}, {"precision": Precision.FP16}],
    ids=lambda other: next(iter(other)),
)
def test_what_divided_models_do_not_go_with_is_refused(other):
    Training(**other)
    with pytest.raises(ValueError, match=f"shard_model and {next(iter(other))}=.* exclude each other"):
        Training(shard_model=True, **other)


def test_one_process_divides_nothing(tmp_path):
    trainer = begin(small_run(tmp_path, shard_model=True), images())
    assert not trainer.divided
    assert all(type(parameter) is nn.Parameter for parameter in trainer.loss.parameters())


def test_a_state_that_is_not_divided_stays_what_it_is():
    state = {"weight": torch.ones(2), "state": {0: {"step": torch.tensor(3.0)}}, "count": 2}
    for main in (True, False):
        kept = whole(state, main=main)
        assert kept == state
        assert kept["weight"] is state["weight"]
    assert divided_as(torch.zeros(2), state["weight"]) is state["weight"]


@pytest.mark.parametrize("divided", [True, False])
def test_weights_in_half_precision_are_not_kept_whole(tmp_path, divided):
    trainer = begin(small_run(tmp_path, shard_model=divided, precision=Precision.BF16), images())
    seen = list[bool]()
    trainer.denoiser.network.middle.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_cache_enabled()))
    trainer.updates.take(torch.zeros(4, 1, 4, 4), None)
    assert seen == [not divided]
