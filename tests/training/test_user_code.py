"""What a run keeps of the user's code, and that it is loaded from there, whatever has become of the originals."""

import importlib
import json
import py_compile
import re
import runpy
import shutil
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest
from small_runs import changed, images, small_run, train
from user_files import fog, forget, lay

from unmelt.core import later
from unmelt.core.configuration import from_record, parse, to_record
from unmelt.degradations import LogSNRSchedule, PredictX, SpectralDiffusion
from unmelt.samplers import Posterior
from unmelt.training import RunConfig, load_run
from unmelt.training.folder.user_code import keep_code

SHAPE = (1, 4, 4)


def of_user(root, text="own_fog.Fog", **changes):
    """A run whose process is what is typed."""
    config = small_run(root / "runs", steps=1, prediction=PredictX(), sampler=Posterior(), **changes)
    return parse(config, ["--process", text])


def kept(folder):
    return {str(path.relative_to(folder / "code")) for path in (folder / "code").rglob("*") if path.is_file()}


def from_copies(record, folder):
    """Return the configuration that a record stands for, of copies in a folder."""
    return from_record(RunConfig, record, trust_code=True, copies=folder / "code")


class TestKeeping:
    def test_are_a_file_and_all_beside_it_that_it_imports_wherever_it_does(self, work, tmp_path):
        lay(
            work,
            {
                "own_fog.py": fog(imports="import json, numpy, torch, own_widths, colorsys\nfrom parts import speeds"),
                # It hides Python's own, as this folder is searched first.
                "colorsys.py": "",
                "own_widths.py": "def wide():\n    from parts.inner.late import width\n    return width\n",
                "parts/__init__.py": "",
                "parts/speeds.py": "from . import table\nfrom .inner import *\n",
                "parts/table.py": "if not __name__:\n    import absent_module, own_fog\n",
                "parts/inner/__init__.py": "",
                "parts/inner/late.py": "from ..table import __name__ as width\n",
                "parts/unused.py": "",
                "unused.py": "",
            },
        )
        assert keep_code(of_user(work), tmp_path / "run") == []
        assert kept(tmp_path / "run") == {
            *("own_fog.py", "own_widths.py", "colorsys.py", "parts/__init__.py", "parts/speeds.py", "parts/table.py"),
            *("parts/inner/__init__.py", "parts/inner/late.py"),
        }
        for name in kept(tmp_path / "run"):
            assert (tmp_path / "run" / "code" / name).read_bytes() == (work / name).read_bytes()

    @pytest.mark.parametrize(
        ("files", "typed", "copies"),
        [
            (
                {"lab/nets/own_fog.py": "from ..shared import x\n", "lab/shared.py": "x = 1"},
                "lab.nets.own_fog.Fog",
                None,
            ),
            ({"lab/__init__.py": "from . import b", "lab/b.py": "", "lab/own_fog.py": ""}, "lab.own_fog.Fog", None),
            (
                # Only what is found nowhere else is looked for beside a file whose folder is not searched.
                {
                    "else where/own_fog.py": "import colorsys\ndef late():\n    import beside\n",
                    "else where/beside.py": "this is no Python",
                    "else where/colorsys.py": "",
                },
                "else where/own_fog.py:Fog",
                {"own_fog.py", "beside.py"},
            ),
        ],
        ids=["packages", "a package that imports", "a path"],
    )
    def test_lie_where_they_are_imported_from(self, work, tmp_path, files, typed, copies):
        lay(work, {name: fog(imports=text) if name.endswith("own_fog.py") else text for name, text in files.items()})
        config = of_user(work, typed)
        record = to_record(config)
        assert keep_code(config, tmp_path / "run") == []
        assert kept(tmp_path / "run") == (copies or files.keys())
        forget(tmp_path)
        shutil.rmtree(work / typed.partition("/")[0].partition(".")[0])
        again = from_copies(record, tmp_path / "run")
        assert again.process(SHAPE).speed == 3
        # It is written as it was, so that the run can go on.
        assert to_record(again) == record

    def test_come_from_all_parts_of_a_configuration(self, work, tmp_path):
        # One of them lies elsewhere, and is the default of another's setting.
        sys.path.append(str(tmp_path / "elsewhere"))
        lay(tmp_path / "elsewhere", {"own_kind.py": "import enum\nclass Kind(enum.Enum):\n    ONE = 1\n"})
        lay(
            work,
            {
                "own_fog.py": "def falling(t):\n    return 8 - 16 * t\n",
                "own_prior.py": "from unmelt.models import GaussianPrior\nclass Wide(GaussianPrior):\n    pass\n",
                "own_net.py": "import torch, own_kind\nclass Net(torch.nn.Module):\n"
                "    def __init__(self, shape, kinds=(own_kind.Kind.ONE,)):\n        pass\n",
            },
        )
        modules = {name: importlib.import_module(name) for name in ("own_fog", "own_prior", "own_net", "own_kind")}
        config = changed(
            small_run(work),
            process=later(
                SpectralDiffusion.power_law, schedule=LogSNRSchedule(modules["own_fog"].falling), exponent=1.0
            ),
            prior=later(modules["own_prior"].Wide.fit),
            network=later(modules["own_net"].Net),
        )
        assert keep_code(config, tmp_path / "run") == []
        assert kept(tmp_path / "run") == {f"{name}.py" for name in modules}

    def test_are_none_where_nothing_is_the_user_s(self, config, tmp_path):
        assert keep_code(config, tmp_path / "run") == []
        assert not (tmp_path / "run").exists()

    def test_what_is_not_copied_is_named(self, work, tmp_path):
        installed, elsewhere = tmp_path / "site-packages", tmp_path / "elsewhere"
        compiled = f"fast{EXTENSION_SUFFIXES[0]}"
        sys.path += [str(installed), str(elsewhere)]
        lay(installed, {"from_an_index.py": ""})
        lay(elsewhere, {"far_away.py": "", "far_package/__init__.py": ""})
        late = "def late():\n    import from_an_index, far_away, fast, large\n    from far_package import x\n"
        lay(work, {"own_fog.py": fog(imports=late), compiled: "", "large.py": "#" * 2**20 + "\n"})
        told = keep_code(of_user(work), tmp_path / "run")
        assert kept(tmp_path / "run") == {"own_fog.py"}
        assert len(told) == 4
        for file, words in (
            (elsewhere / "far_away.py", rf", which {work / 'own_fog.py'} imports, was not copied: .*neither beside"),
            (elsewhere / "far_package" / "__init__.py", ", which .* must be found where the run is loaded"),
            (work / compiled, " was not copied, as it is compiled"),
            (work / "large.py", " was not copied: it has over 1048576 bytes"),
        ):
            assert [line for line in told if re.match(re.escape(str(file)) + words, line)], told

    def test_a_file_that_is_no_module_of_its_place_is_named(self, work, tmp_path):
        lay(work, {"lab/__init__.py": fog()})
        (told,) = keep_code(of_user(work, "lab/__init__.py:Fog"), tmp_path / "run")
        assert told.startswith(f"{work / 'lab' / '__init__.py'} was not copied, as it does not lie where __init__ is")

    def test_two_files_of_one_name_are_not_mixed_up(self, work, tmp_path):
        net = "import torch\nclass Net(torch.nn.Module):\n    def __init__(self, shape):\n        import beside\n"
        lay(work, {"one/own_fog.py": fog(imports="def late():\n    import beside\n"), "two/own_net.py": net})
        lay(work, {"one/beside.py": "one = 1", "two/beside.py": "two = 2"})
        config = parse(of_user(work, "one/own_fog.py:Fog"), ["--network", "two/own_net.py:Net"])
        (told,) = keep_code(config, tmp_path / "run")
        one, two = work / "one" / "beside.py", work / "two" / "beside.py"
        assert told == f"{two} was not copied: {one} is kept under that name; rename one of them"
        assert (tmp_path / "run" / "code" / "beside.py").read_text() == "one = 1"

    def test_of_one_source_under_two_names_are_each_written_under_its_own(self, work, tmp_path):
        records = []
        for place in ("one", "two"):
            lay(work, {f"{place}/own_fog.py": fog()})
            config = of_user(work, f"{place}/own_fog.py:Fog")
            records.append(to_record(config))
            keep_code(config, tmp_path / place)
            forget(tmp_path)
        again = [from_copies(record, tmp_path / place) for record, place in zip(records, ("one", "two"), strict=True)]
        assert [to_record(config) for config in again] == records


class TestLoading:
    @pytest.fixture
    def run(self, work, tmp_path):
        """A run of a class that imports a module, and another one when it is called."""
        lay(
            work,
            {
                "own_fog.py": fog("speeds.now()", "import speeds"),
                "speeds.py": "def now():\n    import late\n    return late.speed\n",
            },
        )
        lay(work, {"late.py": "speed = 3.0\n"})
        trainer = train(of_user(tmp_path), images())
        assert kept(trainer.run.path) == {"own_fog.py", "speeds.py", "late.py"}
        return trainer

    def test_needs_neither_the_originals_nor_their_place(self, run, work, tmp_path, monkeypatch):
        forget(tmp_path)
        shutil.rmtree(work)
        monkeypatch.chdir(tmp_path)
        path, before = list(sys.path), set(sys.modules)
        loaded = load_run(run.run.path, trust_code=True)
        assert loaded.denoiser.process.speed == 3
        assert loaded.sample(2).shape == (2, *SHAPE)
        # The program is left as it was: nothing that it imports is found in the folder.
        assert sys.path == path
        assert all(name.startswith("unmelt_copies_") for name in set(sys.modules) - before if "." not in name)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("own_fog")
        # And the folder is: no bytecode beside the copies.
        assert kept(run.run.path) == {"own_fog.py", "speeds.py", "late.py"}

    @pytest.mark.parametrize("edited", ["own_fog.py", "late.py"])
    def test_takes_the_copies_where_an_original_was_edited(self, run, work, tmp_path, edited):
        text = (work / edited).read_text()
        (work / edited).write_text(text.replace("3.0", "9.0").replace("2 * self", "9 * self"))
        assert load_run(run.run.path, trust_code=True).denoiser.process.speed == 3
        # In a program that has imported the edited ones, too; and it keeps them.
        forget(tmp_path)
        own = importlib.import_module("own_fog")
        loaded = load_run(run.run.path, trust_code=True)
        assert not isinstance(loaded.denoiser.process, own.Fog)
        assert sys.modules["own_fog"] is own
        assert sys.modules["late"].speed == (9 if edited == "late.py" else 3)

    def test_takes_the_program_s_own_classes_where_they_are_the_same(self, run):
        assert load_run(run.run.path, trust_code=True).config == run.config
        assert type(load_run(run.run.path, trust_code=True).denoiser.process) is sys.modules["own_fog"].Fog

    def test_loads_runs_of_different_classes_of_one_name_side_by_side(self, run, work, tmp_path):
        forget(tmp_path)
        (work / "late.py").write_text("speed = 5.0\n")
        other = train(of_user(tmp_path, name="other"), images())
        forget(tmp_path)
        loaded = [load_run(folder.path, trust_code=True) for folder in (run.run, other.run, run.run)]
        assert [each.denoiser.process.speed for each in loaded] == [3, 5, 3]
        assert loaded[0].config == loaded[2].config

    def test_reads_copies_anew_that_were_edited(self, run, tmp_path):
        forget(tmp_path)
        load_run(run.run.path, trust_code=True)
        (run.run.path / "code" / "late.py").write_text("speed = 5.0\n")
        with pytest.raises(ValueError, match="other coefficients than Fog gives now"):
            load_run(run.run.path, trust_code=True)

    @pytest.mark.full
    def test_goes_on_with_the_copies(self, run, work, tmp_path):
        forget(tmp_path)
        lay(work, {"own_fog.py": fog("9.0"), "late.py": "speed = 9.0"})
        config = changed(run.run.load_config(trust_code=True), steps=2)
        assert train(config, images(), resume=True).progress.step == 2
        assert load_run(run.run.path, trust_code=True).denoiser.process.speed == 3
        # A new run keeps what it is made of as well.
        other = train(changed(config, name="other"), images())
        assert kept(other.run.path) == kept(run.run.path)
        assert json.loads(other.run.config.read_text())["process"] == "own_fog.Fog()"

    def test_does_not_run_bytecode_that_lies_beside(self, run, tmp_path):
        code, marker = run.run.path / "code", tmp_path / "marker"
        (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n" + fog())
        (code / "__pycache__").mkdir()
        py_compile.compile(
            str(tmp_path / "evil.py"),
            importlib.util.cache_from_source(str(code / "own_fog.py")),
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        forget(tmp_path)
        assert load_run(run.run.path, trust_code=True).denoiser.process.speed == 3
        assert not marker.exists()

    def test_tells_where_a_copy_cannot_be_imported(self, run, tmp_path):
        forget(tmp_path)
        copy = run.run.path / "code" / "speeds.py"
        copy.write_text("1 / 0\n")
        words = rf"config.json: process: .*own_fog cannot be imported \(ZeroDivisionError: .*{copy} line 1\)"
        with pytest.raises(ValueError, match=words):
            load_run(run.run.path, trust_code=True)

    def test_looks_elsewhere_for_what_was_not_copied(self, run, work, tmp_path):
        shutil.rmtree(run.run.path / "code")
        forget(tmp_path)
        assert load_run(run.run.path, trust_code=True).denoiser.process.speed == 3
        (work / "own_fog.py").unlink()
        forget(tmp_path)
        with pytest.raises(ValueError, match="there is no module 'own_fog' in the current directory or installed"):
            load_run(run.run.path, trust_code=True)


SCRIPT = """
from unmelt.core.configuration import parse
from small_runs import images, train
import own_test_of_scripts
{fog}

def make():
    own_test_of_scripts.trainers.append(train(own_test_of_scripts.config(Fog), images()))

{end}
"""
GUARD = "if __name__ == '__main__':\n    make()"


class TestScripts:
    """A class in the very script that was run."""

    @pytest.fixture
    def start(self, work, tmp_path):
        """Run a script that ends in some way, from another folder, and return its trainer."""
        lay(work, {"own_test_of_scripts.py": "trainers, config = [], None\n"})
        own = importlib.import_module("own_test_of_scripts")
        own.config = lambda process: changed(of_user(tmp_path, "HeatDissipation"), process=later(process))

        def run(end):
            lay(work, {"scripts/my-recipe.py": SCRIPT.format(fog=fog(), end=end)})
            runpy.run_path("scripts/my-recipe.py", run_name="__main__")
            (trainer,) = own.trainers
            return trainer, own

        return run

    def test_is_loaded_from_a_copy_that_trains_nothing(self, start, tmp_path):
        trainer, own = start(GUARD)
        assert kept(trainer.run.path) == {"my-recipe.py"}
        forget(tmp_path)
        (tmp_path / "work" / "scripts" / "my-recipe.py").unlink()
        sys.modules["own_test_of_scripts"] = own
        loaded = load_run(trainer.run.path, trust_code=True)
        assert loaded.denoiser.process.speed == 3
        assert own.trainers == [trainer]
        assert to_record(loaded.config)["process"] == "scripts/my-recipe.py:Fog()"

    def test_is_the_program_s_own_while_it_runs(self, start):
        sys.modules["own_test_of_scripts"].same = lambda trainer, own: (
            type(load_run(trainer.run.path, trust_code=True).denoiser.process) is own
        )
        _, own = start(
            f"{GUARD}\n    own_test_of_scripts.found = own_test_of_scripts.same(own_test_of_scripts.trainers[0], Fog)"
        )
        assert own.found

    def test_so_is_a_package_beside_it(self, start, work, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(work / "scripts")
        lay(work, {"scripts/lab/__init__.py": fog("2.0")})
        trainer, _ = start("from lab import Fog\nmake()")
        assert kept(trainer.run.path) == {"lab/__init__.py"}
        forget(tmp_path)
        shutil.rmtree(work / "scripts")
        loaded = load_run(trainer.run.path, trust_code=True)
        assert loaded.denoiser.process.speed == 2
        assert to_record(loaded.config)["process"] == "scripts/lab/__init__.py:Fog()"

    def test_without_a_guard_it_is_kept_and_not_imported(self, start, capsys):
        trainer, own = start("make()")
        words = "trains whenever it is imported, .* put what it does under `if __name__ == .__main__.:`, or the classes"
        assert re.search(rf"scripts/my-recipe.py {words}", capsys.readouterr().out)
        copy = trainer.run.path / "code" / "my-recipe.py.txt"
        assert kept(trainer.run.path) == {copy.name}
        with pytest.raises(
            ValueError, match=f"{copy} is the script .* put what it does under .*rename it to my-recipe.py"
        ):
            load_run(trainer.run.path, trust_code=True)
        copy.with_suffix("").write_text(
            copy.read_text().replace("\nmake()", "\nif __name__ == '__main__':\n    make()")
        )
        assert load_run(trainer.run.path, trust_code=True).denoiser.process.speed == 3
        assert own.trainers == [trainer]


def test_a_name_that_is_typed_means_the_user_s_own_file_and_not_the_folder_s_copy(work, tmp_path):
    lay(work, {"own_fog.py": fog()})
    run = train(of_user(tmp_path), images()).run
    # A folder from elsewhere may have a copy under a name that somebody uses.
    (run.code / "own_fog.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n{fog('9.0')}")
    forget(work)
    assert run.load_config(known=("own_fog.Fog",)).process((1, 4, 4)).speed == 3
    with pytest.raises(ValueError, match=r"config.json: process: 'own_fog.Fog' is not one of unmelt's names"):
        run.load_config(known=("own_fog.Other", "own"))
    assert not (tmp_path / "mark").exists()
    assert run.load_config(trust_code=True).process((1, 4, 4)).speed == 9
    assert (tmp_path / "mark").exists()
