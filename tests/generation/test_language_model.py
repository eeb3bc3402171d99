"""Continuation of prompts: alone and in a batch, at once and piece by piece."""

from __future__ import annotations

import pytest
import torch
from generate_cases import PROMPTS, asked, continuation, continued, language, streams

from zoo.generation.config import GenerationConfig
from zoo.generation.language_model import LanguageModelStepModel
from zoo.generation.texts import decode_stream
from zoo.generation.writing.prepared_step import PreparedStep
from zoo.nn.output_layer import at_least_float32
from zoo.text.special_ids import BOS, EOS, PAD, SPECIALS, UNK
from zoo.text.tokenizers import TOKENIZERS

GREEDY = GenerationConfig(beam_size=1, max_length=12)
CONFIGS = [
    GREEDY,
    GenerationConfig(beam_size=4, n_best=3, max_length=12),
    GenerationConfig(sample=True, seed=3, max_length=12),
    GenerationConfig(sample=True, seed=4, n_best=3, temperature=1.5, max_length=12),
    GenerationConfig(sample=True, seed=5, n_best=3, top_k=5, max_length=12),
    GenerationConfig(
        sample=True, seed=6, n_best=3, top_p=0.7, repetition_penalty=1.3, max_length=12
    ),
]
configs = pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
methods = pytest.mark.parametrize(
    "options", [{"beam_size": 1}, {"beam_size": 3}, {"sample": True, "seed": 1}], ids=str
)
kinds = pytest.mark.parametrize("kind", sorted(TOKENIZERS))


@torch.no_grad()
def log_probabilities(task, ids):
    """Return the log-probabilities (vocabulary,) after reading all ids again."""
    logits = at_least_float32(task(task.collate([{"inputs": ids}]))[0, -1])
    logits[[PAD, UNK, BOS]] = -torch.inf
    return logits.log_softmax(0)


def greedy_by_rereading(task, prompt, limit):
    """Greedy search that reads the whole text again for each token. The prompt stays as typed."""
    ids = asked(task, [prompt]).inputs[0].tolist()
    given = task.decode(ids[1:])
    for _ in range(limit):
        token = int(log_probabilities(task, ids).argmax())
        if token == EOS and not task.config.stream:
            break
        ids.append(token)
    return prompt + task.decode(ids[1:])[len(given) :]


@streams
@pytest.mark.parametrize("softmax", ["full", "adaptive"])
@torch.no_grad()
def test_a_step_gives_the_log_probabilities_of_reading_everything_again(stream, softmax):
    task = language(stream=stream, softmax=softmax)
    generator = torch.Generator().manual_seed(1)
    batch = asked(task)
    size = len(task.tokenizer)
    read = [[row[:n]] for row, n in zip(batch.inputs.tolist(), batch.lengths.tolist(), strict=True)]
    step_model = LanguageModelStepModel(task, batch)
    ids = torch.full((len(batch), 1), BOS)
    for width in (3, 2, 4, 1):
        found = step_model.step(ids)
        wanted = torch.stack([log_probabilities(task, p) for row in read for p in row])
        assert found.shape == (len(read), len(read[0]), size)
        torch.testing.assert_close(found, wanted.view_as(found), rtol=0, atol=1e-5)
        kept = torch.arange(1, len(read))
        prefixes = torch.randint(len(read[0]), (len(kept), width), generator=generator)
        step_model.reorder(kept, prefixes)
        ids = torch.randint(EOS + 1, size, (len(kept), width), generator=generator)
        if stream:
            ids[:, 0] = EOS  # a line end
        read = [
            [[*read[text][i], token] for i, token in zip(*row, strict=True)]
            for text, *row in zip(kept.tolist(), prefixes.tolist(), ids.tolist(), strict=True)
        ]


@streams
@kinds
def test_greedy_is_what_reading_everything_again_finds(stream, kind):
    task = language(kind, stream=stream, end=2.0)
    assert task.predict(PROMPTS, GREEDY) == [
        greedy_by_rereading(task, prompt, 12) for prompt in PROMPTS
    ]


@streams
@configs
def test_a_prompt_gets_in_a_batch_what_it_gets_alone(stream, config):
    task = language(stream=stream, end=4.0)
    together = continued(task, asked(task), config)
    for prompt, found in zip(PROMPTS, together, strict=True):
        (alone,) = continued(task, asked(task, [prompt]), config)
        assert [text for text, _ in alone] == [text for text, _ in found]
        assert [x for _, x in alone] == pytest.approx([x for _, x in found], abs=1e-5)
    assert len({found[0][0] for found in together}) == len(PROMPTS)
    assert all(len(found) == config.n_best for found in together)
    assert all([x for _, x in f] == sorted((x for _, x in f), reverse=True) for f in together)


@streams
@configs
def test_the_order_of_prompts_does_not_matter(stream, config):
    task = language(stream=stream, end=4.0)
    found = task.predict(PROMPTS, config)
    assert task.predict(PROMPTS[::-1], config) == found[::-1]
    assert task.predict(PROMPTS * 2, config) == found * 2
    assert task.predict([], config) == []


@pytest.mark.parametrize("n_best", [1, 3])
def test_a_seed_repeats_its_texts_and_leaves_torchs_generator_alone(n_best):
    task = language()
    first, again, other = (
        GenerationConfig(sample=True, n_best=n_best, seed=seed, max_length=20) for seed in (8, 8, 9)
    )
    state = torch.get_rng_state()
    found = task.predict(PROMPTS, first)
    assert n_best == 1 or all(len({*texts}) == 3 for texts in found)
    torch.rand(1)
    assert task.predict(PROMPTS, again) == found
    assert continuation(task, "a", first) == continuation(task, "a", again)
    torch.set_rng_state(state)
    different = task.predict(PROMPTS, other)
    continuation(task, "a", other)
    assert sum(a != b for a, b in zip(found, different, strict=True)) > 3
    assert torch.equal(torch.get_rng_state(), state)


@streams
@kinds
@pytest.mark.parametrize("options", [{}, {"sample": True, "seed": 1}, {"stop": ("a", "er")}])
def test_pieces_add_up_to_the_text_that_is_found_at_once(stream, kind, options):
    task = language(kind, stream=stream)
    counts = []
    config = GenerationConfig(beam_size=1, max_length=20, **options)
    for prompt in PROMPTS:
        written = continuation(task, prompt, config)
        assert prompt + "".join(written) == task.predict(prompt, config)[0]
        counts.append(len(written))
    assert "stop" in options or max(counts) > 10


def test_a_beam_search_gives_its_best_text_in_one_piece():
    task = language()
    config = GenerationConfig(beam_size=5, n_best=5, max_length=12)
    for prompt, (best, *_) in zip(PROMPTS, task.predict(PROMPTS, config), strict=True):
        assert list(task.stream(prompt, config)) == [best]


def watch(monkeypatch, task):
    """Record the batch shapes that are read, and whether that is without a state."""
    calls = []
    next_token_vectors = task.next_token_vectors

    def watched(batch, state=None, encoded=None):
        calls.append((*batch.inputs.shape, state is None))
        return next_token_vectors(batch, state, encoded)

    read = PreparedStep.read

    def watched_step(self, ids, layers):
        calls.append((len(ids), 1, False))
        return read(self, ids, layers)

    monkeypatch.setattr(task, "next_token_vectors", watched)
    monkeypatch.setattr(PreparedStep, "read", watched_step)
    return calls


@configs
@streams
def test_a_prompt_is_read_once_and_then_one_token_a_step(monkeypatch, config, stream):
    task = language(stream=stream, end=-9.0)
    batch, calls = asked(task), watch(monkeypatch, task)
    continued(task, batch, config)
    first, *others = calls
    assert first == (*batch.inputs.shape, True)
    assert 0 < len(others) <= config.max_length
    width = config.n_best if config.sample else config.beam_size
    for rows, steps, fresh in others:
        assert (steps, fresh) == (1, False)
        assert rows <= width * len(batch)


def test_a_piece_costs_one_step_however_long_the_text_is(monkeypatch):
    task = language("characters")
    calls = watch(monkeypatch, task)
    pieces = task.stream("the old cat", GenerationConfig(beam_size=1, max_length=50))
    assert next(pieces) == "the old cat"
    for count, _ in enumerate(pieces):
        assert calls == [(1, 12, True)] + [(1, 1, False)] * count
    assert count == 49


@pytest.mark.parametrize("limit", [1, 2, 17])
@methods
def test_a_stream_holds_line_ends_and_only_its_limit_ends_it(limit, options):
    task = language("characters", end=3.0)
    found = task.predict(PROMPTS, GenerationConfig(max_length=limit, **options))
    assert [len(text) for text in found] == [len(prompt) + limit for prompt in PROMPTS]
    assert all(text.startswith(prompt) for text, prompt in zip(found, PROMPTS, strict=True))
    assert limit < 17 or any("\n" in text[len(p) :] for text, p in zip(found, PROMPTS, strict=True))


@methods
def test_a_row_ends_where_the_model_says_so(options):
    task = language("characters", stream=False, end=4.0)
    found = task.predict(PROMPTS, GenerationConfig(max_length=30, **options))
    lengths = [len(text) - len(prompt) for text, prompt in zip(found, PROMPTS, strict=True)]
    assert len({*lengths}) > 2
    assert max(lengths) <= 30
    bound = task.predict(PROMPTS, GenerationConfig(max_length=30, min_length=30, **options))
    assert [len(text) - 30 for text in bound] == [len(prompt) for prompt in PROMPTS]


@streams
@configs
def test_special_tokens_are_never_generated(stream, config):
    task = language(stream=stream)
    with torch.no_grad():
        task.tokens.bias[[PAD, UNK, BOS]] = 50.0
    texts = [text for found in continued(task, asked(task), config) for text, _ in found]
    assert not [text for text in texts if any(special in text for special in SPECIALS)]


def test_in_a_stream_eos_is_a_line_end_inside_a_hypothesis():
    task = language("characters", end=3.0)
    config = GenerationConfig(beam_size=1, max_length=9)
    for (found,) in task.generate(asked(task), config):
        assert len(found.ids) == 9
        assert decode_stream(task.tokenizer, found.ids, True).count("\n") == found.ids.count(EOS)
    rows = language("characters", stream=False, end=3.0)
    assert not any(EOS in found.ids for (found,) in rows.generate(asked(rows), config))


def test_an_answer_begins_with_the_prompt_as_it_was_typed():
    task = language("lowercase")
    typed = "The  OLD zebra"
    assert task.decode(asked(task, [typed]).inputs[0, 1:].tolist()) == "the old <unk>"
    for config in (GREEDY, GenerationConfig(beam_size=3, n_best=3, max_length=12)):
        found = task.predict(typed, config)[0]
        texts = [found] if isinstance(found, str) else found
        assert all(text.startswith(typed) and len(text) > len(typed) for text in texts)
