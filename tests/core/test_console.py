"""A terminal that is gone costs nothing but what would have been printed."""

import subprocess
import sys

import pytest

from unmelt.core.console import Unbreakable, say

PROGRAM = """
import sys, time
from unmelt.core.console import say
sys.stdin.read()
say("nobody reads this")
say("nor this", stream=sys.stderr)
print("nor what others print")
open("went_on", "w").close()
"""


class Broken:
    """A stream that fails as a closed pipe does."""

    def __init__(self, error):
        self.error, self.tried, self.encoding = error, 0, "utf-8"

    def write(self, text):
        self.tried += 1
        raise self.error

    def flush(self):
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "I/O error"), ValueError("closed file")])
def test_a_stream_that_fails_stops_nothing(error):
    stream = Broken(error)
    say("a line", stream=stream)
    Unbreakable(stream).flush()
    assert stream.tried == 2
    assert Unbreakable(stream).encoding == "utf-8"


def test_a_mistake_is_no_failure_of_the_stream():
    with pytest.raises(TypeError):
        say("a line", stream=Broken(TypeError()))


def test_what_is_said_is_printed_at_once(capsys):
    say("a line")
    say("another", stream=sys.stderr)
    assert capsys.readouterr() == ("a line\n", "another\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close otherwise there")
def test_a_program_whose_pipes_are_closed_ends_well(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    process.stdout.close()
    process.stderr.close()
    process.stdin.close()
    # Python itself would end with 120, where it cannot flush what was printed.
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "went_on").exists()
