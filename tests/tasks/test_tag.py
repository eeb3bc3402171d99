"""Tagging: a label for each word, whatever stands beside it, is read at the word's own step."""

from __future__ import annotations

import pytest
import torch
from tag_cases import ROWS, SPANS, STILL, TUTORIAL, batch, each, learn, sentences, tagger

import zoo
from tasks.tag import Tag
from zoo.data.dataset import Dataset
from zoo.data.readers import Row
from zoo.nn.backbone import Backbone
from zoo.text.special_ids import UNK


@each
def test_the_tutorials_first_sentence_is_answered_as_there(words, crf):
    task = learn(tagger(words=words, crf=crf, **STILL), TUTORIAL)
    assert task.labels == ["DET", "NN", "V"]
    answer = next(task.predict_rows([task.input_row(TUTORIAL[0])]))
    assert [task.label_ids[label] for label in answer["labels"]] == [0, 1, 2, 0, 1]
    assert task.predict("Everybody read that book")[0] == [
        ("Everybody", "NN"),
        ("read", "V"),
        ("that", "DET"),
        ("book", "NN"),
    ]
    assert min(answer["probabilities"]) > 0.8


@each
@torch.no_grad()
def test_padding_and_company_change_nothing(words, crf):
    task = tagger(words=words, crf=crf, scale=0.7)
    together, answers = task(batch(task, ROWS)), task.predict_batch(batch(task, ROWS))
    assert len({tuple(answer["labels"]) for answer in answers}) == len(ROWS)
    for place, row in enumerate(ROWS):
        alone, (answer,) = task(batch(task, [row])), task.predict_batch(batch(task, [row]))
        assert alone.shape == (1, len(row["words"]), 3)
        torch.testing.assert_close(together[place, : alone.size(1)], alone[0])
        assert answers[place]["labels"] == answer["labels"]
        assert answers[place]["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-5)
        assert answers[place]["nats"] == pytest.approx(answer["nats"], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("crf", [False, True])
@torch.no_grad()
def test_the_loss_is_a_mean_over_words_and_not_over_padding(crf):
    task = tagger(crf=crf, label_smoothing=0.0 if crf else 0.2, scale=0.7)
    sizes = [len(row["words"]) for row in ROWS]
    losses = [float(task.loss(batch(task, [row]))) for row in ROWS]
    mean = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
    assert float(task.loss(batch(task, ROWS))) == pytest.approx(mean, rel=1e-5)
    assert (
        task.count_targets(batch(task, ROWS)) == task.count_tokens(batch(task, ROWS)) == sum(sizes)
    )


@pytest.mark.parametrize("kind", ["characters", "subwords"])
@torch.no_grad()
def test_of_a_words_pieces_the_first_one_is_read(kind):
    task = tagger(words="subword", kind=kind, scale=0.7)
    made = batch(task, ROWS)
    output = task.backbone(made.ids, made.lengths).output
    for place, row in enumerate(ROWS):
        start, steps = 0, []
        for word in row["words"]:
            steps.append(start)
            start += len(word) if kind == "characters" else len(task.tokenizer.encode(word))
        expected = task.head(output[place, steps])
        torch.testing.assert_close(task(made)[place, : len(steps)], expected)
        assert int(made.lengths[place]) == start
        assert task.count_tokens(batch(task, [row])) == len(steps)


@torch.no_grad()
def test_words_read_output_at_their_own_step():
    task = tagger(scale=0.7)
    made = batch(task, TUTORIAL)
    output = task.backbone(task.inputs(made), made.lengths).output
    torch.testing.assert_close(task(made), task.head(output))
    assert task.reads == "output"


@torch.no_grad()
def test_words_that_were_never_seen_are_told_apart_by_their_letters():
    task = tagger(scale=0.7)
    rows = [Row({"words": ["the", word]}, "here") for word in ("eat", "tea", "eat", "§¶§", "¶§¶")]
    made = batch(task, rows)
    assert made.ids[:, 1].tolist() == [UNK] * 5
    eat, tea, again, signs, others = task(made)
    assert torch.equal(eat, again)
    assert not torch.allclose(eat[1], tea[1], atol=1e-3)
    assert not torch.allclose(eat[0], tea[0], atol=1e-3)  # the word before it reads it too
    assert torch.equal(signs, others)  # of unknown letters nothing is known but their number


@each
def test_what_occurs_once_becomes_unknown_in_training_and_never_after(tmp_path, words, crf):
    task = tagger(ROWS, words, crf=crf, singleton_dropout=0.3)
    assert not task.singletons.any()
    task.prepare(Dataset.write(iter(ROWS), task.encode, tmp_path / "rows"))
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
    chosen = task.singletons[made.ids]
    varied, same = seen[0], seen[-1]
    assert torch.equal(same, made.ids)
    assert torch.equal(varied[~chosen], made.ids[~chosen])
    lost = varied[chosen] == UNK
    assert torch.equal(varied[chosen][~lost], made.ids[chosen][~lost])
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
    assert loaded.options == task.options
    assert loaded.options.items() >= options.items()
    assert (loaded.metric, loaded.seen) == (task.metric, task.seen)
    with torch.no_grad():
        assert torch.equal(task(batch(task, rows)), loaded(batch(loaded, rows)))
    assert task.predict_batch(batch(task, rows)) == loaded.predict_batch(batch(loaded, rows))
    if crf:
        assert torch.equal(task.chain.forbidden, loaded.chain.forbidden)


@pytest.mark.parametrize(
    ("words", "kind", "cure"),
    [
        ("word+char", "words", "needs tokenizer.kind=lowercase or whitespace"),
        ("word+char", "characters", "needs tokenizer.kind=lowercase or whitespace"),
        ("subword", "whitespace", "needs tokenizer.kind=subwords or characters"),
        ("subword", "words", "needs tokenizer.kind=subwords or characters"),
    ],
)
def test_words_and_tokenizers_that_do_not_fit_are_refused(words, kind, cure):
    with pytest.raises(ValueError, match=cure):
        tagger(words=words, kind=kind)


def test_a_backbone_of_features_is_refused():
    task = tagger()
    with pytest.raises(ValueError, match="needs a vocabulary"):
        Tag(Backbone(input_size=3), task.tokenizer, **Tag.learn(TUTORIAL))


def test_spans_are_measured_by_f1_and_other_labels_by_accuracy():
    assert tagger().metric == Tag.metric == "accuracy"
    assert tagger(SPANS).metric == "f1"
