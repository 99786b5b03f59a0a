"""Folders of pictures: what is found and told, what is held out, classes, damage, places, and memory."""

import hashlib
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import begin, small_run, train
from support import refusals

from unmelt import load_run
from unmelt.core import later
from unmelt.models import UNet
from unmelt.training import ImageFolder, launch
from unmelt.training.data import UnreadableError
from unmelt.training.data.examples import spread
from unmelt.training.data.unreadable import DataError

SHADES = np.random.default_rng(0).permutation(256)


def picture(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


def grey(folder, count=40, size=8, start=0):
    """Files whose one shade tells them apart."""
    for number in range(start, start + count):
        picture(folder / f"{number:03d}.png", np.full((size, size), SHADES[number]))
    return folder


def shades(examples):
    """The shades of all pictures, each of one."""
    x = examples.read()
    assert (x == x.flatten(1)[:, :1].reshape(-1, 1, 1, 1)).all()
    return (x[:, 0, 0, 0] * 255).round().int().tolist()


class TestWhatIsFound:
    def test_all_pictures_below_the_folder_and_nothing_hidden(self, tmp_path):
        for name in ("a.png", "deeper/b.PNG", "deeper/c c/é.jfif.png", ".hidden.png", "._a.png", ".cache/d.png"):
            picture(tmp_path / "set" / name, np.zeros((8, 8)))
        picture(tmp_path / "elsewhere" / "linked.png", np.zeros((8, 8)))
        (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
        (tmp_path / "set" / "broken.png").symlink_to(tmp_path / "nowhere.png")
        (tmp_path / "set" / "notes.txt").write_text("no image")
        (tmp_path / "set" / "LICENSE").write_text("no image")
        splits = ImageFolder(tmp_path / "set", size=8).load()
        names = sorted(
            part.source.name(index).removeprefix(f"{tmp_path}/set/")
            for part in (splits.train, splits.test)
            for index in range(len(part))
        )
        assert names == ["a.png", "deeper/b.PNG", "deeper/c c/é.jfif.png", "link/linked.png"]
        assert "4 images from" in splits.told
        assert "enlarged" not in splits.told
        assert "as grey of 8 x 8 pixels, 256 levels" in splits.told
        assert splits.told.endswith(
            "not used: 1 .txt, 1 broken link, 1 folder linked twice, 3 hidden, 1 without suffix"
        )

    @pytest.mark.parametrize(
        "suffix", ["jpg", "jfif", "webp", "bmp", "gif", "tiff", "ppm", "jp2", "avif", "tga", "qoi"]
    )
    def test_the_usual_kinds_of_files_are_used(self, tmp_path, suffix):
        for number in range(3):
            Image.new("RGB", (8, 8), (200, 10, 10)).save(
                tmp_path / f"{number}.{suffix}", "JPEG" if suffix == "jfif" else None
            )
        splits = ImageFolder(tmp_path, size=8).load()
        assert len(splits.train) + len(splits.test) == 3
        x = splits.train.read()
        assert x.shape[1:] == (3, 8, 8)
        assert (x[:, 0] > 0.7).all()
        assert (x[:, 1:] < 0.1).all()

    def test_grey_files_are_grey_and_colour_among_them_makes_all_colour(self, tmp_path):
        grey(tmp_path, 6)
        assert ImageFolder(tmp_path, size=8).load().train.shape == (1, 8, 8)
        picture(tmp_path / "z.png", np.full((8, 8, 3), (1, 2, 3)))
        assert ImageFolder(tmp_path, size=8).load().train.shape == (3, 8, 8)
        assert ImageFolder(tmp_path, size=8, channels=1).load().train.shape == (1, 8, 8)
        assert ImageFolder(tmp_path, size=8, channels=4).load().train.shape == (4, 8, 8)

    def test_rectangles_and_the_files_own_size(self, tmp_path):
        for name in ("a.png", "b.png"):
            picture(tmp_path / name, np.zeros((9, 20)))
        assert ImageFolder(tmp_path, size=(4, 6)).load().train.shape == (1, 4, 6)
        assert ImageFolder(tmp_path, size=None).load().train.shape == (1, 9, 20)
        assert "2 of 2 looked at enlarged" in ImageFolder(tmp_path, size=(10, 10)).load().told
        picture(tmp_path / "c.png", np.zeros((9, 21)))
        with pytest.raises(
            ValueError, match=r"of 2 sizes or more, such as 9 x 20 and 9 x 21 pixels: give one, size=64"
        ):
            ImageFolder(tmp_path, size=None).load()

    def test_deep_pictures_keep_their_levels(self, tmp_path):
        values = np.arange(64, dtype=np.uint16).reshape(8, 8)
        for number in range(3):
            Image.fromarray(values * 1040).save(tmp_path / f"{number}.png")
        splits = ImageFolder(tmp_path, size=8).load()
        assert splits.train.grey_levels.count == 65536
        # One product in float32, with a width that is rounded once.
        expected = torch.from_numpy(values * (1040 / 65535))
        torch.testing.assert_close(splits.train.read()[0, 0].double(), expected, rtol=2e-7, atol=0)
        twelve = ImageFolder(tmp_path, size=8, white=65520.0, levels=64, low=-1.0).load().train
        assert twelve.grey_levels.count == 64
        assert torch.equal(twelve.grey_levels.indices(twelve.read())[0, 0], torch.from_numpy(values).long())
        for number in range(3):
            Image.fromarray(values * 60).save(tmp_path / f"{number}.png")
        with pytest.raises(ValueError, match=r"\d\.png holds 16 bits, values from 0 to 3780.*white=4095 for 12 bits"):
            ImageFolder(tmp_path, size=8).load()
        assert ImageFolder(tmp_path, size=8, white=4095.0).load().train.grey_levels.count == 4096

    def test_floating_point_pictures_have_no_levels(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
        for number in range(3):
            Image.fromarray(values[number]).save(tmp_path / f"{number}.tif")
        with pytest.raises(ValueError, match="holds floating-point numbers"):
            ImageFolder(tmp_path, size=8).load()
        train = ImageFolder(tmp_path, size=8, black=-5.0, white=5.0, low=-5.0, high=5.0).load().train
        assert train.grey_levels is None
        found = train.read()[:, 0].double()
        nearest = (found[:, None] - torch.from_numpy(values).double()[None]).abs().amax((2, 3)).amin(1)
        assert (nearest < 2e-6).all()


class TestHeldOut:
    def test_a_tenth_is_held_out_and_new_files_move_none(self, tmp_path):
        before = ImageFolder(grey(tmp_path, 150), size=8).load()
        held_out = set(shades(before.test))
        # Six standard deviations of a binomial share.
        assert abs(len(held_out) - 15) < 6 * (150 * 0.1 * 0.9) ** 0.5
        assert sorted(shades(before.train) + list(held_out)) == sorted(SHADES[:150].tolist())
        after = ImageFolder(grey(tmp_path, 50, start=150), size=8).load()
        assert set(shades(after.test)) >= held_out
        assert not set(shades(after.train)) & held_out

    @pytest.mark.parametrize("share", [0.001, 0.999])
    def test_there_is_one_of_either_at_least(self, tmp_path, share):
        splits = ImageFolder(grey(tmp_path, 4), size=8, held_out=share).load()
        assert (len(splits.train), len(splits.test)) == ((3, 1) if share < 0.5 else (1, 3))

    def test_a_folder_of_its_own_is_held_out_and_shares_no_file(self, tmp_path):
        one, other = grey(tmp_path / "train", 12), grey(tmp_path / "test", 5, start=12)
        splits = ImageFolder(one, size=8, test=other).load()
        assert shades(splits.train) == SHADES[:12].tolist()
        assert shades(splits.test) == SHADES[12:17].tolist()
        (other / "again.png").symlink_to(one / "003.png")
        with pytest.raises(ValueError, match=r"1 of the 6 held-out files in .*test are trained on as well.*003\.png"):
            ImageFolder(one, size=8, test=other).load()

    def test_copies_of_held_out_files_are_not_trained_on(self, tmp_path):
        one = grey(tmp_path / "one", 12)
        other = grey(tmp_path / "other", 5, start=12)
        (other / "copy.png").write_bytes((one / "004.png").read_bytes())
        with pytest.raises(ValueError, match=r"1 of the 6 held-out files in .*other are trained on.*copy\.png"):
            ImageFolder(one, size=8, test=other).load()

    def test_a_folder_that_is_divided_already_is_not_divided_anew(self, tmp_path):
        grey(tmp_path / "train", 12)
        grey(tmp_path / "Test", 5, start=12)
        with pytest.raises(ValueError, match=r"holds train and Test: .*--data\.folder .*train --data\.test .*Test"):
            ImageFolder(tmp_path, size=8).load()


class TestClasses:
    def test_subfolders_name_them(self, tmp_path):
        grey(tmp_path / "dog", 20)
        grey(tmp_path / "cat" / "black", 20, start=20)
        grey(tmp_path / "cat" / "white", 20, start=40)
        splits = ImageFolder(tmp_path, size=8, labels="subfolders").load()
        place = {shade: number for number, shade in enumerate(SHADES[:60].tolist())}
        for part in (splits.train, splits.test):
            assert part.labels.tolist() == [{0: 2, 1: 0, 2: 1}[place[shade] // 20] for shade in shades(part)]
        assert "3 classes: cat/black, cat/white, dog" in splits.told

    @pytest.mark.parametrize("separator", [",", "\t"])
    def test_a_table_names_them(self, tmp_path, separator):
        grey(tmp_path / "set", 20)
        rows = [f"{number:03d}.png{separator}{'even' if number % 2 == 0 else 'odd'}" for number in range(20)]
        table = tmp_path / "labels.csv"
        table.write_text("\n".join([f"file{separator}class", *rows]))
        splits = ImageFolder(tmp_path / "set", size=8, labels=str(table)).load()
        place = {shade: number for number, shade in enumerate(SHADES[:20].tolist())}
        assert splits.train.labels.tolist() == [place[shade] % 2 for shade in shades(splits.train)]
        table.rename(tmp_path / "set" / "own.csv")
        again = ImageFolder(tmp_path / "set", size=8, labels="own.csv").load()
        assert torch.equal(again.train.labels, splits.train.labels)
        with pytest.raises(FileNotFoundError, match=r"no table labels\.csv, nor in .*set"):
            ImageFolder(tmp_path / "set", size=8, labels="labels.csv").load()

    def test_classes_that_are_numbers_keep_their_order(self, tmp_path):
        for number in range(12):
            grey(tmp_path / str(number), 3, start=3 * number)
        splits = ImageFolder(tmp_path, size=8, labels="subfolders").load()
        place = {shade: number for number, shade in enumerate(SHADES[:36].tolist())}
        assert splits.train.labels.tolist() == [place[shade] // 3 for shade in shades(splits.train)]

    def test_files_without_a_class_are_named(self, tmp_path):
        grey(tmp_path / "set", 4)
        (tmp_path / "labels.csv").write_text("000.png,a\n001.png,b\n003.png,b\n")
        (tmp_path / "short.csv").write_text("000.png\n")
        (tmp_path / "wide.csv").write_text("000.png,8,a\n")
        (tmp_path / "twice.csv").write_text("000.png,a\n./000.png,b\n")
        (tmp_path / "latin.csv").write_bytes("000.png,Bär\n".encode("latin-1"))
        for labels, words in (
            ("subfolders", r"4 files lie in no subfolder, such as .*\.png"),
            (str(tmp_path / "labels.csv"), r"1 files have no class in .*labels\.csv, such as 002\.png"),
            (str(tmp_path / "short.csv"), r"short\.csv must hold a file name and a class in .* got \['000\.png'\]"),
            (str(tmp_path / "wide.csv"), r"wide\.csv must hold .* got \['000\.png', '8', 'a'\]"),
            (str(tmp_path / "twice.csv"), r"twice\.csv gives 000\.png two classes, a and b: keep one"),
            (str(tmp_path / "latin.csv"), r"latin\.csv is not in UTF-8"),
            ("names", r'must be "subfolders", or a table .*got \'names\''),
        ):
            with pytest.raises(ValueError, match=words):
                ImageFolder(tmp_path / "set", size=8, labels=labels).load()


class TestDamage:
    @pytest.mark.full
    def test_others_stand_in_for_a_few_and_they_are_named_together(self, tmp_path, capsys):
        folder = grey(tmp_path / "set", 64, size=4)
        broken = ["003.png", "017.png"]
        for name in broken:
            (folder / name).write_bytes(b"damaged")
        config = changed_to(tmp_path, folder, unreadable=0.05)
        data = config.data.load()
        trainer = train(config, data)
        assert trainer.progress.epoch > 0
        said = capsys.readouterr().err
        assert "2 of " in said
        assert said.count("cannot be read as a picture") == 1
        assert all(name in said for name in broken)
        assert said.count("stood in for them") == 1
        # The next readable one, with its label.
        index = next(i for i in range(len(data.train)) if data.train.source.name(i).endswith("017.png"))
        assert torch.equal(data.train.fetch([index]).x[0], data.train[index + 1])

    def test_labels_are_those_of_what_stands_in(self, tmp_path):
        grey(tmp_path / "a", 20)
        grey(tmp_path / "b", 20, start=20)
        for name in ("a/019.png", "a/018.png", "a/017.png"):
            (tmp_path / name).write_bytes(b"damaged")
        train = ImageFolder(tmp_path, size=8, labels="subfolders", unreadable=0.5, held_out=0.01).load().train
        last = max(index for index in range(len(train)) if "/a/" in train.source.name(index))
        fetched = train.fetch([last, 0])
        assert fetched.labels.tolist() == [1, 0]
        assert torch.equal(fetched.x[0], train[last + 1])
        assert list(fetched.unreadable) == [last]

    def test_after_the_last_the_first_stands_in(self, tmp_path):
        train = ImageFolder(grey(tmp_path, 20), size=8, unreadable=0.5).load().train
        last = len(train) - 1
        Path(train.source.name(last)).write_bytes(b"damaged")
        train._kept[last] = 0
        assert torch.equal(train.fetch([last]).x[0], train[0])

    def test_digests_of_other_processes_are_taken_over(self, tmp_path):
        one, other = (ImageFolder(grey(tmp_path, 20), size=8, held_out=0.01).load().train for _ in range(2))
        for examples in (one, other):
            examples.digests[:] = 0
            examples._kept[:] = 0
        one.read(range(9))
        other.read(range(9, len(other)))
        assert one.content_hash() is None
        one.merge(other.digests)
        whole = ImageFolder(tmp_path, size=8, held_out=0.01).load().train
        whole.read()
        assert one.content_hash() == whole.content_hash() is not None

    def test_as_many_as_may_be_are_no_error_and_one_more_is(self, tmp_path):
        train = ImageFolder(grey(tmp_path, 60), size=8, unreadable=0.1).load().train
        most = int(0.1 * len(train))
        train.check_readable(dict.fromkeys(range(most), "damaged"))
        with pytest.raises(UnreadableError, match=rf"^{most + 1} of {len(train)} examples cannot be read"):
            train.check_readable(dict.fromkeys(range(most + 1), "damaged"))

    def test_a_colour_file_among_grey_ones_is_not_made_grey_in_silence(self, tmp_path, monkeypatch):
        """Where it is not one of those whose headers are read at the start."""
        monkeypatch.setattr("unmelt.training.data.picture_data._HEADERS", 1)
        monkeypatch.setattr("unmelt.training.data.picture_data._DECODED", 1)
        grey(tmp_path, 20)
        picture(tmp_path / "010.png", np.full((8, 8, 3), (1, 2, 3)))
        train = ImageFolder(tmp_path, size=8, held_out=0.01).load().train
        (index,) = [index for index in range(len(train)) if train.source.name(index).endswith("010.png")]
        with pytest.raises(UnreadableError, match=r"010\.png has colours, and the others are grey: give channels=3"):
            train.read([index])

    def test_more_than_may_be_are_an_error(self, tmp_path):
        folder = grey(tmp_path / "set", 200, size=4)
        for number in range(60, 70):
            (folder / f"{number:03d}.png").write_bytes(b"damaged")
        data = ImageFolder(folder, size=4, unreadable=0.02).load()
        with pytest.raises(
            UnreadableError,
            match=r"\d of \d+ examples cannot be read: .*06\d\.png.*\(a share of 0\.02 may be unreadable: --data\.unre",
        ):
            begin(small_run(tmp_path / "runs"), data)

    def test_what_most_files_are_is_told_at_once(self, tmp_path):
        for number in range(20):
            picture(tmp_path / f"{number}.png", np.dstack([np.zeros((8, 8, 3)), np.eye(8) * 255]))
        with pytest.raises(
            ValueError, match=r"\.png has transparent pixels.*background.*of 1\d that were looked at are"
        ):
            ImageFolder(tmp_path, size=8).load()
        assert ImageFolder(tmp_path, size=8, background="white").load().train.shape == (3, 8, 8)

    @pytest.mark.full
    def test_a_file_that_is_gone_is_one_that_cannot_be_read(self, tmp_path):
        folder = grey(tmp_path / "set", 80, size=4)
        config = changed_to(tmp_path, folder, steps=60, unreadable=0.1)
        data = config.data.load()
        Path(data.train.source.name(5)).unlink()
        trainer = train(config, data)
        assert "contents" in json.loads(trainer.run.manifest.read_text())["data"]["train"]
        assert data.train.fetch([5]).unreadable[5].endswith("No such file or directory")

    def test_a_larger_picture_or_a_deep_one_that_was_not_looked_at_does_not_fit(self, tmp_path, monkeypatch):
        monkeypatch.setattr("unmelt.training.data.picture_data._HEADERS", 1)
        monkeypatch.setattr("unmelt.training.data.picture_data._DECODED", 1)
        grey(tmp_path, 20)
        picture(tmp_path / "010.png", np.zeros((9, 8)))
        Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(tmp_path / "011.png")
        train = ImageFolder(tmp_path, size=None, held_out=0.01).load().train
        for name, words in (
            ("010", "is of 9 x 8 pixels, and the others of 8 x 8"),
            ("011", "has more than 8 bits, and"),
        ):
            (index,) = [index for index in range(len(train)) if train.source.name(index).endswith(f"{name}.png")]
            with pytest.raises(UnreadableError, match=words):
                train.read([index])

    def test_nothing_readable_at_all(self, tmp_path):
        for number in range(3):
            (tmp_path / f"{number}.png").write_bytes(b"no picture")
        with pytest.raises(ValueError, match=r"\d\.png cannot be read as a picture \(no picture that Pillow knows\)"):
            ImageFolder(tmp_path).load()


class TestPlaces:
    def test_the_same_files_elsewhere_are_the_same_data(self, tmp_path):
        grey(tmp_path / "one", 30)
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        one, two = (ImageFolder(tmp_path / name, size=8).load().train.fingerprint() for name in ("one", "two"))
        assert one == two
        picture(tmp_path / "two" / "005.png", np.full((8, 8), 1))
        changed = ImageFolder(tmp_path / "two", size=8).load().train.fingerprint()
        (tmp_path / "two" / "005.png").rename(tmp_path / "two" / "005b.png")
        renamed = ImageFolder(tmp_path / "two", size=8).load().train.fingerprint()
        larger = ImageFolder(tmp_path / "one", size=9).load().train.fingerprint()
        assert len({one, changed, renamed, larger}) == 4

    def test_what_lies_beside_it_moves_along(self, tmp_path):
        for place in ("a", "b"):
            grey(tmp_path / place / "train", 12)
            grey(tmp_path / place / "test", 5, start=12)
        data = ImageFolder(tmp_path / "a" / "train", size=8, test=tmp_path / "a" / "test", labels="subfolders")
        moved = data.at(tmp_path / "b" / "train")
        assert moved == ImageFolder(tmp_path / "b" / "train", size=8, test=tmp_path / "b" / "test", labels="subfolders")

    @pytest.mark.full
    def test_other_held_out_files_are_not_those_of_the_run(self, tmp_path):
        one, other = grey(tmp_path / "a" / "train", 40, size=4), grey(tmp_path / "a" / "test", 6, size=4, start=40)
        config = changed_to(tmp_path, one, test=other)
        train(config, config.data.load())
        picture(other / "041.png", np.full((4, 4), 3))
        longer = changed_to(tmp_path, one, test=other, steps=40)
        with pytest.raises(ValueError, match="began with other held-out images than these: restore them"):
            train(longer, longer.data.load(), resume=True)

    @pytest.mark.full
    def test_a_run_goes_on_with_data_that_was_moved(self, tmp_path):
        folder = grey(tmp_path / "set", 64, size=4)
        config = changed_to(tmp_path, folder)
        train(config, config.data.load())
        folder.rename(tmp_path / "moved")
        moved = changed_to(tmp_path, tmp_path / "moved", steps=40)
        trainer = train(moved, moved.data.load(), resume=True)
        assert trainer.progress.step == 40
        manifest = json.loads(trainer.run.manifest.read_text())
        assert manifest["data"]["train"]["sha256"] == moved.data.load().train.fingerprint()

    @pytest.mark.full
    def test_a_relative_place_is_found_from_where_the_run_was_begun(self, tmp_path, monkeypatch, capsys):
        (begun, other) = (tmp_path / name for name in ("begun", "other"))
        grey(begun / "set", 64, size=4)
        other.mkdir()
        monkeypatch.chdir(begun)
        config = replace(changed_to(Path(), Path("set")), root=Path("runs"))
        run = train(config, config.data.load()).run.path.resolve()
        expected = config.data.load().train.read()
        monkeypatch.chdir(other)
        loaded = load_run(run)
        assert torch.equal(loaded.data().train.read(), expected)
        # Of one that lies elsewhere now nothing is guessed.
        with pytest.raises(FileNotFoundError, match="no folder set"):
            load_run(shutil.copytree(run, tmp_path / "copied")).data()
        launch(config, arguments=["--resume", str(run), "--training.steps", "40"])
        gone_on = load_run(run)
        assert gone_on.step == 40
        assert torch.equal(gone_on.data().train.read(), expected)
        # What is here comes first, and is not taken for what the run was trained on.
        grey(other / "set", 64, size=4, start=3)
        with pytest.raises(ValueError, match="was trained on other images than these"):
            loaded.data()


class TestContents:
    @pytest.mark.full
    def test_they_are_hashed_in_the_first_pass_and_compared_in_later_ones(self, tmp_path):
        folder = grey(tmp_path / "set", 100, size=4)
        config = changed_to(tmp_path, folder, steps=8)
        manifest = train(config, config.data.load()).run.manifest
        # Eight steps of four are no pass.
        assert "contents" not in json.loads(manifest.read_text())["data"]["train"]
        for workers, steps in ((0, 60), (2, 90)):
            config = changed_to(tmp_path, folder, steps=steps, workers=workers)
            train(config, config.data.load(), resume=True)
            stored = json.loads(manifest.read_text())["data"]["train"]["contents"]
        examples = config.data.load().train
        digests = [
            hashlib.blake2b(Path(examples.source.name(index)).read_bytes(), digest_size=16).digest()
            for index in range(len(examples))
        ]
        assert stored == hashlib.sha256(b"".join(digests)).hexdigest()

    @pytest.mark.full
    def test_a_file_that_changed_unseen_ends_the_run(self, tmp_path):
        """Of the same length, and not among the 64 whose contents are in the fingerprint."""
        folder = tmp_path / "set"
        for number in range(200):
            picture(folder / f"{number:03d}.bmp", np.full((4, 4), number))
        config = changed_to(tmp_path, folder, steps=60)
        train(config, config.data.load())
        examples = config.data.load().train
        sampled = {examples.source.name(index) for index in spread(len(examples), 64)}
        other = next(examples.source.name(i) for i in range(len(examples)) if examples.source.name(i) not in sampled)
        picture(Path(other), np.full((4, 4), 201))
        longer = changed_to(tmp_path, folder, steps=200)
        data = longer.data.load()
        assert data.train.fingerprint() == examples.fingerprint()
        with pytest.raises(DataError, match=r"was trained on other contents of these files .*some have changed since"):
            train(longer, data, resume=True)


class TestProcesses:
    @pytest.mark.full
    def test_workers_read_what_one_process_reads_and_runs_are_equal(self, tmp_path):
        folder = grey(tmp_path / "set", 64, size=4)
        runs = []
        for workers in (0, 2):
            config = changed_to(tmp_path, folder, name=f"workers{workers}", workers=workers)
            trainer = train(config, config.data.load())
            runs.append([p.detach() for p in trainer.denoiser.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))

    def test_each_file_is_decoded_once_where_all_fit_and_each_time_where_not(self, tmp_path, monkeypatch):
        from unmelt.training.data import picture_examples  # noqa: PLC0415

        folder, decode, count = grey(tmp_path, 20), picture_examples.decode, []
        monkeypatch.setattr(picture_examples, "decode", lambda *given: count.append(1) or decode(*given))
        for kept, expected in ((2**30, 1), (10, 3)):
            monkeypatch.setattr(picture_examples, "_KEPT", kept)
            train = ImageFolder(folder, size=8).load().train
            everything = train.read()
            count.clear()
            assert torch.equal(train.read(), everything)
            assert torch.equal(train.read(), everything)
            assert len(count) == (0 if expected == 1 else 2 * len(train))

    def test_it_can_be_sent_to_a_process_that_is_no_fork(self, tmp_path):
        train = ImageFolder(grey(tmp_path, 20), size=8).load().train
        train.read([3])
        again = pickle.loads(pickle.dumps(train))
        assert torch.equal(again.read(), train.read())


@refusals(
    (lambda: ImageFolder("x", size=(4, 0)), ValueError, "size must be at least 1.*got 0"),
    (lambda: ImageFolder("x", size=(16, 16, 3)), ValueError, r"size must be a number of pixels, or \(height, width\)"),
    (lambda: ImageFolder("x", black=70000.0), ValueError, "black=70000.0 needs a white"),
    (lambda: ImageFolder("x", size=-3), ValueError, "size must be at least 1.*got -3"),
    (lambda: ImageFolder("x", channels=2), ValueError, "channels must be 1 for grey, 3 for colour or 4.*got 2"),
    (lambda: ImageFolder("x", white=0.0), ValueError, "white must"),
    (lambda: ImageFolder("x", levels=1), ValueError, "levels must be at least 2"),
    (lambda: ImageFolder("x", background="nocolour"), ValueError, "background must be a colour, .*'nocolour'"),
    (lambda: ImageFolder("x", held_out=0.0), ValueError, "held_out must"),
    (lambda: ImageFolder("x", unreadable=1.0), ValueError, "unreadable must"),
    (lambda: ImageFolder("nowhere").load(), FileNotFoundError, r"no folder nowhere.*--data\.folder PATH"),
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_are_counted(tmp_path, count):
    grey(tmp_path, count)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(
        ValueError, match=rf"holds {count} images?, and 1 \.txt that are not used; at least 2 are needed \(.*\.png"
    ):
        ImageFolder(tmp_path).load()


def changed_to(tmp_path, folder, *, name="small", steps=20, workers=None, **settings):
    network = later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.2)
    data = ImageFolder(folder, size=4, **settings)
    return small_run(tmp_path / "runs", name, data=data, network=network, steps=steps, workers=workers)
