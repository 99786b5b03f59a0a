"""The source distribution: all that tests and pages need, nothing else, and the same wheel as from the tree."""

import sys
import tarfile
import zipfile

import pytest
from built import needs_build, run

import unmelt

pytestmark = [pytest.mark.full, needs_build]

NAME = f"unmelt-{unmelt.__version__}"


@pytest.fixture(scope="module")
def unpacked(source, tmp_path_factory):
    """Build it, and unpack it elsewhere."""
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(out), str(source))
    (path,) = out.glob("*.tar.gz")
    assert path.name == f"{NAME}.tar.gz"
    with tarfile.open(path) as archive:
        archive.extractall(out, filter="data")
    return out / NAME


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def test_it_holds_what_a_clone_does_but_for_what_is_git_s_or_a_host_s(source, unpacked):
    # Written by setuptools.
    made = ("PKG-INFO", "setup.cfg", "unmelt.egg-info/")
    kept = {name: path for name, path in files_in(source).items() if not name.startswith((".", "build/", *made))}
    held = {name: path for name, path in files_in(unpacked).items() if not name.startswith(made)}
    assert {"SECURITY.md", "tests/conftest.py", "constraints.txt"} <= held.keys()
    # A file or folder that is new at the top belongs into MANIFEST.in.
    assert held.keys() == kept.keys()
    assert not [name for name, path in held.items() if path.read_bytes() != kept[name].read_bytes()]


def test_it_makes_the_wheel_that_the_tree_makes(unpacked, wheel, tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(unpacked))
    (again,) = tmp_path.glob("*.whl")
    assert again.name == wheel.name
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(again) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
        assert not [name for name in ours.namelist() if ours.read(name) != theirs.read(name)]
