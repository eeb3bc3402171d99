"""Corpora of local files: tables, line-aligned files, column files and running text."""

from __future__ import annotations

import gzip
import itertools
import json

import pytest
from conftest import DATA, SMALL, fails, train

from zoo.data.corpora import open_corpus
from zoo.errors import InputError, RowError

PARTS = ("train", "valid", "test")
PARALLEL = {
    "name": "parallel",
    "train": "train",
    "valid": None,
    "test": None,
    "source": "en",
    "target": "de",
}
FILES = {
    "name": "files",
    "train": None,
    "valid": None,
    "test": None,
    "text": "text",
    "label": "label",
    "source": "source",
    "target": "target",
}
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


def files(train, valid=None, test=None, text="text", label="label"):
    return open_corpus(
        {
            "name": "files",
            "train": train,
            "valid": valid,
            "test": test,
            "text": text,
            "label": label,
        }
    )


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


COLUMNS = {
    "a.csv": "id,english,german\n1,one bird,ein Vogel\n2,two cats,zwei Katzen\n",
    "a.tsv": "id\tenglish\tgerman\n1\tone bird\tein Vogel\n2\ttwo cats\tzwei Katzen\n",
    "a.jsonl": '{"id": "1", "english": "one bird", "german": "ein Vogel"}\n'
    '{"id": "2", "english": "two cats", "german": "zwei Katzen"}\n',
}


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


SENTENCES = """-DOCSTART- -X- O O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
# # O O

-DOCSTART- -X- O O
# NNP B-NP B-MISC
lamb\u200b NN I-NP O
"""
CONTENT = [
    {
        "words": ["EU", "rejects", "#"],
        "2": ["NNP", "VBZ", "#"],
        "3": ["B-NP", "B-VP", "O"],
        "labels": ["B-ORG", "O", "O"],
    },
    {
        "words": ["#", "lamb\u200b"],
        "2": ["NNP", "NN"],
        "3": ["B-NP", "I-NP"],
        "labels": ["B-MISC", "O"],
    },
]


def columns(column="labels", **parts):
    paths = {"train": None, "valid": None, "test": None} | parts
    return open_corpus({"name": "columns", **paths, "column": column}, "words")


@pytest.mark.parametrize(("column", "source"), [("labels", "labels"), ("2", "2"), ("3", "3")])
def test_the_corpus_columns_takes_the_labels_from_a_column(write, column, source):
    names = [write(name, SENTENCES) for name in ("a.txt", "b", "c.iob2.gz")]
    splits = columns(column, **dict(zip(("train", "valid", "test"), names, strict=True)))
    for part, name in zip((splits.train, splits.valid, splits.test), names, strict=True):
        assert [row["labels"] for row in part] == [row[source] for row in CONTENT]
        assert [row["words"] for row in part] == [row["words"] for row in CONTENT]
        assert next(iter(part)).source == f"{name}:3"


def test_words_that_stand_twice_are_on_one_side(write):
    text = "".join(f"w{i % 100} O\nx{i % 100} B-{i}\n\n" for i in range(200))
    splits = columns(train=write("a.txt", text))
    parts = [
        [row["words"][0] for row in part] for part in (splits.train, splits.valid, splits.test)
    ]
    assert sum(map(len, parts)) == 200
    assert all(0 < len({*part}) == len(part) / 2 for part in parts)
    assert sum(len({*part}) for part in parts) == 100


def test_a_column_that_is_not_there_is_named_with_its_setting(write, capsys):
    write("a.txt", SENTENCES)
    with pytest.raises(RowError, match=r"a\.txt:3: no column '4', .*words, 2, 3, labels; set data"):
        list(columns("4", train="a.txt").train)
    for part in ("train", "dev", "test"):
        write(f"{part}.conllu", "\t".join("1abcdefghi") + "\n")
    for data in (["data=columns", "data.train=a.txt"], ["data=ud_ewt", "data.path=."]):
        said = fails(capsys, "task=tag", *data, "data.column=pos", "device=cpu", "out=run")
        assert "no column 'pos', there are: words" in said
        assert "set data.column=COLUMN" in said


def test_a_missing_column_file_is_named(write):
    write("a.txt", SENTENCES)
    with pytest.raises(InputError, match=r"no b\.txt in it; there are: a\.txt"):
        columns(train="a.txt", test="b.txt")


def text(train, valid=None, test=None):
    paths = {"train": str(train), "valid": valid and str(valid), "test": test and str(test)}
    return open_corpus({"name": "text", **paths})


def texts(splits):
    """The lines of train, valid and test."""
    return [[row["text"] for row in getattr(splits, part)] for part in PARTS]


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
    assert texts(text(a, b, c)) == [
        wanted(range(50)),
        wanted(range(100, 150)),
        wanted(range(200, 250)),
    ]
    assert texts(text(a, b)) == [
        wanted(range(45)),
        wanted(range(100, 150)),
        wanted(range(45, 50)),
    ]
    assert texts(text(a, test=c)) == [
        wanted(range(45)),
        wanted(range(45, 50)),
        wanted(range(200, 250)),
    ]


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


def test_a_missing_part_is_named_when_the_corpus_is_opened(tmp_path):
    there = numbered(tmp_path / "a.txt", 20)
    for part in ("valid", "test"):
        with pytest.raises(InputError, match=r"no b\.txt in it; there are: a\.txt"):
            text(there, **{part: tmp_path / "b.txt"})


def test_a_training_on_tokens_between_blanks(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("The <unk> , the U.S. @-@ end\n" * 60)
    words = ["data=text", f"data.train={path}", "tokenizer.kind=whitespace", "train.epochs=1"]
    report = train(tmp_path / "run", "task=generate", *words, "generation.max_length=5")
    assert report["rows"] == {"train": 48, "valid": 6, "test": 6}
    assert report["settings"]["tokenizer"]["kind"] == "whitespace"
    assert report["test"]["unknown"] == 1 / 8  # <unk> is what it says
    assert report["test"]["perplexity"] > 1
    vocabulary = (tmp_path / "run" / "vocabulary.json").read_text("utf-8")
    assert all(f'"{token}"' in vocabulary for token in ("The", "the", ",", "U.S.", "@-@"))
