"""CRF: every number against all paths written out, whatever stands beyond a row's end."""

from __future__ import annotations

import itertools

import pytest
import torch

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
