"""`unmelt spectra`."""

from dataclasses import replace

import pytest
from PIL import Image
from small_runs import small_run

from unmelt.commands import main
from unmelt.commands.spectra import _print_shares
from unmelt.evaluation.disentanglement import VarianceShares
from unmelt.training import Trainer


@pytest.mark.full
def test_of_a_run_samples_are_measured_and_its_process_is_drawn(tmp_path, capsys):
    config = small_run(tmp_path)
    run = Trainer(config, config.data.load()).train().path
    capsys.readouterr()
    out = tmp_path / "figure.png"
    main(["spectra", str(run), "--samples", "10", "--cross", "2", "--out", str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1437 images of shape (1, 8, 8)")
    assert lines[1].startswith("power law ")
    assert lines[3].split() == ["frequency", "power", "samples", "/", "images", "drowns", "in", "HeatDissipation"]
    assert lines[4].split()[0] == "0.0000"
    assert lines[4].endswith("never")
    assert any(line.startswith("variance of samples") for line in lines)
    assert lines[-1] == f"wrote {out}"
    assert Image.open(out).size[0] > 600


def test_shares_below_zero_are_explained(capsys):
    shares = VarianceShares(0.1, "all", 0.9, -0.05, 0.15, 0.2)
    _print_shares([replace(shares, noise=0.05, both=0.05)])
    assert "below 0" not in capsys.readouterr().out
    _print_shares([shares])
    assert "-5%" in (said := capsys.readouterr().out)
    assert said.endswith("a share below 0 is one of 0, by the error of its estimate: --cross takes more of both\n")


@pytest.mark.full
def test_of_a_folder_and_several_processes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["draw", "Pixelation", "--out", "pictures/a.png"])
    main(["draw", "HeatDissipation", "--out", "pictures/b.png"])
    main(["draw", "HeatDissipation", "--out", "pictures/c.png"])
    capsys.readouterr()
    made = ["--process", "Pixelation", "--process", "SpectralDiffusion(noise=EqualSNR(FittedSpectrum(floor=1e-3)))"]
    main(["spectra", "pictures", "--size", "16", "--low", "-1", *made])
    printed = capsys.readouterr().out
    assert "numbers from -1 to 1" in printed
    assert "\ndrowns in Pixelation, by octave (0: block means): 0: never" in printed
    assert "drowns in SpectralDiffusion" in printed
    with pytest.raises(SystemExit, match=r"^error: .*spectra.png is there already"):
        main(["spectra", "pictures", "--size", "16"])
    with pytest.raises(SystemExit, match="^error: --images must be at least 2, got 1"):
        main(["spectra", "pictures", "--images", "1", "--force"])
    with pytest.raises(SystemExit, match="its name must end in the format"):
        main(["spectra", "pictures", "--out", "spectra.txt"])


@pytest.mark.full
def test_processes_of_one_class_are_told_apart(tmp_path, capsys):
    two = ["IsotropicDiffusion()", "IsotropicDiffusion(schedule=LinearSchedule())"]
    out = ["--images", "20", "--out", str(tmp_path / "a.png")]
    main(["spectra", "Digits()", *out, *(word for text in two for word in ("--process", text))])
    printed = capsys.readouterr().out
    assert all(f"drowns in {text}" in printed for text in two)
    main(["spectra", "Digits()", *out, "--force", "--process", two[1]])
    assert "drowns in IsotropicDiffusion\n" in capsys.readouterr().out
