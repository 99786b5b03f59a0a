"""Every Python block of every page runs, from top to bottom, in an empty folder and without a network."""

import ast
import contextlib
import functools
import io
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers_models import autoencoder, saved_pipeline, unet
from documentation import DOCS, PAGES, SHORT, called, indented, python, split
from PIL import Image

from unmelt import load_run, testing
from unmelt.recipes.demo import RECIPE as DEMO
from unmelt.training import export_run, launch


def pretrained(folder):
    saved_pipeline(folder / "ddpm-cifar10-32", scheduler=DDIMScheduler())
    autoencoder().save_pretrained(folder / "autoencoder")


def photos(folder):
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(folder / "photos" / f"{i}.png")


def likelihood(page):
    # A bound with its error, as the comment beside it says.
    assert re.fullmatch(r"[\d.]+ \+- [\d.]+\n", page.printed)
    assert page.found.log_prob.isfinite().all()


def priors(page):
    assert page.samples.shape == (256, 1, 28, 28)
    assert "copies" in page.printed


def sampling(page):
    assert page.tree.samples.shape == (27, 1, 8, 8)
    assert page.samples.shape == (64, 1, 8, 8)
    assert page.back.isfinite().all()


def own_network(page):
    assert page.samples.shape == page.y.shape == (8, 1, 16, 16)


def restoration(page):
    assert page.photographs.shape == (12, 3, 48, 48)
    assert page.samples.shape == (1, 2, 3, 48, 48)
    # The brightness is that of the photograph, to far less than photographs differ by.
    gap = page.samples.mean((2, 3, 4)) - page.photographs[0].mean()
    assert gap.abs().max() < 0.01
    assert page.projections.observed_shape == (300,)
    # Motion and dead pixels are undone, to the noise.
    left = page.motion.seen_where(page.visible).residual(page.moved, page.masked)
    assert 0.01 < left[page.visible].std() < 0.04


def arrays(page):
    assert "100 examples of shape (2, 16, 16) from fields.npy, no levels" in page.printed
    assert "(2, 16, 16) None torch.float32" in page.printed
    assert "GreyLevels(count=4096, low=0.0, high=1.0) 10" in page.printed
    assert page.waves.train.shape == (1, 64)


def own_degradation(page):
    assert page.images.shape == (4, 1, 8, 8)
    # The line that right ones print, as the page has it.
    assert page.printed.splitlines()[0] in (DOCS / "how_to" / "write_your_own.md").read_text()
    # The wrong class is told what is wrong with it, and where.
    assert "Clearing" in page.printed
    assert re.search(r"t = [\d.]+", page.printed)
    assert "coefficient" in page.printed


def same_as_diffusers(page):
    assert "DiscreteSchedule(1000 levels" in page.printed
    assert "(4, 128, 128)" in page.printed
    assert page.again.shape == page.pixels.shape
    assert page.estimate.shape == (3, *page.process.shape)
    z, model, scheduler = page.noise, unet(), DDIMScheduler()
    scheduler.set_timesteps(50)
    with torch.no_grad():
        for k in scheduler.timesteps:
            z = scheduler.step(model(z, k).sample, k, z).prev_sample
    # In fifty steps, a network of random weights makes of single precision's roundings thousands of them.
    torch.testing.assert_close(page.images, z, rtol=0, atol=0.05)


@dataclass(frozen=True)
class Entry:
    """What is particular about a page. One without an entry runs as it is; runs that it loads are there.

    Attributes:
        prepare: puts what the code reads into the folder that it runs in.
        shorter: regular expressions of what would take long, and what stands there in the tests. Each has to match.
        check: looks at the page's names, and at what it printed, `printed`.
        full: whether it takes more than five seconds, shortened.
    """

    prepare: Callable[[Path], None] | None = None
    shorter: dict[str, str] = field(default_factory=dict)
    check: Callable[[SimpleNamespace], None] | None = None
    full: bool = False


ENTRIES = {
    "concepts/likelihood": Entry(check=likelihood),
    "concepts/priors": Entry(check=priors),
    "concepts/sampling": Entry(check=sampling),
    "how_to/bring_your_own_network": Entry(check=own_network),
    # How good its samples are `make restoration` tells.
    "how_to/restoration": Entry(
        shorter={r"stride=4\b": "stride=24", r"UniformGrid\(20\)": "UniformGrid(4)"}, check=restoration
    ),
    "how_to/use_a_pretrained_model": Entry(prepare=pretrained, check=same_as_diffusers),
    "how_to/write_your_own": Entry(check=own_degradation),
    "how_to/your_arrays": Entry(check=arrays),
    "how_to/your_images": Entry(prepare=photos, shorter={r"replace\(RECIPE, name=": "replace(smoke(RECIPE), name="}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train the demo for two steps, once, for all pages that load a run; returns its folder."""
    root = tmp_path_factory.mktemp("trained")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        launch(DEMO, arguments=[*SHORT, "--root", str(root)])
    return root / "demo"


def run(blocks, name):
    """Run blocks one after the other, as one module, and return its names and what was printed."""
    # Classes are pickled by check_process, which looks for them in their module.
    module = type(sys)("page_of_the_documentation")
    sys.modules[module.__name__] = module
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            for block in blocks:
                exec(compile(block, name, "exec"), module.__dict__)  # noqa: S102
    finally:
        del sys.modules[module.__name__]
    return SimpleNamespace(**module.__dict__, printed=printed.getvalue())


def pages():
    for page in PAGES:
        if code := python(page):
            name = called(page)
            full = (pytest.mark.full,) if ENTRIES.get(name, Entry()).full else ()
            yield pytest.param(page, 1, id=name, marks=full)
            if any("check_process(" in block for block in code):
                yield pytest.param(page, 30, id=f"{name}-thoroughly", marks=pytest.mark.slow)


@pytest.mark.full
@pytest.mark.parametrize(("page", "examples"), list(pages()))
def test_the_code_of_a_page_runs_from_top_to_bottom(page, examples, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(testing, "check_process", functools.partial(testing.check_process, max_examples=examples))
    entry, blocks = ENTRIES.get(called(page), Entry()), python(page)
    if entry.prepare:
        entry.prepare(tmp_path)
    for kind, name in sorted(set(re.findall(r'"(runs|exported)/([\w-]+)"', "".join(blocks)))):
        source = request.getfixturevalue("trained")
        if kind == "runs":
            shutil.copytree(source, tmp_path / "runs" / name)
        else:
            export_run(load_run(source), tmp_path / "exported" / name)
    for pattern, shorter in entry.shorter.items():
        changed = [re.sub(pattern, shorter, block) for block in blocks]
        assert changed != blocks, f"nothing on the page is {pattern}: mend its entry"
        blocks = changed
    if any("smoke(" in block for block in blocks):
        blocks = ["from unmelt.training.smoke import smoke", *blocks]
    names = run(blocks, page.name)
    if entry.check:
        entry.check(names)


def test_every_entry_is_that_of_a_page_with_code():
    assert not ENTRIES.keys() - {called(page) for page in PAGES if python(page)}


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_no_python_hides_from_the_tests(page):
    """Code in Python is fenced as such; blocks of no language and indented ones hold formulas, commands, output."""
    blocks, prose = split(page.read_text())
    others = [block.code for block in blocks if block.language in {"", "py", "python3", "pycon"}]
    for code in (*others, *indented(prose)):
        with contextlib.suppress(SyntaxError):
            parts = [type(node) for part in ast.parse(code).body for node in ast.walk(part)]
            assert not {ast.Import, ast.ImportFrom, ast.Call, ast.Assign} & set(parts), code
