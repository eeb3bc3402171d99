"""Attention: each kind against its formula, step by step; padding is never looked at."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo.nn.attention import Attention, Memory

KINDS = pytest.mark.parametrize("kind", ["dot", "general", "additive"])
LENGTHS = torch.tensor([5, 1, 3, 4])
BATCH, WRITTEN, READ = 4, 3, 6  # a step more than the longest row


def attention(kind, query_size=7, memory_size=4) -> Attention:
    torch.manual_seed(0)
    made = Attention(kind, memory_size if kind == "dot" else query_size, memory_size)
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_()
    return made


def inputs(kind, query_size=7, memory_size=4) -> tuple[Tensor, Tensor]:
    """Queries (batch, written, size) and an encoder's output (batch, read, size)."""
    torch.manual_seed(1)
    queries = torch.randn(BATCH, WRITTEN, memory_size if kind == "dot" else query_size)
    return queries, torch.randn(BATCH, READ, memory_size)


def score(made: Attention, q: Tensor, m: Tensor) -> float:
    """The formulas of the docstring, for one query and one step."""
    if made.kind == "dot":
        return float(q @ m)
    if made.kind == "general":
        return float(q @ (made.key.weight @ m))
    sums = made.query.weight @ q + made.key.weight @ m + made.key.bias
    return float(made.score.weight[0] @ sums.tanh())


def by_hand(made: Attention, queries: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Contexts and weights: a loop over batch, written and read steps."""
    contexts = torch.zeros(BATCH, WRITTEN, output.size(2))
    weights = torch.zeros(BATCH, WRITTEN, READ)
    for row, length in enumerate(LENGTHS.tolist()):
        for step in range(WRITTEN):
            powers = [math.exp(score(made, queries[row, step], m)) for m in output[row, :length]]
            for place, power in enumerate(powers):
                weights[row, step, place] = power / sum(powers)
                contexts[row, step] += output[row, place] * weights[row, step, place]
    return contexts, weights


@KINDS
@torch.no_grad()
def test_a_kind_computes_its_formula(kind):
    made = attention(kind)
    queries, output = inputs(kind)
    found = made(queries, made.encode_memory(output, LENGTHS))
    torch.testing.assert_close(found, by_hand(made, queries, output), atol=1e-5, rtol=1e-4)


def test_the_parameters_are_those_of_the_formulas():
    names = {
        kind: {name for name, _ in attention(kind).named_parameters()}
        for kind in ("dot", "general", "additive")
    }
    assert names == {
        "dot": set(),
        "general": {"key.weight"},
        "additive": {"key.weight", "key.bias", "query.weight", "score.weight"},
    }


@KINDS
@pytest.mark.parametrize("scale", [1.0, 1e6, -1e6])  # of the scores
@torch.no_grad()
def test_weights_add_up_to_one_and_padding_has_none(kind, scale):
    made = attention(kind)
    queries, output = inputs(kind)
    _, weights = made(scale * queries, made.encode_memory(output, LENGTHS))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, WRITTEN))
    for row, length in enumerate(LENGTHS.tolist()):
        assert bool((weights[row, :, length:] == 0).all())
        if scale == 1:
            assert bool((weights[row, :, :length] > 0).all())


@KINDS
@pytest.mark.parametrize("held", [0.0, 1e6, -1e6, 1e30])
@pytest.mark.parametrize("more", [0, 5])
@torch.no_grad()
def test_padding_is_not_looked_at_whatever_it_holds_and_however_much_there_is(kind, held, more):
    made = attention(kind)
    queries, output = inputs(kind)
    wider = torch.cat([output, torch.zeros(BATCH, more, 4)], 1)
    wider[torch.arange(READ + more) >= LENGTHS[:, None]] = held
    contexts, weights = made(queries, made.encode_memory(wider, LENGTHS))
    expected = made(queries, made.encode_memory(output, LENGTHS))
    bound = 1e-6 if more else 0
    torch.testing.assert_close((contexts, weights[..., :READ]), expected, atol=bound, rtol=bound)
    assert not weights[..., READ:].any()


@KINDS
def test_no_gradient_reaches_padding(kind):
    made = attention(kind)
    queries, output = inputs(kind)
    output.requires_grad_()
    contexts, _ = made(queries, made.encode_memory(output, LENGTHS))
    (contexts * torch.randn_like(contexts)).sum().backward()
    for row, length in enumerate(LENGTHS.tolist()):
        assert bool((output.grad[row, :length] != 0).all())
        assert bool((output.grad[row, length:] == 0).all())
    if kind != "dot":
        assert bool((made.key.weight.grad != 0).any())


@KINDS
def test_an_empty_row_has_finite_contexts_and_gradients(kind):
    made = attention(kind)
    queries, output = inputs(kind)
    lengths = torch.tensor([5, 0, 3, 0])
    output[1] = output[3] = 0  # as the LSTM leaves it
    output.requires_grad_()
    contexts, weights = made(queries, made.encode_memory(output, lengths))
    assert bool((contexts[[1, 3]] == 0).all())
    assert bool(weights.isfinite().all())
    contexts.square().sum().backward()
    for found in (output, *made.parameters()):
        assert found.grad is not None
        assert bool(found.grad.isfinite().all())


@KINDS
@torch.no_grad()
def test_a_memory_of_some_rows_is_what_those_rows_alone_leave(kind):
    made = attention(kind)
    queries, output = inputs(kind)
    memory = made.encode_memory(output, LENGTHS)
    for rows in ([2], [0, 3], [3, 1, 1, 0]):
        kept = torch.tensor(rows)
        some = memory.select(kept)
        assert isinstance(some, Memory)
        assert torch.equal(some.values, output[kept])
        expected = made.encode_memory(output[kept], LENGTHS[kept])
        assert torch.equal(some.padding, expected.padding)
        torch.testing.assert_close(some.keys, expected.keys)
        torch.testing.assert_close(made(queries[kept], some), made(queries[kept], expected))


def test_dot_needs_vectors_of_one_size():
    with pytest.raises(ValueError, match=r"hidden_size=7 is not the encoder's 4.*general"):
        Attention("dot", 7, 4)
    for kind in ("general", "additive"):
        Attention(kind, 7, 4)


@KINDS
@torch.no_grad()
def test_in_half_precision_the_weights_stay_float32(kind):
    made = attention(kind).bfloat16()
    queries, output = (x.bfloat16() for x in inputs(kind))
    contexts, weights = made(queries, made.encode_memory(output, LENGTHS))
    assert contexts.dtype == torch.bfloat16
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, WRITTEN))
