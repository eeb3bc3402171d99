"""Occlusion and integrated gradients: what both measure, on models where it is known."""

from __future__ import annotations

import pytest
import torch
from every_task import untrained

from zoo.data.batch import collate
from zoo.evaluation import attribution
from zoo.evaluation.attribution import Question, agreement, attribute, hidden, windows_of
from zoo.text.special_ids import UNK


class Sum:
    """A model whose score is a weighted sum of its inputs."""

    device = torch.device("cpu")

    def collate(self, examples, augment=False):
        return collate(examples)

    def _float_parts(self, batch):
        return {"inputs": batch.inputs}


class SumQuestion(Question):
    parts = ("first", "second")

    def __init__(self, values):
        self.tokens = [*map(str, range(len(values)))]
        self.example = {"inputs": values}

    def hide(self, tokens):
        return {"inputs": hidden(self.example["inputs"], tokens)}

    def run(self, batch):
        weights = torch.arange(batch.inputs.size(1))
        return torch.stack([(batch.inputs[..., 0] * weights).sum(1), batch.inputs.sum((1, 2))], 1)

    def score(self, found, parts):
        return found.gather(1, parts)


def of_sum(count, most_steps=1 << 18):
    values = torch.linspace(-1, 2, count).unsqueeze(1).numpy()
    return values, attribute(Sum(), SumQuestion(values), most_steps)


def test_both_methods_find_what_a_linear_model_adds_up():
    values, found = of_sum(6)
    added = values[:, 0] - values.mean()
    for parts in (found.part_occlusion, found.part_gradient):
        assert parts[0] == pytest.approx(added * range(6), abs=1e-5)
        assert parts[1] == pytest.approx(added, abs=1e-5)
    assert found.occlusion == pytest.approx(found.part_occlusion.mean(0), abs=1e-5)
    assert found.gradient == pytest.approx(found.part_gradient.mean(0), abs=1e-5)


class SquareQuestion(SumQuestion):
    """The square of the sum, without tokens 0. At the input alone its gradient is twice as large."""

    def hide(self, tokens):
        values = self.example["inputs"].copy()
        values[[*tokens]] = 0
        return {"inputs": values}

    def run(self, batch):
        total = batch.inputs.sum((1, 2))
        return torch.stack([total**2, total], 1)


def test_gradients_add_up_to_what_all_tokens_add():
    found = attribute(Sum(), SquareQuestion(torch.tensor([[1.0], [2.0], [6.0]]).numpy()))
    assert found.part_gradient.tolist() == [pytest.approx([9, 18, 54]), pytest.approx([1, 2, 6])]


def test_long_inputs_are_hidden_in_windows(monkeypatch):
    _, alone = of_sum(60)
    monkeypatch.setattr(attribution, "STEPS_AT_ONCE", 60 * 7)
    _, found = of_sum(60, 60 * 20)
    assert (alone.window, found.window) == (1, 3)
    assert found.part_gradient.shape == (2, 60)
    assert found.part_gradient.sum(1) == pytest.approx(
        alone.part_gradient.sum(1), rel=1e-3, abs=1e-4
    )
    assert found.gradient[:3].tolist() == [found.gradient[0]] * 3


def test_windows_hold_each_token_once():
    for tokens, steps in ((1, 1), (400, 400), (1000, 1000), (20_000, 20_000)):
        windows = windows_of(tokens, steps)
        assert [number for window in windows for number in window] == [*range(tokens)]
        assert len(windows) * steps <= attribution.MOST_STEPS
    assert windows_of(0, 1) == []


def test_a_long_answer_has_parts_up_to_a_limit(monkeypatch):
    _, whole = of_sum(6)
    monkeypatch.setattr(attribution, "MOST_PARTS", 1)
    _, found = of_sum(6)
    assert found.part_occlusion.shape == (1, 6)
    assert found.occlusion == pytest.approx(whole.occlusion)
    assert found.gradient == pytest.approx(whole.gradient)


def test_hidden_ids_are_unknown_and_hidden_floats_the_mean():
    assert hidden([7, 8, 9], [1]) == [7, UNK, 9]
    values = torch.tensor([[0.0], [3.0], [6.0]]).numpy()
    assert hidden(values, [0, 2]).tolist() == [[3], [3], [3]]
    assert values[0] == 0


def test_agreement_needs_three_tokens_that_differ():
    assert agreement([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert agreement([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert agreement([1, 2], [1, 2]) is None
    assert agreement([1, 1, 1], [1, 2, 3]) is None


def test_an_occlusion_is_the_fall_of_the_log_probability():
    task = untrained("classify")
    text = "The sea and the mountain"
    found = task.explain(text)
    ids = task.tokenizer.encode(text)
    label = task.labels.index(found["target"])
    with torch.no_grad():
        own = task(collate([{"inputs": ids}])).log_softmax(-1)[0, label]
        for place in range(len(ids)):
            other = [*ids[:place], UNK, *ids[place + 1 :]]
            fall = own - task(collate([{"inputs": other}])).log_softmax(-1)[0, label]
            assert found["occlusion"][place] == pytest.approx(float(fall), abs=1e-5)


def test_the_n_grams_of_a_token_are_hidden_with_it():
    """A bag is linear: without an LSTM beside it, both methods say nearly the same of small parts."""
    task = untrained("classify", "task.ngrams=words", "task.ngram_share=0.99")
    text = "The sea and the mountain, the sea"
    task.bag.weight.normal_(generator=torch.Generator().manual_seed(0))
    found = task.explain(text)
    assert any(found["gradient"])
    assert found["agreement"] > 0.8
    label = task.labels.index(found["target"])
    masked = "The \ufffd\ufffd\ufffd and the mountain, the sea"
    examples = [task.encode({"text": each}) for each in (text, masked)]
    with torch.no_grad():
        own, other = task(task.collate(examples[:1])), task(task.collate(examples[1:]))
    fall = own.log_softmax(-1) - other.log_softmax(-1)
    assert found["occlusion"][1] == pytest.approx(float(fall[0, label]), abs=1e-5)
