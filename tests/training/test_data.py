"""Images and their sources: ranges and levels, splits that do not overlap, and clear words where data is missing."""

import hashlib
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import ENVIRONMENT, run_python
from torch.utils.data import DataLoader

from unmelt.models import GreyLevels
from unmelt.training import CIFAR10, Digits, ImageFolder, Images, PhotoCrops


def picture(path, array):
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


class TestImages:
    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-3.0, -2.5)])
    @pytest.mark.parametrize("levels", [2, 17, 256])
    def test_levels_are_mapped_evenly_onto_the_range(self, levels, low, high):
        values = torch.arange(levels, dtype=torch.uint8).reshape(-1, 1, 1, 1)
        scaled = Images(values, GreyLevels(levels, low, high)).scaled()
        expected = torch.linspace(low, high, levels, dtype=torch.float64)
        assert scaled.dtype == torch.float32
        # One product and one sum in float32, of numbers up to the range's ends.
        bound = 2 * torch.finfo(torch.float32).eps * max(abs(low), abs(high), high - low)
        assert (scaled.flatten().double() - expected).abs().max() <= bound

    def test_single_images_batches_and_all_agree(self):
        values = torch.randint(0, 256, (7, 2, 3, 4), dtype=torch.uint8)
        images = Images(values, GreyLevels(256, -1.0, 1.0))
        everything = images.scaled()
        assert len(images) == 7
        assert images.shape == (2, 3, 4)
        assert torch.equal(torch.stack([images[i] for i in range(7)]), everything)
        assert torch.equal(images.__getitems__([4, 1]), everything[[4, 1]])
        assert torch.equal(images.scaled(slice(2, 4)), everything[2:4])
        (batch,) = DataLoader(images, batch_size=7, collate_fn=lambda batch: batch)
        assert torch.equal(batch, everything)

    def test_images_are_not_changed_by_being_served(self):
        values = torch.randint(0, 256, (3, 1, 2, 2), dtype=torch.uint8)
        images = Images(values.clone())
        images[0].zero_()
        images.scaled().zero_()
        assert torch.equal(images.values, values)

    def test_the_fingerprint_is_of_shape_levels_and_values(self):
        values = torch.randint(0, 17, (3, 1, 4, 2), dtype=torch.uint8)
        images = Images(values, GreyLevels(17, 0.0, 1.0))
        expected = hashlib.sha256(b"(3, 1, 4, 2) 17" + values.numpy().tobytes()).hexdigest()
        assert images.fingerprint() == expected
        # However the numbers lie in memory, and whatever range they are mapped to.
        strided = values.transpose(2, 3).contiguous().transpose(2, 3)
        assert Images(strided, GreyLevels(17, -1.0, 1.0)).fingerprint() == expected

    def test_the_fingerprint_tells_data_apart(self):
        values = torch.zeros(3, 1, 4, 2, dtype=torch.uint8)
        touched = values.clone()
        touched[2, 0, 3, 1] = 1
        prints = [
            Images(values).fingerprint(),
            Images(touched).fingerprint(),
            Images(values, GreyLevels(17, 0.0, 1.0)).fingerprint(),
            Images(values.transpose(2, 3)).fingerprint(),
            Images(values[:2]).fingerprint(),
        ]
        assert len(set(prints)) == len(prints)

    @pytest.mark.parametrize(
        ("values", "levels", "words"),
        [
            (torch.zeros(0, 1, 2, 2), 256, r"at least one image.*\(0, 1, 2, 2\)"),
            (torch.full((1, 1, 2, 2), 17), 17, "values below 17.*with a value of 17"),
            (torch.zeros(1, 1, 2, 2), 257, r"256 levels at most, got GreyLevels\(count=257"),
        ],
    )
    def test_bad_values_are_refused(self, values, levels, words):
        with pytest.raises(ValueError, match=words):
            Images(values.to(torch.uint8), GreyLevels(levels, 0.0, 1.0))


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
        for images, given in ((digits.train, digits.train_labels), (digits.test, digits.test_labels)):
            assert [labels[row.tobytes()] for row in images.values.flatten(1).numpy()] == given.tolist()
        shares = digits.test_labels.bincount() / (digits.train_labels.bincount() + digits.test_labels.bincount())
        # A fifth of about 180 of each class, to the nearest digit or two.
        assert (shares - 0.2).abs().max() < 0.01

    def test_the_split_is_the_same_every_time(self, digits):
        again = Digits(low=-1.0).load()
        assert again.train.fingerprint() == digits.train.fingerprint()
        assert again.test.fingerprint() == digits.test.fingerprint()
        assert again.train.grey_levels.range == (-1.0, 1.0)
        assert again.train.scaled().min() == -1
        assert digits.train.scaled().min() == 0
        assert digits.train.scaled().max() == again.train.scaled().max() == 1


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

    def test_they_are_the_same_every_time(self, photos):
        assert PhotoCrops().load().train.fingerprint() == photos.train.fingerprint()


class TestFolder:
    def load(self, folder, size=8, **settings):
        return ImageFolder(folder, size=size, **settings).load()

    def test_images_of_every_kind_and_size_become_rgb_squares(self, tmp_path):
        (tmp_path / "deeper").mkdir()
        picture(tmp_path / "a.png", np.full((8, 8, 3), (10, 20, 30)))
        picture(tmp_path / "b.png", np.full((40, 13), 77))
        picture(tmp_path / "deeper" / "c.PNG", np.full((5, 90, 3), (1, 2, 3)))
        picture(tmp_path / "d.bmp", np.full((16, 16, 3), (4, 5, 6)))
        Image.new("P", (9, 9), 0).save(tmp_path / "e.gif")
        picture(tmp_path / "f.png", np.dstack([np.full((12, 12, 3), (7, 8, 9)), np.full((12, 12), 255)]))
        (tmp_path / "notes.txt").write_text("no image")
        splits = self.load(tmp_path)
        assert splits.train.shape == splits.test.shape == (3, 8, 8)
        assert len(splits.train) == 5
        colours = torch.cat([splits.train.values, splits.test.values])[:, :, 4, 4].tolist()
        assert colours == [[10, 20, 30], [77, 77, 77], [4, 5, 6], [1, 2, 3], [0, 0, 0], [7, 8, 9]]

    @pytest.mark.parametrize("shape", [(10, 30), (30, 10)])
    def test_the_middle_is_cut_out(self, tmp_path, shape):
        array = np.zeros((*shape, 3))
        array[..., 0] = 255
        middle = (slice(None), slice(10, 20)) if shape[0] == 10 else (slice(10, 20), slice(None))
        array[middle] = (0, 255, 0)
        for name in ("a.png", "b.png"):
            picture(tmp_path / name, array)
        # Ten pixels to ten: nothing is interpolated.
        values = self.load(tmp_path, size=10).train.values
        assert torch.equal(
            values, torch.tensor([0, 255, 0], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, 10, 10)
        )

    def test_every_tenth_in_order_of_name_is_held_out(self, tmp_path):
        for i in reversed(range(25)):
            picture(tmp_path / f"{i:02d}.png", np.full((8, 8), i))
        splits = self.load(tmp_path)
        assert splits.test.values[:, 0, 0, 0].tolist() == [9, 19, 24]
        assert splits.train.values[:, 0, 0, 0].tolist() == [i for i in range(25) if i not in (9, 19, 24)]

    def test_sixteen_bits_keep_their_shades(self, tmp_path):
        for name, value in (("a", 0), ("b", 32768), ("c", 65535)):
            Image.fromarray(np.full((8, 8), value, dtype=np.uint16)).save(tmp_path / f"{name}.png")
        splits = self.load(tmp_path)
        shades = torch.cat([splits.train.values, splits.test.values])[:, 0, 0, 0].tolist()
        assert shades == pytest.approx([0, 128, 255], abs=1)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda _data: b"",
            lambda _data: b"not an image",
            lambda data: data[: len(data) // 2],
            # A chunk shorter than it is, after which Pillow meets no chunk and raises SyntaxError.
            lambda data: data[: data.index(b"IDAT") - 4] + b"\0\0\0\x0a" + data[data.index(b"IDAT") :],
        ],
        ids=["empty", "text", "truncated", "wrong chunk"],
    )
    def test_a_file_that_is_no_image_is_named(self, tmp_path, damage):
        for name in ("a.png", "m.png", "z.png"):
            picture(tmp_path / name, np.random.default_rng(0).integers(0, 256, (32, 32, 3)))
        damaged = damage((tmp_path / "m.png").read_bytes())
        (tmp_path / "m.png").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"m\.png cannot be read as an image.*remove or replace it"):
            self.load(tmp_path)

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*--data\.folder PATH"):
            self.load(tmp_path / "nowhere")

    @pytest.mark.parametrize("count", [0, 1])
    def test_too_few_images_are_counted(self, tmp_path, count):
        for i in range(count):
            picture(tmp_path / f"{i}.png", np.zeros((8, 8)))
        with pytest.raises(ValueError, match=rf"holds {count} images \(.*\.png.*\); at least 2 are needed"):
            self.load(tmp_path)

    def test_height_and_width_may_differ_and_must_be_pixels(self, tmp_path):
        for name in ("a.png", "b.png"):
            picture(tmp_path / name, np.zeros((9, 20)))
        assert self.load(tmp_path, size=(4, 6)).train.shape == (3, 4, 6)
        with pytest.raises(ValueError, match=r"size must be at least 1.*got 0"):
            ImageFolder(tmp_path, size=(4, 0))

    def test_the_range_is_the_one_asked_for(self, tmp_path):
        for name, value in (("a", 0), ("b", 255), ("c", 0)):
            picture(tmp_path / f"{name}.png", np.full((8, 8), value))
        train = self.load(tmp_path, low=-1.0).train
        assert train.grey_levels.range == (-1.0, 1.0)
        assert train.scaled()[:, 0, 0, 0].tolist() == [-1.0, 1.0]


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
