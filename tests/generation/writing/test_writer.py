"""Writing without a StepModel's steps, and captured: the same texts with the same probabilities."""

from __future__ import annotations

import copy
import gc
import logging
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from generate_cases import PROMPTS, asked, language, streams
from graph_cases import Tape

from zoo.device import autocast
from zoo.errors import InputError
from zoo.generation import sampling
from zoo.generation.config import GenerationConfig
from zoo.generation.writing import writer
from zoo.generation.writing.prepared_step import ModelStep, PreparedStep, obstacle, prepare
from zoo.rnn.cuda import cuda_graph
from zoo.rnn.cuda.cuda_graph import GraphCache

CPU = torch.device("cpu")
LENGTH = 45  # a graph writes 32 of them between two looks
CONFIGS = [
    GenerationConfig(beam_size=1, max_length=LENGTH),
    GenerationConfig(beam_size=1, max_length=LENGTH, min_length=7),
    GenerationConfig(sample=True, seed=3, max_length=LENGTH),
    GenerationConfig(sample=True, seed=4, n_best=3, temperature=1.5, max_length=LENGTH),
    GenerationConfig(sample=True, seed=5, n_best=2, top_k=5, max_length=LENGTH, min_length=40),
    GenerationConfig(
        sample=True, seed=6, n_best=3, top_p=0.7, max_length=LENGTH, min_length=LENGTH
    ),
]
configs = pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
BROKEN = "writing launches its steps singly, without a CUDA graph: broken"


@pytest.fixture
def tape(monkeypatch):
    """Let the CPU capture on a tape, at any length; the tape."""
    found = Tape()
    cache = GraphCache(CPU, found)
    monkeypatch.setitem(cuda_graph.RECORDERS, "cpu", lambda device: found)
    monkeypatch.setitem(cuda_graph._caches, CPU, cache)
    monkeypatch.setattr(writer, "LEAST_STEPS", 1)
    monkeypatch.setattr(writer, "idle", writer.Idle())
    return found


@pytest.fixture
def by_steps(monkeypatch):
    """A function that writes with the StepModel's steps alone, by the model's own forward."""

    def write(task, config):
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "_writer", lambda *given: None)
            patch.setattr("zoo.generation.language_model.prepare", ModelStep)
            return found(task, config)

    return write


def found(task, config):
    """Return the ids and the log-probability of each text of each prompt."""
    each = task.generate(asked(task).to(task.device), config)
    return [[(h.ids, h.log_probability) for h in of_prompt] for of_prompt in each]


def assert_same(ours, wanted, bound=1e-9):
    assert [[ids for ids, _ in each] for each in ours] == [[i for i, _ in each] for each in wanted]
    for one, other in zip(ours, wanted, strict=True):
        assert [x for _, x in one] == pytest.approx([x for _, x in other], abs=bound)


@streams
@configs
@pytest.mark.parametrize("softmax", ["full", "adaptive"])
def test_a_writer_writes_what_the_steps_write(by_steps, stream, config, softmax):
    task = language(stream=stream, softmax=softmax, end=3.0)
    wanted = by_steps(task, config)
    assert_same(found(task, config), wanted)
    lengths = {len(ids) for each in wanted for ids, _ in each}
    assert lengths == {LENGTH} if stream or config.min_length == LENGTH else len(lengths) > 1


@streams
@configs
def test_a_captured_writer_writes_what_the_steps_write(tape, by_steps, stream, config):
    task = language(stream=stream, end=3.0)
    assert_same(found(task, config), by_steps(task, config))
    assert tape.recorded == 1
    assert tape.replayed > 0
    again = found(task, config)  # a writer that waited goes on with it
    assert_same(again, by_steps(task, config))
    assert tape.recorded == 1


@pytest.mark.parametrize("options", [{}, {"sample": True, "seed": 2, "top_k": 3}])
def test_a_captured_stream_yields_what_is_written_at_once(tape, options):
    task = language(end=1.0)
    config = GenerationConfig(beam_size=1, max_length=LENGTH, **options)
    pieces = [*task.stream("the old cat", config)]
    assert tape.recorded == 1
    assert "".join(pieces) == task.predict("the old cat", config)[0]
    assert len(pieces) > 10


def test_a_reader_who_leaves_gives_the_writer_back(tape):
    task = language()
    config = GenerationConfig(beam_size=1, max_length=LENGTH)
    for count in range(3):
        pieces = task.stream("the old cat", config)
        for _ in range(4):
            next(pieces)
        pieces.close()
        assert tape.recorded == 1, count


def test_two_readers_at_once_do_not_share_a_writer(tape):
    task = language(end=1.0)
    config = GenerationConfig(beam_size=1, max_length=LENGTH)
    alone = [[*task.stream(prompt, config)] for prompt in PROMPTS[:3]]
    turns = [task.stream(prompt, config) for prompt in PROMPTS[:3]]
    heard = [[] for _ in turns]
    for _ in range(1 + LENGTH):
        for pieces, one in zip(heard, turns, strict=True):
            pieces.extend(piece for piece in [next(one, None)] if piece is not None)
    assert heard == alone
    assert tape.recorded == 3


def test_a_writer_that_waited_knows_the_weights_of_today(tape, by_steps):
    task = language("words").float()
    config = GenerationConfig(sample=True, seed=3, max_length=LENGTH)

    def cast(model):  # the weights of its steps are copies
        with autocast(CPU, "bf16"):
            return found(model, config)

    before = cast(task)
    for weight in task.parameters():
        weight.data.mul_(0.5)  # which no version counts
    after = cast(task)
    assert tape.recorded == 1
    fresh = cast(copy.deepcopy(task))
    assert before != after
    assert after == fresh
    other = language("words").float()
    task.backbone.embedding.weight = other.backbone.embedding.weight
    task.onward[0].embedding = task.backbone.embedding
    assert_same(found(task, config), by_steps(task, config), 1e-4)
    assert tape.recorded == 3  # that of the copy, and with another weight


def test_writers_leave_with_their_model(tape):
    task = language()
    found(task, CONFIGS[0])
    assert len(writer.idle.writers) == 1
    (waiting,) = writer.idle.writers.values()
    gone = weakref.ref(waiting[0][1])
    for size in range(1, 2 + writer.MOST_IDLE):
        task.predict(PROMPTS[:size], CONFIGS[0])
    assert len(waiting) == writer.MOST_IDLE
    del task, waiting
    gc.collect()
    assert not writer.idle.writers
    assert gone() is None


def test_few_tokens_are_not_worth_a_graph(tape, monkeypatch):
    monkeypatch.setattr(writer, "LEAST_STEPS", 12)
    task = language()
    task.predict(PROMPTS, GenerationConfig(beam_size=1, max_length=12))
    assert tape.recorded == 0
    task.predict(PROMPTS, GenerationConfig(beam_size=1, max_length=13))
    assert tape.recorded == 1


@pytest.mark.parametrize("number", [1, 2])
def test_a_graph_that_cannot_be_captured_or_writes_nonsense_costs_a_line(
    tape, by_steps, caplog, monkeypatch, number
):
    task, config = language(end=3.0), CONFIGS[3]
    wanted = by_steps(task, config)
    if number == 1:
        tape.fail_at = 1
        message = BROKEN
    else:
        monkeypatch.setattr(tape, "record", lambda work: work() or (lambda: None))
        message = "the graph writes other tokens than the step"
    with caplog.at_level(logging.WARNING, "zoo"):
        assert_same(found(task, config), wanted)
    (line,) = caplog.messages
    assert message in line


@pytest.mark.parametrize("captured", [False, True])
def test_numbers_that_are_none_are_an_error_after_the_pieces_before(request, captured):
    if captured:
        request.getfixturevalue("tape")
    task = language(tied=False)
    config = GenerationConfig(beam_size=1, max_length=LENGTH)
    ids = task.generate(asked(task, ["the"]), config)[0][0].ids
    place = next(i for i in range(3, LENGTH) if ids[i] not in ids[:i])
    with torch.no_grad():
        task.backbone.embedding.weight[ids[place]] = torch.nan
    pieces = task.stream("the", config)
    read = [next(pieces) for _ in range(2 + place)]  # the prompt first
    assert len(read) == 2 + place
    with pytest.raises(InputError, match="no numbers"):
        next(pieces)


def test_what_a_prepared_step_cannot_do_is_done_by_the_model(by_steps):
    assert obstacle(language()) is None
    assert isinstance(prepare(language()), PreparedStep)
    assert obstacle(language().train()) is not None
    normed = language()
    normed.onward[0].lstm.engine = "reference"
    assert isinstance(prepare(normed), ModelStep)
    assert_same(found(normed, CONFIGS[3]), by_steps(language(), CONFIGS[3]))


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_gpu
@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:RNN module weights are not part")  # see the last test
@pytest.mark.parametrize(
    ("precision", "stream"),
    [("fp64", False), ("fp32", True), ("fp32", False), ("fp16", True), ("bf16", True)],
)
def test_a_gpu_writes_captured_what_it_writes_singly(
    by_steps, monkeypatch, caplog, precision, stream
):
    task = language(stream=stream, end=3.0).cuda()
    if precision != "fp64":
        task.float()
    bound = 1e-9 if precision == "fp64" else 1e-4
    half = precision in ("fp16", "bf16")
    monkeypatch.setattr(writer, "idle", writer.Idle())
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for config in CONFIGS:
            with autocast(task.device, precision if half else "fp32"):
                with caplog.at_level(logging.WARNING, "zoo"):
                    captured = found(task, config)
                    assert captured == found(task, config)
                assert not caplog.messages
                assert len(writer.idle.writers[task]) > 0
                with monkeypatch.context() as patch:
                    patch.setattr(writer, "LEAST_STEPS", 1 << 30)
                    assert_same(captured, found(task, config), bound)
            if not half:  # in half precision another order of sums draws other tokens
                # On a processor, too, sums of forty fp32 logarithms are up to 2e-3 apart.
                assert_same(
                    captured, by_steps(task, config), bound if precision == "fp64" else 1e-2
                )


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("threads", [4])
def test_threads_on_a_gpu_write_what_they_write_alone(threads):
    task = language(end=1.0).cuda()
    config = GenerationConfig(sample=True, seed=3, max_length=LENGTH)
    alone = [task.predict(prompt, config) for prompt in PROMPTS[:threads]]
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            assert [*pool.map(lambda p: task.predict(p, config), PROMPTS[:threads])] == alone


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_reads_and_writes_without_a_warning(precision):
    task = language(end=1.0).float().cuda()
    with autocast(task.device, precision), warnings.catch_warnings():
        warnings.simplefilter("error")
        found(task, CONFIGS[2])
