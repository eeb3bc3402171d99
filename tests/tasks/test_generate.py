"""Text generation: a whole small training, its figures and texts again, and what is refused."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from backbone_cases import make_backbone
from conftest import DATA, SMALL, fails, lines, settings, train
from generate_cases import PROMPTS, TEXTS, continuation, language, streams
from run_cases import in_files, predict, report

import zoo
from zoo import run
from zoo.data.corpora import open_corpus
from zoo.data.readers import Row
from zoo.evaluation.metrics import perplexity
from zoo.generation.config import GenerationConfig
from zoo.nn.directions import DROPOUTS
from zoo.rnn import dropout
from zoo.text.special_ids import EOS
from zoo.training import build
from zoo.training.options import options_of

TOY = DATA / "generate.jsonl"
MEASURES = ("evaluate.dynamic=true", "evaluate.cache=20")
SHORT = ("generation.max_length=12", "generation.seed=5")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The settings of toy rows in three files."""
    rows = lines(TOY)
    return in_files(tmp_path_factory.mktemp("rows"), rows[:56], rows[56:68], rows[68:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, parts):
    """The folder of a finished training, with all that can be measured."""
    out = tmp_path_factory.mktemp("generate") / "run"
    words = ["tokenizer.kind=words", "train.ema_decay=0", *MEASURES, *SHORT]
    train(out, *parts, *words, "train.epochs=4", task="generate")
    return out


@pytest.fixture
def predicted(folder, monkeypatch, capsysbinary):
    """A function of lines and settings: the lines that mode=predict prints."""

    def run(given, *words):
        found = predict(monkeypatch, capsysbinary, folder, *SHORT, *words, given=given)
        return found.splitlines()

    return run


def test_a_training_measures_and_draws_what_it_says(folder):
    found = report(folder)
    measures = ["", "_dynamic", "_dynamic_cache", "_cache"]
    figures = [*(f"perplexity{measure}" for measure in measures), "bits_per_character"]
    assert [*found["test"]] == [*figures, "loss", "unknown"]
    rows = [row["text"] for row in lines(TOY)[68:]]
    words = sum(len(text.split()) + 1 for text in rows)
    nats = words * math.log(found["test"]["perplexity"])
    bits = nats / math.log(2) / sum(len(text) + 1 for text in rows)
    assert found["test"]["bits_per_character"] == pytest.approx(bits)
    assert len({found["test"][name] for name in figures}) == 5
    assert all(1 < found["test"][name] < 500 for name in figures[:4])
    assert found["reads"] == "output"
    assert found["rows"] == {"train": 56, "valid": 12, "test": 12}
    assert len({each["sample"] for each in found["examples"]}) == 3
    for name in ("surprise.png", "learning_curve.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_an_evaluation_gives_the_figures_of_the_report(folder, parts, tmp_path, capsys):
    words = ["mode=evaluate", f"model={folder}", "device=cpu", "precision=fp32", "data=files"]
    assert run.main([*words, *parts, *MEASURES, f"out={tmp_path}"]) == 0
    assert report(tmp_path)["test"] == pytest.approx(report(folder)["test"], rel=1e-6)
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, value in report(tmp_path)["test"].items():
        assert f"{name} {value:.4f}" in printed
    assert run.main([*words, *parts]) == 0
    rows = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line[:1] == "│"]
    assert rows == ["perplexity", "bits_per_character", "loss", "unknown"]


def test_each_line_of_standard_input_goes_on_in_its_order(predicted):
    asked = ["the cat", "", "my sister", "a dog finds", "the cat", "the"]
    found = predicted("\n".join(asked) + "\n")
    assert len(found) == len(asked)
    assert [line == "" for line in found] == [line == "" for line in asked]
    for line, prompt in zip(found, asked, strict=True):
        assert line.startswith(prompt)
        assert prompt == "" or len(line) > len(prompt)
    assert found[0] == found[4]
    again = predicted("\n".join(asked[::-1]))
    assert again == found[::-1]
    other = predicted("the cat", "generation.seed=6")
    assert other != found[:1]


def test_answers_as_json_are_the_same_texts(predicted):
    plain = predicted("the cat\n\nmy\n", "generation.n_best=2")
    asked = ("generation.n_best=2", "format=json")
    found = predicted("the cat\n\nmy\n", *asked)
    first, empty, last = map(json.loads, found)
    assert empty is None
    for answer, line in ((first, plain[0]), (last, plain[2])):
        assert {*answer} == {"text", "n_best"}
        assert " ".join(answer["text"].splitlines()) == line
        assert [{*each} for each in answer["n_best"]] == [{"text", "score"}] * 2
        assert answer["n_best"][0]["text"] == answer["text"]
        assert answer["n_best"][0]["score"] >= answer["n_best"][1]["score"]


def test_one_text_is_printed_as_it_is_written(folder, capsys):
    words = ["mode=predict", f"model={folder}", "device=cpu", *SHORT]
    assert run.main([*words, "text=the cat"]) == 0
    printed = capsys.readouterr().out
    search = GenerationConfig(sample=True, temperature=0.8, top_k=40, max_length=12, seed=5)
    assert printed == "".join(zoo.load(folder).stream("the cat", search)) + "\n"
    assert printed == zoo.load(folder).predict("the cat", search)[0] + "\n"


@streams
@pytest.mark.parametrize("softmax", ["full", "adaptive"])
def test_a_loaded_model_writes_what_the_saved_one_did(tmp_path, stream, softmax):
    task = language(stream=stream, softmax=softmax).float()
    task.save(tmp_path)
    loaded = zoo.load(tmp_path)
    search = GenerationConfig(sample=True, seed=4, n_best=2, max_length=15)
    assert loaded.predict(PROMPTS, search) == task.predict(PROMPTS, search)
    assert continuation(loaded, "the", search) == continuation(task, "the", search)
    assert loaded.config == task.config


def test_rows_that_are_no_stream_are_texts_of_their_own(parts, tmp_path):
    out = tmp_path / "run"
    words = ["task.stream=false", "tokenizer.kind=words", "task.cutoffs=[8,16]"]
    found = train(out, *parts, *words, "task.softmax=adaptive", *SHORT, task="generate")
    task = zoo.load(out)
    assert (task.config.stream, task.config.cutoffs) == (False, (8, 16))
    rows = [Row(row, "here") for row in lines(TOY)[68:]]
    with torch.no_grad():
        answers = [task.predict_batch(task.collate([task.encode(row)]))[0] for row in rows]
    again = perplexity(answers, [row["text"] for row in rows], by_line=False)
    assert found["test"] == pytest.approx(again, rel=1e-4)
    assert all("\n" not in each["sample"] for each in found["examples"])


def test_a_classifier_begins_with_its_backbone(folder):
    chosen = settings(None, f"init={folder}")
    task, begun = (
        build.build(options_of(chosen), chosen, open_corpus(chosen.data)),
        zoo.load(folder),
    )
    assert task.name == "classify"
    assert task.tokenizer.tokens == begun.tokenizer.tokens
    own = {
        name: getattr(options_of(chosen).backbone, name) for name in DROPOUTS
    }  # the rest is the beginning's
    assert task.backbone.config == replace(begun.backbone.config, **own)
    for name, weight in begun.backbone.named_parameters():
        assert torch.equal(task.backbone.get_parameter(name), weight)
    assert len(task.predict(["the cat", ""])) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["backbone.bidirectional=true", "backbone.num_layers=2"],
            "task=generate: generation reads left to right: set backbone.bidirectional=false, or num_layers=1",
        ),
        (["task.cutoffs=[8]"], "cutoffs are an adaptive softmax's: set task.softmax=adaptive"),
        (["task.softmax=adaptive", "task.cutoffs=[8,8]"], "cutoffs [8, 8] must ascend within the"),
        (["task.softmax=adaptive", "task.cutoffs=[99999]"], "cutoffs [99999] must ascend within"),
        (["task.softmax=adaptive", "task.cutoffs=[0]"], "task.cutoffs.0=0: Input should be"),
        (["task.change_penalty=-1"], "task.change_penalty=-1: Input should be greater than or"),
        (["evaluate.cache=-1"], "evaluate.cache=-1: Input should be greater than or equal to 0"),
        (["evaluate.cash=1"], "evaluate.cash: no such setting; did you mean evaluate.cache?"),
        (["task=classify", "evaluate.dynamic=true"], "evaluate.…: classify has no perplexity"),
        (
            ["task=classify", "generation.seed=1"],
            "generation.…: classify does not generate its answers",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(capsys, tmp_path, words, said):
    data = [f"data.train={DATA / 'classify.jsonl'}", "data=files", "tokenizer.kind=words"]
    task = [] if "task=classify" in words else ["task=generate"]
    assert said in fails(capsys, *task, *data, *SMALL, *words, f"out={tmp_path / 'run'}")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("layers", [1, 2])
def test_of_a_bidirectional_beginning_a_single_layer_is_taken(capsys, tmp_path, layers):
    chosen = settings(None, f"backbone.num_layers={layers}")
    build.build(options_of(chosen), chosen, open_corpus(chosen.data)).save(tmp_path / "model")
    capsys.readouterr()
    words = ["task=generate", "data=files", f"data.train={TOY}", f"init={tmp_path / 'model'}"]
    small = [word for word in SMALL if not word.startswith(("backbone", "tokenizer"))]
    if layers == 2:
        assert "reads left to right" in fails(capsys, *words, *small, f"out={tmp_path / 'run'}")
    else:
        assert run.main([*words, *small, f"out={tmp_path / 'run'}"]) == 0
        assert zoo.load(tmp_path / "run").backbone.lstm.bidirectional


@pytest.mark.parametrize("name", ["activation_penalty", "change_penalty"])
def test_a_penalty_raises_the_loss_of_training_alone(name):
    rows = [Row({"text": text}, "here") for text in TEXTS]
    tasks = [language(**{name: share}) for share in (0.0, 0.5, 1.0)]
    batch = tasks[0].collate([tasks[0].encode(row) for row in rows])
    plain, half, whole = (task.train().training_step(batch).loss.item() for task in tasks)
    assert plain < half < whole
    assert whole - plain == pytest.approx(2 * (half - plain), rel=1e-6)
    output = tasks[0].next_token_vectors(batch, None)[2]
    change = output if name == "activation_penalty" else output[:, 1:] - output[:, :-1]
    assert whole - plain == pytest.approx(float(change.detach().square().mean()), rel=1e-4)
    assert [task.eval().training_step(batch).loss.item() for task in tasks] == [plain] * 3


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("softmax", ["full", "adaptive"])
def test_a_model_of_any_float_dtype_answers_and_trains(kind, softmax):
    task = language(softmax=softmax).to(kind)
    assert len(task.predict(PROMPTS, GenerationConfig(beam_size=2, max_length=5))) == len(PROMPTS)
    batch = task.collate([task.encode(Row({"text": text}, "here")) for text in TEXTS])
    nats = [answer["nats"][""] for answer in task.predict_batch(batch)]
    step = task.train().training_step(batch)
    step.loss.backward()
    assert step.loss.item() == pytest.approx(sum(nats) / step.count, rel=0.05)
    assert all(weight.grad.dtype == kind for weight in task.parameters())


def test_each_of_many_threads_gets_the_texts_of_its_own_config():
    task = language()
    configs = [GenerationConfig(sample=True, seed=k, max_length=5 + k) for k in range(5)] * 5
    wanted = [task.predict(PROMPTS, config) for config in configs]
    with ThreadPoolExecutor(8) as threads:
        found = [*threads.map(lambda config: task.predict(PROMPTS, config), configs)]
        streams = [*threads.map(lambda config: "".join(task.stream("a", config)), configs)]
    assert found == wanted
    assert streams == [text[PROMPTS.index("a")] for text in wanted]


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_word_is_dropped_at_all_its_places_and_the_others_are_scaled(share):
    torch.manual_seed(2)
    ids, table = torch.randint(4, 200, (30, 50)), torch.randn(200, 5)
    vectors = table[ids]
    found = dropout.types(vectors, ids, table, share)
    zero = (found == 0).all(-1)
    gone = {*ids[zero].tolist()}
    assert not gone & {*ids[~zero].tolist()}
    assert 0.6 * share < len(gone) / 196 < 1.4 * share
    torch.testing.assert_close(found[~zero], vectors[~zero] / (1 - share), rtol=1e-5, atol=0)
    assert not torch.equal(dropout.types(vectors, ids, table, share), found)
    assert dropout.types(vectors, ids, table, share, training=False) is vectors
    assert dropout.types(vectors, ids, table, 0.0) is vectors


def test_a_backbone_drops_words_in_training_alone():
    torch.manual_seed(3)
    backbone = make_backbone(40, embedding_size=6, hidden_size=4, embedding_dropout=0.5)
    ids = torch.arange(EOS + 1, 40).repeat(2, 3)
    table = backbone.embedding.weight
    found = backbone.train().embed(ids)
    zero = (found == 0).all(-1)
    assert torch.equal(zero, zero[:1, :36].repeat(2, 3))  # the same words wherever they stand
    assert 0 < int(zero[0, :36].sum()) < 36
    assert torch.equal(found[~zero], 2 * table[ids][~zero])
    assert torch.equal(backbone.eval().embed(ids), table[ids])
    assert torch.equal(backbone(ids).output, backbone(ids).output)
