"""Tagging: a label for each word, its probability and loss; rows and trainings that are refused."""

from __future__ import annotations

import copy
import math
from itertools import pairwise, product

import pytest
import torch
from conftest import DATA, SMALL, fails, lines, train, write
from run_cases import in_files, interrupt_and_resume, report, same_weights
from tag_cases import (
    ROWS,
    SPANS,
    STILL,
    TUTORIAL,
    answers,
    batch,
    each,
    found,
    learn,
    loss,
    sentences,
    small_backbone,
    tagger,
)

import zoo
from tasks.tag import Tag
from zoo import run
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.nn.crf import CRF
from zoo.text import bio
from zoo.text.special_ids import UNK

GIVEN = [{"words": [*row["words"]], "labels": [*row["labels"]]} for row in SPANS]
PLAIN = [{"words": ["no", "one"], "labels": ["O", "O"]}]
TOYS = lines(DATA / "tag.jsonl")
TOY = ["data=files", f"data.train={DATA / 'tag.jsonl'}"]
TINY = ("train.epochs=1", "backbone.hidden_size=8", "task.character_hidden=8")
FIGURES = ["accuracy", "accuracy_unseen", "sentence_accuracy", "precision", "recall", "f1", "loss"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The folder of a finished training on the toy rows."""
    out = tmp_path_factory.mktemp("tag") / "run"
    words = ["train.epochs=20", "train.patience=0", "baseline=true"]
    train(out, *words, task="tag")
    return out


@each
def test_the_tutorials_first_sentence_is_answered_as_there(words, crf):
    task = learn(tagger(words=words, crf=crf, **STILL), TUTORIAL)
    assert task.labels == ["DET", "NN", "V"]
    (answer,) = answers(task, TUTORIAL[:1])
    assert [*map(task.processors["labels"].encode, answer["labels"])] == [0, 1, 2, 0, 1]
    labelled = [("Everybody", "NN"), ("read", "V"), ("that", "DET"), ("book", "NN")]
    assert task.predict(["Everybody read that book", ""]) == [labelled, []]
    assert min(answer["probabilities"]) > 0.8
    for splitter, wanted in (
        ("words", ["did", "n't", "go", ","]),
        ("whitespace", ["didn't", "go,"]),
    ):
        assert [word for word, _ in task.predict("didn't go,", splitter)[0]] == wanted


@each
@torch.no_grad()
def test_padding_and_company_change_nothing(words, crf):
    task = tagger(words=words, crf=crf, scale=0.7)
    together, given = task(batch(task, ROWS)), task.predict_batch(batch(task, ROWS))
    assert len({tuple(answer["labels"]) for answer in given}) == len(ROWS)
    for place, row in enumerate(ROWS):
        alone, (answer,) = task(batch(task, [row])), task.predict_batch(batch(task, [row]))
        assert alone.shape == (1, len(row["words"]), 3)
        torch.testing.assert_close(together[place, : alone.size(1)], alone[0])
        assert given[place]["labels"] == answer["labels"]
        assert given[place]["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-5)
        assert given[place]["nats"] == pytest.approx(answer["nats"], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "kind"),
    [("word+char", "whitespace"), ("subword", "characters"), ("subword", "subwords")],
)
@torch.no_grad()
def test_a_words_label_is_read_from_output_at_the_step_of_its_first_piece(words, kind):
    task = tagger(words=words, kind=kind, scale=0.7)
    made = batch(task, ROWS)
    output = task._run_backbone(made).output
    assert task.reads == "output"
    sizes = {"whitespace": lambda word: 1, "characters": len}
    size = sizes.get(kind, lambda word: len(task.tokenizer.encode(word)))
    for place, row in enumerate(ROWS):
        start, steps = 0, []
        for word in row["words"]:
            steps.append(start)
            start += size(word)
        expected = task.head(output[place, steps])
        torch.testing.assert_close(task(made)[place, : len(steps)], expected)
        assert int(made.lengths[place]) == start
        assert task.training_step(batch(task, [row])).count == len(steps)


@torch.no_grad()
def test_words_that_were_never_seen_are_told_apart_by_their_letters():
    task = tagger(scale=0.7)
    rows = [Row({"words": ["the", word]}, "here") for word in ("eat", "tea", "eat", "§¶§", "¶§¶")]
    made = batch(task, rows)
    assert made.inputs[:, 1].tolist() == [UNK] * 5
    eat, tea, again, signs, others = task(made)
    assert torch.equal(eat, again)
    assert not torch.allclose(eat[1], tea[1], atol=1e-3)
    assert not torch.allclose(eat[0], tea[0], atol=1e-3)  # the word before it reads it too
    assert torch.equal(signs, others)  # of unknown letters nothing is known but their number


@each
def test_what_occurs_once_becomes_unknown_in_training_and_never_after(words, crf):
    task = tagger(ROWS, words, crf=crf, singleton_dropout=0.3)
    pieces = [p for row in ROWS for w in row["words"] for p in (w if words == "subword" else [w])]
    once = {task.tokenizer.ids[piece] for piece in pieces if pieces.count(piece) == 1}
    assert {*task.singletons.nonzero().flatten().tolist()} == once
    assert 0 < len(once) < len(task.tokenizer) - 4
    seen, embed = [], task.backbone.embed
    task.backbone.embed = lambda ids, *rest: seen.append(ids) or embed(ids, *rest)
    made = batch(task, ROWS * 200)
    for training in (True, False):
        task.train(training)
        task(made)
    task.backbone.embed = embed
    chosen = task.singletons[made.inputs]
    varied, same = seen[0], seen[-1]
    assert torch.equal(same, made.inputs)
    assert torch.equal(varied[~chosen], made.inputs[~chosen])
    lost = varied[chosen] == UNK
    assert torch.equal(varied[chosen][~lost], made.inputs[chosen][~lost])
    assert float(lost.float().mean()) == pytest.approx(0.3, abs=0.05)


@each
def test_a_saved_tagger_gives_the_same_bits_with_all_options(tmp_path, words, crf):
    rows = [*SPANS, *sentences(("of Lee", "O I-PER"))]
    options = {
        "dropout": 0.25,
        "character_embedding": 7,
        "character_hidden": 3,
        "character_dropout": 0.2,
        "singleton_dropout": 0.1,
        "label_smoothing": 0.0 if crf else 0.1,
    }
    task = tagger(rows, words, crf=crf, scale=0.7, **options)
    task.save(tmp_path)
    loaded = zoo.load(tmp_path)
    assert isinstance(loaded, Tag)
    assert loaded.config == task.config
    assert vars(loaded.config).items() >= options.items()
    assert loaded.metric == task.metric
    assert loaded.processors["seen"].counts == task.processors["seen"].counts
    assert torch.equal(loaded.singletons, task.singletons)
    assert task.singletons.any()
    with torch.no_grad():
        assert torch.equal(task(batch(task, rows)), loaded(batch(loaded, rows)))
    assert task.predict_batch(batch(task, rows)) == loaded.predict_batch(batch(loaded, rows))
    if crf:
        assert torch.equal(task.chain.forbidden, loaded.chain.forbidden)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "words"}, "needs tokenizer.kind=lowercase or whitespace"),
        ({"kind": "characters"}, "needs tokenizer.kind=lowercase or whitespace"),
        (
            {"words": "subword", "kind": "whitespace"},
            "needs tokenizer.kind=subwords or characters",
        ),
        ({"words": "subword", "kind": "words"}, "needs tokenizer.kind=subwords or characters"),
        ({"crf": True, "label_smoothing": 0.1}, "label_smoothing is of single labels"),
        ({"crf": True, "r_drop": 1.0}, "r_drop compares single labels"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_together_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        tagger(**options)


def test_a_backbone_of_features_is_refused():
    task = tagger()
    with pytest.raises(ValueError, match="needs a vocabulary"):
        Tag(small_backbone(input_size=3), task.processors)


def paths(task, logits):
    """The probability of every sequence of labels, and of each label at each step."""
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
    given, encode = task.predict_batch(batch(task, rows)), task.processors["labels"].encode
    for row, answer in zip(rows, given, strict=True):
        shares, at = paths(task, task(batch(task, [row]))[0])
        best = max(shares, key=shares.get)
        assert [*map(encode, answer["labels"])] == [*best]
        sure = [float(at[step, label]) for step, label in enumerate(best)]
        assert answer["probabilities"] == pytest.approx(sure, abs=1e-5)
        wanted = shares[tuple(map(encode, row["labels"]))]
        assert answer["nats"] == pytest.approx(-math.log(wanted), rel=1e-4)
        total += answer["nats"]
    made, words_in = batch(task, rows), sum(len(row["words"]) for row in rows)
    assert task.training_step(made).count == words_in
    assert float(loss(task, made)) * words_in == pytest.approx(total, rel=1e-5)
    assert task.compute_metrics(given, rows)["loss"] == pytest.approx(total / words_in, rel=1e-5)
    assert "nats" not in answers(task, ROWS[:1])[0]


@torch.no_grad()
def test_labels_are_smoothed_in_the_training_loss_alone():
    plain = tagger(scale=0.7, **STILL)
    smooth = tagger(scale=0.7, label_smoothing=0.3, **STILL)
    made = batch(plain, ROWS)
    assert plain.predict_batch(made) == smooth.predict_batch(made)
    logs = plain(made).log_softmax(-1)[made.target_mask]
    exact = float(loss(plain, made))
    spread = float(-logs.mean())  # a third to each of the three labels
    assert float(loss(smooth, made)) == pytest.approx(exact, rel=1e-5)
    smoothed = float(loss(smooth.train(), made))
    assert smoothed == pytest.approx(0.7 * exact + 0.3 * spread, rel=1e-5)
    nats = sum(answer["nats"] for answer in smooth.eval().predict_batch(made))
    assert nats == pytest.approx(exact * plain.training_step(made).count, rel=1e-5)


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
    assert tagger(SPANS).processors["labels"].exceptions == []
    assert tagger(rows).processors["labels"].exceptions == [("", "I-PER"), ("O", "I-PER")]
    task = learn(tagger(rows, crf=True, **STILL), rows, 150)
    assert found(task, rows) == [row["labels"] for row in rows]
    strict = tagger(rows, crf=True, learned={"labels": LabelEncoder(task.labels)})
    for each_one, most in ((task, 1e3), (strict, 1e9)):
        nats = [answer["nats"] for answer in each_one.predict_batch(batch(each_one, rows))]
        assert max(nats) < most
        assert [n > 1e3 for n in nats] == [False] * 4 + [each_one is strict] * 2


def training(folder, rows=GIVEN, valid=GIVEN, test=GIVEN) -> list[str]:
    """The command line of a small training on rows in three files."""
    parts = in_files(folder, rows, valid, test)
    return ["task=tag", "data=files", *parts, *SMALL, *TINY, f"out={folder / 'run'}"]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"words": ["a", "b"], "labels": ["O"]}, "2 words and 1 labels: each word needs one"),
        ({"words": "a b", "labels": "O O O"}, "2 words and 3 labels: each word needs one"),
        ({"words": 5, "labels": ["O"]}, "column 'words' holds 5, not a list of words"),
        ({"words": {"a": 1}, "labels": ["O"]}, "'words' holds {'a': 1}, not a list of words"),
        ({"words": ["a", None], "labels": ["O", "O"]}, "holds ['a', None], not a list of words"),
        ({"words": ["a"], "labels": [0.5]}, "column 'labels' holds [0.5], not a list of labels"),
        ({"words": ["a"]}, "no 'labels', there are words: set data.column=COLUMN"),
        ({"words": ["a"], "labels": None}, "column 'labels' is null: fill it, or remove the row"),
        ({"words": ["a"], "labels": [" "]}, "label 1 is empty: each word needs one"),
        (
            {"words": "['a', 'b']", "labels": "O O"},
            "column 'words' holds a printed list, ['a', 'b']",
        ),
        ({"labels": ["O"]}, "no 'words', there are labels: set data.words=COLUMN"),
    ],
)
@pytest.mark.parametrize("part", ["rows", "test"])
def test_a_row_that_does_not_fit_is_named(capsys, tmp_path, part, row, line):
    error = fails(capsys, *training(tmp_path, **{part: [*GIVEN, row]}))
    assert f"{'train' if part == 'rows' else part}.jsonl:5: " in error
    assert line in error
    assert not (tmp_path / "run").exists()


def test_an_unknown_label_at_an_evaluation_is_a_mistake(capsys, tmp_path, toy):
    other = write(tmp_path / "other.jsonl", [TOYS[0], {"words": ["x"], "labels": ["B-MISC"]}])
    words = [f"data.{part}={other}" for part in ("train", "valid", "test")]
    given = ["mode=evaluate", f"model={toy}", "data=files", *words]
    said = f"{other}: 1 labels that the training rows lack count as mistakes: 'B-MISC' (1)"
    assert run.main(given) == 0
    assert said in capsys.readouterr().err
    error = fails(capsys, *given, "strict=true")
    assert "other.jsonl:2: label 'B-MISC' does not occur in the training rows; " in error


@pytest.mark.parametrize("crf", [False, True])
def test_a_sentence_with_an_unknown_label_has_no_loss(crf):
    task = tagger(SPANS, crf=crf, scale=0.3)
    rows = sentences(("Ann left", "B-PER O"), ("Ann left", "B-PER B-NEW"))
    batch = task.collate([task.encode(one) for one in rows])
    assert batch.targets.tolist()[1][1] == -100
    answers = task.predict_batch(batch)
    assert (answers[0]["nats"] > 0, answers[1]["nats"]) == (True, 0)
    found = task.compute_metrics(answers, rows)
    assert found["loss"] == pytest.approx(answers[0]["nats"] / 2)


def test_one_label_is_too_few(capsys, tmp_path):
    error = fails(capsys, *training(tmp_path, rows=PLAIN))
    assert error == "all training words have the label ['O']: two or more are needed"


def test_rows_without_words_are_skipped_and_counted(capsys, tmp_path):
    empty, blank = {"words": [], "labels": []}, {"words": " ", "labels": " "}
    words = training(tmp_path, [empty, *GIVEN, blank], [*GIVEN, empty], [empty, *GIVEN])
    assert run.main(words) == 0
    assert report(tmp_path / "run")["rows"] == {"train": 4, "valid": 4, "test": 4}
    printed = capsys.readouterr().out
    assert "train.jsonl: 4 rows; skipped are 2 with no words" in printed
    assert "test.jsonl: 4 rows; skipped are 1 with no words" in printed
    (tmp_path / "run").rename(tmp_path / "before")
    assert fails(capsys, *words, "strict=true").endswith(
        "train.jsonl:1: no words; strict=false skips such rows"
    )


def test_rows_without_a_span_have_all_figures(tmp_path):
    assert run.main(training(tmp_path, valid=PLAIN, test=PLAIN)) == 0
    assert [*report(tmp_path / "run")["test"]] == FIGURES


def test_words_and_labels_may_be_texts_and_blanks_inside_words_are_no_trouble(tmp_path):
    rows = [
        {"words": "Ann saw Rome", "labels": "B-PER O B-LOC"},
        {"words": ["New York", "", " \t", "10 000"], "labels": ["B-LOC", "O", "O", "O"]},
    ]
    found = train(tmp_path / "out", *in_files(tmp_path, rows, rows, rows), *TINY, task="tag")
    (second,) = [s for s in found["sentences"] if len(s["words"]) == 4]
    assert second["words"] == ["New York", "_", "_", "10 000"]
    assert found["test"]["accuracy_unseen"] == 0


def test_a_training_reports_and_draws_what_it_found(toy):
    found = report(toy)
    assert [*found["test"]] == ["accuracy", "accuracy_unseen", "sentence_accuracy", "loss"]
    assert found["test"]["accuracy"] >= 0.9
    assert found["baseline"]["accuracy"] >= 0.8
    assert found["reads"] == "output"
    assert sum(found["rows"].values()) == len(TOYS)
    counts = found["confusion"]["counts"]
    total = sum(map(sum, counts))
    names = found["confusion"]["labels"]
    assert names == ["ADJ", "AUX", "DET", "NOUN", "PROPN", "PUNCT", "VERB"]
    right = sum(row[place] for place, row in enumerate(counts))
    assert found["test"]["accuracy"] == pytest.approx(right / total)
    assert {row["label"]: row["count"] for row in found["per_label"]} == {
        label: sum(row) for label, row in zip(names, counts, strict=True) if sum(row)
    }
    assert "per_span" not in found
    for sentence in found["sentences"]:
        pairs = zip(sentence["words"], sentence["labels"], strict=True)
        assert sentence["shown"] == " ".join(f"{word}/{label}" for word, label in pairs)
    for name in ("confusion.png", "learning_curve.png"):
        assert (toy / name).read_bytes().startswith(b"\x89PNG")
    assert zoo.load(toy).metric == "accuracy"


def test_of_spans_f1_is_measured_and_chosen_by(tmp_path):
    out = tmp_path / "run"
    found = train(
        out, *in_files(tmp_path, *[GIVEN] * 3), "train.epochs=8", "task.crf=true", task="tag"
    )
    assert [*found["test"]] == FIGURES
    assert {row["label"] for row in found["per_span"]} == {"PER", "LOC"}
    assert {row["label"]: row["count"] for row in found["per_label"]} == {
        "B-LOC": 2,
        "B-PER": 3,
        "I-LOC": 1,
        "I-PER": 2,
        "O": 7,
    }
    history = lines(out / "metrics.jsonl")
    best = max(history, key=lambda entry: (entry["valid"]["f1"], -entry["valid"]["loss"]))
    assert found["best_epoch"] == best["epoch"]
    assert zoo.load(out).metric == "f1"


def test_scores_and_mistakes_are_those_counted_by_hand(tmp_path):
    test = [
        {"words": ["Ann", "saw", "Paris"], "labels": ["B-PER", "O", "B-LOC"]},
        {"words": ["Zoe", "left", "Oslo"], "labels": ["B-PER", "O", "B-LOC"]},
    ]
    task = tagger(SPANS)
    assert {*task.processors["seen"].counts} == {word for row in SPANS for word in row["words"]}
    rows = [Row(row, f"test:{place}") for place, row in enumerate(test, 1)]
    labels = [["B-PER", "O", "B-LOC"], ["B-LOC", "O", "B-LOC"]]
    answers = [
        {"labels": labels[0], "probabilities": [0.9, 0.8, 0.7], "nats": 1.0},
        {"labels": labels[1], "probabilities": [0.6, 0.8, 0.7], "nats": 2.0},
    ]
    expected = {
        "accuracy": 5 / 6,
        "accuracy_unseen": 2 / 3,
        "sentence_accuracy": 1 / 2,
        "precision": 3 / 4,
        "recall": 3 / 4,
        "f1": 3 / 4,
        "loss": 3 / 6,
    }
    assert task.compute_metrics(answers, rows) == pytest.approx(expected)
    assert task.report(answers, rows, tmp_path)["mistakes"] == [
        {
            "place": "test:2",
            "label": "B-PER",
            "answer": "B-LOC",
            "probability": 0.6,
            "text": "[Zoe] left Oslo",
        }
    ]
    known = {"words": ["she", "went"], "labels": ["O", "O"]}
    values = task.compute_metrics([{"labels": ["O", "O"], "nats": 0.0}], [Row(known, "here")])
    assert values["accuracy_unseen"] == 0


def test_an_evaluation_gives_the_figures_of_the_report(toy, tmp_path, capsys):
    words = [*TOY, f"out={tmp_path}", "device=cpu", "precision=fp32"]
    assert run.main(["mode=evaluate", f"model={toy}", *words]) == 0
    assert report(tmp_path)["test"] == report(toy)["test"]
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, value in report(toy)["test"].items():
        assert f"{name} {value:.4f}" in printed


@pytest.mark.parametrize(
    "options",
    [
        ("task.crf=true", "backbone.input_dropout=0.2"),
        ("task.words=subword", "tokenizer.kind=characters", "train.ema_decay=0"),
    ],
    ids=["words", "pieces"],
)
def test_a_seed_gives_its_bits_again_after_an_interruption_too(tmp_path, monkeypatch, options):
    rows = in_files(tmp_path, TOYS[:40], TOYS[40:50], TOYS[40:50])
    words = [*rows, *TINY, "train.epochs=2", *options]
    train(tmp_path / "whole", *words, task="tag")
    interrupt_and_resume(monkeypatch, tmp_path / "run", *words, task="tag", at=7)  # in epoch 2
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    train(tmp_path / "other", *words, "seed=2", task="tag")
    assert not same_weights(tmp_path / "other", tmp_path / "whole")


def test_a_very_long_sentence_is_trained_on_and_answered(tmp_path):
    short = {"words": ["a", "b", "c", "d", "e"], "labels": ["X", "Y", "Z", "X", "Y"]}
    long = [{name: column * 400 for name, column in short.items()}]
    rows = in_files(tmp_path, [*long, *[short] * 40], [short], long)
    words = [*rows, *TINY, "task.crf=true", "train.learning_rate=0.1", "train.ema_decay=0"]
    train(tmp_path / "run", *words, "task.dropout=0", "train.epochs=2", task="tag")
    (answer,) = answers(zoo.load(tmp_path / "run"), [Row({"words": long[0]["words"]}, "here")])
    assert len(answer["labels"]) == len(answer["probabilities"]) == 2000
    right = sum(a == b for a, b in zip(answer["labels"], long[0]["labels"], strict=True))
    assert right > 1600


def test_another_label_set_starts_from_a_taggers_backbone(toy, tmp_path):
    words = ["train.epochs=1", "train.learning_rate=1e-9", "device=cpu", "precision=fp32"]
    words += [f"init={toy}", *in_files(tmp_path, *[GIVEN] * 3), "baseline=false"]
    assert run.main(["task=tag", "data=files", *words, f"out={tmp_path / 'run'}"]) == 0
    origin, begun = zoo.load(toy), zoo.load(tmp_path / "run")
    assert begun.labels == ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    assert begun.tokenizer.tokens == origin.tokenizer.tokens
    for name, weight in origin.backbone.state_dict().items():
        torch.testing.assert_close(begun.backbone.state_dict()[name], weight, atol=1e-5, rtol=0)


def test_words_are_made_up_in_training_alone_and_leave_the_examples_as_they_are():
    task = tagger(SPANS, unseen_words=0.5)
    examples = [task.encode(one) for one in SPANS] * 20
    kept = copy.deepcopy(examples)
    assert same_batch(task.collate(examples), task.collate(kept))
    torch.manual_seed(3)
    first = task.collate(examples, augment=True)
    torch.manual_seed(3)
    assert same_batch(first, task.collate(examples, augment=True))
    assert examples == kept
    plain = task.collate(examples)
    assert torch.equal(first.targets, plain.targets)
    spans, outside = [], []
    for example, one in zip(examples, SPANS * 20, strict=True):
        made_up = [
            i == UNK != j
            for i, j in zip(task._make_up(example)["inputs"], example["inputs"], strict=True)
        ]
        for word, label in enumerate(one["labels"]):
            if label.startswith("I"):
                assert made_up[word] == made_up[word - 1]
            (outside if label == "O" else spans).append(made_up[word])
    assert 0.4 < sum(spans) / len(spans) < 0.6
    assert 0.05 < sum(outside) / len(outside) < 0.2
    changed = [spelled(task, task._make_up(example)) for example in examples]
    assert changed != [spelled(task, example) for example in examples]


def spelled(task, example) -> list[str]:
    """The words that the character LSTM reads."""
    return task.processors["characters"].decode([int(i) for i in example["letters"]])


def same_batch(one, other) -> bool:
    letters = zip(one.extras["characters"].blocks, other.extras["characters"].blocks, strict=True)
    return torch.equal(one.inputs, other.inputs) and all(
        torch.equal(a[0], b[0]) for a, b in letters
    )


def test_pieces_are_not_made_up():
    with pytest.raises(ValueError, match=r"unseen_words needs words=word\+char"):
        tagger(words="subword", unseen_words=0.5)
