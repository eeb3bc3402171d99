"""Public data sets: their files, splits and labels, and one-line errors."""

from __future__ import annotations

import gzip
import itertools
import json
import re

import pytest
from corpus_cases import PAIRS, PARTS, pairs_of, parts, sides, texts, unreadable, word

from zoo.data.corpora import open_corpus


def imdb_folder(write):
    for part in ("train", "test"):
        write(f"aclImdb/{part}/pos/0_9.txt", f"Fine {part}<br /><br />film")
        write(f"aclImdb/{part}/neg/1_2.txt", f"Bad {part}")
        write(f"aclImdb/{part}/urls_pos.txt", "http://")
    write("aclImdb/train/unsup/3_0.txt", "Unlabelled")
    return "aclImdb"


def imdb_jsonl(write):
    for part in ("train", "test"):
        rows = [(f"Fine {part}<br /><br />film", 1), (f"Bad {part}", 0)]
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        write(f"imdb/{part}.jsonl", "\n".join(lines))
    return "imdb"


@pytest.mark.parametrize("make", [imdb_folder, imdb_jsonl])
def test_imdb_is_read_from_folders_and_from_jsonl(write, make):
    splits = open_corpus({"name": "imdb", "path": make(write)})
    found = {row["text"]: row["label"] for row in splits.test}
    assert found == {"Bad test": "negative", "Fine test\n\nfilm": "positive"}
    learned = {r["text"]: r["label"] for part in (splits.train, splits.valid) for r in part}
    assert learned == {"Bad train": "negative", "Fine train\n\nfilm": "positive"}


def test_imdb_holds_whole_neighbourhoods_out(write):
    """Reviews of one film stand together; one film must not be on both sides."""
    for part in ("train", "test"):
        for number in range(300):
            write(f"imdb/{part}/{('neg', 'pos')[number % 2]}/{number // 2}_1.txt", f"{number}")
    splits = open_corpus({"name": "imdb", "path": "imdb"})
    everything = [*splits.train, *splits.valid]
    assert len({row["text"] for row in everything}) == len(everything) == 300
    places = [int(row["text"]) for row in splits.valid]
    assert len(places) == 30
    neighbours = [b - a for a, b in itertools.pairwise(places)]
    assert neighbours.count(2) == 30 - 1 - 9  # ten blocks of three, in the order of their numbers


@pytest.mark.parametrize("row", ['{"text": "a"}', '{"review": "a", "label": 1}', '{"text": null}'])
def test_imdb_without_a_column_is_an_error(write, row):
    write("imdb/train.jsonl", row)
    write("imdb/test.jsonl", row)
    said = unreadable(name="imdb", path="imdb")
    assert said == "imdb/train.jsonl:1: columns text and label are needed; see data=files"


def test_sst2_is_read_with_its_own_splits(write):
    for file, part in (("train", "train"), ("dev", "valid"), ("test", "test")):
        write(f"sst/stsa.binary.{file}", f"1 a fine {part} , 0 flaws\n0 bad .\n")
    splits = open_corpus({"name": "sst2", "path": "sst"})
    for part in PARTS:
        first, second = getattr(splits, part)
        assert first == {"text": f"a fine {part} , 0 flaws", "label": "positive"}
        assert second == {"text": "bad .", "label": "negative"}
    assert second.source == "sst/stsa.binary.test:2"


def test_sst2_refuses_a_line_without_a_label(write):
    for file in ("train", "dev", "test"):
        write(f"sst/stsa.binary.{file}", "1 fine\nand so on\n")
    said = unreadable(name="sst2", path="sst")
    assert said.startswith("sst/stsa.binary.train:2: label 'and'")


MISSING = [("imdb", "train"), ("sst2", "stsa.binary.train"), ("ud_ewt", "train.conllu")]


@pytest.mark.parametrize(("name", "stem"), MISSING)
def test_a_wrong_folder_says_what_is_missing(write, name, stem):
    write("other/a.txt", "a")
    assert unreadable(name=name, path="other") == f"other: no {stem} in it; there are: a.txt"
    assert unreadable(name=name, path="none") == f"none: no {stem} in it"


@pytest.mark.parametrize("end", ["", ".gz"])
def test_multi30k_is_read_from_its_own_files(tmp_path, monkeypatch, end):
    monkeypatch.chdir(tmp_path)
    sets = ("train", "val", "test_2016_flickr", "test_2017_mscoco")
    for stem in sets:
        rows = [(a, b, a + "!") for a, b in [*PAIRS, (stem, stem)]]
        sides(tmp_path / "raw", stem, rows, end, ("en", "de", "fr"))
    made = {"name": "multi30k", "path": "raw", "source": "en", "target": "de", "test": sets[2]}
    for test in sets[2:]:
        splits = open_corpus(made | {"test": test})
        last = [pairs_of(rows)[-1][0] for rows in parts(splits)]
        assert last == [sets[0], sets[1], test]
    french = pairs_of(open_corpus(made | {"source": "fr", "target": "en"}).valid)
    assert french[0] == ("one bird!", "one bird")
    said = unreadable(**made | {"target": "cs"})
    assert re.match(r"raw: no train\.cs in it; there are: .*train\.de", said)
    said = unreadable(**made | {"test": "test_2018"})
    assert said.startswith("raw: no test_2018.en in it; there are: te")
    assert unreadable(**made | {"path": "nowhere"}) == "nowhere: no train.en in it"


ENJA = [
    ("i can 't swim .", "私 は 泳げ な い 。"),
    ("he said , '' go . ''", "「 行 け 」 と 言 っ た 。"),
]
JOINED = [("I can't swim.", "私は泳げない。"), ('He said, "Go."', "「行け」と言った。")]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_enja_is_read_with_normal_spacing_in_both_directions(tmp_path, end):
    for stem in ("train", "dev", "test"):
        sides(tmp_path, stem, [*ENJA, (stem, stem)], end, ("en", "ja"))
    made = {"name": "enja", "path": str(tmp_path), "source": "en", "target": "ja"}
    for part, stem in zip(parts(open_corpus(made)), ("Train", "Dev", "Test"), strict=True):
        assert pairs_of(part) == [*JOINED, (stem, stem.lower())]
    backwards = open_corpus(made | {"source": "ja", "target": "en"})
    assert pairs_of(backwards.valid)[:2] == [(b, a) for a, b in JOINED]
    assert next(iter(backwards.valid)).source == f"{tmp_path / 'dev'}.ja{end}:1"
    for wrong in ({"target": "de"}, {"source": "ja"}):
        chosen = made | wrong
        said = f"data.source={chosen['source']} data.target={chosen['target']}"
        assert unreadable(**chosen) == f"{said}: one is en and the other ja"
    assert unreadable(**made | {"path": "nowhere"}) == "nowhere: no train.en in it"


@pytest.mark.parametrize("name", ["{}.txt", "wiki.{}.tokens", "{}.txt.gz", "wiki.{}.tokens.gz"])
def test_wikitext_is_read_under_its_names_and_stripped(tmp_path, name):
    for part in PARTS:
        lines = f" \n = {part} = \n \n a <unk> @-@ b \n".encode()
        path = tmp_path / name.format(part)
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    splits = open_corpus({"name": "wikitext2", "path": str(tmp_path)})
    assert texts(splits) == [["", f"= {part} =", "", "a <unk> @-@ b"] for part in PARTS]
    assert next(iter(splits.test)).source == f"{tmp_path / name.format('test')}:1"


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_of_wikitext_is_named(tmp_path, part):
    for other in {*PARTS} - {part}:
        (tmp_path / f"wiki.{other}.tokens").write_text("line\n" * 3)
    said = unreadable(name="wikitext2", path=str(tmp_path))
    assert said.startswith(f"{tmp_path}: no {part}.txt in it; there are: wiki")


TREES = "\n".join(
    [
        "# sent_id = 1",
        word("1-2", "vámonos", "_", "_"),
        word(1, "vamos", "VERB"),
        word(2, "nos", "PRON"),
        "",
        word(1, "#", "SYM"),
        word(2, "sí", "INTJ", "UH"),
        word(3, "n k", "NUM"),
    ]
)


@pytest.mark.parametrize("name", ["en_ewt-ud-{}.conllu", "xx-ud-{}.conllu.gz", "{}.conllu"])
@pytest.mark.parametrize("column", ["upos", "xpos", "deprel"])
def test_the_corpus_ud_ewt_takes_any_column(write, tmp_path, name, column):
    for part in ("train", "dev", "test"):
        write("t/" + name.format(part), TREES.replace("INTJ", part).replace("UH", part))
    splits = open_corpus({"name": "ud_ewt", "path": str(tmp_path / "t"), "column": column})
    for part, found in (("train", splits.train), ("dev", splits.valid), ("test", splits.test)):
        _, row = found
        wanted = {"upos": ["SYM", part, "NUM"], "xpos": ["NN", part, "NN"], "deprel": ["root"] * 3}
        assert (row["words"], row["labels"]) == (["#", "sí", "n k"], wanted[column])
        assert {"upos", "xpos", "deprel"} - {*row} == {column}
