"""Tagging: the labels that are given, how sure they are, what they cost; and which may not be."""

from __future__ import annotations

import copy
import math
from itertools import pairwise, product

import pytest
import torch
from tag_cases import ROWS, SPANS, STILL, batch, each, found, learn, sentences, tagger

from tasks.tag import Tag
from zoo.data.readers import Row
from zoo.nn.crf import CRF
from zoo.text import bio


def paths(task, logits):
    """The probability of every sequence of labels, and how often each label is at each step."""
    time, size = logits.shape
    every = list(product(range(size), repeat=time))
    values = []
    for path in every:
        value = sum(logits[step, label] for step, label in enumerate(path))
        if isinstance(task.chain, CRF):
            value = value + task.chain.start[path[0]] + task.chain.end[path[-1]]
            value = value + sum(task.chain.transitions[move] for move in pairwise(path))
        values.append(value)
    shares = torch.stack(values).double().softmax(0)
    at = torch.zeros(time, size, dtype=torch.float64)
    for path, share in zip(every, shares, strict=True):
        for step, label in enumerate(path):
            at[step, label] += share
    return dict(zip(every, shares.tolist(), strict=True)), at


@each
@torch.no_grad()
def test_answers_are_the_best_labels_with_their_probability_and_their_nats(words, crf):
    task = tagger(words=words, crf=crf, scale=0.7)
    rows, total = ROWS[:3], 0.0
    answers = task.predict_batch(batch(task, rows))
    for row, answer in zip(rows, answers, strict=True):
        shares, at = paths(task, task(batch(task, [row]))[0])
        best = max(shares, key=shares.get)
        assert [task.label_ids[label] for label in answer["labels"]] == [*best]
        sure = [float(at[step, label]) for step, label in enumerate(best)]
        assert answer["probabilities"] == pytest.approx(sure, abs=1e-5)
        wanted = shares[tuple(task.label_ids[label] for label in row["labels"])]
        assert answer["nats"] == pytest.approx(-math.log(wanted), rel=1e-4)
        total += answer["nats"]
    words_in = sum(len(row["words"]) for row in rows)
    assert float(task.loss(batch(task, rows))) * words_in == pytest.approx(total, rel=1e-5)
    assert task.compute_metrics(answers, rows)["loss"] == pytest.approx(total / words_in, rel=1e-5)
    assert "nats" not in next(task.predict_rows([task.input_row(ROWS[0])]))


@torch.no_grad()
def test_labels_are_smoothed_in_the_training_loss_alone():
    plain = tagger(scale=0.7, **STILL)
    smooth = tagger(scale=0.7, label_smoothing=0.3, **STILL)
    made = batch(plain, ROWS)
    assert plain.predict_batch(made) == smooth.predict_batch(made)
    logs = plain(made).log_softmax(-1)[made.target_mask]
    exact = float(plain.loss(made))
    spread = float(-logs.mean())  # a third to each of the three labels
    assert float(smooth.loss(made)) == pytest.approx(exact, rel=1e-5)
    smoothed = float(smooth.train().loss(made))
    assert smoothed == pytest.approx(0.7 * exact + 0.3 * spread, rel=1e-5)
    nats = sum(answer["nats"] for answer in smooth.eval().predict_batch(made))
    assert nats == pytest.approx(exact * plain.count_targets(made), rel=1e-5)


def breaks(labels, every) -> bool:
    return not all(bio.may_follow(*move, every) for move in pairwise(["", *labels]))


@each
def test_with_a_crf_no_answer_ever_breaks_bio(words, crf):
    task = tagger(SPANS, words, crf=crf, scale=0.5)
    wild = [
        Row({"words": " ".join(row["words"]).split()[::-1] * n}, "here")
        for row in SPANS
        for n in (1, 2, 5)
    ]
    assert any(breaks(labels, task.labels) for labels in found(task, wild)) != crf
    trained = learn(copy.deepcopy(task), SPANS, 40) if crf else task
    assert not crf or not any(breaks(labels, task.labels) for labels in found(trained, wild))


def test_labels_that_break_bio_in_the_training_rows_stay_possible():
    rows = [*SPANS, *sentences(("of Lee York", "O I-PER O"), ("Ray went", "I-PER O"))]
    assert Tag.learn(SPANS)["exceptions"] == []
    assert Tag.learn(rows)["exceptions"] == [("", "I-PER"), ("O", "I-PER")]
    task = learn(tagger(rows, crf=True, **STILL), rows, 150)
    assert found(task, rows) == [row["labels"] for row in rows]
    strict = tagger(rows, crf=True, exceptions=[])
    for each_one, most in ((task, 1e3), (strict, 1e9)):
        nats = [answer["nats"] for answer in each_one.predict_batch(batch(each_one, rows))]
        assert max(nats) < most
        assert [n > 1e3 for n in nats] == [False] * 4 + [each_one is strict] * 2


def test_a_field_over_labels_has_no_smoothing():
    with pytest.raises(ValueError, match="label_smoothing is of single labels"):
        tagger(crf=True, label_smoothing=0.1)
