"""A folder that somebody prepared runs nothing, whichever door it comes in by, unless it is trusted."""

import contextlib
import json
import shutil
import sys

import pytest
from small_runs import images, small_run, train
from user_files import fog, forget, lay

from unmelt.commands import main
from unmelt.core.configuration import parse
from unmelt.evaluation.run_bounds import load_fitted_bound
from unmelt.training import RunFolder, load_run

# What a command line changes.
CONFIG = small_run("runs")
# What a prepared folder may say, of modules that leave a marker when they are run.
ATTACKS = [
    ("process", "in_cwd.Fog"),
    ("process", "in_cwd.Fog(speed=1)"),
    ("process", "in_cwd"),
    ("process", "package.Fog"),
    ("process", "package.inner.Fog"),
    ("process", "in_code.Fog"),
    ("process", "code.in_code.Fog"),
    ("process", "in_cwd.py:Fog"),
    ("process", "./in_cwd.py:Fog"),
    ("process", "runs/small/code/in_code.py:Fog"),
    ("process", "{folder}/code/in_code.py:Fog()"),
    ("process", "{folder}/config.json/../code/in_code.py:Fog"),
    ("process", "unmelt.in_cwd.Fog"),
    ("process", "unmelt.training.launch.sys.modules"),
    ("process", "unmelt.training.launch.os.system('touch marker')"),
    ("process", "unmelt.training.data.os.system('touch marker')"),
    ("process", "unmelt.core.configuration.user_modules.importlib.import_module('in_cwd')"),
    ("process", "unmelt.core.configuration.Reader(trust_code=True).read('in_cwd.Fog')"),
    ("process", "torch.hub.load('.', 'in_cwd', source='local')"),
    ("process", "torch.optim.lr_scheduler.sys.modules"),
    ("process", "torch.load('marker')"),
    ("process", "os.system('touch marker')"),
    ("process", "__import__('in_cwd').Fog"),
    ("process", "pathlib.Path.touch(self='marker')"),
    ("process", "HeatDissipation.__init__.__globals__"),
    ("process", "WithNoise.of(process=in_cwd.Fog, noise=CosineSchedule())"),
    ("process", "SpectralDiffusion.power_law(schedule=LogSNRSchedule(log_snr=in_cwd.falling))"),
    ("process", "SpectralDiffusion.power_law(schedule=LogSNRSchedule(log_snr='in_cwd.falling'))"),
    ("process", "in_cwd." + "a." * 20_000 + "Fog"),
    ("process", "WithNoise.of(process=" * 300 + "in_cwd.Fog" + ")" * 300),
    ("process", {"blur_sigma_max": "in_cwd.Fog"}),
    ("process", {"process": {"process": "in_cwd.Fog"}}),
    ("data", "in_cwd.Data"),
    ("data", "ArrayFile(file=in_cwd.Data)"),
    ("network", "in_cwd.Net"),
    ("network", "UNet(channels=in_cwd.channels())"),
    ("prior", "in_cwd.Prior.fit"),
    ("sampler", "Posterior(coupling=in_cwd.Coupling())"),
    ("weighting", "in_cwd.Weighting"),
    ("optimizer", "in_cwd.Adam"),
    ("optimizer", "AdamW(lr=in_cwd.rate())"),
    ("training", {"steps": "in_cwd.steps()"}),
    ("training", "in_cwd.Training()"),
    ("reduction", ["in_cwd.Reduction"]),
    ("in_cwd.Fog", "in_cwd.Fog"),
]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run that is as good as any."""
    root = tmp_path_factory.mktemp("stored") / "runs"
    train(small_run(root, steps=1), images())
    return root


class TestNothingIsRunUnlessItIsTrusted:
    @pytest.fixture
    def prepared(self, stored, work):
        """Return a run's folder in the current one, with code that must not be run all around it."""
        shutil.copytree(stored, work / "runs")
        folder = work / "runs" / "small"
        leave = f"open({str(work / 'marker')!r}, 'w').close()\n{fog()}"
        for name in ("in_cwd.py", "package/__init__.py", "package/inner.py", "code/__init__.py"):
            lay(work, {name: leave})
        lay(folder, {"code/in_code.py": leave, "in_cwd.py": leave})
        return folder

    @pytest.mark.parametrize(("field", "text"), ATTACKS, ids=lambda value: str(value)[:50])
    def test_of_a_folder(self, prepared, work, field, text, capsys):
        file = prepared / "config.json"
        record = json.loads(file.read_text())
        record[field] = text.replace("{folder}", str(prepared)) if isinstance(text, str) else text
        self.refuse(file, json.dumps(record), work)

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"process":' * 100_000, "import in_cwd"])
    def test_of_a_file_that_is_no_record(self, prepared, work, text):
        self.refuse(prepared / "config.json", text, work)

    def test_what_is_refused_is_named_with_its_file_and_both_remedies(self, prepared):
        file = prepared / "config.json"
        record = json.loads(file.read_text()) | {"network": "in_cwd.Net"}
        file.write_text(json.dumps(record))
        words = (
            f"{file}: network: 'in_cwd.Net' .*code of the user's is not run .*trust_code=True in Python or --trust-code"
        )
        with pytest.raises(ValueError, match=words):
            load_run(prepared)

    @pytest.mark.parametrize("text", ["in_code.Fog", "in_cwd.Fog", "package.inner.Fog"])
    def test_where_it_is_trusted_it_is_run(self, prepared, work, text):
        """By each of the doors: so the tests above would see it."""
        file = prepared / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"process": text}))
        own = [] if text == "in_code.Fog" else [lambda: parse(CONFIG, ["--trust-code", "--config", str(file)])]
        for door in (
            *own,
            lambda: RunFolder(prepared).load_config(trust_code=True),
            lambda: load_run(prepared, trust_code=True),
            lambda: load_fitted_bound(prepared, trust_code=True),
            lambda: main(["evaluate", str(prepared), "--trust-code"]),
        ):
            # It is another process than the run was trained with.
            with contextlib.suppress(ValueError, SystemExit):
                door()
            (work / "marker").unlink()
            forget(work)

    def refuse(self, file, text, work):
        """Check that every door refuses a stored configuration in one line, and nothing was run."""
        file.write_text(text)
        before = set(sys.modules)
        doors = [
            lambda: load_run(file.parent),
            lambda: RunFolder(file.parent).load_config(),
            lambda: load_fitted_bound(file.parent),
            lambda: parse(CONFIG, ["--config", str(file)]),
        ]
        for door in doors:
            with pytest.raises(ValueError, match=r"^[^\n]{10,2000}$"):
                door()
        with pytest.raises(SystemExit, match=r"^error: [^\n]{10,2000}$"):
            main(["evaluate", str(file.parent)])
        assert not (work / "marker").exists()
        assert not {name.partition(".")[0] for name in set(sys.modules) - before} & {"in_cwd", "in_code", "package"}
