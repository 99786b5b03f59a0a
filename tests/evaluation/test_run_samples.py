"""Samples beside training images: what is compared, what is kept, shared and gone on with, and what the file tells."""

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
    energy_distance,
    frechet_distance,
    kernel_distance,
    octaves,
    power_spectrum,
)
from unmelt.evaluation.feature_networks import FID_NETWORK
from unmelt.evaluation.look_batches import Share
from unmelt.evaluation.run_samples import evaluate_images, evaluate_samples
from unmelt.evaluation.sample_report import OctavePower
from unmelt.training import ArrayExamples, Digits, Trainer


class Corners(FeatureNetwork):
    """Four pixels."""

    def __init__(self):
        super().__init__("corners", "none")
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return images[:, 0, ::3, ::3].flatten(1)


@pytest.fixture
def run(tmp_path):
    data = images()
    # An odd number, which has no halves.
    data = replace(data, train=ArrayExamples(data.train.values[:21]))
    return Trainer(small_run(tmp_path), data).train().path, data


def evaluated(run, monkeypatch, network=None, **settings):
    folder, data = run
    # The small data are kept in no file.
    monkeypatch.setattr("unmelt.training.LoadedRun.data", lambda *_: data)
    return evaluate_samples(folder, network or Corners(), **settings)


def halves(real, size):
    """Both halves of the floor, as the batches of `size` divide them."""
    one, other = [], []
    for number, batch in enumerate(real.split(size)):
        middle = (len(batch) + 1 - number % 2) // 2
        one.append(batch[:middle])
        other.append(batch[middle:])
    return torch.cat(one), torch.cat(other)


@pytest.mark.full
@pytest.mark.parametrize("count", [8, 10, 21, 30])
@pytest.mark.parametrize("size", [4, 5])
def test_figures_are_those_of_the_samples_and_the_training_images(run, monkeypatch, count, size):
    found = evaluated(run, monkeypatch, samples=count, seed=3, batch_size=size)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(3)).tolist()
    pixels = run[1].train.read(order)
    real, features = pixels[:count], Corners()(pixels).double()
    samples = load_run(run[0]).sample(count, generator=range(3, 3 + count)).clamp(0, 1)
    drawn, compared, half = Corners()(samples).double(), features[:count], min(count, 10)
    expected = frechet_distance(FeatureStatistics.of(drawn), FeatureStatistics.of(compared))
    # Samples of other batches differ by float32's rounding.
    assert found.features.frechet.value == pytest.approx(expected, rel=1e-3)
    one, other = (part[:half] for part in halves(pixels[: max(min(count, 21), 2 * half)], size))
    assert len(one) == len(other) == half
    floor = frechet_distance(*(FeatureStatistics.of(Corners()(part).double()) for part in (one, other)))
    assert (found.features.frechet.floor_count, found.features.frechet.floor) == (half, pytest.approx(floor, rel=1e-5))
    among_real = compare_manifolds(*(Corners()(part).double() for part in (one, other))) if half > 5 else None
    assert found.features.real_manifold == among_real
    kernel = kernel_distance(drawn, compared, seed=3).value
    assert found.features.kernel.value == pytest.approx(kernel, rel=1e-3, abs=1e-5)
    assert found.features.manifold == compare_manifolds(drawn, compared)
    assert found.energy.value == pytest.approx(energy_distance(samples, real), rel=1e-4, abs=1e-6)
    assert found.energy.floor == pytest.approx(energy_distance(one, other), rel=1e-6)
    ratio, error = power_spectrum(samples, bands=octaves).ratio_to(power_spectrum(real, bands=octaves))
    assert [octave.ratio for octave in found.octaves] == pytest.approx(ratio.tolist(), rel=1e-4)
    assert [octave.error for octave in found.octaves] == pytest.approx(error.tolist(), rel=1e-3)
    told = json.loads((run[0] / "samples.json").read_text())
    assert told["features"]["frechet"]["value"] == found.features.frechet.value
    assert f"{count} samples and {min(count, 21)} real images" in str(found)
    assert (told["samples"], told["real_images"]) == (count, min(count, 21))
    assert {"checkpoint", "seed", "sampler", "steps", "weights", "resize", "split", "training_batch"} <= told.keys()
    assert told["calls"] == told["steps"] == 8
    assert "not comparable with figures of papers" in str(found)


def test_each_figure_names_its_features_and_says_whether_it_is_fid(run, monkeypatch):
    found = evaluated(run, monkeypatch, samples=12)
    lines = str(found).splitlines()
    assert [line.split(" ")[1] for line in lines if line.startswith("corners ")] == [
        "Frechet",
        "kernel",
        "precision",
        "of",
    ]
    assert any(line.startswith("figures of corners are neither FID nor KID: they compare only with") for line in lines)
    fid = replace(found, features=replace(found.features, network=FID_NETWORK))
    assert "\nInception-v3 (FID) Frechet distance " in str(fid)
    assert "neither FID nor KID" not in str(fid)
    assert "neither FID nor KID" not in str(replace(found, features=None))


def test_errors_of_powers_are_no_exponents():
    assert str(OctavePower(0.56, 198.06, 63.4)) == "198 +- 60"
    assert str(OctavePower(0.0, 0.00528, 0.00107)) == "0.00528 +- 0.001"


@pytest.mark.full
def test_so_few_real_images_that_they_have_no_fifth_neighbour_have_no_manifold(run, monkeypatch):
    few = replace(run[1], train=ArrayExamples(run[1].train.values[:9]))
    found = evaluated((run[0], few), monkeypatch, samples=8)
    assert found.features.real_manifold is None
    assert "real images: precision" not in str(found)


@pytest.mark.full
def test_only_some_features_and_pixels_are_kept(run, monkeypatch):
    monkeypatch.setattr("unmelt.evaluation.image_set._FEATURES", 12)
    monkeypatch.setattr("unmelt.evaluation.image_set.PIXELS", 9)
    monkeypatch.setattr("unmelt.evaluation.look_batches.PIXELS", 9)
    found = evaluated(run, monkeypatch, samples=20, batch_size=5)
    assert found.features.kernel.size == 6
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0)).tolist()
    real, drawn = run[1].train.read(order), load_run(run[0]).sample(20, generator=range(20)).clamp(0, 1)
    assert found.features.manifold == compare_manifolds(Corners()(drawn[:12]), Corners()(real[:12]))
    assert found.energy.value == pytest.approx(energy_distance(drawn[:9], real[:9]), rel=1e-4, abs=1e-6)


@pytest.mark.full
def test_what_was_looked_at_is_not_looked_at_again(run, monkeypatch):
    first, more, again = Corners(), Corners(), Corners()
    evaluated(run, monkeypatch, first, samples=8, batch_size=4)
    # Eight samples, and two sets of eight real images.
    assert first.seen == 8 + 16
    found = evaluated(run, monkeypatch, more, samples=12, batch_size=4)
    assert more.seen == 4 + 4
    assert evaluated(run, monkeypatch, again, samples=12, batch_size=4) == found
    assert again.seen == 0
    other_seed = Corners()
    evaluated(run, monkeypatch, other_seed, samples=8, batch_size=4, seed=1)
    assert other_seed.seen == 24


@pytest.mark.full
def test_several_processes_share_the_work_and_the_last_one_tells(run, monkeypatch):
    whole = evaluated(run, monkeypatch, samples=16, batch_size=4)
    for path in sorted((run[0] / "looked_at").glob("*/*.safetensors")):
        path.unlink()
    (run[0] / "samples.json").unlink()
    parts = [Corners() for _ in range(3)]
    found = [
        evaluated(run, monkeypatch, part, samples=16, batch_size=4, share=Share(index, 3))
        for index, part in enumerate(parts)
    ]
    assert found == [None, None, whole]
    assert sum(part.seen for part in parts) == 16 + 20
    assert all(part.seen for part in parts)
    assert json.loads((run[0] / "samples.json").read_text())["samples"] == 16
    with pytest.raises(ValueError, match="the number of a process"):
        Share(3, 3)


@pytest.mark.full
def test_looks_of_another_version_or_network_are_others(run, monkeypatch):
    evaluated(run, monkeypatch, samples=8, batch_size=4)
    for changed in ("unmelt.evaluation.look_batches.__version__", None):
        again = Corners()
        if changed:
            monkeypatch.setattr(changed, "99.0")
        else:
            again.register_buffer("weight", torch.ones(1))
        evaluated(run, monkeypatch, again, samples=8, batch_size=4)
        assert again.seen == 24
    told = [json.loads(path.read_text()) for path in (run[0] / "looked_at").glob("*/facts.json")]
    assert len(told) == 6
    assert {"grid", "sampler", "checkpoint", "weights", "unmelt"} <= {key for facts in told for key in facts}


@pytest.mark.full
def test_a_damaged_look_is_named(run, monkeypatch):
    evaluated(run, monkeypatch, samples=8, batch_size=4)
    path = sorted((run[0] / "looked_at").glob("*/*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=f"{path.name}.*delete it"):
        evaluated(run, monkeypatch, samples=8, batch_size=4)


def test_too_few_are_refused_before_anything_is_drawn(run, monkeypatch):
    with pytest.raises(ValueError, match="samples must be at least 8"):
        evaluated(run, monkeypatch, samples=7)
    few = replace(run[1], train=ArrayExamples(run[1].train.values[:7]))
    monkeypatch.setattr("unmelt.samplers.Sampler.run", None)
    with pytest.raises(ValueError, match="the data have 7 images to train on: such figures need at least 8"):
        evaluated((run[0], few), monkeypatch, samples=20)
    assert not (run[0] / "samples.json").exists()


def test_classes_are_recognised_where_they_are_known(tmp_path):
    data = Digits().load()
    held_out = data.test.read()[:200]
    found = evaluate_images(ArrayExamples((held_out * 16).round().byte(), data.test.grey_levels), data, keep=tmp_path)
    assert found.features is None
    # They are the held-out images themselves.
    assert found.classes.recognised == pytest.approx(found.classes.real, abs=0.05)
    assert found.classes.imbalance < 0.1
    assert len(found.classes.classes) == 10
    blank = evaluate_images(ArrayExamples(torch.zeros(40, 1, 8, 8).byte(), data.test.grey_levels), data, keep=tmp_path)
    assert blank.octaves[-1].ratio == 0
    assert all(octave.error == 0 for octave in blank.octaves)
    assert blank.energy.value > 10 * abs(blank.energy.floor)


def test_images_of_another_range_are_brought_to_the_data_s(tmp_path):
    low, high = Digits(low=-1.0).load(), Digits().load()
    images = replace(low.test.grey_levels, low=0.0)
    values = (high.test.read()[:64] * 16).round().byte()
    one = evaluate_images(ArrayExamples(values, images), low, keep=tmp_path / "one")
    other = evaluate_images(ArrayExamples(values, low.test.grey_levels), low, keep=tmp_path / "other")
    assert one == other
    with pytest.raises(ValueError, match=r"images of shape \(1, 4, 4\) cannot be compared with those of \(1, 8, 8\)"):
        evaluate_images(ArrayExamples(torch.zeros(9, 1, 4, 4).byte()), low, keep=tmp_path)
