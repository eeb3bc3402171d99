"""A prepared step: its logits, packed and in half precision, and what it packs again."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from generate_cases import asked, language

from zoo import torch_private
from zoo.device import autocast
from zoo.generation.config import GenerationConfig
from zoo.generation.writing import prepared_step
from zoo.generation.writing.prepared_step import ModelStep, PreparedStep, layers_of

CPU = torch.device("cpu")


def logits_of(task, ids=(4, 7, 9), pack=0, steps=2):
    """Return the logits (steps, rows, vocabulary) after reading each id that many times."""
    with torch.no_grad():
        step = PreparedStep(task) if pack is not None else ModelStep(task)
        if pack:
            step.alone = pack == 1
            step.pack(task, pack)
        layers = [(torch.zeros(len(ids), 16), torch.zeros(len(ids), 16)) for _ in range(2)]
        found = []
        for _ in range(steps):
            vectors, layers = step.read(torch.tensor(ids), layers)
            found.append(step.logits(vectors))
        return torch.stack(found)[..., 3:]


@pytest.mark.parametrize("softmax", ["full", "adaptive"])
def test_packed_products_are_the_models(softmax):
    task = language(softmax=softmax).float()
    wanted = logits_of(task, pack=None)
    for pack in (0, 3):
        torch.testing.assert_close(logits_of(task, pack=pack), wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("pack", [0, 1, 2])
def test_half_precision_is_near(pack):
    task = language().float()
    ids = (4,) if pack < 2 else (4, 7)
    wanted = logits_of(task, ids, pack=None)
    with autocast(CPU, "bf16"):
        found = logits_of(task, ids, pack=pack)
    assert found.dtype == torch.float32
    assert 0 < float((found - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def test_a_matrix_is_packed_once_and_again_when_it_has_changed(monkeypatch):
    task, made = language().float(), []
    pack = PreparedStep._pack
    monkeypatch.setattr(PreparedStep, "_pack", lambda *given: made.append(1) or pack(*given))
    first = logits_of(task, pack=3)
    assert torch.equal(logits_of(task, pack=3), first)
    assert len(made) == 1
    weight = task.backbone.embedding.weight
    for change in (
        lambda: weight.data.mul_(0.5),
        lambda: weight.data.copy_(weight.data.flip(0)),
        lambda: task.tokens.bias.data.copy_(torch.randn(len(weight))),
    ):
        before = len(made)
        change()
        assert torch.equal(logits_of(task, pack=3), logits_of(copy.deepcopy(task), pack=3))
        assert len(made) == before + 2  # the model's and its copy's
    kinds = logits_of(task, (4,), pack=1)
    assert torch.equal(kinds, logits_of(task, (4,), pack=3))
    assert len(made) == before + 2


@pytest.mark.skipif(not torch_private.has_onednn_int8(), reason="no int8 products")
def test_a_long_text_that_is_streamed_in_bf16_is_written_with_an_int8_matrix(monkeypatch):
    task = language().float()
    used = []
    call = prepared_step.QuantizedWeight.__call__
    monkeypatch.setattr(
        prepared_step.QuantizedWeight,
        "__call__",
        lambda *given: used.append(1) or call(*given),
    )
    config = GenerationConfig(sample=True, seed=1, max_length=40)
    assert "".join(task.stream("the", config)) == task.predict("the", config)[0]
    assert not used
    with autocast(CPU, "bf16"):
        task.generate(asked(task), config)  # several
        one, beside = (
            task.generate(asked(task, texts), config)[0] for texts in (["the"], ["the", "a"])
        )
        assert one[0].ids == beside[0].ids
        "".join(task.stream("the", replace(config, max_length=20)))
        assert not used
        "".join(task.stream("the", config))
    assert used


def test_layers_are_those_of_the_state():
    h, c = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for (one, other), wanted_h, wanted_c in zip(layers_of((h, c)), h, c, strict=True):
        assert torch.equal(one, wanted_h)
        assert torch.equal(other, wanted_c)
