"""The page of errors: each message on it is met, word for word, by a small real cause."""

import re
import warnings

import pytest
from documentation import DOCS
from error_causes import CAUSES

PAGE = (DOCS / "how_to" / "when_something_goes_wrong.md").read_text()
# The first cell of a row, in backticks.
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)


def cause_of(message):
    (cause,) = (cause for words, cause in CAUSES.items() if words in message)
    return cause


def pattern(message):
    """Return a regular expression of all that a message may say: `...` stands for names and numbers."""
    return ".+".join(re.escape(part) for part in message.removeprefix("warning: ").split("..."))


def test_a_pattern_is_word_for_word():
    assert re.fullmatch(pattern("no folder ...: pass ..."), "no folder a/b: pass it")
    assert not re.fullmatch(pattern("no folder ...: pass ..."), "no folder a/b, pass it")
    assert re.fullmatch(pattern("and ....forward"), "and Net.forward")
    assert not re.fullmatch(pattern("no folder"), "no folder a/b")


def test_each_cause_is_that_of_one_message():
    assert len(MESSAGES) > 25
    assert sorted(cause_of(message).__name__ for message in MESSAGES) == sorted(c.__name__ for c in CAUSES.values())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: cause_of(message).__name__)
def test_the_message_is_met_word_for_word(message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            cause_of(message)()
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            met = [str(error)]
        else:
            # It is a warning, printed or raised as one.
            assert message.startswith("warning: ")
            met = [str(each.message) for each in told]
    met += capsys.readouterr().err.splitlines()
    met = [text.removeprefix("error: ").removeprefix("warning: ") for text in met]
    assert any(re.fullmatch(pattern(message), text, re.DOTALL) for text in met), met
