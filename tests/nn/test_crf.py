"""CRF: every number against all paths written out, whatever stands beyond a row's end."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from lstm_cases import needs_gpu

from zoo.nn import crf as recursions
from zoo.nn.crf import CRF

sizes = pytest.mark.parametrize("size", [1, 2, 3, 4])
times = pytest.mark.parametrize("time", [1, 2, 3, 4, 5])
bars = pytest.mark.parametrize("ruled", [False, True], ids=["free", "barred"])
EXACT = {"rtol": 0, "atol": 1e-10}
BIO = ["O", "B-X", "I-X", "B-Y", "I-Y"]


def rules(size):
    """Half of all moves and starts are ruled out; the first label may always come."""
    generator = torch.Generator().manual_seed(size)
    barred = torch.rand(size + 1, size, generator=generator) < 0.5
    barred[:, 0] = False
    return barred


def made(size, barred=None, dtype=torch.float64):
    """A CRF whose weights matter."""
    torch.manual_seed(size)
    crf = CRF(size, barred).to(dtype)
    for weight in crf.parameters():
        torch.nn.init.normal_(weight)
    return crf


def case(crf, time):
    """Emissions, allowed labels and `real` of rows of all lengths, an empty and a full one too."""
    size = len(crf.start)
    lengths = torch.tensor([time, 0, 1, (time + 1) // 2, time])
    real = torch.arange(time) < lengths[:, None]
    emissions = 2 * torch.randn(len(lengths), time, size, dtype=crf.start.dtype)
    labels = torch.zeros(len(lengths), time, dtype=torch.int64)
    for row, length in enumerate(lengths.tolist()):
        allowed = paths(crf, length)
        labels[row, :length] = allowed[torch.randint(len(allowed), ())]
    return emissions, labels, real


def paths(crf, length):
    """All paths that are not ruled out, (paths, length)."""
    *moves, first = crf.forbidden.tolist()
    return torch.tensor(
        [
            path
            for path in itertools.product(range(len(first)), repeat=length)
            if not path
            or not (first[path[0]] or any(moves[a][b] for a, b in itertools.pairwise(path)))
        ],
        dtype=torch.int64,
    )


def values(crf, emissions, all_paths):
    """The scores of paths of one length, (paths,), as the formula has them."""
    if not all_paths.size(1):
        return emissions.new_zeros(len(all_paths))
    steps = emissions[torch.arange(all_paths.size(1)), all_paths].sum(1)
    moves = crf.transitions[all_paths[:, :-1], all_paths[:, 1:]].sum(1)
    return crf.start[all_paths[:, 0]] + steps + moves + crf.end[all_paths[:, -1]]


@sizes
@times
@bars
def test_every_number_is_that_of_all_paths_written_out(size, time, ruled):
    crf = made(size, rules(size) if ruled else None)
    emissions, labels, real = case(crf, time)
    partition, loss = crf.log_partition(emissions, real), crf.loss(emissions, labels, real)
    score, best = crf.score(emissions, labels, real), crf.decode(emissions, real)
    shares = crf.marginals(emissions, real)
    assert partition.shape == score.shape == loss.shape == (len(real),)
    assert best.dtype == torch.int64
    for row, length in enumerate(real.sum(1).tolist()):
        here, every = emissions[row, :length], paths(crf, length)
        scores = values(crf, here, every)
        (wanted,) = values(crf, here, labels[row : row + 1, :length])
        torch.testing.assert_close(score[row], wanted, **EXACT)
        torch.testing.assert_close(partition[row], scores.logsumexp(0), **EXACT)
        torch.testing.assert_close(loss[row], scores.logsumexp(0) - wanted, **EXACT)
        assert best[row, :length].tolist() == every[scores.argmax()].tolist()
        share = torch.zeros(time, size, dtype=torch.float64)
        for path, probability in zip(every.tolist(), scores.softmax(0).detach(), strict=True):
            for step, label in enumerate(path):
                share[step, label] += probability
        torch.testing.assert_close(shares[row], share, **EXACT)
        assert not best[row, length:].any()
    with torch.no_grad():
        assert torch.equal(crf.marginals(emissions, real), shares)
    assert not shares[~real].any()
    assert not any(x.requires_grad for x in (shares, emissions))
    assert all(weight.grad is None for weight in crf.parameters())


@bars
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("time", [1, 4])
def test_gradients_are_those_of_finite_differences(size, time, ruled):
    crf = made(size, rules(size) if ruled else None)
    emissions, labels, real = case(crf, time)
    inputs = emissions.requires_grad_(), crf.transitions, crf.start, crf.end
    assert torch.autograd.gradcheck(lambda *_: crf.loss(emissions, labels, real), inputs)


@bars
def test_what_stands_beyond_the_end_changes_nothing(ruled):
    crf = made(4, rules(4) if ruled else None)
    emissions, labels, real = case(crf, 5)
    garbage = torch.where(real[..., None], emissions, 1e30 * emissions.sign())
    results = []
    for x, mark in ((emissions, 0), (garbage, -100), (garbage, 999)):
        y = labels.masked_fill(~real, mark)
        x = x.detach().requires_grad_()
        loss = crf.loss(x, y, real)
        gradients = torch.autograd.grad(loss.sum(), [x, *crf.parameters()])
        parts = crf.score(x, y, real), crf.log_partition(x, real)
        results.append([loss, *gradients, *parts, crf.decode(x, real), crf.marginals(x, real)])
    for plain, *others in zip(*results, strict=True):
        for other in others:
            torch.testing.assert_close(other, plain, **EXACT)
    assert not results[1][1][~real].any()


def spans_barred():
    """I- may only follow B- and I- of its kind; the last row is for the beginning."""
    inside = torch.tensor([label[0] == "I" for label in BIO])
    fits = torch.tensor(
        [[i != "" and i != "O" and i[1:] == j[1:] for j in BIO] for i in [*BIO, ""]]
    )
    return inside & ~fits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_ruled_out_is_not_decoded_even_if_emissions_scream_for_it(dtype):
    barred = spans_barred()
    crf = made(len(BIO), barred, dtype)
    screamed = torch.tensor([[2, 2, 4, 0, 2, 1, 4, 3, 2], [0, 2, 2, 2, 2, 2, 2, 2, 2]])
    loud = 4e3 * torch.nn.functional.one_hot(screamed, len(BIO)).to(dtype)
    emissions = torch.cat([loud, 4e3 * torch.rand(50, 9, len(BIO), dtype=dtype)])
    best = crf.decode(emissions, torch.ones(emissions.shape[:2], dtype=torch.bool))
    assert not barred[-1][best[:, 0]].any()
    assert not barred[:-1][best[:, :-1], best[:, 1:]].any()
    assert (best != emissions.argmax(2)).any(1)[:2].all()


def test_what_is_ruled_out_has_no_probability_and_no_gradient():
    barred = spans_barred()
    crf = made(len(BIO), barred)
    emissions, labels, real = case(crf, 4)
    assert not crf.marginals(emissions, real)[:, 0][:, barred[-1]].any()
    crf.loss(emissions, labels, real).sum().backward()
    assert not crf.transitions.grad[barred[:-1]].any()
    assert not crf.start.grad[barred[-1]].any()
    assert crf.transitions.grad[~barred[:-1]].any()
    wrong = torch.full_like(labels, BIO.index("I-X"))
    assert (crf.loss(emissions, wrong, real)[real[:, 0]] > 1e3).all()


def test_five_thousand_steps_stay_exact_in_float32():
    rounded, exact, steps = made(4, rules(4)).float(), made(4, rules(4)), 5000
    emissions = 3 * torch.randn(2, steps, 4, dtype=torch.float64)
    real = torch.arange(steps) < torch.tensor([[steps], [steps - 1234]])
    labels = exact.decode(emissions, real)
    low, high = rounded.loss(emissions.float(), labels, real), exact.loss(emissions, labels, real)
    torch.testing.assert_close(low.double(), high, rtol=1e-3, atol=0)
    low, high = rounded.log_partition(emissions.float(), real), exact.log_partition(emissions, real)
    torch.testing.assert_close(low.double(), high, rtol=1e-5, atol=0)
    assert (rounded.decode(emissions.float(), real) == labels).double().mean() > 0.999
    low.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in rounded.parameters())
    low, high = rounded.marginals(emissions.float(), real), exact.marginals(emissions, real)
    torch.testing.assert_close(low.double(), high, rtol=0, atol=1e-3)


def test_without_transitions_each_step_is_for_itself():
    crf = made(4)
    for weight in crf.parameters():
        torch.nn.init.zeros_(weight)
    emissions = torch.randn(2, 3000, 4, dtype=torch.float64)
    real = torch.ones(2, 3000, dtype=torch.bool)
    partition = crf.log_partition(emissions, real)
    torch.testing.assert_close(partition, emissions.logsumexp(2).sum(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(crf.marginals(emissions, real), emissions.softmax(2), **EXACT)
    assert torch.equal(crf.decode(emissions, real), emissions.argmax(2))


def test_it_is_saved_as_its_weights_alone():
    crf, other = made(3, rules(3)), CRF(3).double()
    shapes = {name: tuple(part.shape) for name, part in crf.state_dict().items()}
    assert shapes == {"transitions": (3, 3), "start": (3,), "end": (3,)}
    other.load_state_dict(crf.state_dict())
    emissions, _, real = case(crf, 4)
    assert not other.forbidden.any()
    other.forbidden = crf.forbidden
    assert torch.equal(crf.log_partition(emissions, real), other.log_partition(emissions, real))


def test_a_label_that_nothing_leads_to_is_never_chosen_however_long_the_row():
    barred = torch.tensor([[False, True], [False, False], [False, True]])
    crf = CRF(2, barred).double()
    emissions = torch.zeros(1, 3000, 2, dtype=torch.float64)
    emissions[..., 1] = 10
    real = torch.ones(1, 3000, dtype=torch.bool)
    assert not crf.decode(emissions, real).any()
    assert crf.marginals(emissions, real)[..., 1].max() == 0


def found(crf, emissions, real):
    """The log-partition, its gradients by all inputs, and the marginals."""
    emissions = emissions.detach().requires_grad_()
    total = crf.log_partition(emissions, real)
    weights = torch.linspace(0.5, 1.5, len(total)).to(total)
    gradients = torch.autograd.grad((total * weights).sum(), [emissions, *crf.parameters()])
    return [total.detach(), *gradients, crf.marginals(emissions, real)]


def assert_found(crf, emissions, real, rtol=1e-5, atol=1e-5):
    """What is found in float32 is what logarithms give in float64."""
    exact = copy.deepcopy(crf).double()
    exact.log_partition = lambda x, now: recursions._in_logs(exact._scores(x), now)
    exact.marginals = lambda x, now: recursions._marginals_in_logs(exact._scores(x), now)
    low, high = found(crf, emissions, real), found(exact, emissions.double(), real)
    for mine, wanted in zip(low, high, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), wanted, rtol=rtol, atol=atol)


@pytest.fixture
def slow(monkeypatch):
    """A list of the numbers of rows that are computed in logarithms."""
    counts = []
    in_logs = recursions._in_logs

    def noted(scores, real):
        counts.append(len(real))
        return in_logs(scores, real)

    monkeypatch.setattr(recursions, "_in_logs", noted)
    return counts


@bars
@pytest.mark.parametrize("emitted", [1, 30, 120, 1000])
@pytest.mark.parametrize("moved", [1, 30, 120])
def test_no_range_of_scores_is_too_wide_for_float32(ruled, emitted, moved):
    crf = made(4, rules(4) if ruled else None, torch.float32)
    with torch.no_grad():
        crf.transitions.mul_(moved)
    emissions = emitted * torch.randn(40, 12, 4)
    real = torch.arange(12) < torch.randint(0, 13, (40, 1))
    # A score of 1,000 has four digits behind its point in float32.
    assert_found(crf, emissions, real, atol=1e-5 * max(1, moved, emitted))


def test_only_the_rows_whose_scores_span_too_much_are_computed_in_logarithms(slow):
    """In one row B-X is e^-110 times as likely as O, but the only way to the I-X after it."""
    crf = made(len(BIO), spans_barred(), torch.float32)
    emissions = torch.randn(5, 6, len(BIO))
    real = torch.arange(6) < torch.tensor([[6], [6], [3], [0], [1]])
    found(crf, emissions, real)
    assert not slow
    emissions[1, 2] = torch.tensor([0.0, -110, -500, -500, -500])
    emissions[1, 3] = torch.tensor([0.0, 0, 130, 0, 0])
    assert_found(crf, emissions, real, atol=1e-4)
    assert crf.marginals(emissions, real)[1, 2, 1] > 0.9
    assert slow.count(1) == len(slow) - 2  # two of all rows are the yardstick's own


@pytest.mark.parametrize("size", [1, 2, 23, 60])
def test_usual_scores_are_never_computed_in_logarithms(size, slow):
    crf = made(size, dtype=torch.float32)
    emissions = 8 * torch.randn(3, 100, size)
    real = torch.arange(100) < torch.tensor([[100], [17], [1]])
    found(crf, emissions, real)
    assert not slow
    assert_found(crf, emissions, real, rtol=1e-4, atol=1e-4)


def test_a_batch_that_no_path_is_allowed_for_is_still_finite():
    crf = made(2, torch.tensor([[True, True], [False, False], [False, True]]), torch.float32)
    real = torch.ones(1, 3, dtype=torch.bool)
    assert_found(crf, torch.randn(1, 3, 2), real, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_only_that_of_the_inputs(dtype):
    crf = made(5, dtype=torch.float32)
    emissions, labels, real = case(crf, 5)
    low = emissions.to(dtype)
    wanted = crf.loss(low.float(), labels, real), crf.marginals(low.float(), real)
    with torch.autocast("cpu", torch.bfloat16):
        both = crf.loss(low, labels, real), crf.marginals(low, real)
        every = torch.autograd.grad(both[0].sum(), [*crf.parameters()])
    for mine, alone in zip(both, wanted, strict=True):
        assert torch.equal(mine, alone)
    gradients = torch.autograd.grad(wanted[0].sum(), [*crf.parameters()])
    assert all(map(torch.equal, every, gradients))
    half = copy.deepcopy(crf).to(dtype)
    assert half.loss(low, labels, real).dtype == torch.float32
    assert half.decode(low, real).shape == labels.shape


def test_the_gradient_has_a_gradient():
    crf = made(3, rules(3))
    emissions, labels, real = case(crf, 3)
    inputs = emissions.requires_grad_(), crf.transitions, crf.start, crf.end
    assert torch.autograd.gradgradcheck(lambda *_: crf.loss(emissions, labels, real), inputs)
    crf.start.requires_grad_(False)
    total = crf.log_partition(emissions, real).sum()
    (once,) = torch.autograd.grad(total, emissions, create_graph=True)
    torch.testing.assert_close(once, crf.marginals(emissions, real), **EXACT)


def test_each_row_has_its_gradient_in_torch_func():
    crf = made(3, rules(3))
    emissions, labels, real = case(crf, 4)
    weights = {name: weight.detach() for name, weight in crf.named_parameters()}

    def loss(weights, x, y, now):
        return torch.func.functional_call(crf, (weights, {}), (x[None], y[None], now[None])).sum()

    crf.forward = crf.loss
    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0, 0))(weights, emissions, labels, real)
    for name, weight in crf.named_parameters():
        (all_rows,) = torch.autograd.grad(crf.loss(emissions, labels, real).sum(), weight)
        torch.testing.assert_close(each[name].sum(0), all_rows, **EXACT)


def test_the_best_paths_are_the_same_in_pieces_of_a_batch(monkeypatch):
    crf = made(4, rules(4))
    emissions = torch.randint(3, (9, 7, 4)).double()  # with ties
    real = torch.arange(7) < torch.arange(9)[:, None]
    whole = crf.decode(emissions, real)
    monkeypatch.setitem(recursions.PAIRS, "cpu", 33)
    assert torch.equal(crf.decode(emissions, real), whole)


def test_a_label_is_reached_over_many_others():
    chain = torch.ones(301, 300, dtype=torch.bool)
    chain[torch.arange(299), torch.arange(1, 300)] = False  # each label leads to the next alone
    chain[-1, 1] = False
    unreachable = recursions._unreachable(chain)
    assert unreachable.tolist() == [True] + 299 * [False]


@needs_gpu
@pytest.mark.gpu
@bars
def test_a_gpu_computes_the_same(ruled):
    crf = made(5, rules(5) if ruled else None)
    emissions, labels, real = case(crf, 5)
    there = copy.deepcopy(crf).cuda()
    moved = emissions.cuda(), real.cuda()
    for mine, wanted in zip(found(there, *moved), found(crf, emissions, real), strict=True):
        torch.testing.assert_close(mine.cpu(), wanted, **EXACT)
    assert torch.equal(there.decode(*moved).cpu(), crf.decode(emissions, real))
    loss = there.float().loss(moved[0].float(), labels.cuda(), moved[1])
    torch.testing.assert_close(loss.cpu(), crf.loss(emissions, labels, real).float())
