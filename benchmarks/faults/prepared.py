"""Folders that somebody prepared to execute something when they are read: pickles, and settings that name code."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from functools import partial
from pathlib import Path

from damage import ALL_FILES, Marking
from programs import Place
from rows import Case, Lab, Row, newest, shortened

_DOORS = Path(__file__).with_name("doors.py")
_DOOR_COUNT = 3
# A class in a module that leaves a mark when it is run.
_CODE = """
import pathlib
pathlib.Path({marker!r}).mkdir(exist_ok=True)
from unmelt.degradations import HeatDissipation
class Fog(HeatDissipation):
    pass
"""
_PROCESSES = [
    "evil.Fog(levels=5)",
    "evil.py:Fog(levels=5)",
    "evil_package.Fog",
    "evil_package.inner.Fog",
    "runs/tiny/in_run.py:Fog",
    "{run}/in_run.py:Fog(levels=5)",
    "in_run.Fog",
    "in_code.Fog",
    "unmelt.evil.Fog",
    "unmelt.training.launch.os.mkdir('{marker}')",
    "torch.hub.load('.', 'evil', source='local')",
    "os.mkdir(path='{marker}')",
    "__import__('evil').Fog",
    "HeatDissipation(levels=evil.Fog())",
    "WithNoise.of(process=evil.Fog, noise=CosineSchedule())",
    "evil." + "a." * 10_000 + "Fog",
    "WithNoise.of(process=" * 300 + "evil.Fog" + ")" * 300,
]
_OTHERS = {
    "data": "evil.Data",
    "network": "UNet(channels=evil.channels())",
    "optimizer": "AdamW(lr=evil.rate())",
    "prior": "evil.Fog.fit",
    "sampler": "Posterior(coupling=evil.Coupling())",
}
_BY_RESUME = ("evil.Fog(levels=5)", "runs/tiny/in_run.py:Fog", "{run}/in_run.py:Fog(levels=5)", "in_code.Fog")


def _prepared(lab: Lab) -> tuple[Place, Path]:
    """Return a folder with code all around a run, and the mark that this code would leave."""
    place = lab.stopped()
    marker = place.path / "executed"
    shutil.copy(_DOORS, place.path)
    places = ("evil.py", "evil_package/__init__.py", "evil_package/inner.py", "runs/tiny/in_run.py")
    for name in (*places, "runs/tiny/code/in_code.py"):
        (place.path / name).parent.mkdir(exist_ok=True)
        (place.path / name).write_text(_CODE.format(marker=str(marker)))
    return place, marker


def _texts(place: Place, marker: Path) -> list[str]:
    """Return configurations that name that code."""
    record = json.loads(place.run.config.read_text())
    changes = [{"process": text} for text in _PROCESSES] + [{field: text} for field, text in _OTHERS.items()]
    changes += [{"training": {**record["training"], "steps": "evil.steps()"}}]
    texts = [json.dumps(record | change) for change in changes]
    return [text.replace("{run}", str(place.run.path)).replace("{marker}", str(marker)) for text in texts]


def named_code(row: Row, lab: Lab) -> None:
    """Name code in the stored configuration, and read it by load_run, the evaluation and --config."""
    place, marker = _prepared(lab)
    texts = _texts(place, marker)
    (place.path / "texts.json").write_text(json.dumps(texts))
    ended = place.python("doors.py", "texts.json").end()
    _refused(row, ended.said, len(texts))
    row.expect(not marker.exists(), "something was executed")
    row.say(f"{len(texts)} configurations by load_run, unmelt evaluate and --config: all refused")


def named_code_by_resume(row: Row, lab: Lab) -> None:
    """Name code in the stored configuration, and go on."""
    for text in _BY_RESUME:
        place, marker = _prepared(lab)
        record = json.loads(place.run.config.read_text())
        place.run.config.write_text(json.dumps(record | {"process": text.replace("{run}", str(place.run.path))}))
        ended = place.train("--resume", "runs/tiny")
        row.ended(ended, 1, "runs/tiny/config.json", told=text == _BY_RESUME[0])
        row.expect(not marker.exists(), f"{text} was executed")
    row.say(f"{len(_BY_RESUME)} such configurations")


def pickles(row: Row, lab: Lab, *, names: tuple[str, ...], read: bool = True) -> None:
    """Put a pickle in the place of a file, with checksums that agree, and read the run by every door."""
    for name in names:
        place, marker = _prepared(lab)
        content = pickle.dumps(Marking(marker))
        path = place.run.path / name
        if not path.parent.is_dir() or name in ALL_FILES:
            path = newest(place.run) / name
        path.write_bytes(content)
        _sign(path, content)
        # The evaluation reads what is drawn from, load_run not even the prior.
        skipped = {"prior.safetensors": ["load_run", "--config"], "config.json": []}.get(name, ["--config"])
        (place.path / "none.json").write_text("[]")
        ended = place.python("doors.py", "none.json", *skipped).end()
        if read:
            row.expect(" NOT REFUSED" not in f" {ended.said}", f"{name}: {ended.line('NOT REFUSED')}")
        row.expect("by " in ended.said, f"{name}: {shortened(ended.said[-200:])}")
        resumed = place.resume()
        row.expect(not resumed.hung, "hang")
        row.expect("Traceback" not in resumed.said, f"{name}: a traceback of --resume")
        row.expect(not marker.exists(), f"{name} was executed")
        row.say(f"{name}: --resume {shortened((resumed.line(name) or 'goes on')[:110])}, {resumed.how}")


def _sign(path: Path, content: bytes) -> None:
    """Make the checksums of a checkpoint agree with a file that was changed."""
    state = path.with_name("state.json")
    if path == state or not state.is_file():
        return
    facts = json.loads(state.read_text())
    facts["files"][path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    facts.pop("sha256")
    own = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    state.write_text(json.dumps({**facts, "sha256": own}))


def _refused(row: Row, said: str, count: int) -> None:
    row.expect(said.count("refused by ") == count * _DOOR_COUNT, f"{said.count('refused by ')} of {count} x 3 refused")
    let_in = [line for line in said.splitlines() if "NOT REFUSED" in line]
    row.expect(not let_in, "; ".join(let_in))


CASES: dict[str, Case] = {
    "prepared: settings that name code, read": named_code,
    "prepared: settings that name code, --resume": named_code_by_resume,
    "prepared: a pickle for a file of the checkpoint, checksums agreeing": partial(
        pickles, names=ALL_FILES, read=False
    ),
    "prepared: a pickle for a record or the prior": partial(
        pickles, names=("config.json", "manifest.json", "prior.safetensors", "fitted.safetensors")
    ),
    "prepared: a pickle for metrics.jsonl": partial(pickles, names=("metrics.jsonl",), read=False),
}
