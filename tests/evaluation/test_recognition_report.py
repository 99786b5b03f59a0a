"""What the recipes on digits print of their samples."""

import re

import pytest
from small_runs import small_run

from unmelt.evaluation import Recogniser, report_recognition
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
    report_recognition(trainer, 20)
    rows = re.findall(
        r"^(\d+) (samples|held-out digits)\s+([\d.]+)%\s+(\d+)\s+([\d.]+)$", capsys.readouterr().out, re.M
    )
    assert [row[:2] for row in rows] == [("20", "samples"), ("60", "held-out digits")]
    recogniser = Recogniser(splits.train.read(), splits.train.labels)
    for row, images in zip(rows, (trainer.draw(20, seed=1).clamp(0, 1), splits.test.read()), strict=True):
        found = recogniser.assess(images)
        assert float(row[2]) == pytest.approx(100 * found.recognised, abs=0.051)
        assert int(row[3]) == found.classes
        assert float(row[4]) == pytest.approx(found.nearest, abs=0.0051)


def test_without_labels_it_says_so(splits, tmp_path, capsys):
    unlabelled = Splits(ArrayExamples(splits.train.values), ArrayExamples(splits.test.values))
    report_recognition(Trainer(small_run(tmp_path), unlabelled))
    assert "no classifier without labels" in capsys.readouterr().out
