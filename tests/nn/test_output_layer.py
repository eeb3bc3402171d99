"""OutputLayer: which matrix embeds, which scores, what is saved, and where gradients go."""

from __future__ import annotations

import pytest
import torch
from backbone_cases import make_backbone
from torch import nn
from torch.nn import functional as F

from zoo.nn.output_layer import OutputLayer
from zoo.text.special_ids import PAD

INPUTS, VOCABULARY = 6, 17
layers = pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
ties = pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])


def model(own, tied, dtype=torch.float64):
    """A backbone and an output layer, with a bias that is not zero."""
    torch.manual_seed(0)
    parts = {
        "backbone": make_backbone(VOCABULARY, embedding_size=INPUTS, hidden_size=3),
        "tokens": OutputLayer(VOCABULARY, INPUTS, own, tied),
    }
    nn.init.normal_(parts["tokens"].bias)
    return nn.ModuleDict(parts).to(dtype)


def matrices(both):
    """What embeds the tokens, and what scores them."""
    embedding = both["tokens"].embedding or both["backbone"].embedding
    weight = both["tokens"].weight
    return embedding.weight, embedding.weight if weight is None else weight


@layers
@ties
def test_an_output_layer_has_the_parameters_of_its_kind_and_shares_the_rest(own, tied):
    both = model(own, tied)
    both["tokens"](both["tokens"].embed(torch.tensor([[4]]), both["backbone"]), both["backbone"])
    names = {"bias"} | ({"embedding.weight"} if own else set()) | (set() if tied else {"weight"})
    assert {name for name, _ in both["tokens"].named_parameters()} == names
    assert set(both["tokens"].state_dict()) == names
    places = [tensor.data_ptr() for tensor in both.state_dict().values()]
    assert len(places) == len(set(places))
    shapes = {name: tuple(part.shape) for name, part in both["tokens"].named_parameters()}
    assert {shapes.pop("bias"), *shapes.values()} <= {(VOCABULARY,), (VOCABULARY, INPUTS)}


def test_matrices_of_its_own_start_at_a_scale_that_gives_logits_of_the_size_of_the_vectors():
    torch.manual_seed(0)
    tokens = OutputLayer(500, 100, own=True, tied=False)
    for weight in (tokens.embedding.weight, tokens.weight):
        assert weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert not tokens.bias.any()


@layers
@ties
def test_an_output_layer_embeds_and_scores_with_the_right_matrix(own, tied):
    both, ids = model(own, tied), torch.arange(VOCABULARY).view(1, -1)
    embedding, scores = matrices(both)
    assert torch.equal(both["tokens"].embed(ids, both["backbone"]), embedding[None])
    vectors = torch.randn(2, 3, INPUTS, dtype=torch.float64)
    logits = both["tokens"](vectors, both["backbone"])
    assert torch.equal(logits, F.linear(vectors, scores, both["tokens"].bias))
    assert (scores is embedding) == tied
    assert (embedding is both["backbone"].embedding.weight) != own


@layers
@ties
def test_gradients_reach_the_embedding_both_as_what_is_read_and_as_what_scores(own, tied):
    both = model(own, tied)
    tokens, backbone = both["tokens"], both["backbone"]
    ids, target = torch.tensor([[4, 5, PAD]]), torch.tensor([6, 7, 8])
    vectors = torch.randn(3, INPUTS, dtype=torch.float64)
    losses = {
        "read": tokens.embed(ids, backbone).square().sum(),
        "score": F.cross_entropy(tokens(vectors, backbone), target),
    }
    embedding, scores = matrices(both)
    ways = {
        way: torch.autograd.grad(loss, embedding, allow_unused=True)[0]
        for way, loss in losses.items()
    }
    assert ways["read"].any(1).nonzero().flatten().tolist() == [4, 5]  # no padding
    assert (ways["score"] is not None) == tied
    found = tokens(tokens.embed(ids, backbone).squeeze(0), backbone)
    F.cross_entropy(found, target).backward()
    rows = embedding.grad.any(1)
    assert rows[[4, 5]].all()
    assert rows.all() == tied  # every token is scored
    assert scores.grad.any(1).all()
    assert tokens.bias.grad.any()
    unused = backbone.embedding.weight.grad
    assert (unused is None) == own


@layers
@ties
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_its_loss_is_the_cross_entropy_of_its_logits(own, tied, smoothing, dtype):
    """Vectors in bfloat16 are those of a model under autocast."""
    wide = torch.promote_types(dtype, torch.float32)
    both, target = model(own, tied, wide), torch.tensor([4, 1, 16, 4, 0])
    tokens, backbone, vectors = both["tokens"], both["backbone"], torch.randn(5, INPUTS).to(dtype)
    exact, results = vectors.to(wide, copy=True).requires_grad_(), []
    for loss in (
        tokens.loss(vectors.requires_grad_(), backbone, target, smoothing),
        F.cross_entropy(tokens(exact, backbone), target, label_smoothing=smoothing),
    ):
        both.zero_grad()
        loss.backward()
        grads = {name: part.grad for name, part in both.named_parameters() if part.grad is not None}
        results.append({"loss": loss.detach(), **grads})
    bound = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(*results, rtol=bound, atol=bound / 10)
    torch.testing.assert_close(vectors.grad, exact.grad.to(dtype))


@layers
@ties
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_its_losses_are_those_of_its_logits(own, tied, dtype):
    both, target = model(own, tied, dtype), torch.arange(VOCABULARY)
    vectors = torch.randn(VOCABULARY, INPUTS, dtype=dtype, requires_grad=True)
    found = both["tokens"].losses(vectors, both["backbone"], target)
    wanted = F.cross_entropy(both["tokens"](vectors, both["backbone"]), target, reduction="none")
    assert not found.requires_grad
    bound = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found, wanted.detach(), rtol=bound, atol=bound)


def test_its_loss_takes_logits_in_bfloat16_under_autocast_and_sums_in_float32():
    both = model(False, True, torch.float32)
    inputs = torch.randn(50, INPUTS), both["backbone"], torch.randint(VOCABULARY, (50,))
    exact = both["tokens"].loss(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = both["tokens"].loss(*inputs)
    assert found.dtype == torch.float32
    assert found != exact
    torch.testing.assert_close(found, exact, rtol=1 / 64, atol=0)  # as in test_cross_entropy
