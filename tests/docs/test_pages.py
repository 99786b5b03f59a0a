"""The pages of the documentation: their code runs from top to bottom, and what they show and name exists."""

import contextlib
import functools
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from unmelt import core, degradations, evaluation, losses, models, samplers, testing, training
from unmelt.commands import main
from unmelt.commands.main import COMMANDS
from unmelt.core.configuration import parse
from unmelt.degradations import families
from unmelt.evaluation import gallery
from unmelt.samplers import guidance
from unmelt.training import LoadedRun, launch

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OWN = (DOCS / "how_to" / "write_your_own.md").read_text()
FAMILIES = (DOCS / "concepts" / "families.md").read_text()
SAMPLING = (DOCS / "concepts" / "sampling.md").read_text()
LIKELIHOOD = (DOCS / "concepts" / "likelihood.md").read_text()
MATHEMATICS = (DOCS / "concepts" / "mathematics.md").read_text()
PRIORS = (DOCS / "concepts" / "priors.md").read_text()
RESTORATION = (DOCS / "how_to" / "restoration.md").read_text()
ARRAYS = (DOCS / "how_to" / "your_arrays.md").read_text()
IMAGES = (DOCS / "how_to" / "your_images.md").read_text()
WALK = (DOCS / "design" / "walk.md").read_text()
# Flags that are no part of a recipe's configuration, and an argument that stands for anything.
ASIDE = {"--help", "--resume", "--init-from", "--dry-run", "--smoke", "--config", "--trust-code"}
SHORT = [
    *("--training.steps", "2", "--network.channels", "8", "--pictures.count", "4"),
    *("--grid", "UniformGrid(steps=3)"),
]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def file_of(name):
    """Return the code that the page puts into the file `name`."""
    (code,) = (block for block in blocks(OWN) if block.startswith(f"# {name}\n"))
    return code


def run(page, name):
    """Run the code of a page from top to bottom, and return its names and what it printed."""
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        for block in blocks(page):
            exec(compile(block, name, "exec"), names)  # noqa: S102
    return names, printed.getvalue()


def recipe(name="digits_heat"):
    """Return the configuration of a recipe."""
    names = {"__name__": name}
    exec((ROOT / "recipes" / f"{name}.py").read_text(), names)  # noqa: S102
    return names["RECIPE"]


def test_the_code_of_bring_your_own_network_runs_from_top_to_bottom():
    names, _ = run((DOCS / "how_to" / "bring_your_own_network.md").read_text(), "bring_your_own_network.md")
    assert names["samples"].shape == names["y"].shape == (8, 1, 16, 16)


class TestWriteYourOwn:
    @pytest.mark.parametrize("examples", [1, pytest.param(30, marks=pytest.mark.full)])
    def test_its_code_runs_from_top_to_bottom(self, examples, monkeypatch):
        check = functools.partial(testing.check_process, max_examples=examples)
        monkeypatch.setattr(testing, "check_process", check)
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
        # The line that right ones print, as the page has it.
        assert printed.getvalue().splitlines()[0] in OWN
        # The wrong class is told what is wrong with it, and where.
        assert "Clearing" in printed.getvalue()
        assert re.search(r"t = [\d.]+", printed.getvalue())
        assert "coefficient" in printed.getvalue()

    @pytest.mark.parametrize("name", ["fog.py", "radial.py", "colour_first.py", "star.py"])
    def test_each_example_is_about_ten_lines_and_nobody_ships_it(self, name):
        code = file_of(name)
        body = [line for line in code[code.index("class") :].splitlines() if line.strip()]
        assert len(body) <= 14
        (cls,) = re.findall(r"class (\w+)", code)
        assert not hasattr(degradations, cls)

    @pytest.mark.full
    def test_an_existing_recipe_trains_it_unchanged(self, tmp_path):
        (tmp_path / "fog.py").write_text(file_of("fog.py"))
        (command,) = re.findall(r"python (recipes/digits_heat\.py --process fog\.py:Fog --name fog)\n", OWN)
        script, *arguments = command.split()
        finished = subprocess.run(
            [sys.executable, str(ROOT / script), *arguments, *SHORT],
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
        assert '"process": "fog.Fog()"' in (tmp_path / "runs" / "fog" / "config.json").read_text()

    def test_the_recipes_setting_takes_it(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "fog.py").write_text(file_of("fog.py"))
        for name in ("fog.py:Fog", "fog.Fog"):
            process = parse(recipe(), ["--process", name]).process((1, 8, 8))
            assert type(process).__name__ == "Fog"

    def test_its_command_draws_it(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delitem(sys.modules, "fog", raising=False)
        (tmp_path / "fog.py").write_text(file_of("fog.py"))
        assert "unmelt draw fog.py:Fog --image photo.jpg" in OWN
        main(["draw", "fog.py:Fog", "--shape", "3,12,12"])
        assert (tmp_path / "Fog.png").is_file()


class TestPages:
    def test_there_are_pages(self):
        assert {page.name for page in PAGES} >= {"families.md", "mathematics.md", "write_your_own.md"}

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
    def test_pictures_and_links_lead_somewhere(self, page):
        text = page.read_text()
        targets = re.findall(r"\]\(([^)#\s]+)\)", text) + re.findall(r'(?:href|src)="([^"#]+)"', text)
        there = [target for target in targets if "://" not in target]
        assert not [target for target in there if not (page.parent / target).exists()]

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
    def test_the_names_in_code_exist(self, page):
        """Every `CamelCase` or `snake_case(...)` in backticks is a public name, or a method that one writes."""
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        own = set(re.findall(r"class (\w+)", page.read_text()))
        packages = (core, degradations, evaluation, losses, models, samplers, guidance, testing, training)
        public = own | {n for p in (*packages, training.data, gallery) for n in p.__all__}
        described = [degradations.LinearGaussianProcess, degradations.Coupling, degradations.Prediction]
        described += [losses.Weighting, losses.TimeDistribution, losses.TimeSampler, models.GaussianPrior]
        described += [samplers.Grid, samplers.Stepper, training.DataSet, degradations.HartleyBasis]
        described += [
            training.data.Examples,
            degradations.Basis,
            degradations.Schedule,
            models.Decoder,
            evaluation.Metric,
        ]
        public |= {name for each in described for name in dir(each)} | {
            "load_run",
            "network",
            "forward",
            "SamplerState",
        }
        named = {n for quoted in re.findall(r"`([^`]+)`", text) for n in re.findall(r"^([A-Z]\w+|\w+(?=\())", quoted)}
        assert not named - public - {"NAME", "RECIPE", "README"}

    def test_every_family_and_basis_is_on_the_families_page(self):
        names = [name for name in families.__all__ if name != "radial_onset"]
        names += [n for n in degradations.__all__ if n.endswith(("Basis", "Schedule", "Noise", "Blur"))]
        abstract = {"Basis", "LaplacianBasis", "SeparableBasis", "Schedule", "BlurSchedule"}
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

    @pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
    def test_recipes_take_the_flags_in_their_text(self, page):
        for flags in re.findall(r"`(--[^`]+)`", page.read_text()):
            words = shlex.split(flags.replace("PATH", "."))
            if len(words) > 1 and words[0] not in ASIDE and ".py:" not in flags:
                parse(recipe(), words)


class TestData:
    def test_its_code_runs_and_says_what_it_prints(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        names, printed = run(ARRAYS, "your_arrays.md")
        assert "100 examples of shape (2, 16, 16) from fields.npy, no levels" in printed
        assert "(2, 16, 16) None torch.float32" in printed
        assert "GreyLevels(count=4096, low=0.0, high=1.0) 10" in printed
        assert names["waves"].train.shape == (1, 64)

    def test_every_data_set_is_on_the_page(self):
        for name, kind in vars(training.data).items():
            if inspect.isclass(kind) and issubclass(kind, training.DataSet) and not inspect.isabstract(kind):
                assert f"`{name}(" in IMAGES, f"{name} needs a row in the table of docs/how_to/your_images.md"

    def test_images_begin_with_a_recipe_and_a_folder(self):
        names, _ = run(IMAGES, "your_images.md")
        assert names["config"].folder == Path("runs/photos")
        assert names["config"].data.size == 64


class TestCommands:
    @pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
    def test_what_pages_show_of_them_exists(self, page, capsys):
        plain = "".join(re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL))
        shown = re.findall(r"^unmelt (\S+)(.*)$", plain, re.MULTILINE)
        for command, arguments in shown:
            assert command in COMMANDS
            words = shlex.split(arguments, comments=True)
            with contextlib.suppress(SystemExit):
                main([command, *(words[:1] if command == "train" else []), "--help"])
            told = capsys.readouterr().out
            for flag in (word for word in words if word.startswith("--")):
                # Of a setting of a setting, the setting.
                assert flag.partition(".")[0].replace("-", "_") in told.replace("-", "_"), (command, flag)

    def test_all_are_on_the_page_of_trained_models_or_elsewhere(self):
        pages = "".join(page.read_text() for page in (ROOT / "README.md", *PAGES))
        assert not [command for command in COMMANDS if f"unmelt {command} " not in pages]


class TestWalk:
    def test_it_fits_one_screen(self):
        assert len(WALK.splitlines()) <= 40

    def test_its_files_are_there_and_hold_what_it_names(self):
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


class TestPriors:
    @pytest.mark.full
    def test_its_code_runs(self, tmp_path, monkeypatch):
        """On a run like the one of `make demo`, but for its length."""
        monkeypatch.chdir(tmp_path)
        with contextlib.redirect_stdout(io.StringIO()):
            launch(recipe("demo"), arguments=SHORT)
        names, printed = run(PRIORS, "priors.md")
        assert names["samples"].shape == (256, 1, 28, 28)
        assert "copies" in printed

    def test_what_it_asks_of_a_run_is_there(self):
        (code,) = blocks(PRIORS)
        for name in re.findall(r"\brun\.(\w+)", code):
            assert hasattr(LoadedRun, name)
        for line in re.findall(r"^from .*", code, re.MULTILINE):
            exec(line)  # noqa: S102


class TestSampling:
    def test_its_first_code_and_its_guidance_run(self):
        first, released, *_, guidance_ = blocks(SAMPLING)
        names, _ = run("".join(f"```python\n{block}```\n" for block in (first, released, guidance_)), "sampling.md")
        assert names["tree"].samples.shape == (27, 1, 8, 8)

    @pytest.mark.full
    def test_its_code_runs_from_top_to_bottom(self):
        names, _ = run(SAMPLING, "sampling.md")
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


class TestRestoration:
    def test_its_code_runs_from_top_to_bottom(self):
        """With few training crops and steps: how good its samples are `make restoration` tells."""
        short = RESTORATION.replace("stride=4", "stride=24").replace("UniformGrid(20)", "UniformGrid(4)")
        assert short.count("stride=24") == short.count("UniformGrid(4)") - 1 == 1
        names, _ = run(short, "restoration.md")
        assert names["photographs"].shape == (12, 3, 48, 48)
        assert names["samples"].shape == (1, 2, 3, 48, 48)
        # The brightness is that of the photograph, to far less than photographs differ by.
        gap = names["samples"].mean((2, 3, 4)) - names["photographs"][0].mean()
        assert gap.abs().max() < 0.01
        assert names["projections"].observed_shape == (300,)
        # Motion and dead pixels are undone, to the noise.
        left = names["motion"].seen_where(names["visible"]).residual(names["moved"], names["masked"])
        assert 0.01 < left[names["visible"]].std() < 0.04

    @pytest.mark.parametrize(("name", "rows", "columns"), [("restorations", 3, 6), ("guidances", 5, 4)])
    def test_its_tables_are_filled(self, name, rows, columns):
        """By `make restoration`."""
        (table,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", RESTORATION, re.DOTALL)
        lines = [line.strip("|").split("|") for line in table.strip().splitlines()]
        assert len(lines) == 2 + rows
        assert {len(line) for line in lines} == {columns}


class TestLikelihood:
    def test_its_code_runs_from_top_to_bottom(self):
        names, printed = run(LIKELIHOOD, "likelihood.md")
        # A bound with its error, as the comment beside it says.
        assert re.fullmatch(r"[\d.]+ \+- [\d.]+\n", printed)
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
