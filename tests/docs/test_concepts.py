"""The pages of concepts: their formulas hold, they name every part of the library, and figures and links are there."""

import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest
import torch

from unmelt import degradations, losses, models, samplers
from unmelt.degradations import bases
from unmelt.degradations.predictions import LARGEST_GAIN
from unmelt.losses import times, weightings
from unmelt.models import decoders, priors
from unmelt.samplers import steppers

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONCEPTS = {page.stem: page.read_text() for page in sorted((DOCS / "concepts").glob("*.md"))}
IMAGES = DOCS / "images" / "concepts"
# What GitHub takes for escaped punctuation before it sees mathematics, and alignments, which not every reader has.
NOT_EVERYWHERE = re.compile(r"\\[,;:!|{}\\#%&]|&|\\begin")


def run(name):
    """Run the code of a page from top to bottom, and return what it printed."""
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in re.findall(r"```python\n(.*?)```", CONCEPTS[name], re.DOTALL):
            exec(compile(block, f"{name}.md", "exec"), names)  # noqa: S102
    return printed.getvalue()


def formulas(text):
    """Return the mathematics of a page, and what is left of it without mathematics and code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    found = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    return found + re.findall(r"\$([^$\n]+)\$", text), re.sub(r"\$[^$\n]+\$", "", text)


def concrete(package, kind=object):
    """Return the names of the public classes of a package, of a kind, that can be made."""
    classes = {name: getattr(package, name) for name in package.__all__ if inspect.isclass(getattr(package, name))}
    return [
        name
        for name, cls in classes.items()
        if issubclass(cls, kind) and cls is not kind and not inspect.isabstract(cls)
    ]


def named(page, names):
    """Return the names that a page has in its code."""
    return {name for name in names if re.search(rf"`{name}\b", CONCEPTS[page])}


class TestCode:
    @pytest.mark.parametrize("name", ["equation", "couplings"])
    def test_the_formulas_hold(self, name):
        assert run(name) == ""

    def test_a_product_of_waves_draws_both_diagonals(self):
        """And every law of the laws holds for it, as the page says."""
        lines = run("bases").splitlines()
        assert re.fullmatch(r"DiagonalMotion\(\(1, 8, 8\)\): \d+ laws hold", lines[0])
        assert lines[1:] == re.findall(r"print\(widths.*\)  # (\[[\d., ]+\])", CONCEPTS["bases"])

    def test_mixed_noises_have_a_basis_if_their_factors_commute(self):
        """Huang et al.'s (2024): blue noise's symmetric root is a number per wave, its triangular one is none."""
        basis = degradations.HartleyBasis((1, 4, 4))
        white = torch.eye(16, dtype=torch.float64)
        waves = basis.inverse(white.view(16, 1, 4, 4)).view(16, 16)
        blue = basis.laplacian_eigenvalues().flatten() + 0.1
        covariance = waves.T @ torch.diag(blue) @ waves

        def mixed(share, root):
            factor = share * white + (1 - share) * root
            return factor @ factor.T

        symmetric = waves.T @ torch.diag(blue.sqrt()) @ waves
        expected = waves.T @ torch.diag((0.3 + 0.7 * blue.sqrt()) ** 2) @ waves
        torch.testing.assert_close(mixed(0.3, symmetric), expected)
        off = {}
        for name, root in {"symmetric": symmetric, "triangular": torch.linalg.cholesky(covariance)}.items():
            torch.testing.assert_close(mixed(0.0, root), covariance)
            one, other = mixed(0.2, root), mixed(0.7, root)
            off[name] = (one @ other - other @ one).norm() / (one @ other).norm()
        assert off["symmetric"] < 1e-14
        assert off["triangular"] > 0.01

    def test_predictions_are_what_the_table_says(self):
        assert run("predictions") == "1.0\n"

    def test_the_gains_are_those_of_the_processes(self):
        (table,) = re.findall(r"<!-- gains -->\n\n(.*?)\n\n<!-- end of gains -->", CONCEPTS["predictions"], re.DOTALL)
        heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        predictions = [eval(name.strip("`"), vars(degradations)) for name in heading[1:]]  # noqa: S307
        assert len(rows) == 8
        for process_name, *gains in rows:
            family, *schedule = (getattr(degradations, name) for name in re.findall(r"`(\w+)`", process_name))
            process = family((1, 32, 32), *(each() for each in schedule))
            for prediction, gain in zip(predictions, gains, strict=True):
                if not gain:
                    assert process.levels is None
                elif gain == "refused":
                    assert prediction.gain(process) > LARGEST_GAIN
                else:
                    assert float(f"{prediction.gain(process):.3g}") == float(gain), (process_name, prediction)


class TestParts:
    """What a package exports is on its page: a new part is missed here until it is described."""

    @pytest.mark.parametrize(
        ("page", "names"),
        [
            ("bases", bases.__all__),
            ("couplings", ["Coupling", *concrete(degradations, degradations.Coupling)]),
            ("predictions", ["Prediction", *concrete(degradations, degradations.Prediction)]),
            ("predictions", concrete(weightings)),
            ("predictions", concrete(times)),
            ("predictions", concrete(losses, losses.Reduction)),
            ("sampling", concrete(steppers)),
            ("sampling", concrete(samplers, samplers.Grid)),
            ("priors", concrete(priors, priors.Prior)),
            ("likelihood", concrete(decoders)),
            ("likelihood", concrete(models, models.ReverseStd)),
            ("likelihood", concrete(losses, losses.Summation)),
        ],
    )
    def test_each_is_on_its_page(self, page, names):
        assert len(names) > 1
        assert named(page, names) == set(names)

    def test_every_coupling_has_a_paragraph_and_a_row(self):
        for name in concrete(degradations, degradations.Coupling):
            assert f"\n**`{name}`" in CONCEPTS["couplings"]
            assert f"\n| `{name}(" in CONCEPTS["couplings"]

    def test_the_advice_comes_first(self):
        """The command and the number; which sampler, basis, coupling, prediction and prior: above the first heading."""
        first = {name: text.split("\n## ")[0] for name, text in CONCEPTS.items()}
        assert first["likelihood"].split("\n\n")[1] == "```\nunmelt evaluate runs/NAME\n```"
        assert re.search(r"\d\.\d+ \+- 0\.\d+", first["likelihood"])
        for name in ("bases", "couplings", "predictions", "priors", "sampling"):
            assert first[name].split("\n\n")[1].startswith(("**Take ", "**Predict ", "**Give ")), name
            assert "|---|" in first[name], name


class TestMathematics:
    @pytest.mark.parametrize("name", CONCEPTS)
    def test_it_is_read_the_same_everywhere(self, name):
        found, rest = formulas(CONCEPTS[name])
        assert "$" not in rest
        assert not [formula for formula in found if NOT_EVERYWHERE.search(formula)]
        # GitHub takes a dollar beside a letter, or a space inside, for a dollar.
        prose = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$", "", CONCEPTS[name], flags=re.DOTALL)
        pairs = re.findall(r"(.?)\$([^$\n]+)\$(.?)", prose)
        assert not [p for p in pairs if p[0].isalnum() or p[2].isalnum() or p[1] != p[1].strip()]

    @pytest.mark.parametrize("name", CONCEPTS)
    def test_it_becomes_mathml(self, name):
        converter = pytest.importorskip("math_core").LatexToMathML()
        for formula in formulas(CONCEPTS[name])[0]:
            assert converter.convert_with_local_state(formula, displaystyle=True).startswith("<math")

    @pytest.mark.parametrize("name", CONCEPTS)
    def test_no_equation_has_a_number(self, name):
        """None was read in its text."""
        assert not re.search(r"\beqs?\. ?\d|\bequations? \d|\balgorithm \d", CONCEPTS[name])


class TestFigures:
    def test_every_one_is_shown_and_drawn_by_a_command(self):
        pictures = {path.stem for path in IMAGES.glob("*.png")}
        assert len(pictures) >= 6
        assert set(re.findall(r"images/concepts/(\w+)\.png", "".join(CONCEPTS.values()))) == pictures
        script = (DOCS / "drawing" / "concept_figures.py").read_text()
        assert set(re.findall(r'"(\w+)": draw_\w+,', script)) == pictures
        (recipe,) = re.findall(r"^figures:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert "docs/drawing/concept_figures.py" in recipe

    def test_each_has_words_for_who_does_not_see_it(self):
        for words in re.findall(r"!\[(.*?)\]\(\.\./images/concepts", "".join(CONCEPTS.values())):
            assert len(words.split()) >= 8


def slug(heading):
    """Return the anchor that GitHub and the site give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def anchors(page):
    """Return the anchors of a page, those of code aside."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_links_to_headings_lead_to_one(page):
    for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text()):
        target = page.parent / file if file else page
        if target.suffix == ".md":
            assert anchor in anchors(target), (file, anchor)
