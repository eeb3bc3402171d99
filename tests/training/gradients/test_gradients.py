"""Gradients of embeddings by rows, and clipping: torch's own bits."""

from __future__ import annotations

import pytest
import torch
from backbone_cases import make_backbone
from torch import nn
from torch.nn.utils import clip_grad_norm_

from zoo.nn.output_layer import OutputLayer
from zoo.training.gradients import clipping
from zoo.training.gradients.clipping import clip_gradients
from zoo.training.gradients.embeddings import EmbeddingGradients

WORDS, SIZE = 40, 6


class Model(nn.Module):
    """An embedding, and an output layer that shares it or has a matrix of its own."""

    def __init__(self, tied):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = make_backbone(WORDS, embedding_size=SIZE, hidden_size=3)
        self.tokens = OutputLayer(WORDS, SIZE, tied=tied)

    def forward(self, ids):
        vectors = self.backbone.embed(ids)
        mixed = vectors.sin().cumsum(1).flatten(0, 1)
        return self.tokens.loss(mixed, self.backbone, ids.flatten())


@pytest.fixture(params=[False, True], ids=["own matrix", "tied"])
def model(request):
    return Model(request.param)


def gradients(model, ids, steps=None):
    """The gradients of the model, from rows if the number of steps is given."""
    model.zero_grad()
    kept = model.__dict__.setdefault("kept", EmbeddingGradients())
    if steps is None:
        model(ids).backward()
    else:
        with kept.sparse(model, steps):
            model(ids).backward()
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def test_rows_give_the_bits_of_a_whole_matrix_step_after_step(model):
    torch.manual_seed(1)
    for _ in range(3):  # each step needs other rows, each some eight times; 0 is padding
        ids = torch.randint(0, 30, (3, 80))
        wanted, found = gradients(model, ids), gradients(model, ids, steps=8)
        assert wanted.keys() == found.keys()
        for name, grad in found.items():
            assert torch.equal(grad, wanted[name]), name
            assert grad.layout == torch.strided


def test_the_memory_is_kept_and_no_trace_is_left_on_the_model():
    model = Model(tied=False)
    ids = torch.tensor([[3, 5, 3]])
    seen = []
    for _ in range(2):
        gradients(model, ids, steps=3)
        seen.append(model.backbone.embedding.weight.grad.data_ptr())
    assert seen[0] == seen[1]
    assert not model.backbone.embedding.sparse
    model.zero_grad()
    model(ids).backward()
    assert model.backbone.embedding.weight.grad.data_ptr() != seen[0]


@pytest.mark.parametrize(("steps", "frozen"), [(WORDS, False), (3, True)])
def test_many_tokens_or_a_frozen_embedding_take_torchs_way(steps, frozen):
    model = Model(tied=False)
    model.backbone.embedding.weight.requires_grad_(not frozen)
    found = gradients(model, torch.tensor([[3, 5, 3]]), steps)
    assert ("backbone.embedding.weight" in found) is not frozen
    assert not model.kept.kept


def test_an_error_in_a_step_leaves_the_embedding_as_it_was():
    model = Model(tied=False)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        gradients(model, torch.tensor([[WORDS]]), steps=1)
    assert not model.backbone.embedding.sparse


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0 - 1e-6, 1.0, 1.0 + 1e-6, 3.0, torch.inf, torch.nan])
def test_clipping_has_torchs_bits(norm):
    torch.manual_seed(2)
    parts = [torch.randn(3, 5), torch.randn(7), None]
    size = torch.cat([part.flatten() for part in parts if part is not None]).norm()
    results = []
    for clip in (clip_grad_norm_, clip_gradients):
        weights = [nn.Parameter(torch.zeros(1 if part is None else part.shape)) for part in parts]
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = None if part is None else part * (norm / size)
        found = clip(weights, 1.0)
        results.append([found, *(weight.grad for weight in weights if weight.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_the_norm_of_a_large_gradient_is_torchs(monkeypatch):
    monkeypatch.setattr(clipping, "LARGE", 1000)
    torch.manual_seed(3)
    grads = torch.randn(50, 40), torch.randn(40, 50).t(), torch.randn(7)
    results = []
    for clip in (clip_grad_norm_, clip_gradients):
        weights = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = grad.clone()
        results.append([clip(weights, 1.0), *(weight.grad for weight in weights)])
    torch.testing.assert_close(*results, rtol=1e-6, atol=0)
