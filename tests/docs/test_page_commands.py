"""Every command that a page shows can be given: its program, files, targets and flags are there, its parts are read."""

import argparse
import ast
import contextlib
import importlib
import io
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from documentation import DOCS, PAGES, ROOT, called, indented, inline, python, split
from torch.distributed.run import get_args_parser

from unmelt.commands import data, main, parsing
from unmelt.commands.main import COMMANDS
from unmelt.commands.train import named, summaries
from unmelt.core.configuration import Reader, parse
from unmelt.samplers import Grid, Stepper

MAKEFILE = (ROOT / "Makefile").read_text()
STAND_INS = {"PATH": ".", "FAMILY(...)": "HeatDissipation"}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LAUNCH = importlib.import_module("unmelt.training.launch")
# Settings of a sampler are constructors' calls, which a command reads after its flags.
PARTS = {"stepper": Stepper, "grid": Grid}


class ReadError(Exception):
    """All of a command's flags were read, and it goes no further here."""


def lines(page):
    """Return the lines of a page that begin with a program, continued ones as one, in blocks and in backticks."""
    blocks, prose = split(page.read_text())
    shown = [block.code for block in blocks if block.language in {"", "bash", "console", "sh", "shell", "text"}]
    every = "\n".join([*shown, *indented(prose)]).replace("\\\n", " ").splitlines()
    # In a sentence a command's name may stand for all of its calls, and a launcher's for what it launches.
    every += [
        code for code in inline(prose) if code.count(" ") > 1 and re.match(r"unmelt|python|make|.* recipes/", code)
    ]
    for line in every:
        line = line.strip().removeprefix("$ ")
        within = re.search(r"exec (python [^']+)'", line)
        line = within[1] if within else line
        if line.partition(" ")[0] in PROGRAMS and "COMMAND" not in line:
            yield line


def own_files():
    """Return what pages put into files of the reader's, classes and functions alone."""
    code = [block for page in PAGES for block in python(page)]
    for block in code:
        if match := re.match(r"# (\w+\.py)\n", block):
            yield match[1], definitions(block)
    # Its examples are in one file of the reader's.
    yield "my_parts.py", definitions("\n".join(python(DOCS / "extending.md")))


def definitions(code):
    """Return the imports, classes and functions of some code."""
    kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    return "\n".join(ast.unparse(node) for node in ast.parse(code).body if isinstance(node, kinds))


def unmelt(words):
    command, *rest = words
    if command == "--version":
        return
    assert command in COMMANDS, f"there is no command {command}"
    if command == "train":
        # A run that goes on has settings of its own; those of images in a folder, say.
        name, *flags = rest if not rest[0].startswith("--") else ("folder", *rest)
        recipe("folder" if name == "NAME" else name, flags)
    elif command == "data":
        parse(data.Check(), [word for word in rest if word != "--help"])
    else:
        with contextlib.suppress(ReadError):
            main([command, *rest])


def recipe(name, flags):
    """Read the flags of a recipe by its name, or as a file."""
    assert name in summaries() or name.endswith(("config.json", ".py")), f"there is no recipe {name}"
    left = LAUNCH._asked(flags).flags
    default = named(name if name in summaries() else "digits_heat", trust_code=False)[0]
    parse(default, [word for word in left if word != "--help"])


def script(file, flags):
    """Read the flags of a script of the repository, or of the reader's."""
    path = ROOT / file
    if path.parent == ROOT / "recipes" and path.stem in summaries():
        recipe(path.stem, flags)
        return
    assert path.exists(), f"there is no {file}"
    sources = "".join(each.read_text() for each in (path.parent.glob("*.py") if path.is_file() else path.glob("*.py")))
    for flag in (word.partition("=")[0] for word in flags if word.startswith("--")):
        # An argument, or a field of settings that are read as a recipe's are.
        setting = flag.removeprefix("--").replace("-", "_")
        there = f'"{flag}"' in sources or re.search(rf"^    {setting}: ", sources, re.MULTILINE)
        assert there or "launch(" in sources, f"{file} has no {flag}"


def starts(words):
    """Take what `python` or a launcher is given: a module or a file, with its flags."""
    if words[0] == "-m":
        words = words[1:]
        if words[0] == "unmelt":
            unmelt(words[1:])
    elif words[0].endswith(".py") or "/" in words[0]:
        script(words[0], words[1:])


def torchrun(words):
    given = get_args_parser().parse_args(words)
    starts([*(["-m"] if given.module else []), given.training_script, *given.training_script_args])


def accelerate(words):
    assert words[0] == "launch"
    given = launch_command_parser().parse_args(words[1:])
    starts([given.training_script, *given.training_script_args])


def make(words):
    for word in words:
        name, setting, _ = word.partition("=")
        assert re.search(rf"^{name} [?:]=|\$\({name}\)" if setting else rf"^{name}:", MAKEFILE, re.MULTILINE), word


def pip(words):
    for extras in re.findall(r"(?:\.|unmelt)\[([\w,]+)\]", " ".join(words)):
        assert not set(extras.split(",")) - EXTRAS.keys(), extras


PROGRAMS = {
    "unmelt": unmelt,
    "python": starts,
    "torchrun": torchrun,
    "accelerate": accelerate,
    "make": make,
    "pip": pip,
}


@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    """Stand in a folder with the files that pages tell to write, and have commands end where their flags are read."""
    files = dict(own_files())
    for name, code in files.items():
        (tmp_path / name).write_text(code)
    (tmp_path / "my.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    read = argparse.ArgumentParser.parse_args

    def parse_args(parser, words):
        given = read(parser, words)
        for name, hint in PARTS.items():
            if getattr(given, name, None):
                Reader(trust_code=True).read(getattr(given, name), hint)
        raise ReadError

    monkeypatch.setattr(parsing.Parser, "parse_args", parse_args)
    yield
    # Of another folder, others of these names are refused.
    for name in files:
        sys.modules.pop(Path(name).stem, None)


def give(line):
    """Read a line as its program would; raise, or end, where something in it is not there."""
    program, *words = shlex.split(line, comments=True)
    # A page's placeholders stand for what is there, and its ellipsis for more.
    PROGRAMS[program]([STAND_INS.get(word, word) for word in words if word not in {"...", "[...]"}])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"], ids=called)
def test_the_commands_of_a_page_can_be_given(page, at_hand, capsys):
    for line in lines(page):
        try:
            give(line)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{line}\n{error}\n{capsys.readouterr().err}", pytrace=False)


@pytest.mark.parametrize(
    "line",
    [
        "unmelt smaple runs/NAME",
        "unmelt sample runs/NAME --number 4",
        "unmelt sample runs/NAME --stepper 'Multistep(depth=3)'",
        "unmelt train folders",
        "unmelt train demo --trainings.steps 10",
        "unmelt data --data.folder photos",
        "python recipes/nothing.py",
        "python recipes/demo.py --training.stepz 10",
        "python benchmarks/speed.py --saved",
        "torchrun --nprocs 4 recipes/demo.py",
        "torchrun --nproc-per-node 4 -m unmelt evaluate runs/NAME --sampels 5",
        "accelerate launch --num_processes 4 recipes/demos.py",
        "make demos",
        "make SIZE=4 demo",
        "pip install 'unmelt[recipe]'",
    ],
)
def test_what_is_not_there_is_found(line, at_hand, capsys):
    with pytest.raises((Exception, SystemExit)):
        give(line)


def helps():
    """Return what each command tells of itself."""
    for command in COMMANDS:
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
            main([command, "--help"])
        yield told.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_flags_in_a_page_s_text_are_those_of_a_recipe_or_a_command(page, at_hand):
    aside = {"--help", "--resume", "--init-from", "--dry-run", "--smoke", "--config", "--trust-code"}
    for flags in inline(split(page.read_text())[1]):
        words = shlex.split(flags.replace("PATH", ".")) if flags.startswith("--") else []
        if len(words) > 1 and words[0] not in aside:
            try:
                recipe("folder" if "--data." in flags and "--data " not in flags else "digits_heat", words)
            except ValueError:
                given = [word for word in words if word.startswith("--")]
                if not any(all(f"{flag} " in told for flag in given) for told in helps()):
                    raise


def test_every_command_is_on_some_page():
    pages = "".join(page.read_text() for page in PAGES)
    assert not [command for command in COMMANDS if f"unmelt {command} " not in pages]
