"""Trained models on the Hugging Face hub, by the methods that its users know."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download
from typing_extensions import override

from .exporting import check_exportable, export_run
from .loading import LoadedRun, load_run


class PretrainedModel(ModelHubMixin):
    """A trained model that is kept in a folder or on the hub.

        PretrainedModel(load_run("runs/digits_heat")).push_to_hub("USER/NAME")
        run = PretrainedModel.from_pretrained("USER/NAME").run

    `from_pretrained` takes a folder or the name of a repository, whose code is run only with `trust_code=True`; it
    raises what `load_run` raises, and huggingface_hub's errors where a repository is not to be had.

    Args:
        run: the model, as `load_run` returns it.

    Attributes:
        run: the same.
    """

    # Else the mixin makes a configuration of the constructor's arguments; this one's is in the folder.
    _hub_mixin_config: Any = MappingProxyType({"library_name": "unmelt"})

    def __init__(self, run: LoadedRun) -> None:
        self.run = run

    @override
    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the model to a new folder, as `export_run` does.

        Args:
            save_directory: the folder.
            **options: as for the mixin: `push_to_hub`, `repo_id` and what `push_to_hub` takes.

        Raises:
            FileExistsError: something is there. (The mixin would remove its `config.json` first.)
        """
        check_exportable(Path(save_directory))
        return super().save_pretrained(save_directory, **options)

    @override
    def push_to_hub(self, repo_id: str, *, private: bool | None = True, **options: Any) -> str:
        """Upload the model to a repository, a private one unless you say otherwise; returns the commit's address.

        Args:
            repo_id: the repository, USER/NAME; it is made if it is not there.
            private: whether one that is made is private.
            **options: as for the mixin, such as `commit_message`.
        """
        return super().push_to_hub(repo_id, private=private, **options)

    @override
    def _save_pretrained(self, save_directory: Path) -> None:
        export_run(self.run, save_directory)

    @classmethod
    @override
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        trust_code: bool = False,
        **model_kwargs: Any,
    ) -> PretrainedModel:
        if model_kwargs:
            msg = f"from_pretrained takes no {', '.join(model_kwargs)}: only trust_code beside the hub's own options"
            raise TypeError(msg)
        folder = model_id
        if not Path(model_id).is_dir():
            folder = snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        return cls(load_run(folder, trust_code=trust_code))
