"""Opening corpora by name: wrong settings, and the column that rows are held out by."""

from __future__ import annotations

import re

import pytest
from conftest import settings, write
from corpus_cases import parts, refused

from zoo.data.corpora import open_corpus
from zoo.registry import find
from zoo.training.rows import open_rows


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "imbd", "path": "x"}, r"data=imbd: no such corpus; there are: .*imdb"),
        ({"path": "x"}, r"data=None: no such corpus"),
        ({"name": ["imdb"], "path": "x"}, r"data=\['imdb'\]: no such corpus"),
        ({"name": "open_corpus"}, r"data=open_corpus: no such corpus"),
        ({"name": "imdb", "paht": "x", "path": "y"}, r"data\.paht: no such setting; .*: path$"),
        ({"name": "imdb"}, r"data\.path is missing: add data\.path="),
        ({"name": "imdb", "path": 3}, r"data\.path=3: .*string"),
        ({"name": "imdb", "path": None}, r"data\.path=None: .*string"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, said):
    assert re.match(said, refused(open_corpus, settings))


@pytest.mark.parametrize(("task", "read"), [("translate", "source"), ("classify", "text")])
def test_rows_are_held_out_by_what_the_task_reads(tmp_path, task, read):
    numbered = [(f"text {i % 600}", f"Text {i}") for i in range(1500)]
    others = {"text": "one for all", "source": "one for all", "label": "a"}
    rows = [others | {read: a, "target": b} for a, b in numbered]
    path = write(tmp_path / "a.jsonl", rows)
    chosen = settings(None, f"data.train={path}", task=task)
    splits = open_rows(chosen, find(task))
    sources = [{row[read] for row in rows} for rows in parts(splits)]
    assert sum(map(len, sources)) == 600  # the same one never on two sides
    assert min(map(len, sources)) > 30
