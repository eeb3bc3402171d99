"""Corpora of pairs: two files line by line, or two columns; what of them can be trained on."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from conftest import DATA, settings, train

from zoo.data.corpora import open_corpus
from zoo.errors import InputError
from zoo.registry import find
from zoo.training import build

PARTS = ("train", "valid", "test")
PARALLEL = {"name": "parallel", "train": "train", "valid": None, "test": None,
            "source": "en", "target": "de"}  # fmt: skip
FILES = {"name": "files", "train": None, "valid": None, "test": None, "text": "text",
         "label": "label", "source": "source", "target": "target"}  # fmt: skip
NUMBERED = [(f"text {i % 600}", f"Text {i}") for i in range(1500)]
PAIRS = [("one bird", "ein Vogel"), ("two cats", "zwei Katzen"), ("a, b", "„c“\t, d")]
PACKED = pytest.mark.parametrize("end", ["", ".gz"])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def sides(folder, stem, rows, end="", names=("en", "de")):
    """A file STEM.NAME for each name, with a line of each row."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in zip(names, zip(*rows, strict=True), strict=True):
        data = "".join(text + "\n" for text in texts).encode()
        (folder / f"{stem}.{name}{end}").write_bytes(gzip.compress(data) if end else data)


def jsonl(path, rows):
    """Rows, or pairs of source and target, as a jsonl file."""
    rows = [r if isinstance(r, dict) else {"source": r[0], "target": r[1]} for r in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def opened(base, **changes):
    return open_corpus(base | changes)


def pairs_of(rows):
    return [(row["source"], row["target"]) for row in rows]


def refused(base, **changes):
    """The one line of the error that a corpus ends in, when it is opened or when it is read."""

    def read():
        for part in PARTS:
            list(getattr(opened(base, **changes), part))

    with pytest.raises(InputError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@PACKED
def test_parallel_files_are_read_line_by_line_with_languages_as_suffixes(tmp_path, end):
    for part, stem in (("train", "a.x"), ("valid", "b"), ("test", "c")):
        sides(tmp_path / "corpus", stem, [*PAIRS, (part, part)], end)
    stems = {"train": "corpus/a.x", "valid": "corpus/b", "test": "corpus/c"}
    splits, turned = (
        opened(PARALLEL, **stems, source=a, target=b) for a, b in (("en", "de"), ("de", "en"))
    )
    for part in PARTS:
        there = pairs_of(getattr(splits, part))
        assert there == [*PAIRS, (part, part)]
        assert pairs_of(getattr(turned, part)) == [(b, a) for a, b in there]
    rows = list(splits.train)
    assert rows == list(splits.train)  # read again from the start
    assert [row.source for row in rows] == [f"corpus/a.x.en{end}:{i}" for i in range(1, 5)]


def test_one_side_may_be_packed_and_the_other_not(tmp_path):
    sides(tmp_path, "train", PAIRS, ".gz")
    (tmp_path / "train.de").write_text(
        gzip.decompress((tmp_path / "train.de.gz").read_bytes()).decode()
    )
    (tmp_path / "train.de.gz").unlink()
    assert pairs_of(opened(PARALLEL, valid="train", test="train").valid) == PAIRS


def test_a_missing_language_lists_what_is_there(tmp_path):
    sides(tmp_path / "corpus", "train", PAIRS)
    there = "there are: train.de, train.en"
    assert (
        refused(PARALLEL, train="corpus/train", target="fr")
        == f"corpus: no train.fr in it; {there}"
    )
    assert (
        refused(PARALLEL, train="corpus/tran", source="de") == f"corpus: no tran.de in it; {there}"
    )
    assert refused(PARALLEL, train="corpus/train", test="corpus/x").startswith(
        "corpus: no x.en in it"
    )
    assert refused(PARALLEL, train="nowhere/train") == "nowhere: no train.en in it"


@pytest.mark.parametrize("part", PARTS)
def test_files_of_unlike_length_name_both_counts(tmp_path, part):
    for stem in PARTS:
        sides(tmp_path, stem, PAIRS)
    with open(f"{part}.de", "a") as file:
        file.write("noch eine\nund noch eine\n")
    said = refused(PARALLEL, valid="valid", test="test")
    assert said == f"{part}.en has 3 lines, {part}.de 5: line by line they must belong together"


@pytest.mark.parametrize("given", [(), ("valid",), ("test",)], ids=str)
@pytest.mark.parametrize("form", ["parallel", "files"])
def test_what_is_missing_is_held_out_by_the_source(tmp_path, form, given):
    if form == "parallel":
        sides(tmp_path, "train", NUMBERED)
        sides(tmp_path, "own", PAIRS)
        splits = opened(PARALLEL, **dict.fromkeys(given, "own"))
    else:
        jsonl(tmp_path / "own.jsonl", PAIRS)
        train = jsonl(tmp_path / "train.jsonl", NUMBERED)
        settings = FILES | {"train": train} | dict.fromkeys(given, "own.jsonl")
        splits = open_corpus(settings, by="source")
    found = {part: pairs_of(getattr(splits, part)) for part in PARTS}
    for part in given:
        assert found.pop(part) == PAIRS
    assert sorted(pair for pairs in found.values() for pair in pairs) == sorted(NUMBERED)
    sources = [{source for source, _ in pairs} for pairs in found.values()]
    assert sum(map(len, sources)) == 600  # the same source never on two sides
    assert all(60 < len(found[part]) < 240 for part in found if part != "train")


@pytest.mark.parametrize(("task", "read"), [("translate", "source"), ("classify", "text")])
def test_rows_are_held_out_by_what_the_task_reads(tmp_path, task, read):
    others = {"text": "one for all", "source": "one for all", "label": "a"}
    rows = [others | {read: a, "target": b} for a, b in NUMBERED]
    chosen = settings(None, f"data.train={jsonl(tmp_path / 'a.jsonl', rows)}", task=task)
    splits = build.open_rows(chosen, find(task))
    sources = [{row[read] for row in getattr(splits, part)} for part in PARTS]
    assert sum(map(len, sources)) == 600  # the same one never on two sides
    assert min(map(len, sources)) > 30


@PACKED
def test_multi30k_is_read_from_its_own_files(tmp_path, end):
    sets = ("train", "val", "test_2016_flickr", "test_2017_mscoco")
    for stem in sets:
        rows = [(a, b, a + "!") for a, b in [*PAIRS, (stem, stem)]]
        sides(tmp_path / "raw", stem, rows, end, ("en", "de", "fr"))
    made = {"name": "multi30k", "path": "raw", "source": "en", "target": "de", "test": sets[2]}
    for test in sets[2:]:
        splits = opened(made, test=test)
        last = [pairs_of(getattr(splits, part))[-1][0] for part in PARTS]
        assert last == [sets[0], sets[1], test]
    french = pairs_of(opened(made, source="fr", target="en").valid)
    assert french[0] == ("one bird!", "one bird")
    assert re.match(r"raw: no train\.cs in it; there are: .*train\.de", refused(made, target="cs"))
    assert refused(made, test="test_2018").startswith("raw: no test_2018.en in it; there are: te")
    assert refused(made, path="nowhere") == "nowhere: no train.en in it"


COLUMNS = {
    "a.csv": "id,english,german\n1,one bird,ein Vogel\n2,two cats,zwei Katzen\n",
    "a.tsv": "id\tenglish\tgerman\n1\tone bird\tein Vogel\n2\ttwo cats\tzwei Katzen\n",
    "a.jsonl": '{"id": "1", "english": "one bird", "german": "ein Vogel"}\n'
    '{"id": "2", "english": "two cats", "german": "zwei Katzen"}\n',
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_chosen_by_name(tmp_path, name):
    (tmp_path / name).write_text(COLUMNS[name])
    own = {"train": name, "valid": name, "test": name}
    splits = opened(FILES, **own, source="english", target="german")
    for part in PARTS:
        assert pairs_of(getattr(splits, part)) == PAIRS[:2]
    assert next(iter(splits.train)) == {"id": "1", "source": "one bird", "target": "ein Vogel"}
    line = 1 if name == "a.jsonl" else 2
    said = refused(FILES, **own, source="english", target="deutsch")
    there = "there are: id, english, german; set data.target=COLUMN"
    assert said == f"{name}:{line}: no column 'deutsch', {there}"
    assert refused(FILES, **own, source="x", target="german").endswith("set data.source=COLUMN")
    (read,) = (
        row for row in opened(FILES, **own, text="english", label="id").train if row["label"] == "2"
    )
    assert read["text"] == "two cats"  # and classify reads the same file


def test_a_column_may_be_read_by_two_settings_or_be_called_like_another(tmp_path):
    name = jsonl(tmp_path / "a.jsonl", [{"source": "s", "target": "t", "label": "x"}])
    own = {"train": name, "valid": name, "test": name}
    assert next(iter(opened(FILES, **own, text="source").train))["text"] == "s"
    turned = opened(FILES, **own, source="target", target="source").train
    assert pairs_of(turned) == [("t", "s")]


def test_entries_of_a_column_are_chosen_with_a_dot(tmp_path):
    nested = {"translation": {"en": "one", "de": "eins"}}
    name = jsonl(tmp_path / "a.jsonl", [nested, {"translation.en": "two", **nested}])
    own = {"train": name, "valid": name, "test": name, "source": "translation.en"}
    found = pairs_of(opened(FILES, **own, target="translation.de").test)
    assert found == [("one", "eins"), ("two", "eins")]  # a name with a dot goes first
    said = refused(FILES, **own, target="translation.fr")
    assert ":1: no column 'translation.fr', there are: translation; set data.target" in said
    assert "no column 'translation.en.x'" in refused(FILES, **own, target="translation.en.x")


def test_classify_reads_a_column_that_is_called_source(tmp_path):
    rows = [json.loads(line) for line in (DATA / "classify.jsonl").read_text("utf-8").splitlines()]
    named = [{"source": row["text"], "kind": row["label"]} for row in rows]
    name = jsonl(tmp_path / "a.jsonl", named)
    report = train(
        tmp_path / "run",
        f"data.train={name}",
        "data.text=source",
        "data.label=kind",
        "train.epochs=1",
    )
    assert sum(report["rows"].values()) == len(rows)
    assert 0 <= report["test"]["accuracy"] <= 1
