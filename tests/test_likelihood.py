"""Likelihood of a stream: every token scored once, by nothing but what stands before it."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tasks.generate import Generate
from zoo import likelihood
from zoo.backbone import Backbone
from zoo.likelihood import Evaluation
from zoo.rows import Row
from zoo.stream import Stream
from zoo.text import EOS, UNK, Characters

ROWS = ["a bad cab", "", "dad fed a bee?", "cafe\nbead", "aaaaaaaaaaaa", "ebb"]
TOKENIZER = Characters.train(["abcdefabcdefabc  \u00e9 xyzuvw"] * 3, 40)
softmaxes = pytest.mark.parametrize("softmax", ["full", "adaptive"])


def model(softmax="full", dtype=torch.float32, tied=True, **options):
    """Two layers with strong weights, and dropout that no measure may see."""
    torch.manual_seed(0)
    backbone = Backbone(
        len(TOKENIZER), embedding_size=6, hidden_size=8, num_layers=2, bidirectional=False,
        dropout=0.5, output_dropout=0.5, weight_dropout=0.5, word_dropout=0.5, **options,
    )  # fmt: skip
    cuts = [6, 11] if softmax == "adaptive" else None
    made = Generate(backbone, TOKENIZER, softmax=softmax, cutoffs=cuts, tied=tied, dropout=0.5)
    with torch.no_grad():
        for part in made.parameters():
            part.mul_(2)
        made.tokens.bias.normal_()
    return made.to(dtype).train()


def stream(folder, task, rows=ROWS):
    made = [Row({"text": text}, f"row {i}") for i, text in enumerate(rows)]
    return Stream.write(made, task.encode, folder)


def of_tokens(folder, tokens):
    """A stream of one row of these tokens."""
    return Stream.write([Row({}, "it")], lambda _: {"target": list(map(int, tokens))}, folder)


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


def learned(task, tokens, settings):
    """Nats of each token with a step of learning after each piece, by autograd of the logits."""
    task, tokens, found, state = copy.deepcopy(task).eval(), list(map(int, tokens)), [], None
    weights = list(task.parameters())
    squares, first = [], [weight.detach().clone() for weight in weights]
    for start in range(0, len(tokens), settings.dynamic_steps):
        target = tokens[start : start + settings.dynamic_steps]
        ids = [EOS, *tokens][start : start + len(target)]
        encoded = task.backbone(torch.tensor([ids]), None, state)
        scores = task.tokens(task.project(encoded.output[0]), task.backbone)
        losses = F.cross_entropy(scores, torch.tensor(target), reduction="none")
        state = encoded.h_n.detach(), encoded.c_n.detach()
        found += losses.tolist()
        grads = torch.autograd.grad(losses.mean(), weights)
        squares.append([grad**2 for grad in grads])
        for i, weight in enumerate(weights):
            usual = sum(each[i] for each in squares) / len(squares)
            step = settings.dynamic_rate * grads[i] / (usual.sqrt() + 1e-6)
            moved = weight.detach() - step
            weight.data = moved + settings.dynamic_decay * (first[i] - moved)
    return np.array(found)


@torch.no_grad()
def remembered(task, tokens, settings):
    """Nats of each token with a cache, place by place."""
    tokens = torch.tensor(list(map(int, tokens)))
    ids = torch.cat([torch.tensor([EOS]), tokens[:-1]])
    h = task.project(task.eval().backbone(ids[None]).output[0]).double().numpy()
    own, found, share = np.exp(-plain(task, tokens)), [], settings.cache_share
    for t, token in enumerate(tokens):
        places = range(max(0, t - settings.cache), t)
        likes = {i: math.exp(settings.cache_sharpness * h[i] @ h[t]) for i in places}
        hit = sum(like for i, like in likes.items() if tokens[i] == token)
        both = (1 - share) * own[t] + share * hit / sum(likes.values()) if places else own[t]
        found.append(-math.log(both))
    return np.array(found)


@softmaxes
@pytest.mark.parametrize("window", [1, 5, 16, 512])
def test_static_scores_every_token_from_all_before_it(monkeypatch, tmp_path, softmax, window):
    monkeypatch.setattr(likelihood, "WINDOW", window)
    task = model(softmax)
    it = stream(tmp_path / "it", task)
    assert len(it.tokens) == sum(len(text) + 1 for text in ROWS)
    found = likelihood.static(task, it)
    close(found, plain(task, it.tokens))
    assert found.dtype == np.float32
    assert np.abs(found[1:] - plain(task, it.tokens[1:])).max() > 0.01  # what is before counts


@pytest.mark.parametrize("window", [1, 4, 512])
@pytest.mark.parametrize("columns", [2, 3, 7, 1000])
def test_each_column_begins_anew(monkeypatch, tmp_path, window, columns):
    monkeypatch.setattr(likelihood, "WINDOW", window)
    task = model()
    tokens = (it := stream(tmp_path / "it", task)).tokens
    edges = np.linspace(0, len(tokens), min(columns, len(tokens) // 2) + 1).astype(int)
    wanted = [
        plain(task, tokens[start:end], tokens[start - 1] if start else EOS)
        for start, end in zip(edges[:-1], edges[1:], strict=True)
    ]
    close(likelihood.static(task, it, columns), np.concatenate(wanted))


def test_one_token_is_scored_whatever_the_columns(tmp_path):
    task = model()
    it = of_tokens(tmp_path / "it", [EOS])
    for columns in (1, 5):
        close(likelihood.static(task, it, columns), plain(task, [EOS]))


DYNAMIC = {"dynamic": True, "dynamic_steps": 7, "dynamic_rate": 0.01}


@softmaxes
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_dynamic_that_hardly_learns_is_static(tmp_path, softmax, steps):
    task = model(softmax)
    it = stream(tmp_path / "it", task)
    settings = Evaluation(dynamic=True, dynamic_steps=steps, dynamic_rate=1e-9)
    close(likelihood.dynamic(task, it, settings), plain(task, it.tokens), 1e-4)


@softmaxes
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_dynamic_learns_from_each_piece_once_it_was_scored(tmp_path, softmax, tied, decay):
    task = model(softmax, torch.float64, tied)
    it = stream(tmp_path / "it", task)
    settings = Evaluation(**DYNAMIC, dynamic_decay=decay)
    wanted = learned(task, it.tokens, settings)
    close(likelihood.dynamic(task, it, settings), wanted)
    assert np.abs(wanted - plain(task, it.tokens))[7:].mean() > 0.01
    close(wanted[:7], plain(task, it.tokens[:7]))


def test_dynamic_leaves_the_model_as_it_is(tmp_path):
    task = model()
    it = stream(tmp_path / "it", task)
    before, static = copy.deepcopy(task.state_dict()), likelihood.static(task, it)
    with torch.no_grad():
        first = likelihood.dynamic(task, it, Evaluation(**DYNAMIC))
    assert all(torch.equal(part, before[name]) for name, part in task.state_dict().items())
    assert all(part.grad is None for part in task.parameters())
    assert np.array_equal(likelihood.static(task, it), static)
    assert np.array_equal(likelihood.dynamic(task, it, Evaluation(**DYNAMIC)), first)


def test_dynamic_finds_a_text_that_repeats_itself_likely(tmp_path):
    task = model()
    it = stream(tmp_path / "it", task, ["fade a bed"] * 30)
    static, found = (
        likelihood.static(task, it),
        likelihood.dynamic(task, it, Evaluation(dynamic=True, dynamic_rate=0.02)),
    )
    assert found[-50:].mean() < static[-50:].mean() / 2


MEASURES = {
    "static": lambda task, it: likelihood.static(task, it),
    "dynamic": lambda task, it: likelihood.dynamic(task, it, Evaluation(**DYNAMIC)),
    "cached": lambda task, it: likelihood.cached(
        task, it, Evaluation(cache=20, cache_share=0.5, cache_sharpness=2.0)
    ),
}


@pytest.mark.parametrize("place", [1, 10, 14])
@pytest.mark.parametrize("name", MEASURES)
def test_no_token_is_scored_by_what_stands_behind_it(monkeypatch, tmp_path, name, place):
    monkeypatch.setattr(likelihood, "WINDOW", 6)
    task = model()
    tokens = np.array(stream(tmp_path / "it", task).tokens)
    other = np.concatenate([tokens[:place], 4 + (tokens[place:] - 3) % 9])
    found, changed = (
        MEASURES[name](task, of_tokens(tmp_path / str(i), each))
        for i, each in enumerate([tokens, other])
    )
    close(found[:place], changed[:place])
    assert np.abs(found[place:] - changed[place:]).min(initial=1) >= 0
    assert np.abs(found[place:] - changed[place:]).max() > 0.1


@pytest.mark.parametrize("window", [1, 4, 512])
@pytest.mark.parametrize(("size", "share", "sharpness"), [
    (1, 0.2, 0.5), (3, 0.2, 3.0), (10, 0.9, 0.5), (1000, 0.5, 1.0), (1000, 0.0, 1.0),
])  # fmt: skip
def test_a_cache_remembers_the_last_places(monkeypatch, tmp_path, window, size, share, sharpness):
    monkeypatch.setattr(likelihood, "WINDOW", window)
    task = model()
    it = stream(tmp_path / "it", task)
    settings = Evaluation(cache=size, cache_share=share, cache_sharpness=sharpness)
    close(likelihood.cached(task, it, settings), remembered(task, it.tokens, settings))


def test_the_first_token_has_no_cache(tmp_path):
    task = model()
    it = stream(tmp_path / "it", task)
    found = likelihood.cached(task, it, Evaluation(cache=5, cache_share=0.9))
    close(found[0], plain(task, it.tokens[:1])[0])


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cache", [0, 4])
def test_rows_hold_the_sums_of_the_measures_that_are_on(tmp_path, dynamic, cache):
    task, settings = model(), Evaluation(**DYNAMIC | {"dynamic": dynamic}, cache=cache)
    it = stream(tmp_path / "it", task)
    wanted = {"": likelihood.static(task, it, 2)}
    wanted |= {"_dynamic": likelihood.dynamic(task, it, settings)} if dynamic else {}
    wanted |= {"_cache": likelihood.cached(task, it, settings)} if cache else {}
    found = list(likelihood.rows(task, it, settings, 2))
    assert [row["tokens"] for row in found] == [len(text) + 1 for text in ROWS]
    assert [row["unknown"] for row in found] == [text.count("?") for text in ROWS]
    for row, end in zip(found, it.row_ends, strict=True):
        part = slice(end - row["tokens"], end)
        assert row["nats"] == pytest.approx({n: nats[part].sum() for n, nats in wanted.items()})


@softmaxes
def test_a_single_text_is_scored_as_a_stream_of_one_row(softmax):
    task = model(softmax)
    example = task.encode(Row({"text": "a bee?\n\ncafe"}, "it"))
    assert example["target"].count(UNK) == 1
    assert example["target"].count(EOS) == 3
    close(likelihood.single(task, example), plain(task, example["target"]))
