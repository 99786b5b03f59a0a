"""What the recipes on digits print of their samples."""

import re
from dataclasses import replace

import pytest
import torch
from small_runs import small_run

from unmelt.core import later
from unmelt.evaluation import Recogniser, report_recognition
from unmelt.models import UNet
from unmelt.training import ArrayExamples, Splits, Trainer


@pytest.fixture
def splits(digits):
    """A part of the digits, as whole grey levels."""
    train, test = ((part * 255).byte() for part in (digits.train[:300], digits.test[:60]))
    return Splits(
        ArrayExamples(train, labels=digits.train_labels[:300]), ArrayExamples(test, labels=digits.test_labels[:60])
    )


def test_samples_stand_beside_held_out_digits(splits, tmp_path, capsys):
    trainer = Trainer(small_run(tmp_path), splits)
    rows = reported(trainer, capsys)
    assert [row[:2] for row in rows] == [("20", "samples"), ("60", "held-out digits")]
    recogniser = Recogniser(splits.train.read(), splits.train.labels)
    for row, images in zip(rows, (trainer.draw(20, seed=1).clamp(0, 1), splits.test.read()), strict=True):
        found = recogniser.assess(images)
        assert float(row[2]) == pytest.approx(100 * found.recognised, abs=0.051)
        assert int(row[4]) == found.classes
        assert float(row[5]) == pytest.approx(found.nearest, abs=0.0051)
    # Nothing was asked for of samples; held-out digits are told with their labels.
    assert rows[0][3] == "-"
    expected = recogniser.assess(splits.test.read(), splits.test.labels).as_labelled
    assert float(rows[1][3].rstrip("%")) == pytest.approx(100 * expected, abs=0.051)


def test_samples_of_classes_are_told_as_what_was_asked_for(splits, tmp_path, capsys):
    network = later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(), classes=10)
    trainer = Trainer(replace(small_run(tmp_path), network=network), splits)
    told = reported(trainer, capsys)[0][3]
    drawn = trainer.draw(20, seed=1).clamp(0, 1)
    found = Recogniser(splits.train.read(), splits.train.labels).assess(drawn, torch.arange(20) % 10)
    assert float(told.rstrip("%")) == pytest.approx(100 * found.as_labelled, abs=0.051)


def reported(trainer, capsys):
    report_recognition(trainer, 20)
    line = r"^(\d+) (samples|held-out digits)\s+([\d.]+)%\s+([\d.]+%|-)\s+(\d+)\s+([\d.]+)$"
    return re.findall(line, capsys.readouterr().out, re.M)


def test_without_labels_it_says_so(splits, tmp_path, capsys):
    unlabelled = Splits(ArrayExamples(splits.train.values), ArrayExamples(splits.test.values))
    report_recognition(Trainer(small_run(tmp_path), unlabelled))
    assert "no classifier without labels" in capsys.readouterr().out
