"""Model folders elsewhere: on the Hugging Face hub, or in another folder that stands for it.

What comes from outside is a claim: only the files that its manifest lists are fetched, of one
revision, into a place of their own. They are checked and loaded as strictly as any model folder, and
only then does the folder appear under its name. Nothing in it is ever run.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.loading import load
from zoo.model_folder.verify import locate, manifest_of

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
MANIFEST = "manifest.json"
Fetch = Callable[[str, Path], None]  # a file's name, and the folder to put it into


def push(name: str | Path, to: str) -> str:
    """Copy a model folder, or a shipped model, to OWNER/NAME on the hub or to a folder; where it
    then is. It is loaded first: what does not load is not sent. Raises InputError."""
    folder = locate(name)
    load(folder)
    files = [*manifest_of(folder), MANIFEST]
    if not _on_hub(to):
        with _appearing(Path(to), replaces=True) as place:
            for file in files:
                shutil.copyfile(folder / file, place / file)
        return to
    hub = _hub()
    with _explained(to):
        api = hub.HfApi()
        api.create_repo(to, exist_ok=True)
        done = api.upload_folder(
            repo_id=to,
            folder_path=folder,
            allow_patterns=files,
            delete_patterns="*",
            commit_message=f"Model folder {folder.name}",
        )
    return str(getattr(done, "commit_url", done))


def pull(source: str, folder: str | Path, revision: str | None = None) -> Path:
    """Fetch a model folder from OWNER/NAME on the hub, or from a folder; its path.

    `folder` must not be there yet, and is not there afterwards if anything was wrong. Raises
    InputError that names the file at fault.
    """
    fetch = _from_hub(source, revision) if _on_hub(source) else _from_folder(source)
    with _appearing(Path(folder), replaces=False) as place:
        fetch(MANIFEST, place)
        for name in manifest_of(place):
            fetch(name, place)
        load(place)
    return Path(folder)


def _on_hub(name: str) -> bool:
    """OWNER/NAME is a repository; ./OWNER/NAME, or a folder that is there, is not."""
    return REPOSITORY.fullmatch(name) is not None and not Path(name).is_dir()


def _from_folder(source: str) -> Fetch:
    def fetch(name: str, place: Path) -> None:
        path = Path(source) / name
        if not path.is_file():
            raise InputError(f"{path}: missing")
        shutil.copyfile(path, place / name)

    return fetch


def _from_hub(source: str, revision: str | None) -> Fetch:
    hub = _hub()
    with _explained(source):
        commit = hub.HfApi().model_info(source, revision=revision).sha  # the same for all files

    def fetch(name: str, place: Path) -> None:
        with _explained(f"{source}: {name}"):
            hub.hf_hub_download(source, name, revision=commit, local_dir=place)

    return fetch


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise InputError('the hub needs: pip install "sequence-zoo[hub]"') from None
    return huggingface_hub


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """What the hub complains of, in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a dozen kinds: no network, no such repository, no right to it, …
        text = str(error).strip() or type(error).__name__
        raise InputError(f"{what}: {text.splitlines()[0]}") from None


@contextmanager
def _appearing(folder: Path, replaces: bool) -> Iterator[Path]:
    """A folder to fill that takes its name when it is complete, or is gone."""
    if folder.exists() and not (replaces and (folder / MANIFEST).is_file()):
        cure = "no model folder" if replaces else "choose a folder that is not there yet"
        raise InputError(f"{folder}: exists already: {cure}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as work:
        place = Path(work) / folder.name
        place.mkdir()
        yield place
        shutil.rmtree(place / ".cache", ignore_errors=True)  # the hub's own notes
        older = Path(work) / "older"
        if folder.exists():
            folder.rename(older)
        try:
            place.rename(folder)
        except BaseException:
            if older.exists():
                older.rename(folder)
            raise
