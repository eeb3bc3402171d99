"""The graphs of each task: everything from ids to scores that has weights.

    classify     ids, lengths (and n-grams)          -> logits
    tag          ids, lengths (and characters)       -> emissions
    translate    ids, lengths                        -> values, keys, h, c
                 next: ids, h, c, values, keys, …    -> log_probabilities, h, c
    generate     ids, lengths, h, c                  -> log_probabilities, h, c
    forecast     features, lengths, base, scale, …   -> forecast, quantiles

With a GRU there is no c.

What searches for an answer is outside: Viterbi, beam search and sampling are in `zoo.runtime`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from zoo.errors import InputError
from zoo.export.layers import FLOAT, INT64, Form, Layers, States, without_identity
from zoo.messages import _
from zoo.nn.adaptive_softmax import AdaptiveOutputLayer
from zoo.nn.attention import Attention
from zoo.nn.backbone import Backbone
from zoo.nn.forecast.heads import LEAST_SCALE
from zoo.nn.output_layer import OutputLayer
from zoo.rnn.gru.gru import GRU
from zoo.rnn.lstm import LSTM
from zoo.task import Task

FAR_BELOW = np.float32(-np.inf)
MODEL = "model.onnx"
NEXT = "next.onnx"


def write(task: Task, folder: Path, form: Form) -> list[str]:
    """Write the graphs of a task into a folder. Return their files.

    Raises InputError for a task that has none, and for options that ONNX does not know.
    """
    if task.name not in GRAPHS:
        known = ", ".join(sorted(GRAPHS))
        raise InputError(
            _("{task} cannot be exported whole; these can: {known}", task=task.name, known=known)
        )
    return GRAPHS[task.name](task, folder, form)


def _classify(task: Any, folder: Path, form: Form) -> list[str]:
    graph = Layers(form)
    x, lengths = _inputs(graph, task.backbone)
    states, lengths = _run(graph, task.backbone, x, lengths)
    vector = _pooled(graph, task, task.config.pool, states, lengths)
    logits = graph.linear(vector, task.head.weight, task.head.bias)
    if task.bag is not None:
        share = task.config.ngram_share
        ids = graph.given("ngrams", INT64, ["batch", "ngrams"])
        weights = graph.given("ngram_weights", FLOAT, ["batch", "ngrams"])
        rows = graph.op("Gather", graph.weight(task.bag.weight), ids)  # (batch, n-grams, labels)
        each = graph.op("Mul", rows, graph.op("Unsqueeze", weights, graph.ints(2)))
        wide = graph.op("ReduceSum", each, graph.ints(1), keepdims=0)
        wide = graph.op("Add", wide, graph.weight(task.bag.bias))
        parts = [
            graph.op("Mul", part, graph.value(np.float32(weight)))
            for part, weight in ((logits, 1 - share), (wide, share))
        ]
        logits = graph.op("Add", *parts)
    graph.save(folder / MODEL, {"logits": (logits, 2)})
    return [MODEL]


def _pooled(graph: Layers, task: Any, pool: str, states: States, lengths: str) -> str:
    """Return one vector for each row, (batch, directions * hidden)."""
    if pool == "merged":
        return graph.merged(states.h_n, 2 if task.backbone.rnn.bidirectional else 1)
    output = graph.op("Transpose", states.output, perm=[1, 0, 2])  # (batch, time, size)
    real = _real(graph, output, lengths)  # (batch, time)
    column = graph.op("Unsqueeze", real, graph.ints(2))
    if pool == "mean":
        total = graph.op("ReduceSum", output, graph.ints(1), keepdims=0)
        counts = graph.op("Cast", lengths, to=FLOAT)
        return graph.op("Div", total, graph.op("Unsqueeze", counts, graph.ints(1)))
    if pool == "max":
        kept = graph.op("Where", column, output, graph.value(np.float32(-1)))
        return graph.op("ReduceMax", kept, axes=[1], keepdims=0)
    if pool == "last":
        last = graph.op("Sub", lengths, graph.ints(1))
        place = graph.op("Unsqueeze", last, graph.ints(1))
        return graph.op("GatherND", output, place, batch_dims=1)
    assert task.attention is not None
    tanh = graph.op("Tanh", output)
    scores = graph.linear_steps(tanh, task.attention.weight, task.attention.bias)
    scores = graph.op("Where", column, scores, graph.value(FAR_BELOW))
    weights = graph.op("Softmax", scores, axis=1)  # (batch, time, 1)
    return graph.op("ReduceSum", graph.op("Mul", weights, output), graph.ints(1), keepdims=0)


def _tag(task: Any, folder: Path, form: Form) -> list[str]:
    graph = Layers(form)
    x, lengths = _inputs(graph, task.backbone)
    if task.speller is not None:
        spelt, inner = task.speller, task.speller.backbone
        assert inner.embedding is not None
        letters = graph.given("characters", INT64, ["words", "letters"])
        sizes = graph.given("character_lengths", INT64, ["words"])
        place = graph.given("word_index", INT64, ["batch", "time"])
        vectors = graph.embedding(letters, inner.embedding.weight)
        by_time = graph.op("Transpose", vectors, perm=[1, 0, 2])
        states = graph.rnn(inner.rnn, by_time, sizes)
        words = graph.linear(graph.merged(states.h_n, 2), spelt.project.weight)
        x = graph.op("Add", x, graph.op("Gather", words, place))
    states, _ = _run(graph, task.backbone, x, lengths)
    output = graph.op("Transpose", states.output, perm=[1, 0, 2])
    emissions = graph.linear_steps(output, task.head.weight, task.head.bias)
    graph.save(folder / MODEL, {"emissions": (emissions, 3)})
    return [MODEL]


def _translate(task: Any, folder: Path, form: Form) -> list[str]:
    encoder = Layers(form)
    x, lengths = _inputs(encoder, task.backbone)
    states, _ = _run(encoder, task.backbone, x, lengths)
    outputs = {name: (value, 3) for name, value in _start(encoder, task, states).items()}
    attention = task.decoder.attention
    if attention is not None:
        values = encoder.op("Transpose", states.output, perm=[1, 0, 2])  # (batch, read, size)
        outputs["values"] = (values, 3)
        if attention.key is not None:
            keys = encoder.linear_steps(values, attention.key.weight, attention.key.bias)
            outputs["keys"] = (keys, 3)
    encoder.save(folder / MODEL, outputs)

    decoder = task.decoder
    graph = Layers(form)
    ids = graph.given("ids", INT64, ["texts", "prefixes"])
    rnn = decoder.backbone.rnn
    shape: list[str | int] = [rnn.num_layers, "rows", rnn.hidden_size]
    state = tuple(graph.given(part, FLOAT, shape) for part in rnn.parts)
    table = _table(task.tokens, task.backbone)
    x = graph.embedding(graph.op("Reshape", ids, graph.ints(1, -1)), table)  # (1, rows, size)
    if decoder.input_feeding:
        fed = graph.given("fed", FLOAT, ["rows", decoder.size])
        x = graph.op("Concat", x, graph.op("Unsqueeze", fed, graph.ints(0)), axis=2)
    states = graph.rnn(rnn, x, state=state)
    texts = graph.op("Shape", ids)
    read = graph.op("Squeeze", states.output, graph.ints(0))  # (rows, hidden)
    if attention is not None:
        width = graph.op("Concat", texts, graph.ints(rnn.hidden_size), axis=0)
        queries = graph.op("Reshape", read, width)  # (texts, prefixes, hidden)
        context = _context(graph, attention, queries, task.backbone.output_size)
        flat = graph.op("Reshape", context, graph.ints(-1, task.backbone.output_size))
        read = graph.op("Concat", flat, read, axis=1)
    vectors = graph.op("Tanh", graph.linear(read, decoder.mix.weight, decoder.mix.bias))
    logs = _log_probabilities(graph, task.tokens, task.backbone, vectors)
    results = {"log_probabilities": (logs, 2), **_last_state(states)}
    if decoder.input_feeding:
        results["fed_n"] = (vectors, 2)
    graph.save(folder / NEXT, results)
    return [MODEL, NEXT]


def _start(graph: Layers, task: Any, states: States) -> dict[str, str]:
    """Return the decoder's first h and c, (layers, batch, hidden); none where they are zero."""
    bridge = task.bridge
    found = {}
    for name, maps, last in (("h", bridge.h, states.h_n), ("c", bridge.c, states.c_n)):
        each = []
        for layer, linear in enumerate(maps):
            start = graph.ints(layer * bridge.directions)
            rows = graph.op("Slice", last, start, graph.ints((layer + 1) * bridge.directions))
            beside = graph.op("Flatten", graph.op("Transpose", rows, perm=[1, 0, 2]), axis=1)
            linear = cast(Any, linear)
            made = graph.linear(beside, linear.weight, linear.bias)
            made = graph.op("Tanh", made) if name == "h" else made
            each.append(graph.op("Unsqueeze", made, graph.ints(0)))
        if each:
            found[name] = each[0] if len(each) == 1 else graph.op("Concat", *each, axis=0)
    return found


def _context(graph: Layers, attention: Attention, queries: str, size: int) -> str:
    """Attend to the encoder's output. Return contexts (texts, prefixes, size)."""
    values = graph.given("values", FLOAT, ["texts", "read", size])
    padding = graph.given("padding", FLOAT, ["texts", 1, "read"])  # 0, or -inf on padding
    keys = values
    if attention.key is not None:
        keys = graph.given("keys", FLOAT, ["texts", "read", attention.key.out_features])
    if attention.kind == "additive":
        asked = graph.linear_steps(queries, attention.query.weight)
        sums = graph.op(
            "Add",
            graph.op("Unsqueeze", asked, graph.ints(2)),
            graph.op("Unsqueeze", keys, graph.ints(1)),
        )  # (texts, prefixes, read, size)
        tanh = graph.op("Tanh", sums)
        weight = graph.value(attention.score.weight.detach().float().T)
        scores = graph.op("Squeeze", graph.op("MatMul", tanh, weight), graph.ints(3))
    else:
        scores = graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[0, 2, 1]))
    weights = graph.op("Softmax", graph.op("Add", scores, padding), axis=2)
    return graph.op("MatMul", weights, values)


def _generate(task: Any, folder: Path, form: Form) -> list[str]:
    graph = Layers(form)
    onward = task.onward[0]  # the forward direction alone
    x, lengths = _inputs(graph, onward)
    rnn = onward.rnn
    shape: list[str | int] = [rnn.num_layers, "batch", rnn.hidden_size]
    state = tuple(graph.given(part, FLOAT, shape) for part in rnn.parts)
    states, _ = _run(graph, onward, x, lengths, state)
    vectors = graph.merged(states.h_n, 1)
    linear = without_identity(task.project)
    if linear is not None:
        vectors = graph.linear(vectors, linear.weight, linear.bias)
    logs = _log_probabilities(graph, task.tokens, onward, vectors)
    graph.save(
        folder / MODEL,
        {"log_probabilities": (logs, 2), **_last_state(states)},
    )
    return [MODEL]


def _last_state(states: States) -> dict[str, tuple[str, int]]:
    """Return the results h_n and, of an LSTM, c_n of a step, as `Layers.save` takes them."""
    return {name: (value, 3) for name, value in zip(("h_n", "c_n"), states.state, strict=False)}


def _forecast(task: Any, folder: Path, form: Form) -> list[str]:
    if task.config.head == "student":
        raise InputError(
            _("head=student cannot be exported: its quantiles need SciPy; head=quantiles can")
        )
    graph = Layers(form)
    framing, outputs = task.framing, task.distribution.outputs
    x, lengths = _inputs(graph, task.backbone)
    states, lengths = _run(graph, task.backbone, x, lengths)
    known = ""
    if framing.future:
        width = framing.segment * framing.future
        known = graph.given("known", FLOAT, ["batch", framing.segments, width])
    if task.config.read == "h_n_c_n":
        written = _unrolled(graph, task, _start(graph, task, states), known)
    else:
        pool = "merged" if task.config.read == "h_n" else task.config.pool
        vector = _pooled(graph, task, pool, states, lengths)
        if known:
            vector = graph.op("Concat", vector, graph.op("Flatten", known, axis=1), axis=1)
        written = graph.linear(vector, task.head.weight, task.head.bias)
    shape = graph.ints(0, framing.segments * framing.segment, framing.own, outputs)
    every = graph.op("Reshape", written, shape)
    horizon = graph.ints(0), graph.ints(task.config.horizon), graph.ints(1)
    numbers = graph.op("Slice", every, *horizon)  # (batch, horizon, own, outputs)
    first, others = numbers, ""
    if outputs > 1:
        split = graph.ints(1, outputs - 1)
        first, others = graph.op("Split", numbers, split, results=2, axis=3)
    base = graph.given("base", FLOAT, ["batch", "steps", framing.own])
    scale = graph.given("scale", FLOAT, ["batch", 1, framing.own])
    share = graph.value(task.share.detach().float())
    added = graph.op("Mul", graph.op("Mul", share, _last(graph, scale)), first)
    centre = graph.op("Add", _last(graph, base), added)  # (batch, horizon, own, 1)
    results = {"forecast": (centre, 4)}
    if others:
        results["quantiles"] = (_quantiles(graph, task, centre, others), 4)
    graph.save(folder / MODEL, results)
    return [MODEL]


def _unrolled(graph: Layers, task: Any, start: dict[str, str], known: str) -> str:
    """Unroll the decoder of a forecast. Return what it writes, (batch, segments, numbers)."""
    framing, decoder = task.framing, task.decoder
    state = tuple(start.values())  # h and, of an LSTM, c: (layers, batch, size)
    ahead = graph.op("Transpose", known, perm=[1, 0, 2]) if known else ""  # by segment
    batch = graph.op("Shape", state[0], start=1, end=2)
    if not decoder.fed:
        places = graph.value(decoder.places.detach().float().unsqueeze(1))  # (segments, 1, size)
        wide = graph.op("Concat", graph.ints(1), batch, graph.ints(1), axis=0)
        read = graph.op("Expand", places, wide)
        if known:
            read = graph.op("Concat", read, ahead, axis=2)
        output = graph.rnn(decoder.rnn, read, state=state).output
        vectors = graph.op("Transpose", output, perm=[1, 0, 2])
        return graph.linear_steps(vectors, task.head.weight, task.head.bias)
    shape = graph.op("Concat", graph.ints(1), batch, graph.ints(decoder.fed), axis=0)
    read = graph.op("ConstantOfShape", shape)  # (1, batch, fed), zeros
    outputs = graph.ints(0, -1, task.distribution.outputs)
    each = []
    for segment in range(framing.segments):
        if known:
            some = graph.op("Slice", ahead, graph.ints(segment), graph.ints(segment + 1))
            read = graph.op("Concat", read, some, axis=2)
        states = graph.rnn(decoder.rnn, read, state=state)
        state = states.state
        vector = graph.op("Squeeze", states.output, graph.ints(0))
        made = graph.linear(vector, task.head.weight, task.head.bias)
        each.append(graph.op("Unsqueeze", made, graph.ints(1)))
        place = graph.value(np.array(0, np.int64))
        centre = graph.op("Gather", graph.op("Reshape", made, outputs), place, axis=2)
        read = graph.op("Unsqueeze", centre, graph.ints(0))
    return graph.op("Concat", *each, axis=1)


def _quantiles(graph: Layers, task: Any, centre: str, others: str) -> str:
    """Return quantiles (batch, horizon, own, levels) around a centre (batch, horizon, own, 1)."""
    steps = graph.op("Softplus", others)
    if task.config.head == "gaussian":
        levels = torch.tensor([*task.config.quantiles], dtype=torch.float64)
        z = graph.value(torch.special.ndtri(levels).float())
        scale = graph.op("Add", steps, graph.value(np.float32(LEAST_SCALE)))
        return graph.op("Add", centre, graph.op("Mul", scale, z))
    count, middle = task.distribution.outputs, task.distribution.middle
    axis = graph.value(np.array(3, np.int64))
    parts = graph.op("Split", steps, graph.ints(middle, count - 1 - middle), results=2, axis=3)
    low = graph.op("Sub", centre, graph.op("CumSum", parts[0], axis, reverse=1))
    high = graph.op("Add", centre, graph.op("CumSum", parts[1], axis))
    return graph.op("Concat", low, centre, high, axis=3)


def _last(graph: Layers, x: str) -> str:
    """Return x (batch, steps, own) with one dimension more, (batch, steps, own, 1)."""
    return graph.op("Unsqueeze", x, graph.ints(3))


def _inputs(graph: Layers, backbone: Backbone) -> tuple[str, str]:
    """Add the inputs of a backbone. Return its vectors (batch, time, size), and the lengths."""
    if backbone.embedding is None:
        size = backbone.rnn.input_size
        x = graph.given("features", FLOAT, ["batch", "time", size])
    else:
        ids = graph.given("ids", INT64, ["batch", "time"])
        x = graph.embedding(ids, backbone.embedding.weight)
    return x, graph.given("lengths", INT64, ["batch"])


def _run(
    graph: Layers,
    backbone: Backbone,
    x: str,
    lengths: str,
    state: tuple[str, ...] | None = None,
) -> tuple[States, str]:
    """Run the recurrent layer of a backbone over vectors (batch, time, size).

    Returns its results, in which a text of length 0 is all zeros, and the lengths, 1 or more.
    """
    steps = graph.op("Max", lengths, graph.ints(1))
    by_time = graph.op("Transpose", x, perm=[1, 0, 2])
    states = graph.rnn(backbone.rnn, by_time, steps, state)
    if state is not None:  # it has begun: no text is empty
        return states, steps
    some = graph.op("Greater", lengths, graph.ints(0))  # (batch,)
    column = graph.op("Unsqueeze", some, graph.ints(1))  # (batch, 1), as (…, batch, size)
    output = graph.op("Where", column, states.output, graph.value(np.float32(0)))
    last = []
    for part, value in zip(backbone.rnn.parts, states.state, strict=True):
        first = graph.value(np.float32(0))
        if backbone.rnn.learned_state:
            first = graph.value(_learned(backbone.rnn, f"{part}_0"))
        last.append(graph.op("Where", column, value, first))
    return States(output, *last), steps


def _learned(rnn: LSTM | GRU, name: str) -> np.ndarray:
    """Return a learned initial state, (layers * directions, 1, hidden)."""
    return getattr(rnn, name).detach().float().numpy()


def _real(graph: Layers, output: str, lengths: str) -> str:
    """Return True for the steps of each text, (batch, time), of an output (batch, time, size)."""
    time = graph.op("Squeeze", graph.op("Shape", output, start=1, end=2), graph.ints(0))
    zero, one = graph.value(np.array(0, np.int64)), graph.value(np.array(1, np.int64))
    steps = graph.op("Range", zero, time, one)
    return graph.op("Less", steps, graph.op("Unsqueeze", lengths, graph.ints(1)))


def _table(tokens: OutputLayer, backbone: Backbone) -> Any:
    """Return the embedding that an output layer reads ids with, (vocabulary, size)."""
    embedding = tokens.embedding if tokens.embedding is not None else backbone.embedding
    assert embedding is not None
    return embedding.weight


def _log_probabilities(graph: Layers, tokens: OutputLayer, backbone: Backbone, vectors: str) -> str:
    """Return log-probabilities (rows, vocabulary) of vectors (rows, size)."""
    logits = graph.linear(vectors, tokens.output_weight(backbone), tokens.bias)
    if not isinstance(tokens, AdaptiveOutputLayer):
        return graph.op("LogSoftmax", logits, axis=1)
    sizes = [high - low for low, high in pairwise([0, *tokens.edges])]
    parts = graph.op("Split", logits, graph.ints(*sizes), results=len(sizes), axis=1)
    clusters = graph.linear(vectors, tokens.clusters, tokens.cluster_bias)
    head = graph.op("LogSoftmax", graph.op("Concat", parts[0], clusters, axis=1), axis=1)
    split = graph.ints(sizes[0], *[1] * (len(sizes) - 1))
    known, *shares = graph.op("Split", head, split, results=len(sizes), axis=1)
    tails = [
        graph.op("Add", graph.op("LogSoftmax", part, axis=1), share)
        for part, share in zip(parts[1:], shares, strict=True)
    ]
    return graph.op("Concat", known, *tails, axis=1)


# By the task's name: its parts are read, which only it has.
GRAPHS: dict[str, Callable[[Any, Path, Form], list[str]]] = {
    "classify": _classify,
    "tag": _tag,
    "translate": _translate,
    "generate": _generate,
    "forecast": _forecast,
}
