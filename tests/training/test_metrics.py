"""Records: one line a step, of which a damaged one costs itself alone; and a display for terminals and for logs."""

import io
import json

import pytest
from small_runs import contents, metrics, train

from unmelt.training import RunFolder
from unmelt.training.folder.records import Records, read_metrics
from unmelt.training.loop import progress_display as display_module
from unmelt.training.loop.progress_display import ProgressDisplay, duration

LINES = [json.dumps({"step": step, "loss": 1.0 / step}).encode() for step in range(1, 6)]
DAMAGES = {
    "cut": b'{"step": 3, "lo',
    "empty": b"",
    "no UTF-8": b'{"step": 3, "loss": "\xff\xfe"',
    "no object": b"[3]",
    "no step": b'{"loss": 3}',
    "a step that is none": b'{"step": "three"}',
}


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path)
    run.make_folders()
    return run


class TestLines:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_line_costs_that_line_only(self, run, damage):
        run.metrics.write_bytes(b"\n".join([*LINES[:2], DAMAGES[damage], *LINES[3:]]) + b"\n")
        assert [line["step"] for line in read_metrics(run.metrics)] == [1, 2, 4, 5]
        with Records(run, from_step=4) as records:
            records.write(5, {"loss": 0.5})
        assert [line["step"] for line in read_metrics(run.metrics)] == [1, 2, 4, 5]
        # It stays for whoever wants to know what it was.
        assert run.metrics.read_bytes().splitlines()[2] == DAMAGES[damage]

    def test_a_last_line_that_was_cut_off_is_dropped(self, run):
        run.metrics.write_bytes(b"\n".join([*LINES[:2], b'{"step": 3, "lo']))
        with Records(run, from_step=2) as records:
            records.write(3, {"loss": 0.5})
        assert run.metrics.read_bytes().splitlines() == [*LINES[:2], b'{"step": 3, "loss": 0.5}']

    def test_a_process_that_does_not_write_writes_nothing(self, tmp_path):
        with Records(None) as records:
            records.write(1, {"loss": 1.0})
            records.flush()
        assert contents(tmp_path) == {}


NUMBERS = {"loss": 0.25, "images_per_second": 100.0, "hours_left": 2.05}


class TestDisplay:
    @pytest.fixture
    def stream(self, monkeypatch):
        """Where the display is shown, once a test says so: pytest has a stderr of its own for each part of one."""
        return lambda stream: monkeypatch.setattr("sys.stderr", stream) or stream

    def test_a_log_gets_a_line_now_and_then_and_the_last(self, stream, monkeypatch):
        stream, now = stream(io.StringIO()), [0.0]
        monkeypatch.setattr(display_module.time, "monotonic", lambda: now[0])
        display = ProgressDisplay(0, 10)
        for step, seconds in ((1, 0), (2, 10), (3, 31), (4, 40), (10, 41)):
            now[0] = seconds
            display.advance(step)
            display.numbers(step, NUMBERS)
        display.close()
        assert stream.getvalue().splitlines() == [
            f"step {step}/10  loss 0.25  images/s 100  2 h 3 min left" for step in (1, 3, 10)
        ]

    def test_one_that_is_not_shown_shows_nothing(self, stream):
        stream = stream(io.StringIO())
        display = ProgressDisplay(0, 10, shown=False)
        display.numbers(10, NUMBERS)
        assert stream.getvalue() == ""

    def test_a_terminal_gets_a_bar(self, stream):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        stream = stream(terminal)
        display = ProgressDisplay(2, 10)
        display.advance(3)
        display.numbers(3, NUMBERS)
        display.close()
        assert "3/10" in stream.getvalue()
        assert "loss=0.25" in stream.getvalue()

    def test_times_as_people_say_them(self):
        assert [duration(hours) for hours in (0, 0.02, 0.5, 2, 30.5)] == [
            "0 s",
            "72 s",
            "30 min",
            "2 h 0 min",
            "30 h 30 min",
        ]


def test_trackers_that_are_not_there_are_refused_before_anything_is_written(training, splits):
    for name, words in (("nobody", "there is no 'nobody'"), ("wandb", "wandb is not installed")):
        with pytest.raises(ValueError, match=f"trackers: {words}"):
            train(training(trackers=(name,)), splits)
    assert not training().folder.exists()


def test_trackers_are_told_the_same_numbers(training, splits, monkeypatch):
    tensorboard = train(training(steps=3, trackers=("tensorboard",)), splits)
    # Its own, and accelerate's beside it.
    assert len(list(tensorboard.run.path.rglob("events.out.*"))) >= 2
    assert [line["step"] for line in metrics(tensorboard)] == [1, 2, 3]
