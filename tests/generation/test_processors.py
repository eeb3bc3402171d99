"""Logits processors: the repetition penalty, stop strings, and the cut at a stop string."""

from __future__ import annotations

import random
from itertools import chain

import pytest
import torch
from generate_cases import PROMPTS, asked, continued, language, streams
from search_cases import LIMITS, SEEDS, SIZE, TEXTS, RandomStepModel

from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.generation.processors import RepetitionPenalty, StopStrings, apply_processors
from zoo.generation.texts import until_stop_string
from zoo.generation.writing.prepared_step import PreparedStep
from zoo.text.special_ids import BOS, EOS, PAD, UNK

LIMIT = torch.tensor(LIMITS)
CONFIGS = {
    "greedy": GenerationConfig(beam_size=1),
    "beam": GenerationConfig(beam_size=4, n_best=4),
    "samples": GenerationConfig(sample=True, n_best=4, seed=2),
    "one sample": GenerationConfig(sample=True, seed=3, temperature=1.5),
}
configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
PIECES = {UNK: "?", 4: "ab", 5: "b", 6: "ca"}


def decode(ids) -> str:
    return "".join(PIECES.get(i, "") for i in ids)


def until_first(text, stop):
    """Return a text up to the beginning of its first stop string."""
    return text[: min([text.index(s) for s in stop if s in text], default=len(text))]


class Recorder:
    """A step model of random log-probabilities that records its prefixes."""

    def __init__(self, texts):
        self.read = [[()] for _ in range(texts)]
        self.generator = torch.Generator().manual_seed(1)

    def step(self, ids):
        rows = zip(self.read, ids.tolist(), strict=True)
        self.read = [[(*p, i) for p, i in zip(*row, strict=True)] for row in rows]
        logs = torch.randn(*ids.shape, SIZE, generator=self.generator)
        self.logs = logs.log_softmax(-1)
        return self.logs.clone()

    def reorder(self, texts, prefixes):
        rows = zip(texts.tolist(), prefixes.tolist(), strict=True)
        self.read = [[self.read[text][i] for i in row] for text, row in rows]


@pytest.mark.parametrize("factor", [1.2, 5.0])
@pytest.mark.parametrize("prompts", [(), [[4, 4, EOS], [], [1, 6, EOS, 5], [5]]], ids=["", "given"])
def test_tokens_that_occur_have_their_log_probability_times_the_factor(factor, prompts):
    recorder = Recorder(4)
    generator = torch.Generator().manual_seed(2)
    step_model = RepetitionPenalty(recorder, factor, prompts)
    ids = torch.full((4, 1), BOS)
    given = prompts or [[]] * 4
    changed = 0
    for width in (3, 3, 2, 4):
        found = step_model.step(ids)
        for text, prefixes in enumerate(recorder.read):
            for column, prefix in enumerate(prefixes):
                seen = {*given[text], *prefix} - {PAD, UNK, BOS, EOS}
                logs = recorder.logs[text, column].tolist()
                times = [x * factor if i in seen else x for i, x in enumerate(logs)]
                wanted = torch.tensor(times).log_softmax(0)
                torch.testing.assert_close(found[text, column], wanted, rtol=0, atol=1e-6)
                changed += len(seen)
        kept = torch.arange(len(recorder.read))[width == 2 :]
        given = [given[text] for text in kept.tolist()]
        prefixes = torch.randint(ids.size(1), (len(kept), width), generator=generator)
        step_model.reorder(kept, prefixes)
        ids = torch.randint(BOS, SIZE, prefixes.shape, generator=generator)
    assert changed > 20


def test_a_penalty_makes_texts_repeat_themselves_less():
    task = language()

    def repeated(penalty):
        config = GenerationConfig(beam_size=1, max_length=20, repetition_penalty=penalty)
        found = continued(task, asked(task), config)
        words = [text.split() for each in found for text, _ in each]
        return sum(len(text) - len({*text}) for text in words)

    assert repeated(1.0) > 1.5 * repeated(100.0)


class StopsItself(RandomStepModel):
    """A step model that itself ends each prefix with a stop string in it."""

    def __init__(self, texts, seed, stop):
        super().__init__(texts, seed)
        self.stop = stop

    def step(self, ids):
        logs = super().step(ids)
        for text, row in enumerate(self.read):
            for place, prefix in enumerate(row):
                if any(string in decode(prefix) for string in self.stop):
                    logs[text, place] = torch.where(torch.arange(SIZE) == PAD, 0, -torch.inf)
        return logs


@configs
@pytest.mark.parametrize("stop", [("?",), ("bca",), ("bb", "aab"), ("abab",), ("aca", "?", "abc")])
def test_a_text_ends_with_the_token_that_completes_a_string(config, stop):
    stopped = 0
    for seed in SEEDS[:6]:
        found = generate(StopStrings(RandomStepModel(TEXTS, seed), stop, decode), LIMIT, config)
        assert found == generate(StopsItself(TEXTS, seed, stop), LIMIT, config)
        for hypothesis in chain(*found):
            assert not any(string in decode(hypothesis.ids[:-1]) for string in stop)
            stopped += any(string in decode(hypothesis.ids) for string in stop)
    assert stopped > 3


@streams
@pytest.mark.parametrize("kind", ["characters", "words", "subwords"])
@pytest.mark.parametrize("options", [{"beam_size": 1}, {"sample": True, "seed": 5}], ids=str)
def test_an_answer_is_cut_before_the_string(stream, kind, options):
    task = language(kind, stream=stream, end=1.0)
    stop = ("o", "a s", "vv", "kr", "\n")
    cuts = 0
    whole = continued(task, asked(task), GenerationConfig(max_length=20, **options))
    found = continued(task, asked(task), GenerationConfig(max_length=20, stop=stop, **options))
    for prompt, ((text, _),), ((short, _),) in zip(PROMPTS, whole, found, strict=True):
        given = task.decode(asked(task, [prompt]).inputs[0, 1:].tolist())
        assert short == given + until_first(text[len(given) :], stop)
        cuts += short != text
    assert cuts > 3


@pytest.mark.parametrize("sample", [False, True])
def test_nothing_is_computed_after_the_stop_string(monkeypatch, sample):
    task = language("characters")
    calls = []
    config = GenerationConfig(beam_size=1, sample=sample, seed=1, max_length=40)
    text = task.predict("a", config)[0][1:]
    place = next(i for i in range(3, 30) if text[i : i + 2] not in text[: i + 1])
    read = PreparedStep.read
    monkeypatch.setattr(PreparedStep, "read", lambda *given: calls.append(1) or read(*given))
    stopping = GenerationConfig(
        beam_size=1, sample=sample, seed=1, max_length=40, stop=(text[place : place + 2],)
    )
    assert task.predict("a", stopping) == ["a" + text[:place]]
    assert len(calls) == place + 2  # each token that was written is read once


def test_a_string_in_the_prompt_ends_nothing():
    task = language("characters")
    (text,) = task.predict("the old cat", GenerationConfig(beam_size=1, max_length=9))
    stopping = GenerationConfig(beam_size=1, max_length=9, stop=("the", "cat" + text[11]))
    assert task.predict("the old cat", stopping) == [text]


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"sample": True, "seed": 1}], ids=str)
def test_a_string_ends_a_text_before_its_least_length(options):
    config = GenerationConfig(stop=("?", "b"), min_length=4, **options)
    found = generate(apply_processors(RandomStepModel(TEXTS), config, decode), LIMIT, config)
    assert all(len(each) == 1 for each in found)


def test_pieces_that_are_split_anywhere_are_cut_at_the_same_place():
    draw = random.Random(1)
    early = 0
    for _ in range(400):
        stop = draw.choice([(), ("ab",), ("aab", "bb"), ("abab",), ("c", "aaa"), ("b",)])
        text = "".join(draw.choices("abc" if draw.random() < 0.3 else "aab", k=draw.randrange(12)))
        places = sorted(draw.choices(range(len(text) + 1), k=draw.randrange(8)))
        pieces = [text[i:j] for i, j in zip([0, *places], [*places, len(text)], strict=True)]
        taken = []
        shown = ""
        longest = max(map(len, stop), default=1)
        whole = until_first(text, stop)
        for piece in until_stop_string((taken.append(p) or p for p in pieces), stop):
            shown += piece
            assert whole.startswith(shown)
            assert len(shown) >= min(len(whole), len("".join(taken)) - longest + 1)
        assert shown == whole
        read = "".join(taken)
        if any(string in text for string in stop):
            assert not any(string in read[: len(read) - len(taken[-1])] for string in stop)
            early += len(taken) < len(pieces)
        else:
            assert taken == pieces
    assert early > 20


def test_a_string_within_a_string_is_cut_at_the_same_place():
    assert "".join(until_stop_string("xabcd", ("abcd", "bc"))) == "".join(
        until_stop_string(["xabcd"], ("abcd", "bc"))
    )


def test_without_processors_the_step_model_is_returned():
    step_model = RandomStepModel(TEXTS)
    assert apply_processors(step_model, GenerationConfig(), decode) is step_model
    both = apply_processors(step_model, GenerationConfig(repetition_penalty=2, stop=("a",)), decode)
    assert isinstance(both, StopStrings)
    assert isinstance(both.step_model, RepetitionPenalty)
    assert both.step_model.step_model is step_model
