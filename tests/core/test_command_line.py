"""Command lines and records of configurations."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unmelt.core import Later, Shape, later
from unmelt.core.configuration import cli, from_record, known_names, parse, to_record
from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    EDMSchedule,
    Eta,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    Prediction,
    PredictX,
    SpectralDiffusion,
)
from unmelt.losses import MinSNRWeighting, Reduction, SimpleWeighting, SumOverDimensions, Weighting
from unmelt.models import ConstantStd, DegradedDataPrior, KernelDivergence, Prior, UNet
from unmelt.samplers import Churn, Posterior, Stepper


@dataclass(frozen=True)
class Warmup:
    """How the learning rate starts."""

    steps: int = 100


@dataclass(frozen=True)
class Training:
    """The training loop.

    Attributes:
        steps: Number of training steps.
        cpu: Train on the CPU.
    """

    steps: int = 1000
    batch_size: int = 128
    cpu: bool = False
    compile: bool = True
    low: float = 0.0
    high: float = 1.0
    warmup: Warmup = Warmup()

    def __post_init__(self) -> None:
        if not self.low < self.high:
            msg = f"low must be below high, got {self.low} and {self.high}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run.

    Attributes:
        name: what it is called; a folder of that name
            is made.
        process: How images are destroyed.
        root: where its folder is made.
    """

    name: str
    process: Callable[[Shape], LinearGaussianProcess]
    network: Callable[[Shape], nn.Module]
    prediction: Prediction
    weighting: Weighting = field(default_factory=SimpleWeighting)
    reduction: Reduction = field(default_factory=SumOverDimensions)
    prior: Callable[[LinearGaussianProcess, Tensor], Prior] = DegradedDataPrior.fit
    sampler: Stepper = field(default_factory=Posterior)
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = torch.optim.AdamW
    sizes: Sequence[int] = (8, 8)
    churn: Churn | None = None
    training: Training = field(default_factory=Training)
    root: Path = Path("runs")
    folder: Path | None = None


RECIPE = Run(
    name="digits",
    process=later(HeatDissipation, levels=50, sigma=0.03),
    network=later(UNet, channels=32),
    prediction=PredictX(),
    sampler=Posterior(Independent()),
    optimizer=later(torch.optim.AdamW, lr=2e-3),
)


class TestFlags:
    @pytest.mark.parametrize(
        ("arguments", "changed"),
        [
            ([], {}),
            (["--name", "mine"], {"name": "mine"}),
            (["--name=a=b c"], {"name": "a=b c"}),
            (["--name", ""], {"name": ""}),
            (["--name", "a", "--name", "b"], {"name": "b"}),
            (["--root", "my runs"], {"root": Path("my runs")}),
            (["--sizes", "48,32"], {"sizes": (48, 32)}),
            (["--process.levels", "5"], {"process": later(HeatDissipation, levels=5, sigma=0.03)}),
            (["--process.levels=5", "--process.levels=6"], {"process": later(HeatDissipation, levels=6, sigma=0.03)}),
            (["--process", "BlurringDiffusion"], {"process": later(BlurringDiffusion)}),
            # Whole values first, in whatever order.
            (["--process.levels", "5", "--process", "HeatDissipation"], {"process": later(HeatDissipation, levels=5)}),
            (
                ["--process", "IsotropicDiffusion(schedule=EDMSchedule(rho=5))", "--process.schedule.rho", "6"],
                {"process": later(IsotropicDiffusion, schedule=EDMSchedule(rho=6.0))},
            ),
            (
                ["--process", "IsotropicDiffusion", "--process.schedule.rho", "6", "--process.schedule", "EDMSchedule"],
                {"process": later(IsotropicDiffusion, schedule=EDMSchedule(rho=6.0))},
            ),
            (
                ["--process", "SpectralDiffusion.power_law", "--process.exponent", "-1e0"],
                {"process": later(SpectralDiffusion.power_law, exponent=-1.0)},
            ),
            # A setting that a class cannot do without, by a second flag.
            (
                ["--sampler.coupling", "Eta", "--sampler.coupling.eta", "0.5"],
                {"sampler": Posterior(Eta(0.5))},
            ),
            (["--churn", "Churn", "--churn.amount", "0.5"], {"churn": Churn(0.5)}),
            (["--weighting.in-terms-of", "PredictX"], {"weighting": SimpleWeighting(PredictX())}),
            (["--weighting", "MinSNRWeighting(5)"], {"weighting": MinSNRWeighting(5.0)}),
            (["--optimizer", "SGD", "--optimizer.lr", "1"], {"optimizer": later(torch.optim.SGD, lr=1.0)}),
            (
                ["--prior.divergence", "variational"],
                {"prior": later(DegradedDataPrior.fit, divergence=KernelDivergence["VARIATIONAL"])},
            ),
            (["--training.batch_size", "64", "--training.cpu"], {"training": Training(batch_size=64, cpu=True)}),
            (["--training.cpu", "--name", "a"], {"training": Training(cpu=True), "name": "a"}),
            (["--training.cpu", "true", "--no-training.compile"], {"training": Training(cpu=True, compile=False)}),
            (["--training.no-compile"], {"training": Training(compile=False)}),
            (["--training.warmup.steps", "5"], {"training": Training(warmup=Warmup(5))}),
            # Neither is allowed alone.
            (["--training.low", "2", "--training.high", "3"], {"training": Training(low=2.0, high=3.0)}),
            (["--training.high", "-1", "--training.low", "-inf"], {"training": Training(low=float("-inf"), high=-1.0)}),
        ],
    )
    def test_change_what_they_name_and_keep_the_rest(self, arguments, changed):
        assert parse(RECIPE, arguments) == dataclasses.replace(RECIPE, **changed)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--proces", "x"], ["--proces x: Run has no setting 'proces' (did you mean process?)", "name, process"]),
            (["--process.level", "3"], ["--process.level 3: HeatDissipation has no setting 'level'", "levels?"]),
            (["--process.levels", "2.5"], ["--process.levels 2.5: expected int, got 2.5"]),
            (["--process.levels", "5", "--process.sigma", "x"], ["--process.sigma x: expected float, got x"]),
            (["--process", "UNet"], ["--process UNet: UNet makes no LinearGaussianProcess; there are Blurring"]),
            (
                ["--process", "BlurringDiffusion", "--process.levels", "5"],
                ["BlurringDiffusion has no setting 'levels'"],
            ),
            (["--process.levels.more", "5"], ["--process.levels.more 5: it is 50 so far"]),
            (
                ["--weighting", "MinSNRWeighting(gamma=-1)"],
                ["--weighting MinSNRWeighting(gamma=-1): gamma must be positive"],
            ),
            (["--training.low", "2"], ["--training.low 2: low must be below high, got 2.0 and 1.0"]),
            (
                ["--training.low", "3", "--training.high", "2"],
                ["--training.low 3 --training.high 2: low must be below"],
            ),
            (["--training.steps"], ["--training.steps without a value: expected int, got True"]),
            (["--name", "--training.cpu"], ["--name without a value: expected str"]),
            (["--no-cpu"], ["--no-cpu: did you mean --training.no_cpu?"]),
            (["--cpu"], ["--cpu: did you mean --training.cpu?"]),
            (["levels"], ["levels: write --FIELD VALUE"]),
            (["--name", "a", "b"], ["b: write --FIELD VALUE, with quotes around"]),
            (["--config"], ["--config needs a value"]),
            (["--config", "none.json"], ["--config none.json cannot be read: No such file"]),
            (["--process", "own_haze.Haze"], ["--process own_haze.Haze: there is no module 'own_haze'"]),
        ],
    )
    def test_mistakes_are_told_in_one_line(self, arguments, words):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as refusal:
            parse(RECIPE, arguments)
        assert all(word in str(refusal.value) for word in words), str(refusal.value)


OWN = '''
from dataclasses import dataclass
from unmelt.degradations import HeatDissipation
from unmelt.losses import Weighting


class Haze(HeatDissipation):
    """Haze that thickens.

    Args:
        shape: shape of one signal.
        strength: how thick it is.
    """

    def __init__(self, shape, *, strength: float):
        super().__init__(shape, sigma=strength)


@dataclass(frozen=True)
class Tilted(Weighting):
    slope: float = 1.0

    def weight(self, process, t):
        return t
'''


class TestClassesOfTheUser:
    def test_are_found_where_one_works_and_in_files(self, workplace):
        (workplace / "own_line.py").write_text(OWN)
        (workplace / "elsewhere").mkdir()
        (workplace / "elsewhere" / "line_file.py").write_text(OWN)
        for place in ("own_line.", "elsewhere/line_file.py:"):
            run = parse(RECIPE, f"--process.strength 3 --process {place}Haze --weighting {place}Tilted(2)".split())
            assert run.process.settings == {"strength": 3.0}
            assert run.weighting.slope == 2.0
            record = json.loads(json.dumps(to_record(run)))
            assert record["process"] == f"{place}Haze(strength=3.0)"
            with pytest.raises(ValueError, match=r"process: '.*Haze' is not one of unmelt's names.*--trust-code"):
                from_record(Run, record)
            assert from_record(Run, record, trust_code=True) == run
            # Its own settings can be changed without naming it again.
            assert parse(run, ["--weighting.slope", "4"]).weighting.slope == 4.0

    @pytest.mark.parametrize(
        "place", ["own_typed.", "own_typed.py:", "./own_typed.py:", "{}/own_typed.py:", "in/it.py:"]
    )
    def test_a_name_that_is_typed_trusts_the_record_that_is_made_of_it(self, workplace, place):
        (workplace / "in").mkdir()
        for file in ("own_typed.py", "in/it.py"):
            (workplace / file).write_text(OWN)
        typed = ["--process", f"{place.format(workplace)}Haze(strength=3)"]
        record = json.loads(json.dumps(to_record(run := parse(RECIPE, typed))))
        assert from_record(Run, record, known=known_names(RECIPE, typed)) == run
        with pytest.raises(ValueError, match="code of the user's is not run"):
            from_record(Run, record, known=known_names(RECIPE, ["--process", "other.py:Haze(strength=3)"]))

    def test_a_file_of_settings_names_them_if_told_so(self, workplace):
        (workplace / "own_config.py").write_text(OWN)
        (workplace / "my.json").write_text('{"process": "own_config.Haze(strength=2)"}')
        words = r"--config my.json: process: 'own_config.Haze' is not one of unmelt's names.*--trust-code"
        with pytest.raises(ValueError, match=words):
            parse(RECIPE, ["--config", "my.json"])
        # A text that happens to be a name trusts nothing.
        with pytest.raises(ValueError, match=words):
            parse(RECIPE, ["--name", "own_config.Haze", "--config", "my.json"])
        assert "own_config" not in sys.modules
        run = parse(RECIPE, ["--process.strength", "3", "--trust-code", "--config", "my.json"])
        assert run.process.settings == {"strength": 3.0}
        # What the recipe is made of is imported already.
        again = parse(dataclasses.replace(RECIPE, process=run.process), ["--config", "my.json"])
        assert again.process.settings == {"strength": 2.0}
        with pytest.raises(ValueError, match="--trust-code takes no value, got own_config"):
            parse(RECIPE, ["--config", "my.json", "--trust-code", "own_config"])


NESTED = {"a": []}
for _ in range(5000):
    NESTED = {"a": NESTED}


class TestRecords:
    def test_hold_every_setting_as_text_and_are_read_again(self):
        record = to_record(RECIPE)
        assert record["process"] == (
            "HeatDissipation(blur_sigma_max=24.0, blur_sigma_min=0.5, levels=50, sigma=0.03, anisotropy=None)"
        )
        assert record["training"]["warmup"] == {"steps": "100"}
        assert record["training"]["cpu"] == "False"
        assert record["folder"] == "None"
        assert record["root"] == "runs"
        again = from_record(Run, json.loads(json.dumps(record)))
        assert again == RECIPE
        assert to_record(again) == record
        assert isinstance(again.process, Later)

    @pytest.mark.parametrize(
        "run",
        [
            parse(RECIPE, ["--folder", "None", "--churn", "Churn(0.25, noise=1.003)", "--name", "None"]),
            parse(RECIPE, ["--training.low", "-inf", "--training.high", "0.1", "--sizes", "(1,)"]),
            dataclasses.replace(RECIPE, folder=Path("5"), process=IsotropicDiffusion),
            dataclasses.replace(RECIPE, process=later(IsotropicDiffusion, schedule=CosineSchedule(shift=1 / 3))),
        ],
    )
    def test_lose_nothing(self, run):
        assert from_record(Run, json.loads(json.dumps(to_record(run)))) == run

    def test_what_is_missing_has_its_default(self):
        record = {"name": "a", "process": "HeatDissipation", "network": "UNet", "prediction": "PredictX"}
        run = Run(name="a", process=HeatDissipation, network=UNet, prediction=PredictX(), training=Training(steps=5))
        assert from_record(Run, {**record, "training": {"steps": 5}}) == run
        # A field without a default, changed inside.
        with pytest.raises(ValueError, match="process.levels: it is None so far"):
            from_record(Run, {**record, "process": {"levels": 5}})

    def test_values_of_json_and_settings_by_name_may_stand_in_it(self):
        record = {
            "name": "a",
            "process": "HeatDissipation",
            "network": "UNet",
            "prediction": "PredictX",
            "sampler": {"reverse_std": "ConstantStd(1)", "coupling": "Eta(0.5)"},
            "sizes": [3, 4],
            "churn": None,
            "training": {"cpu": True, "high": 2, "warmup": {"steps": 7}},
        }
        run = from_record(Run, record)
        assert run.sampler == Posterior(Eta(0.5), ConstantStd(1.0))
        assert run.sizes == (3, 4)
        assert run.training == Training(cpu=True, high=2.0, warmup=Warmup(7))

    @pytest.mark.parametrize(
        ("record", "words"),
        [
            ({"proces": "UNet"}, ["proces: Run has no setting 'proces' (did you mean process?)"]),
            ({}, ["Run lacks name, process, network, prediction: write Run(name=...)"]),
            ({"name": "a", "training": {"steps": 3}}, ["Run lacks process"]),
            ({"training": {"step": 1}}, ["training.step: Training has no setting 'step' (did you mean steps?)"]),
            ({"training": {"steps": [1]}}, ["training.steps: expected int, got [1]"]),
            ({"name": 5}, ["name: expected str, got 5"]),
            ({"sizes": [{"a": 1}]}, ["sizes: expected int, got {'a': 1}"]),
            ({"weighting": "os.system"}, ["weighting: 'os.system' is not one of unmelt's names"]),
            ({"process": NESTED}, ["it is nested too deeply"]),
            ({"training": {"steps": NESTED["a"]}}, ["it is nested too deeply"]),
        ],
    )
    def test_what_is_wrong_with_one_is_told_in_one_line(self, record, words):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as refusal:
            from_record(Run, record)
        assert all(word in str(refusal.value) for word in words), str(refusal.value)

    def test_a_field_that_does_not_know_its_settings_is_named(self):
        network = UNet((1, 8, 8), channels=4, multipliers=(1,), blocks=1, attention_levels=())
        with pytest.raises(TypeError, match=r"network: UNet does not know its settings.*later\(UNet, \.\.\.\)"):
            to_record(dataclasses.replace(RECIPE, network=network))

    def test_a_file_is_read_before_all_flags(self, workplace):
        stored = parse(RECIPE, ["--process.levels", "7", "--training.steps", "5"])
        (workplace / "run.json").write_text(json.dumps(to_record(stored)))
        (workplace / "part.json").write_text('{"training": {"batch_size": 2}, "process": {"sigma": 0.5}}')
        assert parse(RECIPE, ["--config", "run.json"]) == stored
        both = ["--process.levels", "9", "--config", "run.json", "--config=part.json"]
        run = parse(RECIPE, both)
        assert run.training == Training(steps=5, batch_size=2)
        assert run.process == later(HeatDissipation, levels=9, sigma=0.5)

    @pytest.mark.parametrize(("text", "words"), [("[1]", "holds no record"), ("{", "cannot be read: Expecting")])
    def test_a_file_that_is_no_record(self, workplace, text, words):
        (workplace / "broken.json").write_text(text)
        with pytest.raises(ValueError, match=rf"^--config broken.json {words}[^\n]*$"):
            parse(RECIPE, ["--config", "broken.json"])


class TestHelp:
    @pytest.fixture
    def help_of(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")

        def read(*arguments):
            with pytest.raises(SystemExit) as ended:
                parse(RECIPE, arguments, description="Digits that melt.\n\nMore of it.", prog="digits.py")
            assert ended.value.code == 0
            return capsys.readouterr().out

        return read

    def test_is_a_line_for_each_field_with_its_value_and_its_text(self, help_of):
        text = help_of("--help")
        # As the other flags change it.
        assert text.replace("'digits'", "'x'     ") == help_of("--name", "x", "-h")
        lines = text.splitlines()
        assert lines[0] == "usage: digits.py [--FIELD VALUE] [--FIELD.SETTING VALUE] ..."
        assert lines[2] == "Digits that melt."
        assert "More of it" not in text
        (name,) = [line.split(maxsplit=2) for line in lines if line.startswith("  --name ")]
        assert name[:2] == ["--name", "'digits'"]
        assert "what it is called; a folder of that name is made.".startswith(name[2].removesuffix("..."))
        (process,) = [line for line in lines if line.startswith("  --process ")]
        assert "HeatDissipation(levels" in process
        assert process.endswith("How images are destroyed.")
        assert "  training" in [line[:10] for line in lines]
        assert any(line.startswith("    --training.cpu") and line.endswith("Train on the CPU.") for line in lines)
        assert any(line.startswith("      --training.warmup.steps") for line in lines)
        assert all(len(line) <= 100 for line in lines)
        assert len(lines) < 40
        for word in ("--FIELD.help", "--config", "--trust-code", "module.Class", "path/to/file.py:Class"):
            assert word in text

    def test_of_a_field_lists_what_can_be_given_with_a_line_each(self, help_of):
        lines = help_of("--process.help").splitlines()
        assert lines[0] == "--process = HeatDissipation(levels=50, sigma=0.03)  (LinearGaussianProcess)"
        assert lines[1] == "    How images are destroyed."
        (heat,) = [line.split(maxsplit=1) for line in lines if line.startswith("  HeatDissipation ")]
        assert heat[1].startswith("alpha_k(t) = exp(-lambda_k sigma_B(t)^2 / 2)")
        assert any(line.startswith("  SpectralDiffusion.power_law ") for line in lines)
        assert "--process.help NAME" in lines[-1]
        assert max(map(len, lines[:-1])) <= 100

    def test_of_a_name_shows_its_settings_with_defaults_and_texts(self, help_of):
        text = help_of("--process.help", "HeatDissipation")
        assert text.startswith("HeatDissipation: alpha_k(t)")
        assert "--process.levels = 200  (int)\n    number K of levels, at least 2.\n" in text
        assert "shape" not in text.split("\n\n", 1)[1].replace("shape of", "")
        assert "--process.exponent = -0.5  (float)" in help_of("--process.help=SpectralDiffusion.power_law")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--training.help"], ["--training.batch_size", "128"]),
            (["--training.steps.help"], ["--training.steps = 1000  (int)", "Number of training steps."]),
            (["--sampler.coupling.help"], ["--sampler.coupling = Independent()", "Markov", "rho = 1"]),
            (["--sampler.coupling.help", "Eta"], ["--sampler.coupling.eta  (float)", "0 gives `Deterministic`"]),
            (["--sampler.coupling.help", "Markov"], ["Markov", "It has no settings."]),
            (["--name.help"], ["--name = 'digits'  (str)", "what it is called; a folder of that name is made."]),
            (["--prior.divergence.help"], ["MONTE_CARLO or VARIATIONAL"]),
        ],
    )
    def test_of_anything_inside(self, help_of, arguments, words):
        text = help_of(*arguments)
        assert all(word in text for word in words), text

    def test_of_a_class_of_the_user_s(self, help_of, workplace):
        (workplace / "own_help.py").write_text(OWN)
        text = help_of("--process.help", "own_help.Haze")
        assert "Haze: Haze that thickens." in text
        assert "--process.strength  (float)\n    how thick it is." in text

    @pytest.mark.parametrize("arguments", [["--proces.help"], ["--process.help", "Heatdissipation"], ["--name.x.help"]])
    def test_of_what_is_not_there_is_an_error(self, arguments):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            parse(RECIPE, arguments)


class TestProgram:
    def test_an_error_is_one_line_and_status_2(self, capsys):
        with pytest.raises(SystemExit) as ended:
            cli(RECIPE, arguments=["--process.level", "3"])
        assert ended.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: --process.level 3: HeatDissipation has no setting")
        assert err.count("\n") == 1

    def test_it_reads_the_arguments_of_the_program(self, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["digits.py", "--name", "given"])
        assert cli(RECIPE).name == "given"
