"""What a run is: its settings and its manifest, without folders of the machine that it was made on."""

from __future__ import annotations

import json

from ...core.configuration import to_record
from ...training.exporting import LEFT_OUT, without_places
from .figures import Facts, Panel, Record
from .subject import Subject

TITLE = "Settings and manifest"
ABOUT = "What the run was made of and with. The command line and folders of the machine are left out."
_TOLD = ("unmelt", "torch", "python", "commit", "started", "device")
_PARTS = ("data", "process", "network", "prediction", "weighting", "times", "sampler", "grid", "optimizer")


def record(subject: Subject) -> Panel:
    """Return the settings and the manifest of a run."""
    run = subject.run
    settings = to_record(without_places(run.config))
    content = {name: told for name, told in run.manifest.content.items() if name not in LEFT_OUT}
    # Numbers that tell whether a process is the same, and nothing to a reader.
    content["process"] = content["process"]["class"]
    rows = [(name, str(settings[name])) for name in _PARTS if settings[name] != "None"]
    rows += [(name, str(content[name])) for name in _TOLD if content.get(name)]
    texts = {"All settings": settings, "The whole manifest": content}
    records = [Record(title, json.dumps(what, indent=2)) for title, what in texts.items()]
    return Panel([Facts("In short", rows), *records])
