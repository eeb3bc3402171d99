"""Push model folders to the Hugging Face hub or another folder, and pull them from there.

A remote folder is not trusted. `pull` fetches only the files its manifest lists, of one revision,
into a temporary folder. It verifies and loads them like any model folder. Only then does the folder
get its final name. No code from it is run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.loading import load
from zoo.messages import Message, _, message_of
from zoo.model_folder.own import check_place
from zoo.model_folder.verify import MANIFEST, REPOSITORY, SHIPPED, locate, manifest_of, pulled

Fetch = Callable[[str, Path], None]  # (file name, destination folder)


def push(name: str | Path, to: str, overwrite: bool = False) -> str:
    """Copy a model folder or a shipped model to OWNER/NAME on the hub, or to a folder.

    Returns the destination: the folder, or the URL of the commit. The model is loaded first. The
    destination is new or empty; with `overwrite` it may hold an earlier model, which is replaced.
    Raises InputError for files of others there, if the model does not load, or if the copy fails.
    """
    folder = locate(name)
    load(folder)
    files = [*manifest_of(folder), MANIFEST]
    if not _on_hub(to):
        with _complete_folder(Path(to), overwrite, _("; --overwrite replaces a model")) as work:
            for file in files:
                shutil.copyfile(folder / file, work / file)
        return to
    hub = _hub()
    with _one_line_errors(to):
        api = hub.HfApi()
        api.create_repo(to, exist_ok=True)
        older = _replaceable(hub, to, files, overwrite)
        done = api.upload_folder(
            repo_id=to,
            folder_path=folder,
            allow_patterns=files,
            delete_patterns=older,
            commit_message=f"Model folder {folder.name}",
        )
    return str(getattr(done, "commit_url", done))


def _replaceable(hub: Any, to: str, files: Sequence[str], overwrite: bool) -> list[str]:
    """Return the files of an earlier model in a hub repository. Raises InputError for those of others.

    Without `overwrite` a repository that holds anything is an error.
    """
    there = {*hub.HfApi().list_repo_files(to)} - {".gitattributes"}
    if not there:
        return []
    if MANIFEST not in there:
        foreign = min(there)
        raise InputError(
            _("{to}: holds {file}, and no model: choose a new repository", to=to, file=foreign)
        )
    if not overwrite:
        raise InputError(_("{to}: holds a model already: --overwrite replaces it", to=to))
    with tempfile.TemporaryDirectory() as work:
        hub.hf_hub_download(to, MANIFEST, local_dir=work)
        older = [*manifest_of(Path(work)), MANIFEST]
    if foreign_names := {*files} & there - {*older}:
        name = min(foreign_names)
        raise InputError(
            _(
                "{to}: {file} there is no file of its model: choose a new repository",
                to=to,
                file=name,
            )
        )
    return older


def pull(source: str, folder: str | Path | None = None, revision: str | None = None) -> Path:
    """Fetch a model folder from OWNER/NAME on the hub, or from a folder. Return its path.

    `folder` must be new or empty. It is as it was after an error. Without one the model goes where
    `zoo.load("OWNER/NAME")` finds it, in the place of what was pulled before. Raises InputError that
    names the faulty file.
    """
    fetch = _from_hub(source, revision) if _on_hub(source) else _from_folder(source)
    by_name = folder is None
    folder = _own_place(source) if folder is None else folder
    with _complete_folder(Path(folder), overwrite=by_name) as work:
        fetch(MANIFEST, work)
        with _said_of(source, work):
            for name in manifest_of(work):
                fetch(name, work)
            load(work)
    return Path(folder)


@contextmanager
def _said_of(source: str, work: Path) -> Iterator[None]:
    """Name the source in errors about its copy, which is gone when they are read."""
    try:
        yield
    except InputError as error:
        raise InputError(_renamed(message_of(error), str(work), source)) from None


def _renamed(said: Any, path: str, name: str) -> Any:
    """Return a text, or a value of a message, with a name in the place of a path."""
    if isinstance(said, Message):
        return Message(said.template, {k: _renamed(v, path, name) for k, v in said.values.items()})
    return str(said).replace(path, name) if isinstance(said, (str, Path)) else said


def _own_place(source: str) -> Path:
    """Return where a model of the hub is found by its name. Raises InputError for other sources."""
    if not _on_hub(source):
        raise InputError(
            _("{source}: is no OWNER/NAME of the hub: say where to, add FOLDER", source=source)
        )
    if (SHIPPED / source / MANIFEST).is_file():
        raise InputError(
            _("{source}: a shipped model has this name: say where to, add FOLDER", source=source)
        )
    return pulled(source)


def _on_hub(name: str) -> bool:
    """Return whether a name is a hub repository: OWNER/NAME, and no existing folder."""
    return REPOSITORY.fullmatch(name) is not None and not Path(name).is_dir()


def _from_folder(source: str) -> Fetch:
    def fetch(name: str, destination: Path) -> None:
        path = Path(source) / name
        if not path.is_file():
            raise InputError(_("{path}: missing", path=path))
        shutil.copyfile(path, destination / name)

    return fetch


def _from_hub(source: str, revision: str | None) -> Fetch:
    hub = _hub()
    with _one_line_errors(source):
        commit = hub.HfApi().model_info(source, revision=revision).sha  # one commit for all files

    def fetch(name: str, destination: Path) -> None:
        with _one_line_errors(f"{source}: {name}"):
            hub.hf_hub_download(source, name, revision=commit, local_dir=destination)

    return fetch


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(_('the hub needs: pip install "sequence-zoo[hub]"')) from None
    return huggingface_hub


@contextmanager
def _one_line_errors(what: str) -> Iterator[None]:
    """Turn any error of the hub into an InputError of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of many classes: network, missing repository, access rights, …
        text = str(error).strip() or type(error).__name__
        raise InputError(f"{what}: {text.splitlines()[0]}") from None


@contextmanager
def _complete_folder(folder: Path, overwrite: bool = False, cure: str = "") -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` after success, and is deleted after an error.

    With `overwrite` a model that is there is replaced. Raises InputError if anything else has the
    name.
    """
    check_place(folder, overwrite, cure)
    folder = Path(os.path.realpath(folder))  # of a link, the folder behind it
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as parent:
        work = Path(parent) / folder.name
        work.mkdir()
        yield work
        shutil.rmtree(work / ".cache", ignore_errors=True)  # metadata of huggingface_hub
        check_place(folder, overwrite, cure)  # something may have come in the meantime
        older = Path(parent) / "older"
        if folder.exists():
            folder.rename(older)
        try:
            work.rename(folder)
        except BaseException:
            if older.exists():
                older.rename(folder)
            raise
