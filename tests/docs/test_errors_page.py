"""The page of errors: each message on it is met, word for word, by a small real cause."""

import re
import warnings

import failing_code
import failing_data
import failing_runs
import pytest
from documentation import DOCS

PAGE = (DOCS / "how_to" / "when_something_goes_wrong.md").read_text()
# The first cell of a row, in backticks.
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)

# By words of the message that are no name or number.
CAUSES = {
    "there is no recipe": failing_runs.no_recipe,
    "Training has no setting": failing_runs.misspelt_flag,
    "exists and is not overwritten: continue": failing_runs.run_exists,
    "is being trained by another": failing_runs.run_is_locked,
    "exceeds the": failing_runs.batch_too_large,
    "levels halve every axis": failing_data.sizes_do_not_divide,
    "cannot be converted stably": failing_runs.unstable_prediction,
    "needs to know the levels": failing_runs.no_levels,
    "needs a network that is conditioned": failing_runs.guidance_without_classes,
    "the network is made for": failing_runs.other_classes,
    "ends in a known signal": failing_runs.bridge_without_given,
    "does not end in standard normal": failing_code.no_prior,
    "precision FP16": failing_runs.half_precision_on_a_cpu,
    "no folder": failing_data.no_folder,
    "at least 2 are needed": failing_data.one_image,
    "cannot be read as a picture": failing_data.no_picture,
    "examples cannot be read": failing_data.many_transparent,
    "has transparent pixels": failing_data.transparent,
    "holds 16 bits": failing_data.sixteen_bits,
    "the pictures are of": failing_data.several_sizes,
    "does not say how many levels": failing_data.levels_unknown,
    "which axis has the channels": failing_data.channels_unclear,
    "holds nan": failing_data.not_a_number,
    "stopped by": failing_runs.stopped,
    "the training gradient norm": failing_runs.diverged,
    "the checkpoint of step": failing_runs.disk_full,
    "going on from ..., the one before": failing_runs.newest_damaged,
    "no whole checkpoint": failing_runs.all_damaged,
    "start one without --resume": failing_runs.nothing_to_resume,
    "was trained under other settings": failing_runs.other_settings,
    "was trained on other images": failing_runs.other_images,
    "the run has done": failing_runs.fewer_steps,
    "is an exported model": failing_runs.resumed_export,
    "give the folder of one": failing_runs.no_run,
    "no checkpoint ...": failing_runs.no_such_checkpoint,
    "is a run of format": failing_runs.newer_format,
    "is not one of unmelt's names": failing_runs.code_of_somebody,
    "predicts the previous level is asked": failing_code.off_its_levels,
    "became infinite or NaN": failing_code.not_finite,
    "is there already": failing_runs.file_exists,
    "--device cuda": failing_runs.no_gpu,
    "say what was done": failing_runs.nothing_to_undo,
    "breaks the law": failing_code.broken_law,
    "integer images must be scaled": failing_code.integer_images,
    "x must have shape": failing_code.other_shape,
    "t must be a floating-point time": failing_code.level_for_time,
    "t must lie in": failing_code.time_outside,
    "a network is called as": failing_code.two_arguments,
    "the network returned shape": failing_code.flat_output,
    "labels must lie in": failing_code.label_outside,
    "needs a density": failing_code.no_density,
    "bits per dimension depend": failing_code.levels_not_declared,
}


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
