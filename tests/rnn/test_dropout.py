"""Dropout: the share asked for, in the place asked for, and the same bits for the same seed."""

from __future__ import annotations

import math

import pytest
import torch
from lstm_cases import (
    LENGTHS,
    ROWS,
    TIME,
    assert_same,
    case,
    engines,
    everything,
    kinds,
    make,
    needs_gpu,
    rows_of,
)

from zoo.rnn import dropout, stack
from zoo.rnn.lstm import LSTM

SIZE = 1 << 18
ONES = torch.ones(SIZE)
shares = pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
draws = pytest.mark.parametrize("draw", [dropout.dropout, dropout.locked_dropout])
lengths_or_not = pytest.mark.parametrize("lengths", [None, LENGTHS])


def zeros_within(dropped, share):
    """Whether `share` of the elements are zero, to four standard deviations."""
    bound = 4 * math.sqrt(share * (1 - share) / dropped.numel())
    return abs(dropped.eq(0).double().mean().item() - share) < bound


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


@shares
def test_each_of_four_neighbours_is_dropped_as_often_as_asked(share):
    lanes = dropout.dropout(ONES, share).view(-1, 4)  # four share a draw of the generator
    assert all(zeros_within(lane, share) for lane in lanes.unbind(1))


@shares
def test_what_is_kept_makes_up_for_what_is_not(share):
    dropped = dropout.dropout(ONES, share)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - share)), rtol=2e-4, atol=0)
    assert dropped.mean().item() == pytest.approx(1, abs=4 * math.sqrt(share / (1 - share) / SIZE))


@shares
@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_neighbours_fall_independently(share, distance):
    dropped = dropout.dropout(ONES, share).eq(0).double() - share
    together = (dropped[distance:] * dropped[:-distance]).mean().item() / (share * (1 - share))
    assert abs(together) < 4 / math.sqrt(SIZE)


@draws
def test_a_seed_repeats_its_mask(draw):
    x, seen = torch.ones(3, 50, 50), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        seen.append(draw(x, 0.5))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@draws
def test_where_nothing_is_dropped_nothing_is_copied(draw):
    x = torch.ones(2, 3, 4)
    assert draw(x, 0.0) is x
    assert draw(x, 0.5, training=False) is x


@draws
@pytest.mark.parametrize("share", [1.0, 1 - 1e-6])
def test_a_share_of_one_leaves_zeros(draw, share):
    assert not draw(torch.ones(2, 3, 4), share).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_locked_dropout_is_one_mask_for_all_steps_and_another_for_each_row(dtype):
    x = torch.rand(7, 300, 9).to(dtype) + 0.5
    dropped = dropout.locked_dropout(x, 0.5)
    assert dropped.dtype == dtype
    zeros = dropped == 0
    assert torch.equal(zeros, zeros[:1].expand_as(zeros))
    assert zeros_within(zeros[0].logical_not(), 0.5)
    assert len(zeros[0].unique(dim=0)) > 200  # of 512 patterns, in 300 rows
    assert_same(dropped[~zeros], 2 * x[~zeros])


@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (5,), (3, 7), (1, 3, 11), (0,), (4, 0, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_number_of_elements_will_do(shape, dtype):
    mask = dropout.mask(torch.empty(0, dtype=dtype), shape, 0.5)
    assert (mask.shape, mask.dtype) == (shape, dtype)
    assert mask.eq(0).logical_or(mask.eq(2)).all()


def seeded(seed, lstm, *given):
    torch.manual_seed(seed)
    return everything(lstm, *given)


@kinds
@lengths_or_not
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5},
        {"output_dropout": 0.5, "locked_dropout": True},
        {"weight_dropout": 0.5},
    ],
)
def test_the_same_seed_gives_the_same_bits(kind, lengths, both, options):
    """In both directions too, of which people say that they cannot be repeated."""
    given = (*case(3, both, **kind, **options), lengths)
    one, same, other = (seeded(seed, *given) for seed in (5, 5, 6))
    assert_same(one, same)
    assert not torch.isclose(one["output"], other["output"]).all()


@pytest.mark.parametrize(
    "options", [{"dropout": 0.5, "output_dropout": 0.5}, {"weight_dropout": 0.5}]
)
@lengths_or_not
def test_all_engines_drop_the_same(options, lengths):
    found = [
        seeded(5, *case(3, True, True, engine=engine, **options), lengths)
        for engine in ("torch", "hoisted", "reference")
    ]
    assert_same(found[1], found[0], 1e-10)
    assert_same(found[2], found[0], 1e-10)


@engines
@lengths_or_not
def test_dropout_acts_between_layers_in_training_only(engine, lengths):
    lstm, x, _ = case(2, True, dropout=0.5, engine=engine)
    dry = make(2, True, engine=engine)
    (_, (found, _)), (_, (wanted, _)) = lstm(x, None, lengths), dry(x, None, lengths)
    assert torch.equal(found[:2], wanted[:2])  # the first layer reads all of the input
    assert not torch.isclose(found[2:], wanted[2:]).any()
    assert_same(lstm.eval()(x, None, lengths), dry(x, None, lengths))


def test_dropout_between_layers_keeps_the_mean():
    lstm, x, _ = case(2, dropout=0.5, bias=False)
    with torch.no_grad():
        lstm.weight_ih_l1 *= 1e-3  # so small that the second layer is linear
    mean = lstm(x[:1].expand(2000, -1, -1))[1][0][1].mean(0)
    wanted = lstm.eval()(x[:1])[1][0][1, 0]
    assert (mean - wanted).norm() < 0.1 * wanted.norm()


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"output_dropout": 0.5}])
def test_an_unbatched_row_takes_dropout_too(options):
    lstm, x, state = case(2, True, True, **options)
    torch.manual_seed(3)
    output, last = lstm(x[:1], rows_of(state, slice(0, 1)))
    torch.manual_seed(3)
    assert_same(lstm(x[0], rows_of(state, 0)), (output[0], rows_of(last, 0)))


@kinds
@lengths_or_not
@pytest.mark.parametrize("layers", [1, 2])
def test_output_dropout_acts_on_output_alone(kind, lengths, layers):
    lstm, x, state = case(layers, True, True, output_dropout=0.25, **kind)
    output, last = lstm(x, state, lengths)
    wanted, wanted_last = lstm.eval()(x, state, lengths)
    assert_same(last, wanted_last, 1e-12)
    scale = output[wanted != 0] / wanted[wanted != 0]
    assert_same(scale[scale != 0], torch.full_like(scale[scale != 0], 4 / 3), 1e-12)
    assert zeros_within(scale, 0.25)


@kinds
@lengths_or_not
def test_locked_dropout_drops_a_row_the_same_at_all_its_steps(kind, lengths):
    options = {"locked_dropout": True, "dropout": 0.5, "output_dropout": 0.5, **kind}
    lstm, x, _ = case(2, True, **options)
    real = torch.full((ROWS,), TIME) if lengths is None else lengths
    zeros = [row[:n] == 0 for row, n in zip(lstm(x, None, lengths)[0], real, strict=True)]
    assert all(torch.equal(row, row[:1].expand_as(row)) for row in zeros)
    assert len({tuple(row[0].tolist()) for row in zeros}) == ROWS


@pytest.mark.parametrize("locked", [False, True])
def test_between_layers_too_dropout_is_locked_if_asked(monkeypatch, locked):
    lstm, x, _ = case(2, dropout=0.5, locked_dropout=locked)
    read, run = [], stack.run_layer
    monkeypatch.setattr(stack, "run_layer", lambda *all_: read.append(all_[1]) or run(*all_))
    lstm(x)
    zeros = read[1] == 0  # of the upper layer's input
    assert zeros.any()
    assert torch.equal(zeros, zeros[:1].expand_as(zeros)) == locked


def recurrence(lstm, x, monkeypatch):
    """Results, and the recurrent weights that each layer and direction was run with."""
    seen, find = [], stack.weights_of
    monkeypatch.setattr(stack, "weights_of", lambda *all_: seen.append(find(*all_)) or seen[-1])
    results = lstm(x)
    monkeypatch.undo()
    names = [f"weight_hh{suffix}" for suffix in lstm.suffixes]
    return results, dict(zip(names, (weights.w_hh.detach() for weights in seen), strict=True))


@engines
def test_weight_dropout_zeroes_its_share_of_the_recurrence(engine, monkeypatch):
    lstm = LSTM(3, 100, 2, bidirectional=True, weight_dropout=0.3, engine=engine)
    _, weights = recurrence(lstm, torch.ones(5, 2, 3), monkeypatch)
    for name, weight in weights.items():
        kept = weight != 0
        assert zeros_within(weight, 0.3)
        assert_same(weight[kept], lstm.get_parameter(name).detach()[kept] / 0.7, 2e-4)


@kinds
def test_weight_dropout_draws_one_mask_for_all_steps_of_a_call(kind, monkeypatch):
    lstm, x, _ = case(2, True, weight_dropout=0.5, **kind)
    found, weights = recurrence(lstm, x, monkeypatch)
    assert_same(lstm.eval()(x), make(2, True, **kind)(x), 1e-12)
    lstm.load_state_dict(weights, strict=False)
    assert_same(found, lstm(x), 1e-12)


@needs_gpu
@pytest.mark.gpu
@engines
@pytest.mark.parametrize("lengths", [None, LENGTHS, torch.full((ROWS,), TIME)])
def test_on_cuda_dropout_repeats_bit_by_bit(engine, lengths):
    options = {"dropout": 0.5, "weight_dropout": 0.5, "output_dropout": 0.5, "engine": engine}
    given = (*case(3, True, dtype=torch.float32, device="cuda", **options), lengths)
    one, same, other = (seeded(seed, *given) for seed in (5, 5, 6))
    assert_same(one, same)
    assert not torch.equal(one["output"], other["output"])
