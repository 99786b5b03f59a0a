"""The program `unmelt` as a whole."""

import importlib
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version

import pytest

import unmelt
from unmelt.commands import main
from unmelt.commands.main import COMMANDS


def test_its_help_lists_the_commands(capsys):
    for arguments in ([], ["--help"], ["-h"]):
        main(arguments)
        shown = capsys.readouterr().out
        assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_its_version_comes_with_what_a_report_of_an_error_needs(capsys):
    main(["--version"])
    beside = f"torch {version('torch')}, Python {platform.python_version()}"
    assert capsys.readouterr().out == f"unmelt {unmelt.__version__} ({beside})\n"


def test_its_version_is_told_without_importing_torch():
    code = "import sys; from unmelt.commands import main; main(['--version']); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[1:] == ["False"]


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["trian"])
    assert ended.value.code == 2
    assert "error: there is no command 'trian'; there are" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_a_file_with_a_help_that_fits_a_terminal(command, capsys):
    assert callable(importlib.import_module(f"unmelt.commands.{command}").run)
    with suppress(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"unmelt {command}" in shown
    assert max(map(len, shown.splitlines())) <= 120
