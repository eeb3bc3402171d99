"""Both directions of a layer side by side: the same bits, errors and settings as one by one."""

from __future__ import annotations

import threading

import pytest
import torch
from lstm_cases import assert_same, everything, needs_bf16, normal, unfused

from zoo import torch_private
from zoo.rnn.cpu import side_by_side
from zoo.rnn.lstm import LSTM

pytestmark = pytest.mark.skipif(torch_private.openmp() is None, reason="torch without OpenMP")
LENGTHS = torch.tensor([3, 6, 0, 5])
lengths_ = pytest.mark.parametrize("lengths", [None, LENGTHS])


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Two threads, and no layer too small for them."""
    monkeypatch.setattr(side_by_side, "LEAST_PRODUCTS", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def case(layers=2, **options):
    torch.manual_seed(1)
    lstm = LSTM(3, 5, layers, bidirectional=True, **options)
    x = normal(6, 4, 3, like=lstm.weight_hh_l0)
    h_0, c_0 = (normal(2 * layers, 4, 5, like=x) for _ in range(2))
    return lstm, x, (h_0, -0.5 * c_0)


def one_by_one(monkeypatch):
    monkeypatch.setattr(side_by_side, "THREADS", ())


@pytest.mark.parametrize("stateful", [False, True])
@lengths_
def test_results_and_gradients_are_those_of_one_by_one(monkeypatch, stateful, lengths):
    lstm, x, state = case(weight_dropout=0.2, dropout=0.1)
    state = state if stateful else None
    torch.manual_seed(2)
    found = everything(lstm, x, state, lengths)
    with torch.no_grad():
        shown = lstm.eval()(x, state, lengths)[0]
    with torch.inference_mode():
        inferred = lstm(x, state, lengths)[0]
    one_by_one(monkeypatch)
    torch.manual_seed(2)
    assert_same(found, everything(lstm.train(), x, state, lengths), 1e-6)
    with torch.no_grad():
        wanted = lstm.eval()(x, state, lengths)[0]
    assert_same(shown, wanted, 1e-6)
    assert_same(inferred, wanted, 1e-6)
    assert inferred.is_inference()
    assert not shown.is_inference()


@needs_bf16
@lengths_
def test_autocast_holds_in_both_threads(monkeypatch, lengths):
    lstm, x, state = case()
    with torch.autocast("cpu", torch.bfloat16):
        found = everything(lstm, x, state, lengths)
        one_by_one(monkeypatch)
        wanted = everything(lstm, x, state, lengths)
    assert found["output"].dtype == torch.bfloat16
    assert_same(found, wanted, 2e-2)


def test_each_direction_has_a_thread_with_one_thread_of_torchs_own():
    meet = threading.Barrier(2, timeout=30)  # breaks where one waits for the other's end

    def work():
        meet.wait()
        return threading.get_ident(), torch.get_num_threads()

    found = side_by_side.together([work, work])
    assert len({ident for ident, _ in found}) == 2
    assert [count for _, count in found] == [1, 1]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_in_either_is_raised_here_and_the_next_call_works(place):
    def fail():
        raise ValueError("of one direction")

    works = [lambda: 1, lambda: 2]
    works[place] = fail
    with pytest.raises(ValueError, match="of one direction"):
        side_by_side.together(works)
    assert side_by_side.together([lambda: 1, lambda: 2]) == [1, 2]


def test_a_direction_is_its_own_and_only_what_needs_a_gradient_gets_one():
    lstm, x, state = case(1)
    lstm.weight_hh_l0_reverse.requires_grad_(False)
    lstm(x, state)[0][..., :5].sum().backward()  # the forward direction only
    assert lstm.weight_hh_l0_reverse.grad is None
    assert lstm.weight_ih_l0_reverse.grad.abs().max() == 0
    assert lstm.weight_hh_l0.grad.abs().max() > 0


def test_backward_twice_and_a_change_in_place_are_as_with_one_call():
    lstm, x, _ = case(1)
    loss = lstm(x)[0].square().sum()
    first = torch.autograd.grad(loss, lstm.parameters(), retain_graph=True)
    assert_same(torch.autograd.grad(loss, lstm.parameters()), first)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(lstm(x)[0].square().sum(), lstm.weight_hh_l0, create_graph=True)


@pytest.mark.parametrize(
    ("threads", "least", "options", "wanted"),
    [
        (2, 6 * 4 * 5 * (3 + 5), {}, True),
        (2, 6 * 4 * 5 * (3 + 5) + 1, {}, False),
        (1, 0, {}, False),
        (4, 0, {}, False),
        (2, 0, {"dtype": torch.float64}, False),
        (2, 0, {"proj_size": 2}, False),
        (2, 0, {"engine": "hoisted"}, False),
        (2, 0, {"bidirectional": False}, False),
    ],
)
@unfused
def test_when_it_is_done(monkeypatch, threads, least, options, wanted):
    monkeypatch.setattr(side_by_side, "LEAST_PRODUCTS", least)
    calls = []
    run = side_by_side.run
    monkeypatch.setattr(side_by_side, "run", lambda *given: calls.append(1) or run(*given))
    torch.set_num_threads(threads)
    lstm = LSTM(3, 5, **({"bidirectional": True} | options))
    lstm(normal(6, 4, 3, like=lstm.weight_hh_l0))
    assert bool(calls) == wanted


def test_several_callers_at_once_get_their_own_answers():
    lstm, x, _ = case(1)
    wanted = [everything(lstm, x + shift, None)["output"].detach() for shift in range(4)]
    found = [None] * 4

    def call(shift):
        with torch.no_grad():
            found[shift] = lstm(x + shift)[0]

    threads = [threading.Thread(target=call, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(found, wanted, 1e-6)
