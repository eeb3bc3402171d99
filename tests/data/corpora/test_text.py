"""Running text: Python's reference, files of your own, WikiText-2, and tokens that keep blanks."""

from __future__ import annotations

import gzip
import itertools
import sys

import pytest
from conftest import SMALL, fails, train

from zoo.data.corpora import open_corpus
from zoo.errors import InputError
from zoo.text.sentencepiece import SentencePieceOptions
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import Subwords

PARTS = ("train", "valid", "test")


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


@pytest.fixture(scope="module")
def pydoc():
    return open_corpus({"name": "pydoc"})


def paragraphs(rows):
    return ["\n".join(lines) for full, lines in itertools.groupby(rows, bool) if full]


def test_python_has_a_reference_that_is_the_same_each_time(pydoc):
    parts = texts(pydoc)
    assert parts == texts(open_corpus({"name": "pydoc"}))
    words = [sum(len(line.split()) for line in part) for part in parts]
    assert words[0] > 30_000
    assert min(words[1:]) > 1000
    assert min(words[1:]) > 0.02 * sum(words)
    for part in parts:
        assert sum(map(bool, part)) > len(part) / 2
        assert len({*part}) > len(part) / 2
        assert any(line.startswith("   ") for line in part)
        assert not any("\n" in line or line != line.rstrip() for line in part)


def test_no_paragraph_of_it_is_in_two_splits_or_in_one_twice(pydoc):
    parts = [paragraphs(part) for part in texts(pydoc)]
    assert all(len(part) > 50 for part in parts)
    for part in parts:
        assert len({*part}) == len(part)
    for one, other in itertools.combinations(parts, 2):
        assert not {*one} & {*other}


def test_no_topic_of_it_is_in_two_splits(pydoc):
    topics = [{row.source.split(":")[1] for row in getattr(pydoc, part)} for part in PARTS]
    assert not topics[0] & topics[1] | topics[0] & topics[2] | topics[1] & topics[2]
    assert len(topics[0]) > 5 * len(topics[2])
    assert next(iter(pydoc.test)).source.startswith("pydoc:")


def test_a_python_without_its_reference_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match="data=pydoc: this Python comes without pydoc_data"):
        list(open_corpus({"name": "pydoc"}).train)


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
        numbered(tmp_path / f"wiki.{other}.tokens", 3)
    with pytest.raises(InputError, match=rf"no {part}\.txt in it; there are: wiki") as caught:
        open_corpus({"name": "wikitext2", "path": str(tmp_path)})
    assert "\n" not in str(caught.value)


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


CODE = ["def f(x):", "    if x:", "        return  x + 1", "    return   None", "\tdone"] * 8


def test_blanks_are_kept_where_they_matter():
    tokenizer = Subwords.train(
        CODE, 80, pieces=SentencePieceOptions(coverage=1.0, nfkc=False, blanks=True)
    )
    for line in [*CODE[:5], "   x", " x", "x    n", "", "    "]:
        ids = tokenizer.encode(line)
        assert UNK not in ids
        assert tokenizer.decode(ids) == line
    assert len(tokenizer.encode(" " * 8 + "return")) < 6  # a run of blanks is a piece
    without = Subwords.train(CODE, 60, pieces=SentencePieceOptions(coverage=1.0, nfkc=False))
    assert without.decode(without.encode(CODE[2])) == "return x + 1"
