"""Translation: both sides as ids, two tokenizers in a folder, answers, scores, and a training."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import torch
from conftest import settings, train
from safetensors.torch import load_file
from translate_cases import ENGLISH, GERMAN, ROWS, asked, batch, translate

import zoo
from tasks.translate import Translate
from zoo.data.dataset import ExampleList
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.nn.backbone import Backbone
from zoo.text.special_ids import BOS, EOS, PAD, UNK
from zoo.text.tokenizers import Characters, Subwords, Words
from zoo.training import pipeline


def test_both_sides_end_with_eos_unless_they_are_cut():
    task = translate(max_length=5)
    ids, target = (task.tokenizer.encode(text) for text in ("new cats", GERMAN[3]))
    row = Row({"source": "new cats", "target": GERMAN[3]}, "here")
    assert task.encode(row) == {"ids": [*ids, EOS], "target": [*target, EOS], "cut": 0}
    assert task.encode(Row({"source": "new cats"}, "here")) == {"ids": [*ids, EOS], "cut": 0}
    long = task.tokenizer.encode(ENGLISH[0])
    assert len(long) == 7
    for row in ({"source": ENGLISH[0], "target": "vier"}, {"source": "four", "target": ENGLISH[0]}):
        example = task.encode(Row(row, "here"))
        assert example["cut"] == 1
        assert sorted([example["ids"], example["target"]], key=len)[1] == long[:6]
        assert min(example["ids"], example["target"], key=len)[-1] == EOS
    assert task.encode(Row({"source": ENGLISH[0]}, "here")) == {"ids": long[:6], "cut": 1}


def test_each_side_has_its_own_tokenizer():
    task = translate(own=True)
    example = task.encode(ROWS[0])
    assert example["ids"] == [*task.tokenizer.encode(ENGLISH[0]), EOS]
    assert example["target"] == [*task.target_tokenizer.encode(GERMAN[0]), EOS]
    assert Translate.tokenizer_texts(ROWS[0]) == [ENGLISH[0], GERMAN[0]]


def test_a_pair_with_an_empty_side_is_unusable():
    reasons = [
        Translate.reject(Row({"source": source, "target": target}, "here"))
        for source, target in (("a", "b"), (" ", "b"), ("a", ""), ("\t", "\n"))
    ]
    assert reasons == [None, "an empty source", "an empty target", "an empty source and target"]


@pytest.mark.parametrize("own", [False, True])
def test_subword_sampling_gives_other_pieces_of_the_same_text(own):
    task = translate(Subwords, own, subword_sampling=0.3)
    examples = [task.encode(row) for row in ROWS]

    def varied() -> list:
        torch.manual_seed(5)
        return [task.augment(examples) for _ in range(4)]

    draws = varied()
    assert varied() == draws
    assert draws[0] != draws[1]
    for draw in draws:
        for side in ("ids", "target"):
            assert [each[side] for each in draw] != [each[side] for each in examples]
        for example, row in zip(draw, ROWS, strict=True):
            for side, text in (("ids", row["source"]), ("target", row["target"])):
                tokenizer = task.tokenizer if side == "ids" else task.output_tokenizer
                assert tokenizer.decode(example[side]) == text
                assert example[side].index(EOS) == len(example[side]) - 1
    assert examples == [task.encode(row) for row in ROWS]


def test_subword_sampling_cuts_no_text_that_fits():
    whole = [translate(Subwords).encode(row) for row in ROWS]
    longest = max(len(example[side]) for example in whole for side in ("ids", "target"))
    task = translate(Subwords, subword_sampling=0.9, max_length=longest - 1)
    assert [task.encode(row) for row in ROWS] == whole  # nothing is cut
    for example, row in zip(task.augment(whole), ROWS, strict=True):
        for side, text in (("ids", row["source"]), ("target", row["target"])):
            assert len(example[side]) <= longest
            assert task.tokenizer.decode(example[side]) == text
            assert EOS in example[side]


def test_subword_sampling_is_off_unless_asked_for_and_only_for_subwords():
    task = translate(Subwords)
    examples, state = [task.encode(row) for row in ROWS], torch.get_rng_state()
    assert task.augment(examples) is examples
    assert torch.equal(state, torch.get_rng_state())
    for kind in (Words, Characters):
        with pytest.raises(ValueError, match=r"subword_sampling needs tokenizer\.kind=subwords"):
            translate(kind, subword_sampling=0.1)


def test_the_backbone_must_read_ids():
    with pytest.raises(ValueError, match="needs a vocabulary"):
        Translate(Backbone(input_size=3), Words.train(ENGLISH, 20))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_the_target_has_its_own_matrices_where_it_needs_them(own, tied, tmp_path):
    task = translate(own=own, tied=tied)
    names = {name for name, _ in task.tokens.named_parameters()}
    embedding = {"embedding.weight"} if own or not tied else set()
    assert names == {"bias"} | embedding | (set() if tied else {"weight"})
    assert all(len(weight) == len(task.output_tokenizer) for weight in task.tokens.parameters())
    task.save(tmp_path)
    loaded = zoo.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(batch(loaded)), task(batch(task)))
    assert (tmp_path / "target.vocabulary.json").exists() == own
    assert (loaded.target_tokenizer is not None) == own
    assert loaded.predict(ENGLISH) == task.predict(ENGLISH)


def test_the_targets_tokenizer_is_a_file_of_the_model(tmp_path):
    path, manifest = tmp_path / "target.vocabulary.json", tmp_path / "manifest.json"
    translate(own=True).save(tmp_path)
    assert path.name in json.loads(manifest.read_text())["files"]
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"vier", b"drei"))
    with pytest.raises(InputError, match=r"target\.vocabulary\.json: its contents are not those"):
        zoo.load(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"target\.vocabulary\.json: missing"):
        zoo.load(tmp_path)
    path.write_bytes(kept)
    zoo.load(tmp_path)
    translate().save(tmp_path)  # another model in its place: the file stays, and is not listed
    assert path.exists()
    assert zoo.load(tmp_path).target_tokenizer is None


@pytest.mark.parametrize("kind", [Words, Subwords, Characters])
@pytest.mark.parametrize(
    "search",
    [GenerationConfig(), GenerationConfig(beam_size=1), GenerationConfig(sample=True, n_best=3)],
)
def test_every_source_is_answered_and_nothing_unknown_is_written(kind, search):
    task = translate(kind, scale=2.0)
    task.generation = search
    with torch.no_grad():
        task.tokens.bias[[PAD, UNK, BOS]] = 50.0
    texts = ["", "日本語 ☃ \u0000", "<unk> <pad> ⁇", "old cats " * 3000, " "]
    assert {UNK} & {*task.encode(Row({"source": texts[1]}, "here"))["ids"]}
    assert len(task.encode(Row({"source": texts[3]}, "here"))["ids"]) == 101
    answers = list(task.predict_rows(Row({"source": text}, "here") for text in texts))
    for answer in answers:
        assert not {PAD, UNK, BOS, EOS} & {*answer["ids"]}
        for each in answer["n_best"]:
            assert not any(m in each["text"] for m in ("⁇", "\N{WHITE SQUARE}", "<unk>"))
    assert (answers[0]["text"], answers[0]["ids"]) == ("", [])
    assert answers[1]["ids"]
    assert 0 < len(answers[3]["ids"]) <= 200


def test_answers_know_their_loss_and_scores_weigh_it_by_tokens():
    task = translate()
    examples = ExampleList([task.encode(row) for row in ROWS])
    numbered = dict(task.predict_dataset(examples, rows=3))
    found = task.compute_metrics([numbered[i] for i in range(4)], ROWS)
    assert {*found} == {"bleu", "bleu_lowercase", "chrf", "exact_match", "loss"}
    with torch.no_grad():
        assert found["loss"] == pytest.approx(float(task.loss(batch(task))), rel=1e-5)
    assert "loss" not in task.compute_metrics(task.predict_batch(asked(task)), ROWS)


def test_perfect_answers_have_full_scores():
    task = translate()
    full = {"bleu": 100, "bleu_lowercase": 100, "chrf": 100, "exact_match": 1}
    assert task.compute_metrics([{"text": text} for text in GERMAN], ROWS) == pytest.approx(full)
    small = task.compute_metrics([{"text": text.lower()} for text in GERMAN], ROWS)
    assert small["bleu_lowercase"] == pytest.approx(100)
    assert small["bleu"] < 100
    assert small["exact_match"] == 0.25  # "vier"
    wrong = task.compute_metrics([{"text": "ganz anders als das"}] * 4, ROWS)
    assert wrong["exact_match"] == 0
    assert wrong["bleu"] < 10


def test_the_report_shows_and_draws_translations(tmp_path):
    task = translate(scale=2.0)
    with torch.no_grad():
        answers = task.predict_batch(batch(task))
    report = task.report(answers, ROWS, tmp_path)
    assert {*report} == {"examples", "signatures"}
    shown = [{**row, "answer": answer["text"]} for row, answer in zip(ROWS, answers, strict=True)]
    assert report["examples"] == shown[:3]
    assert "version:" in report["signatures"]["bleu"]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["attention-1.png", "attention-2.png", "attention-3.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_without_attention_or_an_answer_nothing_is_drawn(tmp_path):
    path, task = tmp_path / "attention.png", translate(attention="none")
    assert task.plot(ROWS[0], {"ids": [5]}, path) is False
    assert translate().plot(ROWS[0], {"ids": []}, path) is False
    assert not path.exists()
    assert translate(own=True).plot(ROWS[0], {"ids": [5]}, path) is True
    assert path.read_bytes().startswith(b"\x89PNG")


def test_predict_gives_strings_in_their_order():
    task = translate(scale=2.0, end=4.0)
    texts = [*ENGLISH, "", *ENGLISH[::-1]]
    found = task.predict(texts)
    assert found == [
        answer["text"]
        for text in texts
        for answer in task.predict_batch(asked(task, [Row({"text": text}, "here")]))
    ]
    assert len({*found}) == 5
    assert task.predict(ENGLISH[0]) == found[:1]
    answer = task.predict_batch(asked(task))[0]
    assert task.to_json(answer) == {"translation": answer["text"], "n_best": answer["n_best"]}


SAMPLED = (
    "tokenizer.kind=subwords",
    "tokenizer.size=80",
    "tokenizer.shared=false",
    "task.subword_sampling=0.1",
)


def test_sampled_subwords_repeat_with_the_seed_and_when_a_training_goes_on(tmp_path, monkeypatch):
    for name, *more in ("a",), ("b",), ("c", "seed=2"), ("d", "task.subword_sampling=0"):
        train(tmp_path / name, *SAMPLED, *more, task="translate")
    calls, real = iter(range(100)), Translate.augment

    def vary(self, examples):
        if next(calls) == 9:  # in the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, examples)

    monkeypatch.setattr(Translate, "augment", vary)
    with pytest.raises(InputError, match="interrupted"):
        train(tmp_path / "stopped", *SAMPLED, task="translate")
    monkeypatch.undo()
    pipeline.run(settings(None, f"resume={tmp_path / 'stopped'}"), "", time.time())
    whole, *others = (
        load_file(tmp_path / name / "model.safetensors") for name in ("a", "b", "stopped", "c", "d")
    )
    shared = "backbone.lstm.weight_hh_l0"  # of one shape, whatever the tokenizer learned
    same = [torch.equal(other[shared], whole[shared]) for other in others]
    assert same == [True, True, False, False]
    for other in others[:2]:
        assert other.keys() == whole.keys()
        assert all(torch.equal(other[name], whole[name]) for name in whole)
