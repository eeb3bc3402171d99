"""What the tests of model folders share: untrained models, a pickle to be noticed, and signing."""

from __future__ import annotations

import json
import os
from pathlib import Path

from conftest import settings

from zoo.data.corpora import open_corpus
from zoo.model_folder.verify import sha256
from zoo.task import Task
from zoo.training import build
from zoo.training.options import options_of


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def sign(folder, *more):
    """Write the present hashes into the manifest, those of `more` files too."""
    listed = [*json.loads((folder / "manifest.json").read_text())["files"], *more]
    files = {name: sha256(folder / name) for name in listed if (folder / name).is_file()}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


def untrained(*overrides, task) -> Task:
    """An untrained model for the toy rows of a task."""
    chosen = settings(None, *overrides, task=task)
    return build.build(options_of(chosen), chosen, open_corpus(chosen.data)).eval()
