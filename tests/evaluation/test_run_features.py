"""A run's samples beside training images, in features: what is compared, and what the file tells."""

import json
from dataclasses import replace

import pytest
import torch
from small_runs import images, small_run

from unmelt import load_run
from unmelt.evaluation import (
    FeatureNetwork,
    FeatureStatistics,
    compare_manifolds,
    frechet_distance,
    kernel_distance,
)
from unmelt.evaluation.run_features import evaluate_features
from unmelt.training import ArrayExamples, Trainer


class Corners(FeatureNetwork):
    """Four pixels."""

    def __init__(self):
        super().__init__("corners", "none")

    def forward(self, images):
        return images[:, 0, ::3, ::3].flatten(1)


@pytest.fixture
def run(tmp_path):
    data = images()
    # An odd number, which has no halves.
    data = replace(data, train=ArrayExamples(data.train.values[:21]))
    return Trainer(small_run(tmp_path), data).train().path, data


def evaluated(run, monkeypatch, **settings):
    folder, data = run
    # The small data are kept in no file.
    monkeypatch.setattr("unmelt.training.LoadedRun.data", lambda *_: data)
    return evaluate_features(folder, Corners(), **settings)


@pytest.mark.parametrize("count", [8, 10, 21, 30])
def test_figures_are_those_of_the_samples_and_the_training_images(run, monkeypatch, count):
    found = evaluated(run, monkeypatch, samples=count, seed=3, batch_size=4)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(3)).tolist()
    real = Corners()(run[1].train.read(order)).double()
    samples = load_run(run[0]).sample(count, generator=range(3, 3 + count)).clamp(0, 1)
    drawn = Corners()(samples).double()
    compared, half = real[:count], min(count, 10)
    expected = frechet_distance(FeatureStatistics.of(drawn), FeatureStatistics.of(compared))
    # Samples of other batches differ by float32's rounding.
    assert found.frechet == pytest.approx(expected, rel=1e-3)
    floor = frechet_distance(FeatureStatistics.of(real[:half]), FeatureStatistics.of(real[half : 2 * half]))
    assert (found.floor_count, found.floor) == (half, pytest.approx(floor, rel=1e-5))
    assert found.kernel.value == pytest.approx(kernel_distance(drawn, compared, seed=3).value, rel=1e-3, abs=1e-5)
    assert found.manifold == compare_manifolds(drawn, compared)
    told = json.loads((run[0] / "features.json").read_text())
    assert told["frechet"] == found.frechet
    assert f"{count} samples and {min(count, 21)} training images" in str(found)
    assert (told["samples"], told["training_images"]) == (count, min(count, 21))
    assert {"checkpoint", "seed", "sampler", "steps", "weights", "resize", "split", "training_batch"} <= told.keys()
    assert "not to compare with figures of papers" in str(found)
    assert ("there are no more" in str(found)) == (count > 10)


def test_only_features_of_ten_thousand_are_kept(run, monkeypatch):
    monkeypatch.setattr("unmelt.evaluation.run_features._KEPT", 12)
    found = evaluated(run, monkeypatch, samples=20, batch_size=5)
    assert found.kernel.size == 6
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0)).tolist()
    real, drawn = run[1].train.read(order), load_run(run[0]).sample(20, generator=range(20)).clamp(0, 1)
    assert found.manifold == compare_manifolds(Corners()(drawn[:12]), Corners()(real[:12]))


def test_too_few_are_refused_before_anything_is_drawn(run, monkeypatch):
    with pytest.raises(ValueError, match="samples must be at least 8"):
        evaluated(run, monkeypatch, samples=7)
    few = replace(run[1], train=ArrayExamples(run[1].train.values[:7]))
    monkeypatch.setattr("unmelt.training.LoadedRun.sampler", None)
    with pytest.raises(ValueError, match="was trained on 7 images: such figures need at least 8"):
        evaluated((run[0], few), monkeypatch, samples=20)
    assert not (run[0] / "features.json").exists()
