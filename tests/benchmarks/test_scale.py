"""What several processes cost: the program that measures two, and the tables of docs/measured/scale.md."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import unmelt
from unmelt.models import DiT, PatchTransformer, UNet

ROOT = Path(unmelt.__file__).parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import scale_tables  # noqa: E402
from scale_tables import MODEL, OPTIMIZER, WHOLE  # noqa: E402

SMALL_UNET = partial(UNet, (3, 16, 16), channels=16, multipliers=(1, 2), blocks=2, attention_levels=(1,))
SMALL_TRANSFORMER = partial(PatchTransformer, (3, 16, 16), patch=4, width=32, depth=6, heads=2)


@pytest.mark.full
class TestCounts:
    @pytest.mark.parametrize("recompute", [False, True])
    @pytest.mark.parametrize("make", [SMALL_UNET, SMALL_TRANSFORMER], ids=["UNet", "transformer"])
    def test_tensors_without_contents_cost_what_real_ones_do(self, make, recompute):
        counted, real = (
            scale_tables.network_cost(partial(make, recompute=recompute), (3, 16, 16), real=real)
            for real in (False, True)
        )
        assert counted == real

    @pytest.mark.parametrize("make", [SMALL_UNET, SMALL_TRANSFORMER], ids=["UNet", "transformer"])
    def test_training_is_three_calls_and_recomputing_a_fourth_for_less_memory(self, make):
        kept, again = (scale_tables.network_cost(partial(make, recompute=r), (3, 16, 16)) for r in (False, True))
        # What the first layer would pass on is not computed; attention's scores are computed once more.
        assert 2.8 * kept.forward < kept.training < 3.1 * kept.forward
        # First and last layers, and halvings, are not recomputed.
        assert kept.training + 0.5 * kept.forward < again.training < kept.training + kept.forward
        assert again.memory < 0.6 * kept.memory

    def test_a_transformer_costs_what_its_matrices_do(self):
        width, depth, tokens, patch = 32, 6, 16, 48
        make = partial(DiT, (3, 16, 16), patch=4, width=width, depth=depth, heads=2)
        found = scale_tables.network_cost(make, (3, 16, 16))
        # Per token: queries, keys, values and output, 4 width^2; the feed-forward network, 8 width^2; attention, two
        # products of all tokens. Once an image: modulations of 6 width, 2 width at the end; the time's embedding.
        block = tokens * (12 * width**2 + 2 * tokens * width) + 6 * width**2
        other = tokens * 2 * patch * width + 2 * width**2 + (256 * width + width**2)
        assert found.forward == 2 * (depth * block + other)

    @pytest.mark.parametrize("size", [16, 64])
    def test_blurs_cost_what_their_products_do(self, size):
        found = scale_tables.process_cost(size)
        assert found.operations == scale_tables.blur_operations(size)
        # The matrix of cosines in both precisions, eigenvalues of both axes and of the plane, in float64.
        assert found.tables == pytest.approx(size**2 * (8 + 4 + 8), rel=0.1)

    def test_beyond_the_longest_product_there_are_ffts(self):
        assert scale_tables.MATRIX == 512
        assert scale_tables.process_cost(520).operations == 0


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What the program finds at a size that takes a quarter of a minute."""
    out = tmp_path_factory.mktemp("scale") / "scale.json"
    sizes = ["--size", "8", "--batch", "4", "--channels", "8", "--stretches", "2", "--rounds", "1"]
    finished = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "scale.py"), *sizes, "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "two, model divided" in finished.stdout
    return json.loads(out.read_text())


@pytest.mark.full
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rounds", "1", "--stretches", "1"], "one time of each way, which has no quartiles"),
        (["--batch", "5"], "--batch must be even and at least 2, got 5"),
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(flags, said):
    command = [sys.executable, str(ROOT / "benchmarks" / "scale.py"), *flags]
    finished = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT.parent)}, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2
    assert said in finished.stderr
    assert not finished.stdout


WAYS = {"two, all whole": WHOLE, "two, optimizer divided": OPTIMIZER, "two, model divided": MODEL}


@pytest.mark.slow
class TestTwoProcesses:
    def test_every_way_is_timed(self, measured):
        assert set(measured["times"]) == {"one process", *WAYS}
        assert all(way["rounds"] == 2 and way["median_s"] > 0 for way in measured["times"].values())

    def test_they_hold_what_the_formula_says(self, measured):
        (one,) = measured["processes"]["one process"]
        for way, ranks in measured["processes"].items():
            called, count = WAYS.get(way, WHOLE), len(ranks)
            formula = scale_tables.fixed_memory(one["elements"], count, called)
            # Gradients are not there between steps: parts of them, as of parameters; beside them whole ones' buckets.
            gradients = formula / 5 if called == MODEL else 4 * one["elements"] * count
            for rank in ranks:
                # Parts differ by a row of each tensor, and Adam counts steps.
                assert sum(rank["held"].values()) == pytest.approx(formula - gradients, rel=0.01)

    def test_they_send_what_the_formula_says(self, measured):
        (one,) = measured["processes"]["one process"]
        assert one["sent"] == 0
        for way, called in WAYS.items():
            for rank in measured["processes"][way]:
                # Beside it the process's tables, and tensors of odd sizes that are padded.
                assert rank["sent"] == pytest.approx(scale_tables.sent(one["elements"], 2, called), rel=0.01)


@pytest.mark.slow
def test_the_page_shows_what_the_program_counts():
    page = (ROOT / "docs" / "measured" / "scale.md").read_text()
    for table in scale_tables.tables(1e14, 5e10):
        assert table in page


def test_the_page_shows_what_was_measured():
    page = (ROOT / "docs" / "measured" / "scale.md").read_text()
    found = json.loads((ROOT / "benchmarks" / "results" / "scale.json").read_text())
    one = found["times"]["one process"]["median_s"]
    for way, ranks in found["processes"].items():
        held, median = ranks[0]["held"], found["times"][way]["median_s"]
        numbers = (held["parameters"], held["optimizer"], held["averages"], ranks[0]["sent"])
        row = f"| {1000 * median:.0f} | {one / median:.2f} | " + " | ".join(f"{n / 1e6:.2f}" for n in numbers) + " |"
        assert row in page, way
