"""Texts as values: what is read, what is refused and in which words, and what a text cannot do."""

from __future__ import annotations

import dataclasses
import math
import pickle
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.core import FromData, FromFile, Later, Shape, later
from unmelt.core.configuration import PACKAGES, Reader, write
from unmelt.degradations import (
    Basis,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    Coupling,
    EDMSchedule,
    Eta,
    FittedPCA,
    FittedSpectrum,
    FourierBasis,
    GaussianBlur,
    HeatDissipation,
    Independent,
    LinearGaussianProcess,
    LogSNRSchedule,
    Markov,
    NoiseSpectrum,
    PixelMask,
    PredictX,
    Schedule,
    SeparableBasis,
    SineBlur,
    SpectralDiffusion,
    WithNoise,
)
from unmelt.losses import MinSNRWeighting, SimpleWeighting, Weighting
from unmelt.models import (
    AbstractDenoiser,
    ConstantStd,
    KernelDivergence,
    Prior,
    StandardNormalPrior,
    UNet,
)
from unmelt.samplers import FixedGrid, Posterior, Sampler

if TYPE_CHECKING:
    from somewhere_else import Unknown

Process = Callable[[Shape], LinearGaussianProcess]
Optimizer = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]
MakesSampler = Callable[[AbstractDenoiser], Sampler]
MakesPrior = Callable[[LinearGaussianProcess, Tensor], Prior]


class TakesPrior(Protocol):
    """Makes a sampler of a denoiser, and of a prior given by name."""

    def __call__(self, denoiser: AbstractDenoiser, *, prior: Prior) -> Sampler: ...


class Named(Protocol):
    """Whatever has a name."""

    def name_of(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Odd:
    """Settings of many types; one of them cannot be resolved."""

    unknown: Unknown | None = None
    places: tuple[int, ...] = ()
    mode: Literal["reflect", "wrap"] = "reflect"
    table: Float[Tensor, " n"] | None = None
    folder: Path | None = None
    name: str = "odd"


def dressed(shape: Shape, *, process: Process, noise: Schedule) -> WithNoise:
    """Return another process under other noise."""
    return WithNoise(process(shape), noise)


HERE = f"{__name__}."


# What is read, and written in the same or other words that are read as the same value.
VALUES = [
    ("-3", int, -3),
    ("+3", int, 3),
    ("3", float, 3.0),
    ("1e-3", float, 1e-3),
    ("0.30000000000000004", float, 0.1 + 0.2),
    ("inf", float, math.inf),
    ("-math.inf", float | None, -math.inf),
    ("3", float | int, 3),
    ("None", float | None, None),
    ("True", bool, True),
    ("false", bool | int, False),
    ("any text, (it) is 'taken' as it stands", str, "any text, (it) is 'taken' as it stands"),
    ("None", str, "None"),
    ("None", str | None, None),
    ("'None'", str | None, "None"),
    ("none", str | None, "none"),
    ("5", str | int, 5),
    ("'5'", str | int, "5"),
    ("runs/of mine", Path, Path("runs/of mine")),
    ("images (copy)", Path | None, Path("images (copy)")),
    ("setup.py", Path | None, Path("setup.py")),
    ("None", Path | None, None),
    ("'a'", str | Path, "'a'"),
    ("wrap", Literal["reflect", "wrap"], "wrap"),
    ("2", Literal[1, 2], 2),
    ("variational", KernelDivergence, KernelDivergence.VARIATIONAL),
    ("KernelDivergence.VARIATIONAL", KernelDivergence | None, KernelDivergence.VARIATIONAL),
    ("1, 2", tuple[int, ...], (1, 2)),
    ("[1, 2]", Sequence[int], (1, 2)),
    ("[1, 2]", list[int], [1, 2]),
    ("(1, 2.5)", tuple[int, float], (1, 2.5)),
    ("(1, None)", Sequence[int | None], (1, None)),
    ("()", tuple[int, ...], ()),
    ("((1, 2), (3,))", tuple[tuple[int, ...], ...], ((1, 2), (3,))),
    ("('a', \"b'c\")", Sequence[str], ("a", "b'c")),
    ("(0.1, 0.2)", Sequence[float] | Float[Tensor, " levels"], (0.1, 0.2)),
    ("None", Float[Tensor, " n"] | None, None),
    ("SimpleWeighting(), MinSNRWeighting(3)", Sequence[Weighting], (SimpleWeighting(), MinSNRWeighting(3.0))),
    ("Markov", Coupling, Markov()),
    ("Eta(eta=0.5)", Coupling | None, Eta(0.5)),
    ("EDMSchedule(0.5, rho=3)", Schedule, EDMSchedule(0.5, rho=3.0)),
    ("shifted_cosine(128, reference=64)", Schedule, CosineSchedule(shift=2 * math.log(0.5))),
    ("unmelt.losses.SimpleWeighting(in_terms_of=PredictX)", Weighting, SimpleWeighting(PredictX())),
    ("FourierBasis", type[SeparableBasis], FourierBasis),
    ("HeatDissipation", Process, later(HeatDissipation)),
    ("HeatDissipation()", Process | None, later(HeatDissipation)),
    ("HeatDissipation(levels=50)", Later[[Shape], LinearGaussianProcess], later(HeatDissipation, levels=50)),
    ("HeatDissipation(levels=50)", Callable[..., LinearGaussianProcess], later(HeatDissipation, levels=50)),
    ("SpectralDiffusion.power_law(exponent=-1)", Process, later(SpectralDiffusion.power_law, exponent=-1.0)),
    (
        "GaussianBlur(blur=SineBlur(), noise=ConstantNoise(0.1), boundary=FourierBasis)",
        Process,
        later(GaussianBlur, blur=SineBlur(), noise=ConstantNoise(0.1), boundary=FourierBasis),
    ),
    (
        "Sampler(stepper=Posterior(coupling=Independent(), reverse_std=ConstantStd(0.03)), denoise_last=False)",
        MakesSampler,
        later(Sampler, stepper=Posterior(Independent(), ConstantStd(0.03)), denoise_last=False),
    ),
    ("PixelMask(onset=FromFile('a.npy'))", Process, later(PixelMask, onset=FromFile("a.npy"))),
    ("FittedSpectrum(basis=CosineBasis)", FromData, FittedSpectrum(CosineBasis)),
    ("FittedSpectrum(basis=FittedPCA(images=5))", FromData, FittedSpectrum(FittedPCA(5))),
    ("Sampler(grid=FixedGrid((1, 0.5, 0)))", TakesPrior, later(Sampler, grid=FixedGrid((1.0, 0.5, 0.0)))),
    ("StandardNormalPrior.fit", MakesPrior, later(StandardNormalPrior.fit)),
    ("AdamW(lr=1e-3, betas=(0.9, 0.99))", Optimizer, later(torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.99))),
    ("torch.optim.SGD(lr=1)", Optimizer, later(torch.optim.SGD, lr=1.0)),
    ("UNet(multipliers=(1, 2), classes=None)", Callable[[Shape], nn.Module], later(UNet, multipliers=(1, 2))),
]


class TestReading:
    @pytest.mark.parametrize(("text", "hint", "value"), VALUES)
    def test_what_is_written_as_in_python_and_again_what_is_written_of_it(self, text, hint, value):
        for words in (text, write(value, hint), write(value, hint, complete=True)):
            read = Reader().read(words, hint)
            assert read == value
            assert type(read) is type(value)

    def test_not_a_number_stays_none(self):
        assert math.isnan(Reader().read(write(math.nan), float))

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="`type` statements came with Python 3.12")
    def test_an_alias_stands_for_its_type(self):
        names = {"Coupling": Coupling}
        exec("type Choice = Coupling | None", names)  # noqa: S102
        assert Reader().read("Eta(0.5)", names["Choice"]) == Eta(0.5)

    def test_a_call_inside_a_call_waits_for_its_own_first_argument(self):
        text = f"{HERE}dressed(process=HeatDissipation(levels=50), noise=CosineSchedule())"
        read = Reader(trust_code=True).read(text, Process)
        assert read == later(dressed, process=later(HeatDissipation, levels=50), noise=CosineSchedule())
        assert isinstance(read((1, 4, 4)), WithNoise)
        assert write(read) == text

    @pytest.mark.parametrize(
        ("settings", "value"),
        [
            ("places=(1, 2)", Odd(places=(1, 2))),
            ("unknown=3", Odd(unknown=3)),
            ("unknown=(1, (2, 'a'))", Odd(unknown=(1, (2, "a")))),
            ("unknown=Eta(0.5)", Odd(unknown=Eta(0.5))),
            ("mode='wrap', table=None", Odd(mode="wrap")),
            ("folder='a/b', name='a.py:B(c=1)'", Odd(folder=Path("a/b"), name="a.py:B(c=1)")),
        ],
    )
    def test_a_type_that_cannot_be_resolved_leaves_the_others_be(self, settings, value):
        assert Reader(trust_code=True).read(f"{HERE}Odd({settings})", Odd) == value


REFUSED = [
    # Numbers and texts.
    ("2.5", int, ["expected int, got 2.5"]),
    ("1e3", int, ["expected int, got 1000.0: write 1000"]),
    ("1", bool, ["expected bool, got 1"]),
    ("'a'", float, ["expected float, got 'a'"]),
    ("2j", float, ["expected float"]),
    ("None", float, ["expected float, got None"]),
    ("yes", bool, ["expected bool, got yes"]),
    ("1 +", int, ["'1 +' is neither a number", "Name(setting=1)"]),
    ("3", Float[Tensor, " n"] | None, ["expected a tensor (not from text) or None, got 3"]),
    # Choices and tuples.
    ("LEAST", KernelDivergence, ["expected MONTE_CARLO or VARIATIONAL", "got LEAST"]),
    ("KernelDivergence.LEAST", KernelDivergence, ["KernelDivergence has no 'LEAST'", "VARIATIONAL"]),
    ("Variable.TIME", Coupling, ["expected Coupling, got Variable.TIME; there are Deterministic"]),
    ("GivenVariance", NoiseSpectrum, ["GivenVariance lacks basis, variance: write GivenVariance(basis=...)"]),
    ("PCABasis", Basis, ["PCABasis lacks data: no text can give a tensor, so write a function"]),
    ("KernelDivergence(1)", KernelDivergence, ["give KernelDivergence.MONTE_CARLO or"]),
    ("fold", Literal["reflect", "wrap"], ["expected 'reflect' or 'wrap', got fold"]),
    ("1", tuple[int, ...], ["expected a sequence of int, got 1"]),
    ("(1, 2, 3)", tuple[float, float], ["expected (float, float), got (1, 2, 3)"]),
    ("(1, 'a')", tuple[int, ...], ["expected int, got 'a'"]),
    ("{1: 2}", dict[int, int], ["expected dict, got {1: 2}"]),
    # Names.
    (
        "heatdissipation",
        Process,
        ["no 'heatdissipation' (did you mean HeatDissipation?)", "there are BlurringDiffusion"],
    ),
    ("Markow()", Coupling, ["(did you mean Markov?)", "there are Deterministic, Eta, Independent, Markov, RandomWalk"]),
    ("SpectralDiffusion.powerlaw", Process, ["SpectralDiffusion has no 'powerlaw' (did you mean power_law?)"]),
    ("UNet", Process, ["UNet makes no LinearGaussianProcess", "there are BlurringDiffusion"]),
    ("LinearGaussianProcess", Process, ["LinearGaussianProcess is abstract"]),
    (
        "ChangedBasis",
        Process,
        ["ChangedBasis is made from process, ", "not from a sequence of int: write ChangedBasis.of"],
    ),
    (
        "StandardNormalPrior",
        Callable[[LinearGaussianProcess, Tensor], Prior],
        [
            "StandardNormalPrior takes process, and would be given LinearGaussianProcess and a tensor",
            "write StandardNormalPrior.fit",
        ],
    ),
    ("UNet", type[SeparableBasis], ["UNet is not a class of SeparableBasis; there are CosineBasis"]),
    ("FourierBasis(axes=2)", type[SeparableBasis], ["write FourierBasis alone"]),
    # Settings.
    ("HeatDissipation(level=3)", Process, ["no setting 'level' (did you mean levels?)", "blur_sigma_max"]),
    ("HeatDissipation(shape=(1, 8, 8))", Process, ["shape comes later"]),
    ("HeatDissipation(50)", Process, ["comes later, so give settings by name", "levels"]),
    ("Sampler(prior=None)", TakesPrior, ["prior comes later"]),
    (
        "IsotropicDiffusion(schedule=EDMSchedule(rho='a'))",
        Process,
        ["IsotropicDiffusion(schedule=...): EDMSchedule(rho=...): expected float"],
    ),
    ("IsotropicDiffusion(schedule=Markov())", Process, ["Markov makes no Schedule; there are", "CosineSchedule"]),
    ("Eta", Coupling, ["Eta lacks eta: write Eta(eta=...)"]),
    ("Eta(0.5, 0.6)", Coupling, ["Eta: more arguments than settings"]),
    ("Eta(0.5, eta=0.5)", Coupling, ["Eta: more arguments than settings, or a setting given twice"]),
    ("Eta(eta=1, eta=2)", Coupling, ["every setting once"]),
    ("Eta(*(1,))", Coupling, ["Eta(eta=...)", "got *(1,)"]),
    (
        "GraphHeat",
        Process,
        ["GraphHeat lacks laplacian: a tensor is read from a file, GraphHeat(laplacian=FromFile('table.npy'))"],
    ),
    (
        "PixelMask(onset=(1, 0))",
        Process,
        ["PixelMask(onset=...): expected a tensor, FromFile('table.npy') say, or None, got (1, 0)"],
    ),
    ("PixelMask(onset=radial_onset((1, 8, 8)))", Process, ["PixelMask(onset=...)", "radial_onset is not a tensor"]),
    ("0.5", Coupling, ["expected Coupling, got 0.5; there are Deterministic, Eta, "]),
    ("Heat", Process, ["no 'Heat' (did you mean HeatBridge or HeatDissipation or HeatFlow?)"]),
    ("SpectralDiffusion(noise=EqualSNR())", Process, ["EqualSNR lacks spectrum: write", "there are FittedSpectrum"]),
    ("Eta(eta=2)", Coupling, ["eta must lie in [0, 1]", "got 2.0"]),
]


@pytest.mark.parametrize(("text", "hint", "words"), REFUSED)
def test_refusals_say_what_there_is_in_one_line(text, hint, words):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refusal:
        Reader().read(text, hint)
    message = str(refusal.value)
    assert all(word in message for word in words), message


ATTACKS = [
    "os.system",
    "os.system('touch broken')",
    "__import__('os').system('touch broken')",
    "__import__('os')",
    "eval('1')",
    "open('broken', 'w')",
    "(lambda shape: 1)",
    "(lambda: 1)()",
    "HeatDissipation.__class__",
    "HeatDissipation.__subclasses__()",
    "HeatDissipation.__init__",
    "HeatDissipation.mro()",
    "HeatDissipation.to",
    "HeatDissipation.state_dict",
    "HeatDissipation().__class__",
    "().__class__",
    "Eta(0.5).__class__",
    "KernelDivergence.VARIATIONAL.value",
    "torch.optim.lr_scheduler",
    "torch.optim.lr_scheduler.LambdaLR",
    "torch.optim.optimizer.os",
    "torch.hub.load('a', 'b')",
    "torch.load('broken')",
    "unmelt.degradations.families",
    "unmelt.core.files.write_atomically",
    "subprocess.Popen(args='touch broken')",
    "pathlib.Path.touch",
    "broken.Anything",
    "./broken.py:Anything",
    "broken.py:Anything()",
    "[x for x in (1, 2)]",
    "{x: 1 for x in (1, 2)}",
    "f'{1}'",
    "'a' * 10",
    "9**9**9",
    "1 if True else 2",
    "(x := 1)",
    "Eta(eta=9**9**9)",
    "Eta(eta=os.system)",
    "Eta(eta=__import__('os').getpid())",
    "HeatDissipation(levels=os.cpu_count())",
    "estimate_spectrum",
    "blur_pixels",
    "blur_pixels(0.5, 32)",
    "(" * 500 + ")" * 500,
    "-" * 5000 + "1",
    "a" + ".a" * 1500,
    "1" * 5000,
    "\0",
]


class TestWhatATextCannotDo:
    @pytest.mark.parametrize("text", ATTACKS, ids=lambda text: text[:40])
    def test_nothing_is_imported_and_nothing_called(self, workplace, text):
        (workplace / "broken.py").write_text("raise SystemExit('run')")
        # A refusal names the library's own parts, whose modules are imported for that, and what these need.
        with pytest.raises(ValueError, match="no 'Nothing'"):
            Reader().read("Nothing", Process)
        before = set(sys.modules)
        # Public functions may be named where any function is expected.
        any_function = [] if text in ("estimate_spectrum", "blur_pixels") else [Callable[..., Any]]
        for hint in (Process, tuple[int, ...], object, *any_function):
            with pytest.raises(ValueError, match=r"^[^\n]+$"):
                Reader().read(text, hint)
        assert not {name for name in set(sys.modules) - before if not name.startswith(("unmelt", "torch"))}
        assert not (workplace / "broken").exists()

    def test_a_long_text_is_refused_at_once(self):
        # In time that grows with the square of the length these would take minutes.
        for text in ("'a\\" * 20_000, "x.py:" * 20_000, "1" * 100_000, "'" * 50_001, "(a.py:B" * 10_000):
            with pytest.raises(ValueError, match="neither a number"):
                Reader().read(text, int)

    def test_nothing_of_python_s_is_reached_through_a_module_that_is_trusted(self, workplace):
        (workplace / "own.py").write_text("import os\nfrom os import system\nimport subprocess\n")
        for text in ("own.os.system('touch x')", "own.system('touch x')", "own.subprocess.Popen(args='x')", "own.os"):
            with pytest.raises(ValueError, match=r"own"):
                Reader(trust_code=True).read(text, Process)
        assert not (workplace / "x").exists()

    def test_what_is_known_needs_no_trust_and_makes_nothing_else_known(self, workplace):
        (workplace / "own.py").write_text(OWN)
        for other in ("own_too", "ow"):
            (workplace / f"{other}.py").write_text("raise SystemExit('run')")
        reader = Reader(known=["own.Haze"])
        assert reader.read("own.Haze.thick(twice=True)", Process).settings == {"twice": True}
        for text in ("own.mist", "own.HazeToo", "own_too.Haze", "ow.n", "./own.py:mist", "own.py:Haze"):
            with pytest.raises(ValueError, match="not run unless it is trusted"):
                reader.read(text, Process)


OWN = '''
from __future__ import annotations
from dataclasses import dataclass
from unmelt.core import ConstantModule
from unmelt.degradations import HeatDissipation, LinearGaussianProcess
from unmelt.losses import Weighting
from torch import Tensor


class Haze(HeatDissipation):
    """Haze that thickens.

    Args:
        strength: how thick it is.
    """

    def __init__(self, shape, strength=1.0, *, name: str = "haze"):
        super().__init__(shape, sigma=strength)

    @classmethod
    def thick(cls, shape, *, twice: bool = False) -> Haze:
        return cls(shape, 4.0 if twice else 2.0)


@dataclass(frozen=True)
class Tilted(Weighting):
    slope: float
    inner: Weighting | None = None

    def weight(self, process, t):
        return t


def mist(shape: tuple[int, ...], *, strength: float = 1.0) -> HeatDissipation:
    return HeatDissipation(shape, sigma=strength)


def steady(t: Tensor) -> Tensor:
    return 1 - t


def unsaid(shape, strength=1.0):
    return HeatDissipation(shape)
'''


class TestClassesOfTheUser:
    @pytest.fixture
    def own(self, workplace):
        """Lay the same classes out as a module, a module of a package, and a file elsewhere."""
        for file in ("own_haze.py", "package/inner/haze.py", "my models/haze_file.py", "models/other_file.py"):
            (workplace / file).parent.mkdir(parents=True, exist_ok=True)
            (workplace / file).write_text(OWN)
        for package in ("package", "package/inner"):
            (workplace / package / "__init__.py").write_text("")
        return workplace

    PLACES = ("own_haze.", "package.inner.haze.", "models/other_file.py:", "my models/haze_file.py:")

    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize(
        ("rest", "hint"),
        [
            ("Haze(strength=3.0)", Process),
            ("Haze.thick(twice=True)", Process),
            ("mist(strength=0.5)", Process),
            ("Tilted(slope=2.0)", Weighting),
            ("steady()", Callable[[Tensor], Tensor]),
        ],
    )
    def test_are_found_written_pickled_and_found_again(self, own, place, rest, hint):
        reader = Reader(trust_code=True)
        value = reader.read(f"{place}{rest}", hint)
        assert value == pickle.loads(pickle.dumps(value))
        assert write(value) == f"{place}{rest}"
        assert reader.read(write(value, hint, complete=True), hint) == value
        if hint is Process:
            assert isinstance(value((1, 4, 4)), HeatDissipation)

    @pytest.mark.parametrize("place", [place for place in PLACES if " " not in place])
    def test_are_found_inside_calls(self, own, place):
        text = f"{place}Tilted(slope=1, inner={place}Tilted(2))"
        value = Reader(trust_code=True).read(text, Weighting)
        assert value.inner.slope == 2.0

    def test_a_function_of_theirs_is_a_setting(self, own):
        reader = Reader(trust_code=True)
        value = reader.read("LogSNRSchedule(log_snr=own_haze.steady)", Schedule)
        assert value.log_snr(torch.ones(1)) == 0
        assert value == LogSNRSchedule(log_snr=sys.modules["own_haze"].steady)
        assert reader.read(write(value), Schedule) == value

    def test_a_file_is_run_once_whatever_it_is_called(self, own):
        reader = Reader(trust_code=True)
        places = ("own_haze.", "own_haze.py:", "./own_haze.py:")
        assert len({reader.read(f"{place}Haze", Process).make for place in places}) == 1
        by_path = Reader(trust_code=True).read("models/other_file.py:Haze", Process).make
        assert sys.modules["other_file"].Haze is by_path

    def test_an_unannotated_setting_takes_plain_values(self, own):
        call = Reader(trust_code=True).read("own_haze.Haze(strength=3)", Process)
        assert call.settings == {"strength": 3}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("own_haze.Hase", ["own_haze has no 'Hase' (did you mean Haze?)", "there are Haze, Tilted, mist, steady"]),
            ("package.inner", ["package.inner is a module: name a class in it"]),
            ("package.inner.hase.Haze", ["package.inner has no 'hase'"]),
            ("nowhere.Haze", ["there is no module 'nowhere' in the current directory or installed"]),
            ("nowhere.py:Haze", ["there is no file nowhere.py"]),
            ("own_haze.py:Hase", ["own_haze.py has no 'Hase' (did you mean Haze?)"]),
            ("own_haze.unsaid", ["own_haze.unsaid does not say what it makes", "-> LinearGaussianProcess"]),
            ("own_haze.Tilted(slope=1)", ["own_haze.Tilted makes no LinearGaussianProcess"]),
            ("own_haze.Haze.to", ["own_haze.Haze has no 'to'", "there is thick"]),
            ("fails.Haze", ["module fails cannot be imported (ZeroDivisionError: division by zero", "fails.py line 2"]),
            ("fails.py:Haze", ["fails.py cannot be imported (ZeroDivisionError", "fails.py line 2"]),
            ("lacks.Haze", ["module lacks cannot be imported (ModuleNotFoundError: No module named 'not_installed'"]),
            ("syntax.py:Haze", ["syntax.py cannot be imported (SyntaxError"]),
            ("types.py:Haze", ["types.py cannot be imported: there is another module types", "rename the file"]),
            ("no-name.py:Haze", ["no-name is not a module name; rename the file"]),
        ],
    )
    def test_what_is_wrong_with_them_is_told_in_one_line(self, own, text, words):
        files = {"fails": "one = 1\ntwo = one / 0\n", "lacks": "import not_installed\n", "syntax": "def\n"}
        for name, content in {**files, "types": "", "no-name": ""}.items():
            (own / f"{name}.py").write_text(content)
        before = set(sys.modules)
        with pytest.raises(ValueError, match=r"^[^\n]+$") as refusal:
            Reader(trust_code=True).read(text, Process)
        message = str(refusal.value)
        assert all(word in message for word in words), message
        assert not {"fails", "lacks", "syntax", "no-name"} & (set(sys.modules) - before)

    def test_without_trust_they_are_not_imported_and_the_remedy_is_told(self, own):
        for text in ("own_haze.Haze", "models/other_file.py:Haze"):
            words = f"{text!r} is not one of unmelt's names, .* not run unless it is trusted: .*"
            with pytest.raises(ValueError, match=words + "trust_code=True in Python or --trust-code in a command"):
                Reader().read(text, Process)
        assert "own_haze" not in sys.modules


class TestChoices:
    def test_are_what_makes_the_right_thing_of_the_right_arguments(self):
        choices = Reader().choices(Process)
        assert {"HeatDissipation", "SpectralDiffusion.power_law", "WithNoise.of"} <= choices.keys()
        # Made from other parts; abstract.
        assert not {"WithNoise", "SequentialMasking", "LinearGaussianProcess"} & choices.keys()
        priors = Reader().choices(MakesPrior)
        # An oracle's prior is not fitted, and a constructor that takes tables is no choice.
        assert {"StandardNormalPrior.fit", "DegradedDataPrior.fit"} <= priors.keys()
        assert not {"OraclePrior.fit", "DegradedDataPrior", "StandardNormalPrior"} & priors.keys()
        assert [*Reader().choices(type[SeparableBasis])] == ["CosineBasis", "FourierBasis", "SineBasis"]
        assert Reader().choices(int | float | None) == {}

    def test_no_name_is_public_in_two_packages(self):
        names = [name for package in PACKAGES for name in import_module(package).__all__]
        assert len(names) == len(set(names))

    def test_where_any_module_will_do_are_those_of_no_other_kind(self):
        assert [*Reader().choices(Callable[[Shape], nn.Module])] == ["DiT", "PatchTransformer", "UNet"]
        assert "AdamW" in Reader().choices(Optimizer)

    def test_a_protocol_asks_for_methods(self):
        assert Reader().choices(Callable[[Shape], Named]) == {}


def test_a_file_may_import_what_lies_beside_it_and_the_path_stays_what_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "parts of mine"
    folder.mkdir()
    (folder / "widths_beside.py").write_text("WIDTH = 3\n")
    text = "from widths_beside import WIDTH\n{}\ndef odd() -> float:\n    return float(WIDTH)\n"
    (folder / "uses_beside.py").write_text(text.format(""))
    (folder / "fails_beside.py").write_text(text.format("1 / 0"))
    before = list(sys.path)
    made = Reader(trust_code=True).read("parts of mine/uses_beside.py:odd", Callable[[], float])
    assert made() == 3.0
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        Reader(trust_code=True).read("parts of mine/fails_beside.py:odd", Callable[[], float])
    assert sys.path == before
