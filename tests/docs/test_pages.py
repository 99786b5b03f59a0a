"""The pages of the documentation: their code runs from top to bottom, and what they show and name exists."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unmelt import (
    degradations,
    evaluation,
    losses,
    models,
    samplers,
    testing,
)
from unmelt.degradations.locating import shape_families
from unmelt.samplers import guidance

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
OWN = (DOCS / "write_your_own.md").read_text()
FAMILIES = (DOCS / "families.md").read_text()
SAMPLING = (DOCS / "sampling.md").read_text()
LIKELIHOOD = (DOCS / "likelihood.md").read_text()
MATHEMATICS = (DOCS / "mathematics.md").read_text()


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def file_of(name):
    """Return the code that the page puts into the file `name`."""
    (code,) = (block for block in blocks(OWN) if block.startswith(f"# {name}\n"))
    return code


class TestWriteYourOwn:
    def test_its_code_runs_from_top_to_bottom(self):
        names: dict[str, object] = {"__name__": "write_your_own"}
        # Classes are pickled by check_process, which looks for them in their module.
        module = type(sys)("write_your_own")
        module.__dict__.update(names)
        sys.modules["write_your_own"] = module
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                for block in blocks(OWN):
                    exec(compile(block, "write_your_own.md", "exec"), module.__dict__)  # noqa: S102
        finally:
            del sys.modules["write_your_own"]
        assert module.images.shape == (4, 1, 8, 8)
        # The wrong class is told what is wrong with it, and where.
        assert "Clearing" in printed.getvalue()
        assert re.search(r"t = [\d.]+", printed.getvalue())
        assert "coefficient" in printed.getvalue()

    @pytest.mark.parametrize("name", ["fog.py", "radial.py", "colour_first.py"])
    def test_each_example_is_about_ten_lines_and_nobody_ships_it(self, name):
        code = file_of(name)
        body = [line for line in code[code.index("class") :].splitlines() if line.strip()]
        assert len(body) <= 14
        (cls,) = re.findall(r"class (\w+)", code)
        assert not hasattr(degradations, cls)

    def test_an_existing_recipe_trains_it_unchanged(self, tmp_path):
        (tmp_path / "fog.py").write_text(file_of("fog.py"))
        (command,) = re.findall(r"python (recipes/digits_heat\.py --degradation fog\.py:Fog --name fog)\n", OWN)
        recipe, *arguments = command.split()
        short = ["--training.steps", "2", "--network.channels", "8", "--sampling.count", "4", "--sampling.steps", "3"]
        finished = subprocess.run(
            [sys.executable, str(ROOT / recipe), *arguments, *short],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert finished.returncode == 0, finished.stderr[-2000:]
        assert "recognised" in finished.stdout
        assert (tmp_path / "runs" / "fog" / "samples.png").is_file()
        assert '"target": "fog.py:Fog"' in (tmp_path / "runs" / "fog" / "config.json").read_text()

    def test_its_command_draws_it(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "fog.py").write_text(file_of("fog.py"))
        assert "python -m unmelt.degradations fog.py:Fog --image photo.jpg" in OWN
        from unmelt.degradations.__main__ import main  # noqa: PLC0415

        main(["fog.py:Fog", "--size", "12"])
        assert (tmp_path / "Fog.png").is_file()


class TestPages:
    def test_there_are_pages(self):
        assert {page.name for page in PAGES} >= {"families.md", "mathematics.md", "write_your_own.md"}

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
    def test_pictures_and_links_lead_somewhere(self, page):
        targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
        assert not [target for target in targets if not (DOCS / target).exists()]

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
    def test_the_names_in_code_exist(self, page):
        """Every `CamelCase` or `snake_case(...)` in backticks is a public name, a method of the process, or a file."""
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        own = set(re.findall(r"class (\w+)", page.read_text()))
        packages = (degradations, evaluation, losses, models, samplers, guidance, testing)
        public = own | {n for p in packages for n in p.__all__}
        public |= set(dir(degradations.LinearGaussianProcess)) | set(dir(degradations.Coupling))
        named = {n for quoted in re.findall(r"`([^`]+)`", text) for n in re.findall(r"^([A-Z]\w+|\w+(?=\())", quoted)}
        assert not named - public - {"NAME"}

    def test_every_family_and_basis_is_on_the_families_page(self):
        names = [*shape_families(), "GraphHeat", "SpectralDiffusion", "SequentialMasking", "GaussianBlur"]
        names += [n for n in degradations.__all__ if n.endswith(("Basis", "Schedule", "Noise", "Blur"))]
        abstract = {"Basis", "SeparableBasis", "Schedule", "BlurSchedule"}
        assert not [name for name in names if f"`{name}" not in FAMILIES and name not in abstract]

    def test_every_file_of_a_family_has_its_picture(self):
        strips = {path.name for path in (DOCS / "images" / "families").glob("*.png")}
        shown = set(re.findall(r"images/families/([\w.]+)", FAMILIES))
        assert shown == strips
        for name in ("isotropic", "heat", "blurring", "soft", "cold", "variance_preserving_blur", "heat_flow"):
            assert f"{name}.png" in strips

    def test_the_mathematics_names_every_coupling(self):
        for coupling in ("Markov", "Deterministic", "Independent", "Eta", "ReverseSDE"):
            assert f"**{coupling}" in MATHEMATICS


class TestSampling:
    def test_its_code_runs_from_top_to_bottom(self):
        names: dict[str, object] = {}
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for block in blocks(SAMPLING):
                exec(compile(block, "sampling.md", "exec"), names)  # noqa: S102
        assert names["tree"].samples.shape == (27, 1, 8, 8)
        assert names["samples"].shape == (64, 1, 8, 8)
        assert names["back"].isfinite().all()

    @pytest.mark.parametrize(("name", "rows"), [("restarts", 2), ("distances", 9), ("qualities", 20)])
    def test_its_tables_are_filled(self, name, rows):
        """By `make sampling`."""
        (table,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", SAMPLING, re.DOTALL)
        lines = [line.strip("|").split("|") for line in table.strip().splitlines()]
        assert len(lines) >= 2 + rows
        assert {len(line) for line in lines} == {7}


class TestLikelihood:
    def test_its_code_runs_from_top_to_bottom(self):
        names: dict[str, object] = {}
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            for block in blocks(LIKELIHOOD):
                exec(compile(block, "likelihood.md", "exec"), names)  # noqa: S102
        # A bound with its error, as the comment beside it says.
        assert re.fullmatch(r"[\d.]+ \+- [\d.]+\n", printed.getvalue())
        assert names["found"].log_prob.isfinite().all()

    @pytest.mark.parametrize(("name", "rows", "columns"), [("models", 12, 7), ("oracles", 14, 6)])
    def test_its_tables_are_filled(self, name, rows, columns):
        """By `make likelihood`; a row for each model and bound, and for each process."""
        (table,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", LIKELIHOOD, re.DOTALL)
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
        assert {len(line) for line in lines} == {columns}
        assert len(lines) >= 2 + rows
        for line in lines[2:]:
            # Prior and reconstruction may be next to nothing.
            assert sum(" +- " in cell or cell == "< 0.0001" for cell in line) >= 4
