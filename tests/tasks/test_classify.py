"""Document classification: what each pool reads, weights of classes, answers and scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from conftest import train
from torch.nn import functional as F

from tasks.classify import Classify, ClassifyConfig
from zoo.config import TokenizerConfig
from zoo.data.batch import Batch
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.export import program
from zoo.loading import load
from zoo.nn.backbone import Backbone, BackboneConfig, Encoded
from zoo.task import predict_rows
from zoo.text.ngrams import NgramVocabulary
from zoo.text.tokenizers import Words

POOLS = ["merged", "mean", "max", "last", "attention"]
TEXTS = ["one two three four", "two", "", "four four one two three one"]


def classify(num_layers=2, labels="abc", counts=None, **options) -> Classify:
    torch.manual_seed(0)
    tokenizer = Words.train(TEXTS, 50)
    shape = BackboneConfig(
        vocabulary_size=len(tokenizer), embedding_size=6, hidden_size=5, num_layers=num_layers
    )
    processors = {"tokenizer": tokenizer, "labels": LabelEncoder([*labels], counts)}
    return Classify(Backbone(shape), processors, ClassifyConfig(**options)).eval()


def batch(task: Classify, texts=TEXTS) -> Batch:
    return task.collate([task.encode(Row({"text": t}, "here")) for t in texts])


def encoded(task: Classify, texts=TEXTS) -> tuple[Encoded, Batch]:
    made = batch(task, texts)
    return task.backbone(made.inputs, made.lengths), made


def test_merged_reads_the_final_h_of_both_directions_of_the_top_layer():
    task = classify()
    result, _ = encoded(task)
    vector = task.read(result)
    assert torch.equal(vector, torch.cat([result.h_n[2], result.h_n[3]], 1))
    for row, length in enumerate([4, 1, 0, 6]):
        if length:  # forward: its last step; backward: its first
            torch.testing.assert_close(vector[row, :5], result.output[row, length - 1, :5])
            torch.testing.assert_close(vector[row, 5:], result.output[row, 0, 5:])


def test_last_has_read_one_token_backwards():
    task = classify(pool="last", num_layers=1)
    result, _ = encoded(task, ["one two three four", "two two two four"])
    vector = task.read(result)
    torch.testing.assert_close(vector[0, 5:], vector[1, 5:])  # all it knows is "four"
    assert not torch.allclose(vector[0, :5], vector[1, :5])


def test_mean_and_max_leave_padding_out():
    for pool, reduce in (("mean", lambda x: x.mean(0)), ("max", lambda x: x.amax(0))):
        task = classify(pool=pool)
        result, _ = encoded(task)
        for row, length in ((0, 4), (1, 1), (3, 6)):
            expected = reduce(result.output[row, :length])
            torch.testing.assert_close(task.read(result)[row], expected)


def test_attention_weighs_the_real_steps_to_one():
    task = classify(pool="attention")
    result, _ = encoded(task)
    ones = Encoded(torch.ones_like(result.output), result.h_n, result.c_n, result.lengths)
    expected = torch.ones(4, 10)
    torch.testing.assert_close(task.read(ones)[[0, 1, 3]], expected[[0, 1, 3]])


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_says_what_it_reads_and_ignores_padding(pool):
    task = classify(pool=pool)
    assert task.reads == ("h_n" if pool == "merged" else "output")
    with torch.no_grad():
        together = task(batch(task, TEXTS[:2]))
        alone = task(batch(task, TEXTS[1:2]))
    torch.testing.assert_close(together[1], alone[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("texts", [["", "one two"], ["", ""]])
def test_an_empty_text_has_finite_logits(pool, texts):
    task = classify(pool=pool)
    with torch.no_grad():
        assert bool(task(batch(task, texts)).isfinite().all())


def test_balanced_weights_count_each_class_the_same():
    plain = classify()
    balanced = classify(class_weights="balanced", counts=[80, 10, 10])
    some = batch(plain, ["one", "two", "four"])
    for target in range(3):
        aimed = replace(some, targets=torch.full((3,), target))
        factor = (balanced.training_step(aimed).loss / plain.training_step(aimed).loss).detach()
        assert float(factor) == pytest.approx(100 / (3 * [80, 10, 10][target]))
    with pytest.raises(ValueError, match="needs the counts of the labels"):
        classify(class_weights="balanced")


def test_label_smoothing_raises_the_lowest_loss():
    def loss(smoothing):
        task = classify(label_smoothing=smoothing)
        task.forward = lambda *_, **__: torch.tensor([[20.0, 0.0, 0.0]])
        one = batch(task, ["one"])
        return float(task.training_step(replace(one, targets=torch.tensor([0]))).loss)

    assert loss(0.0) == pytest.approx(0, abs=1e-6)
    assert loss(0.3) == pytest.approx(0.2 * 20, abs=1e-3)  # a tenth to each label


def test_long_texts_are_cut_and_marked():
    example = classify(max_length=3).encode(Row({"text": TEXTS[3], "label": "b"}, "here"))
    assert len(example["inputs"]) == 3
    assert example["cut"] == 1
    whole = classify(max_length=6).encode(Row({"text": TEXTS[3], "label": "b"}, "here"))
    assert (len(whole["inputs"]), whole["cut"]) == (6, 0)
    assert example["targets"] == 1


def test_labels_come_from_the_training_rows():
    rows = [Row({"text": "x", "label": label}, "here") for label in ("b", 1, "a", "b")]
    learned = Classify.learn(rows, ClassifyConfig(), TokenizerConfig(min_count=1))
    assert [*learned] == ["labels", "tokenizer"]
    assert (learned["labels"].labels, learned["labels"].counts) == (["1", "a", "b"], [1, 1, 2])
    assert Classify.learn(rows[:1], ClassifyConfig(), TokenizerConfig(), learned) == learned
    with pytest.raises(InputError, match=r"all training rows have the label \['b'\]"):
        Classify.learn(rows[:1], ClassifyConfig(), TokenizerConfig())


def test_a_label_unseen_in_training_is_a_mistake_without_a_loss():
    task = classify()
    rows = [Row({"text": "one", "label": label}, "x") for label in ("a", "z")]
    assert [task.encode(row)["targets"] for row in rows] == [0, -100]
    answer = {"label": "a", "probabilities": {"a": 0.5, "b": 0.25, "c": 0.25}}
    found = task.compute_metrics([answer, answer], rows)
    assert found["accuracy"] == 0.5
    assert found["loss"] == pytest.approx(math.log(2))
    assert "loss" not in task.compute_metrics([answer], rows[1:])


def test_scores_are_those_of_the_answers():
    task = classify()
    answers = [
        {"label": label, "probabilities": dict(zip("abc", p, strict=True))}
        for label, p in (("a", [0.5, 0.25, 0.25]), ("a", [0.5, 0.25, 0.25]), ("c", [0.0, 0.5, 0.5]))
    ]
    rows = [Row({"text": "", "label": label}, "here") for label in "abc"]
    scores = task.compute_metrics(answers, rows)
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    expected = -(math.log(0.5) + math.log(0.25) + math.log(0.5)) / 3
    assert scores["loss"] == pytest.approx(expected)


def test_predict_gives_labels_or_the_distribution():
    task = classify()
    labels = task.predict(TEXTS)
    assert set(labels) <= {"a", "b", "c"}
    distributions = task.predict(TEXTS, probabilities=True)
    for label, distribution in zip(labels, distributions, strict=True):
        assert sum(distribution.values()) == pytest.approx(1)
        assert max(distribution, key=distribution.get) == label
    assert task.predict("one two") == task.predict(["one two"])
    (answer,) = task.predict_batch(batch(task, TEXTS[:1]))
    assert answer == {"label": labels[0], "probabilities": pytest.approx(distributions[0])}
    assert json.loads(json.dumps(answer)) == answer


def test_the_surest_mistakes_come_first(tmp_path):
    task = classify()
    rows = [Row({"text": str(i), "label": "a"}, f"f:{i}") for i in range(3)]
    answers = [
        {"label": label, "probabilities": dict(zip("abc", p, strict=True))}
        for label, p in (("b", [0.3, 0.6, 0.1]), ("a", [0.9, 0.1, 0.0]), ("c", [0.0, 0.1, 0.9]))
    ]
    report = task.report(answers, rows, tmp_path)
    assert report["confusion"]["counts"] == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    mistakes = report["mistakes"]
    assert [(m["source"], m["answer"], m["probability"]) for m in mistakes] == [
        ("f:2", "c", 0.9),
        ("f:0", "b", 0.6),
    ]
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_labels_in_any_script_are_drawn_without_a_warning(tmp_path):
    labels = ["日本語", "ελληνικά", "a$b", "x" * 60]
    task = classify(labels=labels)
    rows = [Row({"text": "", "label": label}, "here") for label in labels]
    answers = [{"label": label, "probabilities": {label: 1.0}} for label in labels]
    assert task.report(answers, rows, tmp_path)["mistakes"] == []
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def wide(analyzer="words", **options) -> Classify:
    task = classify(num_layers=1)
    known = NgramVocabulary.learn(TEXTS, analyzer, 50)
    processors = {**task.processors, "ngrams": known}
    options = {"ngrams": analyzer, "ngram_share": 0.25} | options
    made = Classify(task.backbone, processors, ClassifyConfig(**options)).eval()
    torch.nn.init.normal_(made.bag.weight)
    torch.nn.init.normal_(made.bag.bias)
    return made


@pytest.mark.parametrize("analyzer", ["words", "characters"])
def test_a_bag_of_n_grams_joins_the_logits_of_the_lstm(analyzer):
    task = wide(analyzer)
    made = batch(task)
    deep = task.head(task.read(task.backbone(made.inputs, made.lengths)))
    bag = torch.stack(
        [
            torch.from_numpy(weights) @ task.bag.weight[torch.from_numpy(ids).long()]
            + task.bag.bias
            for ids, weights in map(task.processors["ngrams"].encode, TEXTS)
        ]
    )
    torch.testing.assert_close(task(made), 0.75 * deep + 0.25 * bag)


def test_the_bag_does_not_change_what_the_lstm_learns():
    task = wide()
    rows = [Row({"text": text, "label": "abca"[i]}, "here") for i, text in enumerate(TEXTS)]
    made = task.collate([task.encode(row) for row in rows])
    deep = task.head(task.read(task.backbone(made.inputs, made.lengths)))
    loss = task.training_step(made).loss
    torch.testing.assert_close(loss, F.cross_entropy(deep, made.targets))
    assert [*task.bag.parameters()] == []


@pytest.mark.parametrize("labels", [["a", "b", "c"], ["a", "b"], [["a"], ["b", "c"], []]])
def test_the_bag_is_fitted_by_logistic_regression(tmp_path, labels):
    words = ["good news", "bad luck", "so so"][: len(labels)]
    rows = [
        Row({"text": words[i % len(words)], "label": labels[i % len(words)]}, "x")
        for i in range(12)
    ]
    processors = Classify.learn(rows, ClassifyConfig(ngrams="words"), TokenizerConfig())
    shape = BackboneConfig(vocabulary_size=len(processors["tokenizer"]), hidden_size=4)
    task = Classify(
        Backbone(shape), processors, ClassifyConfig(ngrams="words", ngram_share=0.9)
    ).eval()
    task._initialize(task.dataset_class.write(rows, task.encode, tmp_path / "rows"))
    logits = task.bag(task.collate([task.encode(row) for row in rows[:3]]).extras["ngrams"])
    for row, own in zip(rows[:3], logits, strict=True):
        if isinstance(row["label"], list):
            assert [task.labels[i] for i in (own > 0).nonzero().flatten()] == row["label"]
        else:
            assert task.labels[int(own.argmax())] == row["label"]
            assert own.softmax(0).max() > 0.9


def test_without_n_grams_nothing_is_added():
    task = classify()
    assert {*batch(task).extras} == set()
    assert not [name for name in task.state_dict() if "bag" in name]
    with pytest.raises(ValueError, match="needs the n-grams"):
        classify(ngrams="words")


def test_answers_do_not_depend_on_the_batch_and_the_model_comes_back(tmp_path):
    task = wide()
    rows = [Row({"text": text}, "here") for text in TEXTS]
    together = [a["probabilities"]["a"] for a in predict_rows(task, rows)]
    alone = [next(predict_rows(task, [row]))["probabilities"]["a"] for row in rows]
    assert alone == pytest.approx(together, abs=1e-6)
    task.save(tmp_path / "model")
    again = [a["probabilities"]["a"] for a in predict_rows(load(tmp_path / "model"), rows)]
    assert again == pytest.approx(together, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_bag_of_n_grams_in_other_dtypes(dtype):
    task = wide().to(dtype)
    assert len(task.predict_batch(batch(task))) == len(TEXTS)


def test_a_model_with_n_grams_has_an_onnx_backbone_but_no_program(tmp_path):
    with pytest.raises(
        InputError, match=r"classify reads more than its inputs and lengths: ngrams"
    ):
        program.save(wide(), tmp_path / "task.pt2")


@pytest.mark.parametrize("analyzer", ["words", "characters"])
def test_a_training_with_n_grams(tmp_path, analyzer):
    report = train(tmp_path / "run", f"task.ngrams={analyzer}")
    assert report["test"]["accuracy"] >= 0
    assert "n-grams" in load(tmp_path / "run").why
    assert (tmp_path / "run" / "ngrams.json").exists()
