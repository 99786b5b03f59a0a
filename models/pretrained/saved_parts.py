"""Where the parts of a saved diffusers model are: in a folder, or on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


def diffusers_package() -> Any:
    """Return the package diffusers, which only those who load its models need.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return import_module("diffusers")
    except ModuleNotFoundError as error:
        if error.name != "diffusers":
            raise
        msg = "models of diffusers need it installed: pip install 'unmelt[diffusers]', or pip install diffusers"
        raise ModuleNotFoundError(msg, name="diffusers") from None


@dataclass(frozen=True)
class Saved:
    """A saved model: a whole pipeline with a folder for each part, or the folder of one part.

    Attributes:
        source: the folder, or an id on the hub such as "google/ddpm-cifar10-32".
        revision: branch, tag or commit on the hub; the main one if None.
        local_files_only: whether to look in the hub's cache alone, as the environment's HF_HUB_OFFLINE=1 does too.
    """

    source: str | Path
    revision: str | None = None
    local_files_only: bool = False

    def find(self, kind: Any, file: str, folders: Sequence[str], what: str) -> tuple[dict[str, Any], str | None]:
        """Return the configuration of a part, and the folder inside the source that it is in, None if in itself.

        Args:
            kind: a class of diffusers that reads such configurations.
            file: name of the configuration's file.
            folders: folders where pipelines have such a part, the likeliest first.
            what: what the part is, in words.

        Raises:
            OSError: there is none, or it can be neither reached nor found in the cache.
        """
        places = [*folders, None]
        local = Path(self.source).is_dir()
        last: OSError | None = None
        for folder in places:
            # Theirs looks elsewhere in a folder, without telling where it has found one.
            if local and not Path(self.source, folder or "", file).is_file():
                continue
            try:
                return kind.load_config(str(self.source), **self.arguments(folder)), folder
            except OSError as error:
                last = error
        looked = ", ".join(f"{folder}/{file}" if folder else file for folder in places)
        hint = (
            f"none of {looked} is there; save a pipeline, or model and scheduler, with their save_pretrained"
            if local
            else "it is no folder, and the hub cannot be reached, has no such model, or its cache does not hold it"
            " (HF_HUB_OFFLINE=1 and local_files_only=True look nowhere else)"
        )
        msg = f"no {what} in {str(self.source)!r}: {hint}"
        raise FileNotFoundError(msg) from last

    def arguments(self, folder: str | None) -> dict[str, Any]:
        """Return what diffusers' `from_pretrained` and `load_config` take beside the source."""
        inside = {} if folder is None else {"subfolder": folder}
        return {**inside, "revision": self.revision, "local_files_only": self.local_files_only}
