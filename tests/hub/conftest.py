"""The toy model, retrained once for all tests of the hub."""

from __future__ import annotations

import shutil

import pytest
from conftest import DATA, lines
from shelf_cases import NAME, TOY, shelved

from zoo.hub import __main__ as cli


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Write two corpora of toy rows into one folder: running text, and labelled texts."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = [row["text"] for row in lines(DATA / "generate.jsonl")]
    rows = (DATA / "classify.jsonl").read_text("utf-8").splitlines(keepends=True)
    for name, part in (("train", slice(0, 60)), ("valid", slice(60, 70)), ("test", slice(70, 80))):
        (folder / f"{name}.txt").write_text("\n".join(texts[part]) + "\n")
    (folder / "train.jsonl").write_text("".join(rows[:72]))
    (folder / "test.jsonl").write_text("".join(rows[72:]))
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory, corpus):
    """Retrain the toy model by the command; return its folder."""
    out = tmp_path_factory.mktemp("made") / "out"
    with shelved(out.parent / "shelf", **{NAME: TOY}):
        assert cli.main(["retrain", NAME, f"data.path={corpus}", "--out", str(out)]) == 0
    return out


@pytest.fixture
def toy(tmp_path):
    """Install the recipe of the toy model, without shipped models."""
    with shelved(tmp_path / "shelf", **{NAME: TOY}) as patch:
        yield patch


@pytest.fixture
def shipped(made, tmp_path):
    """Ship the toy model; return the folder of the shipped models."""
    with shelved(tmp_path / "shelf", **{NAME: TOY}):
        shutil.copytree(made / "model", tmp_path / "shelf" / NAME)
        yield tmp_path / "shelf"
