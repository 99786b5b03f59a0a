"""Copies the pictures that README shows of the demo: python docs/demo_pictures.py runs/demo."""

import shutil
import sys
from pathlib import Path

IMAGES = Path(__file__).parent / "images"


def main(run: Path) -> None:
    """Copy the demo's samples and their trajectory."""
    shutil.copy(run / "samples.png", IMAGES / "samples.png")
    shutil.copy(run / "trajectory.gif", IMAGES / "unmelting.gif")
    print(f"copied samples.png and unmelting.gif to {IMAGES}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} RUN_FOLDER, such as runs/demo")
    main(Path(sys.argv[1]))
