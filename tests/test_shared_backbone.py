"""One backbone under several heads: read once, trained in turns, saved together."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import chain, pairwise

import pytest
import torch
from conftest import DATA, ROOT, build_task, fails, settings
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel

import zoo
from tasks.classify import Classify
from tasks.generate import Generate
from tasks.tag import Tag
from tasks.translate import Translate
from zoo import shared_backbone
from zoo.data import labelled_words
from zoo.data.batch import Batch
from zoo.data.interleave import InterleavedDataset
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row, read
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.export import program
from zoo.generation.config import GenerationConfig
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.task import input_row
from zoo.text.special_ids import EOS
from zoo.text.tokenizers import Lowercase, Subwords
from zoo.training import loop
from zoo.training import state as training

KINDS = {"topic": "classify", "word": "tag", "german": "translate", "story": "generate"}
ROWS = {head: list(read(DATA / f"{kind}.jsonl")) for head, kind in KINDS.items()}
TEXTS = [
    text
    for rows in ROWS.values()
    for row in rows
    for name in ("text", "words", "source", "target")
    if name in row
    for text in [row[name] if isinstance(row[name], str) else " ".join(row[name])]
]
TOKENIZER = Subwords.train(TEXTS, 200)
ASKED = [
    "a dog finds two apples.",
    "",
    "Salt dries on the deck after every wave.",
    "two small birds can't stand",
    "the valley echoes",
    "   ",
]
SHORT = GenerationConfig(beam_size=2, max_length=4)
FIT = [
    "device=cpu",
    "precision=fp32",
    "train.batch_rows=8",
    "train.batch_tokens=128",
    "train.ema_decay=0",
    "train.learning_rate=2e-2",
    "train.epochs=1",
    "train.patience=0",
]
READERS = ["topic", "word", "german"]  # of what one pass of the encoder leaves behind
QUICK = ["topic", "word", "story"]


def processors(name: str, tokenizer=TOKENIZER) -> dict:
    if name == "topic":
        return {"tokenizer": tokenizer, "labels": LabelEncoder(["mountain", "sea"])}
    return {
        "tokenizer": tokenizer,
        **(labelled_words.learn(ROWS["word"][:24]) if name == "word" else {}),
    }


def head(name: str, backbone, tokenizer=TOKENIZER, target_tokenizer=None, **options):
    kind = {"topic": Classify, "word": Tag, "german": Translate, "story": Generate}[name]
    given = processors(name, tokenizer)
    if target_tokenizer is not None:
        given["target_tokenizer"] = target_tokenizer
    if name == "word":
        options = {"words": "subword"} | options
    if name in ("topic", "word"):
        options = {"append_eos": True} | options
    if name in ("german", "story"):
        options = {"generation": SHORT} | options
    return kind(backbone, given, kind.config_class(**options))


def reader(size: int = 8, tokenizer=TOKENIZER, **options) -> Backbone:
    """An untrained backbone without dropout."""
    none = {"dropout": 0.0, "input_dropout": 0.0, "word_dropout": 0.0}
    shape = {"vocabulary_size": len(tokenizer), "embedding_size": size, "hidden_size": size}
    return Backbone(BackboneConfig(**(shape | none | options)))


def share(*names: str, wild: bool = False, **options) -> shared_backbone.Multitask:
    """Untrained heads on one backbone; `wild` ones have weights that tell texts apart."""
    torch.manual_seed(0)
    backbone = reader(16, **options)
    both = zoo.multitask(backbone, {name: head(name, backbone) for name in names or KINDS})
    with torch.no_grad():
        for weight in both.parameters() if wild else ():
            weight.normal_(std=0.6)
    return both.eval()


def parts(*names: str) -> dict:
    return {name: (ROWS[name][:24], ROWS[name][24:36]) for name in names or KINDS}


def weights(task) -> dict:
    return {name: weight.detach().clone() for name, weight in task.state_dict().items()}


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in two)


def scoring(monkeypatch, losses=()) -> list[dict]:
    """The weights that every epoch of a fit was compared with; `losses` are what is said of them."""
    seen, said, real = [], iter(losses), shared_backbone.Multitask.compute_metrics

    def score(self, answers, rows):
        seen.append(weights(self))
        return real(self, answers, rows) | ({"loss": next(said)} if losses else {})

    monkeypatch.setattr(shared_backbone.Multitask, "compute_metrics", score)
    return seen


@contextmanager
def readings(backbone):
    """A list that gets an entry whenever the LSTM of a backbone runs."""
    calls: list[int] = []
    hook = backbone.lstm.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    hook.remove()


@pytest.fixture(scope="module")
def wild():
    return share(wild=True)


def test_every_head_answers_what_it_answers_alone(wild):
    found = wild.predict(ASKED)
    assert [*found] == [*KINDS]
    for name, each in wild.each():
        assert found[name] == each.predict([wild.plain(text) for text in ASKED])
        assert len({str(answer) for answer in found[name]}) > 1
    assert wild.predict(ASKED[3]) == {name: [answers[3]] for name, answers in found.items()}
    assert [word for word, _ in found["word"][3]] == ["two", "small", "birds", "ca", "n't", "stand"]


@torch.no_grad()
def test_an_answer_is_written_with_its_heads_name(wild):
    assert wild.format(("topic", {"label": "good"})) == "topic: good"
    assert wild.format(("german", {"text": "zwei\nVögel"})) == "german: zwei Vögel"


def test_every_head_reads_the_same_ids_and_eos_at_their_end(wild):
    row = Row({"text": wild.plain("two birds can't stand")}, "here")
    ids = wild.encode(row)["inputs"]
    assert ids == [*TOKENIZER.encode("two birds ca n't stand"), EOS]
    for name in READERS:
        each = wild.heads[name]
        assert each.encode(input_row(each, row))["inputs"] == ids
    h_n = wild.backbone(torch.tensor([ids])).h_n
    topic = wild.heads["topic"]
    logits = topic.head(torch.cat([h_n[0], h_n[1]], -1))
    assert wild.predict("two birds can't stand")["topic"] == [topic.labels[int(logits.argmax())]]


def test_a_text_that_is_cut_ends_with_eos_too():
    backbone = share("topic").backbone
    both = zoo.multitask(backbone, {"topic": head("topic", backbone, max_length=3)})
    row = Row({"text": ASKED[0], "label": "sea"}, "here")
    ids = TOKENIZER.encode(ASKED[0])
    found = both.heads["topic"].encode(row)
    assert found == {"inputs": [*ids[:3], EOS], "cut": 1, "targets": 1}


def test_a_text_is_cut_into_words_only_where_a_head_reads_words(wild):
    assert share("topic", "story").plain("It's here.") == "It's here."
    assert wild.plain("It's here.") == "It 's here ."


@pytest.mark.parametrize(("names", "passes"), [(["topic"], 1), (READERS, 1)])
def test_one_pass_answers_all_heads_that_can_share_it(names, passes):
    both = share(*names, wild=True)
    with readings(both.backbone) as calls:
        both.predict(ASKED)
        assert len(calls) == passes
        for _, each in both.each():
            each.predict(ASKED)
        assert len(calls) == passes + len(names)


@pytest.mark.parametrize("both_ways", [True, False])
def test_a_language_model_has_passes_of_its_own(both_ways):
    both = share(wild=True, bidirectional=both_ways)
    story = both.heads["story"]
    with readings(story.onward[0]) as own:
        story.predict(ASKED)
        alone = len(own)
        own.clear()
        with readings(both.backbone) as calls:
            both.predict(ASKED)
    assert (
        alone == 1
    )  # the prompts; the tokens that follow are written without the backbone's calls
    assert (len(own), len(calls)) == ((1, 1) if both_ways else (2, 2))


def test_a_tagger_that_reads_characters_has_a_pass_of_its_own():
    tokenizer = Lowercase.train(TEXTS, 100)
    backbone = reader(tokenizer=tokenizer)
    both = zoo.multitask(
        backbone,
        {
            "topic": head("topic", backbone, tokenizer),
            "word": head("word", backbone, tokenizer, words="word+char", character_hidden=4),
            "other": head("topic", backbone, tokenizer, pool="max"),
        },
    )
    with readings(backbone) as calls:
        found = both.predict(ASKED[:5:2])
    assert len(calls) == 2
    assert [[word for word, _ in row] for row in found["word"]] == [
        row.split()
        for row in (
            "a dog finds two apples .",
            "Salt dries on the deck after every wave .",
            "the valley echoes",
        )
    ]


@torch.no_grad()
def test_the_backbone_reads_again_what_is_not_the_same():
    both = share("topic")
    ids, lengths = torch.tensor([[5, 6], [7, 8]]), torch.tensor([2, 1])
    passes: dict = {}
    first = both._run_once(Batch(ids, lengths), passes)
    assert both._run_once(Batch(ids.clone(), lengths.clone()), passes) is first
    others = [
        both._run_once(batch, passes)
        for batch in (
            Batch(ids, torch.tensor([2, 2])),
            Batch(ids.flip(0), lengths),
            Batch(ids.view(1, 4), torch.tensor([4])),
        )
    ]
    assert [*passes.values()] == [first, *others]
    assert not torch.equal(others[0].h_n, first.h_n)


def test_calls_share_no_pass():
    both = share("topic", "german")
    with readings(both.backbone) as calls:
        both.predict("a dog")
        both.predict("a dog")
    assert len(calls) == 2


def test_more_texts_than_a_chunk_keep_their_order(wild, monkeypatch):
    texts = [row["text"] for row in ROWS["topic"][:9]]
    together = wild.predict(texts)
    monkeypatch.setattr(shared_backbone, "EvaluationConfig", lambda: EvaluationConfig(batch_rows=4))
    assert wild.predict(iter(texts)) == together
    assert together["word"] == [wild.predict(text)["word"][0] for text in texts]


def test_empty_texts_and_none_at_all_are_answered(wild):
    found = wild.predict(["", "  \n"])
    assert (found["word"], found["german"]) == ([[], []], ["", ""])
    assert found["topic"][0] == found["topic"][1]
    assert len(found["story"]) == 2
    assert wild.predict([]) == {name: [] for name in KINDS}


SCRIPT = """
import json, sys, torch
import zoo
from zoo.generation.config import GenerationConfig
from test_shared_backbone import ASKED, ROWS, logits
torch.set_num_threads(1)
both = zoo.load(sys.argv[1])
torch.save([logits(both), both.predict(ASKED)], sys.argv[2])
"""


@torch.no_grad()
def logits(both) -> dict:
    found = {}
    for name, each in both.eval().each():
        batch = each.collate([each.encode(row) for row in ROWS[name][:5]])
        found[name] = each(batch)
    return found


def test_a_saved_one_gives_the_same_bits_in_a_new_process(wild, tmp_path):
    wild.save(tmp_path / "model")
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "model"), str(tmp_path / "found.pt")]
    path = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "cases")]
        )
    }
    subprocess.run(words, check=True, cwd=ROOT, timeout=120, env=path)
    found, answers = torch.load(tmp_path / "found.pt", weights_only=True)
    assert same(found, logits(wild))
    assert answers == wild.predict(ASKED)


def test_a_backbone_is_saved_once_and_loaded_under_every_head(wild, tmp_path):
    wild.save(tmp_path / "model")
    kept = load_file(tmp_path / "model" / "model.safetensors")
    assert sum(weight.numel() for weight in kept.values()) == wild.parameter_count
    assert [name for name in kept if name.endswith("embedding.weight")] == [
        "backbone.embedding.weight"
    ]
    loaded = zoo.load(tmp_path / "model")
    assert [*loaded.heads] == [*KINDS]
    for name, each in loaded.each():
        assert each.backbone is loaded.backbone
        assert each.tokenizer is loaded.tokenizer
        assert each.config == wild.heads[name].config
    assert loaded.parameter_count == wild.parameter_count
    loaded.save(tmp_path / "again")
    for name in ("model.safetensors", "config.json", "README.md", "manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_a_missing_weight_of_a_saved_one_is_named(wild):
    state = weights(wild)
    del state["backbone.lstm.weight_hh_l0"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"backbone\.lstm\.weight_hh_l0"'):
        share().load_state_dict(state)


def test_a_deep_copy_has_a_backbone_of_its_own_under_its_heads(wild):
    other = copy.deepcopy(wild)
    assert all(each.backbone is other.backbone for _, each in other.each())
    with torch.no_grad():
        other.backbone.embedding.weight.zero_()
    other.load_state_dict(weights(wild))
    assert same(logits(other), logits(wild))
    assert {*weights(other)} == {*weights(wild)}


def test_wrong_heads_are_refused():
    backbone = reader()
    topic, elsewhere = head("topic", backbone), head("topic", share("topic").backbone)
    endless = head("topic", backbone, append_eos=False)
    retold = head("topic", backbone, Subwords(TOKENIZER.model))
    for heads, said in (
        ({}, "needs a head"),
        ({"topic": topic, "other": elsewhere}, "other: its backbone is another one"),
        ({"topic": elsewhere}, "topic: its backbone is another one"),
        ({"topic": topic, "other": retold}, "other: its tokenizer is another one"),
        ({"topic": endless}, "topic: heads read an EOS behind the text: set its append_eos=True"),
        *(
            ({name: topic}, "a head's name is in lower case")
            for name in ("", "Topic", "a.b", "a-b", "1a", "a b", "größe", "_a")
        ),
    ):
        with pytest.raises(ValueError, match=said):
            zoo.multitask(backbone, heads)


@pytest.mark.parametrize("name", ["type", "values", "half", "forward"])
def test_a_head_cannot_be_called_as_something_of_torch(name):
    both = share("topic")
    with pytest.raises(ValueError, match=f"^{name}: .*choose another name"):
        zoo.multitask(both.backbone, {name: both.heads["topic"]})


def test_no_head_is_called_training():
    both = share("topic")
    with pytest.raises(ValueError, match=r"^training: .*choose another name"):
        zoo.multitask(both.backbone, {"training": both.heads["topic"]})


@pytest.mark.parametrize("given", ["backbone.hidden_size=99", "tokenizer.kind=words", "task=tag"])
def test_a_fit_takes_no_settings_that_mean_nothing_there(given):
    with pytest.raises(ValueError, match=f"^{given}: fit takes train"):
        share("topic").fit(parts("topic"), *FIT, given)


def test_a_fit_in_turns_lowers_the_loss_of_every_head():
    both = share()
    before = weights(both)
    rows = {name: (some[:16], some[:16]) for name, (some, _) in parts().items()}
    history = both.fit(rows, *FIT, "train.epochs=4", "train.ema_decay=0.5")
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    assert history[-1]["loss"] < history[0]["loss"]
    for name in KINDS:
        assert history[-1]["valid"][f"{name}.loss"] < history[0]["valid"][f"{name}.loss"]
    for entry in history:
        losses = [entry["valid"][f"{name}.loss"] for name in KINDS]
        assert entry["valid"]["loss"] == pytest.approx(sum(losses) / 4)
    after = weights(both)
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    assert all(each.backbone is both.backbone for _, each in both.each())


def learning(monkeypatch) -> list[tuple[str, list[int]]]:
    """Whose batches a fit learns from, and their rows."""
    met, real = [], InterleavedDataset.examples

    def examples(self, rows):
        met.append((rows.head, sorted(rows.rows.tolist())))
        return real(self, rows)

    monkeypatch.setattr(InterleavedDataset, "examples", examples)
    return met


def test_every_batch_of_every_head_is_learned_from_once_an_epoch(monkeypatch):
    met = learning(monkeypatch)
    share("topic", "word").fit(
        {"topic": (ROWS["topic"][:48], ROWS["topic"][48:52]), "word": parts()["word"]},
        *FIT,
        "train.epochs=2",
        "train.batch_tokens=4096",
    )
    assert len(met) == 2 * (6 + 3)
    for epoch in (met[:9], met[9:]):
        rows = {
            name: [row for whose, some in epoch if whose == name for row in some]
            for name in ("topic", "word")
        }
        assert {name: sorted(some) for name, some in rows.items()} == {
            "topic": [*range(48)],
            "word": [*range(24)],
        }
        assert [whose for whose, _ in epoch] == ["topic", "word", "topic"] * 3
    assert met[:9] != met[9:]


def test_the_same_seed_gives_the_same_bits():
    found = []
    for seed in (1, 1, 2):
        both = share(*QUICK)
        torch.rand(len(found))  # whatever was drawn before
        history = both.fit(parts(*QUICK), *FIT, f"seed={seed}", "train.ema_decay=0.9")
        found.append((weights(both), history[0]["loss"]))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1] != found[2][1]
    assert not same(found[0][0], found[2][0])


def test_the_seed_gives_the_order_of_the_rows(monkeypatch):
    met = learning(monkeypatch)
    orders = []
    for seed in (1, 2):
        share("topic").fit(parts("topic"), *FIT, f"seed={seed}")
        orders.append(sorted(met))
        met.clear()
    one, two = (sorted(chain.from_iterable(rows for _, rows in order)) for order in orders)
    assert one == two == [*range(24)]
    assert orders[0] != orders[1]


def test_epochs_are_compared_by_the_rows_that_come_second(monkeypatch):
    seen, real = [], shared_backbone.Multitask.compute_metrics
    monkeypatch.setattr(
        shared_backbone.Multitask,
        "compute_metrics",
        lambda self, a, rows: seen.append(rows) or real(self, a, rows),
    )
    both = share("topic", "word")
    both.fit(parts("topic", "word"), *FIT)
    (rows,) = seen
    asked = [{**row, "text": both.plain(row["text"])} for row in ROWS["topic"][24:36]]
    assert rows == [*asked, *ROWS["word"][24:36]]
    words = [
        piece
        for row in ROWS["word"][:24]
        for word in row["words"]
        for piece in TOKENIZER.encode(word)
    ]
    single = [piece for piece in range(len(TOKENIZER)) if words.count(piece) == 1]
    assert both.heads["word"].singletons.nonzero().flatten().tolist() == single != []


@torch.no_grad()
def test_a_batch_is_its_heads(wild, tmp_path):
    store = wild._encode({name: ROWS[name][:4] for name in KINDS}, tmp_path / "store")
    for turn in store.sampler(100, 4):
        examples, own = store.examples(turn), wild.heads[turn.head]
        batch, alone = wild.collate(examples), own.collate(examples)
        assert batch.extras["head"] == turn.head
        assert torch.equal(wild(batch), own(alone))
        assert wild.predict_batch(batch) == own.predict_batch(alone)
        one, two = wild.training_step(batch), own.training_step(alone)
        assert torch.equal(one.loss, two.loss)
        assert one.count == two.count


def test_a_checkpoint_of_an_average_holds_the_backbone_once(wild):
    average = AveragedModel(wild)
    state = average.state_dict()
    assert {*state} == {"n_averaged", *(f"module.{name}" for name in wild.state_dict())}
    other = AveragedModel(share())
    other.load_state_dict(state)
    assert same(logits(other.module), logits(wild))


def test_the_best_epoch_is_kept(monkeypatch):
    seen = scoring(monkeypatch, [9.0, 5.0, 7.0, 6.0])
    both = share("topic", "word")
    history = both.fit(parts("topic", "word"), *FIT, "train.epochs=4")
    assert [entry["valid"]["loss"] for entry in history] == [9, 5, 7, 6]
    assert [same(weights(both), at) for at in seen] == [False, True, False, False]


def test_figures_are_those_of_each_head_alone(tmp_path, wild):
    rows = {name: ROWS[name][:10] for name in KINDS}
    store = wild._encode(rows, tmp_path / "all")
    accelerator = training.accelerator_for("cpu", "fp32")
    every = [row for some in rows.values() for row in some]
    found, answers = loop.evaluate(wild, store, every, accelerator)
    assert [name for name, _ in answers] == [name for name in KINDS for _ in range(10)]
    for name, each in wild.each():
        own = store.datasets[name]
        alone, own_answers = loop.evaluate(each, own, rows[name], accelerator)
        assert {
            f"{name}.{metric}": value for metric, value in alone.items()
        }.items() <= found.items()
        assert [answer for whose, answer in answers if whose == name] == own_answers
    losses = [found[f"{name}.loss"] for name in KINDS]
    assert found["loss"] == pytest.approx(sum(losses) / 4)


def test_a_moving_average_is_one_shared_model_too(monkeypatch):
    kept, real = [], shared_backbone.Multitask.compute_metrics
    monkeypatch.setattr(
        shared_backbone.Multitask,
        "compute_metrics",
        lambda self, *x: kept.append(self) or real(self, *x),
    )
    found = {}
    for average in (0, 0.9):
        both = share(*QUICK)
        both.fit(parts(*QUICK), *FIT, f"train.ema_decay={average}")
        found[average] = weights(both)
    assert not same(found[0], found[0.9])
    averaged = kept[-1]
    assert averaged is not both
    assert same(weights(averaged), weights(both))
    assert all(each.backbone is averaged.backbone for _, each in averaged.each())
    story = averaged.heads["story"]
    assert story.onward[0].lstm.weight_hh_l0 is averaged.backbone.lstm.weight_hh_l0


def below(state: dict, part: str) -> dict:
    return {name: weight for name, weight in state.items() if name.startswith(part)}


@pytest.mark.parametrize("average", [0, 0.5])
def test_a_frozen_backbone_stays_and_the_heads_learn(average):
    both = share(*QUICK)
    before = weights(both)
    both.fit(parts(*QUICK), *FIT, "train.freeze=backbone", f"train.ema_decay={average}")
    after = weights(both)
    assert same(below(before, "backbone."), below(after, "backbone."))
    for name in below(before, "heads."):
        assert not torch.equal(before[name], after[name])
    assert all(weight.requires_grad for weight in both.parameters())


def test_a_backbone_thaws_from_above_under_its_heads(monkeypatch):
    seen = scoring(monkeypatch)
    both = share("topic", "word")
    seen.append(weights(both))
    both.fit(parts("topic", "word"), *FIT, "train.freeze=gradual", "train.epochs=3")
    moved = [
        {
            part
            for part in ("backbone.embedding", "backbone.lstm", "heads")
            if not same(below(one, part), below(two, part))
        }
        for one, two in pairwise(seen)
    ]
    assert moved == [
        {"heads"},
        {"heads", "backbone.lstm"},
        {"heads", "backbone.lstm", "backbone.embedding"},
    ]


def test_another_task_starts_from_a_shared_backbone(wild, tmp_path):
    wild.save(tmp_path / "model")
    for name in ("classify", "translate"):
        chosen = settings(None, f"init={tmp_path / 'model'}", task=name)
        task = build_task(chosen)
        assert task.name == name
        assert same(weights(task.backbone), weights(wild.backbone))
        assert task.tokenizer.model == TOKENIZER.model


MODES = [
    ["mode=predict", "text=a dog"],
    ["mode=chat"],
    ["mode=explain", "text=a dog"],
    ["mode=evaluate", "data=files", f"data.train={DATA / 'classify.jsonl'}"],
]


@pytest.mark.parametrize("words", MODES)
def test_the_command_line_says_how_a_shared_model_is_used(capsys, wild, tmp_path, words):
    folder = tmp_path / "model"
    wild.save(folder)
    for task in ([], ["task=classify"]):
        said = fails(capsys, *words, *task, f"model={folder}")
        assert said.startswith(f"model={folder}: several heads on one backbone")
        assert f"zoo.load('{folder}').predict(…)" in said


def test_a_program_of_a_shared_model_is_refused(wild):
    with pytest.raises(InputError, match="shared model has several heads"):
        program.program(wild)


def test_heads_are_greedy_while_epochs_are_compared(monkeypatch):
    used, real = [], Translate.predict_batch

    def answer(self, batch, *, encoded=None, config=None):
        used.append(config)
        return real(self, batch, encoded=encoded, config=config)

    monkeypatch.setattr(Translate, "predict_batch", answer)
    both = share("topic", "german")
    both.fit(parts("topic", "german"), *FIT)
    assert {*used} == {GenerationConfig(beam_size=1)}
    assert both.heads["german"].config.generation == SHORT


def test_a_head_learns_from_texts_as_it_is_asked_them(tmp_path):
    both = share("german", "word")
    row = Row({"source": "It's a dog, barking.", "target": "Ein Hund."}, "here")
    learned = both._encode({"german": [both._row(row)], "word": ROWS["word"][:1]}, tmp_path / "s")
    asked = both.encode(Row({"text": both.plain(row["source"])}, "here"))["inputs"]
    assert learned.datasets["german"][0]["inputs"].tolist() == asked


def test_a_saved_one_keeps_how_its_heads_search(tmp_path):
    both = share("german", "story")
    both.save(tmp_path / "model")
    loaded = zoo.load(tmp_path / "model")
    assert {name: each.config.generation for name, each in loaded.each()} == {
        "german": SHORT,
        "story": SHORT,
    }


def test_translators_with_and_without_a_target_tokenizer_are_saved_together(tmp_path):
    backbone = reader()
    other = Subwords.train([row["target"] for row in ROWS["german"]], 90)
    heads = {
        "one": head("german", backbone),
        "two": head("german", backbone, target_tokenizer=other),
    }
    zoo.multitask(backbone, heads).save(tmp_path / "model")
    loaded = zoo.load(tmp_path / "model")
    assert ["target_tokenizer" in each.processors for _, each in loaded.each()] == [False, True]


def test_a_head_that_is_saved_alone_answers_as_before(tmp_path, wild):
    texts = [row["text"] for row in ROWS["topic"][:5]]
    topic = wild.heads["topic"]
    topic.save(tmp_path / "topic")
    loaded = zoo.load(tmp_path / "topic")
    assert loaded.predict(texts, probabilities=True) == topic.predict(texts, probabilities=True)


@pytest.mark.parametrize("names", [["topic"], ["topic", "word", "german"]])
def test_rows_that_are_not_of_the_heads_are_named(names):
    with pytest.raises((ValueError, InputError), match=r"word|german"):
        share("topic", "word").fit(parts(*names), *FIT)


def test_a_fit_that_is_interrupted_names_no_folder_that_is_gone(monkeypatch):
    real = loop.step

    def step(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    monkeypatch.setattr(loop, "step", step)
    with pytest.raises(InputError) as caught:
        share("topic").fit(parts("topic"), *FIT)
    assert str(caught.value).startswith("interrupted")
    assert "resume=" not in str(caught.value)


def test_the_model_card_names_what_each_head_reads(wild, tmp_path):
    wild.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    assert {name: part["task"] for name, part in config["config"]["heads"].items()} == KINDS
    card = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert "topic: h_n; word: output; german: h_n, c_n; story: output" in card
