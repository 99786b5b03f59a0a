"""`unmelt export`."""

import pytest
import torch
from small_runs import contents, images, small_run, train

from unmelt import load_run
from unmelt.commands import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(
        small_run(tmp_path_factory.mktemp("runs"), steps=4, checkpoint_every=2, ema_decay=(0.9, 0.1)), images()
    ).run.path


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def samples(folder, **options):
    return load_run(folder, **options).sample(3, generator=torch.Generator().manual_seed(1))


@pytest.mark.full
def test_it_writes_a_folder_that_draws_the_run_s_samples(run, here, capsys):
    main(["export", str(run)])
    assert "exported/small: step 4, average of decay 0.9, 0.1 MB" in capsys.readouterr().out
    assert torch.equal(samples(here / "exported" / "small"), samples(run))


@pytest.mark.full
def test_average_checkpoint_and_folder_are_chosen(run, here):
    main(["export", str(run), "--out", "mine", "--ema-decay", "0.1", "--checkpoint", "2"])
    assert torch.equal(samples(here / "mine"), samples(run, ema_decay=0.1, checkpoint=2))
    before = contents(here)
    with pytest.raises(SystemExit, match=r"^error: mine exists and is not overwritten"):
        main(["export", str(run), "--out", "mine"])
    assert contents(here) == before
    main(["export", str(run), "--out", "mine", "--force"])
    assert torch.equal(samples(here / "mine"), samples(run))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "9"], "error: no checkpoint 9 under .*: there is step_00000002, step_00000004"),
        (["--ema-decay", "0.5"], "error: ema_decay=0.5: .* keeps averages of decay 0.9, 0.1"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run, here, arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(["export", str(run), *arguments])
    assert not list(here.iterdir())


def test_what_is_no_run_is_told(here):
    with pytest.raises(SystemExit, match="error: nowhere holds no run"):
        main(["export", "nowhere"])
    assert not list(here.iterdir())
