"""The package as users get it, built from what a clone would hold."""

import shutil
import sys
from pathlib import Path

import pytest
from built import run

import unmelt

ROOT = Path(unmelt.__file__).parent


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Copy what a clone would hold, so that a file which git ignores is missed here and not by users."""
    folder = tmp_path_factory.mktemp("source")
    if (ROOT / ".git").exists():
        listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
        for name in listed:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
    else:
        # An unpacked source distribution.
        aside = shutil.ignore_patterns("build", "*.egg-info", "runs", ".*", "__pycache__", "PKG-INFO", "setup.cfg")
        shutil.copytree(ROOT, folder, dirs_exist_ok=True, ignore=aside)
    return folder


@pytest.fixture(scope="session")
def wheel(source, tmp_path_factory):
    """Build the wheel of the tree."""
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source))
    (path,) = out.glob("*.whl")
    # What building leaves there is no part of a clone.
    for left in (source / "build", source / "unmelt.egg-info"):
        shutil.rmtree(left, ignore_errors=True)
    return path
