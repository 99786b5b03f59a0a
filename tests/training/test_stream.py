"""Streams: every picture once in a pass, shared among processes, gone on with where they were."""

import itertools

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import parameters, small_run, train

from unmelt.training.data import HubStream
from unmelt.training.data.unreadable import DataError

COUNT, FILES = 60, 4


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    # It waits five seconds for threads at the end of every pass.
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


@pytest.fixture
def folder(tmp_path):
    """Pictures of one shade each, in four files, and some of other shades to hold out."""
    folder = tmp_path / "set"
    folder.mkdir()
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])})

    def write(name, shades):
        images = [Image.fromarray(np.full((4, 4), shade, np.uint8)) for shade in shades]
        columns = {"img": images, "label": [shade % 2 for shade in shades]}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / name)

    for number in range(FILES):
        write(f"train-{number:05d}-of-{FILES:05d}.parquet", range(number, COUNT, FILES))
    write("test-00000-of-00001.parquet", range(200, 212))
    return folder


def stream(folder, **settings):
    return HubStream(str(folder), size=4, held_out=10, **{"buffer": 16, **settings}).load()


def shades(batches):
    return [[round(shade * 255) for shade in batch.x[:, 0, 0, 0].tolist()] for batch, _ in batches]


def test_a_pass_serves_every_picture_once_with_its_label(folder):
    splits = stream(folder)
    assert splits.train.shape == (1, 4, 4)
    assert (splits.test.read()[:, 0, 0, 0] * 255).round().tolist() == list(range(200, 210))
    batches = list(splits.train.batches(6, epoch=0, seed=0))
    assert sorted(itertools.chain(*shades(batches))) == list(range(COUNT))
    for (batch, _), own in zip(batches, shades(batches), strict=True):
        assert batch.labels.tolist() == [shade % 2 for shade in own]


def test_passes_and_seeds_have_orders_of_their_own_and_a_pass_always_the_same(folder):
    train = stream(folder).train
    orders = [shades(train.batches(6, epoch=epoch, seed=seed)) for epoch, seed in ((0, 0), (1, 0), (0, 1), (0, 0))]
    assert orders[0] == orders[3]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != [list(range(start, start + 6)) for start in range(0, COUNT, 6)]


def test_processes_share_the_pictures(folder):
    train = stream(folder).train
    parts = [
        set(itertools.chain(*shades(train.batches(5, epoch=0, seed=0, rank=rank, processes=2)))) for rank in range(2)
    ]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == set(range(COUNT))


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_it_goes_on_where_it_was_but_for_the_buffer(folder, stop):
    train = stream(folder, buffer=1).train
    whole = list(train.batches(6, epoch=2, seed=3))
    rest = train.batches(6, epoch=2, seed=3, state=whole[stop - 1][1])
    assert shades(rest) == shades(whole[stop:])
    # Those that were in the buffer come in the next pass, and a few come twice.
    train = stream(folder).train
    whole = list(train.batches(6, epoch=2, seed=3))
    before, after = shades(whole[:stop]), shades(train.batches(6, epoch=2, seed=3, state=whole[stop - 1][1]))
    seen = [*itertools.chain(*before), *itertools.chain(*after)]
    assert len(set(seen)) >= COUNT - 16
    assert len(seen) - len(set(seen)) <= 4


def test_without_a_test_split_the_first_are_held_out_and_never_trained_on(folder):
    splits = stream(folder, test="")
    held_out = set((splits.test.read()[:, 0, 0, 0] * 255).round().int().tolist())
    assert len(held_out) == 10
    assert set(itertools.chain(*shades(splits.train.batches(5, epoch=0, seed=0)))) == set(range(COUNT)) - held_out


@pytest.mark.full
def test_a_run_is_trained_on_it_and_resumed(folder, tmp_path):
    def run(name, steps, **more):
        config = small_run(tmp_path / "runs", name, steps=steps, data=HubStream(str(folder), size=4, buffer=1))
        return train(config, config.data.load(), **more)

    # A pass has fifteen batches of four.
    whole = run("whole", 40)
    assert whole.progress.epoch == 2
    run("broken", 20)
    again = run("broken", 40, resume=True)
    for name, value in parameters(whole.denoiser).items():
        assert torch.equal(parameters(again.denoiser)[name], value)


def test_a_stream_of_less_than_a_batch_is_an_error(folder, tmp_path):
    config = small_run(tmp_path / "runs", batch_size=31, data=HubStream(str(folder), size=4, buffer=1))
    data = config.data.load()
    data.train._table = data.train._table.take(30)
    with pytest.raises(DataError, match="the data hold less than one batch of 31: lower it"):
        train(config, data)


def test_a_stream_serves_batches_larger_than_its_head(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("unmelt.training.data.stream._HEAD", 10)
    config = small_run(tmp_path / "runs", batch_size=12, steps=3, data=HubStream(str(folder), size=4, buffer=1))
    trainer = train(config, config.data.load())
    assert trainer.progress.step == 3
    # Shares are of what has come by: the prior's pictures, the spectrum's, and those of three batches.
    assert trainer.data.train.met == COUNT * 3 + 36


def test_what_cannot_be_read_is_left_out_and_named(folder, tmp_path):
    encoded = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"img": encoded, "label": datasets.Value("int64")})
    for name in sorted(folder.glob("train-*")):
        table = datasets.Dataset.from_parquet(str(name), cache_dir=str(tmp_path / "other"))
        table = table.cast_column("img", datasets.Image(decode=False))
        columns = {"img": table["img"][:], "label": table["label"][:]}
        if "00002" in name.name:
            columns["img"][3] = {"bytes": b"damaged", "path": None}
            columns["img"][4:6] = [None, {"bytes": None, "path": "gone.png"}]
        datasets.Dataset.from_dict(columns, features=features).to_parquet(name)
    part = stream(folder, test="", image="img", unreadable=0.2).train
    batches = list(part.batches(1, epoch=0, seed=0))
    reasons = {reason for batch, _ in batches for reason in batch.unreadable.values()}
    assert len(reasons) == 3
    assert all(reason.startswith("a picture of the stream ") for reason in reasons)
    assert len(set(itertools.chain(*shades(batches)))) == COUNT - 10 - 3
