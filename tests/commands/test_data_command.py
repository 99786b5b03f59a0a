"""`unmelt data`."""

import numpy as np
import pytest
from PIL import Image

from unmelt.commands import main
from unmelt.training import ImageFolder


def folder_of(tmp_path, count=60):
    for number in range(count):
        shade = np.full((8, 8), number, np.uint8)
        (tmp_path / f"{number % 2}").mkdir(exist_ok=True)
        Image.fromarray(shade).save(tmp_path / f"{number % 2}" / f"{number:02d}.png")
    return [
        "data",
        "--data",
        "ImageFolder",
        "--data.folder",
        str(tmp_path),
        "--data.size",
        "8",
        "--data.labels",
        "subfolders",
    ]


def test_it_says_what_is_there(tmp_path, capsys):
    arguments = folder_of(tmp_path)
    main(arguments)
    said = capsys.readouterr().out
    splits = ImageFolder(tmp_path, size=8, labels="subfolders").load()
    assert "60 images from" in said
    assert f"{len(splits.train)} trained on: values from" in said
    assert f"examples of each class: {', '.join(map(str, splits.train.labels.bincount().tolist()))}" in said
    assert "0 different examples are both held out and trained on" in said


@pytest.mark.parametrize("workers", [0, 2])
def test_it_names_all_that_cannot_be_read_and_fails(tmp_path, capsys, monkeypatch, workers):
    arguments = folder_of(tmp_path)
    monkeypatch.setattr("unmelt.training.data.examples.Examples.workers", workers)
    broken = [tmp_path / "0" / f"{number:02d}.png" for number in (4, 10, 24, 40)]
    for path in broken:
        path.write_bytes(b"damaged")
    with pytest.raises(
        SystemExit, match=r"error: .*cannot be read.*\(a share of 0\.01 may be unreadable: --data.unreadable\)"
    ):
        main(arguments)
    said = capsys.readouterr().out
    assert all(str(path) in said for path in broken)
    assert said.count("0 equal to an earlier one") == 2


def test_what_many_pictures_lack_is_said_once_and_hides_no_other_fault(tmp_path, capsys):
    arguments = folder_of(tmp_path)
    for number in range(30):
        Image.new("RGBA", (8, 8)).save(tmp_path / "0" / f"clear picture {number:02d}.png")
    (tmp_path / "0" / "04.png").write_bytes(b"damaged")
    splits = ImageFolder(tmp_path, size=8, held_out=0.01, unreadable=0.9).load()
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--data.held-out", "0.01"])
    error, said = str(stopped.value), capsys.readouterr().out
    clear = [path for path in map(splits.train.source.name, range(len(splits.train))) if "clear" in path]
    first, *others = clear
    fault = "has transparent pixels, and nothing says what is behind them: give a background, such as white, or"
    for text, named in ((error, 4), (said, 19)):
        assert text.count(fault) == 1
        assert f"{tmp_path / '0' / '04.png'} cannot be read as a picture" in text
        assert f"{first} {fault}" in text
        assert f"(and so {len(others)} more: {', '.join(others[:named])}, ...)" in text


def test_an_example_in_both_parts_is_an_error(tmp_path, capsys):
    arguments = folder_of(tmp_path)
    splits = ImageFolder(tmp_path, size=8).load()
    (tmp_path / "1" / "again.png").write_bytes(splits.test.source.contents(0))
    while "again" not in " ".join(ImageFolder(tmp_path, size=8).load().train.source._names.tolist()):
        (tmp_path / "1" / "again.png").rename(tmp_path / "1" / "again2.png")
    with pytest.raises(SystemExit, match="held-out examples must not be trained on"):
        main(arguments)
    assert "1 different examples are both held out and trained on" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_one_line():
    with pytest.raises(SystemExit, match="error: no folder nowhere"):
        main(["data", "--data", "ImageFolder", "--data.folder", "nowhere"])
