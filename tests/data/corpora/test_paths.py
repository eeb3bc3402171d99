"""Which settings of a corpus are paths: what an annotation says holds wherever paths are needed."""

from __future__ import annotations

import inspect

import pytest

from zoo.data.corpora import CORPORA
from zoo.data.corpora.paths import absolute, first_missing, is_file_of_split

OF_FILES = {"files", "columns", "parallel", "text", "sequences"}


def test_the_corpora_of_own_files_name_a_file_for_each_split():
    for split in ("train", "valid", "test"):
        assert {n for n, corpus in CORPORA.items() if is_file_of_split(corpus, split)} == OF_FILES


def test_every_setting_named_path_is_one(tmp_path):
    for corpus in CORPORA.values():
        found = absolute(corpus, {"path": "here", "source": "en", "seed": 1}, tmp_path)
        takes_path = "path" in inspect.signature(corpus).parameters
        wanted = str(tmp_path / "here") if takes_path else "here"
        assert found == {"path": wanted, "source": "en", "seed": 1}


@pytest.mark.parametrize(
    ("name", "settings", "missing"),
    [
        ("files", {"train": "rows.csv", "valid": None}, None),
        ("files", {"train": "rows.csv", "test": "gone.csv"}, "test"),
        ("parallel", {"train": "pairs", "source": "en"}, None),  # pairs.en
        ("parallel", {"train": "pai", "source": "en"}, "train"),
        ("parallel", {"train": "p[a]irs"}, "train"),  # no pattern
        ("multi30k", {"path": ".", "test": "test_2016_flickr"}, None),
        ("multi30k", {"path": "gone"}, "path"),
        ("cldr", {}, None),
    ],
)
def test_a_path_where_nothing_is_has_its_name(tmp_path, monkeypatch, name, settings, missing):
    (tmp_path / "rows.csv").touch()
    (tmp_path / "pairs.en").touch()
    monkeypatch.chdir(tmp_path)
    assert first_missing(CORPORA[name], settings) == missing
