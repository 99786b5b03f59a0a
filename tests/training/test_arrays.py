"""Arrays as examples: levels and ranges, numbers without levels, values that are none, files that are mapped."""

import hashlib
import tracemalloc

import numpy as np
import pytest
import torch
from support import refusals
from torch.utils.data import DataLoader

from unmelt.models import GreyLevels
from unmelt.training import ArrayExamples, Splits
from unmelt.training.data import ArrayFile, Channels, UnreadableError

RAMP = torch.arange(24).reshape(6, 1, 4)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-3.0, -2.5)])
@pytest.mark.parametrize(
    ("levels", "dtype"),
    [(2, torch.uint8), (17, torch.int64), (256, torch.uint8), (4096, torch.uint16), (70_000, torch.int32)],
)
def test_levels_are_mapped_evenly_onto_the_range(levels, dtype, low, high):
    values = torch.arange(levels).to(dtype).reshape(-1, 1, 1)
    read = ArrayExamples(values, GreyLevels(levels, low, high)).read()
    assert read.dtype == torch.float32
    # One product and one sum in float32, of numbers up to the range's ends, with a width that is rounded once.
    bound = 3 * torch.finfo(torch.float32).eps * max(abs(low), abs(high), high - low)
    assert (read.flatten().double() - torch.linspace(low, high, levels, dtype=torch.float64)).abs().max() <= bound


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_numbers_without_levels_are_taken_as_they_are(dtype):
    values = torch.randn(5, 2, 3, 4, 2, dtype=torch.float64).to(dtype)
    examples = ArrayExamples(values)
    assert examples.grey_levels is None
    assert torch.equal(examples.read(), values.float())
    assert examples.range == (values.float().min().item(), values.float().max().item())


def test_single_examples_batches_and_all_agree():
    values = torch.randint(0, 256, (7, 2, 3, 4), dtype=torch.uint8)
    examples = ArrayExamples(values, GreyLevels(256, -1.0, 1.0), torch.arange(7))
    everything = examples.read()
    assert len(examples) == 7
    assert examples.shape == (2, 3, 4)
    assert torch.equal(torch.stack([examples[i] for i in range(7)]), everything)
    assert torch.equal(examples.read([4, 1]), everything[[4, 1]])
    assert torch.equal(examples.read(slice(2, 4)), everything[2:4])
    (batch,) = DataLoader(examples, batch_size=7, collate_fn=lambda batch: batch)
    assert torch.equal(batch.x, values)
    assert torch.equal(examples.scaled(batch.x), everything)
    assert torch.equal(examples.fetch(range(7)).x, everything)
    assert batch.labels.tolist() == list(range(7))
    assert torch.equal(torch.cat(list(examples.blocks(3))), everything[[0, 2, 4]])


@pytest.mark.parametrize("values", [torch.zeros(3, 1, 2, dtype=torch.uint8), torch.zeros(3, 1, 2)])
def test_examples_are_not_changed_by_being_served(values):
    examples = ArrayExamples(values.clone())
    examples[0].fill_(7)
    examples.read().fill_(7)
    assert torch.equal(examples.values, values)


def test_the_fingerprint_is_of_shape_levels_and_values():
    values = torch.randint(0, 17, (3, 1, 4, 2), dtype=torch.uint8)
    expected = hashlib.sha256(b"(3, 1, 4, 2) 17" + values.numpy().tobytes()).hexdigest()
    # However the numbers lie in memory, of whatever dtype, and whatever range they are mapped to.
    strided = values.transpose(2, 3).contiguous().transpose(2, 3)
    for same in (values, strided, values.int()):
        assert ArrayExamples(same, GreyLevels(17, -1.0, 1.0)).fingerprint() == expected


def test_a_fingerprint_of_a_sample_is_none_of_the_whole(monkeypatch):
    values = torch.randint(0, 17, (64, 1, 8), dtype=torch.uint8)
    whole = ArrayExamples(values, GreyLevels(17, 0.0, 1.0)).fingerprint()
    monkeypatch.setattr("unmelt.training.data.arrays._READ_WHOLE", 64)
    one, other = (
        ArrayExamples(values.to(dtype), GreyLevels(17, 0.0, 1.0)).fingerprint() for dtype in (torch.uint8, torch.int64)
    )
    assert one == other != whole


def test_the_first_are_those_that_can_be_read(monkeypatch, capsys):
    monkeypatch.setattr("unmelt.training.data.arrays._READ_WHOLE", 8)
    values = torch.arange(40.0).reshape(20, 1, 2)
    values[7] = torch.nan
    examples = ArrayExamples(values)
    with pytest.raises(UnreadableError, match=r"holds nan at \[7, 0, 0\]"):
        examples.first()
    examples.most_unreadable = 0.1
    assert torch.equal(examples.first(10), torch.cat([values[:7], values[8:10]]))
    assert "holds nan at [7, 0, 0]" in capsys.readouterr().err
    assert torch.equal(examples.first(5), values[:5])


def test_the_fingerprint_tells_data_apart():
    values = torch.zeros(3, 1, 4, 2, dtype=torch.uint8)
    touched = values.clone()
    touched[2, 0, 3, 1] = 1
    others = [values, touched, values.transpose(2, 3), values[:2], values.float(), values.double()]
    prints = {ArrayExamples(each).fingerprint() for each in others}
    prints.add(ArrayExamples(values, GreyLevels(17, 0.0, 1.0)).fingerprint())
    assert len(prints) == len(others) + 1


def with_one(value, dtype=torch.float32):
    values = torch.zeros(4, 1, 3, dtype=dtype)
    values[2, 0, 1] = value
    return values


@refusals(
    (lambda: ArrayExamples(torch.zeros(0, 1, 2)), ValueError, r"at least one example.*got shape \(0, 1, 2\)"),
    (lambda: ArrayExamples(torch.zeros(4, 2)), ValueError, r"\(count, channels, \.\.\.\), got shape \(4, 2\)"),
    (lambda: ArrayExamples(torch.zeros(4, 1, 2).bool()), TypeError, "levels as integers, or floating-point numbers"),
    (lambda: ArrayExamples(torch.zeros(4, 1, 2).int()), TypeError, "does not say how many levels.*4096 for 12 bits"),
    (lambda: ArrayExamples(torch.zeros(4, 1, 2), GreyLevels(256, 0.0, 1.0)), TypeError, "levels are integers"),
    (
        lambda: ArrayExamples(with_one(float("nan"))),
        UnreadableError,
        r"holds nan at \[2, 0, 1\], which must be a finite",
    ),
    (
        lambda: ArrayExamples(with_one(float("-inf")), name="x.npy"),
        UnreadableError,
        r"x\.npy holds -inf at \[2, 0, 1\]",
    ),
    (lambda: ArrayExamples(with_one(1e300, torch.float64)), UnreadableError, r"holds 1e\+300 at .* float32"),
    (lambda: ArrayExamples(RAMP, GreyLevels(2**24 + 1, 0.0, 1.0)), ValueError, "and float32 tells 16777216 apart"),
    (
        lambda: ArrayExamples(with_one(17, torch.uint8), GreyLevels(17, 0.0, 1.0)),
        UnreadableError,
        r"holds 17 at \[2, 0, 1\], which must be a level from 0 to 16",
    ),
    (
        lambda: ArrayExamples(with_one(-1, torch.int32), GreyLevels(17, 0.0, 1.0)),
        UnreadableError,
        r"holds -1 at \[2, 0, 1\], which must be a level from 0 to 16",
    ),
    (
        lambda: ArrayExamples(torch.zeros(4, 1, 2), labels=torch.zeros(3).long()),
        ValueError,
        r"labels must have shape \(4,",
    ),
    (lambda: ArrayExamples(torch.zeros(4, 1, 2), labels=torch.zeros(4)), ValueError, "labels must be integers from 0"),
    (lambda: ArrayExamples(torch.zeros(3, 1, 2), labels=torch.arange(3) - 1), ValueError, "from 0, .*from -1"),
    (
        lambda: Splits(ArrayExamples(torch.zeros(4, 1, 2)), ArrayExamples(torch.zeros(4, 1, 3))),
        ValueError,
        r"the same shape, got \(1, 2\) and \(1, 3\)",
    ),
    (
        lambda: Splits(ArrayExamples(torch.zeros(4, 1, 2)), ArrayExamples(torch.zeros(4, 1, 2, dtype=torch.uint8))),
        ValueError,
        "the same grey_levels",
    ),
    (
        lambda: Splits(ArrayExamples(RAMP.float(), labels=torch.arange(6)), ArrayExamples(RAMP.float())),
        ValueError,
        "the held-out examples have no labels, and the others have",
    ),
    (lambda: Splits(torch.zeros(4, 1, 2), ArrayExamples(torch.zeros(4, 1, 2))), TypeError, "train must be Examples"),
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


class TestFiles:
    def saved(self, path, **arrays):
        np.save(path, arrays["x"]) if path.suffix == ".npy" else np.savez(path, **arrays)
        return path

    @pytest.mark.parametrize(
        "shape", [(20, 2, 50), (20, 1, 6, 5), (20, 1, 4, 3, 5)], ids=["sound", "fields", "volumes"]
    )
    @pytest.mark.parametrize("suffix", [".npy", ".npz"])
    def test_every_tenth_is_held_out_and_the_rest_trained_on(self, tmp_path, shape, suffix):
        x = np.random.default_rng(0).normal(size=shape)
        splits = ArrayFile(self.saved(tmp_path / f"x{suffix}", x=x)).load()
        assert torch.equal(splits.test.read(), torch.from_numpy(x[[5, 15]]).float())
        rest = np.delete(x, [5, 15], axis=0)
        assert torch.equal(splits.train.read(), torch.from_numpy(rest).float())
        assert f"20 examples of shape {shape[1:]}" in splits.told
        assert "no levels" in splits.told
        assert "2 held out" in splits.told

    @pytest.mark.parametrize(
        ("channels", "shape", "expected"),
        [
            (Channels.FIRST, (4, 3, 8, 8), (3, 8, 8)),
            (Channels.LAST, (4, 8, 9, 3), (3, 8, 9)),
            (Channels.NONE, (4, 8, 9), (1, 8, 9)),
            (Channels.NONE, (4, 50), (1, 50)),
        ],
    )
    def test_channels_are_where_it_is_said(self, tmp_path, channels, shape, expected):
        x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        train = ArrayFile(self.saved(tmp_path / "x.npy", x=x), channels=channels).load().train
        assert train.shape == expected
        moved = x[..., None] if channels is Channels.NONE else x
        moved = moved if channels is Channels.FIRST else np.moveaxis(moved, -1, 1)
        assert torch.equal(train.values, torch.from_numpy(moved[[0, 1, 3]].copy()))

    def test_labels_come_from_the_archive_or_a_file_and_stay_with_their_examples(self, tmp_path):
        x, y = np.arange(20, dtype=np.uint8).reshape(20, 1, 1), np.arange(20) % 7
        self.saved(tmp_path / "both.npz", images=x, y=y)
        self.saved(tmp_path / "x.npy", x=x)
        self.saved(tmp_path / "y.npy", x=y)
        for data in (
            ArrayFile(tmp_path / "both.npz", labels="y"),
            ArrayFile(tmp_path / "x.npy", labels=str(tmp_path / "y.npy")),
        ):
            for part in (splits := data.load()).train, splits.test:
                assert part.labels.tolist() == (part.values.flatten() % 7).tolist()

    def test_another_file_is_held_out(self, tmp_path):
        x = np.random.default_rng(0).normal(size=(20, 1, 6)).astype(np.float32)
        one, other = (self.saved(tmp_path / f"{k}.npy", x=part) for k, part in enumerate((x[:13], x[13:])))
        splits = ArrayFile(one, test=other).load()
        assert torch.equal(splits.train.read(), torch.from_numpy(x[:13]))
        assert torch.equal(splits.test.read(), torch.from_numpy(x[13:]))
        with pytest.raises(ValueError, match="is trained on, and would be held out as well"):
            ArrayFile(one, test=tmp_path / "." / "0.npy").load()

    def test_big_endian_numbers_and_twelve_bits_are_read(self, tmp_path):
        x = np.random.default_rng(0).integers(0, 4096, (9, 1, 5))
        for dtype in ("<u2", ">u2", ">i4", "<i8"):
            splits = ArrayFile(self.saved(tmp_path / "x.npy", x=x.astype(dtype)), levels=4096).load()
            found = torch.cat([splits.train.read(), splits.test.read()]).sort(0).values
            torch.testing.assert_close(found.double(), torch.from_numpy(np.sort(x, 0) / 4095), rtol=2e-7, atol=0)

    def test_a_large_file_is_mapped_and_checked_where_it_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr("unmelt.training.data.arrays._READ_WHOLE", 2**16)
        x = np.zeros((60_000, 1, 64), np.float32)
        x[41_234, 0, 5] = np.nan
        path = self.saved(tmp_path / "x.npy", x=x)
        tracemalloc.start()
        train = ArrayFile(path, held_out=1e-4).load().train
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 2
        tracemalloc.stop()
        (index,) = (train._rows == 41_234).nonzero().flatten().tolist()
        with pytest.raises(UnreadableError, match=r"x\.npy holds nan at \[41234, 0, 5\]") as caught:
            train.read([3, index])
        assert caught.value.index == index
        # None may be unreadable in an array.
        fetched = train.fetch([3, index])
        assert torch.equal(fetched.x[1], train[index + 1])
        with pytest.raises(UnreadableError, match="41234"):
            train.check_readable(fetched.unreadable)

    def test_the_fingerprint_of_a_mapped_file_tells_files_apart_and_not_places(self, tmp_path, monkeypatch):
        monkeypatch.setattr("unmelt.training.data.arrays._READ_WHOLE", 2**10)
        x = np.random.default_rng(0).normal(size=(300, 1, 8))
        self.saved(tmp_path / "a.npy", x=x)
        (tmp_path / "b").mkdir()
        self.saved(tmp_path / "b" / "c.npy", x=x)
        self.saved(tmp_path / "d.npy", x=x + 1)
        one, same, other = (
            ArrayFile(tmp_path / name).load().train.fingerprint() for name in ("a.npy", "b/c.npy", "d.npy")
        )
        assert one == same != other

    @pytest.mark.parametrize(
        ("name", "settings", "error", "words"),
        [
            ("none.npy", {}, FileNotFoundError, r"no file .*none\.npy: .*--data\.file PATH"),
            ("text.npy", {}, ValueError, r"text\.npy cannot be read as \.npy or \.npz.*numpy\.save"),
            ("two.npz", {}, ValueError, r"two\.npz holds a, b: say which are the examples with key=, got ''"),
            ("two.npz", {"key": "c"}, ValueError, "holds a, b: say which.*got 'c'"),
            ("two.npz", {"key": "a", "labels": "y"}, ValueError, "holds a, b, and no file is called 'y'"),
            ("two.npz", {"key": "a", "labels": "b"}, ValueError, r"labels must have shape|one label for each"),
            ("short.npz", {"key": "x", "labels": "y"}, ValueError, "holds 9 examples, and there are 11 labels"),
            ("cut.npz", {}, ValueError, r"cut\.npz cannot be read as \.npy or \.npz"),
            ("grey.npy", {}, ValueError, r"\(9, 16, 16\), and which axis.*channels=NONE if there is one.*FIRST for 16"),
            (
                "last.npy",
                {},
                ValueError,
                r"\(9, 8, 8, 3\), and which axis.*LAST for 3 channels",
            ),
            ("flat.npy", {}, ValueError, r"shape \(9, 8\): examples are .*channels=NONE"),
            ("one.npy", {}, ValueError, "at least 2 examples are needed"),
            ("text.npz", {}, ValueError, "holds <U1, which is no number"),
            ("pickle.npy", {}, ValueError, "cannot be read"),
            ("deep.npy", {}, TypeError, r"deep\.npy holds torch\.int16.*number of levels"),
        ],
    )
    def test_what_is_refused(self, tmp_path, name, settings, error, words):
        np.savez(tmp_path / "two.npz", a=np.zeros((9, 1, 8)), b=np.zeros((9, 1, 8)))
        np.savez(tmp_path / "text.npz", x=np.full((9, 1, 8), "a"))
        np.savez(tmp_path / "short.npz", x=np.zeros((9, 1, 8)), y=np.zeros(11, np.int64))
        (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:300])
        for file, array in {
            "grey.npy": np.zeros((9, 16, 16), np.uint8),
            "last.npy": np.zeros((9, 8, 8, 3)),
            "flat.npy": np.zeros((9, 8)),
            "one.npy": np.zeros((1, 1, 8)),
            "deep.npy": np.zeros((9, 1, 8), np.int16),
            "pickle.npy": np.array([[[object()]]] * 9),
        }.items():
            np.save(tmp_path / file, array)
        (tmp_path / "text.npy").write_text("no array")
        with pytest.raises(error, match=words):
            ArrayFile(tmp_path / name, **settings).load()
