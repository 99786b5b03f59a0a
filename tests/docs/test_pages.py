"""The pages of the documentation: what they show, link to and name exists, and their tables are filled."""

import inspect
import re

import pytest
from documentation import DOCS, PAGES, ROOT, called, split

from unmelt import core, degradations, evaluation, losses, models, samplers, testing, training
from unmelt.degradations import families
from unmelt.evaluation import gallery
from unmelt.samplers import guidance

FAMILIES = (DOCS / "concepts" / "families.md").read_text()
IMAGES = (DOCS / "how_to" / "your_images.md").read_text()
WALK = (DOCS / "design" / "walk.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_pictures_and_links_lead_somewhere(page):
    text = page.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)\)", text) + re.findall(r'(?:href|src)="([^"#]+)"', text)
    there = [target for target in targets if "://" not in target]
    assert not [target for target in there if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_the_names_in_code_exist(page):
    """Every `CamelCase` or `snake_case(...)` in backticks is a public name, or a method that one writes."""
    _, text = split(page.read_text())
    own = set(re.findall(r"class (\w+)", page.read_text()))
    packages = (core, degradations, evaluation, losses, models, samplers, guidance, testing, training)
    public = own | {n for p in (*packages, training.data, gallery) for n in p.__all__}
    described = [degradations.LinearGaussianProcess, degradations.Coupling, degradations.Prediction]
    described += [losses.Weighting, losses.TimeDistribution, losses.TimeSampler, models.GaussianPrior]
    described += [samplers.Grid, samplers.Stepper, training.DataSet, degradations.HartleyBasis]
    described += [training.data.Examples, degradations.Basis, degradations.Schedule, models.Decoder, evaluation.Metric]
    public |= {name for each in described for name in dir(each)} | {
        "load_run",
        "network",
        "forward",
        "SamplerState",
    }
    named = {n for quoted in re.findall(r"`([^`]+)`", text) for n in re.findall(r"^([A-Z]\w+|\w+(?=\())", quoted)}
    assert not named - public - {"NAME", "RECIPE", "README", "CHANGELOG", "CITATION", "CONTRIBUTING", "LICENSE"}


def test_every_family_and_schedule_is_on_the_families_page():
    names = [name for name in families.__all__ if name != "radial_onset"]
    names += [n for n in degradations.__all__ if n.endswith(("Schedule", "Noise", "Blur"))]
    abstract = {"Schedule", "BlurSchedule"}
    assert not [name for name in names if f"`{name}" not in FAMILIES and name not in abstract]


def test_every_file_of_a_family_has_its_picture():
    strips = {path.name for path in (DOCS / "images" / "families").glob("*.png")}
    shown = set(re.findall(r"images/families/([\w.]+)", FAMILIES))
    assert shown == strips
    for name in ("isotropic", "heat", "blurring", "soft", "cold", "variance_preserving_blur", "heat_flow"):
        assert f"{name}.png" in strips


def test_the_walk_fits_one_screen():
    assert len(WALK.splitlines()) <= 40


def test_the_walk_s_files_are_there_and_hold_what_it_names():
    rows = [line.strip("|").split("|") for line in WALK.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 17
    for _, where, what in rows:
        files = [ROOT / file for file in re.findall(r"`([\w/]+(?:\.py|/))`", where)]
        assert files
        assert all(file.exists() for file in files)
        text = "".join(file.read_text() for file in files if file.is_file())
        # Functions are defined there, or called.
        for name in re.findall(r"`(?:\w+ = )?(?:\w+\.)*(\w+)\(", what) + re.findall(r"`(\w+)`:", what):
            assert re.search(rf"\b{name}\b", text) or name == "network", (where, name)


def test_every_data_set_is_on_the_page_of_images():
    for name, kind in vars(training.data).items():
        if inspect.isclass(kind) and issubclass(kind, training.DataSet) and not inspect.isabstract(kind):
            assert f"`{name}(" in IMAGES, f"{name} needs a row in the table of docs/how_to/your_images.md"


# By the targets of `make` of the same names: a row for each model, bound, process or sampler.
@pytest.mark.parametrize(
    ("page", "name", "rows", "columns"),
    [
        ("concepts/sampling", "restarts", 2, 7),
        ("concepts/sampling", "distances", 9, 7),
        ("concepts/sampling", "qualities", 20, 7),
        ("concepts/likelihood", "models", 12, 7),
        ("concepts/likelihood", "oracles", 14, 6),
        ("how_to/restoration", "restorations", 3, 6),
        ("how_to/restoration", "guidances", 5, 4),
    ],
)
def test_the_tables_that_studies_write_are_filled(page, name, rows, columns):
    text = (DOCS / f"{page}.md").read_text()
    (table,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, re.DOTALL)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    assert len(lines) >= 2 + rows
    assert {len(line) for line in lines} == {columns}
    if page == "concepts/likelihood":
        # With standard errors, but prior and reconstruction may be next to nothing.
        assert all(sum(" +- " in cell or cell == "< 0.0001" for cell in line) >= 4 for line in lines[2:])


def test_every_picture_is_shown_somewhere():
    pages = "".join(page.read_text() for page in PAGES)
    assert not [path.name for path in (DOCS / "images").rglob("*.*") if path.name not in pages]
