"""The tagging benchmark writes complete cases, and both of its sides compute the same thing."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import DATA, SMALL, settings

from zoo.bench.__main__ import main
from zoo.bench.peer_tagger import PackedTagger, Spelt
from zoo.data import readers
from zoo.data.corpora import open_corpus
from zoo.data.dataset import Batch
from zoo.training import build

WORDS = ["data=files", f"data.train={DATA / 'tag.jsonl'}", *SMALL]


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    chosen = settings(None, task="tag")
    return build.build(chosen, open_corpus(chosen.data)).eval()


def batch(task, count=9) -> Batch:
    some = list(readers.read(DATA / "tag.jsonl"))[:count]
    return Batch.collate([task.encode(row) for row in some], range(count))


def test_the_file_has_all_cases(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert main(["tag", *WORDS, "--json", str(path), "--rounds", "1"]) == 0
    cases = json.loads(path.read_text())["cases"]
    names = [case["name"] for case in cases]
    assert "training step, fp32 against packed fp32" in names
    assert names[-1].startswith("prediction, ")
    assert {case["unit"] for case in cases} == {"words/s"}
    assert all(case["ratio"] == pytest.approx(case["ours"] / case["peer"]) for case in cases)


def test_the_tutorials_way_spells_every_word_where_it_stands(task):
    some = batch(task)
    spelt = Spelt.of(some)
    assert len(spelt.letters) == int(some.lengths.sum())
    words = [w for row in list(readers.read(DATA / "tag.jsonl"))[:9] for w in row["words"]]
    for word, letters, length in zip(words, spelt.letters, spelt.letter_lengths, strict=True):
        assert letters[:length].tolist() == task.alphabet.encode([word])[:-1]
        assert not letters[length:].any()


@torch.no_grad()
def test_with_the_same_weights_both_sides_give_the_same_logits(task):
    some, letters = batch(task), task.speller.backbone
    lstm = task.backbone.lstm
    peer = PackedTagger(
        len(task.tokenizer),
        lstm.input_size,
        lstm.hidden_size,
        lstm.num_layers,
        len(task.alphabet),
        letters.lstm.input_size,
        letters.lstm.hidden_size,
        len(task.labels),
    ).eval()
    peer.embedding.load_state_dict(task.backbone.embedding.state_dict())
    peer.characters.load_state_dict(letters.embedding.state_dict())
    peer.speller.load_state_dict(letters.lstm.state_dict())
    peer.lstm.load_state_dict(lstm.state_dict())
    peer.head.load_state_dict(task.head.state_dict())
    peer.mix.weight.copy_(task.speller.project.weight)
    peer.mix.bias.zero_()
    found, wanted = peer(Spelt.of(some)), task(some)
    real = task.word_mask(some)
    torch.testing.assert_close(found[real], wanted[real], atol=1e-5, rtol=1e-5)


def test_pieces_of_words_are_not_what_the_tutorial_reads(capsys):
    words = [word for word in WORDS if not word.startswith("tokenizer")]
    kind = ["task.words=subword", "tokenizer.kind=characters", "tokenizer.min_count=1"]
    assert main(["tag", *words, *kind, "--rounds", "1"]) == 2
    assert "task.words=word+char" in capsys.readouterr().err
