"""A language model in both directions: each predicts what it has not read; one of them writes."""

from __future__ import annotations

import copy
import tempfile

import numpy as np
import pytest
import torch
from backbone_cases import make_backbone
from conftest import DATA, SMALL, lines, pipeline, run
from run_cases import report

import zoo
from tasks.generate import Generate, GenerateConfig
from zoo.data.batch import Batch
from zoo.data.readers import Row, read
from zoo.errors import InputError
from zoo.evaluation import perplexity
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.nn.directions import with_directions
from zoo.task import predict_dataset
from zoo.text.special_ids import EOS
from zoo.text.tokenizers import Words

ROWS = list(read(DATA / "generate.jsonl"))[:12]
WORDS = Words.train([row["text"] for row in ROWS], 60)
KINDS = [{}, {"hidden_size": 8}, {"softmax": "adaptive"}, {"tied": False, "layer_norm": True}]
SHAPE = {"hidden_size", "bidirectional", "layer_norm", "num_layers", "learned_state"}
TOY = ["data=files", f"data.train={DATA / 'generate.jsonl'}"]
SMALLEST = [
    *SMALL,
    "tokenizer.kind=words",
    "backbone.bidirectional=true",
    "train.patience=0",
    "task=generate",
    *TOY,
]


def generate(**options) -> Generate:
    """An untrained model in float64 with large random weights."""
    torch.manual_seed(0)
    shape = {"hidden_size": 6} | {name: options.pop(name) for name in SHAPE & {*options}}
    backbone = make_backbone(len(WORDS), embedding_size=8, **shape)
    task = Generate(backbone, {"tokenizer": WORDS}, GenerateConfig(**options)).double()
    with torch.no_grad():
        for weight in task.parameters():
            weight.normal_(std=0.6)
    return task.eval()


def of(task, rows) -> Batch:
    return task.collate([task.encode(row) for row in rows])


def step(task, token, state, suffix):
    """h and c after one more token, gate by gate; of one row."""
    lstm, (h, c) = task.backbone.lstm, state
    w_ih, w_hh, b_ih, b_hh = (
        lstm.get_parameter(name + suffix)
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    i, f, g, o = (w_ih @ task.backbone.embedding.weight[token] + b_ih + w_hh @ h + b_hh).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def nats(task, vector, token) -> float:
    return -float(task.tokens(vector, task.backbone).log_softmax(-1)[token])


def by_hand(task, ids, target, state=None):
    """Nats of every prediction of a row, forward and backward, token by token; the last state."""
    zero = torch.zeros(task.backbone.lstm.hidden_size, dtype=torch.float64)
    state = (zero, zero) if state is None else state
    right, left, behind = [], [], (zero, zero)
    for token, wanted in zip(ids, target, strict=True):
        state = step(task, token, state, "")
        right.append(nats(task, task.project(state[0]), wanted))
    for place in range(len(ids) - 1, 0, -1):
        behind = step(task, ids[place], behind, "_reverse")
        left.append(nats(task, task.backward(behind[0]), ids[place - 1]))
    return right + left, state


@pytest.mark.parametrize("kind", KINDS[:3])
@torch.no_grad()
def test_the_loss_is_the_mean_of_what_a_loop_over_tokens_finds(kind):
    task = generate(stream=False, **kind)
    rows = [*ROWS[:4], Row({"text": ""}, "empty"), Row({"text": "dog"}, "short")]
    examples = [task.encode(row) for row in rows]
    assert len({len(example["inputs"]) for example in examples}) > 3
    found = [nat for e in examples for nat in by_hand(task, e["inputs"], e["targets"])[0]]
    assert len(found) == sum(2 * len(example["inputs"]) - 1 for example in examples)
    assert task.training_step(of(task, rows)).loss.item() == pytest.approx(
        sum(found) / len(found), abs=1e-7
    )


@torch.no_grad()
def test_windows_of_a_stream_carry_the_forward_state_alone(tmp_path):
    task = generate()
    stream = task.dataset_class.write(ROWS, task.encode, tmp_path / "store")
    states, left = [None, None], None
    plan = [*stream.sampler(2 * 7, 2)]
    assert len(plan) > 4
    for epoch in range(2):
        for place, window in enumerate(plan):
            batch = task.collate(stream.examples(window))
            found, states = [], [None, None] if place == 0 else states
            for column, length in enumerate(batch.lengths.tolist()):
                if not length:
                    continue
                ids, target = (
                    part[column, :length].tolist() for part in (batch.inputs, batch.targets)
                )
                nat, states[column] = by_hand(task, ids, target, states[column])
                found += nat
            loss, count, left = task.training_step(batch, left)
            assert count == len(found)
            assert loss.item() == pytest.approx(sum(found) / len(found), abs=1e-9), (epoch, place)
            assert [part.shape for part in left] == [(1, 2, 6)] * 2


def test_no_gradient_goes_into_the_window_before(tmp_path):
    task = generate()
    stream = task.dataset_class.write(ROWS, task.encode, tmp_path / "store")
    one, two, *_ = map(task.collate, map(stream.examples, stream.sampler(2 * 7, 2)))
    first = task.training_step(one)
    first.loss.backward()
    assert not any(part.requires_grad for part in first.state)
    task.training_step(two, first.state).loss.backward()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_neither_direction_has_read_what_it_predicts(kind):
    task = generate(stream=False, **kind)
    ids = task.encode(ROWS[0])["inputs"]
    count = len(ids)
    assert count > 5

    def vectors(ids):
        target = [*ids[1:], EOS]
        found, wanted, _, _ = task.training_vectors(
            task.collate([{"inputs": ids, "targets": target}]), None
        )
        assert wanted.tolist() == [*target, *ids[:-1]]
        return found[:count], found[count:]  # to the right, and to the left from step 1 on

    right, left = vectors(ids)
    for place in range(count):
        changed = [*ids]
        changed[place] = ids[place] % (len(WORDS) - 5) + 5
        assert changed[place] != ids[place]
        other_right, other_left = vectors(changed)
        same_right = (right == other_right).all(1).tolist()
        same_left = (left == other_left).all(1).tolist()
        assert same_right == [step < place for step in range(count)]
        assert same_left == [step > place for step in range(1, count)]


@torch.no_grad()
def test_padding_is_not_predicted_and_changes_nothing():
    task = generate(stream=False)
    counts = [len(task.encode(row)["inputs"]) for row in ROWS[:3]]
    each = [task.training_vectors(of(task, [row]), None) for row in ROWS[:3]]
    assert [found[0].shape for found in each] == [(2 * n - 1, 8) for n in counts]
    together = task.training_vectors(of(task, ROWS[:3]), None)
    for part in (0, 1):
        wanted = [found[part][:n] for found, n in zip(each, counts, strict=True)]
        wanted += [found[part][n:] for found, n in zip(each, counts, strict=True)]
        torch.testing.assert_close(together[part], torch.cat(wanted))


def alone(task) -> Generate:
    """The model of the forward direction, with the weights of one in both."""
    made = Generate(with_directions(task.backbone, False), task.processors, task.config).double()
    kept = {
        name: weight
        for name, weight in task.state_dict().items()
        if "_reverse" not in name and not name.startswith("backward.")
    }
    made.load_state_dict(kept)
    return made.eval()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_writing_and_perplexity_are_the_forward_directions(tmp_path, kind):
    task = generate(**kind)
    one = alone(copy.deepcopy(task))
    stream = task.dataset_class.write(ROWS, task.encode, tmp_path / "store")
    searches = [
        GenerationConfig(beam_size=2, max_length=5),
        GenerationConfig(sample=True, seed=3, max_length=8),
    ]
    prompts = ["a dog", "", "my sister reads\na"]

    def found(model):
        return [*predict_dataset(model, stream, EvaluationConfig(cache=9))], [
            model.predict(prompts, search) for search in searches
        ]

    nats, texts = found(task)
    assert [dict(a["nats"]) for _, a in nats] == [
        pytest.approx(dict(a["nats"]), rel=1e-9) for _, a in found(one)[0]
    ]
    assert texts == found(one)[1]
    torch.testing.assert_close(task(of(task, ROWS)), one(of(one, ROWS)))
    assert [*task.stream("a", searches[1])] == [*one.stream("a", searches[1])]
    loss = task.training_step(of(task, ROWS)).loss
    for name, weight in task.named_parameters():
        if "_reverse" in name or name.startswith("backward."):
            weight.normal_()
    assert found(task) == (nats, texts)
    assert not torch.allclose(task.training_step(of(task, ROWS)).loss, loss)


def test_dynamic_evaluation_learns_in_a_copy_of_its_own(tmp_path):
    task = generate()
    stream = task.dataset_class.write(ROWS, task.encode, tmp_path / "store")
    before = copy.deepcopy(task.state_dict())
    settings = EvaluationConfig(dynamic=True, dynamic_steps=5, dynamic_rate=1e-2)
    one, both = (perplexity.dynamic(model, stream, settings) for model in (alone(task), task))
    np.testing.assert_allclose(both, one, rtol=1e-4)
    assert not np.allclose(both, perplexity.static(task, stream), rtol=1e-2)
    assert all(torch.equal(before[name], weight) for name, weight in task.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_both_directions_gets_a_gradient(kind):
    task = generate(**kind).train()
    task.training_step(of(task, ROWS)).loss.backward()
    for name, weight in task.named_parameters():
        assert weight.grad is not None, name
        assert bool(weight.grad.any()), name
    assert ("backward.weight" in task.state_dict()) is ("hidden_size" not in kind)


def test_the_directions_learn_from_one_embedding_and_are_the_same_size():
    task = generate()
    assert [*task.state_dict()] == [*dict(task.named_parameters())]
    onward = task.onward[0]
    assert onward.embedding is task.backbone.embedding
    for name, weight in onward.lstm.named_parameters():
        assert weight is task.backbone.lstm.get_parameter(name)
    assert not any(name.startswith("onward") for name in task.state_dict())


@torch.no_grad()
def test_a_deep_copy_writes_with_its_own_weights():
    task = generate()
    other = copy.deepcopy(task)
    batch = of(task, ROWS)
    before = task.next_token_vectors(batch, None)[0]
    assert torch.equal(other.next_token_vectors(batch, None)[0], before)
    for name, weight in other.onward[0].named_parameters():
        assert weight is other.backbone.get_parameter(name)
        assert weight is not task.backbone.get_parameter(name)
    other.backbone.lstm.weight_hh_l0.mul_(-1)
    other.backbone.embedding.weight.mul_(2)
    assert torch.equal(task.next_token_vectors(batch, None)[0], before)
    encoded = other.backbone(batch.inputs, batch.lengths)
    expected = other.project(other.read(encoded))
    assert not torch.allclose(expected, before)
    torch.testing.assert_close(other.next_token_vectors(batch, None)[0], expected)
    other.load_state_dict(task.state_dict())
    assert torch.equal(other.next_token_vectors(batch, None)[0], before)


def test_dropout_acts_on_writing_only_while_it_learns():
    task = generate(stream=False, dropout=0.5)
    batch = of(task, ROWS)
    for training in (True, False):
        task.train(training)
        one, two = (task.next_token_vectors(batch, None)[0] for _ in range(2))
        assert task.onward[0].training is training
        assert torch.equal(one, two) is not training
        one, two = (task.training_vectors(batch, None)[0] for _ in range(2))
        half = len(one) // 2
        assert torch.equal(one[:half], two[:half]) is not training
        assert torch.equal(one[half:], two[half:]) is not training


def test_a_learned_first_state_and_two_layers_are_refused():
    with pytest.raises(ValueError, match="learned first state"):
        generate(learned_state=True)
    with pytest.raises(ValueError, match="num_layers=1: above that every step has seen"):
        generate(num_layers=2)


def weigh(made) -> float:
    """Return the loss of a step times the number of its targets."""
    return float(made.loss) * made.count


@torch.no_grad()
def test_parts_of_a_batch_have_its_loss_by_their_sizes():
    task = generate(stream=False)
    rows = [*ROWS[:5], Row({"text": ""}, "empty")]
    whole, parts = of(task, rows), [of(task, rows[place::2]) for place in (0, 1)]
    total = sum(weigh(task.training_step(part)) for part in parts)
    assert weigh(task.training_step(whole)) == pytest.approx(total, rel=1e-9)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a finished training, and what `zoo.train` returned."""
    out = tmp_path_factory.mktemp("both") / "run"
    return out, *zoo.train(*SMALLEST, "train.epochs=4", f"out={out}")


@pytest.fixture(scope="module")
def folder(kept):
    return kept[0]


def test_a_training_learns_in_both_directions_and_measures_one(folder, tmp_path):
    history = lines(folder / "metrics.jsonl")
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["valid"]["perplexity"] < history[0]["valid"]["perplexity"]
    words = ["device=cpu", "precision=fp32", *TOY, f"out={tmp_path}"]
    assert run.main(["mode=evaluate", f"model={folder}", *words]) == 0
    assert report(folder)["test"] == report(tmp_path)["test"]


@torch.no_grad()
def test_a_saved_one_is_the_same_and_reads_both_ways(folder, tmp_path):
    task = zoo.load(folder)
    assert task.backbone.lstm.bidirectional
    task.save(tmp_path / "again")
    other, batch = zoo.load(tmp_path / "again"), of(task, ROWS)
    assert torch.equal(other.training_step(batch).loss, task.training_step(batch).loss)
    assert torch.equal(
        other.next_token_vectors(batch, None)[0], task.next_token_vectors(batch, None)[0]
    )
    search = GenerationConfig(max_length=5)
    assert other.predict(["a dog"], search) == task.predict(["a dog"], search)


def test_trained_gives_a_model_and_a_report_and_leaves_nothing_behind(tmp_path, monkeypatch):
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    begun, real = {}, pipeline.fit

    def fitted(task, *others):
        begun.update({name: weight.detach().clone() for name, weight in task.named_parameters()})
        return real(task, *others)

    monkeypatch.setattr(pipeline, "fit", fitted)
    model, found = zoo.train(*SMALLEST, "train.epochs=1", "train.ema_decay=0")
    assert not [*(tmp_path / "here").iterdir(), *(tmp_path / "temporary").iterdir()]
    assert (found["task"], found["epochs"]) == ("generate", 1)
    assert found["command"].startswith("python -m zoo.run device=cpu")
    assert found["test"] == model.metadata["test"]
    for name, weight in model.named_parameters():
        assert (weight - begun[name]).abs().max() > 1e-3, name


def test_trained_keeps_what_it_is_told_to(kept):
    folder, model, found = kept
    assert report(folder)["test"] == found["test"]
    loaded = zoo.load(folder)
    assert all(torch.equal(w, loaded.get_parameter(name)) for name, w in model.named_parameters())


def test_trained_refuses_what_the_command_line_refuses(tmp_path):
    for given, said in (
        ("train.epochs=0", "train.epochs=0"),
        ("task=nothing", "no such task"),
        ("data.train=nowhere.jsonl", "nowhere.jsonl"),
    ):
        with pytest.raises(InputError, match=said):
            zoo.train(*SMALLEST, given, f"out={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given", [["directions=forward"], ["text=a"], ["init=DIR", "backbone.hidden_size=24"]]
)
def test_trained_refuses_settings_that_are_wrong_together(monkeypatch, given):
    def train(*_):
        raise AssertionError("it is trained")

    monkeypatch.setattr(pipeline, "run", train)
    with pytest.raises(InputError):
        zoo.train(*SMALLEST, *given)
