"""What is declared in several files agrees: the version, and which Pythons and torch are supported and tried."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import unmelt

ROOT = Path(unmelt.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = ROOT / ".github" / "workflows"

# A source distribution has none.
in_a_clone = pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="no workflow files here: they are in a clone alone")


def read(name):
    return yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())


def steps():
    """Return the steps of all jobs of all workflows."""
    jobs = [job for path in sorted(WORKFLOWS.glob("*.yml")) for job in read(path.stem)["jobs"].values()]
    return [step for job in jobs for step in job["steps"]]


class TestVersion:
    def test_it_is_written_in_one_place_that_the_distributions_take_it_from(self):
        assert "version" not in PROJECT["project"]
        assert PROJECT["project"]["dynamic"] == ["version"]
        assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "unmelt.__version__"}
        # Read and not run by setuptools, which has no torch where it builds.
        (value,) = [
            node.value.value
            for node in ast.parse((ROOT / "__init__.py").read_text()).body
            if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
        ]
        assert value == unmelt.__version__
        assert re.fullmatch(r"\d+\.\d+\.\d+", value)

    def test_who_cites_it_names_the_same(self):
        cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
        assert str(cited["version"]) == unmelt.__version__
        assert cited["license"] == PROJECT["project"]["license"]
        assert [author["name"] for author in cited["authors"]] == [a["name"] for a in PROJECT["project"]["authors"]]


@in_a_clone
class TestWorkflows:
    def test_tests_run_with_every_python_and_the_lowest_torch_that_are_declared(self):
        matrix = read("tests")["jobs"]["versions"]["strategy"]["matrix"]
        languages = [name for name in PROJECT["project"]["classifiers"] if "Python :: 3." in name]
        assert matrix["python"] == [name.rpartition(" ")[2] for name in languages]
        assert PROJECT["project"]["requires-python"] == f">={matrix['python'][0]}"
        (declared,) = [name for name in PROJECT["project"]["dependencies"] if name.startswith("torch>")]
        assert matrix["torch"] == [f"{declared.replace('>=', '==')}.*", "torch"]

    def test_what_they_make_is_in_the_makefile(self):
        makefile = (ROOT / "Makefile").read_text()
        made = [word for step in steps() for word in re.findall(r"^make (\S+)", step.get("run", ""))]
        assert set(made) >= {"test", "docs"}
        assert not [target for target in made if not re.search(rf"^{target}:", makefile, re.MULTILINE)]

    def test_none_may_do_more_than_read_but_the_jobs_that_publish(self):
        for name in ("tests", "docs", "release"):
            workflow = read(name)
            assert workflow["permissions"] == {"contents": "read"}
            assert not [job for job, its in workflow["jobs"].items() if "permissions" in its and job != "publish"]
