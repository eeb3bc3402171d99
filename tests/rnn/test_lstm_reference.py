"""The reference: an LSTM gate by gate, and the mistakes that are made when one is written."""

from __future__ import annotations

import math

import pytest
import torch
from lstm_cases import LENGTHS, ROWS, TIME, assert_same, case, cases, engines, kinds, needs_bf16
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from zoo.rnn.lstm import LSTM
from zoo.rnn.lstm_reference import Weights, step


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("share", [None, 0.5])
def test_a_step_can_be_done_by_hand(share):
    x, h, c = 0.7, -0.3, 0.9
    i = sigmoid(0.5 * x + 1.0 * h + 0.1)
    f = sigmoid(-1.0 * x + 0.25 * h + 0.2 + 1.0)
    g = math.tanh(2.0 * x - 0.5 * h + 0.3)
    o = sigmoid(1.5 * x + 0.75 * h + 0.4 - 1.0)
    new_c = f * c + i * g
    new_h = o * math.tanh(new_c) * (1 if share is None else share)

    def column(*values):
        return torch.tensor(values, dtype=torch.float64)[:, None]

    weights = Weights(
        w_ih=column(0.5, -1.0, 2.0, 1.5),
        w_hh=column(1.0, 0.25, -0.5, 0.75),
        b_ih=column(0.1, 0.2, 0.3, 0.4)[:, 0],
        b_hh=column(0.0, 1.0, 0.0, -1.0)[:, 0],
        w_hr=None if share is None else column(share),
        scale=None,
        shift=None,
    )
    found_h, gates = step(column(x), column(h), column(c), weights)
    found = [found_h.item(), *(gate.item() for gate in gates)]
    assert found == pytest.approx([new_h, i, f, g, o, new_c], rel=1e-12)


def cell(lstm, suffix, x, h, c):
    """One step of one layer, as a formula."""
    w_ih, w_hh, b_ih, b_hh = (
        getattr(lstm, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def one_direction(lstm, suffix, x, h, c):
    """All steps of x (time, batch, input) from h and c; backward where the suffix says so."""
    shown = []
    for x_t in x.flip(0) if suffix.endswith("reverse") else x:
        h, c = cell(lstm, suffix, x_t, h, c)
        shown.append(h)
    return torch.stack(shown[::-1] if suffix.endswith("reverse") else shown), h, c


def right(lstm, x, state):
    lasts, ways = [], ("", "_reverse") if lstm.bidirectional else ("",)
    for layer in range(lstm.num_layers):
        outputs = []
        for way in ways:
            first = (part[len(lasts)] for part in state)  # its own
            output, *last = one_direction(lstm, f"_l{layer}{way}", x, *first)
            outputs.append(output)
            lasts.append(last)
        x = torch.cat(outputs, -1)
    return x, tuple(map(torch.stack, zip(*lasts, strict=True)))


def handed_up(lstm, x, state):
    """Wrong: at each step the upper layer goes on from the lower one's state, not from its own."""
    (h, c), shown = (part[0] for part in state), []
    for x_t in x:
        h, c = cell(lstm, "_l0", x_t, h, c)
        h, c = cell(lstm, "_l1", h, h, c)
        shown.append(h)
    return torch.stack(shown), (h.expand_as(state[0]), c.expand_as(state[1]))


def shared_state(lstm, x, state):
    """Wrong: all layers, directions and rows start from one state."""
    return right(lstm, x, tuple(part[:1, :1].expand_as(part) for part in state))


def top_state(lstm, x, state):
    """Wrong: what the lower layers ended with is not returned."""
    output, (h_n, c_n) = right(lstm, x, state)
    return output, (h_n[-1:], c_n[-1:])


def one_way(lstm, x, state):
    """Wrong: `bidirectional` is taken, and nothing reads backward."""
    output, h, c = one_direction(lstm, "_l0", x, *(part[0] for part in state))
    return output, (h[None], c[None])


def same(found, wanted):
    pairs = [(found[0], wanted[0]), *zip(found[1], wanted[1], strict=True)]
    return [one.shape == other.shape and torch.allclose(one, other) for one, other in pairs]


@engines
@pytest.mark.parametrize(
    ("written", "layers", "both", "wanted"),
    [
        (right, 2, True, [True, True, True]),
        (handed_up, 2, False, [False, False, False]),
        (shared_state, 2, True, [False, False, False]),
        (top_state, 2, False, [True, False, False]),
        (one_way, 1, True, [False, False, False]),
    ],
)
def test_the_usual_mistakes_are_not_made(engine, written, layers, both, wanted):
    lstm, x, state = case(layers, both, True, batch_first=False, engine=engine)
    torchs = nn.LSTM.forward(lstm, x, state)
    assert_same(lstm(x, state), torchs, 1e-12)
    assert same(written(lstm, x, state), torchs) == wanted


def by_modules(lstm, x, state):
    """One direction with layer norm, written with nn.LayerNorm."""
    lasts = []
    for layer, (h, c) in enumerate(zip(*state, strict=True)):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "norm_weight", "norm_bias")
        w_ih, w_hh, b_ih, b_hh, *scales = (getattr(lstm, f"{name}_l{layer}") for name in names)
        norms = [nn.LayerNorm(4, dtype=x.dtype) for _ in "ifgoc"]
        for norm, weight, bias in zip(norms, *scales, strict=True):
            norm.load_state_dict({"weight": weight, "bias": bias})
        shown = []
        for x_t in x:
            sums = (x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, 1)
            i, f, g, o = (norm(gate) for norm, gate in zip(norms, sums, strict=False))
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * norms[4](c).tanh()
            shown.append(h)
        lasts.append((h, c))
        x = torch.stack(shown)
    return x, tuple(map(torch.stack, zip(*lasts, strict=True)))


@pytest.mark.parametrize("engine", ["hoisted", "reference"])
@pytest.mark.parametrize("layers", [1, 2])
def test_layer_norm_normalises_each_gate_and_the_cell(engine, layers):
    options = {"engine": engine, "layer_norm": True, "batch_first": False}
    lstm, x, state = case(layers, stateful=True, **options)
    assert_same(lstm(x, state), by_modules(lstm, x, state), 1e-10)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_gates_come_for_every_layer_step_and_row(both, batch_first):
    lstm, x, _ = case(2, both, batch_first=batch_first, proj_size=2)
    outer = (ROWS, TIME) if batch_first else (TIME, ROWS)
    assert {part.shape for part in lstm(x, return_gates=True)[2]} == {(2 + 2 * both, *outer, 4)}
    alone = lstm(x[0] if batch_first else x[:, 0], return_gates=True)[2]
    assert {part.shape for part in alone} == {(2 + 2 * both, TIME, 4)}


@kinds
@cases
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_asking_for_the_gates_changes_no_result(kind, layers, both, stateful, lengths):
    lstm, x, state = case(layers, both, stateful, **kind)
    output, last, _ = lstm(x, state, lengths, return_gates=True)
    assert_same((output, last), lstm(x, state, lengths), 1e-12)


@cases
@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_gates_make_the_cell(layers, both, stateful, layer_norm):
    lstm, x, state = case(layers, both, stateful, layer_norm=layer_norm)
    output, (h_n, c_n), gates = lstm(x, state, LENGTHS, return_gates=True)
    c_0 = torch.zeros_like(c_n) if state is None else state[1]
    assert not any(part[:, torch.arange(TIME) >= LENGTHS[:, None]].any() for part in gates)
    for index in range(len(c_n)):
        for row, length in enumerate(LENGTHS):
            order = range(length) if index % (1 + both) == 0 else range(length)[::-1]
            i, f, g, o, c = (part[index, row, list(order)] for part in gates)
            before = torch.cat([c_0[index, row][None], c[:-1]])
            assert all(share.min() > 0 and share.max() < 1 for share in (i, f, o))
            assert_same((c, c[-1]), (f * before + i * g, c_n[index, row]), 1e-12)
            if not layer_norm:
                assert_same((o * c.tanh())[-1], h_n[index, row], 1e-12)
    if not layer_norm:
        shown = (gates.o * gates.c.tanh())[-1 - both :]
        assert_same(torch.cat(list(shown), -1), output, 1e-12)


def test_a_packed_sequence_shows_no_gates():
    lstm, x, _ = case()
    rows = pack_padded_sequence(x, LENGTHS, True, enforce_sorted=False)
    with pytest.raises(ValueError, match="pad it to give lengths or to see the gates"):
        lstm(rows, return_gates=True)


@needs_bf16
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_under_autocast_asking_for_the_gates_changes_no_dtype(lengths):
    lstm, x, _ = case(2, True, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output, last, _ = lstm(x, None, lengths, return_gates=True)
        assert_same((output, last), lstm(x, None, lengths), 5e-2)


SENTENCES = [
    ("The dog ate the apple", "DET NN V DET NN"),
    ("Everybody read that book", "NN V DET NN"),
]
TAGS = ["DET", "NN", "V"]


@kinds
def test_a_tagger_learns_two_sentences(kind):
    torch.manual_seed(1)
    words = sorted({word for text, _ in SENTENCES for word in text.split()})
    rows = [
        (
            torch.tensor([words.index(word) for word in text.split()]),
            torch.tensor([TAGS.index(tag) for tag in tags.split()]),
        )
        for text, tags in SENTENCES
    ]
    embedding, lstm, head = nn.Embedding(len(words), 6), LSTM(6, 6, **kind), nn.Linear(6, 3)
    learner = torch.optim.SGD(nn.ModuleList([embedding, lstm, head]).parameters(), lr=0.1)
    for _ in range(300):
        for ids, tags in rows:
            learner.zero_grad()
            nn.functional.cross_entropy(head(lstm(embedding(ids))[0]), tags).backward()
            learner.step()
    assert head(lstm(embedding(rows[0][0]))[0]).argmax(1).tolist() == [0, 1, 2, 0, 1]
