"""Exported taggers, translators and language models answer as the models do."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

import zoo.runtime
from tasks.generate import Generate, GenerateConfig
from tasks.tag import Tag, TagConfig
from tasks.translate import Translate, TranslateConfig
from zoo.data.processors import LabelEncoder, WordCounts
from zoo.errors import InputError
from zoo.export import whole
from zoo.generation.config import GenerationConfig
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.runtime.search import Numbers
from zoo.task import input_rows, predict_rows
from zoo.text.characters import Alphabet
from zoo.text.tokenizers import TOKENIZERS

TEXTS = ["one two three four", "six, five!", "", "two " * 60, "One Ünïcode\nline four"]
CONFIGS = [
    {"beam_size": 1, "max_length": 12},
    {"beam_size": 4, "n_best": 3, "max_length": 9, "length_penalty": 0.5, "min_length": 3},
    {"sample": True, "seed": 3, "n_best": 3, "top_k": 5, "temperature": 0.7, "max_length": 12},
    {"sample": True, "seed": 4, "top_p": 0.8, "repetition_penalty": 1.5, "max_length": 12},
    {"beam_size": 2, "stop": ("o", "ee"), "max_length": 12},
]


def random(task):
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in task.parameters():
            weight.normal_(std=0.5)
    return task.eval()


def backbone(vocabulary, **options):
    shape = {"embedding_size": 6, "hidden_size": 5, "vocabulary_size": vocabulary}
    return Backbone(BackboneConfig(**(shape | options)))


def tokenizer(kind):
    return TOKENIZERS[kind].train(TEXTS * 3, 40)


def exported(task, folder, form="fp32"):
    whole.save(task, folder, form)
    return zoo.runtime.load(folder)


def tagger(kind, **options):
    known = tokenizer(kind)
    processors = {
        "tokenizer": known,
        "labels": LabelEncoder(["B-X", "I-X", "O"]),
        "characters": Alphabet("abcdefgiont"),
        "seen": WordCounts({"one": 2}),
    }
    config = TagConfig(character_embedding=3, character_hidden=4, **options)
    return random(Tag(backbone(len(known), num_layers=2), processors, config))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lowercase", {"crf": True}),
        ("lowercase", {}),
        ("characters", {"words": "subword", "crf": True, "append_eos": True}),
    ],
    ids=str,
)
def test_a_tagger_answers_as_its_model(tmp_path, kind, options):
    task = tagger(kind, **options)
    model = exported(task, tmp_path / "out")
    texts = [*TEXTS, {"words": ["a b", "", "two"]}]
    wanted = [*predict_rows(task, input_rows(task, texts))]
    for one, other in zip(model.answers(texts), wanted, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        assert (one["words"], one["labels"]) == (other["words"], other["labels"])
    assert model.predict(texts) == task.predict(texts)
    split = model.predict(TEXTS[1], splitter="whitespace")
    assert split == task.predict(TEXTS[1], splitter="whitespace")


def translator(**options):
    known = tokenizer("subwords")
    shape = {n: options.pop(n) for n in ("num_layers", "layer_norm") if n in options}
    config = TranslateConfig(max_length=30, **options)
    return random(Translate(backbone(len(known), **shape), {"tokenizer": known}, config))


def writer(kind="subwords", **options):
    known = tokenizer(kind)
    shape = {"bidirectional": False}
    for name in ("learned_state", "bidirectional", "layer_norm"):
        shape |= {name: options.pop(name)} if name in options else {}
    net = backbone(len(known), **shape)
    return random(Generate(net, {"tokenizer": known}, GenerateConfig(**options)))


WRITERS = {
    "translate": translator,
    "dot, fed": lambda: translator(attention="dot", input_feeding=True, init="h_n", num_layers=2),
    "additive": lambda: translator(attention="additive", init="zero", tied=False),
    "no attention": lambda: translator(attention="none", hidden_size=7, layer_norm=True),
    "stream": writer,
    "layer norm": lambda: writer("characters", layer_norm=True, learned_state=True),
    "adaptive": lambda: writer("whitespace", softmax="adaptive", tied=False, bidirectional=True),
    "each row": lambda: writer("characters", learned_state=True, stream=False),
}


@pytest.mark.parametrize("name", WRITERS)
def test_texts_are_those_of_the_model(tmp_path, name):
    task = WRITERS[name]()
    model = exported(task, tmp_path / "out")
    for values in CONFIGS:
        config = GenerationConfig(**values)
        wanted = [*predict_rows(task, input_rows(task, TEXTS), config=config)]
        for one, other in zip(model.answers(TEXTS, values), wanted, strict=True):
            scores = [[h.pop("score") for h in answer["n_best"]] for answer in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4)
            assert one["n_best"] == other["n_best"]
            assert one["text"] == other["text"]
        assert model.predict(TEXTS, values) == task.predict(TEXTS, config)
        assert [*model.stream(TEXTS[0], values)] == [*task.stream(TEXTS[0], config)]
    assert asdict(model.config(None)) == asdict(task.config.generation)


def test_a_language_model_scores_a_text(tmp_path):
    task = writer("characters")
    text = "one two\nthree"
    found = exported(task, tmp_path / "out").score(text)
    example = task.encode({"text": text})
    with torch.no_grad():
        logs = task(task.collate([{"inputs": example["inputs"]}])).log_softmax(-1)[0]
    wanted = logs[range(len(found)), example["targets"]]
    assert found == pytest.approx(wanted.tolist(), abs=1e-5)


def test_int8_texts_do_not_depend_on_their_neighbours(tmp_path, monkeypatch):
    monkeypatch.setitem(whole.TOLERANCES, "int8", 1.0)
    monkeypatch.setitem(whole.EQUAL, "int8", 0.0)
    model = exported(translator(), tmp_path / "out", "int8")
    assert model.answers(TEXTS) == [model.answers([text])[0] for text in TEXTS]


def test_a_seed_draws_the_numbers_of_torch():
    for seed in (0, 7, 2**32 - 1):
        generator, numbers = torch.Generator().manual_seed(seed), Numbers(seed)
        for draws in (1, 3, 20):
            wanted = torch.rand(draws, generator=generator, dtype=torch.float64)
            assert numbers.draw(2, draws).tolist() == [wanted.tolist()] * 2
    assert not np.array_equal(Numbers(None).draw(1, 3), Numbers(None).draw(1, 3))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"beam": 3}, "generation.beam is unknown; there are: beam_size"),
        ({"beam_size": 0}, "generation.beam_size=0: Input should be at least 1"),
        ({"beam_size": True}, "generation.beam_size=True: Input should be a whole number"),
        ({"top_p": 0.0}, "generation.top_p=0.0: Input should be above 0"),
        ({"temperature": float("nan")}, "generation.temperature=nan: Input should be a number"),
        ({"stop": "END"}, "generation.stop='END': Input should be a list of texts"),
        ({"seed": 2**32}, "generation.seed=4294967296: Input should be below 4294967296"),
        ({"sample": 1}, "generation.sample=1: Input should be true or false"),
        ({"n_best": 9}, "n_best=9 needs a beam as wide, not beam_size=5"),
        (5, "config=5: a dict is needed"),
    ],
)
def test_a_wrong_config_is_refused_in_one_line(writing, config, message):
    with pytest.raises(InputError) as caught:
        writing.predict("one", config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def writing(tmp_path_factory):
    return exported(writer(), tmp_path_factory.mktemp("writer") / "out")


@pytest.mark.parametrize(("form", "gap"), [("fp32", 2e-4), ("int8", 0.01)])
def test_rounding_is_allowed_and_more_is_refused(tmp_path, form, gap):
    found = whole.Compared()
    found.gaps, found.equal = [gap], [True]
    assert "1 of 1 answers are the model's" in found.check(form, tmp_path)
    found.gaps = [10 * gap]
    with pytest.raises(InputError, match=r"its probabilities differ from the model's by .*e-"):
        found.check(form, tmp_path)
