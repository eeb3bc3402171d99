"""Likelihood of a stream: every token scored once, by nothing but what stands before it."""

from __future__ import annotations

import copy
import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from backbone_cases import make_backbone
from torch import nn
from torch.nn import functional as F

from tasks.generate import Generate, GenerateConfig
from zoo.data.readers import Row
from zoo.data.stream import Stream
from zoo.evaluation import perplexity
from zoo.evaluation.config import EvaluationConfig
from zoo.text.special_ids import EOS, UNK
from zoo.text.tokenizers import Characters

ROWS = ["a bad cab", "", "dad fed a bee?", "cafe\nbead", "aaaaaaaaaaaa", "ebb"]
TOKENIZER = Characters.train(["abcdefabcdefabc  \u00e9 xyzuvw"] * 3, 40)
softmaxes = pytest.mark.parametrize("softmax", ["full", "adaptive"])


def model(softmax="full", dtype=torch.float32, tied=True, **options):
    """Two layers with strong weights, and dropout that no measure may see."""
    torch.manual_seed(0)
    backbone = make_backbone(
        len(TOKENIZER),
        embedding_size=6,
        hidden_size=8,
        num_layers=2,
        bidirectional=False,
        dropout=0.5,
        output_dropout=0.5,
        weight_dropout=0.5,
        word_dropout=0.5,
        **options,
    )
    cuts = [6, 11] if softmax == "adaptive" else None
    config = GenerateConfig(softmax=softmax, cutoffs=cuts, tied=tied, dropout=0.5)
    made = Generate(backbone, {"tokenizer": TOKENIZER}, config)
    for part in made.parameters():
        part.data *= 2
    nn.init.normal_(made.tokens.bias)
    return made.to(dtype).train()


def stream(folder, rows):
    made = [Row({"text": text}, f"row {i}") for i, text in enumerate(rows)]
    return Stream.write(made, model().encode, folder)


@pytest.fixture
def task():
    return model()


@pytest.fixture
def it(tmp_path):
    return stream(tmp_path / "it", ROWS)


def of_tokens(folder, tokens):
    return Stream.write([Row({}, "it")], lambda _: {"targets": list(map(int, tokens))}, folder)


def close(found, wanted, bound=1e-5):
    np.testing.assert_allclose(found, wanted, rtol=bound, atol=bound)


@torch.no_grad()
def plain(task, tokens, before=EOS):
    """Nats of each token by torch's own LSTM, one token after the other."""
    lstm = nn.LSTM(6, 8, 2).to(task.tokens.bias)
    lstm.load_state_dict(task.backbone.lstm.state_dict())
    found, state = [], None
    for token in map(int, tokens):
        output, state = lstm(task.backbone.embedding.weight[before][None], state)
        scores = task.tokens(task.project(output), task.backbone)
        found.append(F.cross_entropy(scores, torch.tensor([token])).item())
        before = token
    return np.array(found)


def segments(task, tokens, steps):
    """Yield losses and prediction vectors of each segment; weights may change between."""
    state = None
    for start in range(0, len(tokens) - 1, steps):
        target = torch.tensor(tokens[start + 1 : start + 1 + steps])
        ids = torch.tensor([tokens[start : start + len(target)]])
        encoded = task.backbone(ids, None, state)
        vectors = task.project(encoded.output[0])
        scores = task.tokens(vectors, task.backbone)
        state = encoded.h_n.detach(), encoded.c_n.detach()
        yield F.cross_entropy(scores, target, reduction="none"), vectors.detach()


def learned(task, tokens, settings):
    """Nats and vector of each token, with a step of learning by autograd after each piece."""
    task = copy.deepcopy(task).eval()
    weights = [*task.parameters()]
    squares = [
        [grad**2 for grad in torch.autograd.grad(losses.mean(), weights)]
        for text in perplexity.written(task).tolist()
        for losses, _ in segments(task, text, settings.dynamic_steps)
    ]
    usual = [torch.stack(each).mean(0).sqrt() for each in zip(*squares, strict=True)]
    mean = torch.cat([each.flatten() for each in usual]).mean()
    first, found, vectors = [weight.detach().clone() for weight in weights], [], []
    for losses, own in segments(task, [EOS, *map(int, tokens)], settings.dynamic_steps):
        found += losses.tolist()
        vectors.append(own)
        grads = torch.autograd.grad(losses.mean(), weights)
        for weight, grad, root, origin in zip(weights, grads, usual, first, strict=True):
            moved = weight.detach() - settings.dynamic_rate * grad / (root + perplexity.TINY)
            back = (settings.dynamic_decay * root / mean).clamp(max=1)
            weight.data = moved + back * (origin - moved)
    return np.array(found), torch.cat(vectors)


@torch.no_grad()
def remembered(task, tokens, settings):
    """Nats of each token with a cache, place by place."""
    tokens = torch.tensor(list(map(int, tokens)))
    ids = torch.cat([torch.tensor([EOS]), tokens[:-1]])
    h = task.project(task.eval().backbone(ids[None]).output[0])
    return mixed(plain(task, tokens), h, tokens, settings)


def mixed(nats, vectors, tokens, settings):
    """Nats of each token with a cache of these vectors, place by place."""
    h = vectors.double().numpy()
    own, found, share = np.exp(-nats), [], settings.cache_share
    for t, token in enumerate(tokens):
        places = range(max(0, t - settings.cache), t)
        likes = {i: math.exp(settings.cache_sharpness * h[i] @ h[t]) for i in places}
        hit = sum(like for i, like in likes.items() if tokens[i] == token)
        both = (1 - share) * own[t] + share * hit / sum(likes.values()) if places else own[t]
        found.append(-math.log(both))
    return np.array(found)


@softmaxes
@pytest.mark.parametrize("window", [1, 5, 16, 512])
def test_static_scores_every_token_from_all_before_it(it, softmax, window):
    task = model(softmax)
    assert len(it.tokens) == sum(len(text) + 1 for text in ROWS)
    found = perplexity.static(task, it, window=window)
    close(found, plain(task, it.tokens))
    assert np.abs(found[1:] - plain(task, it.tokens[1:])).max() > 0.01  # what is before counts


@pytest.mark.parametrize("window", [1, 4, 512])
@pytest.mark.parametrize(("columns", "rows"), [(2, ROWS), (7, ROWS), (999, ROWS), (5, [""])])
def test_each_column_begins_anew(tmp_path, task, window, columns, rows):
    tokens = (it := stream(tmp_path / "it", rows)).tokens
    edges = np.linspace(0, len(tokens), min(columns, max(1, len(tokens) // 2)) + 1).astype(int)
    parts = [(tokens[a:b], tokens[a - 1] if a else EOS) for a, b in pairwise(edges)]
    wanted = np.concatenate([plain(task, *part) for part in parts])
    close(perplexity.static(task, it, columns, window), wanted)


DYNAMIC = {"dynamic_steps": 7, "dynamic_rate": 0.01}


@softmaxes
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_dynamic_that_hardly_learns_is_static(it, softmax, steps):
    task = model(softmax)
    found = perplexity.dynamic(task, it, EvaluationConfig(dynamic_steps=steps, dynamic_rate=1e-9))
    close(found, plain(task, it.tokens), 1e-4)


@softmaxes
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_dynamic_learns_from_each_piece_once_it_was_scored(it, softmax, tied, decay):
    task = model(softmax, torch.float64, tied)
    settings = EvaluationConfig(**DYNAMIC, dynamic_decay=decay)
    wanted, _ = learned(task, it.tokens, settings)
    close(perplexity.dynamic(task, it, settings), wanted)
    assert np.abs(wanted - plain(task, it.tokens))[7:].mean() > 0.01


@softmaxes
def test_a_model_writes_texts_by_its_own_distribution(monkeypatch, softmax):
    monkeypatch.setattr(perplexity, "WRITTEN", (8000, 2))
    task = model(softmax, torch.float64).eval()
    found = perplexity.written(task)
    assert found.shape == (8000, 3)
    assert set(found[:, 0].tolist()) == {EOS}
    assert torch.equal(perplexity.written(task), found)
    for column, before in ((1, [EOS]), (2, [EOS, UNK])):
        rows = found[(found[:, :column] == torch.tensor(before)).all(1)]
        with torch.no_grad():
            scores = task.tokens(
                task.project(task.backbone(torch.tensor([before])).output[0, -1]), task.backbone
            )
        wanted = scores.softmax(-1)
        share = torch.bincount(rows[:, column], minlength=len(wanted)) / len(rows)
        assert len(rows) > 100
        assert float((share - wanted).abs().max()) < 2.5 / len(rows) ** 0.5


def test_dynamic_leaves_the_model_as_it_is(it, task):
    before, static = copy.deepcopy(task.state_dict()), perplexity.static(task, it)
    with torch.no_grad():
        first = perplexity.dynamic(task, it, EvaluationConfig(**DYNAMIC))
    assert all(torch.equal(part, before[name]) for name, part in task.state_dict().items())
    assert all(part.grad is None for part in task.parameters())
    assert np.array_equal(perplexity.static(task, it), static)
    assert np.array_equal(perplexity.dynamic(task, it, EvaluationConfig(**DYNAMIC)), first)


def test_dynamic_finds_a_text_that_repeats_itself_likely(tmp_path, task):
    it = stream(tmp_path / "it", ["fade a bed"] * 30)
    found = perplexity.dynamic(task, it, EvaluationConfig(dynamic_steps=5, dynamic_rate=0.02))
    assert found[-110:].mean() < perplexity.static(task, it)[-110:].mean() / 2


def test_dynamic_learns_with_a_learned_state(it):
    perplexity.dynamic(model(learned_state=True), it, EvaluationConfig(**DYNAMIC))


def test_dynamic_calls_the_kernel_so_that_cudnn_can_differentiate_it(monkeypatch, it, task):
    trains = []
    for where in (torch, torch._VF):  # what zoo/rnn/lstm_fused.py calls, and what nn.LSTM does

        def call(*given, lstm=where.lstm):
            if torch.is_grad_enabled():
                trains.append(given[6])
            return lstm(*given)

        monkeypatch.setattr(where, "lstm", call)
    perplexity.dynamic(task, it, EvaluationConfig(**DYNAMIC))
    assert [*{*trains}] == [True]


MEASURES = {
    "static": partial(perplexity.static, window=6),
    "dynamic": partial(perplexity.dynamic, evaluation=EvaluationConfig(**DYNAMIC)),
    "cached": partial(
        perplexity.cached, evaluation=EvaluationConfig(cache=20, cache_share=0.5, window=6)
    ),
}


@pytest.mark.parametrize("place", [1, 10, 14])
@pytest.mark.parametrize("name", MEASURES)
def test_no_token_is_scored_by_what_stands_behind_it(tmp_path, task, it, name, place):
    tokens = np.array(it.tokens)
    other = np.concatenate([tokens[:place], 4 + (tokens[place:] - 3) % 9])
    found = MEASURES[name](task, of_tokens(tmp_path / "found", tokens))
    changed = MEASURES[name](task, of_tokens(tmp_path / "changed", other))
    close(found[:place], changed[:place])
    assert np.abs(found[place:] - changed[place:]).max() > 0.1


@pytest.mark.parametrize("window", [1, 4, 512])
@pytest.mark.parametrize(("size", "share", "sharpness"), [
    (1, 0.2, 0.5), (3, 0.2, 3.0), (10, 0.9, 0.5), (1000, 0.5, 1.0), (1000, 0.0, 1.0),
])  # fmt: skip
def test_a_cache_remembers_the_last_places(it, task, window, size, share, sharpness):
    settings = EvaluationConfig(
        cache=size, cache_share=share, cache_sharpness=sharpness, window=window
    )
    close(found := perplexity.cached(task, it, settings), remembered(task, it.tokens, settings))
    close(found[0], plain(task, it.tokens[:1])[0])  # it has no cache


def test_what_a_model_finds_impossible_has_finite_nats_with_a_cache_too(it, task):
    task.tokens.bias.data[it.tokens[0]] -= 200
    found, static = (
        perplexity.cached(task, it, EvaluationConfig(cache=5)),
        perplexity.static(task, it),
    )
    close(found[0], static[0])


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cache", [0, 4])
def test_rows_hold_the_sums_of_the_measures_that_are_on(it, dynamic, cache):
    task, settings = model(), EvaluationConfig(dynamic=dynamic, **DYNAMIC, cache=cache)
    wanted = {"": perplexity.static(task, it, 2)}
    wanted |= {"_dynamic": perplexity.dynamic(task, it, settings)} if dynamic else {}
    wanted |= {"_cache": perplexity.cached(task, it, settings)} if cache else {}
    if dynamic and cache:
        wanted |= {
            "_dynamic_cache": mixed(*learned(task, it.tokens, settings), it.tokens, settings)
        }
    found = list(perplexity.rows(task, it, settings, 2))
    assert [row["tokens"] for row in found] == [len(text) + 1 for text in ROWS]
    assert [row["unknown"] for row in found] == [text.count("?") for text in ROWS]
    for row, end in zip(found, it.row_ends, strict=True):
        part = slice(end - row["tokens"], end)
        assert row["nats"] == pytest.approx(
            {n: nats[part].sum() for n, nats in wanted.items()}, rel=1e-5
        )


@softmaxes
def test_a_single_text_is_scored_as_a_stream_of_one_row(softmax):
    task = model(softmax)
    example = task.encode(Row({"text": "a bee?\n\ncafe"}, "it"))
    assert example["targets"].count(UNK) == 1
    assert example["targets"].count(EOS) == 3
    close(perplexity.single(task, example), plain(task, example["targets"]))
