"""Times drawn by the losses met there: a queue for each cell, unbiased and steadier, saved and copied."""

import copy
import math
from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import CPU, EPS, by_bins, by_levels, trained
from support import seeded

from unmelt.losses.times.loss_aware import BinHistory, LevelHistory
from unmelt.testing.strategies import seeds


class Reference:
    """The same distribution in plain Python: a queue for each cell."""

    def __init__(self, cells, history, uniform):
        self.queues = [deque(maxlen=history) for _ in range(cells)]
        self.history, self.uniform = history, uniform

    def update(self, cells, losses):
        for cell, loss in zip(cells, losses, strict=True):
            if math.isfinite(loss):
                self.queues[cell].append(loss)

    def probabilities(self):
        count = len(self.queues)
        weights = [1.0] * count
        if all(len(queue) == self.history for queue in self.queues):
            weights = [math.sqrt(sum(loss**2 for loss in queue) / self.history) for queue in self.queues]
        return torch.tensor(
            [(1 - self.uniform) * w / sum(weights) + self.uniform / count for w in weights], dtype=torch.float64
        )


class TestLossHistory:
    @pytest.mark.parametrize("kind", [by_levels, by_bins])
    @given(
        cells=st.integers(1, 5),
        history=st.integers(1, 4),
        batch=st.integers(0, 30),
        uniform=st.sampled_from([0.001, 0.3, 1.0]),
        seed=seeds(),
    )
    def test_the_last_losses_of_each_cell_in_their_order(self, kind, cells, history, batch, uniform, seed):
        """Batches smaller than the table and ones that fill it several times over, some losses not finite."""
        distribution, generator = kind(cells, history=history, uniform=uniform), seeded(seed)
        reference = Reference(cells, history, uniform)
        for _ in range(6):
            cell = torch.randint(cells, (batch,), generator=generator)
            t = (cell.double() + (0.5 if kind is by_bins else 1.0)) / cells
            losses = torch.rand(batch, generator=generator) * 10
            losses[torch.rand(batch, generator=generator) < 0.1] = torch.nan
            losses[torch.rand(batch, generator=generator) < 0.1] = torch.inf
            distribution.update(t, losses)
            reference.update(cell.tolist(), losses.tolist())
            for k, queue in enumerate(reference.queues):
                kept = distribution.losses[k][: distribution.seen[k]]
                assert sorted(kept.tolist()) == sorted(queue)
        # Sums of at most 4 + 5 terms.
        torch.testing.assert_close(distribution.probabilities(), reference.probabilities(), rtol=20 * EPS, atol=0)
        torch.testing.assert_close(
            distribution.density(t), cells * reference.probabilities()[cell], rtol=20 * EPS, atol=0
        )

    def test_no_place_is_written_twice(self, monkeypatch):
        """On an accelerator it is not defined which of two writes to one place stays."""
        written, scatter = [], torch.Tensor.scatter

        def watched(table, dim, place, values):
            written.extend(place.tolist())
            return scatter(table, dim, place, values)

        distribution, t = by_levels(2, history=3), torch.full((10,), 1.0, dtype=torch.float64)
        monkeypatch.setattr(torch.Tensor, "scatter", watched)
        distribution.update(t, torch.arange(10.0))
        # Six places, and behind them the one for what does not stay.
        kept = [place for place in written if place < 6]
        assert len(kept) == len(set(kept)) == 3
        assert distribution.losses[1].tolist() == [9.0, 7.0, 8.0]

    def test_uniform_until_every_history_is_full(self):
        distribution = by_levels(3, history=2)
        everywhere = torch.tensor([1, 2, 3], dtype=torch.float64) / 3
        distribution.update(everywhere, torch.tensor([1.0, 2.0, 3.0]))
        for _ in range(5):
            distribution.update(everywhere[:2], torch.tensor([1.0, 2.0]))
        assert torch.equal(distribution.density(everywhere), torch.ones(3, dtype=torch.float64))
        distribution.update(everywhere[2:], torch.tensor([3.0]))
        expected = 0.999 * torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64) + 0.001
        torch.testing.assert_close(distribution.density(everywhere), expected, rtol=10 * EPS, atol=0)

    def test_losses_that_are_all_zero_tell_nothing(self):
        distribution = by_levels(3, history=1)
        t = torch.tensor([1, 2, 3], dtype=torch.float64) / 3
        distribution.update(t, torch.zeros(3))
        assert torch.equal(distribution.density(t), torch.ones(3, dtype=torch.float64))

    def test_large_losses_do_not_overflow(self):
        distribution = trained(by_levels(2, history=3))
        t = torch.tensor([0.5, 1.0], dtype=torch.float64)
        for _ in range(3):
            distribution.update(t, torch.tensor([1e30, 3e30]))
        # Losses are kept in single precision.
        expected = 0.999 * torch.tensor([0.5, 1.5], dtype=torch.float64) + 0.001
        torch.testing.assert_close(distribution.density(t), expected, rtol=4 * 2.0**-23, atol=0)

    def test_times_that_are_not_drawn_are_ignored_and_have_no_density(self):
        distribution = by_levels(2, history=1)
        strange = torch.tensor([0.0, 0.3, 0.99], dtype=torch.float64)
        distribution.update(strange, torch.ones(3))
        assert distribution.seen.tolist() == [0, 0]
        assert distribution.losses.tolist() == [[0.0], [0.0]]
        assert distribution.density(strange).tolist() == [0.0] * 3
        assert distribution.correction(strange).tolist() == [math.inf] * 3
        distribution.update(torch.tensor([1 / 2], dtype=torch.float32), torch.ones(1))
        assert distribution.seen.tolist() == [1, 0]

    @pytest.mark.parametrize("build", [lambda: by_levels(5), lambda: by_bins(5)], ids=["levels", "bins"])
    def test_the_corrected_mean_is_the_uniform_one_and_varies_less(self, build):
        distribution = trained(build())
        count = 20_000
        t = distribution.sample(count, device=CPU, generator=seeded(7))
        # What the distribution learnt from: the loss k + 1 in cell k.
        losses = (t * 5).ceil() if isinstance(distribution, BinHistory) else (t * 5).round()
        corrected = distribution.correction(t) * losses
        # The mean of 1..5 is 3 and its variance 2; losses proportional to the density have none left but for the
        # thousandth that is uniform.
        assert corrected.var() < 0.01
        assert abs(corrected.mean().item() - 3) < 5 * (corrected.var().item() / count) ** 0.5
        # And for a loss that it did not learn: 1 / t^2 - 1 at levels, to five standard errors.
        other = 1 / t**2 - 1 if isinstance(distribution, LevelHistory) else t.sqrt()
        expected = sum(25 / k**2 - 1 for k in range(1, 6)) / 5 if isinstance(distribution, LevelHistory) else 2 / 3
        corrected = distribution.correction(t) * other
        assert abs(corrected.mean().item() - expected) < 5 * (corrected.var().item() / count) ** 0.5
        assert abs(other.mean().item() - expected) > 20 * (other.var().item() / count) ** 0.5

    @pytest.mark.parametrize("build", [lambda: by_levels(5), lambda: by_bins(5)], ids=["levels", "bins"])
    def test_it_survives_saving_and_copying(self, build, tmp_path):
        distribution = trained(build())
        torch.save(distribution.state_dict(), tmp_path / "distribution.pt")
        loaded = build()
        loaded.load_state_dict(torch.load(tmp_path / "distribution.pt"))
        copied = copy.deepcopy(distribution)
        before = distribution.probabilities()
        distribution.update(torch.ones(1, dtype=torch.float64), torch.tensor([1e6]))
        assert not torch.equal(distribution.probabilities(), before)
        for other in (loaded, copied):
            assert torch.equal(other.probabilities(), before)
            # The place in the queue is saved too: the next loss replaces the same one.
            other.update(torch.ones(1, dtype=torch.float64), torch.tensor([1e6]))
            assert torch.equal(other.losses, distribution.losses)

    def test_it_keeps_no_graph_of_the_losses(self):
        distribution = by_levels(2)
        distribution.update(torch.ones(1, dtype=torch.float64), torch.ones(1, requires_grad=True))
        assert not distribution.losses.requires_grad
        assert not distribution.correction(torch.ones(1)).requires_grad
