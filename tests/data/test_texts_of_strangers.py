"""Texts that were made to fail: each is answered, or refused in one line, in linear time."""

from __future__ import annotations

import gzip
import io
import sys
import time

import pytest
import torch
from conftest import fails
from every_task import untrained
from run_cases import predict

import zoo
from tasks import tag
from zoo.cli import chat
from zoo.cli.predict import arriving
from zoo.data import labelled_words, readers
from zoo.data.readers import Row
from zoo.errors import InputError, RowError
from zoo.generation.config import GenerationConfig
from zoo.rnn import lstm_fused
from zoo.task import predict_rows
from zoo.text import decoding
from zoo.text.canonical import encodable
from zoo.text.tokenizers import TOKENIZERS, Words
from zoo.text.word_splitter import split

HALF = "sea \ud800 and \udfff"


def test_half_a_pair_is_the_replacement_character_and_a_whole_one_its_letter():
    assert encodable(HALF) == "sea � and �"
    assert encodable("\ud83d\ude00\ude00") == "\N{GRINNING FACE}�"
    assert encodable("日本é") == "日本é"
    row = Row({"text": HALF, "words": ["a", "\udc00"], "n": 3}, "here")
    assert row == {"text": "sea � and �", "words": ["a", "�"], "n": 3}


@pytest.mark.parametrize("name", ["classify", "tag", "translate", "generate"])
def test_every_task_answers_half_a_pair(name):
    task = untrained(name)
    if name in ("translate", "generate"):
        greedy = GenerationConfig(beam_size=1, max_length=5)
        assert task.predict([HALF], greedy) == task.predict(["sea � and �"], greedy)
        assert [*task.stream(HALF, greedy)] == [*task.stream("sea � and �", greedy)]
    else:
        assert task.predict([HALF]) == task.predict(["sea � and �"])


@pytest.mark.parametrize("kind", [kind for kind in TOKENIZERS if kind != "subwords"])
def test_every_tokenizer_reads_half_a_pair(kind):
    tokenizer = TOKENIZERS[kind].train(["sea � and �"], 30)
    assert tokenizer.encode(HALF) == tokenizer.encode("sea � and �")


def test_files_and_chats_hold_half_a_pair(tmp_path, trained):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "sea \\ud800", "more": ["\\udfff"]}\n')
    assert [*readers.read(path)] == [{"text": "sea �", "more": ["�"]}]
    out = io.StringIO()
    chat.Chat(zoo.load(trained)).run(io.StringIO(f"{HALF}\n"), out)
    assert out.getvalue().strip() in ("sea", "mountain")


def test_a_command_line_answers_half_a_pair(trained, capsysbinary, monkeypatch):
    said = predict(monkeypatch, capsysbinary, trained, f"text={HALF}", "format=json")
    assert "label" in said


@pytest.mark.parametrize("unit", ["a", "a@", "a.b@c", "www.", "a.b.", "1,", "n't", "a'", "-", "土"])
def test_splitting_takes_time_in_proportion(unit):
    times = []
    for size in (50_000, 200_000):
        text = (unit * size)[:size]
        start = time.process_time()
        split(text)
        Words([]).split(text)
        times.append(time.process_time() - start)
    assert times[1] < 12 * times[0] + 0.5


def test_a_header_of_many_columns_is_read_in_proportion(tmp_path):
    path = tmp_path / "wide.csv"
    names = [*map(str, range(100_000))]
    path.write_text(",".join(names) + "\n" + ",".join(names) + "\n")
    start = time.process_time()
    assert len(next(iter(readers.read(path)))) == 100_000
    assert time.process_time() - start < 20
    path.write_text(",".join(["a", "b"] * 50_000) + "\n")
    with pytest.raises(RowError, match="the header names a, b twice"):
        next(readers.read(path))


def test_a_printed_list_that_does_not_end_is_no_list():
    start = time.process_time()
    assert labelled_words._PRINTED.fullmatch("[1 1" + " " * 100_000 + "x") is None
    assert time.process_time() - start < 5
    assert labelled_words._PRINTED.fullmatch("[1 0  2 ]")


@pytest.mark.parametrize("digits", [25, 5_000])
def test_an_id_of_many_digits_is_refused(tmp_path, digits):
    path = tmp_path / "a.conllu"
    path.write_text("9" * digits + "\ta" * 9 + "\n\n")
    with pytest.raises(RowError, match=r"a\.conllu:1: id 9+ where 1 is due$") as raised:
        next(readers.read(path))
    assert len(str(raised.value)) < 200 + len(str(path))


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 100_000, '{"a":' * 100_000])
def test_numbers_and_nesting_without_end_are_one_line(tmp_path, value, trained, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": {value}}}\n')
    said = fails(capsys, "mode=predict", f"model={trained}", f"input={path}", "device=cpu")
    assert "a.jsonl:1: not JSON" in said


@pytest.mark.parametrize("line", [b"a" * 63 + b"\n", b"\n", b"a b\n" * 16])
def test_a_gzip_bomb_ends_in_one_line(tmp_path, monkeypatch, line):
    monkeypatch.setattr(decoding, "MOST_UNPACKED", 1 << 18)
    path = tmp_path / "bomb.txt.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(4):
            file.write(line * ((1 << 20) // len(line)))
    with pytest.raises(RowError, match="as no text does"):
        for _ in readers.read(path):
            pass


def test_a_large_gzipped_text_is_no_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MOST_UNPACKED", 1000)
    path = tmp_path / "text.txt.gz"
    lines = [f"row {number * 7919 % 10_007} of them" for number in range(10_000)]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert [row["text"] for row in readers.read(path)] == lines


class Broken(io.RawIOBase):
    """A stream that gives one line and then fails, as an unplugged disk does."""

    def __init__(self):
        self.given = [b"the sea\n"]

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self.given:
            raise OSError(5, "Input/output error")
        line = self.given.pop()
        buffer[: len(line)] = line
        return len(line)


def test_a_read_error_ends_the_answers(capsys, trained, monkeypatch):
    with pytest.raises(InputError, match="input: Input/output error"):
        for _ in arriving(io.BufferedReader(Broken(), 8)):
            pass
    broken = io.TextIOWrapper(io.BufferedReader(Broken(), 8))
    monkeypatch.setattr(sys, "stdin", broken)
    assert zoo.run.main(["mode=predict", f"model={trained}", "device=cpu"]) == 2
    assert capsys.readouterr().err.endswith("error: input: Input/output error\n")


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("lengths", [None, [300, 100, 1]])
def test_the_kernel_in_pieces_gives_the_bits_of_one_call(monkeypatch, both, lengths):
    torch.manual_seed(0)
    lstm = zoo.LSTM(4, 8, 2, bidirectional=both, batch_first=True).eval()
    x = torch.randn(3, 300, 4)
    given = None if lengths is None else torch.tensor(lengths)
    with torch.no_grad():
        output, state = lstm(x, None, given)
        monkeypatch.setattr(lstm_fused, "LONGEST_CALL", 64)
        pieces, last = lstm(x, None, given)
    torch.testing.assert_close(pieces, output, rtol=0, atol=1e-6)
    for one, other in zip(last, state, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


SUBWORDS = ["task.words=subword", "tokenizer.kind=subwords", "tokenizer.size=60"]


ONE_WAY = ["backbone.bidirectional=false"]
SIZES = [(labelled_words, "LONGEST"), (tag, "PIECE"), (tag, "CONTEXT")]


@pytest.mark.parametrize(
    ("options", "scale", "sizes", "near", "said"),
    [
        (ONE_WAY, 1.5, (200, 50, 1), 1e-6, "50: a label knows all words before"),
        ([*ONE_WAY, "backbone.num_layers=2"], 1.5, (200, 50, 1), 1e-6, "50: a label knows all"),
        ([*ONE_WAY, *SUBWORDS, "task.append_eos=true"], 1.5, (200, 50, 1), 1e-6, "50: a label"),
        (["task.crf=true"], 0.2, (300, 150, 40), 1e-4, "150"),
        (["task.crf=false"], 0.2, (300, 150, 40), 1e-4, "150"),
    ],
    ids=["one-way", "two-layers", "subwords", "both-ways-crf", "both-ways"],
)
def test_a_row_without_end_is_tagged_in_pieces(
    monkeypatch, caplog, options, scale, sizes, near, said
):
    task = untrained("tag", *options, scale=scale)
    words = [f"w{number % 7}{'Mo' * (number % 11)}" for number in range(407)]
    rows = [Row({"words": words}, "here:1"), Row({"words": ["sea"]}, "here:2")]
    whole = [*predict_rows(task, rows)]
    for (owner, name), size in zip(SIZES, sizes, strict=True):
        monkeypatch.setattr(owner, name, size)
    with caplog.at_level("INFO", "zoo"):
        pieces = [*predict_rows(task, rows)]
    assert f"here:1: 407 words are read in pieces of {said}" in caplog.text
    for one, other in zip(pieces, whole, strict=True):
        assert (one["words"], one["labels"]) == (other["words"], other["labels"])
        found, wanted = (torch.tensor(each["probabilities"]) for each in (one, other))
        torch.testing.assert_close(found, wanted, rtol=0, atol=near)
    assert [*predict_rows(task, rows[:1])] == pieces[:1]
