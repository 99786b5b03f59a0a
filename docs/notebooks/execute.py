"""Executes the notebooks and stores their outputs: python docs/notebooks/execute.py [NAME ...] (or `make notebooks`).

What differs by machine and hour is left out, so that a second run changes what has changed: times, versions, counts of
cells, and what is written to stderr, where progress is shown. Each runs in a folder of its own, which is deleted.
"""

import base64
import io
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
_SECONDS, _COLOURS = 600, 256
_EMBEDDED = re.compile(r"(?<=data:image/png;base64,)[^\"]+")


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in a fresh kernel, in `folder`; outputs are left in the notebook.

    Raises:
        CellExecutionError: a cell failed.
    """
    place = {"metadata": {"path": str(folder)}}
    client: Any = NotebookClient(notebook, timeout=_SECONDS, kernel_name="python3", resources=place)
    client.execute()


def strip(notebook: Any) -> None:
    """Leave out what differs from machine to machine."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", nbformat.NotebookNode()
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = _joined(output for output in cell.outputs if output.get("name") != "stderr")
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = None
                if "metadata" in output:
                    output.metadata = nbformat.NotebookNode()
                _shrink(output.get("data", {}))


def _joined(outputs: Iterable[Any]) -> list[Any]:
    """Return outputs with texts that follow each other in one: in how many parts they come is chance."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _shrink(data: Any) -> None:
    """Keep pictures alone, without words beside them, in 256 colours: noise in all of them is large."""
    if "image/png" in data:
        data["image/png"] = _in_few_colours(data["image/png"])
    elif "text/html" in data:
        data["text/html"] = _EMBEDDED.sub(lambda found: _in_few_colours(found[0]), data["text/html"])
    else:
        return
    data.pop("text/plain", None)


def _in_few_colours(content: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
    picture.quantize(_COLOURS, Image.Quantize.MEDIANCUT, kmeans=3).save(file := io.BytesIO(), "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Execute the notebooks that are named, or all of them."""
    named = sys.argv[1:]
    for path in sorted(HERE.glob("*.ipynb")):
        if named and path.stem not in named:
            continue
        notebook: Any = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, Path(folder))
        strip(notebook)
        nbformat.write(notebook, path)
        print(f"executed {path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
