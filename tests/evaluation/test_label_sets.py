"""Multi-label classification: loss, thresholds and metrics, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer
from torch.nn import functional as F

from zoo.data.processors import MOST_LABELS, LabelSetEncoder
from zoo.data.readers import Row
from zoo.evaluation import label_sets
from zoo.evaluation.label_sets import LabelSets, choose_thresholds, scores

LABELS = [*"abcde"]


def random_sets(seed: int, count: int = 60) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    return [[n for n in LABELS if generator.random() < 0.3] for _ in range(count)]


def module(counts=(4, 2, 1), rows=10, balanced=False, smoothing=0.0) -> LabelSets:
    return LabelSets(LabelSetEncoder([*"abc"], [*counts], rows), balanced, smoothing)


def test_the_metrics_are_those_of_scikit_learn():
    found, wanted = random_sets(1), random_sets(2)
    found[0] = wanted[0] = []
    binarizer = MultiLabelBinarizer(classes=LABELS)
    truth, answer = binarizer.fit_transform(wanted), binarizer.fit_transform(found)
    values = scores(found, wanted)
    assert values["micro_f1"] == pytest.approx(f1_score(truth, answer, average="micro"))
    assert values["macro_f1"] == pytest.approx(f1_score(truth, answer, average="macro"))
    assert values["exact_match"] == pytest.approx(accuracy_score(truth, answer))
    table = label_sets.per_label(found, wanted)
    expected = precision_recall_fscore_support(truth, answer)
    for part, name in zip(expected, ("precision", "recall", "f1", "count"), strict=True):
        assert [row[name] for row in table] == pytest.approx(part.tolist())


def test_rows_without_labels_can_be_right():
    assert scores([[], []], [[], []]) == {"micro_f1": 0.0, "macro_f1": 0.0, "exact_match": 1.0}
    assert scores([["a"], []], [["a"], ["b"]])["exact_match"] == 0.5
    assert scores([], []) == {"micro_f1": 0.0, "macro_f1": 0.0, "exact_match": 0.0}


def test_the_loss_is_the_binary_cross_entropy_of_all_labels():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    ids = torch.tensor([[0, 2], [-100, -100]])  # the second row has no label
    wanted = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    plain = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
    torch.testing.assert_close(module().losses(logits, ids), plain)
    weights = torch.tensor([6 / 4, 8 / 2, 9 / 1])  # rows without the label over rows with it
    weighted = F.binary_cross_entropy_with_logits(
        logits, wanted, pos_weight=weights, reduction="none"
    ).mean(1)
    torch.testing.assert_close(module(balanced=True).losses(logits, ids), weighted)
    smooth = F.binary_cross_entropy_with_logits(logits, wanted * 0.8 + 0.1, reduction="none")
    torch.testing.assert_close(module(smoothing=0.2).losses(logits, ids), smooth.mean(1))


def test_a_label_of_all_rows_or_of_few_has_a_bounded_weight():
    weights = module(counts=(10, 1, 5), rows=10_000, balanced=True).weights
    assert weights.max() == 100
    assert module(counts=(10, 1, 5), rows=10, balanced=True).weights.min() == pytest.approx(0.01)


def test_thresholds_follow_validation_rows_and_few_rows_keep_the_common_one():
    """Label a is right from 0.3 on, in many rows; label b in a single row."""
    probabilities, wanted = [], []
    for number in range(200):
        share = 0.9 if number % 4 == 0 else 0.35 if number % 4 == 1 else 0.25
        probabilities.append({"a": share, "b": 0.02})
        wanted.append(["a"] if share > 0.3 else [])
    probabilities[0]["b"], wanted[0] = 0.6, ["a", "b"]
    found = choose_thresholds(probabilities, wanted, ["a", "b", "never"])
    assert 0.25 < found["a"] < 0.35
    assert abs(found["b"] - found["a"]) < 0.05  # its own best one would be 0.3 to 0.6
    assert abs(found["never"] - found["a"]) < 0.05
    assert all(value * 1024 == round(value * 1024) for value in found.values())
    assert choose_thresholds([{"a": 0.4}], [[]], ["a"]) == {"a": 0.5}


def test_equal_probabilities_stay_on_one_side():
    shares, hits = np.array([0.5, 0.5, 0.5, 0.2]), np.array([True, False, True, False])
    assert label_sets._best_cut(shares, hits, 2) == pytest.approx(0.35)


def test_calibration_decides_the_answers_anew():
    task = module()
    rows = [Row({"text": "x", "label": ["a"] if i % 2 else []}, "here") for i in range(40)]
    logits = torch.tensor([[-1.0, -5.0, -5.0] if i % 2 else [-3.0, -5.0, -5.0] for i in range(40)])
    before = task.answers(logits)
    assert all(answer["labels"] == [] for answer in before)
    after = task.calibrate(before, rows)
    assert [answer["labels"] for answer in after] == [row["label"] for row in rows]
    assert [a["labels"] for a in task.answers(logits)] == [row["label"] for row in rows]
    assert task.compute_metrics(after, rows) == {
        "micro_f1": 1.0,
        "macro_f1": 1.0,
        "exact_match": 1.0,
    }


def test_answers_do_not_grow_with_the_number_of_labels():
    names = [f"L{n}" for n in range(500)]
    task = LabelSets(LabelSetEncoder(names, [1] * 500, 900), False, 0.0)
    logits = torch.linspace(-2, 3, 500).expand(2, -1)
    answers = task.answers(logits, torch.tensor([[499], [-100]]))
    for answer in answers:
        assert len(answer["probabilities"]) == MOST_LABELS
        assert {*answer["labels"]} <= {*answer["probabilities"]}
        assert "L499" in answer["labels"]
    assert answers[0]["nats"] < answers[1]["nats"]


def test_the_report_has_thresholds_and_the_surest_mistakes():
    task = module()
    answers = [
        {"labels": ["a"], "probabilities": {"a": 0.9, "b": 0.4, "c": 0.1}},
        {"labels": [], "probabilities": {"a": 0.1, "b": 0.4, "c": 0.01}},
        {"labels": ["b"], "probabilities": {"a": 0.1, "b": 0.8, "c": 0.1}},
    ]
    rows = [Row({"text": "x", "label": own}, "here") for own in (["a", "b"], ["c", "new"], ["b"])]
    report = task.report(answers, rows)
    assert [(row["label"], row["threshold"]) for row in report["per_label"]] == [
        ("a", 0.5),
        ("b", 0.5),
        ("c", 0.5),
        ("new", 1.0),
    ]
    said = [(m["answer"], m["label"], round(m["probability"], 2)) for m in report["mistakes"]]
    assert said == [("no label", "c|new", 1.0), ("a", "a|b", 0.6)]


def test_logits_start_at_the_shares_of_the_labels():
    shares = module(counts=(5, 2, 1), rows=10).prior().sigmoid()
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.2, 0.1]))
    assert module(counts=(10, 0, 1), rows=10).prior().isfinite().all()
    assert not module(balanced=True).prior().any()
