"""Corpora of local files: tables, line-aligned files, column files and running text."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
from conftest import DATA, SMALL, fails, lines, train
from conftest import write as write_rows
from corpus_cases import (
    CONTENT,
    PAIRS,
    PARTS,
    SENTENCES,
    files,
    pairs_of,
    parts,
    refused,
    sides,
    texts,
    word,
)

from zoo.data.corpora import open_corpus
from zoo.errors import InputError, RowError

PARALLEL = {"name": "parallel", "valid": None, "test": None, "source": "en", "target": "de"}
NUMBERED = [(f"text {i % 600}", f"Text {i}") for i in range(1500)]
PACKED = pytest.mark.parametrize("end", ["", ".gz"])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def parallel(train="train", **changes):
    return open_corpus(PARALLEL | {"train": train} | changes)


def jsonl(name, rows):
    """Write rows, or pairs of source and target, as a jsonl file."""
    rows = [r if isinstance(r, dict) else {"source": r[0], "target": r[1]} for r in rows]
    return str(write_rows(Path(name), rows))


def unusable(opened, *given, **changes):
    """The one line of the error that a corpus ends in, when it is opened or when it is read."""
    return refused(lambda: parts(opened(*given, **changes)))


def test_columns_of_text_and_label_are_chosen_by_name(table):
    name = table("a.csv", [("id", "good", "5", "old")], ("n", "review", "stars", "text"))
    splits = files(name, name, name, text="review", label="stars")
    assert list(splits.train) == [{"n": "id", "text": "good", "label": "5"}]
    swapped = files(name, name, name, text="text", label="review")
    assert next(iter(swapped.test)) == {"n": "id", "text": "old", "label": "good", "stars": "5"}


def test_a_column_that_is_not_there_is_an_error_with_the_ones_that_are(table):
    name = table("a.csv", [("good", "pos")])
    with pytest.raises(RowError, match=r"^a\.csv:2: no column 'reviw', there are: text, label; "):
        list(files(name, name, name, text="reviw").train)


def test_texts_without_labels_can_be_read(write):
    name = write("a.txt", "one\ntwo\n")
    assert list(files(name, name, name).valid) == [{"text": "one"}, {"text": "two"}]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_refused_when_the_corpus_is_opened(write, part):
    with pytest.raises(InputError, match=r"^none\.csv: No such file"):
        files(**{"train": write("a.txt", "a\n"), part: "none.csv"})


@PACKED
def test_parallel_files_are_read_line_by_line_with_languages_as_suffixes(tmp_path, end):
    for part, stem in (("train", "a.x"), ("valid", "b"), ("test", "c")):
        sides(tmp_path / "corpus", stem, [*PAIRS, (part, part)], end)
    stems = {"train": "corpus/a.x", "valid": "corpus/b", "test": "corpus/c"}
    splits, turned = (
        parallel(**stems, source=a, target=b) for a, b in (("en", "de"), ("de", "en"))
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
    assert pairs_of(parallel(valid="train", test="train").valid) == PAIRS


def test_a_missing_language_lists_what_is_there(tmp_path):
    sides(tmp_path / "corpus", "train", PAIRS)
    there = "there are: train.de, train.en"
    said = unusable(parallel, "corpus/train", target="fr")
    assert said == f"corpus: no train.fr in it; {there}"
    said = unusable(parallel, "corpus/tran", source="de")
    assert said == f"corpus: no tran.de in it; {there}"
    said = unusable(parallel, "corpus/train", test="corpus/x")
    assert said == f"corpus: no x.en in it; {there}"
    assert unusable(parallel, "nowhere/train") == "nowhere: no train.en in it"


@pytest.mark.parametrize("part", PARTS)
def test_files_of_unlike_length_name_both_counts(tmp_path, part):
    for stem in PARTS:
        sides(tmp_path, stem, PAIRS)
    with open(f"{part}.de", "a") as file:
        file.write("noch eine\nund noch eine\n")
    said = unusable(parallel, valid="valid", test="test")
    assert said == f"{part}.en has 3 lines, {part}.de 5: line by line they must belong together"


@pytest.mark.parametrize("given", [(), ("valid",), ("test",)], ids=str)
@pytest.mark.parametrize("form", ["parallel", "files"])
def test_what_is_missing_is_held_out_by_the_source(tmp_path, form, given):
    if form == "parallel":
        sides(tmp_path, "train", NUMBERED)
        sides(tmp_path, "own", PAIRS)
        splits = parallel(**dict.fromkeys(given, "own"))
    else:
        own = dict.fromkeys(given, jsonl("own.jsonl", PAIRS))
        splits = files(jsonl("train.jsonl", NUMBERED), by="source", **own)
    found = dict(zip(PARTS, map(pairs_of, parts(splits)), strict=True))
    for part in given:
        assert found.pop(part) == PAIRS
    assert sorted(pair for pairs in found.values() for pair in pairs) == sorted(NUMBERED)
    sources = [{source for source, _ in pairs} for pairs in found.values()]
    assert sum(map(len, sources)) == 600  # the same source never on two sides
    assert all(60 < len(found[part]) < 240 for part in found if part != "train")


COLUMNS = {
    "a.csv": "id,english,german\n1,one bird,ein Vogel\n2,two cats,zwei Katzen\n",
    "a.tsv": "id\tenglish\tgerman\n1\tone bird\tein Vogel\n2\ttwo cats\tzwei Katzen\n",
    "a.jsonl": '{"id": "1", "english": "one bird", "german": "ein Vogel"}\n'
    '{"id": "2", "english": "two cats", "german": "zwei Katzen"}\n',
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_chosen_by_name(tmp_path, name):
    (tmp_path / name).write_text(COLUMNS[name])
    own = (name, name, name)
    splits = files(*own, source="english", target="german")
    assert [pairs_of(rows) for rows in parts(splits)] == [PAIRS[:2]] * 3
    assert next(iter(splits.train)) == {"id": "1", "source": "one bird", "target": "ein Vogel"}
    line = 1 if name == "a.jsonl" else 2
    said = unusable(files, *own, source="english", target="deutsch")
    there = "there are: id, english, german; set data.target=COLUMN"
    assert said == f"{name}:{line}: no column 'deutsch', {there}"
    said = unusable(files, *own, source="x", target="german")
    assert said.endswith("set data.source=COLUMN")
    classified = files(*own, text="english", label="id").train  # classify reads the same file
    assert [row["text"] for row in classified if row["label"] == "2"] == ["two cats"]


def test_a_column_may_be_read_by_two_settings_or_be_called_like_another():
    name = jsonl("a.jsonl", [{"source": "s", "target": "t", "label": "x"}])
    assert texts(files(name, name, name, text="source")) == [["s"]] * 3
    turned = files(name, name, name, source="target", target="source").train
    assert pairs_of(turned) == [("t", "s")]


def test_entries_of_a_column_are_chosen_with_a_dot():
    nested = {"translation": {"en": "one", "de": "eins"}}
    name = jsonl("a.jsonl", [nested, {"translation.en": "two", **nested}])

    def opened(target):
        return files(name, name, name, source="translation.en", target=target)

    found = pairs_of(opened("translation.de").test)
    assert found == [("one", "eins"), ("two", "eins")]  # a name with a dot goes first
    said = unusable(opened, "translation.fr")
    assert ":1: no column 'translation.fr', there are: translation; set data.target" in said
    assert "no column 'translation.en.x'" in unusable(opened, "translation.en.x")


def test_classify_reads_a_column_that_is_called_source(tmp_path):
    rows = lines(DATA / "classify.jsonl")
    name = jsonl("a.jsonl", [{"source": row["text"], "kind": row["label"]} for row in rows])
    words = [f"data.train={name}", "data.text=source", "data.label=kind", "train.epochs=1"]
    report = train(tmp_path / "run", *words)
    assert sum(report["rows"].values()) == len(rows)
    assert 0 <= report["test"]["accuracy"] <= 1


def columns(column="labels", **parts):
    paths = {"train": None, "valid": None, "test": None} | parts
    return open_corpus({"name": "columns", **paths, "column": column}, "words")


@pytest.mark.parametrize("column", ["labels", "2", "3"])
def test_the_corpus_columns_takes_the_labels_from_a_column(write, column):
    names = [write(name, SENTENCES) for name in ("a.txt", "b", "c.iob2.gz")]
    splits = columns(column, **dict(zip(PARTS, names, strict=True)))
    for rows, name in zip(parts(splits), names, strict=True):
        assert [row["labels"] for row in rows] == [row[column] for row in CONTENT]
        assert [row["words"] for row in rows] == [row["words"] for row in CONTENT]
        assert rows[0].source == f"{name}:3"


def test_words_that_stand_twice_are_on_one_side(write):
    text = "".join(f"w{i % 100} O\nx{i % 100} B-{i}\n\n" for i in range(200))
    splits = columns(train=write("a.txt", text))
    found = [[row["words"][0] for row in rows] for rows in parts(splits)]
    assert sum(map(len, found)) == 200
    assert all(0 < len({*part}) == len(part) / 2 for part in found)
    assert sum(len({*part}) for part in found) == 100


def test_a_column_that_is_not_there_is_named_with_its_setting(write, capsys):
    write("a.txt", SENTENCES)
    with pytest.raises(RowError, match=r"a\.txt:3: no column '4', .*words, 2, 3, labels; set data"):
        list(columns("4", train="a.txt").train)
    for part in ("train", "dev", "test"):
        write(f"{part}.conllu", word(1))
    for data in (["data=columns", "data.train=a.txt"], ["data=ud_ewt", "data.path=."]):
        said = fails(capsys, "task=tag", *data, "data.column=pos", "device=cpu", "out=run")
        assert "no column 'pos', there are: words" in said
        assert "set data.column=COLUMN" in said


def test_a_table_under_the_name_of_a_text_is_told_what_to_be_called(write):
    table = "番号\t本文\n1\t良い\n".encode("utf-16")  # as Excel writes "Unicode text"
    path = write("excel.txt", table)
    with pytest.raises(RowError, match=r"^excel\.txt:1: no column '本文'; .*call a table \.csv"):
        list(files(train=path, text="本文").train)


def text(train, valid=None, test=None):
    paths = {"train": str(train), "valid": valid and str(valid), "test": test and str(test)}
    return open_corpus({"name": "text", **paths})


def numbered(path, count, first=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"line {i}\n" for i in range(first, first + count)), "utf-8")
    return path


def wanted(*numbers):
    return [f"line {i}" for i in itertools.chain(*numbers)]


def test_the_ends_of_a_text_are_held_out_in_their_order(tmp_path):
    splits = text(numbered(tmp_path / "a.txt", 103))
    assert texts(splits) == [wanted(range(83)), wanted(range(83, 93)), wanted(range(93, 103))]
    assert texts(splits) == texts(splits)
    assert next(iter(splits.test)).source == f"{tmp_path / 'a.txt'}:94"
    assert "a tenth of it" in splits.valid.name


def test_what_is_given_is_not_held_out(tmp_path):
    a, b, c = (numbered(tmp_path / f"{i}.txt", 50, i) for i in (0, 100, 200))
    all_a, all_b, all_c = (wanted(range(i, i + 50)) for i in (0, 100, 200))
    assert texts(text(a, b, c)) == [all_a, all_b, all_c]
    assert texts(text(a, b)) == [all_a[:45], all_b, all_a[45:]]
    assert texts(text(a, test=c)) == [all_a[:45], all_a[45:], all_c]


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for first, name in enumerate(["b.txt", "a/z.txt", "c/a.txt", "a/b/c.txt", "a.txt"]):
        numbered(tmp_path / name, 2, 10 * first)
    (tmp_path / "a" / "z2.txt.gz").write_bytes(gzip.compress(b"line 90\nline 91\n"))
    numbered(tmp_path / "a" / "notes.md", 5, 500)
    valid = numbered(tmp_path.parent / "other" / "v.txt", 1)
    train, *_ = texts(text(tmp_path, valid, valid))
    assert train == wanted(*(range(n, n + 2) for n in (30, 10, 90, 40, 0, 20)))


def test_a_file_may_be_compressed_and_keeps_blank_lines_and_indentation(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("\ufeffé\r\n\r\n\tx  y \n  z".encode()))
    assert texts(text(path, path, path)) == [["é", "", "\tx  y ", "  z"]] * 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, ": no {0} in it"),
        (lambda p: p.mkdir(), "{0}: no .txt or .txt.gz files in it"),
        (lambda p: numbered(p, 9), "{0}: 9 rows are too few to hold some out"),
        (lambda p: p.write_text(""), "{0}: 0 rows are too few to hold some out"),
        (lambda p: p.write_bytes(b"a\n\xff\n" * 9), "{0}:2: not UTF-8"),
    ],
)
def test_a_text_that_cannot_be_used_is_one_line(tmp_path, monkeypatch, capsys, make, said):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.txt")
    words = ["task=generate", "data=text", "data.train=a.txt", *SMALL, "out=run"]
    assert said.format("a.txt") in fails(capsys, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("form", [text, columns], ids=["text", "columns"])
def test_a_missing_part_is_named_when_the_corpus_is_opened(tmp_path, form, part):
    there = numbered(tmp_path / "a.txt", 20)
    with pytest.raises(InputError, match=r"no b\.txt in it; there are: a\.txt"):
        form(train=str(there), **{part: "b.txt"})


def test_a_training_on_tokens_between_blanks(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("The <unk> , the U.S. @-@ end\n" * 60)
    words = ["data=text", f"data.train={path}", "tokenizer.kind=whitespace", "train.epochs=1"]
    report = train(tmp_path / "run", "task=generate", *words, "generation.max_length=5")
    assert report["rows"] == {"train": 48, "valid": 6, "test": 6}
    assert report["settings"]["tokenizer"]["kind"] == "whitespace"
    assert report["test"]["unknown"] == 1 / 8  # <unk> is what it says
    assert report["test"]["perplexity"] > 1
    vocabulary = (tmp_path / "run" / "tokenizer.json").read_text("utf-8")
    assert all(f'"{token}"' in vocabulary for token in ("The", "the", ",", "U.S.", "@-@"))


OWN = {"name": "files", "valid": None, "test": None, "text": "text", "label": "label"}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Text,LABEL", ["FILE: columns are found whatever their capitals: Text, LABEL"]),
        ("\ufeff\ufefftext\u200b,\u00a0label", []),
        ("Text,label,Source", ["FILE: columns are found whatever their capitals: Text"]),
    ],
)
def test_columns_are_found_whatever_their_capitals(tmp_path, caplog, header, said):
    path = tmp_path / "own.csv"
    more = ",x" * (header.count(",") - 1)
    path.write_text(
        header + "\n" + "".join(f"t{n},{'ab'[n % 2]}{more}\n" for n in range(20)), "utf-8"
    )
    with caplog.at_level("INFO", "zoo"):
        row = next(iter(open_corpus(OWN | {"train": str(path)}).train))
    assert (row["text"][0], row["label"] in "ab") == ("t", True)
    assert "source" not in row
    told = [m.replace(str(path), "FILE") for m in caplog.messages if "capitals" in m]
    assert told == said


def test_two_columns_that_differ_in_capitals_are_not_guessed(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("Text,TEXT,label\n" + "".join(f"t{n},u{n},a\n" for n in range(20)), "utf-8")
    assert "text" not in next(iter(open_corpus(OWN | {"train": str(path)}).train))


def test_a_row_with_too_many_cells_is_told_of_quotes(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("text,label\nwell, yes,a\n", "utf-8")
    with pytest.raises(RowError, match=r":2: 3 cells, .*the separator stands in double quotes$"):
        next(iter(open_corpus(OWN | {"train": str(path)}).train))
