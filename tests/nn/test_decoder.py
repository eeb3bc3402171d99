"""Decoder: writing step by step is what was trained, h_n and c_n count, rows do not mix."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from translate_cases import GERMAN, ROWS, asked, batch, translate

from tasks.translate import Translate
from zoo.data.batch import IGNORE_INDEX, Batch
from zoo.data.dataset import ExampleList
from zoo.data.readers import Row
from zoo.device import runs_bf16
from zoo.generation.config import GenerationConfig
from zoo.nn import decoder as decoders
from zoo.nn.decoder import DecoderStepModel
from zoo.task import GREEDY, input_row, predict_dataset, predict_rows
from zoo.text.special_ids import BOS, EOS, PAD, UNK

ATTENTIONS = pytest.mark.parametrize("attention", ["none", "dot", "general", "additive"])
FEEDINGS = pytest.mark.parametrize("input_feeding", [False, True])
READS = {"h_n_c_n": "h_n, c_n", "h_n": "h_n", "zero": "output"}
ANSWERS = {"scale": 2.0, "end": 4.0}


def masked(logits: Tensor) -> Tensor:
    """Log-probabilities; the specials but EOS have none, and the others do not gain by that."""
    return logits.log_softmax(-1).index_fill(-1, torch.tensor([PAD, UNK, BOS]), -torch.inf)


def writing(task: Translate, source: Batch) -> DecoderStepModel:
    return DecoderStepModel(task.decoder, *task.start_decoding(source), task.tokens, task.backbone)


@ATTENTIONS
@FEEDINGS
@torch.no_grad()
def test_the_logits_are_those_of_the_formulas(attention, input_feeding):
    """Step by step with torch's own LSTM; with input feeding a step reads the vector before it."""
    task = translate(attention=attention, input_feeding=input_feeding, num_layers=2)
    some, decoder, embedding = batch(task), task.decoder, task.backbone.embedding
    state, memory = task.start_decoding(some)
    lstm = nn.LSTM(16 if input_feeding else 8, 12, 2, batch_first=True)
    lstm.load_state_dict(decoder.backbone.lstm.state_dict())
    last, vector, vectors = (state.h, state.c), torch.zeros(4, 1, 8), []
    before = torch.cat([torch.full((4, 1), BOS), some.targets[:, :-1].clamp(min=PAD)], 1)
    for x in embedding(before).split(1, 1):
        h, last = lstm(torch.cat([x, vector], -1) if input_feeding else x, last)
        read = h if memory is None else torch.cat([decoder.attention(h, memory)[0], h], -1)
        vector = (read @ decoder.mix.weight.T + decoder.mix.bias).tanh()
        vectors.append(vector)
    expected = torch.cat(vectors, 1) @ embedding.weight.T + task.tokens.bias
    torch.testing.assert_close(task(some), expected, atol=1e-5, rtol=1e-5)


@ATTENTIONS
@FEEDINGS
@pytest.mark.parametrize("init", ["h_n_c_n", "h_n", "zero"])
@torch.no_grad()
def test_token_by_token_the_probabilities_are_those_of_whole_targets(
    attention, input_feeding, init
):
    """Two prefixes of each text, which change places half-way, when a text is over."""
    for layers, norm, both in product((1, 2), (False, True), (True, False)):
        task = translate(
            attention=attention,
            input_feeding=input_feeding,
            init=init,
            num_layers=layers,
            layer_norm=norm,
            bidirectional=both,
        )
        source = asked(task)
        targets = torch.randint(EOS, len(task.output_tokenizer), (2, 4, 6))
        along = [masked(task(replace(source, targets=target))) for target in targets]
        expected, targets = torch.stack(along, 1), targets.transpose(0, 1)  # (texts, 2, steps, …)
        step_model, ids = writing(task, source), torch.full((4, 1), BOS)
        texts, order = torch.arange(4), torch.tensor([0])
        for step in range(6):
            wanted = expected[texts][:, order, step]
            torch.testing.assert_close(step_model.step(ids), wanted, atol=1e-5, rtol=1e-5)
            kept, prefixes = torch.arange(len(texts)), torch.arange(2)
            if step == 0:
                order, prefixes = torch.tensor([0, 1]), torch.tensor([0, 0])
            if step == 2:
                kept, prefixes = torch.tensor([0, 2, 3]), torch.tensor([1, 0])
                order = order[prefixes]
            step_model.reorder(kept, prefixes.expand(len(kept), 2))
            texts = texts[kept]
            ids = targets[texts][:, order, step]


@ATTENTIONS
@FEEDINGS
@torch.no_grad()
def test_greedy_answers_are_the_likeliest_tokens_one_after_the_other(attention, input_feeding):
    task = translate(attention=attention, input_feeding=input_feeding, **ANSWERS)
    greedy = task.predict_batch(asked(task), config=GREEDY)
    for row, answer in zip(ROWS, greedy, strict=True):
        one, ids = asked(task, [row]), []
        while len(ids) < 3 * int(one.lengths) + 10:
            along = replace(one, targets=torch.tensor([[*ids, EOS]]))  # the last one is not read
            token = int(masked(task(along))[0, -1].argmax())
            if token == EOS:
                break
            ids.append(token)
        assert answer["ids"] == ids
        assert answer["text"] == task.tokenizer.decode(ids)
    assert len({answer["text"] for answer in greedy}) > 1
    examples = ExampleList([task.encode(input_row(task, row)) for row in ROWS])
    found = dict(predict_dataset(task, examples, stage="validate"))  # while epochs are compared
    assert [found[i]["ids"] for i in range(4)] == [answer["ids"] for answer in greedy]


@torch.no_grad()
def test_without_a_target_the_logits_are_those_along_the_greedy_translation():
    task = translate(own=True, attention="none", **ANSWERS)
    logits = task(asked(task))
    greedy, early = task.predict_batch(asked(task), config=GREEDY), 0
    assert logits.shape == (4, max(len(a["ids"]) for a in greedy) + 1, len(task.output_tokenizer))
    for found, answer, length in zip(masked(logits), greedy, asked(task).lengths, strict=True):
        ids = answer["ids"]
        assert found[: len(ids)].argmax(-1).tolist() == ids
        if len(ids) < 3 * length + 10:  # there the end is forced
            assert int(found[len(ids)].argmax()) == EOS
            early += 1
    assert early


@ATTENTIONS
@FEEDINGS
def test_a_row_is_answered_alike_alone_in_company_and_in_any_order(attention, input_feeding):
    task = translate(attention=attention, input_feeding=input_feeding, **ANSWERS)
    config = GenerationConfig(beam_size=5, n_best=3)
    rows = [*ROWS, Row({"source": ""}, "here")]
    together, order = asked(task, rows), [2, 4, 0, 3, 1]
    answers = task.predict_batch(together, config=config)
    turned = task.predict_batch(asked(task, [rows[i] for i in order]), config=config)
    wider = replace(together, inputs=F.pad(together.inputs, (0, 7), value=PAD))
    others = [
        [task.predict_batch(asked(task, [row]), config=config)[0] for row in rows],
        [turned[order.index(i)] for i in range(5)],
        task.predict_batch(wider, config=config),
        list(predict_rows(task, rows, config=config)),
    ]
    for other in others:
        for one, same in zip(answers, other, strict=True):
            assert one["ids"] == same["ids"]
            for left, right in zip(one["n_best"], same["n_best"], strict=True):
                assert left["text"] == right["text"]
                assert left["score"] == pytest.approx(right["score"], abs=1e-3)
    assert len({answer["text"] for answer in answers}) == 5


@ATTENTIONS
@FEEDINGS
def test_padding_changes_neither_loss_nor_gradients(attention, input_feeding):
    task = translate(attention=attention, input_feeding=input_feeding, num_layers=2, scale=0.3)

    def sums(batches) -> tuple[Tensor, tuple[Tensor, ...]]:
        total = sum(step.loss * step.count for step in map(task.training_step, batches))
        return total.detach(), torch.autograd.grad(total, [*task.parameters()])

    together = batch(task)
    assert task.training_step(together).count == sum(len(t.split()) + 1 for t in GERMAN)
    wider = replace(
        together,
        inputs=F.pad(together.inputs, (0, 5), value=PAD),
        targets=F.pad(together.targets, (0, 4), value=IGNORE_INDEX),
        extras={},
    )
    expected = sums([batch(task, [row]) for row in ROWS])
    for found in (sums([together]), sums([wider])):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@FEEDINGS
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_logits(input_feeding, smoothing):
    task = translate(input_feeding=input_feeding, label_smoothing=smoothing, dropout=0.0)
    some = batch(task)
    for mode in (task.eval, task.train):
        logits = mode()(some).flatten(0, 1)
        expected = F.cross_entropy(
            logits,
            some.targets.flatten(),
            ignore_index=IGNORE_INDEX,
            label_smoothing=smoothing if task.training else 0.0,
        )
        torch.testing.assert_close(task.training_step(some).loss, expected)
    assert task.training_step(some).count == int((some.targets >= 0).sum())


@pytest.mark.parametrize("init", READS)
@torch.no_grad()
def test_without_attention_the_source_counts_by_what_is_handed_over(init, monkeypatch):
    task = translate(attention="none", init=init)
    some = batch(task)
    before, read = task(some), task.read
    other = replace(
        some, inputs=some.inputs.where(some.inputs <= EOS, some.inputs.roll(1, 1).clamp(min=4))
    )
    assert not torch.equal(other.inputs, some.inputs)
    assert torch.allclose(task(other), before) == (init == "zero")
    for state in ("h_n", "c_n"):  # this one is another, of the same source
        monkeypatch.setattr(
            task, "read", lambda e, name=state: read(replace(e, **{name: -getattr(e, name)}))
        )
        assert torch.allclose(task(some), before) != (init in (state, "h_n_c_n"))
    assert task.reads == ("nothing" if init == "zero" else READS[init])


def test_input_dropout_zeroes_the_same_features_at_every_step():
    task = translate(input_dropout=0.5).train()
    read: list[Tensor] = []
    task.decoder.backbone.lstm.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    task.training_step(batch(task, ROWS[:1]))
    steps = torch.cat(read, 1)[0, 1:] == 0  # (written, size)
    assert bool((steps == steps[0]).all())
    assert 0 < int(steps[0].sum()) < steps.size(1)


@pytest.mark.skipif(not runs_bf16(), reason="the LSTM does not run in bf16 here")
@ATTENTIONS
@FEEDINGS
@torch.no_grad()
def test_in_bf16_the_texts_that_are_computed_in_vain_change_no_probability(
    attention, input_feeding, monkeypatch
):
    task = translate(attention=attention, input_feeding=input_feeding, scale=2.0)
    kept = [0, 1, 2, 3], [0, 2, 3], [1, 2], [0, 1], [1]  # of the texts so far
    steps = []
    step = task.decoder.step
    monkeypatch.setattr(
        task.decoder, "step", lambda x, *rest: (steps.append(len(x)), step(x, *rest))[1]
    )

    def written(rounded):
        monkeypatch.setattr(decoders, "ROUNDED", rounded)
        with torch.autocast("cpu", torch.bfloat16):
            model = writing(task, batch(task))
            found = [model.step(torch.full((4, 1), BOS))]
            for number, texts in enumerate(kept):
                prefixes = torch.tensor([[0, 0] if number == 0 else [1, 0]]).expand(len(texts), 2)
                model.reorder(torch.tensor(texts), prefixes)
                ids = torch.arange(2 * len(texts)).view(-1, 2) + EOS + number
                found.append(model.step(ids))
        return found

    plain, rounded = written(1), written(3)
    assert steps == [4, 4, 3, 2, 2, 1, 4, 4, 3, 3, 3, 3]
    for mine, wanted in zip(rounded, plain, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-3, atol=1e-3)
